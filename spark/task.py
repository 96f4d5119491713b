"""What an engine is to recompute, in one JSON file, so that it needs nothing else of this project.

An engine reads the slices of each topic, leaves out what is in no number, keeps the first record of each event_id, and
runs each computation's SQL over ``<event table>`` and ``<event table>_lines`` (one row an item of an array of records),
one chunk of windows after the other. Of a chunk it writes Parquet files into ``output/<variant>/<aggregate>/<chunk>``
and, at last, an empty ``_SUCCESS`` next to them. A chunk that has one is not computed again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Offsets of one partition, the last one not included."""

    partition: int
    from_offset: int
    until_offset: int

    @property
    def records(self) -> int:
        return self.until_offset - self.from_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One topic. ``schemas`` has the writer's schema for each id met in it; ``schema`` is the contract's own.

    ``versions`` is the contract's (schemas/catalogue.py: of, by, void, paid), or None. ``late`` is, by variant, the
    path of a Parquet file (``partition`` int, ``offset`` long) of records that do not count in it, or an empty text
    when all do. The lake of a ``compacted`` topic may lack what was compacted away before anybody read it.
    """

    event: str
    table: str
    topic: str
    schema: str
    schemas: dict[int, str]
    log: tuple[Slice, ...]
    lake: tuple[Slice, ...]
    late: dict[str, str]
    compacted: bool = False
    versions: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Windows that start at ``from_time`` or later and before ``until_time`` (ISO 8601, UTC); None is without end."""

    name: str
    from_time: str | None
    until_time: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """One aggregate or fact. ``sql`` is rendered for the engine; ``columns`` gives logical types, in order.

    An event belongs to a chunk by its ``time_column``. With ``undated`` (not None), events that can be paid count by
    payment: their ``occurred_at`` is then when they do (schemas/versions.py), and decides of which chunk they are. It
    names the sources that never say when an order is paid.
    """

    aggregate: str
    sql: str
    inputs: tuple[str, ...]
    time_column: str
    columns: dict[str, str]
    chunks: tuple[Chunk, ...]
    undated: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """All of it. ``lake`` are pyiceberg's properties of the catalog; ``output`` is an URI.

    ``kafka`` are the brokers, ``kafka_options`` further options of Kafka's consumer, such as ``security.protocol``.
    """

    run: str
    kafka: str
    lake: dict[str, str]
    inputs: tuple[Input, ...]
    variants: tuple[str, ...]
    computations: tuple[Computation, ...]
    output: str
    kafka_options: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """As spark/job.py reads it."""
        return json.dumps(asdict(self), indent=1)

    def folder(self, variant: str, aggregate: str, chunk: Chunk) -> str:
        """Where the result of a chunk is, as an URI."""
        return f"{self.output}/{variant}/{aggregate}/{chunk.name}"


def write_task(path: Path, task: Task) -> None:
    """Whole or not at all, for its owner alone: passwords are in it."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(task.to_json())
    part.replace(path)


def read_task(text: str) -> Task:
    """The Task that ``to_json`` wrote."""
    raw: dict[str, Any] = json.loads(text)
    return Task(
        **{
            **raw,
            "inputs": tuple(_input(i) for i in raw["inputs"]),
            "variants": tuple(raw["variants"]),
            "computations": tuple(_computation(c) for c in raw["computations"]),
        }
    )


def _input(raw: dict[str, Any]) -> Input:
    return Input(
        **{
            **raw,
            "schemas": {int(number): text for number, text in raw["schemas"].items()},
            "log": tuple(Slice(**s) for s in raw["log"]),
            "lake": tuple(Slice(**s) for s in raw["lake"]),
        }
    )


def _computation(raw: dict[str, Any]) -> Computation:
    undated = raw.get("undated")
    return Computation(
        **{
            **raw,
            "inputs": tuple(raw["inputs"]),
            "chunks": tuple(Chunk(**c) for c in raw["chunks"]),
            "undated": None if undated is None else tuple(undated),
        }
    )
