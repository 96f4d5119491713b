"""From a topic to the views that the aggregates' queries read, as SQL: its source, and the rules for all of them.

For each topic, in this order:

``arrived_<event>``  the Kafka source, with each record's place in the log, and why it is dead if it is
``judged_<event>``   the others, and whether they are late: more than the horizon behind their partition's watermark
``numbered_<event>`` those that are not, each with ``copy``: 1 for the first record with an event_id, 2 for the next
``<event>``          those that count: the first records, and of several states of one thing the newest
``<event>_lines``    one row an item of an array of records called lines (and so for any other name), whose fields hide
                     the event's of the same name
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from aggregates.catalogue import Aggregate
from flink.columns import flink_type
from flink.live_job import LiveJob
from schemas.avro_types import place_of, record_arrays
from schemas.binary import EPOCH
from schemas.catalogue import MOST_AHEAD, Event
from schemas.kafka import SHADED
from schemas.versions import newest, when_paid
from warehouse.deployment import Deployment

# Too: what can't be read fails nothing, and comes with its bytes and the reason.
EVENT_FORMAT = "avro-or-reason"
# And: a partition that is silent follows the others, a while later.
LOG_CONNECTOR = "event-log"
PUBLISHED_AT = "cast(`kafka_timestamp` as timestamp(3))"
# Kafka holds a record's timestamp to its own clock, within an hour: so this is the same whenever it is asked.
LATEST = f"{PUBLISHED_AT} + interval '{MOST_AHEAD // timedelta(hours=1)}' hour"


def with_options(options: dict[str, str]) -> str:
    """The options of a ``with`` clause, quoted."""
    return ",\n  ".join("'{}' = '{}'".format(key, value.replace("'", "''")) for key, value in options.items())


def first_published(job: LiveJob, e: Event) -> datetime | None:
    """The job counts no such event that was published before this; None when that is unknown.

    No event is published before its time by more than MOST_AHEAD. Nothing holds another time than its own to that.
    """
    lines = job.lines_in(e.name)
    return lines["occurred_at"] - MOST_AHEAD if lines.keys() == {"occurred_at"} else None


def _startup_options(job: LiveJob, e: Event) -> dict[str, str]:
    since = first_published(job, e)
    if since is None or since <= EPOCH:  # Kafka knows no time before 1970
        return {"scan.startup.mode": "earliest-offset"}
    return {"scan.startup.mode": "timestamp", "scan.startup.timestamp-millis": str(int(since.timestamp() * 1000))}


def _kafka_options(e: Event, deployment: Deployment, job: LiveJob) -> dict[str, str]:
    return {
        "connector": LOG_CONNECTOR,
        "silent-after": f"{deployment.idle_timeout_seconds} s",
        **(_other_topics(deployment) if e.name in counted_together(job.aggregates) else {}),
        **_progress(deployment),
        "topic": e.topic,
        "properties.bootstrap.servers": deployment.kafka.bootstrap,
        **{f"properties.{name}": value for name, value in deployment.kafka.java_security(SHADED).items()},
        "properties.group.id": job.name,
        "properties.client.id.prefix": f"{job.name}-{e.topic}",
        **_startup_options(job, e),
        # A partition that appears or a topic that grows is read too.
        "scan.topic-partition-discovery.interval": "60 s",
    }


def counted_together(written: Iterable[Aggregate]) -> set[str]:
    """Names of events that an aggregate counts together with others, for whose windows it waits."""
    return {name for a in written if len(a.inputs) > 1 for name in a.inputs}


def _other_topics(deployment: Deployment) -> dict[str, str]:
    """Where a silent topic's source learns how far the topics are that are counted together with it."""
    return _postgres("other-topics", deployment)


def _progress(deployment: Deployment) -> dict[str, str]:
    """Where a Flink that can't be asked reports how far each topic is."""
    if deployment.flink_url:
        return {}
    return {**_postgres("progress", deployment), "progress.subtasks": str(deployment.parallelism)}


def _postgres(option: str, deployment: Deployment) -> dict[str, str]:
    return {
        f"{option}.url": deployment.postgres_jdbc_url,
        f"{option}.username": deployment.flink_login.user,
        f"{option}.password": deployment.flink_login.password,
    }


LOG_METADATA = [
    "`kafka_partition` int not null metadata from 'partition' virtual",
    "`kafka_offset` bigint not null metadata from 'offset' virtual",
    "`kafka_timestamp` timestamp_ltz(3) not null metadata from 'timestamp' virtual",
    "`kafka_headers` map<string not null, bytes> metadata from 'headers' virtual",
]


def event_statements(e: Event, deployment: Deployment, floor: datetime, job: LiveJob) -> list[str]:
    """The views over an event's topic: late events and duplicates removed, and one of each array of records."""
    own = _own(e, job)
    columns_of = ", ".join(f"`{name}`" for name in own)
    statements = [
        _kafka_source(e, deployment, job),
        _judged(e, deployment, floor),
        f"create temporary view `numbered_{e.table}` as\n"
        f"select {columns_of}, count(*) over (partition by `event_id` order by `read_at`) as `copy`\n"
        f"from `judged_{e.table}` where not `is_late`{_from_lines(job, e)}",
        f"create temporary view `once_{e.table}` as\nselect {columns_of} from `numbered_{e.table}` where `copy` = 1",
        f"create temporary view `{e.table}` as\n{_counting(job, e, own)}",
    ]
    for array, fields in record_arrays(e.avro_schema).items():
        if array not in own:
            continue
        items = [field["name"] for field in fields]
        columns = ", ".join(f"`{name}`" for name in items)
        # An item's own field hides the event's of that name: a refund and its lines both have an amount.
        event_columns = ", ".join(f"e.`{name}`" for name in own if name not in (array, *items))
        statements.append(
            f"create temporary view `{e.table}_{array}` as\n"
            f"select {event_columns}, i.* from `{e.table}` as e"
            f" cross join unnest(e.`{array}`) with ordinality as i ({columns}, `{place_of(array)}`)"
        )
    return statements


def _own(e: Event, job: LiveJob) -> list[str]:
    """The contract's fields that the job was deployed with."""
    known = job.fields.get(e.name)
    return [f["name"] for f in e.avro_schema["fields"] if known is None or f["name"] in known]


def _counting(job: LiveJob, e: Event, own: list[str]) -> str:
    """By payment, an order's newest state says when it counts: what is before a line is known after that alone."""
    states, rule = _newest(e, own), job.rule_of(e.name)
    if rule is None or e.versions is None:
        return states
    lines = job.lines_in(e.name).values()
    since = f" and `counted at` >= {timestamp(min(lines))}" if lines else ""
    return when_paid(states, own, e.versions, rule, "`{}`".format) + since


def _newest(e: Event, own: list[str]) -> str:
    """Sorted by one text: with two sort keys Flink 2.2's planner takes the newest for a stream without corrections.

    The text sorts as version and event_id do: 20 digits of how far the version is above the least long, then the id.
    """
    order = ""
    if e.versions is not None:
        above = f"cast(`{e.versions.by}` as decimal(20, 0)) + cast('{1 << 63}' as decimal(20, 0))"
        order = f"concat(lpad(cast({above} as string), 20, '0'), `event_id`) desc"
    return newest(f"`once_{e.table}`", own, e.versions, "`{}`".format, order)


def _from_lines(job: LiveJob, e: Event) -> str:
    """What is before the line of everything that reads the event is nobody's here."""
    if job.rule_of(e.name) is not None:
        return ""
    terms = [f"`{time}` >= {timestamp(line)}" for time, line in sorted(job.lines_in(e.name).items())]
    return f" and ({' or '.join(terms)})" if len(terms) > 1 else "".join(f" and {term}" for term in terms)


def timestamp(at: datetime) -> str:
    """A moment as a literal, in UTC."""
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
    least = timestamp(floor)
    return f"""create temporary view `judged_{e.table}` as
select *, coalesce(`occurred_at` < `watermark` - {horizon}, false) as `is_late` from (
  select *, max(`reached`) over (partition by `kafka_partition` order by `read_at`) as `watermark` from (
    select *, greatest({own}, coalesce(current_watermark(`event_time`), {least}), {least}) as `reached`
    from `arrived_{e.table}` where `dead_because` is null
  )
)"""


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
        **_kafka_options(e, deployment, job),
        "value.format": EVENT_FORMAT,
        f"value.{EVENT_FORMAT}.url": deployment.registry,
        f"value.{EVENT_FORMAT}.schema": e.schema_text,
        "value.fields-include": "ALL",
    }
    return create_table(f"arrived_{e.table}", columns, options)


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


def dead_letter_source(e: Event, deployment: Deployment, job: LiveJob) -> str:
    """The dead-letter topic as a table of raw bytes: a letter's value has no schema."""
    options = {
        **_kafka_options(e, deployment, job),
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    return create_table(f"arrived_{e.table}", ["`key` bytes", "`value` bytes", *LOG_METADATA], options)


def create_table(name: str, columns: list[str], options: dict[str, str]) -> str:
    """A ``create temporary table`` statement."""
    lines = ",\n  ".join(columns)
    return f"create temporary table `{name}` (\n  {lines}\n) with (\n  {with_options(options)}\n)"
