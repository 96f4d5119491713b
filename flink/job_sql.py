"""The live job as SQL: DDL from the contracts, views that apply the rules, one insert a sink.

For each topic, in this order:

``arrived_<event>``  the Kafka source, with each record's place in the log, and why it is dead if it is
``judged_<event>``   the others, and whether they are late: more than the horizon behind their partition's watermark
``numbered_<event>`` those that are not, each with ``copy``: 1 for the first record with an event_id, 2 for the next
``<event>``          those, once each: the first records
``<event>_lines``    one row an item of an array called lines, whose fields hide the event's of the same name

The aggregates' queries read the last two, so that one rule holds for all of them. What is dead or late goes to a ledger
each, what was read and what counted is counted by day, and every record that can be read goes to the lake as it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregates.catalogue import Aggregate, Column, touched_by
from aggregates.render import Engine, render
from flink.columns import FLINK, flink_type, sink_column
from flink.live_job import JOB_NAME, LiveJob, main_job, snapshots_of
from schemas.avro_types import is_nullable
from schemas.binary import EPOCH
from schemas.catalogue import MOST_AHEAD, Event, avro_events, event, events
from warehouse.columns import DEAD_LETTER_COLUMNS, lake_columns
from warehouse.deployment import Deployment
from warehouse.sinks import DEAD_RECORDS, EVENT_COUNTS, LATE_EVENTS

SCHEMA_ID_HEADER = "schema_id"
# Ours, of flink/java: a Postgres that is away fails the job and not the process that it runs in.
POSTGRES_CONNECTOR = "postgres-upsert"
# Too: what can't be read fails nothing, and comes with its bytes and the reason.
EVENT_FORMAT = "avro-or-reason"
# And: a partition that is silent follows the others, a while later.
LOG_CONNECTOR = "event-log"
WRITTEN_BOOKS = (EVENT_COUNTS, LATE_EVENTS, DEAD_RECORDS)
PUBLISHED_AT = "cast(`kafka_timestamp` as timestamp(3))"
# Kafka holds a record's timestamp to its own clock, within an hour: so this is the same whenever it is asked.
LATEST = f"{PUBLISHED_AT} + interval '{MOST_AHEAD // timedelta(hours=1)}' hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What flink/job.py executes: settings, then statements one by one, then the inserts as one job."""

    name: str
    settings: dict[str, str]
    statements: list[str] = field(default_factory=list)
    inserts: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def live_plan(
    deployment: Deployment, floors: Mapping[str, datetime] | None = None, job: LiveJob | None = None
) -> JobPlan:
    """The whole live job: every contract, every aggregate and fact, both sinks. With ``job``, that one.

    ``floors``: by event name, a watermark (UTC) that all partitions of its topic are known to have reached.
    """
    job = job or main_job()
    if not job.is_main:
        return _hand_over_plan(deployment, job)
    known = floors or {}
    return JobPlan(
        name=job.name,
        settings=settings(deployment),
        statements=[
            _lake_catalog(deployment),
            *(s for e in avro_events() for s in _event_statements(e, deployment, known.get(e.name, EPOCH), job)),
            *(_dead_letter_source(e, deployment) for e in events() if e.format == "raw"),
            *(_sink(deployment, job, a) for a in job.aggregates),
            *(_postgres_sink(deployment, s.table, _plain(s.columns), s.key) for s in WRITTEN_BOOKS),
        ],
        inserts=[
            *(_compute(job, a) for a in job.aggregates),
            _count_events(),
            _keep_late_events(job.aggregates),
            _keep_dead_records(),
            *(_archive(e) for e in events()),
        ],
    )


def _hand_over_plan(deployment: Deployment, job: LiveJob) -> JobPlan:
    """One aggregate's windows from the line on, and no books: the main job keeps those.

    It judges what lies behind the line as the main job does. Whatever made a later event late is more than the horizon
    newer than that event, and so was read by this job too, before it.
    """
    (aggregate,) = job.aggregates
    line = job.from_line or EPOCH
    floor = line + timedelta(hours=deployment.horizon_hours)
    folder = snapshots_of(deployment, job.name).as_uri()
    return JobPlan(
        name=job.name,
        settings={
            **settings(deployment),
            "pipeline.name": job.name,
            "execution.checkpointing.dir": f"{folder}/checkpoints",
            "execution.checkpointing.savepoint-dir": f"{folder}/savepoints",
        },
        statements=[
            *(s for name in aggregate.inputs for s in _event_statements(event(name), deployment, floor, job)),
            _sink(deployment, job, aggregate),
        ],
        inserts=[_compute(job, aggregate)],
    )


def _target(job: LiveJob, aggregate: Aggregate) -> str:
    return f"retired.{aggregate.name}_v{aggregate.version}" if aggregate.name in job.retired else aggregate.table


def _compute(job: LiveJob, aggregate: Aggregate) -> str:
    return f"insert into `{_target(job, aggregate)}`\n{render(aggregate, Engine.FLINK)}"


def _sink(deployment: Deployment, job: LiveJob, aggregate: Aggregate) -> str:
    """The aggregate's table, or nothing of the same shape: the job's state goes by the shape of its plan."""
    if aggregate.name in job.retired:
        columns = [*_sink_columns(aggregate), _primary_key(aggregate.key)]
        return _create_table(_target(job, aggregate), columns, {"connector": "blackhole"})
    return _postgres_sink(deployment, aggregate.table, _sink_columns(aggregate), aggregate.key)


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
        "execution.buffer-timeout.interval": "20 ms",
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
        # A job that ran for so long has forgotten its earlier failures: the next one waits a second again.
        "restart-strategy.exponential-delay.reset-backoff-threshold": "1 min",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": "2147483647",
    }


def _plain(columns: dict[str, Column]) -> list[str]:
    """Without ``not null``, which Postgres holds: Flink would look at every row of the books once more."""
    return [f"`{name}` {FLINK[column.type]}" for name, column in columns.items()]


def _sink_columns(aggregate: Aggregate) -> list[str]:
    return [sink_column(name, column) for name, column in aggregate.columns.items()]


def _options(options: dict[str, str]) -> str:
    return ",\n  ".join("'{}' = '{}'".format(key, value.replace("'", "''")) for key, value in options.items())


def _lake_catalog(deployment: Deployment) -> str:
    options = {
        "type": "iceberg",
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": deployment.lake_jdbc_url,
        "jdbc.user": deployment.postgres_user,
        "jdbc.password": deployment.postgres_password,
        "jdbc.schema-version": "V1",
        "warehouse": deployment.lake_warehouse,
    }
    return f"create catalog `lake` with (\n  {_options(options)}\n)"


def first_published(job: LiveJob) -> datetime | None:
    """What was published before this is nothing that the job counts; None when that can't be said.

    No event is published before its time by more than MOST_AHEAD. Nothing holds another time than its own to that.
    """
    if job.from_line is None or any(a.time != "occurred_at" for a in job.aggregates):
        return None
    return job.from_line - MOST_AHEAD


def _startup_options(job: LiveJob) -> dict[str, str]:
    since = first_published(job)
    if since is None or since <= EPOCH:  # Kafka knows no time before 1970
        return {"scan.startup.mode": "earliest-offset"}
    return {"scan.startup.mode": "timestamp", "scan.startup.timestamp-millis": str(int(since.timestamp() * 1000))}


def _kafka_options(topic: str, deployment: Deployment, job: LiveJob) -> dict[str, str]:
    return {
        "connector": LOG_CONNECTOR,
        "silent-after": f"{deployment.idle_timeout_seconds} s",
        "topic": topic,
        "properties.bootstrap.servers": deployment.kafka,
        "properties.group.id": job.name,
        "properties.client.id.prefix": f"{job.name}-{topic}",
        **_startup_options(job),
        # A partition that appears or a topic that grows is read too.
        "scan.topic-partition-discovery.interval": "60 s",
    }


LOG_METADATA = [
    "`kafka_partition` int not null metadata from 'partition' virtual",
    "`kafka_offset` bigint not null metadata from 'offset' virtual",
    "`kafka_timestamp` timestamp_ltz(3) not null metadata from 'timestamp' virtual",
    "`kafka_headers` map<string not null, bytes> metadata from 'headers' virtual",
]


def _event_statements(e: Event, deployment: Deployment, floor: datetime, job: LiveJob) -> list[str]:
    own = [f["name"] for f in e.avro_schema["fields"]]
    carried = ", ".join(f"`{name}`" for name in own)
    statements = [
        _kafka_source(e, deployment, job),
        _judged(e, deployment, floor),
        f"create temporary view `numbered_{e.table}` as\n"
        f"select {carried}, count(*) over (partition by `event_id` order by `read_at`) as `copy`\n"
        f"from `judged_{e.table}` where not `is_late`{_from_line(job)}",
        f"create temporary view `{e.table}` as\nselect {carried} from `numbered_{e.table}` where `copy` = 1",
    ]
    if items := _line_fields(e):
        columns = ", ".join(f"`{name}`" for name in items)
        # A line's own field hides the event's of that name: a refund and its lines both have an amount.
        event_columns = ", ".join(f"e.`{name}`" for name in own if name not in ("lines", *items))
        statements.append(
            f"create temporary view `{e.table}_lines` as\n"
            f"select {event_columns}, l.* from `{e.table}` as e"
            f" cross join unnest(e.`lines`) with ordinality as l ({columns}, `line`)"
        )
    return statements


def _from_line(job: LiveJob) -> str:
    if job.from_line is None:
        return ""
    (aggregate,) = job.aggregates
    return f" and `{aggregate.time}` >= {_timestamp(job.from_line)}"


def _timestamp(at: datetime) -> str:
    utc = at.astimezone(UTC).replace(tzinfo=None)
    return f"timestamp '{utc.isoformat(sep=' ', timespec='milliseconds')}'"


def _judged(e: Event, deployment: Deployment, floor: datetime) -> str:
    """Every living record with its partition's watermark, and whether it is more than the horizon behind that.

    The watermark is the newest event time of the partition so far, less what may be out of order. It is kept in the
    job's state: a job that starts again judges as the one before it did, while Flink's own watermark is gone then.
    That one only adds what a silent partition can't know, how far the others are; it is kept with the rest. ``floor``
    is how far all partitions were when the job was submitted.
    """
    horizon = f"interval '{deployment.horizon_hours}' hour({len(str(deployment.horizon_hours))})"
    own = f"`occurred_at` - interval '{deployment.out_of_order_seconds}' second"
    least = _timestamp(floor)
    return f"""create temporary view `judged_{e.table}` as
select *, coalesce(`occurred_at` < `watermark` - {horizon}, false) as `is_late` from (
  select *, max(`reached`) over (partition by `kafka_partition` order by `read_at`) as `watermark` from (
    select *, greatest({own}, coalesce(current_watermark(`event_time`), {least}), {least}) as `reached`
    from `arrived_{e.table}` where `dead_because` is null
  )
)"""


def _line_fields(e: Event) -> list[str]:
    for f in e.avro_schema["fields"]:
        if f["name"] == "lines":
            return [item["name"] for item in f["type"]["items"]["fields"]]
    return []


def _kafka_source(e: Event, deployment: Deployment, job: LiveJob) -> str:
    """A record that can't be read has null in every field. No watermark follows it, nor one ahead of the clock."""
    wait = f"interval '{deployment.out_of_order_seconds}' second"
    columns = [
        *(f"`{f['name']}` {flink_type(f['type']).removesuffix(' not null')}" for f in e.avro_schema["fields"]),
        "`unreadable_value` bytes",
        "`unreadable_reason` string",
        *LOG_METADATA,
        "`read_at` as proctime()",
        # What watermarks are made of. occurred_at stays a plain time: no operator may drop what is behind them.
        f"`event_time` as coalesce(`occurred_at`, {PUBLISHED_AT})",
        f"`dead_because` as {_dead_because(e, deployment)}",
        f"watermark for `event_time` as case when `occurred_at` <= {LATEST} then `event_time` - {wait} end",
    ]
    options = {
        **_kafka_options(e.topic, deployment, job),
        "value.format": EVENT_FORMAT,
        f"value.{EVENT_FORMAT}.url": deployment.registry,
        f"value.{EVENT_FORMAT}.schema": e.schema_text,
        "value.fields-include": "ALL",
    }
    return _create_table(f"arrived_{e.table}", columns, options)


def _dead_because(e: Event, deployment: Deployment) -> str:
    """Why a record counts nowhere, as SQL; null when it may count."""
    shops = deployment.currency
    refused = [
        ("`unreadable_reason` is not null", "`unreadable_reason`"),
        (
            f"`occurred_at` > {LATEST}",
            "concat('it is dated ', cast(`occurred_at` as string), ', more than"
            f" {MOST_AHEAD // timedelta(hours=1)} h after it was published')",
        ),
        *(
            (
                f"`{field['name']}` <> '{shops}'",
                f"concat('{field['name']} is ', `{field['name']}`, '; the shop has {shops}')",
            )
            for field in e.schema["fields"]
            if field.get("currency") == "shop"
        ),
    ]
    cases = " ".join(f"when {condition} then {reason}" for condition, reason in refused)
    return f"case {cases} end"


def _dead_letter_source(e: Event, deployment: Deployment) -> str:
    options = {
        **_kafka_options(e.topic, deployment, main_job()),
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    return _create_table(f"arrived_{e.table}", ["`key` bytes", "`value` bytes", *LOG_METADATA], options)


def _create_table(name: str, columns: list[str], options: dict[str, str]) -> str:
    lines = ",\n  ".join(columns)
    return f"create temporary table `{name}` (\n  {lines}\n) with (\n  {_options(options)}\n)"


def _postgres_sink(deployment: Deployment, table: str, columns: list[str], key: tuple[str, ...]) -> str:
    options = {
        "connector": POSTGRES_CONNECTOR,
        "url": deployment.postgres_jdbc_url,
        "username": deployment.postgres_user,
        "password": deployment.postgres_password,
        "table-name": table,
        "sink.buffer-flush.max-rows": "5000",
        "sink.buffer-flush.interval": f"{deployment.flush_interval_ms} ms",
        "sink.max-retries": "3",
    }
    return _create_table(table, [*columns, _primary_key(key)], options)


def _primary_key(key: tuple[str, ...]) -> str:
    return f"primary key ({', '.join(f'`{name}`' for name in key)}) not enforced"


def _union(selects: list[str]) -> str:
    return "\nunion all\n".join(selects)


def _count_events() -> str:
    """What was read on time and what of it counted, by topic and day; the difference is duplicates."""
    rows = [
        f"select '{e.topic}' as topic, cast(floor(`occurred_at` to day) as timestamp(3)) as window_start,"
        f" case when `copy` = 1 then 1 else 0 end as counted, `occurred_at` from `numbered_{e.table}`"
        for e in avro_events()
    ]
    return (
        "insert into `ops.event_counts`\n"
        "select topic, window_start, count(*), cast(sum(counted) as bigint), max(occurred_at)\n"
        f"from (\n{_union(rows)}\n)\ngroup by topic, window_start"
    )


def _keep_late_events(among: Iterable[Aggregate]) -> str:
    rows = [
        f"select '{e.topic}' as topic, kafka_partition, kafka_offset, event_id, occurred_at,"
        f" `watermark`, '{', '.join(touched_by(e, among))}' as aggregates"
        f" from `judged_{e.table}` where is_late"
        for e in avro_events()
    ]
    return f"insert into `ops.late_events`\n{_union(rows)}"


def _keep_dead_records() -> str:
    rows = [
        f"select '{e.topic}' as topic, kafka_partition, kafka_offset, {PUBLISHED_AT} as published_at,"
        " `dead_because` as reason, `unreadable_reason` is not null as is_unreadable, `unreadable_value` as `value`"
        f" from `arrived_{e.table}` where `dead_because` is not null"
        for e in avro_events()
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
