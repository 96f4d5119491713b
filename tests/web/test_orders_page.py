"""The page Orders by payment date: what it says of placing goes by the time of placing, not of payment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aggregates.catalogue import aggregate
from dashboards.model import load
from dashboards.query import question
from tests.marts.process import make_tables

PAGE = Path(__file__).parents[2] / "dashboards" / "orders.yaml"
NEWEST = datetime(2026, 11, 20, 12, tzinfo=UTC)
ORDER = f"""
insert into {aggregate("orders").table}
    (event_id, occurred_at, placed_at, source, order_id, customer_id, region, currency, channel, shipping_amount,
    tax_amount, paid_at, fulfilled_at)
values (%(id)s, %(paid)s, %(placed)s, 's', %(id)s, 'c', 'EU', 'EUR', 'web', 0, 0, %(paid)s, %(fulfilled)s)
"""
CANCELLATION = f"""
insert into {aggregate("cancellations").table} (event_id, occurred_at, source, order_id, placed_at, region)
values ('x', %(at)s, 's', 'x', %(placed)s, 'EU')
"""
BY_PAYMENT = "create or replace function ops.sales_by() returns text language sql as $$ select 'payment date' $$"


@pytest.fixture(scope="module")
def postgres(new_database: Callable[[], str]) -> Iterator[psycopg.Connection[Any]]:
    """Three orders that were all paid at the end, one of them placed 20 days before; and one that was cancelled."""
    dsn = new_database()
    make_tables(dsn)
    with psycopg.connect(dsn) as connection:
        for order_id, days, fulfilled in (("old", 20, None), ("new", 2, None), ("sent", 4, NEWEST)):
            placed = NEWEST - timedelta(days=days)
            connection.execute(ORDER, {"id": order_id, "paid": NEWEST, "placed": placed, "fulfilled": fulfilled})
        at = NEWEST - timedelta(days=1)
        connection.execute(CANCELLATION, {"at": at, "placed": NEWEST - timedelta(days=3)})
        yield connection


def answer(postgres: psycopg.Connection[Any], card: str, period: str = "7 days") -> list[tuple[Any, ...]]:
    page = load(PAGE)
    (sql,) = [c.statements["sql"] for c in page.cards if c.id == card]
    values = {p.name: p.default or "" for p in page.parameters} | {"period": period}
    asked = question(page.expanded(sql), values)
    return postgres.execute(psycopg.ClientCursor(postgres).mogrify(asked.sql.encode(), dict(asked.values))).fetchall()


def test_an_order_is_placed_on_its_day_of_placing_whenever_it_was_paid(postgres: psycopg.Connection[Any]) -> None:
    assert answer(postgres, "placed") == [(2, None)]
    placed = {f"{row[0]:%d}": row[1] for row in answer(postgres, "by_day") if row[1]}
    assert placed == {"16": 1, "18": 1}


def test_an_open_order_is_as_old_as_its_placing(postgres: psycopg.Connection[Any]) -> None:
    assert answer(postgres, "open_by_age") == [("1–2 days", 1), ("14 days and more", 1)]


def test_cancelled_orders_are_a_share_of_those_placed_in_the_same_days(postgres: psycopg.Connection[Any]) -> None:
    assert [float(share) for (share,) in answer(postgres, "cancelled")] == [pytest.approx(1 / 3)]


def test_the_share_that_is_fulfilled_is_of_orders_placed_in_the_period(postgres: psycopg.Connection[Any]) -> None:
    assert answer(postgres, "fulfilled") == [(0.5,)]


def test_by_payment_date_no_share_of_paid_orders_is_shown_since_unpaid_ones_do_not_count(
    postgres: psycopg.Connection[Any],
) -> None:
    assert answer(postgres, "paid") == [(1,)]
    with postgres.transaction(force_rollback=True):
        postgres.execute(BY_PAYMENT)
        assert answer(postgres, "paid") == [(None,)]
