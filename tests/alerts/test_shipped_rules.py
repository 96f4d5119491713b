"""Every rule that is shipped, on a real Postgres with the stack's tables: quiet when all is well, and not otherwise.

Longer than 400 lines, because every rule is tried on the same healthy shop, which is set up once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from alerts.config import DaemonConfig
from alerts.evaluate import transitions
from alerts.postgres import connect
from alerts.rule import RULES, read_rules
from alerts.watch import Looked, look
from flink.health import EVERY_SECONDS
from producers.scraping.drift import MARK
from tests.alerts.made_stack import make_marts, make_stack

Connection = psycopg.Connection[Any]
NOON = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
RULE = {rule.name: rule for rule in read_rules().rules}
ORDERS, CLICKS = "sales.order_placed.v1", "web.interaction.v1"


def ago(**length: float) -> datetime:
    return NOON - timedelta(**length)


class Shop:
    """The stack's tables, and what happens in them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = 0

    def sql(self, statement: str, *values: Any) -> None:
        self._connection.execute(statement.encode(), values)

    def insert(self, table: str, **columns: Any) -> None:
        names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
        self.sql(f"insert into {table} ({names}) values ({places})", *columns.values())

    def newest(self, topic: str, at: datetime, on_time: int = 1000) -> None:
        """So many events of a topic on a day, the newest at that time."""
        day = at.replace(hour=0, minute=0)
        self.sql("delete from ops.event_counts where topic = %s and window_start = %s", topic, day)
        self.insert(
            "ops.event_counts", topic=topic, window_start=day, on_time=on_time, counted=on_time, last_event_at=at
        )

    def log_counts(self, topic: str, published: int, counted: int) -> None:
        """A topic's reconciliation, and its row of the mart."""
        sums = {"topic": topic, "published": published, "counted": counted, "duplicate": 0, "late": 0, "dead": 0}
        for table, more in (("ops.log_counts", {}), ("marts.accounting", {"unaccounted": published - counted})):
            self.sql(f"delete from {table} where topic = %s", topic)
            self.insert(table, **sums, **more, recorded_at=ago(minutes=1))

    def finality(self, aggregate: str, recorded_at: datetime, final_until: datetime, watermark: datetime) -> None:
        self.insert(
            "ops.finality",
            **{"aggregate": aggregate, "final_until": final_until, "watermark": watermark, "checkpoint_id": 7},
            recorded_at=recorded_at,
        )

    def orders(self, number: int, at: datetime) -> None:
        """Orders of two lines each, within a minute."""
        for _ in range(number):
            self._number += 1
            for line in (0, 1):
                self.insert(
                    "versions.order_lines_v1",
                    **{"event_id": f"e{self._number}", "line": line, "order_id": f"o{self._number}"},
                    **{"occurred_at": at, "customer_id": "c", "region": "EU", "currency": "EUR", "channel": "web"},
                    **{"product_id": "p", "category": "Bells", "brand": "b", "quantity": 1, "unit_price": 1},
                    discount_amount=0,
                    sales_amount=1,
                )

    def build(self, outcome: str, minutes_ago: float, message: str | None = None) -> None:
        self._number += 1
        self.insert(
            "ops.dbt_builds",
            invocation=str(self._number),
            started_at=ago(minutes=minutes_ago + 1),
            ended_at=ago(minutes=minutes_ago),
            **{"outcome": outcome, "models": 30, "tests": 200, "failures": 3, "message": message},
        )

    def replay(self, run: str, status: str, aggregates: list[str], at: datetime) -> None:
        self.insert(
            "ops.replays",
            **{"run": run, "status": status, "scope": "windows", "aggregates": aggregates, "engine": "spark"},
            **{"plan": "{}", "plan_digest": "d", "requested_by": "ann", "records": 1, "created_at": at},
        )

    def dead(self, number: int, at: datetime, topic: str = ORDERS) -> None:
        for _ in range(number):
            self._number += 1
            self.insert(
                "ops.dead_letters",
                **{"kafka_partition": 0, "kafka_offset": self._number, "dead_at": at, "topic": topic},
                **{"error": "ContractBroken", "reason": "field quantity is missing"},
            )

    def late(self, occurred_at: datetime, *, aggregates: str = "sales_per_minute, order_lines") -> int:
        self._number += 1
        self.insert(
            "ops.late_events",
            **{"topic": ORDERS, "kafka_partition": 0, "kafka_offset": self._number, "event_id": str(self._number)},
            **{"occurred_at": occurred_at, "watermark": occurred_at + timedelta(days=2), "aggregates": aggregates},
        )
        return self._number

    def cover(self, product_id: str, days: float | None, on_hand: int = 5, name: str | None = "Bell") -> None:
        self.insert(
            "marts.days_of_cover",
            **{"product_id": product_id, "name": name, "on_hand": on_hand, "units_per_day": 1, "days_of_cover": days},
        )


@pytest.fixture(scope="module")
def tables(new_database: Callable[[], str]) -> str:
    dsn = new_database()
    make_stack(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        make_marts(connection, "days_of_cover", "accounting")
    return dsn


@pytest.fixture
def shop(tables: str) -> Iterator[Shop]:
    """One without any event."""
    with psycopg.connect(tables, autocommit=True, options="-c synchronous_commit=off") as connection:
        filled = connection.execute(
            "select string_agg(schemaname || '.' || tablename, ', ') from pg_tables"
            " where schemaname in ('marts', 'ops', 'versions') and tablename not in ('versions', 'topics')"
        ).fetchone()
        assert filled
        connection.execute(f"truncate {filled[0]}".encode())
        yield Shop(connection)


@pytest.fixture
def asked(tables: str) -> Iterator[Callable[[str], Looked]]:
    with connect(tables, read_only=True) as connection:
        yield lambda name: look(connection, RULE[name], NOON)


@pytest.fixture
def found(asked: Callable[[str], Looked]) -> Callable[[str], list[str]]:
    """Texts of what a rule finds."""

    def texts(name: str) -> list[str]:
        looked = asked(name)
        assert looked.outcome in ("quiet", "finds"), looked.detail
        return [finding.text for finding in looked.found]

    return texts


def healthy(shop: Shop) -> None:
    """An ordinary day."""
    for topic in (ORDERS, CLICKS):
        shop.newest(topic, ago(minutes=1))
        shop.log_counts(topic, published=50_010, counted=50_000)
    shop.finality("sales_per_minute", ago(seconds=10), ago(hours=24), ago(minutes=1))
    shop.insert("ops.live_jobs", **RUNS, recorded_at=ago(seconds=5), checkpoint_at=ago(seconds=9))
    shop.build("ok", 3)
    shop.cover("p1", 30)
    shop.cover("p2", None, on_hand=0)
    shop.dead(3, ago(minutes=5))
    shop.late(ago(hours=30))
    shop.replay("r1", "verified", ["order_lines"], ago(days=1))
    for week in range(5):
        shop.orders(30, ago(days=7 * week, hours=1))
    shop.orders(1, ago(days=40))


def test_no_rule_fires_for_a_database_without_tables_or_a_stack_that_just_started(
    new_database: Callable[[], str],
) -> None:
    dsn = new_database()
    with connect(dsn, read_only=True) as connection:
        for rule in RULE.values():
            looked = look(connection, rule, NOON)
            assert (looked.outcome, looked.found) == ("not known", ())
            assert looked.detail.startswith("not known yet: there is no ")
        make_stack(dsn)
        after = {name: look(connection, rule, NOON).outcome for name, rule in RULE.items()}
    assert set(after.values()) == {"quiet", "not known"}
    assert after["stale_sources"] == after["orders_fall"] == after["replay_differs"] == "quiet"


def test_no_rule_finds_anything_in_empty_tables(shop: Shop, asked: Callable[[str], Looked]) -> None:
    assert {(asked(name).outcome, asked(name).detail) for name in RULE} == {("quiet", "")}


def test_no_rule_finds_anything_on_an_ordinary_day(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    assert {name: texts for name in RULE if (texts := found(name))} == {}


def test_no_rule_finds_anything_in_a_history_of_years_ago(shop: Shop, found: Callable[[str], list[str]]) -> None:
    """As CDNOW's: read from a file, and all of it is old."""
    old = datetime(1998, 6, 30, 12, tzinfo=UTC)
    shop.newest(ORDERS, old)
    shop.orders(50, old)
    shop.log_counts(ORDERS, published=1000, counted=1000)
    shop.finality("sales_per_minute", ago(hours=5), old - timedelta(days=1), old)
    shop.build("ok", 3)
    assert {name: texts for name in RULE if (texts := found(name))} == {}


def test_a_product_that_is_soon_sold_out_is_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    shop.cover("p3", 2.5, on_hand=7, name="Lamp")
    shop.cover("p4", 7)
    shop.cover("p5", 0, on_hand=0, name=None)
    assert found("low_stock") == [
        "a product without a name (p5) has 0 days of cover: 0 on hand, 1.0 sold per day",
        "Lamp (p3) has 2.5 days of cover: 7 on hand, 1.0 sold per day",
    ]


def test_a_product_that_is_not_sold_any_more_is_not_low_nor_unknown(shop: Shop, asked: Callable[[str], Looked]) -> None:
    healthy(shop)
    shop.cover("p3", None)
    assert (asked("low_stock").outcome, asked("low_stock").unknown) == ("quiet", frozenset())


def test_orders_that_fall_are_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    shop.sql("delete from versions.order_lines_v1 where occurred_at > %s", ago(hours=10))
    shop.orders(10, ago(hours=2))
    assert found("orders_fall") == [
        "10 orders in the three hours to 2026-11-24 12:00 UTC; 30 is normal for this time of the week"
    ]
    shop.orders(1, ago(hours=2))
    assert found("orders_fall") == []


def test_no_order_at_all_is_found_while_other_events_come(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    shop.sql("delete from versions.order_lines_v1 where occurred_at > %s", ago(hours=10))
    assert len(found("orders_fall")) == 1
    # While nothing newer than these hours was counted, what is missing may be on its way.
    for topic in (ORDERS, CLICKS):
        shop.newest(topic, ago(minutes=31))
    assert found("orders_fall") == []


def test_a_fall_goes_on_when_nothing_comes_any_more(shop: Shop, found: Callable[[str], list[str]]) -> None:
    shop.orders(1, ago(days=60))
    for week in range(1, 5):
        shop.orders(30, ago(days=7 * week, hours=4))
    shop.newest(CLICKS, ago(hours=1, minutes=20))
    assert found("orders_fall") == [
        "0 orders in the three hours to 2026-11-24 11:00 UTC; 30 is normal for this time of the week"
    ]
    shop.sql("update ops.event_counts set last_event_at = %s", ago(hours=25))
    assert found("orders_fall") == []


@pytest.mark.parametrize("usual", [0, 3, 23])
def test_a_shop_that_is_closed_or_quiet_at_this_hour_is_no_alarm(
    shop: Shop, found: Callable[[str], list[str]], usual: int
) -> None:
    shop.newest(CLICKS, ago(minutes=1))
    shop.orders(1, ago(days=60))
    for week in range(1, 5):
        shop.orders(usual, ago(days=7 * week, hours=1))
    assert found("orders_fall") == []
    shop.sql("truncate versions.order_lines_v1")
    shop.orders(1, ago(days=60))
    for week in range(1, 5):
        shop.orders(24, ago(days=7 * week, hours=1))
    assert len(found("orders_fall")) == 1


@pytest.mark.parametrize(("weeks", "is_known"), [(2, False), (3, True)])
def test_orders_are_compared_with_three_weeks_at_least(
    shop: Shop, found: Callable[[str], list[str]], weeks: int, is_known: bool
) -> None:
    shop.newest(CLICKS, ago(minutes=1))
    shop.orders(30, ago(days=7 * weeks, hours=4))
    for week in range(1, weeks + 1):
        shop.orders(30, ago(days=7 * week, hours=1))
    assert bool(found("orders_fall")) is is_known


def test_one_week_without_orders_does_not_hide_a_fall(shop: Shop, found: Callable[[str], list[str]]) -> None:
    shop.newest(CLICKS, ago(minutes=1))
    shop.orders(1, ago(days=60))
    for week in (1, 2, 4):
        shop.orders(30, ago(days=7 * week, hours=1))
    assert len(found("orders_fall")) == 1


def test_a_source_that_is_silent_is_found_by_a_limit_of_its_own(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    shop.newest(CLICKS, ago(hours=3, minutes=5))
    shop.newest(ORDERS, ago(hours=3, minutes=5))
    assert found("stale_sources") == [
        "The latest event of web.interaction.v1 is from 2026-11-24 09:25 UTC, 3 h 5 min ago (limit: 3 h)"
    ]


RUNS = {"job": "insights-live", "state": "RUNNING", "failures": 0}
SINK = 'PSQLException: ERROR: relation "versions.refunds_v1" does not exist'


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({}, []),
        # It fell over once, and is on its way again.
        (
            {"failing_since": ago(seconds=40), "failures": 1, "why": SINK, "checkpoint_at": ago(seconds=44)}
            | {"checkpoint_problem": "Checkpoint Coordinator is suspending."},
            [],
        ),
        (
            {"state": "RESTARTING", "failing_since": ago(seconds=40), "failures": 3, "why": SINK},
            [f"insights-live has failed 3 times without completing a checkpoint since 2026-11-24 12:29 UTC: {SINK}"],
        ),
        # Between two failures it runs for a moment.
        (
            {"failing_since": ago(seconds=40), "failures": 3, "why": SINK},
            [f"insights-live has failed 3 times without completing a checkpoint since 2026-11-24 12:29 UTC: {SINK}"],
        ),
        ({"state": "RESTARTING", "not_running_since": ago(seconds=40)}, []),
        (
            {"state": "not there", "not_running_since": ago(seconds=50)},
            ["insights-live has not been running (not there) since 2026-11-24 12:29 UTC: Flink gives no reason"],
        ),
        ({"checkpoint_problem": "expired", "checkpoint_at": ago(seconds=20)}, []),
        (
            {"checkpoint_problem": "Checkpoint expired", "checkpoint_at": ago(seconds=40)},
            [
                "insights-live is running, but its checkpoints have failed since 2026-11-24 12:29 UTC:"
                " Checkpoint expired"
            ],
        ),
        # What was so when the stack was stopped.
        ({"failing_since": ago(hours=9), "failures": 9, "recorded_at": ago(hours=8)}, []),
    ],
)
def test_a_job_that_does_not_get_on_is_found_with_the_cause(
    shop: Shop, found: Callable[[str], list[str]], seen: dict[str, Any], told: list[str]
) -> None:
    live_job(shop, **seen)
    assert found("job_failing") == told


def live_job(shop: Shop, **seen: Any) -> None:
    """The live job as it is on an ordinary day, but for what was seen."""
    shop.sql("delete from ops.live_jobs")
    shop.insert("ops.live_jobs", **{**RUNS, "recorded_at": ago(seconds=5), "checkpoint_at": ago(seconds=9), **seen})


@pytest.mark.parametrize(
    ("column", "seen"),
    [
        ("not_running_since", {"state": "not there"}),
        ("failing_since", {"state": "RESTARTING", "failures": 2}),
        ("checkpoint_at", {"checkpoint_problem": "Checkpoint expired"}),
    ],
)
def test_any_failure_of_the_live_job_is_reported_within_a_minute(
    shop: Shop, found: Callable[[str], list[str]], column: str, seen: dict[str, Any]
) -> None:
    """The next look at the job, the time that the rule gives it, and the rule's next check."""
    live_job(shop, **seen)

    def is_told_after(seconds: int) -> bool:
        shop.sql(f"update ops.live_jobs set {column} = %s", ago(seconds=seconds))
        return bool(found("job_failing"))

    rule = RULE["job_failing"]
    given = next(seconds for seconds in range(120) if is_told_after(seconds))
    step = DaemonConfig.model_fields["step_seconds"].default
    check = math.ceil(rule.every.total_seconds() / step) * step
    assert EVERY_SECONDS + given + check + rule.hold.total_seconds() <= 60


@pytest.mark.parametrize(
    ("seen", "rule"),
    [
        ({}, "no_checkpoint"),
        # Of one failure the other rule does not speak yet.
        ({"failing_since": ago(minutes=6), "failures": 1}, "no_checkpoint"),
        ({"failing_since": ago(minutes=6), "failures": 1, "checkpoint_problem": "suspending"}, "no_checkpoint"),
        ({"failing_since": ago(minutes=6), "failures": 3, "why": SINK}, "job_failing"),
        ({"checkpoint_problem": "Checkpoint expired"}, "job_failing"),
        ({"state": "RESTARTING", "not_running_since": ago(minutes=6)}, "job_failing"),
    ],
)
def test_a_job_long_without_a_checkpoint_is_reported_by_one_rule_only(
    shop: Shop, found: Callable[[str], list[str]], seen: dict[str, Any], rule: str
) -> None:
    live_job(shop, checkpoint_at=ago(minutes=7), **seen)
    assert [name for name in ("job_failing", "no_checkpoint") if found(name)] == [rule]


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("job_failing", {"state": "RESTARTING", "failing_since": ago(minutes=6), "failures": 3}),
        ("no_checkpoint", {"checkpoint_at": ago(minutes=7)}),
    ],
)
def test_an_alert_of_the_live_job_is_not_over_because_nobody_looks_at_the_job_any_more(
    shop: Shop, asked: Callable[[str], Looked], rule: str, wrong: dict[str, Any]
) -> None:
    """As when the supervisor is stopped, or its look fails each time."""
    live_job(shop, **wrong)
    first = asked(rule)
    (fired,) = transitions(RULE[rule], first.found, NOON, [], unknown=first.unknown)
    assert fired.change == "fired"

    def becomes(later: datetime) -> list[str]:
        looked = asked(rule)
        changes = transitions(RULE[rule], looked.found, later, [fired.alert], unknown=looked.unknown)
        return [each.change for each in changes]

    shop.sql("update ops.live_jobs set recorded_at = %s", ago(minutes=2))
    assert becomes(NOON + timedelta(hours=1)) == []
    live_job(shop)
    assert becomes(NOON + timedelta(seconds=20)) == [], "it is not over in a moment"
    assert becomes(NOON + timedelta(hours=1)) == ["recovered"]
    live_job(shop)
    shop.sql("delete from ops.live_jobs")
    assert becomes(NOON + timedelta(hours=1)) == ["recovered"], "somebody stopped the job"


def test_a_live_job_at_which_nobody_looks_any_more_is_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    live_job(shop, recorded_at=ago(seconds=119))
    assert found("health_stale") == []
    live_job(shop, recorded_at=ago(minutes=3))
    assert found("health_stale") == [
        "The health of insights-live was last recorded at 2026-11-24 12:27 UTC, 3 min ago (limit: 2 min)"
    ]


def test_a_recurring_job_that_has_failed_for_five_minutes_is_found(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    def job(name: str, minutes: float | None, failures: int, error: str | None) -> None:
        since = ago(minutes=minutes) if minutes else None
        shop.insert(
            "ops.recurring_jobs",
            **{"job": name, "every_seconds": 60, "failing_since": since, "failures": failures, "error": error},
            recorded_at=NOON,
        )

    job("finality", None, 0, None)
    job("reconciliation", 4.5, 4, "Kafka is away")
    job("marts", 30, 6, "its builds have alerts of their own")
    assert found("recurring_job_failing") == []
    job("lake", 7, 1, "ended with code 1: the disk is full")
    assert found("recurring_job_failing") == [
        "lake has failed once since 2026-11-24 12:23 UTC: ended with code 1: the disk is full"
    ]
    shop.sql("update ops.recurring_jobs set recorded_at = %s", ago(minutes=2))
    assert found("recurring_job_failing") == [], "what was written long ago says nothing of now"


def test_a_job_without_a_checkpoint_is_found_whatever_its_watermark(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    healthy(shop)
    shop.sql("update ops.live_jobs set checkpoint_at = %s", ago(minutes=6))
    assert found("no_checkpoint") == [
        "insights-live is running, but its last complete checkpoint was at 2026-11-24 12:24 UTC, 6 min ago:"
        " nothing becomes final"
    ]
    # An event ahead of the clock has moved the watermark.
    shop.sql("update ops.finality set watermark = %s", NOON + timedelta(days=2))
    assert len(found("no_checkpoint")) == 1
    shop.sql("update ops.live_jobs set state = 'RESTARTING'")
    assert found("no_checkpoint") == [], "job_failing says it"


@pytest.mark.parametrize(
    ("why", "told"),
    [("stopped", "The live job was stopped"), ("starting over", "A rebuild from scratch was started")],
)
def test_a_job_that_stays_stopped_is_found(shop: Shop, found: Callable[[str], list[str]], why: str, told: str) -> None:
    healthy(shop)
    shop.insert("ops.holds", held_at=ago(hours=2), held_by="ann", why=why)
    assert found("job_held") == [
        f"{told} by ann at 2026-11-24 10:30 UTC and has not been started since: nothing is being counted"
    ]


def test_a_job_that_is_behind_is_found_by_what_a_topic_usually_brings(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    healthy(shop)
    shop.log_counts(ORDERS, published=51_001, counted=50_000)
    assert found("job_behind") == [
        "1,001 events of sales.order_placed.v1 are waiting to be counted, of 51,001 in the log"
    ]
    # Ten minutes' worth of a busy topic are more than a thousand.
    shop.newest(ORDERS, ago(minutes=1), on_time=2880 * 500)
    assert found("job_behind") == []


def test_books_that_nobody_keeps_are_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    shop.sql("update ops.log_counts set recorded_at = %s", ago(minutes=12))
    assert found("reconciliation_stale") == [
        "Reconciliation last ran at 2026-11-24 12:18 UTC, 12 min ago (limit: 10 min)"
    ]


def test_books_that_do_not_come_out_are_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    healthy(shop)
    shop.log_counts(ORDERS, published=100, counted=101)
    assert found("accounting") == ["sales.order_placed.v1: -1 of 100 published events unaccounted for"]
    # One that is left is on its way while events flow, and lost when they don't.
    shop.log_counts(ORDERS, published=101, counted=100)
    assert found("accounting") == []
    shop.newest(ORDERS, ago(minutes=40))
    assert len(found("accounting")) == 1


def test_dead_letters_that_rise_are_found_and_a_trickle_is_not(shop: Shop, found: Callable[[str], list[str]]) -> None:
    shop.dead(11, ago(minutes=30))
    shop.dead(10, ago(minutes=30), CLICKS)
    assert found("dead_letters") == [
        "11 events for sales.order_placed.v1 were rejected in the last hour, 0 is normal; the latest:"
        " field quantity is missing"
    ]
    shop.dead(167 * 4, ago(hours=20))
    assert found("dead_letters") == []


def test_records_on_a_topic_that_are_dead_are_found_as_dead_letters_are(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    shop.dead(6, ago(minutes=30))
    for offset in range(5):
        shop.insert(
            "ops.dead_records",
            **{"topic": ORDERS, "kafka_partition": 0, "kafka_offset": offset, "published_at": ago(minutes=1)},
            **{"reason": "it is a tombstone: a record without a value", "is_unreadable": True, "value": None},
        )
    assert found("dead_letters") == [
        "11 events for sales.order_placed.v1 were rejected in the last hour, 0 is normal; the latest:"
        " it is a tombstone: a record without a value"
    ]


def test_a_shop_whose_pages_can_no_longer_be_read_is_found_until_they_can(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    topic = "catalog.product_observed.v1"
    reason = f"https://shop.example/product/a/: 6 of 12 pages lack the price; {MARK}: look at the page"
    row = {"kafka_partition": 0, "kafka_offset": 900, "dead_at": ago(hours=30), "topic": topic}
    shop.insert("ops.dead_letters", **row, error="UnreadablePage", reason=reason)
    shop.dead(3, ago(minutes=30), topic)
    assert found("catalog_unreadable") == [f"Nothing of shop.example is published since 2026-11-23 06:30 UTC: {reason}"]
    shop.insert(
        "versions.product_observations_v1",
        **{"event_id": "e", "occurred_at": ago(hours=1), "shop": "shop.example", "product_id": "a", "name": "Bell"},
        **{"category": "Parts", "price": 1, "currency": "EUR", "availability": "in_stock", "url": "u"},
        content_hash="h",
    )
    assert found("catalog_unreadable") == []


def test_late_events_that_could_be_counted_are_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    shop.finality("sales_per_minute", ago(seconds=10), ago(hours=24), ago(minutes=1))
    shop.finality("order_lines", ago(seconds=10), ago(hours=30), ago(minutes=1))
    shop.late(ago(hours=53))
    assert found("late_events") == []
    ready = shop.late(ago(hours=55))
    assert found("late_events") == [
        "Late events of sales.order_placed.v1 that could be counted but are not: 1, the oldest from"
        " 2026-11-22 05:30 UTC"
    ]
    shop.insert("ops.restated_events", topic=ORDERS, kafka_partition=0, kafka_offset=ready, run="r1")
    assert found("late_events") == []


def test_a_late_event_that_no_aggregate_lacks_waits_for_nothing(shop: Shop, found: Callable[[str], list[str]]) -> None:
    shop.finality("sales_per_minute", ago(seconds=10), ago(hours=24), ago(minutes=1))
    shop.late(ago(days=10), aggregates="")
    assert found("late_events") == []


def test_the_newest_build_decides(shop: Shop, found: Callable[[str], list[str]]) -> None:
    shop.build("failed", 8, "Database Error in model rfm: division by zero")
    assert found("dbt_build") == [
        "The build of 2026-11-24 12:21 UTC failed: Database Error in model rfm: division by zero"
    ]
    shop.insert("ops.dbt_builds", invocation="going on", started_at=ago(minutes=1))
    assert len(found("dbt_build")) == 1
    shop.build("failed tests", 3)
    assert found("dbt_build") == []
    assert found("dbt_tests") == ["3 of 200 tests failed in the build of 2026-11-24 12:26 UTC: no message"]
    shop.build("ok", 0)
    assert (found("dbt_build"), found("dbt_tests")) == ([], [])


def test_marts_that_are_old_are_found_and_a_build_that_failed_makes_none_new(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    shop.build("failed tests", 31)
    shop.build("failed", 1)
    assert found("marts_stale") == ["The marts were last built at 2026-11-24 11:59 UTC, 31 min ago (limit: 30 min)"]
    shop.build("failed tests", 2)
    assert found("marts_stale") == []


def test_a_replay_that_differs_is_found_until_a_newer_one_of_the_same_is_proven(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    shop.replay("r7", "differs", ["order_lines", "refunds"], ago(days=2))
    shop.replay("r8", "verified", ["order_lines"], ago(days=1))
    assert found("replay_differs") == [
        "r7 of order_lines, refunds differs from the live tables (engine spark, requested by ann)"
    ]
    shop.replay("r9", "promoted", ["refunds", "order_lines", "customers"], ago(hours=1))
    assert found("replay_differs") == []


def compared(shop: Shop, result: str, at: datetime, *, name: str = "bikes", **more: Any) -> None:
    counts = {"orders": 419, "different": 0, "pending": 0, "unread": 0, "error": None}
    shop.insert("ops.agreement_runs", shop=name, compared_at=at, result=result, **counts | more)


def connected(shop: Shop, at: datetime, *, name: str = "bikes") -> None:
    shop.insert("ops.connected_shops", shop=name, url="https://bikes.example", noticed_at=at)


def test_a_shop_that_differs_is_found_until_a_newer_comparison_is_equal(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    connected(shop, ago(days=9))
    compared(shop, "equal", ago(days=2))
    compared(shop, "different", ago(days=1), different=2, pending=3, unread=1)
    for order_id, state, differs in (("7", "pending", "refunds"), ("8", "different", "sales"), ("9", "unread", "?")):
        shop.insert(
            "ops.agreement_orders", shop="bikes", order_id=order_id, state=state, differs=differs, known="not read"
        )
    for day, here in ((1, 10), (2, 11)):
        shop.insert(
            "ops.agreement_days", shop="bikes", day=ago(days=day).date(), measure="sales", in_shop=10, here=here
        )
    # A shop that could not be reached since is not in agreement; one that was removed is none of ours.
    compared(shop, "failed", ago(hours=1), error="it answered 503")
    compared(shop, "different", ago(hours=1), name="gone", different=1)
    assert found("shop_disagrees") == [
        "bikes: 3 of 419 orders differ from the shop's own, on 1 of its days; the first is 8 (sales)"
    ]
    compared(shop, "pending", ago(minutes=1), pending=2)
    assert found("shop_disagrees") == []


def test_a_shop_that_nobody_compares_is_found(shop: Shop, found: Callable[[str], list[str]]) -> None:
    connected(shop, ago(days=3))
    connected(shop, ago(hours=47), name="chains")
    assert found("shop_not_compared") == [
        "bikes was last seen connected, and never compared, at 2026-11-21 12:30 UTC, 3 d ago (limit: 2 d): no"
        " comparison was tried since"
    ]
    compared(shop, "equal", ago(hours=49))
    compared(shop, "failed", ago(hours=1), error="it answered 503")
    assert found("shop_not_compared") == [
        "bikes was last compared with the tables at 2026-11-22 11:30 UTC, 2 d 1 h ago (limit: 2 d): it answered 503"
    ]
    compared(shop, "different", ago(hours=3), different=1)
    assert found("shop_not_compared") == []


def test_a_request_about_a_person_that_nobody_answers_is_found_well_before_the_shops_30_days_are_over(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    answer = "insights privacy erase bikes-17"
    shop.insert("ops.privacy_requests", number=3, asked_at=ago(days=20, minutes=1), answer=answer)
    shop.insert("ops.privacy_requests", number=4, asked_at=ago(days=19), answer="insights privacy export bikes-18")
    assert found("privacy_request_waits") == [
        "request 3 came at 2026-11-04 12:29 UTC, 20 d ago, and is not answered (alert after 20 d):"
        " `insights privacy erase bikes-17` answers it"
    ]


def test_a_canary_whose_row_is_wrong_and_one_that_does_not_arrive_are_found(
    shop: Shop, found: Callable[[str], list[str]]
) -> None:
    def canary(minutes: float, table: float | None, mart: float | None, wrong: str | None = None) -> None:
        times = [ago(minutes=each) if each is not None else None for each in (minutes, minutes, table, mart)]
        names = ("canary_at", "published_at", "in_table_at", "in_mart_at")
        shop.insert("ops.canaries", **dict(zip(names, times, strict=True)), wrong=wrong)

    canary(90, 90, 86)
    canary(1, None, None)
    canary(50, 50, None)
    assert found("canary_late") == found("canary_wrong") == []
    canary(5, None, None)
    shop.build("failed tests", 10)
    assert found("canary_late") == [], "a stack without the job sends none"
    shop.insert("ops.recurring_jobs", job="canary", every_seconds=60, failures=0, recorded_at=NOON)
    assert found("canary_late") == [
        "live.canary_per_minute has no canary since 2026-11-24 12:25 UTC: 1 was published and did not arrive",
        "marts.canary has no canary since 2026-11-24 11:40 UTC: 1 was published and did not arrive",
    ]
    shop.build("failed", 49)
    shop.build("ok", 4)
    canary(9, 9, None)
    assert len(found("canary_late")) == 2
    assert "marts.canary has no canary since 2026-11-24 11:40 UTC: 1 was" in found("canary_late")[1]
    canary(10, 10, 9, "live.canary_per_minute has 2 of 1.00, not 1 of 1.00")
    assert found("canary_wrong") == [
        "The canary of 2026-11-24 12:20 UTC: live.canary_per_minute has 2 of 1.00, not 1 of 1.00"
    ]


def test_every_rule_fires_in_one_of_these_tests() -> None:
    """A rule that is added gets a test here in which it finds something."""
    text = (RULES.parent.parent / "tests" / "alerts" / "test_shipped_rules.py").read_text()
    assert {name for name in RULE if f'found("{name}")' not in text} == set()
