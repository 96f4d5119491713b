"""A log in a lake of its own, and a task over it, for tests of the DuckDB engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aggregates.catalogue import Aggregate
from aggregates.render import Engine
from replay import run as replay_run
from replay.result import ARROW
from schemas.catalogue import event
from spark.task import Chunk, Computation, Input, Slice, Task
from tests.aggregates import oracle
from tests.replay import own_lake

ALL = (Chunk(name="all", from_time=None, until_time=None),)
PUBLISHED_AT = datetime(2026, 3, 20, 7, 30, 0, 250_000, tzinfo=UTC)

Log = Mapping[str, Sequence[Mapping[str, Any]]]
Row = dict[str, Any]


def archived_rows(records: Sequence[Mapping[str, Any]], apart: timedelta = timedelta(milliseconds=1)) -> list[Row]:
    """Rows of a lake's table: the records with their places, published one after the other."""
    places = [oracle.place(records, n) for n in range(len(records))]
    return [
        {
            **record,
            "kafka_partition": partition,
            "kafka_offset": offset,
            "kafka_timestamp": PUBLISHED_AT + n * apart,
            "schema_id": 1,
        }
        for n, (record, (partition, offset)) in enumerate(zip(records, places, strict=True))
    ]


def slices(records: Sequence[Any]) -> tuple[Slice, ...]:
    """All of a topic."""
    ends: dict[int, int] = {}
    for n in range(len(records)):
        partition, offset = oracle.place(records, n)
        ends[partition] = offset + 1
    return tuple(Slice(partition=p, from_offset=0, until_offset=end) for p, end in sorted(ends.items()))


def write_late(path: Path, places: Sequence[tuple[int, int]]) -> str:
    """The file of what does not count; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("partition", pa.int32()), ("offset", pa.int64())])
    pq.write_table(pa.Table.from_pylist([{"partition": p, "offset": o} for p, o in places], schema=schema), path)
    return str(path)


def input_of(name: str, records: Sequence[Mapping[str, Any]], folder: Path) -> Input:
    """A topic whose late records are the oracle's; in the variant ``with late`` all count."""
    e = event(name)
    late = [(p, o) for p, o, _, _ in oracle.Judged(records).late]
    return Input(
        event=name,
        table=e.table,
        topic=e.topic,
        schema=e.schema_text,
        schemas={1: e.schema_text},
        log=(),
        lake=slices(records),
        late={"live": write_late(folder / "late" / f"{e.table}.parquet", late), "with late": ""},
        versions=e.schema.get("versions"),
    )


def computation(a: Aggregate, chunks: tuple[Chunk, ...] = ALL) -> Computation:
    return replay_run.computation(a, Engine.DUCKDB, chunks)


def task_of(folder: Path, inputs: Sequence[Input], computations: Sequence[Computation]) -> Task:
    return Task(
        run="r1",
        kafka="",
        lake=own_lake.properties(folder),
        inputs=tuple(inputs),
        variants=("live",),
        computations=tuple(computations),
        output=(folder / "out").as_uri(),
    )


def rows_of(task: Task, a: Aggregate, variant: str = "live") -> list[Row]:
    """The results of all its chunks, in the order of the key, as Python values."""
    found: list[Row] = []
    for c in task.computations:
        for chunk in c.chunks if c.aggregate == a.name else ():
            folder = Path(task.folder(variant, a.name, chunk).removeprefix("file://"))
            assert (folder / "_SUCCESS").exists(), folder
            table = pq.read_table(folder)
            wanted = pa.schema([(name, ARROW[kind]) for name, kind in c.columns.items()])
            found += table.cast(wanted).to_pylist()
    return sorted(found, key=lambda row: tuple(row[name] for name in a.key))
