"""The answer key adds up right, however it is cut into transactions."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from producers.answer_key import KEPT_DAYS, AnswerKey, Answers, answers
from producers.shop.occurrences import INTERACTION, ORDER_PLACED, ORDER_REFUNDED, STOCK_MOVED, Occurrence
from producers.shop.simulation import Simulation
from producers.shop.visits import Shop

ORIGIN = int(datetime(2026, 11, 9, 22, tzinfo=UTC).timestamp()) // 60  # midnight lies within
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def story() -> tuple[Occurrence, ...]:
    shop = Simulation(Shop(seed=5, rate=1), lambda number, field, text: None, origin=ORIGIN)
    return tuple(occurrence for _ in range(6 * 60) for occurrence in shop.advance().occurrences)


def records(event: Any) -> list[dict[str, Any]]:
    return [occurrence.record for occurrence in story() if occurrence.event is event]


def floor(at: datetime, window: timedelta) -> datetime:
    return at - (at - EPOCH) % window


def net(line: dict[str, Any]) -> Decimal:
    amount: Decimal = line["quantity"] * line["unit_price"] - line["discount_amount"]
    return amount


def counted(path: Path, cuts: list[int]) -> Answers:
    """The answers after the story was counted in pieces that end at ``cuts``."""
    database = sqlite3.connect(path, isolation_level=None)
    for start, end in zip([0, *cuts], [*cuts, len(story())], strict=True):
        key = AnswerKey(database)  # a new one each time, as after a restart
        for occurrence in story()[start:end]:
            key.count(occurrence.event, occurrence.at_ms, occurrence.record)
        database.execute("begin")
        key.write()
        database.execute("commit")
    database.close()
    return answers(path)


@cache
def in_one_piece(folder: Path) -> Answers:
    return counted(folder / "whole.sqlite", [])


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_transactions_may_be_cut_anywhere(tmp_path_factory: Any, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(story())), max_size=6)))
    folder = tmp_path_factory.getbasetemp()
    assert counted(tmp_path_factory.mktemp("cut") / "cut.sqlite", cuts) == in_one_piece(folder)


def test_sales_are_the_orders_by_minute_region_and_category(tmp_path: Path) -> None:
    expected: defaultdict[Any, list[Any]] = defaultdict(lambda: [set(), 0, Decimal(0), Decimal(0), Decimal(0)])
    for order in records(ORDER_PLACED):
        for line in order["lines"]:
            cell = expected[floor(order["occurred_at"], timedelta(minutes=1)), order["region"], line["category"]]
            cell[0].add(order["order_id"])
            cell[1] += line["quantity"]
            cell[2] += line["quantity"] * line["unit_price"]
            cell[3] += line["discount_amount"]
            cell[4] += net(line)
    assert expected
    assert in_one_piece(tmp_path)["sales_per_minute"] == {
        key: (len(orders), *measures) for key, (orders, *measures) in expected.items()
    }


def test_a_day_of_sales_is_its_minutes_and_counts_an_order_once_where_its_first_line_is(tmp_path: Path) -> None:
    expected: defaultdict[Any, list[Any]] = defaultdict(lambda: [set(), 0, 0, Decimal(0), Decimal(0), Decimal(0)])
    for order in records(ORDER_PLACED):
        for place, line in enumerate(order["lines"]):
            cell = expected[floor(order["occurred_at"], DAY), order["region"], line["category"]]
            cell[0].add(order["order_id"])
            cell[1] += place == 0
            cell[2] += line["quantity"]
            cell[3] += line["quantity"] * line["unit_price"]
            cell[4] += line["discount_amount"]
            cell[5] += net(line)
    assert sum(cell[1] for cell in expected.values()) == len([o for o in records(ORDER_PLACED) if o["lines"]])
    assert in_one_piece(tmp_path)["sales_per_day"] == {
        key: (len(orders), *measures) for key, (orders, *measures) in expected.items()
    }


def test_refunds_are_counted_on_their_own_day(tmp_path: Path) -> None:
    expected: defaultdict[Any, list[Any]] = defaultdict(lambda: [set(), 0, Decimal(0)])
    for refund in records(ORDER_REFUNDED):
        for line in refund["lines"]:
            cell = expected[floor(refund["occurred_at"], DAY), refund["region"], line["category"]]
            cell[0].add(refund["refund_id"])
            cell[1] += line["quantity"]
            cell[2] += line["amount"]
    assert in_one_piece(tmp_path)["refunded_goods_per_day"] == {
        key: (len(refunds), *measures) for key, (refunds, *measures) in expected.items()
    }


def test_refunds_of_a_day_are_goods_and_what_is_for_no_goods(tmp_path: Path) -> None:
    expected: defaultdict[Any, list[Any]] = defaultdict(lambda: [0, Decimal(0), Decimal(0), Decimal(0)])
    for refund in records(ORDER_REFUNDED):
        goods = sum((line["amount"] for line in refund["lines"]), Decimal(0))
        cell = expected[floor(refund["occurred_at"], DAY), refund["region"]]
        cell[0] += 1
        cell[1] += goods
        cell[2] += refund["amount"] - goods
        cell[3] += refund["amount"]
    assert expected
    assert in_one_piece(tmp_path)["refunds_per_day"] == {key: tuple(cell) for key, cell in expected.items()}


def test_a_refund_of_shipping_is_a_refund_of_no_goods(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "shipping.sqlite", isolation_level=None)
    key = AnswerKey(database)
    one = {"region": "EU", "amount": Decimal("4.90")}
    key.count(ORDER_REFUNDED, 0, one | {"lines": []})
    key.count(ORDER_REFUNDED, 1, one | {"lines": [{"category": "Bikes", "quantity": 1, "amount": Decimal("0.00")}]})
    key.write()
    database.close()
    found = answers(tmp_path / "shipping.sqlite")
    assert found["refunds_per_day"] == {(EPOCH, "EU"): (2, Decimal("0.00"), Decimal("9.80"), Decimal("9.80"))}
    assert found["refunded_goods_per_day"] == {(EPOCH, "EU", "Bikes"): (1, 1, Decimal("0.00"))}


def test_customers_have_their_orders_of_a_day_the_first_and_the_last(tmp_path: Path) -> None:
    expected: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for order in records(ORDER_PLACED):
        expected[floor(order["occurred_at"], DAY), order["customer_id"]].append(order)
    assert in_one_piece(tmp_path)["customer_orders_per_day"] == {
        key: (
            len(orders),
            sum(line["quantity"] for order in orders for line in order["lines"]),
            sum(net(line) for order in orders for line in order["lines"]),
            orders[0]["occurred_at"],
            orders[-1]["occurred_at"],
        )
        for key, orders in expected.items()
    }


def test_sessions_and_the_funnel_follow_from_the_interactions(tmp_path: Path) -> None:
    kinds = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")
    sessions: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    hours: defaultdict[Any, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in records(INTERACTION):
        sessions[floor(record["session_started_at"], DAY), record["session_id"]].append(record)
        hour = hours[floor(record["occurred_at"], HOUR), record["campaign"] is not None, record["campaign"] or ""]
        hour["any"].add(record["session_id"])
        hour[record["interaction"]].add(record["session_id"])
    found = in_one_piece(tmp_path)
    assert found["sessions"] == {
        key: (
            next((e["user_id"] for e in events if e["user_id"]), None),
            events[0]["region"],
            events[0]["campaign"],
            events[0]["session_started_at"],
            events[-1]["occurred_at"],
            *(sum(e["interaction"] == kind for e in events) for kind in kinds),
        )
        for key, events in sessions.items()
    }
    assert found["funnel_per_hour"] == {
        key: (len(steps["any"]), *(len(steps[kind]) for kind in kinds[1:])) for key, steps in hours.items()
    }


def test_products_have_their_views_carts_units_and_revenue_of_an_hour(tmp_path: Path) -> None:
    expected: defaultdict[Any, list[Any]] = defaultdict(lambda: [0, 0, 0, Decimal(0)])
    for record in records(INTERACTION):
        if record["interaction"] in ("product_view", "add_to_cart"):
            key = floor(record["occurred_at"], HOUR), record["product_id"]
            expected[key][record["interaction"] == "add_to_cart"] += 1
    for order in records(ORDER_PLACED):
        for line in order["lines"]:
            cell = expected[floor(order["occurred_at"], HOUR), line["product_id"]]
            cell[2] += line["quantity"]
            cell[3] += net(line)
    assert in_one_piece(tmp_path)["product_activity_per_hour"] == {key: tuple(c) for key, c in expected.items()}


def test_stock_moves_add_up_to_the_net_change(tmp_path: Path) -> None:
    found = in_one_piece(tmp_path)["stock_moves_per_hour"]
    moves = records(STOCK_MOVED)
    assert sum(change for *_, change in found.values()) == sum(move["delta"] for move in moves)
    for column, reason in enumerate(("sale", "restock", "adjustment")):
        total = sum(measures[column] for measures in found.values())
        assert total == sum(abs(move["delta"]) for move in moves if move["reason"] == reason)


def test_every_event_is_counted_once_by_topic_and_day(tmp_path: Path) -> None:
    expected: defaultdict[Any, int] = defaultdict(int)
    for occurrence in story():
        expected[occurrence.event.topic, floor(occurrence.record["occurred_at"], DAY)] += 1
    found = in_one_piece(tmp_path)["events_per_day"]
    assert found == {key: (count,) for key, count in expected.items()}
    assert len({day for _, day in found}) == 2


def test_old_windows_are_deleted(tmp_path: Path) -> None:
    counted(tmp_path / "key.sqlite", [])
    database = sqlite3.connect(tmp_path / "key.sqlite", isolation_level=None)
    key = AnswerKey(database)
    now_ms = story()[-1].at_ms
    key.prune(now_ms + (KEPT_DAYS - 1) * 86_400_000)
    assert answers(tmp_path / "key.sqlite")["sales_per_minute"]
    key.prune(now_ms + (KEPT_DAYS + 1) * 86_400_000)
    assert not any(answers(tmp_path / "key.sqlite").values())
    database.close()
