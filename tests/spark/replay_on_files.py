"""A replay with files for its Kafka topics: Parquet of partition, offset, timestamp and the bytes of each record.

The bytes are encoded under many versions of the contract, mixed: the contract itself, it without a field that is null
in the record, and it with a field more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aggregates.catalogue import Aggregate
from aggregates.render import Engine
from replay import run as replay_run
from schemas.catalogue import Event, event
from schemas.codec import Encoder
from spark.task import Chunk, Computation, Input, Slice, Task
from tests.aggregates import oracle

Record = Mapping[str, Any]
Row = dict[str, Any]
Place = tuple[int, int]

EVER = (Chunk(name="ever", from_time=None, until_time=None),)
VARIANT = "only"
RAW = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("timestamp", pa.timestamp("us", "UTC")),
        pa.field("value", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A contract as some writer had it, and the path of the field that it lacks."""

    event: Event
    encoder: Encoder
    lacks: tuple[str, ...] = ()
    adds: tuple[tuple[str, ...], ...] = ()

    @property
    def schema_id(self) -> int:
        return self.encoder.schema_id

    def can_write(self, record: Record) -> bool:
        return not self.lacks or all(value is None for value in _values(record, self.lacks))

    def encode(self, record: Record) -> bytes:
        changed = copy.deepcopy(dict(record))
        for owner in _owners(changed, self.lacks):
            owner.pop(self.lacks[-1])
        for path in self.adds:
            for owner in _owners(changed, path):
                owner[path[-1]] = "of a later version"
        return self.encoder.encode(changed)


def _version(e: Event, schema_id: int, **rest: Any) -> Version:
    # What others put on the log keeps to its Avro schema, and to no rule of ours.
    return Version(event=e, encoder=Encoder(replace(e, schema=e.avro_schema), schema_id), **rest)


def versions(e: Event) -> tuple[Version, ...]:
    """The contract, without each of its nullable fields in turn, and with a field more in every record."""
    lacking = [
        _version(_changed(e, path, add=False), 10 + n, lacks=path) for n, path in enumerate(_nullable(e.avro_schema))
    ]
    added: list[tuple[str, ...]] = [("added",)]
    later = _changed(e, ("added",), add=True)
    if "lines" in {field["name"] for field in e.avro_schema["fields"]}:
        added.append(("lines", "added"))
        later = _changed(later, ("lines", "added"), add=True)
    return (_version(e, 1), *lacking, _version(later, 1_000_000, adds=tuple(added)))


def _nullable(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in schema["fields"]:
        kind = field["type"]
        if isinstance(kind, list):
            yield (*path, field["name"])
        elif isinstance(kind, dict) and isinstance(kind.get("items"), dict):
            yield from _nullable(kind["items"], (*path, field["name"]))


def _changed(e: Event, path: tuple[str, ...], *, add: bool) -> Event:
    schema = copy.deepcopy(e.schema)
    record = schema
    for step in path[:-1]:
        record = next(field["type"]["items"] for field in record["fields"] if field["name"] == step)
    if add:
        # In front, so that nothing stands where it did.
        record["fields"].insert(0, {"name": path[-1], "type": ["null", "string"], "default": None})
    else:
        record["fields"] = [field for field in record["fields"] if field["name"] != path[-1]]
    return replace(e, schema=schema)


def _owners(record: Any, path: tuple[str, ...]) -> list[Any]:
    if not path:
        return []
    if len(path) == 1:
        return [record]
    return [owner for item in record[path[0]] for owner in _owners(item, path[1:])]


def _values(record: Record, path: tuple[str, ...]) -> list[Any]:
    return [owner[path[-1]] for owner in _owners(record, path)]


def write_log(folder: Path, name: str, records: Sequence[Record], published_at: datetime) -> Input:
    """A topic's file, and the Input that reads all of it. No record is late."""
    e, rows = event(name), []
    known = versions(e)
    for number, record in enumerate(records):
        able = [version for version in known if version.can_write(record)]
        partition, offset = oracle.place(records, number)
        rows.append(
            {
                "partition": partition,
                "offset": offset,
                "timestamp": published_at + timedelta(milliseconds=number),
                "value": able[number % len(able)].encode(record),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, RAW), folder / f"{name}.parquet")
    return Input(
        event=name,
        table=e.table,
        topic=e.topic,
        schema=e.schema_text,
        schemas={version.schema_id: version.event.schema_text for version in known},
        log=tuple(_slices(row["partition"] for row in rows)),
        lake=(),
        late={VARIANT: ""},
        versions=e.schema.get("versions"),
    )


def _slices(partitions: Iterable[int]) -> Iterator[Slice]:
    found = list(partitions)
    for partition in sorted(set(found)):
        yield Slice(partition=partition, from_offset=0, until_offset=found.count(partition))


def with_late(read: Input, late: Iterable[Place], folder: Path) -> Input:
    """The input with these places late."""
    schema = pa.schema([pa.field("partition", pa.int32()), pa.field("offset", pa.int64())])
    path = folder / f"late-{read.event}.parquet"
    pq.write_table(pa.Table.from_pylist([{"partition": p, "offset": o} for p, o in late], schema), path)
    return replace(read, late={VARIANT: str(path)})


def computation(a: Aggregate, chunks: tuple[Chunk, ...] = EVER) -> Computation:
    return replay_run.computation(a, Engine.SPARK, chunks)


def task(folder: Path, inputs: Iterable[Input], computations: Iterable[Computation]) -> Task:
    return Task(
        run="test",
        kafka="127.0.0.1:9",
        lake={},
        inputs=tuple(inputs),
        variants=(VARIANT,),
        computations=tuple(computations),
        output=(folder / "out").as_uri(),
    )


def rows(folder: Path, a: Aggregate) -> list[Row]:
    """What was written of an aggregate, all chunks together, in the order of its key."""
    found: list[Row] = []
    for chunk in sorted((folder / "out" / VARIANT / a.name).iterdir()):
        assert (chunk / "_SUCCESS").is_file(), chunk
        found += pq.read_table(chunk).to_pylist()
    return sorted(found, key=lambda row: tuple(row[name] for name in a.key))
