"""What became of every record that a replay reads: published = counted + duplicate + late + dead."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow

from replay import archive, late
from replay.archive import Place
from replay.duck_files import within
from replay.planned import PlannedTopic
from replay.records import Run
from replay.run import COUNTED, LiveJobBehind
from replay.site import Site
from schemas import catalogue
from schemas.catalogue import Event
from spark.task import Slice

# The live job commits what it read to Kafka and to the lake one after the other.
LAKE_SECONDS = 60.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Records of one topic between a replay's offsets. They add up; a compacted topic's are those that were kept."""

    published: int
    counted: int
    duplicate: int
    late: int
    dead: int

    @property
    def add_up(self) -> bool:
        return self.published == self.counted + self.duplicate + self.late + self.dead


def sums(site: Site, record: Run) -> dict[str, dict[str, int]]:
    """By topic of a computed run. Blocks. Raises LiveJobBehind when the lake does not get what the run read."""
    dead = late.dead(site)
    return {
        topic: asdict(_when_archived(site, record, topic, planned, dead))
        for topic, planned in record.plan.topics.items()
    }


def _when_archived(site: Site, record: Run, topic: str, planned: PlannedTopic, dead: late.Dead) -> Sums:
    name, pieces = planned.event, [*planned.slices("lake"), *planned.slices("log")]
    out = late.read_places(site.run_dir(record.run) / "late" / f"{COUNTED}.{name}.parquet")
    deadline = time.monotonic() + LAKE_SECONDS
    while True:
        with site.lake() as catalog:
            found = of_topic(
                catalog,
                catalogue.event(name),
                pieces,
                late=out - dead.places[name],
                dead=dead.places[name],
                unreadable=dead.unreadable[name],
            )
        if found.add_up:
            return found
        if time.monotonic() > deadline:
            raise LiveJobBehind(
                f"the lake has not all records of {topic} that this run read, or has some twice: of the"
                f" {found.published:,} that were published {found.counted:,} count, {found.duplicate:,} are duplicates,"
                f" {found.late:,} late and {found.dead:,} dead. It gets them with the live job's next checkpoint;"
                " verify again then"
            )
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
    archived, living, counted = _in_lake(catalog, event, wanted, behind | lost)
    there = archived + len(never)
    return Sums(
        published=there if event.cleanup == "compact" else sum(piece.records for piece in wanted),
        counted=counted,
        duplicate=living - counted,
        late=len(behind),
        dead=len(lost),
    )


def _inside(places: Iterable[Place], pieces: Iterable[Slice]) -> set[Place]:
    bounds = [(s.partition, s.from_offset, s.until_offset) for s in pieces]
    return {(n, at) for n, at in places if any(n == p and first <= at < until for p, first, until in bounds)}


def _in_lake(catalog: Catalog, event: Event, pieces: list[Slice], out: Iterable[Place]) -> tuple[int, int, int]:
    """(records, those that are not left out, the events among these)."""
    source = archive.table(catalog, event)
    if source is None or not pieces:
        return 0, 0, 0
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
            "select count(*), count(*) filter (where l.p is null), count(distinct event_id) filter (where l.p is null)"
            " from arrived as a left join left_out as l on a.kafka_partition = l.p and a.kafka_offset = l.o"
        ).fetchall()
    archived, living, counted = found[0]
    return int(archived), int(living), int(counted)
