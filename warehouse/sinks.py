"""The tables in Postgres that the live job writes, each defined once: aggregates, facts and ops tables."""

from __future__ import annotations

from dataclasses import dataclass

from aggregates.catalogue import Aggregate, Column, aggregates
from schemas.catalogue import event


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A table, ``<schema>.<name>``, that is written by upserts on its key. ``origin`` is the file that defines it."""

    table: str
    description: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    origin: str = "warehouse/sinks.py"


EVENT_COUNTS = Sink(
    table="ops.event_counts",
    description="By topic and day: events on time, and how many of them were counted; the difference is duplicates.",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "window_start": Column(type="timestamp", doc="Start of the day of the events, UTC."),
        "on_time": Column(type="count", doc="Events that were not late, duplicates included."),
        "counted": Column(type="count", doc="Events on time that passed deduplication."),
        "last_event_at": Column(type="timestamp", doc="Time of the latest event that was on time."),
    },
    key=("topic", "window_start"),
)
LATE_EVENTS = Sink(
    table="ops.late_events",
    description="Late events: those past the lateness limit, not in any number until a restatement counts them.",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "kafka_partition": Column(type="int", doc="Partition of the topic."),
        "kafka_offset": Column(type="count", doc="Offset in the partition."),
        "event_id": Column(type="string", doc="The event's id."),
        "occurred_at": Column(type="timestamp", doc="The event's time."),
        "watermark": Column(type="timestamp", doc="The watermark when it arrived."),
        "aggregates": Column(type="string", doc="The aggregates and facts without it, separated by commas."),
    },
    key=("topic", "kafka_partition", "kafka_offset"),
)
DEAD_RECORDS = Sink(
    table="ops.dead_records",
    description="Records on the log that the job can't read or must not count, and why.",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "kafka_partition": Column(type="int", doc="Partition of the topic."),
        "kafka_offset": Column(type="count", doc="Offset in the partition."),
        "published_at": Column(type="timestamp", doc="Kafka's timestamp of the record."),
        "reason": Column(type="string", doc="Why it is not counted."),
        "is_unreadable": Column(type="boolean", doc="Whether it is unreadable; then it is not in the lake either."),
        "value": Column(type="bytes", doc="Its bytes, if it is unreadable and has any.", nullable=True),
    },
    key=("topic", "kafka_partition", "kafka_offset"),
)
FINALITY = Sink(
    table="ops.finality",
    description="Windows that end by final_until are final: only a replay may change them.",
    columns={
        "aggregate": Column(type="string", doc="Name of the aggregate or fact."),
        "final_until": Column(type="timestamp", doc="Windows that end at or before this time are final."),
        "watermark": Column(type="timestamp", doc="The watermark behind this."),
        "checkpoint_id": Column(type="count", doc="The checkpoint that confirmed it; 0 where Flink can't be asked."),
        "recorded_at": Column(type="timestamp", doc="When this row was written."),
    },
    key=("aggregate",),
)
SILENT_TOPICS = Sink(
    table="ops.silent_topics",
    description="How far a topic is while it is silent, because late events wait for windows that also count its own.",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "reached": Column(type="timestamp", doc="Its watermark while nothing of it is read, or a later one."),
        "recorded_at": Column(type="timestamp", doc="When this row was written."),
    },
    key=("topic",),
)
JOB_PROGRESS = Sink(
    table="ops.job_progress",
    description="How far live jobs have read each topic; only on a Flink that can't be asked.",
    columns={
        "job": Column(type="string", doc="The job, which is also its consumer group."),
        "topic": Column(type="string", doc="The topic."),
        "subtask": Column(type="int", doc="Number of the source's subtask."),
        "run": Column(type="string", doc="Flink's ids of the job and of this attempt to run the subtask."),
        "subtasks": Column(type="int", doc="How many subtasks there are."),
        "watermark": Column(
            type="timestamp", doc="The subtask's watermark; null when it has just begun.", nullable=True
        ),
        "read_until": Column(type="string", doc="By partition the next offset when it was that, as 0:12 1:7."),
        "reported_at": Column(type="timestamp", doc="When this row was written."),
    },
    key=("job", "topic", "subtask"),
)
VERSIONS = Sink(
    table="ops.versions",
    description="The versions of each aggregate and fact, and since when the current one is live.",
    columns={
        "aggregate": Column(type="string", doc="Name of the aggregate or fact."),
        "version": Column(type="int", doc="Version of its definition."),
        "table_name": Column(type="string", doc="The table with its rows."),
        "fingerprint": Column(type="string", doc="SHA-256 of the definition."),
        "since": Column(type="timestamp", doc="Since when it is live; null when it is not.", nullable=True),
        "run": Column(type="string", doc="The replay that computed its history; null if none did.", nullable=True),
    },
    key=("aggregate", "version"),
)
RESTATED_EVENTS = Sink(
    table="ops.restated_events",
    description="Late events that a replay has counted, with the replay that did.",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "kafka_partition": Column(type="int", doc="Partition of the topic."),
        "kafka_offset": Column(type="count", doc="Offset in the partition."),
        "run": Column(type="string", doc="The replay, in ops.replays."),
    },
    key=("topic", "kafka_partition", "kafka_offset"),
)
NOT_RESTATED = """not exists (
    select 1 from ops.restated_events as r
    where r.topic = l.topic and r.kafka_partition = l.kafka_partition and r.kafka_offset = l.kafka_offset
)"""
"""Of ``ops.late_events as l``: those that are in no number."""
LOG_COUNTS = Sink(
    table="ops.log_counts",
    description="Reconciliation by topic: published = counted + duplicate + late + dead, once everything is read.",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "published": Column(type="count", doc="Records ever appended, plus dead letters intended for it."),
        "counted": Column(type="count", doc="Events that passed deduplication."),
        "duplicate": Column(type="count", doc="Duplicates of events that were counted."),
        "late": Column(type="count", doc="Late events, including restated ones."),
        "dead": Column(type="count", doc="Dead letters intended for it, plus dead records on it."),
        "recorded_at": Column(type="timestamp", doc="The moment of the count."),
    },
    key=("topic",),
)
DEAD_LETTERS = Sink(
    table="ops.dead_letters",
    description="Every dead letter, without its contents: bytes and key stay on the log.",
    columns={
        "kafka_partition": Column(type="int", doc="Its partition of the dead-letter topic."),
        "kafka_offset": Column(type="count", doc="Its offset there."),
        "dead_at": Column(type="timestamp", doc="When it was written."),
        "topic": Column(type="string", doc="The topic it was intended for; empty if unknown."),
        "error": Column(type="string", doc="Class of the error."),
        "reason": Column(type="string", doc="The error message, with an ellipsis for each quoted value."),
        "source_partition": Column(type="int", doc="Partition that it was read from, if any.", nullable=True),
        "source_offset": Column(type="count", doc="Offset that it was read from, if any.", nullable=True),
    },
    key=("kafka_partition", "kafka_offset"),
)
REDRIVES = Sink(
    table="ops.redrives",
    description="What became of the dead letters that somebody redrove: one row per letter, its latest attempt.",
    columns={
        "kafka_partition": Column(type="int", doc="The letter's partition of the dead-letter topic."),
        "kafka_offset": Column(type="count", doc="Its offset there."),
        "dead_at": Column(type="timestamp", doc="When the letter was written, which tells letters of two logs apart."),
        "topic": Column(type="string", doc="The topic of the event."),
        "state": Column(
            type="string",
            doc="sending; redriven: on the log; failed: refused again; asked: to be read again in its shop.",
        ),
        "event_id": Column(type="string", doc="The event's id, once it has one.", nullable=True),
        "recipe": Column(type="string", doc="Name of the recipe; null if there was none.", nullable=True),
        "recipe_sha256": Column(type="string", doc="SHA-256 of the recipe's condition and steps.", nullable=True),
        "reason": Column(type="string", doc="Why it failed, with an ellipsis for each value.", nullable=True),
        "redriven_by": Column(type="string", doc="Who did it."),
        "redriven_at": Column(type="timestamp", doc="When."),
    },
    key=("kafka_partition", "kafka_offset"),
)
HOLDS = Sink(
    table="ops.holds",
    description="One row while the live job is deliberately stopped; it stays stopped until someone starts it.",
    columns={
        "held_at": Column(type="timestamp", doc="Since when."),
        "held_by": Column(type="string", doc="Who stopped it."),
        "why": Column(type="string", doc="stopped, or starting over: a rebuild from scratch that was not finished."),
    },
    key=("held_at",),
)
LIVE_JOBS = Sink(
    table="ops.live_jobs",
    description="The health of each live job, as last reported by Flink; no row for a stopped job.",
    columns={
        "job": Column(type="string", doc="The job."),
        "state": Column(type="string", doc="Flink's state; not there, or not known, if Flink has none."),
        "not_running_since": Column(type="timestamp", doc="Since when it has not been running.", nullable=True),
        "failing_since": Column(type="timestamp", doc="Its first failure since its latest checkpoint.", nullable=True),
        "failures": Column(type="count", doc="Number of failures since that checkpoint."),
        "checkpoint_at": Column(
            type="timestamp", doc="When its latest checkpoint completed, or when it started.", nullable=True
        ),
        "checkpoint_problem": Column(type="string", doc="Why a later checkpoint failed.", nullable=True),
        "why": Column(type="string", doc="The root cause of its latest failure.", nullable=True),
        "recorded_at": Column(type="timestamp", doc="When this row was written."),
    },
    key=("job",),
)
RECURRING_JOBS = Sink(
    table="ops.recurring_jobs",
    description="Results of the runs of each recurring job of the stack (insights/stack/recurring_jobs.py).",
    columns={
        "job": Column(type="string", doc="The job."),
        "every_seconds": Column(type="double", doc="Time from the start of one run to the start of the next."),
        "succeeded_at": Column(type="timestamp", doc="When a run last succeeded.", nullable=True),
        "failing_since": Column(type="timestamp", doc="The first failed run since then.", nullable=True),
        "failures": Column(type="count", doc="How many runs have failed since then."),
        "error": Column(type="string", doc="Why the latest run failed.", nullable=True),
        "recorded_at": Column(type="timestamp", doc="When this was written."),
    },
    key=("job",),
)
# What is on the log, no matter what a job has read of it (reconciliation/recorder.py).
OF_THE_LOG = (LOG_COUNTS, DEAD_LETTERS, REDRIVES)
TOPICS = Sink(
    table="ops.topics",
    description="Topics whose data freshness is watched, as their contracts say (schemas/*.avsc).",
    columns={
        "topic": Column(type="string", doc="The topic."),
        "title": Column(type="string", doc="Name of its source for people."),
        "place": Column(type="int", doc="Its place in lists of sources."),
        "fresh_seconds": Column(type="int", doc="Up to this age, its latest event is live."),
        "stale_seconds": Column(type="int", doc="From this age on, it is stale; between the two, it is delayed."),
        "silent_seconds": Column(type="int", doc="From this age on, an alert reports that the source is silent."),
    },
    key=("topic",),
)
OF_THE_JOBS = (FINALITY, SILENT_TOPICS, JOB_PROGRESS, VERSIONS, HOLDS, LIVE_JOBS, RECURRING_JOBS)
OPS_TABLES = (EVENT_COUNTS, LATE_EVENTS, DEAD_RECORDS, RESTATED_EVENTS, TOPICS, *OF_THE_JOBS, *OF_THE_LOG)


def sinks() -> tuple[Sink, ...]:
    """All of them, aggregates and facts in the version that their folders have."""
    return (*(sink_of(a) for a in aggregates()), *OPS_TABLES)


def sink_of(aggregate: Aggregate) -> Sink:
    """The table of one version of an aggregate or fact."""
    return Sink(
        table=aggregate.table,
        description=aggregate.description,
        columns=aggregate.columns,
        key=aggregate.key,
        origin=f"aggregates/{aggregate.name}/aggregate.toml",
    )


def sink_inputs() -> dict[str, tuple[str, ...]]:
    """Sink table to the topics that it counts: ``{"live.sales_per_minute": ("sales.order_placed.v1",)}``."""
    return {a.sink: tuple(event(name).topic for name in a.inputs) for a in aggregates()}
