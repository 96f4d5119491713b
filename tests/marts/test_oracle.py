"""The computation that marts are compared with, against a small story whose numbers were worked out by hand."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.marts.any_shop import any_shop
from tests.marts.oracle.exact import ratio, rounded
from tests.marts.oracle.history import History, Row, counted
from tests.marts.oracle.marts import MARTS


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}+00:00")


def order(number: int, when: str, who: str, *lines: tuple[str, str, int, str, str], **more: Any) -> dict[str, Any]:
    """``lines`` are product, category, quantity, unit price and discount."""
    return {
        "event_id": f"e{number}",
        "occurred_at": at(when),
        "order_id": f"O{number}",
        "customer_id": who,
        "region": "EU",
        "currency": "EUR",
        "channel": "web",
        "session_id": None,
        "lines": [
            {
                "product_id": product,
                "category": category,
                "brand": None,
                "quantity": quantity,
                "unit_price": Decimal(price),
                "discount_amount": Decimal(discount),
            }
            for product, category, quantity, price, discount in lines
        ],
    } | more


def step(session: str, started: str, when: str, what: str, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{session} {when} {what}",
        "occurred_at": at(when),
        "session_id": session,
        "session_started_at": at(started),
        "interaction": what,
        "user_id": None,
        "product_id": None,
        "campaign": None,
        "region": "EU",
    } | more


ORDERS = [
    # Ann buys on two days of January, twice on the first, and in March.
    order(1, "01-05 10:00", "Ann", ("P", "Bikes", 1, "100.00", "10.00"), ("Q", "Parts", 2, "5.00", "0.00")),
    order(2, "01-05 12:00", "Ann", ("Q", "Parts", 1, "5.00", "0.00"), ("Q", "Parts", 1, "5.00", "0.00"), region="US"),
    order(3, "01-07 00:00", "Ann", ("P", "Bikes", 1, "110.00", "0.00"), session_id="S1"),
    order(4, "03-01 09:00", "Ann", ("P", "Bikes", 1, "110.00", "0.00")),
    # Ben once, at the last millisecond of a day.
    order(5, "01-05 23:59:59.999", "Ben", ("P", "Bikes", 1, "100.00", "0.00")),
]
REFUNDS = [
    {
        "occurred_at": at("01-07 08:00"),
        "order_id": "O1",
        "refund_id": "R1",
        "region": "EU",
        "lines": [{"category": "Parts", "amount": Decimal("5.00")}],
        "amount": Decimal("5.00"),
    },
    # Shipping, once without a line and once with a line of zero.
    {
        "occurred_at": at("01-07 09:00"),
        "order_id": "O3",
        "refund_id": "R2",
        "region": "EU",
        "lines": [],
        "amount": Decimal("4.90"),
    },
    {
        "occurred_at": at("01-07 10:00"),
        "order_id": "O5",
        "refund_id": "R3",
        "region": "EU",
        "lines": [{"category": "Bikes", "amount": Decimal("0.00")}],
        "amount": Decimal("4.90"),
    },
]
VISITS = [
    # Begun before midnight, bought after it.
    step("S1", "01-06 23:50", "01-06 23:50", "page_view", user_id="Ann"),
    step("S1", "01-06 23:50", "01-06 23:55", "add_to_cart", product_id="P", campaign="mail"),
    step("S1", "01-06 23:50", "01-06 23:59", "checkout"),
    step("S1", "01-06 23:50", "01-07 00:00", "purchase", user_id="Ann"),
    # Left at the checkout; a day after its start is not it any more.
    step("S2", "01-06 08:00", "01-06 08:00", "add_to_cart", product_id="Q"),
    step("S2", "01-06 08:00", "01-06 08:01:30.900", "checkout"),
    step("S2", "01-06 08:00", "01-07 08:00", "purchase"),
    # What led to the order of March: only the second was sent by anybody.
    step("S3", "02-20 08:00", "02-20 08:00", "product_view", product_id="P", user_id="Ann"),
    step("S4", "02-25 08:00", "02-25 08:00", "page_view", user_id="Ann", campaign="brand"),
    step("S5", "02-26 08:00", "02-26 08:00", "page_view", user_id="Ann"),
]


@pytest.fixture(scope="module")
def story() -> History:
    return History({"sales.order_placed": ORDERS, "sales.order_refunded": REFUNDS, "web.interaction": VISITS})


def rows(history: History, mart: str, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
    found: list[Row] = [
        row for row in MARTS[mart].rows(history) if all(row[column] == value for column, value in where.items())
    ]
    picked = (tuple(row[column] for column in columns) for row in found)
    return sorted(picked, key=lambda values: ["" if value is None else str(value) for value in values])


def test_orders_are_numbered_and_know_what_was_paid_back_later(story: History) -> None:
    assert rows(story, "fct_orders", "order_id", "sales_amount", "net_amount", "order_number", customer_id="Ann") == [
        ("O1", Decimal(100), Decimal(95), 1),
        ("O2", Decimal(10), Decimal(10), 2),
        ("O3", Decimal(110), Decimal("105.10"), 3),
        ("O4", Decimal(110), Decimal(110), 4),
    ]


def test_a_days_sales_add_up_in_every_rollup(story: History) -> None:
    money = ("gross_amount", "discount_amount", "refund_amount", "net_amount", "average_order_amount")
    found = rows(story, "daily_sales", "region", "category", "orders", "units", *money, day=date(2026, 1, 5))
    assert found == [
        (None, None, 3, 6, Decimal(220), Decimal(10), Decimal(0), Decimal(210), Decimal(70)),
        (None, "Bikes", 2, 2, Decimal(200), Decimal(10), Decimal(0), Decimal(190), Decimal(95)),
        (None, "Parts", 2, 4, Decimal(20), Decimal(0), Decimal(0), Decimal(20), Decimal(10)),
        ("EU", None, 2, 4, Decimal(210), Decimal(10), Decimal(0), Decimal(200), Decimal(100)),
        ("EU", "Bikes", 2, 2, Decimal(200), Decimal(10), Decimal(0), Decimal(190), Decimal(95)),
        ("EU", "Parts", 1, 2, Decimal(10), Decimal(0), Decimal(0), Decimal(10), Decimal(10)),
        ("US", None, 1, 2, Decimal(10), Decimal(0), Decimal(0), Decimal(10), Decimal(10)),
        ("US", "Parts", 1, 2, Decimal(10), Decimal(0), Decimal(0), Decimal(10), Decimal(10)),
    ]


def test_a_refund_lowers_the_day_on_which_it_is_paid(story: History) -> None:
    money = ("sales_amount", "refund_amount", "other_refund_amount", "net_amount")
    assert rows(story, "daily_sales", "category", *money, day=date(2026, 1, 7), region="EU") == [
        (None, Decimal(110), Decimal("14.80"), Decimal("9.80"), Decimal("95.20")),
        ("Bikes", Decimal(110), Decimal(0), Decimal(0), Decimal(110)),
        ("Parts", Decimal(0), Decimal(5), Decimal(0), Decimal(-5)),
    ]


def test_new_is_who_orders_for_the_first_time_ever_on_that_day(story: History) -> None:
    counts = ("customers", "new_customers", "returning_customers")
    found = rows(story, "daily_sales", "day", *counts, level="all")
    assert found == [
        (date(2026, 1, 5), 2, 2, 0),
        (date(2026, 1, 6), 0, 0, 0),
        (date(2026, 1, 7), 1, 0, 1),
        (date(2026, 3, 1), 1, 0, 1),
    ]


def test_a_checkout_belongs_to_the_day_on_which_its_session_began(story: History) -> None:
    counts = ("checkouts", "abandoned_checkouts")
    assert rows(story, "daily_sales", "category", *counts, day=date(2026, 1, 6), region="EU") == [
        (None, 2, 1),
        ("Bikes", 1, 0),
        ("Parts", 1, 1),
    ]


def test_scores_are_quintiles_in_which_equals_are_equal() -> None:
    days = [f"01-{n:02}" for n in range(1, 11)]
    history = History(
        {
            "sales.order_placed": [
                order(n, f"{day} 10:00", f"C{n:02}", ("P", "Bikes", 1, f"{10 * min(n, 5)}.00", "0.00"))
                for n, day in enumerate(days)
            ]
        }
    )
    found = rows(history, "rfm", "customer_id", "recency_days", "rfm_score")
    # Two in each fifth by recency; everybody ordered once; from the sixth on all spent the same.
    assert [score for _, _, score in found] == [
        "111", "111", "212", "212", "313", "313", "413", "413", "513", "513",
    ]  # fmt: skip
    assert [days for _, days, _ in found] == list(range(9, -1, -1))


def test_a_cohort_is_followed_through_months_in_which_nobody_comes(story: History) -> None:
    found = rows(story, "cohorts", "months_since", "cohort_customers", "active_customers", "retention", "sales_amount")
    assert found == [
        (0, 2, 2, Decimal(1), Decimal(320)),
        (1, 2, 0, Decimal(0), Decimal(0)),
        (2, 2, 1, Decimal("0.5"), Decimal(110)),
    ]


def test_repeat_purchases_are_days(story: History) -> None:
    found = rows(story, "clv_inputs", "customer_id", "frequency", "recency_days", "t_days", "monetary_value")
    assert found == [("Ann", 2, 55, 55, Decimal(110)), ("Ben", 0, 0, 55, None)]


def test_a_session_ends_within_a_day_and_knows_its_orders(story: History) -> None:
    columns = ("session_id", "duration_seconds", "campaign", "customer_id", "purchases", "is_bounce", "sales_amount")
    assert rows(story, "sessions", *columns) == [
        ("S1", 600, "mail", "Ann", 1, False, Decimal(110)),
        ("S2", 90, None, None, 0, False, Decimal(0)),
        ("S3", 0, None, "Ann", 0, True, Decimal(0)),
        ("S4", 0, "brand", "Ann", 0, True, Decimal(0)),
        ("S5", 0, None, "Ann", 0, True, Decimal(0)),
    ]


def test_first_touch_may_be_a_visit_without_a_campaign_and_last_touch_looks_for_one(story: History) -> None:
    first, last = (
        rows(story, "attribution", "day", "campaign", "sales_amount", touch=touch) for touch in ("first", "last")
    )
    before = [(date(2026, 1, 5), None, Decimal(10)), (date(2026, 1, 5), None, Decimal(200))]
    assert first == [*before, (date(2026, 1, 7), "mail", Decimal(110)), (date(2026, 3, 1), None, Decimal(110))]
    assert last == [*before, (date(2026, 1, 7), "mail", Decimal(110)), (date(2026, 3, 1), "brand", Decimal(110))]


def test_a_product_that_no_page_shows_is_known_as_it_was_sold(story: History) -> None:
    found = rows(story, "dim_products", "product_id", "name", "category", "price", "has_history")
    assert found == [("P", None, "Bikes", Decimal(110), False), ("Q", None, "Parts", Decimal(5), False)]


def test_the_first_record_of_an_id_counts_and_late_ones_do_not() -> None:
    records = [
        {"event_id": event_id, "kafka_partition": 0, "kafka_offset": offset}
        for offset, event_id in enumerate(("a", "b", "a", "c", "b"))
    ]
    assert [r["kafka_offset"] for r in counted(records)] == [0, 1, 3]
    assert [r["kafka_offset"] for r in counted(records, {(0, 1), (0, 3)})] == [0, 4]


def test_halves_are_rounded_away_from_zero() -> None:
    assert rounded(Fraction(5, 1000), 2) == Decimal("0.01")
    assert rounded(Fraction(-5, 1000), 2) == Decimal("-0.01")
    assert ratio(2, 3, 2) == Decimal("0.67")
    assert ratio(1, 0) is None


@pytest.mark.parametrize("seed", range(5))
def test_no_two_rows_of_a_mart_are_of_one_grain(seed: int) -> None:
    history = History(any_shop(seed))
    for name, mart in MARTS.items():
        keys = [tuple(row[column] for column in mart.grain) for row in mart.rows(history)]
        assert keys, name
        assert len(keys) == len(set(keys)), name
