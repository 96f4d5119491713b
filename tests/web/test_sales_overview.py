"""The Sales Overview's ranges: what is in one, in the one before and in each step, against plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from dashboards.model import load
from dashboards.query import question
from tests.marts.process import make_tables

FOLDER = Path(__file__).parents[2] / "dashboards"
MINUTE = timedelta(minutes=1)
SALE = """
insert into versions.sales_per_minute_v1
    (window_start, region, category, orders, units, gross_amount, discount_amount, sales_amount)
values (%s, 'EU', 'Bikes', 1, 1, %s, 0, %s)
"""
DAY_OF_SALES = """
insert into versions.sales_per_day_v1
    (window_start, region, category, orders, orders_once, units, gross_amount, discount_amount, sales_amount)
select
    date_trunc('day', window_start, 'UTC'), region, category, sum(orders), sum(orders), sum(units), sum(gross_amount),
    sum(discount_amount), sum(sales_amount)
from versions.sales_per_minute_v1 group by 1, 2, 3
"""
LINE = """
insert into versions.order_lines_v1
    (event_id, line, occurred_at, order_id, customer_id, region, currency, channel, product_id, category, quantity,
    unit_price, discount_amount, sales_amount)
values (%s, 1, %s, 'o', 'c', 'EU', 'EUR', 'web', %s, 'Bikes', 2, %s, 0, %s)
"""
REFUND = """
insert into versions.refunds_v3
    (event_id, occurred_at, refund_id, order_id, customer_id, region, currency, amount, reason)
values (%s, %s, %s, 'o', 'c', 'EU', 'EUR', %s, 'damaged')
"""
REFUND_LINE = """
insert into versions.refund_lines_v1
    (event_id, line, occurred_at, refund_id, order_id, customer_id, region, currency, product_id, category, quantity,
    amount, reason)
values (%s, 1, %s, %s, 'o', 'c', 'EU', 'EUR', 'p', 'Bikes', 1, %s, 'damaged')
"""
REFUNDS_OF_DAYS = """
insert into versions.refunded_goods_per_day_v1
select date_trunc('day', occurred_at, 'UTC'), region, category, count(*), sum(quantity), sum(amount)
from versions.refund_lines_v1 group by 1, 2, 3;
insert into versions.refunds_per_day_v1
select date_trunc('day', occurred_at, 'UTC'), region, count(*), coalesce(sum(lines.amount), 0),
    sum(refunds.amount) - coalesce(sum(lines.amount), 0), sum(refunds.amount)
from versions.refunds_v3 as refunds left join versions.refund_lines_v1 as lines using (event_id, occurred_at, region)
group by 1, 2
"""
Moves = list[tuple[datetime, Decimal]]


@pytest.fixture(scope="module")
def postgres(new_database: Callable[[], str]) -> Iterator[psycopg.Connection[Any]]:
    dsn = new_database()
    make_tables(dsn)
    with psycopg.connect(dsn) as connection:
        yield connection


@pytest.fixture
def now(postgres: psycopg.Connection[Any]) -> Iterator[datetime]:
    """The minute that is now, for all of the test: one transaction, of which nothing stays."""
    with postgres.transaction(force_rollback=True):
        (minute,) = postgres.execute("select date_trunc('minute', now())").fetchone() or (None,)
        assert minute
        yield minute


@pytest.mark.parametrize(("words", "length"), [("1 hour", 60 * MINUTE), ("24 hours", 1440 * MINUTE)])
@pytest.mark.parametrize("seed", range(3))
def test_sales_of_a_range_its_steps_and_the_range_before_are_those_of_plain_python(
    postgres: psycopg.Connection[Any], now: datetime, words: str, length: timedelta, seed: int
) -> None:
    ends = now + MINUTE
    sales, refunds = trade(Random(seed), ends, length)
    with postgres.cursor() as cursor:
        cursor.executemany(SALE, [(at, amount, amount) for at, amount in sales])
    pay_back(postgres, refunds)
    moved = [*sales, *((at, -amount) for at, amount in refunds)]
    since, before = ends - length, ends - 2 * length

    assert answer(postgres, "net_sales", "sql", words) == [
        (total(moved, since, datetime.max.replace(tzinfo=now.tzinfo)), total(moved, before, since))
    ]
    shown = answer(postgres, "sales_over_time", "sql", words)
    step = shown[1][0] - shown[0][0]
    assert [at for at, _, _ in shown] == [since + n * step for n in range(length // step)]
    assert shown == [
        (at, total(moved, at, at + step), total(moved, at - length, at - length + step)) for at, _, _ in shown
    ]
    assert answer(postgres, "net_sales", "trend_sql", words) == [(at, net) for at, net, _ in shown]


@pytest.mark.parametrize("days", [150, 900])
def test_a_long_history_is_read_by_the_day_and_adds_up_to_the_same(
    postgres: psycopg.Connection[Any], now: datetime, days: int
) -> None:
    rng = Random(days)
    times = {now - rng.randrange(days * 1440) * MINUTE for _ in range(3_000)}
    sales = [(at, Decimal(rng.randrange(1, 10**6)) / 100) for at in sorted(times)]
    refunds = [(at, Decimal(rng.randrange(1, 10**4)) / 100) for at, _ in sales[100:300]]
    with postgres.cursor() as cursor:
        cursor.executemany(SALE, [(at, amount, amount) for at, amount in sales])
        lines = [(f"e{n}", at, f"p{n % 7}", amount / 2, amount) for n, (at, amount) in enumerate(sales)]
        cursor.executemany(LINE, lines)
    goods = pay_back(postgres, refunds)
    postgres.execute(DAY_OF_SALES)
    moved = [*sales, *((at, -amount) for at, amount in refunds)]
    net = sum((amount for _, amount in moved), Decimal(0))
    net_of_goods = sum((amount for _, amount in sales), Decimal(0)) - sum(amount for _, amount in goods)
    # What only the day's table has shows which one is read.
    postgres.execute("update versions.sales_per_minute_v1 set sales_amount = 0, units = 0, orders = 0")

    for what, filtered in (("EU", {"region": "EU"}), ("Bikes", {"category": "Bikes"}), ("all", {})):
        assert answer(postgres, "net_sales", "sql", "73000 days", **filtered) == [
            (net_of_goods if what == "Bikes" else net, None)
        ], what
        assert answer(postgres, "orders", "sql", "73000 days", **filtered) == [(len(sales), None)], what
        assert answer(postgres, "units", "sql", "73000 days", **filtered) == [(len(sales), None)], what
    assert answer(postgres, "by_category", "sql", "73000 days") == [("Bikes", net_of_goods, None)]
    assert answer(postgres, "by_region", "sql", "73000 days") == [("EU", net, None)]
    of_product = {f"p{n}": sum(amount for _, amount in sales[n::7]) for n in range(7)}
    top = answer(postgres, "top_products", "sql", "73000 days")
    assert {product: sales for _, product, _, _, _, sales in top} == of_product
    shown = answer(postgres, "sales_over_time", "sql", "73000 days")
    step = shown[1][0] - shown[0][0]
    assert step >= timedelta(days=7)
    assert shown[-1][0] + step == midnight_after(sales[-1][0])
    assert shown == [(at, total(moved, at, at + step), None) for at, _, _ in shown]
    assert sum(value for _, value in answer(postgres, "orders", "trend_sql", "73000 days")) == len(sales)


def test_a_table_of_days_that_lacks_the_beginning_is_not_read(postgres: psycopg.Connection[Any], now: datetime) -> None:
    for days in (0, 200):
        postgres.execute(SALE, (now - timedelta(days=days), 10, 10))
    assert answer(postgres, "net_sales", "sql", "73000 days") == [(20, None)], "the table of days is empty"
    postgres.execute(DAY_OF_SALES)
    postgres.execute("delete from versions.sales_per_day_v1 where window_start < now() - interval '150 days'")
    assert answer(postgres, "net_sales", "sql", "73000 days") == [(20, None)], "it began later"
    assert len(answer(postgres, "sales_over_time", "sql", "73000 days")) > 1
    postgres.execute("delete from versions.sales_per_day_v1")
    postgres.execute(DAY_OF_SALES)
    postgres.execute("delete from versions.sales_per_day_v1 where window_start > now() - interval '150 days'")
    assert answer(postgres, "net_sales", "sql", "73000 days") == [(20, None)], "it ends before"


def test_a_short_history_of_long_ago_has_steps_of_less_than_a_day(
    postgres: psycopg.Connection[Any], now: datetime
) -> None:
    sales = [(now - timedelta(days=130) + timedelta(hours=n), Decimal(n + 1)) for n in range(240)]
    with postgres.cursor() as cursor:
        cursor.executemany(SALE, [(at, amount, amount) for at, amount in sales])
    postgres.execute(DAY_OF_SALES)
    shown = answer(postgres, "sales_over_time", "sql", "73000 days")
    step = shown[1][0] - shown[0][0]
    assert step < timedelta(days=1)
    assert shown == [(at, total(sales, at, at + step), None) for at, _, _ in shown]


def test_shipping_that_is_paid_back_is_in_the_refunds_and_apart_from_goods(
    postgres: psycopg.Connection[Any], now: datetime
) -> None:
    """149.00 of goods, 4.90 without a line, and 4.90 with a line of 0.00."""
    postgres.execute(SALE, (now, 200, 200))
    for event_id, amount, lines in (("a", "149.00", ["149.00"]), ("b", "4.90", []), ("c", "4.90", ["0.00"])):
        postgres.execute(REFUND, (event_id, now, event_id, amount))
        for line in lines:
            postgres.execute(REFUND_LINE, (event_id, now, event_id, line))
    postgres.execute(REFUNDS_OF_DAYS)
    bikes = {"category": "Bikes"}
    assert answer(postgres, "refunds", "sql", "1 hour") == [(Decimal("158.80"), None)]
    assert answer(postgres, "refunds", "sql", "1 hour", **bikes) == [(Decimal("149.00"), None)]
    assert answer(postgres, "net_sales", "sql", "1 hour") == [(Decimal("41.20"), None)]
    assert answer(postgres, "net_sales", "sql", "1 hour", **bikes) == [(Decimal("51.00"), None)]
    assert answer(postgres, "by_region", "sql", "1 hour") == [("EU", Decimal("41.20"), None)]
    assert answer(postgres, "by_category", "sql", "1 hour") == [("Bikes", Decimal("51.00"), None)]
    ((_, *day),) = answer(postgres, "by_day", "sql", "1 hour")
    assert day == [Decimal("200.00"), Decimal("-149.00"), Decimal("-9.80")]
    ((_, *day),) = answer(postgres, "by_day", "sql", "1 hour", **bikes)
    assert day == [Decimal("200.00"), Decimal("-149.00"), 0]
    ((_, *day),) = answer(postgres, "by_day", "sql", "1 hour", region="EU")
    assert day == [Decimal("200.00"), Decimal("-149.00"), Decimal("-9.80")]


def pay_back(postgres: psycopg.Connection[Any], refunds: Moves) -> Moves:
    """Every third without a line, every other third with a cent that its line does not hold; what is of goods."""
    cent = Decimal("0.01")
    heads = [(f"e{n}", at, f"r{n}", amount) for n, (at, amount) in enumerate(refunds)]
    lines = [(this, at, refund, amount - n % 3 // 2 * cent) for n, (this, at, refund, amount) in enumerate(heads)]
    lines = [line for n, line in enumerate(lines) if n % 3]
    with postgres.cursor() as cursor:
        cursor.executemany(REFUND, heads)
        cursor.executemany(REFUND_LINE, lines)
    return [(at, amount) for _, at, _, amount in lines]


def midnight_after(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def trade(rng: Random, ends: datetime, length: timedelta) -> tuple[Moves, Moves]:
    """Sales and refunds before a range, in it, at its edges, and a few ahead of the clock."""
    edges = [ends - n * length for n in (0, 1, 2)]
    minutes = {at + n * MINUTE for at in edges for n in (-1, 0, 1)}
    minutes |= {ends - rng.randrange(1, int(2.5 * (length / MINUTE))) * MINUTE for _ in range(200)}
    minutes.add(ends - 3 * length)  # there is a whole range before to compare with
    moments = [at + timedelta(microseconds=n) for at in edges for n in (-1, 0, 1)]
    moments += [ends - rng.random() * 2.5 * length for _ in range(200)]

    def amounts(times: list[datetime]) -> Moves:
        return [(at, Decimal(rng.randrange(1, 10**6)) / 100) for at in times]

    return amounts(sorted(minutes)), amounts(moments)


def total(moved: Moves, first: datetime, end: datetime) -> Decimal:
    return sum((amount for at, amount in moved if first <= at < end), Decimal(0))


def answer(
    postgres: psycopg.Connection[Any], card: str, field: str, words: str, **chosen: str
) -> list[tuple[Any, ...]]:
    dashboard = load(FOLDER / "sales_overview.yaml")
    (sql,) = [c.statements[field] for c in dashboard.cards if c.id == card]
    values = {p.name: p.default or "" for p in dashboard.parameters} | {"range": words} | chosen
    asked = question(dashboard.expanded(sql), values)
    return postgres.execute(psycopg.ClientCursor(postgres).mogrify(asked.sql.encode(), dict(asked.values))).fetchall()
