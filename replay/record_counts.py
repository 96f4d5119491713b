"""Accounts for every record that a replay reads: published = counted + duplicate + late + dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow

from replay import archive, late_events
from replay.archive import Place
from replay.context import Context
from replay.lake_files import within
from replay.late_events import without
from replay.run import COUNTED
from replay.run_history import Run
from schemas import catalogue
from schemas.catalogue import Event
from spark.task import Slice

# The live job commits what it read to Kafka and to the lake one after the other.
LAKE_SECONDS = 60.0
POLL_SECONDS = 0.5
TERMS = ("published", "counted", "duplicate", "late", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Records of one topic between a replay's offsets. They add up; a compacted topic's are those that were kept.

    ``missing`` are records that the lake does not have, so that none of the other numbers counts them.
    ``doubled`` are copies of one record, at one offset, in the lake: they are in no other number.
    """

    published: int
    counted: int
    duplicate: int
    late: int
    dead: int
    missing: int = 0
    doubled: int = 0

    @property
    def add_up(self) -> bool:
        return self.published == self.counted + self.duplicate + self.late + self.dead

    @property
    def of_certificate(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in TERMS}

    @property
    def faults(self) -> dict[str, int]:
        """Faults of the lake that a certificate lists in addition to the sums; empty if there are none."""
        if self.add_up and not self.missing and not self.doubled:
            return {}
        return {"missing_in_lake": self.missing, "twice_in_lake": self.doubled}


def sums(context: Context, record: Run) -> dict[str, Sums]:
    """By topic of a computed run. Waits for a while until the lake has what the run read: blocks."""
    dead = late_events.dead(context)
    deadline = time.monotonic() + LAKE_SECONDS
    return {
        topic: when_archived(
            context.lake,
            catalogue.event(planned.event),
            [*planned.slices("lake"), *planned.slices("log")],
            late=_late(context, record, planned.event) - dead.places[planned.event],
            dead=dead.places[planned.event],
            unreadable=dead.unreadable[planned.event],
            deadline=deadline,
        )
        for topic, planned in record.plan.topics.items()
    }


def _late(context: Context, record: Run, name: str) -> set[Place]:
    return late_events.read_places(context.run_dir(record.run) / "late" / f"{COUNTED}.{name}.parquet")


def when_archived(
    lake: Callable[[], AbstractContextManager[Catalog]],
    event: Event,
    pieces: Collection[Slice],
    *,
    late: Collection[Place],
    dead: Collection[Place],
    unreadable: Collection[Place],
    deadline: float,
) -> Sums:
    """The sums once the lake's end is past the slices, or as they stand at the deadline of the monotonic clock."""
    while True:
        with lake() as catalog:
            found = of_topic(catalog, event, pieces, late=late, dead=dead, unreadable=unreadable)
            # The lake gets records in order: one that is missing before its end is not on its way.
            is_coming = found.missing > 0 and archive.behind(catalog, event, without(pieces, unreadable))
        if not is_coming or time.monotonic() > deadline:
            return found
        time.sleep(POLL_SECONDS)


def of_topic(
    catalog: Catalog,
    event: Event,
    pieces: Iterable[Slice],
    *,
    late: Collection[Place],
    dead: Collection[Place],
    unreadable: Collection[Place],
) -> Sums:
    """The records of the slices, out of the lake. ``unreadable`` are those of the dead that it does not have."""
    wanted = [piece for piece in pieces if piece.records > 0]
    behind, lost, never = (_inside(places, wanted) for places in (late, dead, unreadable))
    # Read before the records, so that what is not behind by then is among them.
    at_end = archive.behind(catalog, event, without(wanted, never)) if event.cleanup == "compact" else ()
    lake = _in_lake(catalog, event, wanted, behind | lost)
    there = lake.places + len(never)
    published = there if event.cleanup == "compact" else sum(piece.records for piece in wanted)
    return Sums(
        published=published,
        counted=lake.counted,
        duplicate=lake.living - lake.counted,
        late=len(behind),
        dead=len(lost),
        missing=published - there + sum(piece.records for piece in at_end),
        doubled=lake.rows - lake.places,
    )


def _inside(places: Iterable[Place], pieces: Iterable[Slice]) -> set[Place]:
    bounds = [(s.partition, s.from_offset, s.until_offset) for s in pieces]
    return {(n, at) for n, at in places if any(n == p and first <= at < until for p, first, until in bounds)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _InLake:
    """Rows, places in the log that they are of, those of these that are not left out, and the events among the last."""

    rows: int = 0
    places: int = 0
    living: int = 0
    counted: int = 0


def _in_lake(catalog: Catalog, event: Event, pieces: list[Slice], out: Iterable[Place]) -> _InLake:
    source = archive.table(catalog, event)
    if source is None or not pieces:
        return _InLake()
    fields = ("kafka_partition", "kafka_offset", "event_id")
    scan = source.scan(row_filter=within(pieces), selected_fields=fields)
    listed = list(out)
    left_out = pa.table(
        {"p": pa.array([p for p, _ in listed], pa.int32()), "o": pa.array([o for _, o in listed], pa.int64())}
    )
    with duckdb.connect() as connection:
        columns = schema_to_pyarrow(scan.projection(), include_field_ids=False)
        connection.register("arrived", scan.to_arrow_batch_reader().cast(columns))
        connection.register("left_out", left_out)
        found = connection.execute(
            """
            with places as (
                select kafka_partition, kafka_offset, count(*) as copies, min(event_id) as event_id
                from arrived group by kafka_partition, kafka_offset
            )
            select
                coalesce(sum(copies), 0), count(*), count(*) filter (where l.p is null),
                count(distinct event_id) filter (where l.p is null)
            from places as a left join left_out as l on a.kafka_partition = l.p and a.kafka_offset = l.o
            """
        ).fetchall()
    rows, places, living, counted = map(int, found[0])
    return _InLake(rows=rows, places=places, living=living, counted=counted)
