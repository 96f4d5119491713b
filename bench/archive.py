"""A lake with as many archived events as wanted, made in a minute: the synthetic shop's own, again and again.

The shop runs for a few hours; the rest are these hours moved on, with ids of their own. Proportions of the topics, and
sizes of sessions and orders, are those of a live lake; one event in a hundred comes twice. Files are those of a lake
that was tidied: one a day.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.catalog import load_catalog

from producers.shop.simulation import Simulation
from producers.shop.visits import Shop
from schemas.catalogue import Event, event
from spark.task import Input, Slice
from tests.replay.own_lake import append_file, properties
from warehouse.tables import NAMESPACE, create_lake_table

START = datetime(2026, 2, 2, tzinfo=UTC)
HOURS = 4
SHOP_RATE = 2.0
COPIES = 0.01
# In these an id of the shop's hours stands for another one each time they are repeated.
IDS = ("session_id", "order_id", "refund_id")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What was made. ``lake`` are pyiceberg's properties; ``inputs`` have all offsets of each topic as lake slices."""

    lake: dict[str, str]
    inputs: tuple[Input, ...]
    files: dict[str, list[str]]
    events: int
    first_day: datetime
    days: int


def make_archive(folder: Path, events: int, lake: dict[str, str] | None = None) -> Archive:
    """At least ``events`` events in a new lake below ``folder``. Blocks until all are committed.

    Its catalog is an SQLite file, or as in ``lake`` (pyiceberg's properties).
    """
    topics = _shop_hours()
    repeats = -(-events // sum(map(len, topics.values())))
    folder.mkdir(parents=True)
    lake = lake or properties(folder)
    catalog = load_catalog("lake", **lake)
    inputs, files = [], {}
    for name, rows in topics.items():
        e = event(name)
        create_lake_table(catalog, e)
        table = catalog.load_table(f"{NAMESPACE}.{e.table}")
        base = pa.Table.from_pylist(rows, schema=table.schema().as_arrow())
        sizes = _sizes(rows)
        # Hours that begin on one day end on it as well.
        for day, of_day in groupby(range(repeats), key=lambda r: (START + r * timedelta(hours=HOURS)).date()):
            number = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // 86_400
            append_file(table, number, _repeated(e, base, sizes, list(of_day)))
        inputs.append(_input(e, {p: n * repeats for p, n in sizes.items()}))
        files[e.table] = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
    catalog.close()
    return Archive(
        lake=lake,
        inputs=tuple(inputs),
        files=files,
        events=repeats * sum(map(len, topics.values())),
        first_day=START,
        days=-(-repeats * HOURS // 24),
    )


def _shop_hours() -> dict[str, list[Row]]:
    """By event name, rows of the lake's table, in the order of their arrival."""
    rng = random.Random(1)
    origin = int(START.timestamp()) // 60
    simulation = Simulation(Shop(seed=1, rate=SHOP_RATE), lambda *_: None, origin=origin, announce=False)
    end = START + timedelta(hours=HOURS)
    topics: dict[str, list[Row]] = defaultdict(list)
    ends: dict[tuple[str, int], int] = defaultdict(int)
    for _ in range(HOURS * 60):
        for o in simulation.advance().occurrences:
            for _ in range(2 if rng.random() < COPIES else 1):
                at = o.record["occurred_at"]
                if at < end:
                    partition = zlib.crc32(o.record[o.event.key].encode()) % o.event.partitions
                    place = {"kafka_partition": partition, "kafka_offset": ends[o.event.name, partition]}
                    ends[o.event.name, partition] += 1
                    topics[o.event.name].append({**o.record, **place, "kafka_timestamp": at, "schema_id": 1})
    return dict(topics)


def _sizes(rows: list[Row]) -> dict[int, int]:
    """Records of each partition."""
    sizes: dict[int, int] = defaultdict(int)
    for row in rows:
        sizes[row["kafka_partition"]] += 1
    return dict(sizes)


def _repeated(e: Event, base: pa.Table, sizes: dict[int, int], repeats: list[int]) -> pa.Table:
    """The shop's hours moved on, once for each number in ``repeats``; 0 leaves them where they were."""
    moved = f"to_hours(cast(n * {HOURS} as int))"
    size = " ".join(f"when {partition} then {size}" for partition, size in sizes.items())
    changed = {
        "event_id": "cast(cast(md5(event_id || n) as uuid) as varchar)",
        "kafka_offset": f"kafka_offset + n * (case kafka_partition {size} end)",
        **{name: f"{name} + {moved}" for name in base.schema.names if _is_time(base, name)},
        **{name: f"{name} || '-' || n" for name in IDS if name in base.schema.names},
    }
    replaced = ", ".join(f"{expression} as {name}" for name, expression in changed.items())
    with duckdb.connect() as database:
        database.execute("set TimeZone = 'UTC'")
        database.register("base", base)
        return database.execute(
            f"select * exclude n replace ({replaced}) from (select unnest({repeats}) as n), base"
        ).to_arrow_table()


def _is_time(base: pa.Table, name: str) -> bool:
    return bool(pa.types.is_timestamp(base.schema.field(name).type))


def _input(e: Event, ends: dict[int, int]) -> Input:
    return Input(
        event=e.name,
        table=e.table,
        topic=e.topic,
        schema=e.schema_text,
        schemas={1: e.schema_text},
        log=(),
        lake=tuple(Slice(partition=p, from_offset=0, until_offset=end) for p, end in sorted(ends.items())),
        late={"live": ""},
    )
