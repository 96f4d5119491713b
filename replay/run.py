"""Runs a plan: waits until the live job has read as far, recomputes with an engine, and fills staging tables.

It changes nothing that readers see. To resume a killed run, run its plan again: computed chunks stay, and staging
tables are filled atomically.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from psycopg import sql

from aggregates.catalogue import Aggregate, aggregate
from aggregates.render import Engine, render
from aggregates.windows import floored
from flink.live_job import judge_of, kept_jobs, second_job
from flink.rest import FlinkRest, FlinkUnavailable, JobFailed
from replay import archive, late_events, left_out, run_history
from replay.context import Context, Say
from replay.log import Log
from replay.plan_file import PlannedAggregate, PlannedTopic, ReplayPlan, Stretch
from replay.planning import check_current, final_until
from replay.result import copy_parquet
from replay.run_history import Run, Status, staging
from replay.topic_reading import OffsetsGone
from schemas import catalogue
from schemas.errors import InsightsError, Retryable
from spark.task import Chunk, Computation, Input, Task, read_task, write_task
from warehouse.postgres import Connection
from warehouse.sinks import Sink
from warehouse.tables import sink_ddl
from warehouse.versions import seen_version

# The live job reads on while a plan is made; it takes a checkpoint every few seconds.
CATCH_UP_SECONDS = 300.0
POLL_SECONDS = 0.5
COUNTED, RESTATED = "counted", "restated"

OnEvent = Callable[[dict[str, Any]], None]
"""Called with what an engine reports: ``{"event": "progress", "records": …, "of": …}`` and the like."""


class ComputeEngine(Protocol):
    """Something that carries out a Task. ``dialect`` is the SQL it takes; ``reads_log`` is whether it reads Kafka.

    ``chunk_records`` is about how many records it recomputes at once.
    """

    name: str
    dialect: Engine
    reads_log: bool
    chunk_records: int

    def compute(self, task: Task, on_event: OnEvent) -> None:
        """Computes every chunk that isn't there yet. Blocks. Raises InsightsError with the reason."""


class LiveJobBehind(Retryable):
    """The live job has not read what the plan reads: its tables can't be compared with the replay yet."""


def run(context: Context, plan: ReplayPlan, engine: ComputeEngine, *, by: str, say: Say, on_event: OnEvent) -> Run:
    """Computes the plan into staging tables and returns its record. Blocks.

    Nothing visible has changed when it raises, and it can be run again: Misconfigured when a definition changed since
    the plan was made, ReplayBusy when another replay has one of its aggregates, LiveJobBehind, and what engines raise.
    """
    check_current(plan)
    names = [a.name for a in plan.aggregates]
    with run_history.alone(context, names) as still_held:
        record = _begin(context, plan, engine, by)
        started = time.monotonic()
        try:
            check_still_there(context, plan)
            await_live_job(context, plan, say)
            task = make_task(context, record, engine)
            began = time.monotonic()
            engine.compute(task, on_event)
            still_held()
            say("filling the staging tables")
            rows = _fill(context, record, task)
        except BaseException as error:
            _note_failure(context, record, error, time.monotonic() - started)
            raise
        with context.postgres() as connection:
            seconds = record.compute_seconds + time.monotonic() - began
            run_history.note(
                connection,
                record.run,
                status=Status.COMPUTED,
                computed_at=True,
                rows_computed=rows,
                compute_seconds=seconds,
                error=None,
            )
            return run_history.find(connection, record.run)


def _begin(context: Context, plan: ReplayPlan, engine: ComputeEngine, by: str) -> Run:
    with context.postgres() as connection:
        record = run_history.unfinished(connection, plan) or run_history.new_run(connection, plan, engine.name, by)
        run_history.note(connection, record.run, status=Status.RUNNING, engine=engine.name, error=None)
        return record


def check_still_there(context: Context, plan: ReplayPlan) -> None:
    """Raises OffsetsGone when retention has taken what the plan reads from the log."""
    for topic, planned in plan.topics.items():
        begins = {n: e.begin for n, e in context.log.extents(catalogue.event(planned.event)).items()}
        gone = [s for s in planned.slices("log") if s.from_offset < begins[s.partition]]
        if gone:
            raise OffsetsGone(
                f"the log no longer has records that this plan reads: {archive.named({topic: gone})}. Plan again: the"
                " lake has them, or that plan says what is missing"
            )


def _note_failure(context: Context, record: Run, error: BaseException, seconds: float) -> None:
    reason = str(error) if isinstance(error, InsightsError) else type(error).__name__
    try:
        with context.postgres() as connection:
            spent = record.compute_seconds + seconds
            run_history.note(connection, record.run, status=Status.FAILED, error=reason, compute_seconds=spent)
    except Retryable:
        # Postgres is what failed: the record stays at running, and a run of the same plan resumes from it.
        return


def await_live_job(context: Context, plan: ReplayPlan, say: Say, *, seconds: float = CATCH_UP_SECONDS) -> None:
    """Returns once the live jobs behind the live tables have a complete checkpoint past every offset of the plan.

    Raises LiveJobBehind.
    """
    deadline = time.monotonic() + seconds
    writers = _writers(context, plan)
    is_announced = False
    while behind := _behind(context.log, plan, writers):
        if time.monotonic() > deadline:
            raise LiveJobBehind(
                f"the live job has not read everything that this plan reads: {behind}. Its tables can't be compared"
                " until then; `insights status` shows whether it is running. Run the same plan again later"
            )
        if not is_announced:
            say("waiting for the live job's next checkpoint")
            _ask_for_checkpoint(context, writers)
            is_announced = True
        time.sleep(POLL_SECONDS)


def _ask_for_checkpoint(context: Context, jobs: Iterable[str]) -> None:
    """Once, because a job that has much to read would only be held up; its own next one comes in any case."""
    if not context.deployment.flink_url:
        return
    rest = FlinkRest(context.deployment.flink_url)
    with suppress(JobFailed, FlinkUnavailable):
        for name, job in rest.active_jobs().items():
            if name in jobs:
                rest.checkpoint(job)


def _writers(context: Context, plan: ReplayPlan) -> dict[str, set[str]]:
    """By live job, the topics that it must have read. Whoever judges an event keeps the ledger of its late ones."""
    deployed = kept_jobs(context.deployment)
    found: dict[str, set[str]] = {}
    for topic, planned_topic in plan.topics.items():
        found.setdefault(judge_of(deployed, planned_topic.event), set()).add(topic)
    with context.postgres() as connection:
        for planned in plan.aggregates:
            seen = seen_version(connection, planned.name)
            second = second_job(context.deployment, planned.name, seen or planned.version)
            if second:
                topics = {catalogue.event(name).topic for name in aggregate(planned.name).inputs}
                found[second.name] = found.get(second.name, set()) | topics
    return found


def _behind(log: Log, plan: ReplayPlan, writers: Mapping[str, set[str]]) -> str:
    """Where a live job is before the plan's ends, or an empty text. What it committed is in its tables."""
    found = []
    for job, topics in writers.items():
        committed = log.committed(job, [catalogue.event(plan.topics[topic].event) for topic in topics])
        found += [
            f"{topic} partition {n} up to {committed.get(topic, {}).get(n, 0):,} of {partition.until:,}"
            for topic in sorted(topics)
            for n, partition in plan.topics[topic].partitions.items()
            if committed.get(topic, {}).get(n, 0) < partition.until
        ]
    return "; ".join(found[:3])


def _servers(context: Context) -> dict[str, Any]:
    """Where an engine reads log and lake."""
    kafka = context.deployment.kafka
    lake = context.deployment.lake_properties
    return {"kafka": kafka.bootstrap, "kafka_options": kafka.java_security(), "lake": lake}


def make_task(context: Context, record: Run, engine: ComputeEngine) -> Task:
    """The engine's task, with the files that it names. A run resumed with the same engine has the same."""
    folder = context.run_dir(record.run)
    path, mark = folder / "task.json", folder / f"begun-{engine.name}"
    if path.exists() and mark.exists() and mark.read_text() == record.plan_digest:
        # Servers may have moved since, and have other passwords.
        task = replace(read_task(path.read_text()), **_servers(context))
        write_task(path, task)
        return task
    shutil.rmtree(folder, ignore_errors=True)
    plan = record.plan
    variants = (COUNTED, RESTATED) if plan.scope == "late" else (COUNTED,)
    dead = late_events.dead(context)
    excluded = _late_files(context, record, dead)
    task = Task(
        run=record.run,
        **_servers(context),
        inputs=tuple(_input(context, topic, t, excluded, dead) for topic, t in plan.topics.items()),
        variants=variants,
        computations=tuple(_computation(context, plan, a, engine) for a in plan.aggregates),
        output=(folder / f"results-{engine.name}").as_uri(),  # another engine may still write its own
    )
    if not engine.reads_log:
        _check_lake_has_all(context, task)
    write_task(path, task)
    mark.write_text(record.plan_digest)
    return task


def _late_files(context: Context, record: Run, dead: late_events.Dead) -> dict[tuple[str, str], str]:
    """By event and variant, the file of what does not count: all that waits, and what waits on after a restatement.

    What is dead is in both.
    """
    plan = record.plan
    ends = ends_of(plan)
    touched = late_events.pending(context, ends)
    ripe = late_events.ripe(touched, final_until(context)) if plan.scope == "late" else []
    # What became final only after the plan was made is not in its windows.
    out_of_it = left_out.places(plan.left_out)
    chosen = [
        t for t in ripe if _is_planned(plan, t) and (t.partition, t.offset) not in out_of_it.get(t.event.topic, ())
    ]
    files: dict[tuple[str, str], str] = {}
    for name in ends:
        waiting = {(t.partition, t.offset) for t in touched if t.event.name == name}
        out = {(n, offset) for n, offset in dead.places[name] if offset < ends[name].get(n, 0)}
        kept = {(t.partition, t.offset) for t in chosen if t.event.name == name}
        for variant, places in ((COUNTED, waiting | out), (RESTATED, (waiting - kept) | out)):
            path = context.run_dir(record.run) / "late" / f"{variant}.{name}.parquet"
            late_events.write_places(places, path)
            files[name, variant] = str(path) if places else ""
    return files


def _is_planned(plan: ReplayPlan, touched: late_events.Touched) -> bool:
    planned = {a.name: a for a in plan.aggregates}
    return all(
        name in planned and any(_holds(stretch, moment) for stretch in planned[name].windows)
        for name, moments in touched.moments.items()
        for moment in moments
    )


def _holds(stretch: Stretch, moment: datetime) -> bool:
    return (stretch.since is None or stretch.since <= moment) and (stretch.until is None or moment < stretch.until)


def restated_places(context: Context, record: Run) -> dict[str, set[archive.Place]]:
    """By event name, the late records that a run of scope late makes count, as handed to its engine."""
    folder = context.run_dir(record.run) / "late"
    return {
        name: late_events.read_places(folder / f"{COUNTED}.{name}.parquet")
        - late_events.read_places(folder / f"{RESTATED}.{name}.parquet")
        for name in ends_of(record.plan)
    }


def ends_of(plan: ReplayPlan) -> dict[str, dict[int, int]]:
    """By event name and partition, the offset after the last that the plan reads."""
    return {t.event: {n: p.until for n, p in t.partitions.items()} for t in plan.topics.values()}


def _input(
    context: Context, topic: str, planned: PlannedTopic, excluded: Mapping[tuple[str, str], str], dead: late_events.Dead
) -> Input:
    event = catalogue.event(planned.event)
    unreadable = dead.unreadable[event.name]
    return Input(
        event=event.name,
        table=event.table,
        topic=topic,
        schema=event.schema_text,
        schemas={number: context.registry.schema_text(number) for number in planned.schema_ids},
        log=late_events.without(planned.slices("log"), unreadable),
        lake=late_events.without(planned.slices("lake"), unreadable),
        late={variant: excluded[event.name, variant] for variant in (COUNTED, RESTATED)},
        compacted=event.cleanup == "compact",
        versions=event.schema.get("versions"),
    )


def _computation(context: Context, plan: ReplayPlan, planned: PlannedAggregate, engine: ComputeEngine) -> Computation:
    a = aggregate(planned.name)
    stretches = list(split(planned.windows, _edges(context, plan, a, engine.chunk_records)))
    return computation(a, engine.dialect, tuple(_chunk(number, stretch) for number, stretch in enumerate(stretches)))


def computation(a: Aggregate, dialect: Engine, chunks: tuple[Chunk, ...]) -> Computation:
    """The query of an aggregate in this SQL dialect."""
    return Computation(
        aggregate=a.name,
        sql=render(a, dialect),
        inputs=a.inputs,
        time_column=a.time,
        columns={name: column.type for name, column in a.columns.items()},
        chunks=chunks,
        undated=a.payment.undated if a.payment else None,
    )


def _edges(context: Context, plan: ReplayPlan, a: Aggregate, chunk_records: int) -> list[datetime]:
    """Starts of windows between which lie about as many records as may be recomputed at once."""
    found: list[datetime] = []
    with context.lake() as catalog:
        for name in a.inputs:
            records = plan.topics[catalogue.event(name).topic].records
            pieces = -(-records // chunk_records)
            if pieces > 1:
                found += archive.quantiles(catalog, catalogue.event(name), a.time, pieces)
    return sorted({floored(moment, a.window, a.zone) for moment in found})


def split(stretches: Iterable[Stretch], edges: Sequence[datetime]) -> Iterator[Stretch]:
    """The stretches, cut at those edges that lie within one."""
    for stretch in stretches:
        since = stretch.since
        for edge in edges:
            if (since is None or since < edge) and (stretch.until is None or edge < stretch.until):
                yield Stretch(since=since, until=edge)
                since = edge
        yield Stretch(since=since, until=stretch.until)


def _chunk(number: int, stretch: Stretch) -> Chunk:
    return Chunk(
        name=f"{number:05}",
        from_time=stretch.since.isoformat() if stretch.since else None,
        until_time=stretch.until.isoformat() if stretch.until else None,
    )


def _check_lake_has_all(context: Context, task: Task) -> None:
    with context.lake() as catalog:
        missing = {
            i.topic: found.missing
            for i in task.inputs
            if (found := archive.coverage(catalog, catalogue.event(i.event), [*i.lake, *i.log])).missing
        }
        missing |= {
            i.topic: behind
            for i in task.inputs
            if i.compacted and (behind := archive.behind(catalog, catalogue.event(i.event), i.log))
        }
    if missing:
        raise LiveJobBehind(
            f"the lake does not have these records yet: {archive.named(missing)}. It gets them with the live job's next"
            " checkpoint; run the same plan again then, or with --engine local, which reads the log as well"
        )


def _fill(context: Context, record: Run, task: Task) -> int:
    rows = 0
    for variant in task.variants:
        for computation in task.computations:
            with context.postgres() as connection:
                rows += fill_one(connection, task, variant, computation)
    return rows


def fill_one(connection: Connection, task: Task, variant: str, computation: Computation) -> int:
    """Recreates the staging table of one aggregate, in one transaction; its number of rows."""
    a = aggregate(computation.aggregate)
    table = staging(task.run, a.name, variant)
    connection.execute(sql.SQL("drop table if exists {}").format(_named(table)))
    for statement in sink_ddl(Sink(table=table, description=a.description, columns=a.columns, key=a.key)):
        connection.execute(statement.encode())
    rows = sum(
        copy_parquet(connection, task.folder(variant, a.name, chunk), table, computation.columns)
        for chunk in computation.chunks
    )
    connection.execute(sql.SQL("analyze {}").format(_named(table)))
    return rows


def _named(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))
