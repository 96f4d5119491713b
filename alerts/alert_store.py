"""The alerts' state in Postgres: alerts, the latest check of each rule, and messages with their delivery.

An alert's new state and its messages are written in one transaction, before anything is sent. So a crash loses none; if
it happens between sending and recording, one message is sent again, under the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from alerts.evaluate import Alert, State, Transition
from alerts.message import Message
from alerts.postgres import Connection

WATCHES = "select pg_try_advisory_lock(hashtextextended('insights.alerts', 0))"
ALERT_COLUMNS = "rule, label, title, severity, state, since, last_seen, notified_at, recovered_at, detail"
UPSERT = """
insert into ops.alerts (
    rule, fingerprint, label, title, severity, state, since, last_seen, notified_at, recovered_at, detail
)
values (
    %(rule)s, %(fingerprint)s, %(label)s, %(title)s, %(severity)s, %(state)s, %(since)s, %(last_seen)s,
    %(notified_at)s, %(recovered_at)s, %(detail)s
)
on conflict (rule, fingerprint) do update
set title = excluded.title, severity = excluded.severity, state = excluded.state, since = excluded.since,
    last_seen = excluded.last_seen, notified_at = excluded.notified_at, recovered_at = excluded.recovered_at,
    detail = excluded.detail
"""
QUEUE = """
insert into ops.alert_messages (id, channel, rule, kind, fingerprints, message, created_at, next_at)
values (%s, %s, %s, %s, %s, %s, %s, %s)
on conflict (id, channel) do nothing
"""
WAITING = "sent_at is null and given_up_at is null"
KEPT = timedelta(days=30)
GIVE_UP_AFTER = timedelta(days=3)
LONGEST_PAUSE = timedelta(minutes=15)
FIRST_PAUSE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that a channel has not taken yet."""

    message: Message
    channel: str
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The newest check of a rule. ``outcome``: quiet, finds, not known, broken."""

    rule: str
    checked_at: datetime
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A channel with messages that it did not take: how many wait or were given up, since when, and why."""

    channel: str
    waiting: int
    given_up: int
    since: datetime
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All of it in a few numbers. ``checked_at`` is the newest check of any rule, None before the first."""

    critical: int
    warning: int
    info: int
    broken: int
    untold: int
    checked_at: datetime | None


def is_there(connection: Connection) -> bool:
    """Whether the tables are."""
    return connection.execute("select to_regclass('ops.alert_messages') is not null").fetchone() == (True,)


def take_watch(connection: Connection) -> bool:
    """May this connection evaluate rules? Only one at a time may, until it closes."""
    return connection.execute(WATCHES).fetchone() == (True,)


def alerts_of(connection: Connection, rule: str) -> list[Alert]:
    """All that is known of one rule."""
    return _alerts(connection, "where rule = %s", [rule])


def open_alerts(connection: Connection) -> list[Alert]:
    """Firing and pending alerts, the most severe first."""
    loudest = "order by state, array_position(array['critical', 'warning', 'info'], severity), since, rule, label"
    return _alerts(connection, f"where state <> 'recovered' {loudest}", [])


def recovered(connection: Connection, since: datetime) -> list[Alert]:
    """Alerts that ended since then, the newest first."""
    return _alerts(connection, "where state = 'recovered' and recovered_at >= %s order by recovered_at desc", [since])


def _alerts(connection: Connection, condition: str, values: list[object]) -> list[Alert]:
    names = ALERT_COLUMNS.split(", ")
    rows = connection.execute(f"select {ALERT_COLUMNS} from ops.alerts {condition}".encode(), values).fetchall()
    read = (dict(zip(names, row, strict=True)) for row in rows)
    return [Alert(**{**row, "state": State(row["state"])}) for row in read]


def write(
    connection: Connection,
    changes: Iterable[Transition],
    queued: Iterable[tuple[Message, Sequence[str]]],
    now: datetime,
) -> None:
    """Writes the alerts' new states, and the messages with their channels: both or neither."""
    with connection.transaction():
        for change in changes:
            alert = change.alert
            if change.change == "forgotten":
                connection.execute(
                    "delete from ops.alerts where rule = %s and fingerprint = %s", (alert.rule, alert.fingerprint)
                )
                continue
            fields = {name: getattr(alert, name) for name in (*ALERT_COLUMNS.split(", "), "fingerprint")}
            connection.execute(UPSERT, {**fields, "state": str(alert.state)})
        for message, channels in queued:
            for channel in channels:
                _queue(connection, message, channel, now)


def _queue(connection: Connection, message: Message, channel: str, now: datetime) -> None:
    marks = [finding.fingerprint for finding in message.findings]
    if message.kind == "reminded" and _waits(connection, message.rule, channel, marks):
        return  # what was not taken yet will remind of itself
    connection.execute(
        QUEUE,
        (message.id, channel, message.rule, message.kind, marks, Jsonb(message.as_json()), now, now),
    )


def _waits(connection: Connection, rule: str, channel: str, marks: list[str]) -> bool:
    asked = (
        "select 1 from ops.alert_messages where rule = %s and channel = %s and fingerprints && %s"
        f" and {WAITING} limit 1"
    )
    return connection.execute(asked.encode(), (rule, channel, marks)).fetchone() is not None


def note_check(connection: Connection, check: Check) -> None:
    """Writes down how the newest check of a rule went."""
    connection.execute(
        "insert into ops.alert_rules (rule, checked_at, outcome, detail) values (%s, %s, %s, %s)"
        " on conflict (rule) do update set checked_at = excluded.checked_at, outcome = excluded.outcome,"
        " detail = excluded.detail",
        (check.rule, check.checked_at, check.outcome, check.detail),
    )


def checks(connection: Connection) -> dict[str, Check]:
    """The newest check by rule."""
    with connection.cursor(row_factory=class_row(Check)) as cursor:
        cursor.execute("select rule, checked_at, outcome, detail from ops.alert_rules order by rule")
        return {check.rule: check for check in cursor}


def due(connection: Connection, channel: str, now: datetime) -> Iterator[Waiting]:
    """What the channel should be sent now, the oldest first."""
    asked = (
        f"select message, created_at, attempts from ops.alert_messages where channel = %s and {WAITING}"
        " and next_at <= %s order by created_at, id limit 100"
    )
    for message, created_at, attempts in connection.execute(asked.encode(), (channel, now)).fetchall():
        yield Waiting(message=Message.from_json(message), channel=channel, created_at=created_at, attempts=attempts)


def note_sent(connection: Connection, sent: Waiting, now: datetime) -> None:
    """The channel took it."""
    with connection.transaction():
        connection.execute(
            "update ops.alert_messages set sent_at = %s, attempts = attempts + 1, problem = null"
            " where id = %s and channel = %s",
            (now, sent.message.id, sent.channel),
        )
        connection.execute(
            "update ops.alerts set last_sent = %s where rule = %s and fingerprint = any(%s)",
            (now, sent.message.rule, [finding.fingerprint for finding in sent.message.findings]),
        )


def note_failed(connection: Connection, failed: Waiting, problem: str, now: datetime) -> None:
    """The channel did not take it. It is tried again ever later, for three days."""
    gives_up = now - failed.created_at >= GIVE_UP_AFTER
    connection.execute(
        "update ops.alert_messages set attempts = attempts + 1, problem = %s, next_at = %s, given_up_at = %s"
        " where id = %s and channel = %s",
        (problem, now + pause(failed.attempts), now if gives_up else None, failed.message.id, failed.channel),
    )


def pause(attempts: int) -> timedelta:
    """Pause after this many attempts: 10 s, 20 s, 40 s, at most 15 minutes."""
    return min(FIRST_PAUSE * (1 << min(attempts, 10)), LONGEST_PAUSE)


def give_up_others(connection: Connection, channels: Sequence[str], now: datetime) -> None:
    """What waits for a channel that is not configured any more will never go."""
    connection.execute(
        "update ops.alert_messages set given_up_at = %s, problem = 'the channel is not configured any more'"
        f" where {WAITING} and channel <> all(%s)".encode(),
        (now, list(channels)),
    )


def troubles(connection: Connection, since: datetime) -> list[Trouble]:
    """Channels that did not take what was sent to them, by what waits and by what was given up since then."""
    with connection.cursor(row_factory=class_row(Trouble)) as cursor:
        cursor.execute(
            f"select channel, count(*) filter (where {WAITING}) as waiting, count(given_up_at) as given_up,"
            " min(created_at) as since, (array_agg(problem order by next_at desc))[1] as problem"
            " from ops.alert_messages where problem is not null and sent_at is null"
            " and (given_up_at is null or given_up_at >= %s) group by channel order by channel".encode(),
            (since,),
        )
        return list(cursor)


def summary(connection: Connection) -> Summary:
    """What fires by severity, rules that are broken, messages that a channel has refused so far."""
    with connection.cursor(row_factory=class_row(Summary)) as cursor:
        cursor.execute(
            "select"
            " (select count(*) from ops.alerts where state = 'firing' and severity = 'critical') as critical,"
            " (select count(*) from ops.alerts where state = 'firing' and severity = 'warning') as warning,"
            " (select count(*) from ops.alerts where state = 'firing' and severity = 'info') as info,"
            " (select count(*) from ops.alert_rules where outcome = 'broken') as broken,"
            f" (select count(*) from ops.alert_messages where {WAITING} and attempts > 0) as untold,"
            " (select max(checked_at) from ops.alert_rules) as checked_at".encode()
        )
        found = cursor.fetchone()
    assert found is not None
    return found


def forget_rules(connection: Connection, names: Sequence[str], now: datetime) -> None:
    """Ends alerts of rules that no longer exist, without a message, and deletes their checks."""
    connection.execute(
        "update ops.alerts set state = 'recovered', recovered_at = %s, detail = detail || ' (its rule is gone)'"
        " where state <> 'recovered' and rule <> all(%s)",
        (now, list(names)),
    )
    connection.execute("delete from ops.alert_rules where rule <> all(%s)", (list(names),))


def prune(connection: Connection, now: datetime) -> None:
    """Deletes what ended or was sent more than 30 days ago."""
    before = (now - KEPT,)
    connection.execute("delete from ops.alerts where state = 'recovered' and recovered_at < %s", before)
    connection.execute("delete from ops.alert_messages where coalesce(sent_at, given_up_at) < %s", before)
