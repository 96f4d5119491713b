"""The engine for small ranges on one machine: DuckDB reads the lake's files, without Spark and without Java.

pyiceberg finds the files that hold the task's offsets, and DuckDB streams the columns that a query needs from them.
All slices, those of the log too, are read from the lake: planning ensures that the lake has them, and they are counted
here before anything is computed.

Records that no number counts are found once for a topic, as places in the log: late records, which the task names, and
all but the first record of an event_id. Copies have one key and so one partition, where the lowest offset is the first;
of records with one id in several partitions, it is the one that was published first.

Longer than 400 lines, because it is one way from a task to its results, step by step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from replay.duckdb.views import columns, duckdb_type, quoted, result, text, views
from replay.lake_files import LakeFile, lake_files, local_path, missing_offsets, open_catalog, open_storage, within
from schemas import catalogue
from schemas.catalogue import Versions, versions_of
from schemas.errors import InsightsError, Retryable
from schemas.plural import counted
from schemas.versions import ByPayment
from spark.task import Chunk, Computation, Input, Slice, Task

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUCCESS = "_SUCCESS"
WORK = "_work"
LEAST_MEMORY, MOST_MEMORY = 1 << 28, 4 << 30
CONTAINERS_MEMORY = Path("/sys/fs/cgroup/memory.max")
LOG_POSITION = ("kafka_partition", "kafka_offset", "kafka_timestamp")
GAPS_NAMED = 5


class LakeIncomplete(InsightsError):
    """The lake lacks records that the task needs, or has some twice. Nothing was computed."""


class ComputationFailed(InsightsError):
    """DuckDB could not compute a chunk: a value fits no column, a file is broken, a query is wrong."""


class NotEnoughRoom(Retryable):
    """Memory or disk was not enough. What is finished stays; the run can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Finished chunks of all variants, the total number of chunks, and the last step."""

    done: int
    total: int
    doing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One chunk of one computation in one variant, and where its result goes."""

    variant: str
    computation: Computation
    chunk: Chunk
    folder: Path

    def __str__(self) -> str:
        return f"{self.variant}/{self.computation.aggregate}/{self.chunk.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Topic:
    """A topic as it is read: ``expressions`` gives each field of the contract out of the files' columns."""

    input: Input
    schema: dict[str, Any]
    slices: tuple[Slice, ...]
    files: tuple[LakeFile, ...]
    expressions: dict[str, str]

    @property
    def left_out(self) -> str:
        """The temporary table of what is in no number: partition, offset."""
        return quoted(f"left_out_{self.input.table}")

    @property
    def versions(self) -> Versions | None:
        return versions_of(self.input.versions)

    @property
    def twins(self) -> str:
        return quoted(f"twins_{self.input.table}")


def compute(task: Task, report: Callable[[Progress], None], *, memory_bytes: int | None = None) -> None:
    """Writes the result of every chunk that has none yet. Blocks until all are there.

    ``memory_bytes`` bounds what DuckDB holds (by default half of the machine's or the container's, 4 GiB at most); past
    that it uses files next to the results. Raises LakeIncomplete, ComputationFailed, NotEnoughRoom, and what lake_files
    raises.
    """
    jobs = list(_jobs(task))
    waiting = [job for job in jobs if not (job.folder / SUCCESS).exists()]
    report(Progress(done=len(jobs) - len(waiting), total=len(jobs), doing="reading the lake's tables"))
    if not waiting:
        return
    with _database(Path(local_path(task.output)) / WORK, memory_bytes) as database:
        topics = _topics(database, task, {name for job in waiting for name in job.computation.inputs})
        for topic in topics.values():
            with _explained(f"counting {topic.input.topic}"):
                _check_whole(database, topic)
                _find_twins(database, topic)
        judged: str | None = None
        for done, job in enumerate(waiting, start=len(jobs) - len(waiting)):
            report(Progress(done=done, total=len(jobs), doing=str(job)))
            with _explained(f"computing {job}"):
                if job.variant != judged:
                    for topic in topics.values():
                        _leave_out(database, topic, job.variant)
                    judged = job.variant
                _compute(database, job, [topics[name] for name in job.computation.inputs])
    report(Progress(done=len(jobs), total=len(jobs), doing="finished"))


def _jobs(task: Task) -> Iterator[_Job]:
    for variant in task.variants:
        for computation in task.computations:
            for chunk in computation.chunks:
                folder = Path(local_path(task.folder(variant, computation.aggregate, chunk)))
                yield _Job(variant=variant, computation=computation, chunk=chunk, folder=folder)


@contextmanager
def _database(work: Path, memory_bytes: int | None) -> Iterator[DuckDBPyConnection]:
    import duckdb

    half = memory_here() // 2
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": len(os.sched_getaffinity(0)),
        "memory_limit": f"{memory_bytes or min(max(half, LEAST_MEMORY), MOST_MEMORY)}B",
        "temp_directory": str(work),
        # Rows have keys; keeping them in the files' order would keep them in memory.
        "preserve_insertion_order": False,
        "parquet_metadata_cache": True,
        # Nothing is fetched from anywhere.
        "autoinstall_known_extensions": False,
    }
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with duckdb.connect(":memory:", config=settings) as database:
            database.execute("set TimeZone = 'UTC'")
            yield database
    finally:
        shutil.rmtree(work, ignore_errors=True)


def memory_here(limit: Path = CONTAINERS_MEMORY) -> int:
    """Bytes of memory that there are: the machine's, or what its container lets this process have."""
    machine = int(psutil.virtual_memory().total)
    try:
        return min(machine, int(limit.read_text()))
    except (OSError, ValueError):  # none is the word max
        return machine


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise NotEnoughRoom(
            f"{doing}: not enough memory and disk for DuckDB: {error}. Make room, or choose"
            " smaller chunks or --engine local; then resume the run"
        ) from error
    except (duckdb.IOException, OSError) as error:
        raise NotEnoughRoom(f"{doing}: a file can't be read or written: {error}. Then resume the run") from error
    except duckdb.Error as error:
        raise ComputationFailed(f"{doing}: {error}. This chunk was not written") from error


# The lake's side ------------------------------------------------------------------------------------------------------


def _topics(database: DuckDBPyConnection, task: Task, wanted: set[str]) -> dict[str, _Topic]:
    open_storage(database, task.lake)
    with open_catalog(task.lake) as lake:
        found = {}
        for asked in task.inputs:
            if asked.event in wanted:
                slices = united([*asked.lake, *asked.log])
                files = lake_files(lake, asked.table, slices)
                with _explained(f"opening the files of {asked.topic}"):
                    found[asked.event] = _topic(database, asked, slices, files)
        return found


def united(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    """The same offsets in as few slices as possible; adjacent or overlapping slices are merged."""
    found: list[Slice] = []
    for s in sorted(slices, key=lambda s: (s.partition, s.from_offset)):
        last = found[-1] if found else None
        if s.records <= 0:
            continue
        if last and last.partition == s.partition and s.from_offset <= last.until_offset:
            until = max(last.until_offset, s.until_offset)
            found[-1] = Slice(partition=s.partition, from_offset=last.from_offset, until_offset=until)
        else:
            found.append(s)
    return tuple(found)


def _topic(database: DuckDBPyConnection, asked: Input, slices: tuple[Slice, ...], files: list[LakeFile]) -> _Topic:
    schema = json.loads(asked.schema)
    there = _types(database, f"select * from {_read(files)}") if files else {}
    wanted = {name: duckdb_type(avro) for name, avro in columns(schema).items()}
    empty = ", ".join(f"cast(null as {kind}) as {quoted(name)}" for name, kind in wanted.items())
    written = _types(database, f"select {empty}")
    expressions = {
        name: _expression(quoted(name), there.get(name), written[name], kind) for name, kind in wanted.items()
    }
    return _Topic(input=asked, schema=schema, slices=slices, files=tuple(files), expressions=expressions)


def _types(database: DuckDBPyConnection, query: str) -> dict[str, str]:
    return {row[0]: row[1] for row in database.execute(f"describe {query}").fetchall()}


def _expression(column: str, there: str | None, written: str, wanted: str) -> str:
    """A field with the contract's type. ``there`` is the type in the files, which a field may lack in all of them."""
    if there is None:
        return f"cast(null as {wanted})"
    if there == written:
        return column
    if there == "TIMESTAMP WITH TIME ZONE":
        # As a cast to TIMESTAMP in UTC, without asking a calendar for each value.
        return f"make_timestamp(epoch_us({column}))"
    return f"cast({column} as {wanted})"  # records go by their fields' names


def _read(files: Iterable[LakeFile]) -> str:
    paths = ", ".join(text(file.path) for file in files)
    return f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"


def _check_whole(database: DuckDBPyConnection, topic: _Topic) -> None:
    """Raises LakeIncomplete unless the lake has each offset of the slices exactly once.

    A compacted topic has holes, wherever a newer record of the same key stands.
    """
    may_have_holes = catalogue.event(topic.input.event).cleanup == "compact"
    found = _counted(database, topic)
    for s in topic.slices:
        rows, offsets = found.get((s.partition, s.from_offset), (0, 0))
        where = f"{topic.input.topic} partition {s.partition}"
        if offsets < s.records and not may_have_holes:
            raise LakeIncomplete(
                f"the lake lacks {s.records - offsets:,} of {counted(s.records, 'record')} of {where}: offsets"
                f" {_gaps(database, topic, s)}. Wait until the live job has archived them, or use --engine local, which"
                " reads the log as well"
            )
        if rows > offsets:
            raise LakeIncomplete(
                f"the lake has {counted(rows - offsets, 'record')} of {where} more than once, between offsets"
                f" {s.from_offset} and {s.until_offset - 1}. It must be an exact copy of the log: recreate its table"
            )


def _counted(database: DuckDBPyConnection, topic: _Topic) -> dict[tuple[int, int], tuple[int, int]]:
    """Records and distinct offsets of each slice. A bit an offset: no list of all offsets is held."""
    if not topic.files:
        return {}
    starts = " ".join(
        f"when kafka_partition = {s.partition} and kafka_offset < {s.until_offset} then {s.from_offset}"
        for s in topic.slices
    )
    rows = database.execute(f"""
        select kafka_partition, start, cast(sum(n) as bigint), cast(sum(bit_count(bits)) as bigint) from (
            select kafka_partition, case {starts} end as start, kafka_offset // 64 as block, count(*) as n,
                bit_or(cast(1 as ubigint) << cast(kafka_offset % 64 as ubigint)) as bits
            from {_read(topic.files)} where {within(topic.slices)}
            group by all
        ) group by all""").fetchall()
    return {(partition, start): (n, offsets) for partition, start, n, offsets in rows}


def _gaps(database: DuckDBPyConnection, topic: _Topic, s: Slice) -> str:
    """``3 to 5, 9``: what is missing in a slice."""
    if not topic.files:
        return f"{s.from_offset} to {s.until_offset - 1}"
    found = missing_offsets(database, _read(topic.files), s)
    ends = [(gap.from_offset, gap.until_offset - 1) for gap in found[:GAPS_NAMED]]
    named = [str(first) if first == last else f"{first} to {last}" for first, last in ends]
    return ", ".join(named) + (f" and {len(found) - GAPS_NAMED} more ranges" if len(found) > GAPS_NAMED else "")


# What is in no number -------------------------------------------------------------------------------------------------


def _find_twins(database: DuckDBPyConnection, topic: _Topic) -> None:
    """Keeps the places of all records whose event_id another record may have too: few, where copies are few."""
    position = ", ".join(LOG_POSITION)
    if not topic.files:
        database.execute(
            f"create table {topic.twins} (event_id varchar, kafka_partition int, kafka_offset bigint,"
            " kafka_timestamp timestamptz)"
        )
        return
    records = f"{_read(topic.files)} where {within(topic.slices)}"
    # Hashes take a quarter of the memory of the ids. Two ids with one hash are only looked at in vain.
    database.execute(f"""
        create table {topic.twins} as
        with shared as (select hash(event_id) as h from {records} group by h having count(*) > 1)
        select event_id, {position} from {records} and hash(event_id) in (select h from shared)""")


def _leave_out(database: DuckDBPyConnection, topic: _Topic, variant: str) -> None:
    late = topic.input.late.get(variant, "")
    read_late = (
        f"read_parquet({text(local_path(late))})" if late else "(select 0 as partition, 0 as offset where false)"
    )
    database.execute(f"""
        create or replace table {topic.left_out} as
        with late as (
            select cast("partition" as int) as kafka_partition, cast("offset" as bigint) as kafka_offset
            from {read_late}
        ),

        in_time as (select * from {topic.twins} anti join late using (kafka_partition, kafka_offset)),

        in_partition as (
            select *, row_number() over (partition by event_id, kafka_partition order by kafka_offset) as copy
            from in_time
        ),

        first_ones as (
            select kafka_partition, kafka_offset from in_partition where copy = 1
            qualify row_number() over (partition by event_id order by kafka_timestamp, kafka_partition) = 1
        )

        select * from late
        union all
        select kafka_partition, kafka_offset from in_time anti join first_ones using (kafka_partition, kafka_offset)""")


# One chunk ------------------------------------------------------------------------------------------------------------


def _compute(database: DuckDBPyConnection, job: _Job, topics: list[_Topic]) -> None:
    for topic in topics:
        rule = _rule(topic, job.computation)
        # All states of an order have one time, and it counts at that time or later.
        near = replace(job.chunk, from_time=None) if rule else job.chunk
        selected = _arrived(topic, job.computation.time_column, near)
        database.execute(f"create or replace temporary view {quoted(f'arrived_{topic.input.table}')} as {selected}")
        within_chunk = " and ".join(_in_time("occurred_at", job.chunk, "timestamp")) if rule else ""
        for view in views(topic.input.table, topic.schema, topic.versions, rule, within=within_chunk):
            database.execute(view)
    if job.folder.exists():
        shutil.rmtree(job.folder)  # of a run that ended in the middle
    job.folder.mkdir(parents=True)
    unfinished, finished = job.folder / "_part-0.parquet", job.folder / "part-0.parquet"
    query = result(job.computation.sql, job.computation.columns)
    database.execute(f"copy ({query}) to {text(str(unfinished))} (format parquet, compression zstd)")
    unfinished.rename(finished)
    (job.folder / SUCCESS).touch()


def _rule(topic: _Topic, computation: Computation) -> ByPayment | None:
    """How the topic's events count by payment; None where they count by a field of their own."""
    if computation.undated is None or topic.versions is None or topic.versions.paid is None:
        return None
    return ByPayment(undated=computation.undated)


def _arrived(topic: _Topic, time_column: str, chunk: Chunk) -> str:
    """The records of a chunk that count, as the contract has them."""
    since, until = _time(chunk.from_time), _time(chunk.until_time)
    fields = ", ".join(f"{expression} as {quoted(name)}" for name, expression in topic.expressions.items())
    files = [file for file in topic.files if file.may_hold(time_column, since, until)]
    if not files:
        nothing = ", ".join(
            f"cast(null as {duckdb_type(avro)}) as {quoted(name)}" for name, avro in columns(topic.schema).items()
        )
        return f"select {nothing} where false"
    in_time = _in_time(time_column, chunk, "timestamptz")
    return (
        f"select {fields} from {_read(files)} anti join {topic.left_out} using (kafka_partition, kafka_offset)"
        f" where {' and '.join([within(topic.slices), *in_time])}"
    )


def _in_time(column: str, chunk: Chunk, kind: str) -> list[str]:
    """Conditions: a time, in UTC where it is a plain ``timestamp``, is within the chunk."""
    ends = [(">=", _time(chunk.from_time)), ("<", _time(chunk.until_time))]
    plain = [(sign, at.astimezone(UTC).replace(tzinfo=None) if kind == "timestamp" else at) for sign, at in ends if at]
    return [f"{quoted(column)} {sign} {kind} '{at.isoformat()}'" for sign, at in plain]


def _time(iso: str | None) -> datetime | None:
    if iso is None:
        return None
    at = datetime.fromisoformat(iso)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
