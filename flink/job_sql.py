"""The live job as SQL: DDL from the contracts, views that apply the rules, one insert a sink.

Each topic's source, and the views that apply the rules, are in source_sql.py. What is dead or late goes to a ledger
each, what was read and what counted is counted by day, and every record that can be read goes to the lake as it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aggregates.catalogue import Aggregate, Column, touched_by
from aggregates.render import Engine, render
from flink.columns import FLINK, sink_column
from flink.live_job import JOB_NAME, LiveJob, main_job, snapshots_of
from flink.source_sql import (
    PUBLISHED_AT,
    create_table,
    dead_letter_source,
    event_statements,
    timestamp,
    with_options,
)
from schemas.avro_types import is_nullable
from schemas.binary import EPOCH
from schemas.catalogue import Event, event, events
from schemas.codec import SCHEMA_ID_HEADER
from warehouse.columns import DEAD_LETTER_COLUMNS, lake_columns
from warehouse.deployment import Deployment
from warehouse.sinks import DEAD_RECORDS, EVENT_COUNTS, LATE_EVENTS

# Ours, of flink/java: a Postgres that is away fails the job and not the process that it runs in.
POSTGRES_CONNECTOR = "postgres-upsert"
S3_FILES = "org.apache.iceberg.aws.s3.S3FileIO"
WRITTEN_OPS_TABLES = (EVENT_COUNTS, LATE_EVENTS, DEAD_RECORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What flink/job.py executes: settings, then statements one by one, then the inserts as one job."""

    name: str
    settings: dict[str, str]
    statements: list[str] = field(default_factory=list)
    inserts: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """As flink/job.py reads it."""
        return json.dumps(asdict(self), indent=1)


def live_plan(
    deployment: Deployment, floors: Mapping[str, datetime] | None = None, job: LiveJob | None = None
) -> JobPlan:
    """The whole live job: every contract, every aggregate and fact, both sinks. With ``job``, that one.

    ``floors``: by event name, a watermark (UTC) that all partitions of its topic are known to have reached.
    """
    job = job or main_job()
    if job.is_hand_over:
        return _hand_over_plan(deployment, job)
    known = floors or {}
    read = [e for e in events() if e.name in job.events]
    avro = [e for e in read if e.format == "avro"]
    return JobPlan(
        name=job.name,
        settings=_settings_of(deployment, job),
        statements=[
            lake_catalog(deployment),
            *(s for e in avro for s in event_statements(e, deployment, known.get(e.name, EPOCH), job)),
            *(dead_letter_source(e, deployment, job) for e in read if e.format == "raw"),
            *(_sink(deployment, job, a) for a in job.aggregates),
            *(_postgres_sink(deployment, s.table, _plain(s.columns), s.key) for s in WRITTEN_OPS_TABLES),
        ],
        inserts=[
            *(_compute(job, a) for a in job.aggregates),
            _count_events(avro),
            _keep_late_events(avro, job.aggregates),
            _keep_dead_records(avro),
            *(_archive(e) for e in read),
        ],
    )


def _hand_over_plan(deployment: Deployment, job: LiveJob) -> JobPlan:
    """Windows of new versions from their lines on, and no ops tables: the main job writes those.

    It judges what lies behind a line as the main job does. Whatever made a later event late is more than the horizon
    newer than that event, and so was read by this job too, before it.
    """
    return JobPlan(
        name=job.name,
        settings=_settings_of(deployment, job),
        statements=[
            *(s for n in job.inputs for s in event_statements(event(n), deployment, _floor(deployment, job, n), job)),
            *(_sink(deployment, job, a) for a in job.aggregates),
        ],
        inserts=[_compute(job, a) for a in job.aggregates],
    )


def _floor(deployment: Deployment, job: LiveJob, event_name: str) -> datetime:
    if job.rule_of(event_name) is not None:
        return EPOCH  # an order of before the line may count after it, and is read from the log's beginning
    lines = job.lines_in(event_name).values()
    return min(lines) + timedelta(hours=deployment.horizon_hours) if lines else EPOCH


def _target(job: LiveJob, aggregate: Aggregate) -> str:
    return f"retired.{aggregate.name}_v{aggregate.version}" if aggregate.name in job.retired else aggregate.table


def _compute(job: LiveJob, aggregate: Aggregate) -> str:
    query = render(aggregate, Engine.FLINK)
    line = job.lines.get(aggregate.name)
    if line and any(job.lines_in(name) != {aggregate.time: line} for name in aggregate.inputs):
        # The job reads more of its events, for others.
        query = f"select * from (\n{query}\n)\nwhere `{aggregate.moment}` >= {timestamp(line)}"
    return f"insert into `{_target(job, aggregate)}`\n{query}"


def _sink(deployment: Deployment, job: LiveJob, aggregate: Aggregate) -> str:
    """The aggregate's table, or nothing of the same shape: the job's state goes by the shape of its plan."""
    if aggregate.name in job.retired:
        columns = [*_sink_columns(aggregate), _primary_key(aggregate.key)]
        return create_table(_target(job, aggregate), columns, {"connector": "blackhole"})
    return _postgres_sink(deployment, aggregate.table, _sink_columns(aggregate), aggregate.key)


def _settings_of(deployment: Deployment, job: LiveJob) -> dict[str, str]:
    """The main job's snapshots are where the cluster's configuration says."""
    if job.is_main:
        return settings(deployment)
    folder = snapshots_of(deployment, job.name).as_uri()
    return {
        **settings(deployment),
        "pipeline.name": job.name,
        "execution.checkpointing.dir": f"{folder}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{folder}/savepoints",
    }


def settings(deployment: Deployment) -> dict[str, str]:
    """Job settings that hold for every deployment of this job, wherever it runs."""
    return {
        "pipeline.name": JOB_NAME,
        "parallelism.default": str(deployment.parallelism),
        "table.local-time-zone": "UTC",
        # One de-duplication per topic for all inserts; by default it is planned once per insert.
        "table.optimizer.reuse-optimize-block-with-digest-enabled": "true",
        "table.exec.state.ttl": f"{deployment.state_ttl_hours} h",
        "table.exec.sink.not-null-enforcer": "ERROR",
        # The lines of an order's states have other keys than the order: one subtask writes and deletes them, in order.
        "table.exec.sink.upsert-materialize": "NONE",
        "execution.buffer-timeout.interval": f"{deployment.buffer_timeout_ms} ms",
        "pipeline.object-reuse": "true",
        "execution.checkpointing.interval": f"{deployment.checkpoint_interval_seconds} s",
        "execution.checkpointing.min-pause": "1 s",
        # Unaligned checkpoints have lost lake rows at the end of a job: aligned ones only.
        "execution.checkpointing.unaligned.enabled": "false",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "3",
        "execution.checkpointing.tolerable-failed-checkpoints": "10",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        # After running this long, earlier failures no longer count: the next restart waits one second again.
        "restart-strategy.exponential-delay.reset-backoff-threshold": "1 min",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": "2147483647",
    }


def _plain(columns: dict[str, Column]) -> list[str]:
    """Without ``not null``, which Postgres holds: Flink would check every row of the ops tables once more."""
    return [f"`{name}` {FLINK[column.type]}" for name, column in columns.items()]


def _sink_columns(aggregate: Aggregate) -> list[str]:
    return [sink_column(name, column) for name, column in aggregate.columns.items()]


def lake_catalog(deployment: Deployment) -> str:
    """The lake, as Flink knows it. Its catalog is in Postgres, wherever its files are, or in AWS Glue."""
    options = {
        "type": "insights-lake",  # ours, of flink/java: it works from a job's own jar, too
        **_listed_in(deployment),
        "warehouse": deployment.lake_warehouse,
        **({"io-impl": S3_FILES, **deployment.lake_storage} if deployment.lake_storage else {}),
    }
    return f"create catalog `lake` with (\n  {with_options(options)}\n)"


def _listed_in(deployment: Deployment) -> dict[str, str]:
    if deployment.lake_catalog == "glue":
        return {"catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog"}
    return {
        "catalog-impl": "insights.flink.LakeInPostgres",  # ours, for the same reason
        "uri": deployment.lake_jdbc_url,
        "jdbc.user": deployment.flink_login.user,
        "jdbc.password": deployment.flink_login.password,
        "jdbc.schema-version": "V1",
    }


def _postgres_sink(deployment: Deployment, table: str, columns: list[str], key: tuple[str, ...]) -> str:
    options = {
        "connector": POSTGRES_CONNECTOR,
        "url": deployment.postgres_jdbc_url,
        "username": deployment.flink_login.user,
        "password": deployment.flink_login.password,
        "table-name": table,
        "sink.buffer-flush.max-rows": "5000",
        "sink.buffer-flush.interval": f"{deployment.flush_interval_ms} ms",
        "sink.max-retries": "3",
    }
    return create_table(table, [*columns, _primary_key(key)], options)


def _primary_key(key: tuple[str, ...]) -> str:
    return f"primary key ({', '.join(f'`{name}`' for name in key)}) not enforced"


def _union(selects: list[str]) -> str:
    return "\nunion all\n".join(selects)


def _count_events(read: Iterable[Event]) -> str:
    """What was read on time and what of it counted, by topic and day; the difference is duplicates."""
    rows = [
        f"select '{e.topic}' as topic, cast(floor(`occurred_at` to day) as timestamp(3)) as window_start,"
        f" case when `copy` = 1 then 1 else 0 end as counted, `occurred_at` from `numbered_{e.table}`"
        for e in read
    ]
    return (
        "insert into `ops.event_counts`\n"
        "select topic, window_start, count(*), cast(sum(counted) as bigint), max(occurred_at)\n"
        f"from (\n{_union(rows)}\n)\ngroup by topic, window_start"
    )


def _keep_late_events(read: Iterable[Event], among: Sequence[Aggregate]) -> str:
    rows = [
        f"select '{e.topic}' as topic, kafka_partition, kafka_offset, event_id, occurred_at,"
        f" `watermark`, '{', '.join(touched_by(e, among))}' as aggregates"
        f" from `judged_{e.table}` where is_late"
        for e in read
    ]
    return f"insert into `ops.late_events`\n{_union(rows)}"


def _keep_dead_records(read: Iterable[Event]) -> str:
    rows = [
        f"select '{e.topic}' as topic, kafka_partition, kafka_offset, {PUBLISHED_AT} as published_at,"
        " `dead_because` as reason, `unreadable_reason` is not null as is_unreadable, `unreadable_value` as `value`"
        f" from `arrived_{e.table}` where `dead_because` is not null"
        for e in read
    ]
    return f"insert into `ops.dead_records`\n{_union(rows)}"


def _archive(e: Event) -> str:
    """Every record that can be read as it came, late, dead and duplicate ones too, with its place in the log."""
    expressions = [_lake_expression(name, avro) for name, avro in lake_columns(e).items()]
    readable = " where `unreadable_reason` is null" if e.format == "avro" else ""
    return (
        f"insert into `lake`.`events`.`{e.table}`\nselect {', '.join(expressions)}\nfrom `arrived_{e.table}`{readable}"
    )


def _lake_expression(name: str, avro: Any) -> str:
    if name == "schema_id":
        return f"cast(decode(`kafka_headers`['{SCHEMA_ID_HEADER}'], 'UTF-8') as int) as `schema_id`"
    if name == "headers" and avro == DEAD_LETTER_COLUMNS["headers"]:
        return "`kafka_headers` as `headers`"
    inner = avro[1] if is_nullable(avro) else avro
    if isinstance(inner, dict) and inner.get("logicalType") == "timestamp-millis":
        return f"cast(`{name}` as timestamp_ltz(6)) as `{name}`"
    return f"`{name}`"
