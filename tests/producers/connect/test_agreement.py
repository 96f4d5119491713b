"""Every disagreement between a shop and our tables is found, and led to its order."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from producers.connect.agreement import (
    MEASURES,
    ShopSide,
    Sold,
    Waiting,
    compared,
    explained,
)
from producers.connect.memory import FILE, Known, KnownRefund, Memory
from producers.connect.orders import Shop, event_id_of_refund, event_id_of_state
from producers.connect.woocommerce import read_order, read_refund, said_of
from producers.withdrawn import head_of
from tests.producers.connect.conftest import sold_by_payment
from tests.shops.woocommerce import WooCommerce
from tests.shops.woocommerce_orders import order_json, refund_json

BIKES = Shop("bikes", b"k" * 32)
CENT = Decimal("0.01")


def shop_of(orders: int) -> WooCommerce:
    """Orders of 60 days, some paid back, some given up."""
    shop, chance = WooCommerce(seed=3), Random(3)
    for n in range(orders):
        order = shop.place(at=shop.now - timedelta(minutes=n * 80_000 // orders))
        if chance.random() < 0.1:
            shop.refund(order, whole=chance.random() < 0.5)
        elif chance.random() < 0.05:
            shop.change(order, status="cancelled")
    return shop


def ours_of(shop: WooCommerce) -> dict[str, Sold]:
    """What becomes of the shop's orders as events, with none of what agreement.py counts the shop by."""
    found = {}
    for order in shop.orders.values():
        state = read_order(json.dumps(order_json(order)).encode(), BIKES)
        if state.record is None:
            continue
        head = head_of(state.record)
        refunds = [
            read_refund(json.dumps(refund_json(r)).encode(), str(order.id), head, BIKES).record["amount"]
            for r in order.refunds
        ]
        sales = sum(each["quantity"] * each["unit_price"] - each["discount_amount"] for each in state.record["lines"])
        found[str(order.id)] = Sold(
            state.record["occurred_at"].date(),
            sales,
            *(state.record[name] for name in ("shipping_amount", "tax_amount")),
            sum(refunds, Decimal(0)),
        )
    return found


def theirs_of(shop: WooCommerce) -> ShopSide:
    side = ShopSide(datetime(2000, 1, 1, tzinfo=UTC), "EUR")
    side.take(said_of(json.dumps(order_json(order)).encode()) for order in shop.orders.values())
    assert side.unread() == {}
    return side


def test_a_shop_agrees_with_the_events_of_its_orders() -> None:
    shop = shop_of(1_000)
    found = compared(theirs_of(shop), ours_of(shop))
    assert found.result == "equal"
    assert found.orders == len(shop.counted()) > 900
    assert sum(there.orders for there, _ in found.days().values()) == len(shop.counted())


def test_by_payment_an_orders_day_is_that_of_its_payment_on_both_sides_and_an_unpaid_one_counts_on_neither() -> None:
    days = 0
    for n, order in enumerate(shop_of(60).orders.values()):
        body = order_json(order)
        placed = datetime.fromisoformat(body["date_created_gmt"])
        paid = (None, placed + timedelta(days=n), placed - timedelta(days=2))[n % 3]
        body["date_paid_gmt"] = paid and paid.isoformat()
        text = json.dumps(body).encode()
        record, said = read_order(text, BIKES).record, said_of(text, by_payment=True)
        if sold := sold_by_payment(record, said):
            assert sold[1:] == (said_of(text).sold or sold)[1:]
            days += sold.day != placed.date()
    assert days > 10


@pytest.mark.parametrize("by_payment", [False, True])
def test_an_order_placed_before_the_days_compared_is_not_of_them_whenever_it_was_paid(by_payment: bool) -> None:
    """A shop is asked from a second before, because it may leave out what is of the very second."""
    body = order_json(next(iter(shop_of(1).orders.values())))
    since = datetime(2026, 11, 1, tzinfo=UTC)
    side = ShopSide(since, "EUR")
    for n, placed in enumerate((since - timedelta(seconds=1), since)):
        times = {"date_created_gmt": placed, "date_paid_gmt": since + timedelta(hours=8)}
        text = json.dumps({**body, "id": n, **{name: f"{at:%Y-%m-%dT%H:%M:%S}" for name, at in times.items()}})
        side.take([said_of(text.encode(), by_payment=by_payment)])
    assert side.unread() == {}
    assert side.sold().keys() == {"1"}


def test_a_thousand_disagreements_are_all_found_and_each_is_led_to_its_order() -> None:
    shop, chance = shop_of(3_000), Random(7)
    theirs, here = theirs_of(shop), ours_of(shop)
    wanted: dict[str, str] = {}
    for order_id in chance.sample(sorted(theirs.sold()), 1_000):
        sold = here[order_id]
        kind = chance.choice(["missing here", "missing in the shop", "day", *MEASURES, ", ".join(MEASURES)])
        if kind == "missing here":
            del here[order_id]
        elif kind == "missing in the shop":
            theirs.forget([order_id])
        elif kind == "day":
            here[order_id] = sold._replace(day=sold.day - timedelta(days=1))
        else:
            here[order_id] = sold._replace(**{name: getattr(sold, name) + CENT for name in kind.split(", ")})
        wanted[order_id] = kind
    found = compared(theirs, here)
    assert {one.order_id: one.what for one in found.differences} == wanted
    assert any(both[0] != both[1] for both in found.days().values())
    assert found.result == "different"


def test_an_order_that_the_api_says_too_little_of_is_named_and_hides_no_other() -> None:
    shop = shop_of(3)
    first, *others = (order_json(order) for order in shop.orders.values())
    side = ShopSide(datetime(2000, 1, 1, tzinfo=UTC), "EUR")
    bodies = [json.dumps(each).encode() for each in ({**first, "total": "much"}, *others)]
    side.take(map(said_of, [*bodies, b"7"]))
    assert list(side.unread()) == [str(first["id"]), "?"]
    assert side.sold().keys() == {str(each["id"]) for each in others}
    found = compared(side, ours_of(shop))
    assert (found.result, found.differences, found.orders) == ("different", (), 4)


def test_an_order_that_was_moved_to_before_the_compared_days_is_none_of_them() -> None:
    shop = shop_of(2)
    side = theirs_of(shop)
    assert len(side.sold()) == 2
    side.since = shop.now + timedelta(days=1)
    assert side.sold() == {}


def test_only_what_ends_by_itself_is_pending_and_everything_else_has_its_reason(tmp_path: Path) -> None:
    shop = WooCommerce()
    now = shop.now
    names = ("refused", "late", "late_refund", "recent", "missed", "apart", "gone", "refund_refused")
    orders = {name: shop.place(at=now - timedelta(days=3)) for name in names}
    shop.change(orders["recent"], at=now - timedelta(minutes=50))
    shop.change(orders["missed"], at=now - timedelta(hours=2))
    theirs = theirs_of(shop)
    theirs.forget([str(orders["gone"].id)])
    memory, digest = Memory(tmp_path / FILE), b"digest"
    for name in names:
        refunds = {"77": KnownRefund(5, 1)} if "refund" in name else {}
        created_ms = int(orders[name].created.timestamp() * 1000)
        memory.keep("bikes", str(orders[name].id), Known(created_ms, 5, digest, {}, created_ms, refunds))
    memory.refuse("bikes", f"order:{orders['refused'].id}", "total is missing")
    memory.commit()
    late_ids = {
        event_id_of_state("bikes", str(orders["late"].id), 5, digest, int(orders["late"].created.timestamp() * 1000)),
        event_id_of_refund("bikes", "78", 2, 1_790_000_000_123, 1_780_000_000_456),
    }
    waiting = Waiting(late_events=late_ids, unread_since=now - timedelta(minutes=65))
    here = {str(orders["gone"].id): ours_of(shop)[str(orders["gone"].id)]}
    before = explained(compared(theirs, here), theirs, tmp_path, "bikes", waiting)
    causes = {name: next(d.cause for d in before.differences if d.order_id == str(orders[name].id)) for name in names}
    assert causes == {
        **{"refused": "rejected", "late": "late", "recent": "recent", "missed": "missed", "gone": "gone"},
        **{"apart": "apart", "late_refund": "apart", "refund_refused": "apart"},
    }
    assert (len(before.pending), before.result) == (2, "different")
    memory.refuse("bikes", "refund:77", "amount is below zero")
    refund = KnownRefund(1_790_000_000_123, 2, paid_ms=1_780_000_000_456)
    memory.keep("bikes", str(orders["late_refund"].id), Known(2**62, 5, digest, {}, 5, {"78": refund}))
    memory.commit()
    memory.close()
    after = explained(compared(theirs, here), theirs, tmp_path, "bikes", waiting)
    causes = {name: next(d.cause for d in after.differences if d.order_id == str(orders[name].id)) for name in names}
    assert (causes["late_refund"], causes["refund_refused"]) == ("late", "rejected")
    only_pending = tuple(d for d in after.differences if d.is_pending)
    assert replace(after, differences=only_pending).result == "pending"


def test_without_a_memory_nothing_is_known_and_nothing_is_pending(tmp_path: Path) -> None:
    theirs = theirs_of(shop_of(2))
    waiting = Waiting(late_events=(), unread_since=datetime(2000, 1, 1, tzinfo=UTC))
    found = explained(compared(theirs, {}), theirs, tmp_path, "bikes", waiting)
    assert [(one.cause, one.what) for one in found.differences] == [("", "missing here")] * 2
    assert found.result == "different"
