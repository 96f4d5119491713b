"""Every disagreement between a shop and our tables is found, and led to its order."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from producers.connect.agreement import Sold, compared, reasons
from producers.connect.memory import FILE, Known, Memory
from producers.connect.orders import Shop, head_of
from producers.connect.woocommerce import read_order, read_refund, sold_in_shop
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
        found[str(order.id)] = Sold(state.record["occurred_at"].date(), sales, sum(refunds, Decimal(0)))
    return found


def theirs_of(shop: WooCommerce) -> dict[str, Sold]:
    there, unread = sold_in_shop(json.dumps(order_json(order)).encode() for order in shop.orders.values())
    assert unread == []
    return there


def test_a_shop_agrees_with_the_events_of_its_orders() -> None:
    shop = shop_of(1_000)
    found = compared(theirs_of(shop), ours_of(shop), {})
    assert found.is_complete
    assert len(found.there) == len(shop.counted()) > 900
    assert sum(there.orders for there, _ in found.days().values()) == len(shop.counted())


def test_a_thousand_disagreements_are_all_found_and_each_is_led_to_its_order() -> None:
    shop, chance = shop_of(3_000), Random(7)
    there, here = theirs_of(shop), ours_of(shop)
    wanted: dict[str, str] = {}
    for order_id in chance.sample(sorted(there), 1_000):
        sold = here[order_id]
        kind = chance.choice(["missing here", "missing in the shop", "day", "sales", "refunds", "sales, refunds"])
        if kind == "missing here":
            del here[order_id]
        elif kind == "missing in the shop":
            del there[order_id]
        elif kind == "day":
            here[order_id] = sold._replace(day=sold.day - timedelta(days=1))
        else:
            here[order_id] = Sold(
                sold.day, *(sold[i] + CENT * (name in kind) for i, name in ((1, "sales"), (2, "refunds")))
            )
        wanted[order_id] = kind
    found = compared(there, here, {})
    assert {one.order_id: one.what for one in found.differences} == wanted
    assert any(both[0] != both[1] for both in found.days().values())
    assert not found.is_complete


def test_an_order_that_the_api_says_too_little_of_is_named_and_hides_no_other() -> None:
    shop = shop_of(3)
    first, *others = (order_json(order) for order in shop.orders.values())
    bodies = [json.dumps(each).encode() for each in ({**first, "total": "much"}, *others)]
    there, unread = sold_in_shop([*bodies, b"7"])
    assert unread == [str(first["id"]), "?"]
    assert there.keys() == {str(each["id"]) for each in others}
    assert not compared(there, there, {}, unread).is_complete


def test_what_is_known_of_a_missing_order_is_said(tmp_path: Path) -> None:
    assert reasons(tmp_path, "bikes", ["1"]) == {}
    memory = Memory(tmp_path / FILE)
    memory.refuse("bikes", "order:1", "total is missing")
    memory.keep("bikes", "2", Known(5, 5, b"d", {}, 5, frozenset()))
    memory.commit()
    memory.close()
    assert reasons(tmp_path, "bikes", ["1", "2", "3"]) == {
        "1": "refused: total is missing",
        "2": "on the log; it is late and waits for the run that counts late events, or just came",
        "3": "not read from the shop yet",
    }
