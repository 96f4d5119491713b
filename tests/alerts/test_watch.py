"""The daemon's work on a real Postgres, with real receivers and a clock that the test turns.

Longer than 400 lines, because its tests share a desk: the daemon, its receivers and its clock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alerts import alert_store
from alerts.channels import Channel, ChannelFailed, Email, Slack, SmtpServer, Webhook
from alerts.message import Message
from alerts.rule import ChannelName
from alerts.watch import Watch
from tests.alerts.made_rules import write
from tests.alerts.receivers import Inbox, MailServer

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Desk:
    """A shop with shelves, a rule about them, and a watch whose clock the test turns."""

    dsn: str
    rules: Path
    channels: list[Channel]
    now: datetime = NOON
    watches: list[Watch] = field(default_factory=list)

    def begin(self) -> Watch:
        watch = Watch(
            dsn=self.dsn, channels=self.channels, rules=self.rules, clock=lambda: self.now, statement_seconds=0.2
        )
        self.watches.append(watch)
        return watch

    def step(self, *, minutes: float = 1) -> None:
        """Time passes, and the watch that was begun last takes a step."""
        self.now += timedelta(minutes=minutes)
        (self.watches or [self.begin()])[-1].step()

    def crash(self) -> None:
        """As if the process were gone: its connections end, nothing is written any more."""
        self.watches.pop().close()

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def shelve(self, *empty: str) -> None:
        """These shelves are empty now, and no others."""
        self.sql("truncate shelves")
        for label in empty:
            self.sql("insert into shelves values (%s)", label)

    def states(self) -> dict[str, str]:
        return dict(self.sql("select label, state from ops.alerts where rule = 'shelves'"))


@pytest.fixture
def desk(dsn: str, tmp_path: Path, inbox: Inbox) -> Iterator[Desk]:
    desk = Desk(dsn=dsn, rules=tmp_path / "rules", channels=[Webhook(url=inbox.url)])
    desk.sql("create table shelves (label text)")
    write(desk.rules)
    yield desk
    for watch in desk.watches:
        watch.close()


def heads(inbox: Inbox) -> list[str]:
    return [message["text"] for message in inbox.messages]


def test_a_finding_is_notified_once_and_when_it_is_over_and_stays_recorded(desk: Desk, inbox: Inbox) -> None:
    desk.step()
    desk.shelve("helmets")
    desk.step()
    desk.step()
    assert heads(inbox) == ["Shelves are empty\nhelmets is out"]
    assert desk.sql("select state, since, last_seen, last_sent from ops.alerts") == [
        ("firing", NOON + timedelta(minutes=2), NOON + timedelta(minutes=3), NOON + timedelta(minutes=2))
    ]
    desk.shelve()
    desk.step()
    assert heads(inbox)[1:] == ["Resolved: Shelves are empty\nhelmets is out (resolved after 2 min)"]
    assert desk.states() == {"helmets": "recovered"}


def test_a_restart_sends_nothing_again_and_loses_nothing(desk: Desk, inbox: Inbox) -> None:
    desk.shelve("helmets")
    desk.step()
    desk.crash()
    desk.begin()
    desk.step()
    assert len(inbox.bodies) == 1
    desk.crash()
    desk.shelve()
    desk.begin()
    desk.step(minutes=60)
    assert heads(inbox)[1].startswith("Resolved: ")


def test_a_rule_is_asked_no_more_often_than_it_wants(desk: Desk) -> None:
    write(desk.rules, every="10m")
    for _ in range(25):
        desk.step()
    (checked,) = desk.sql("select checked_at, outcome from ops.alert_rules")
    assert checked == (NOON + timedelta(minutes=21), "quiet")


def test_every_channel_is_notified_and_a_rule_may_choose(desk: Desk, inbox: Inbox, mail: MailServer) -> None:
    server = SmtpServer(host="127.0.0.1", port=mail.port, tls="none")
    desk.channels += [Slack(url=inbox.url), Email(server=server, sender="s@shop.test", recipients=("o@shop.test",))]
    write(desk.rules, "loud", channels=["email"], title="Call somebody")
    desk.shelve("helmets")
    desk.step()
    assert sorted(mail["Subject"] for mail in mail.mails) == ["[warning] Call somebody", "[warning] Shelves are empty"]
    assert sorted(m["text"].splitlines()[0] for m in inbox.messages) == ["Shelves are empty"] * 2


def test_a_failing_channel_does_not_block_others_and_is_retried_at_growing_intervals(
    desk: Desk, inbox: Inbox, mail: MailServer
) -> None:
    server = SmtpServer(host="127.0.0.1", port=mail.port, tls="none")
    desk.channels.append(Email(server=server, sender="s@shop.test", recipients=("o@shop.test",)))
    inbox.answers += [500] * 4
    desk.shelve("helmets")
    tried = []
    for _ in range(40):
        left = len(inbox.answers)
        desk.step(minutes=1 / 6)
        if len(inbox.answers) != left or inbox.bodies:
            tried.append((desk.now - NOON).total_seconds())
        if inbox.bodies:
            break
    assert tried == [10, 20, 40, 80, 160]
    assert len(mail.mails) == len(inbox.bodies) == 1
    assert desk.sql("select channel, attempts, problem from ops.alert_messages order by 1") == [
        *(("email", 1, None), ("webhook", 5, None))
    ]


def test_a_channel_that_keeps_failing_is_reported_by_the_others(desk: Desk, inbox: Inbox, mail: MailServer) -> None:
    server = SmtpServer(host="127.0.0.1", port=mail.port, tls="none")
    desk.channels.append(Email(server=server, sender="s@shop.test", recipients=("o@shop.test",)))
    inbox.answers += [403] * 1000
    desk.shelve("helmets")
    for _ in range(15):
        desk.step()
    assert [mail["Subject"] for mail in mail.mails] == [
        "[warning] Shelves are empty",
        "[warning] Alerting is not working properly",
    ]
    body = mail.mails[1].get_body(("plain",))
    assert body is not None
    assert "The channel webhook rejects messages: http://127.0.0.1" in body.get_content()
    assert "T0SECRET" not in body.get_content()
    with psycopg.connect(desk.dsn) as connection:
        (trouble,) = alert_store.troubles(connection, NOON)
        assert (trouble.channel, trouble.waiting) == ("webhook", 2)
        assert alert_store.summary(connection).untold == 2


def test_after_three_days_a_message_is_given_up_and_that_is_known(desk: Desk, inbox: Inbox) -> None:
    inbox.answers += [500] * 10_000
    desk.shelve("helmets")
    desk.step()
    for _ in range(13):
        desk.step(minutes=6 * 60)
    assert desk.sql("select given_up_at is not null from ops.alert_messages where kind = 'fired' and rule = 'shelves'")[
        0
    ] == (True,)
    with psycopg.connect(desk.dsn) as connection:
        (trouble,) = alert_store.troubles(connection, desk.now - timedelta(days=1))
    assert trouble.given_up >= 1


class Crashed(BaseException):
    """The process ends here."""


@dataclass
class Fragile:
    """Sends as another does, and crashes before or after, once."""

    inner: Channel
    crashes: str

    @property
    def name(self) -> ChannelName:
        return self.inner.name

    @property
    def where(self) -> str:
        return self.inner.where

    def send(self, message: Message) -> None:
        crashes, self.crashes = self.crashes, ""
        if crashes == "before":
            raise Crashed
        self.inner.send(message)
        if crashes == "after":
            raise Crashed


@pytest.mark.parametrize(("crashes", "copies"), [("before", 1), ("after", 2)])
@pytest.mark.parametrize("kind", ["fired", "recovered"])
def test_a_crash_between_deciding_and_noting_loses_no_message_and_repeats_one_at_most(
    desk: Desk, inbox: Inbox, crashes: str, copies: int, kind: str
) -> None:
    fragile = Fragile(inner=desk.channels[0], crashes=crashes if kind == "fired" else "")
    desk.channels = [fragile]
    desk.shelve("helmets")
    if kind == "recovered":
        desk.step()
        desk.shelve()
        fragile.crashes = crashes
    with pytest.raises(Crashed):
        desk.step()
    desk.crash()
    desk.begin()
    for _ in range(5):
        desk.step()
    sent = [message["id"] for message in inbox.messages if message["kind"] == kind]
    assert (len(sent), len(set(sent))) == (copies, 1)
    assert desk.states() == {"helmets": "firing" if kind == "fired" else "recovered"}


def test_what_cannot_be_asked_ends_nothing_that_fires(desk: Desk, inbox: Inbox) -> None:
    desk.shelve("helmets")
    desk.step()
    desk.sql("alter table shelves rename to boards")
    for _ in range(30):
        desk.step()
    assert desk.sql("select outcome, detail from ops.alert_rules") == [
        ("not known", "not known yet: there is no shelves")
    ]
    assert (len(inbox.bodies), desk.states()) == (1, {"helmets": "firing"})
    desk.sql("alter table boards rename to shelves")
    desk.shelve()
    desk.step()
    assert desk.states() == {"helmets": "recovered"}


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select lable as label from shelves", 'column "lable" does not exist'),
        (
            "select * from (values (pg_sleep(60))) as sleeps (label)",
            "took longer than the limit for rules and was stopped",
        ),
        ("select nextval('numbers')::text as label", "a rule may only read"),
        ("with gone as (delete from shelves returning label) select label from gone", "data-modifying statement"),
        ("select lo_create(0)::text as label", "a rule may only read"),
        ("select set_config('transaction_read_only', 'off', true) as label", "read-write mode"),
    ],
)
def test_sql_that_is_wrong_slow_or_writes_is_stopped_and_reported_and_stops_no_other_rule(
    desk: Desk, inbox: Inbox, sql: str, said: str
) -> None:
    desk.sql("create sequence numbers")
    write(desk.rules, "a_wrong_one", sql=sql)
    desk.shelve("helmets")
    for _ in range(12):
        desk.step()
    assert desk.sql("select last_value, is_called from numbers") == [(1, False)]
    assert desk.sql("select label from shelves") == [("helmets",)]
    (outcome,) = desk.sql("select outcome, detail from ops.alert_rules where rule = 'a_wrong_one'")
    assert outcome[0] == "broken"
    assert outcome[1].startswith("rule a_wrong_one, field sql: ")
    assert said in outcome[1]
    assert heads(inbox)[0] == "Shelves are empty\nhelmets is out"
    assert heads(inbox)[1].startswith("Alerting is not working properly\nrule a_wrong_one, field sql: ")
    assert said in desk.watches[-1].health.broken[0]


def test_a_rule_is_reloaded_when_its_file_changes(desk: Desk, inbox: Inbox) -> None:
    desk.shelve("helmets")
    desk.step()
    write(desk.rules, message="No {label} left", remind="1s")
    desk.step()
    assert heads(inbox)[1] == "Still firing: Shelves are empty\nNo helmets left"


def test_a_rule_that_is_gone_ends_its_alerts_without_a_word_but_one_that_is_misspelt_does_not(
    desk: Desk, inbox: Inbox
) -> None:
    desk.shelve("helmets")
    desk.step()
    write(desk.rules, severty="info")
    desk.step()
    assert desk.states() == {"helmets": "firing"}
    (desk.rules / "shelves.yaml").unlink()
    desk.step()
    assert desk.states() == {"helmets": "recovered"}
    assert len(inbox.bodies) == 1
    assert desk.sql("select * from ops.alert_rules") == []


@contextmanager
def closed(desk: Desk) -> Iterator[None]:
    """The database takes no connection, and ends those that it has."""
    server = desk.dsn.rsplit("/", 1)[0] + "/insights"
    name = desk.dsn.rsplit("/", 1)[1]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"alter database {name} with allow_connections false".encode())
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        yield
        connection.execute(f"alter database {name} with allow_connections true".encode())


def test_an_unavailable_postgres_is_reported_once_and_afterwards_all_continues(desk: Desk, inbox: Inbox) -> None:
    desk.shelve("helmets")
    desk.step()
    with closed(desk):
        desk.step()
        desk.step()
        assert "is not responding" in desk.watches[-1].health.problem or "terminat" in desk.watches[-1].health.problem
        assert len(inbox.bodies) == 1
        for _ in range(10):
            desk.step()
    assert [m["rule"] for m in inbox.messages] == ["shelves", "postgres_away"]
    desk.shelve("helmets", "locks")
    desk.step()
    desk.step()
    assert sorted((m["rule"], m["kind"], m["findings"][0]["label"]) for m in inbox.messages[2:]) == [
        *(("postgres_away", "recovered", ""), ("shelves", "fired", "locks"))
    ]


def test_a_short_absence_of_postgres_is_not_reported(desk: Desk, inbox: Inbox) -> None:
    desk.step()
    with closed(desk):
        desk.step()
        desk.step()
    for _ in range(5):
        desk.step()
    assert inbox.bodies == []
    assert desk.watches[-1].health.watching


def test_an_unavailable_postgres_is_reported_again_to_a_channel_that_failed(desk: Desk, inbox: Inbox) -> None:
    desk.step()
    inbox.answers += [500, 500]
    with closed(desk):
        for _ in range(8):
            desk.step()
    assert [m["rule"] for m in inbox.messages] == ["postgres_away"]


def test_without_a_channel_alerts_are_recorded_and_nothing_waits(desk: Desk) -> None:
    desk.channels = []
    desk.shelve("helmets")
    desk.step()
    assert desk.states() == {"helmets": "firing"}
    assert desk.sql("select last_sent from ops.alerts") == [(None,)]
    assert desk.sql("select count(*) from ops.alert_messages") == [(0,)]


def test_what_waits_for_a_channel_that_is_configured_no_more_is_given_up(desk: Desk, inbox: Inbox) -> None:
    inbox.answers.append(500)
    desk.shelve("helmets")
    desk.step()
    desk.crash()
    desk.channels = []
    desk.begin()
    desk.step()
    assert desk.sql("select problem, given_up_at is not null from ops.alert_messages") == [
        ("the channel is not configured any more", True)
    ]


def test_two_daemons_send_one_message_and_the_second_takes_over_when_the_first_is_gone(
    desk: Desk, inbox: Inbox
) -> None:
    desk.shelve("helmets")
    first, second = desk.begin(), desk.begin()
    first.step()
    second.step()
    assert (len(inbox.bodies), second.health.problem) == (1, "another process is checking the rules")
    first.close()
    desk.step()
    assert second.health.watching
    assert len(inbox.bodies) == 1


def test_a_reminder_is_not_heaped_on_what_was_not_taken_yet(desk: Desk, inbox: Inbox) -> None:
    write(desk.rules, remind="10m")
    inbox.answers += [500] * 1000
    desk.shelve("helmets")
    for _ in range(60):
        desk.step()
    assert desk.sql("select kind from ops.alert_messages where rule = 'shelves'") == [("fired",)]


def test_what_was_over_a_month_ago_is_let_go_of(desk: Desk) -> None:
    desk.shelve("helmets")
    desk.step()
    desk.shelve()
    desk.step()
    assert desk.states() == {"helmets": "recovered"}
    desk.step(minutes=60 * 24 * 31)
    assert desk.states() == {}
    assert desk.sql("select count(*) from ops.alert_messages") == [(0,)]


def test_a_slow_channel_keeps_the_others_from_nothing(desk: Desk, inbox: Inbox) -> None:
    told = threading.Event()

    @dataclass
    class Hangs:
        name: ChannelName = "slack"
        where: str = "nowhere"

        def send(self, message: Message) -> None:
            # It ends when the other channel was notified; if they ran one after the other, it never would.
            if not told.wait(10):
                raise AssertionError("the webhook waited for this one")
            raise ChannelFailed("it hung")

    inbox.on_message = lambda body: told.set()
    desk.channels = [Hangs(), *desk.channels]
    desk.shelve("helmets")
    desk.step()
    assert dict(desk.sql("select channel, problem from ops.alert_messages")) == {"slack": "it hung", "webhook": None}


def test_a_defect_of_a_channel_is_reported_by_its_type_only(desk: Desk) -> None:
    def breaks(message: Message) -> None:
        raise KeyError("T0SECRET")

    broken = Fragile(inner=desk.channels[0], crashes="")
    broken.send = breaks  # type: ignore[method-assign]
    desk.channels = [broken]
    desk.shelve("helmets")
    desk.step()
    assert desk.sql("select problem from ops.alert_messages") == [("KeyError, an unexpected error",)]
