"""The canary: what is sent, how its rows are judged, that no number of the shop has it, and its way through a stack."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import create_autospec

import psycopg
import pytest

from aggregates.catalogue import aggregates
from dashboards.model import load
from insights.canary import send
from insights.canary.judge import Canaries, Sent, amount_at, judge, read, sum_up, summary
from insights.canary.send import CANARY_SENT, Canary, canary_job, canary_of
from insights.settings import PROJECT, Settings
from insights.stack.past import Past
from insights.status import status
from insights.wiring import deployment
from producers.publisher import Publisher
from schemas.codec import Encoder
from schemas.errors import BrokerUnavailable
from tests.alerts.made_stack import make_marts, make_stack

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RIGHT = {NOON: (1, amount_at(NOON))}
SENT = Sent(canary_at=NOON, published_at=NOON + timedelta(seconds=3))
LATER = NOON + timedelta(seconds=5)


def test_a_minutes_canary_is_the_same_whenever_it_is_published_and_fits_its_contract() -> None:
    assert Encoder(CANARY_SENT, 1).encode(canary_of(NOON)) == Encoder(CANARY_SENT, 1).encode(canary_of(NOON))
    assert canary_of(NOON)["event_id"] != canary_of(NOON + timedelta(minutes=1))["event_id"]


def test_neighbouring_canaries_have_different_amounts_of_at_least_a_cent() -> None:
    amounts = [amount_at(NOON + timedelta(minutes=n)) for n in range(24 * 60)]
    assert len(set(amounts)) == len(amounts)
    assert min(amounts) >= Decimal("0.01")
    assert max(amounts) <= Decimal("1000.00")


def test_a_row_that_is_right_has_the_time_at_which_it_was_first_seen() -> None:
    seen = judge(SENT, RIGHT, {}, LATER)
    assert (seen.in_table_at, seen.in_mart_at, seen.wrong) == (LATER, None, None)
    again = judge(seen, RIGHT, RIGHT, LATER + timedelta(minutes=1))
    assert (again.in_table_at, again.in_mart_at) == (LATER, LATER + timedelta(minutes=1))


def test_a_row_that_is_gone_has_not_arrived_and_is_not_wrong() -> None:
    seen = judge(SENT, RIGHT, RIGHT, LATER)
    gone = judge(seen, {}, {}, LATER)
    assert (gone.in_table_at, gone.in_mart_at, gone.wrong) == (None, None, None)


@pytest.mark.parametrize("row", [(2, amount_at(NOON)), (1, amount_at(NOON) + Decimal("0.01"))], ids=["twice", "more"])
def test_a_row_with_another_number_or_amount_is_wrong_wherever_it_stands(row: tuple[int, Decimal]) -> None:
    said = f" has {row[0]} of {row[1]}, not 1 of {amount_at(NOON)}"
    assert judge(SENT, {NOON: row}, {}, LATER).wrong == f"live.canary_per_minute{said}"
    assert judge(SENT, RIGHT, {NOON: row}, LATER).wrong == f"marts.canary{said}"


def canary(minute: int, table: float | None, mart: float | None = None) -> Sent:
    at = NOON + timedelta(minutes=minute)
    seen = [at + timedelta(seconds=took) if took is not None else None for took in (table, mart)]
    return Sent(canary_at=at, published_at=at, in_table_at=seen[0], in_mart_at=seen[1])


def test_the_latency_is_that_of_the_newest_that_arrived_and_at_least_the_age_of_one_that_did_not() -> None:
    now = NOON + timedelta(minutes=3)
    arrived = [canary(0, 9.0, 100.0), canary(1, 0.5, 150.0), canary(2, 0.25)]
    assert sum_up(arrived, now) == Canaries(table_seconds=0.25, mart_seconds=150.0)
    assert sum_up([*arrived, canary(1, None)], now) == Canaries(table_seconds=120.0, mart_seconds=150.0)


def test_nothing_is_said_of_marts_that_were_never_built_and_of_a_stack_that_sent_none() -> None:
    assert sum_up([canary(0, 0.5)], NOON) == Canaries(table_seconds=0.5, mart_seconds=None)
    assert sum_up([], NOON) is None


def test_no_aggregate_reads_canaries_but_their_own_which_reads_nothing_else() -> None:
    reading = {a.name: a.inputs for a in aggregates() if CANARY_SENT.name in a.inputs}
    assert reading == {"canary_per_minute": (CANARY_SENT.name,)}


def test_no_mart_and_no_dashboard_reads_their_table_but_their_own_mart() -> None:
    files = [*(PROJECT / "dbt").rglob("models/**/*.sql"), *(PROJECT / "dashboards").glob("*.yaml")]
    assert len(files) > 60
    named = re.compile(r"canary_per_minute|canary_sent|ref\('canary'\)|marts\.canary")
    left_out = "topic <> 'ops.canary_sent.v1'"
    assert [path.name for path in files if named.search(path.read_text().replace(left_out, ""))] == ["canary.sql"]


@pytest.fixture
def database(new_database: Callable[[], str]) -> Iterator[psycopg.Connection[Any]]:
    dsn = new_database()
    make_stack(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def test_a_look_follows_each_canary_into_table_and_mart_and_forgets_it_after_a_day(
    database: psycopg.Connection[Any], apart: Callable[..., Settings], tmp_path: Any
) -> None:
    make_marts(database, "canary")
    times = [NOON, NOON + timedelta(seconds=59), NOON + timedelta(days=1, seconds=1)]
    recorder = Canary(deployment(apart(tmp_path)), clock=lambda: times[0].timestamp())
    database.execute("insert into ops.canaries (canary_at, published_at) values (%s, %s)", (NOON, NOON))
    (waits,) = recorder.look(database)
    assert waits == Sent(canary_at=NOON, published_at=NOON)
    database.execute("insert into versions.canary_per_minute_v1 values (%s, 1, %s)", (NOON, amount_at(NOON)))
    database.execute("insert into marts.canary values (%s, %s, 2, %s)", (NOON.date(), NOON, amount_at(NOON)))
    del times[0]
    recorder.look(database)
    (seen,) = read(database)
    assert (seen.in_table_at, seen.in_mart_at) == (times[0], None)
    assert seen.wrong == f"marts.canary has 2 of {amount_at(NOON)}, not 1 of {amount_at(NOON)}"
    known = summary(database)
    assert known is not None
    assert known.wrong == f"2026-03-01 12:00: {seen.wrong}"
    del times[0]
    assert recorder.look(database) == []
    assert summary(database) is None


def test_no_number_of_events_has_canaries(database: psycopg.Connection[Any]) -> None:
    (card,) = [c for c in load(PROJECT / "dashboards" / "operations.yaml").cards if c.id == "events_today"]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    counted(database, "ops.canary_sent.v1", today, 1440)
    texts = [text.encode() for text in card.statements.values()]
    assert len(texts) == 2
    assert [database.execute(text).fetchall() for text in texts] == [[(None,)], []]
    counted(database, "sales.order_placed.v1", today, 2)
    assert [database.execute(text).fetchall()[0][-1] for text in texts] == [2, 2]


def counted(database: psycopg.Connection[Any], topic: str, day: datetime, events: int) -> None:
    database.execute(
        "insert into ops.event_counts (window_start, topic, on_time, counted, last_event_at)"
        " values (%s, %s, %s, %s, %s)",
        (day, topic, events, events, day),
    )


def test_the_past_is_counted_up_to_where_sources_are_and_not_to_the_last_canary(
    new_database: Callable[[], str], apart: Callable[..., Settings], tmp_path: Any
) -> None:
    dsn = new_database()
    make_stack(dsn)
    past = Past(apart(tmp_path, external_postgres=dsn), "orders")
    with psycopg.connect(dsn, autocommit=True) as connection:
        counted(connection, "ops.canary_sent.v1", NOON - timedelta(days=9), 1)
        assert past.reached() is None
        counted(connection, "sales.order_placed.v1", NOON, 2)
    assert past.reached() == NOON


def test_a_canary_waits_for_nothing_once_the_stack_goes_down(
    new_database: Callable[[], str], apart: Callable[..., Settings], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = new_database()
    make_stack(dsn)
    kafka = create_autospec(Publisher, instance=True)
    kafka.poll.side_effect = [None, AssertionError("it waits for Kafka")]
    kafka.queued = 1
    kafka.flush.side_effect = BrokerUnavailable("not acknowledged")
    monkeypatch.setattr(send, "Publisher", lambda *_, **__: kafka)
    job = canary_job(deployment(apart(tmp_path, external_postgres=dsn)))
    assert job.cancel is not None
    job.cancel()
    with pytest.raises(BrokerUnavailable):
        job.step()


def sending(stack: Settings, minutes_ago: int) -> tuple[Canary, datetime]:
    """With a clock of some minutes ago, so that no two tests send the same canary."""
    at = (datetime.now(UTC) - timedelta(minutes=minutes_ago)).replace(second=0, microsecond=0)
    began = time.monotonic()

    def clock() -> float:
        return at.timestamp() + min(59.0, time.monotonic() - began)

    return Canary(deployment(stack), clock=clock, awaited_seconds=58), at


def test_a_canary_goes_through_the_stack_and_one_that_is_sent_again_counts_once(stack: Settings) -> None:
    recorder, at = sending(stack, 10)
    recorder.step()
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        (sent,) = [each for each in read(connection) if each.canary_at == at]
        assert sent.in_table_at is not None
        assert sent.wrong is None
        connection.execute("delete from ops.canaries where canary_at = %s", (at,))
        recorder.step()
        (again,) = [each for each in read(connection) if each.canary_at == at]
        assert (again.in_table_at is not None, again.wrong) == (True, None)
    assert status(stack).canaries is None, "this stack sends none by itself, and so has nothing to say of them"


def test_a_row_that_somebody_changed_is_found_at_the_next_look(stack: Settings) -> None:
    recorder, at = sending(stack, 20)
    recorder.step()
    change = "update versions.canary_per_minute_v1 set amount = amount + %s where window_start = %s"
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute(change, (Decimal("0.01"), at))
        (found,) = [each for each in recorder.look(connection) if each.canary_at == at]
        connection.execute(change, (Decimal("-0.01"), at))
        (mended,) = [each for each in recorder.look(connection) if each.canary_at == at]
    was = amount_at(at)
    assert found.wrong == f"live.canary_per_minute has 1 of {was + Decimal('0.01')}, not 1 of {was}"
    assert (mended.wrong, mended.in_table_at is not None) == (None, True)
