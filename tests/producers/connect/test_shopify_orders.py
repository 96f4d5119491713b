"""What a Shopify order's JSON becomes: what counts as sold and as returned, money to the cent, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from producers.connect.agreement import Sold
from producers.connect.orders import BadOrder, Shop, stamped, stamped_refund
from producers.connect.shopify import read_order, read_refund, said_of
from producers.connect.shopify.orders import returns_of
from producers.shop.occurrences import ORDER_PLACED, ORDER_REFUNDED
from producers.withdrawn import head_of
from schemas.codec import Encoder
from tests.producers.connect.conftest import days_of, sold_by_payment
from tests.shops.shopify import Shopify
from tests.shops.shopify_orders import Order, order_json

SHOP = Shop("bikes", b"k" * 32)
PLACED = Encoder(ORDER_PLACED, 1, "EUR")
REFUNDED = Encoder(ORDER_REFUNDED, 1, "EUR")
AT = datetime(2026, 11, 28, 10, tzinfo=UTC)


def bag(amount: str) -> dict[str, Any]:
    presented = {"amount": f"{Decimal(amount) * 2}", "currencyCode": "USD"}
    return {"shopMoney": {"amount": amount}, "presentmentMoney": presented}


def sale(total: str, tax: str = "0.0", discount: str = "0.0", **changed: Any) -> dict[str, Any]:
    line = {"id": "gid://shopify/LineItem/1", "sku": "SAD-1", "name": "Saddle", "vendor": "Brooks"}
    amounts = {"totalAmount": bag(total), "totalTaxAmount": bag(tax), "totalDiscountAmountBeforeTaxes": bag(discount)}
    said = {"id": "gid://shopify/Sale/1", "actionType": "ORDER", "lineType": "PRODUCT", "quantity": 1, **amounts}
    return {**said, "lineItem": line, **changed}


def back(total: str, tax: str = "0.0", discount: str = "0.0", **changed: Any) -> dict[str, Any]:
    return sale(total, tax, discount, **{"actionType": "RETURN", "quantity": -1, **changed})


def agreement(number: int, *sales: dict[str, Any], **changed: Any) -> dict[str, Any]:
    said = {"id": f"gid://shopify/SalesAgreement/{number}", "happenedAt": "2026-11-29T10:00:00Z", "reason": "REFUND"}
    return {**said, "sales": list(sales), **changed}


def order(*agreements: dict[str, Any], **changed: Any) -> bytes:
    said = {
        "id": "gid://shopify/Order/1001",
        "processedAt": "2026-11-28T10:00:00Z",
        "updatedAt": "2026-11-28T10:05:00Z",
        "cancelledAt": None,
        "test": False,
        "currencyCode": "EUR",
        "taxesIncluded": True,
        "sourceName": "web",
        "customer": {"id": "gid://shopify/Customer/7"},
        "shippingAddress": {"countryCodeV2": "FR"},
        "agreements": list(agreements) or [agreement(1, sale("23.8", "3.8", "2.0", quantity=2))],
    }
    return json.dumps({**said, **changed}).encode()


def read(body: bytes) -> dict[str, Any]:
    record = read_order(body, SHOP).record
    assert record is not None
    PLACED.encode(record)
    return record


def sums(record: dict[str, Any]) -> tuple[Decimal, Decimal]:
    gross = sum((line["quantity"] * line["unit_price"] for line in record["lines"]), Decimal(0))
    return gross, sum((line["discount_amount"] for line in record["lines"]), Decimal(0))


def refund(*sales: dict[str, Any]) -> dict[str, Any]:
    head = head_of(read(order()))
    record = read_refund(json.dumps(agreement(2, *sales)).encode(), "1001", head, SHOP).record
    REFUNDED.encode(record)
    return record


def test_an_order_is_without_tax_and_its_amounts_are_the_shops_currencys() -> None:
    record = read(order())
    assert sums(record) == (Decimal("22.00"), Decimal("2.00"))
    assert (record["tax_amount"], record["total_amount"], record["taxes_included"]) == (
        Decimal("3.80"),
        Decimal("23.80"),
        True,
    )
    assert (record["order_id"], record["customer_id"], record["region"]) == ("bikes-1001", "bikes-7", "FR")
    assert [(line["product_id"], line["brand"]) for line in record["lines"]] == [("SAD-1", "Brooks")]


def test_gift_cards_and_tips_are_no_sales_and_an_order_of_nothing_else_is_none() -> None:
    extra = [
        sale("50.0", lineType="GIFT_CARD"),
        sale("3.0", lineType="TIP"),
        sale("5.95", "0.95", lineType="SHIPPING", quantity=None),
        sale("7.0", lineType="DUTY"),
    ]
    record = read(order(agreement(1, sale("11.9", "1.9"), *extra)))
    assert sums(record) == (Decimal("10.00"), Decimal("0.00"))
    assert (record["shipping_amount"], record["tip_amount"], record["duties_amount"]) == (5, 3, 7)
    assert (record["tax_amount"], record["total_amount"]) == (Decimal("2.85"), Decimal("27.85"))
    only_card = read_order(order(agreement(1, extra[0])), SHOP)
    assert only_card.record is None
    assert returns_of(agreement(2, back("-50.0", lineType="GIFT_CARD"), back("-3.0", lineType="TIP"))) == []


def test_a_test_order_counts_nowhere() -> None:
    assert read_order(order(test=True), SHOP).record is None
    assert said_of(order(test=True)).sold is None


def test_a_cancelled_order_is_a_sale_and_a_return() -> None:
    body = order(
        agreement(1, sale("11.9", "1.9")), agreement(2, back("-11.9", "-1.9")), cancelledAt="2026-11-29T10:00:00Z"
    )
    state = read_order(body, SHOP)
    assert state.record is not None
    assert (sums(state.record), state.refund_ids) == ((Decimal("10.00"), Decimal("0.00")), {"2"})
    assert state.record["cancelled_at"] == datetime(2026, 11, 29, 10, tzinfo=UTC)
    assert said_of(body)[:2] == ("1001", Sold(AT.date(), Decimal("10.0"), Decimal(0), Decimal("1.9"), Decimal("11.9")))


def test_what_an_edit_adds_is_sold_with_the_order_and_what_it_takes_out_is_returned() -> None:
    more = sale("11.9", "1.9", quantity=1)
    edit = agreement(2, more, back("-5.95", "-0.95", lineItem={"id": "gid://shopify/LineItem/2", "name": "Bell"}))
    state = read_order(order(agreement(1, sale("23.8", "3.8", quantity=2)), edit), SHOP)
    assert state.record is not None
    assert sums(state.record) == (Decimal("30.00"), Decimal("0.00"))
    assert [line["quantity"] for line in state.record["lines"]] == [3]
    assert state.refund_ids == {"2"}
    dearer = agreement(2, sale("1.19", "0.19", "-1.0", actionType="UPDATE", quantity=None))
    assert sums(read(order(agreement(1, sale("10.71", "1.71", "1.0")), dearer))) == (Decimal("10.00"), Decimal("0.00"))
    cheaper = agreement(2, sale("-1.19", "-0.19", "1.0", actionType="UPDATE", quantity=None))
    assert read_order(order(agreement(1, sale("11.9", "1.9")), cheaper), SHOP).refund_ids == {"2"}


def test_a_refund_has_its_goods_its_shipping_and_its_tax() -> None:
    record = refund(back("-23.8", "-3.8", quantity=-2), back("-5.95", "-0.95", lineType="SHIPPING", quantity=None))
    assert (record["amount"], record["shipping_amount"], record["tax_amount"]) == (Decimal("29.75"), 5, Decimal("4.75"))
    assert [(line["quantity"], line["amount"]) for line in record["lines"]] == [(2, Decimal("20.00"))]
    assert record["occurred_at"] == datetime(2026, 11, 29, 10, tzinfo=UTC)


def test_what_the_shop_keeps_back_is_taken_off_the_lines() -> None:
    record = refund(back("-23.8", "-3.8"), back("3.0", lineType="ADJUSTMENT", quantity=None))
    assert (record["amount"], record["lines"][0]["amount"]) == (Decimal("20.80"), Decimal("17.00"))
    goodwill = refund(back("-5.0", lineType="ADJUSTMENT", quantity=None))
    assert (goodwill["amount"], goodwill["lines"]) == (Decimal("5.00"), [])


@pytest.mark.parametrize(
    ("status", "paid", "by_card"),
    [("PAID", AT, Decimal("5.00")), ("PENDING", None, Decimal("5.00")), ("REFUNDED", AT, Decimal("5.00"))],
)
def test_an_order_says_when_it_was_paid_and_sent(status: str, paid: datetime | None, by_card: Decimal) -> None:
    charge = {"kind": "SALE", "status": "SUCCESS", "gateway": "gift_card", "processedAt": "2026-11-28T09:00:00Z"}
    rest = {**charge, "kind": "CAPTURE", "gateway": "shopify_payments", "processedAt": "2026-11-28T10:00:00Z"}
    failed = {**rest, "status": "FAILURE", "processedAt": "2026-11-28T11:00:00Z"}
    record = read(
        order(
            transactions=[{**each, "amountSet": bag("5.0")} for each in (charge, rest, failed)],
            displayFinancialStatus=status,
            displayFulfillmentStatus="FULFILLED",
            fulfillments=[{"createdAt": "2026-11-28T10:00:00Z", "status": "SUCCESS"}],
        )
    )
    assert (record["paid_at"], record["fulfilled_at"], record["gift_card_amount"]) == (paid, AT, by_card)


def test_a_discount_is_named_where_it_is_the_only_one() -> None:
    one = {"targetType": "LINE_ITEM", "code": "SUMMER"}
    free = {"targetType": "SHIPPING_LINE", "code": "FREE"}
    assert read(order(discountApplications={"nodes": [one, free]}))["discounts"] == [
        {"code": "SUMMER", "title": None, "amount": Decimal("2.00")}
    ]
    assert read(order(discountApplications={"nodes": [one, one]}))["discounts"] is None
    assert read(order())["discounts"] is None


def test_an_order_without_a_customer_or_an_address_counts() -> None:
    record = read(order(customer=None, shippingAddress=None, sourceName="pos"))
    assert (record["customer_id"], record["region"], record["channel"]) == ("bikes-guest-of-1001", "unknown", "store")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (order(processedAt="soon"), "processedAt is 'soon'"),
        (order(agreement(1)), "agreements is empty"),
        (
            order(agreement(1, sale("1.005"))),
            r"sales\[0\].totalAmount is 1.005, which has parts of a cent",
        ),
        (order(agreement(1, sale("1.0", totalAmount=None))), "should have the shop's money"),
        (order(agreement(1, sale("1.0", lineType="UNKNOWN"))), r"sales\[0\].lineType is 'UNKNOWN'"),
        (order(agreement(1, sale("1.0", lineItem=None))), r"sales\[0\].lineItem is missing"),
        (order(id="1001"), "id is '1001', and should be an id such as gid://shopify/Order/7"),
        (order(agreements=7), "agreements is not a list"),
        (b"[]", "not an object"),
        (b"{", "it is not JSON"),
    ],
)
def test_what_cannot_be_counted_is_refused_by_name(body: bytes, reason: str) -> None:
    with pytest.raises(BadOrder, match=reason):
        read_order(body, SHOP)


def test_a_refund_that_gives_nothing_back_is_refused() -> None:
    with pytest.raises(BadOrder, match="they give back -3.00"):
        refund(back("3.0", lineType="ADJUSTMENT", quantity=None))


def live(shop: Shopify, chance: Random) -> None:
    """Some days of the shop."""
    for _ in range(chance.randint(1, 25)):
        shop.now += timedelta(hours=chance.choice([0, 1, 20]))
        step, placed = chance.random(), list(shop.orders.values())
        if step < 0.4 or not placed:
            shop.place()
        elif step < 0.55:
            shop.edit(chance.choice(placed))
        elif step < 0.7:
            shop.refund(chance.choice(placed), whole=chance.random() < 0.3)
        elif step < 0.8:
            shop.cancel(chance.choice(placed))
        elif step < 0.9:
            shop.pay(chance.choice(placed))
        else:
            shop.send(chance.choice(placed))


def test_by_payment_an_orders_day_is_that_of_its_payment_for_the_event_and_for_what_the_shop_says() -> None:
    paid = unpaid = 0
    for n, placed in enumerate(orders_of_some_shops(30)):
        found = whole(placed)
        for charge in found["transactions"]:
            charge["processedAt"] = (datetime.fromisoformat(found["processedAt"]) + timedelta(days=n)).isoformat()
        found["transactions"] = found["transactions"][: n % 4]  # one in four costs nothing: it has no charge
        body = json.dumps(found).encode()
        record, said = read_order(body, SHOP).record, said_of(body, by_payment=True)
        if sold_by_payment(record, said):
            paid += 1
        else:
            unpaid += said_of(body).sold is not None
    assert min(paid, unpaid) > 5


def orders_of_some_shops(seeds: int) -> list[Any]:
    found = []
    for seed in range(seeds):
        shop = Shopify(seed=seed)
        live(shop, Random(seed))
        found += shop.orders.values()
    return found


@pytest.mark.parametrize("seed", range(20))
def test_any_shops_events_add_up_to_its_own_days_and_to_what_it_says_of_each_order(seed: int) -> None:
    shop = Shopify(seed=seed)
    live(shop, Random(seed))
    orders: list[dict[str, Any]] = []
    refunds: list[dict[str, Any]] = []
    for placed in shop.orders.values():
        found = whole(placed)
        body = json.dumps(found).encode()
        state, said = read_order(body, SHOP), said_of(body)
        if state.record is None:
            assert said.sold is None
            continue
        record = stamped(state.record, SHOP, state.order_id, 1, state.digest)
        PLACED.encode(record)
        bodies = [json.dumps(each).encode() for each in found["agreements"] if returns_of(each)]
        paid_back = [read_refund(each, state.order_id, head_of(record), SHOP) for each in bodies]
        assert {refund.refund_id for refund in paid_back} == state.refund_ids
        for refund in paid_back:
            REFUNDED.encode(refund.record)
        gross, discount = sums(record)
        amount = sum((refund.record["amount"] for refund in paid_back), Decimal(0))
        charges = (record["shipping_amount"], record["tax_amount"])
        assert said.sold == Sold(record["occurred_at"].date(), gross - discount, *charges, amount)
        charged = sum(round(item.paid * placed.presentment) for item in placed.items if item.kind != "GIFT_CARD")
        if record["total_amount"]:
            assert (record["charged_currency"], record["charged_rate_source"]) == ("USD", "shop")
            assert record["charged_total_amount"] == Decimal(charged) / 100
            assert abs(record["total_amount"] * record["charged_rate"] - Decimal(charged) / 100) < Decimal("0.0001")
        for refund in paid_back:
            if refund.record.get("charged_rate") is not None:
                back = refund.record["charged_amount"]
                assert abs(refund.record["amount"] * refund.record["charged_rate"] - back) < Decimal("0.0001")
        orders.append(record)
        refunds += [stamped_refund(refund.record, SHOP, refund.refund_id, 1) for refund in paid_back]
    assert days_of(orders, refunds) == shop.days()


def whole(placed: Order) -> dict[str, Any]:
    """An order as our reader has it, with all its agreements and their sales."""
    found = order_json(placed, agreements=50, sales=50)
    edges = found["agreements"]["edges"]
    return {**found, "agreements": [{**each["node"], "sales": each["node"]["sales"]["nodes"]} for each in edges]}


def test_no_json_does_more_than_be_refused() -> None:
    """Values of an order's JSON are replaced by others, anywhere in it."""
    shop, chance = Shopify(seed=5), Random(5)
    odd: list[Any] = [None, "", "x", -1, 0, 10**30, 1.5, True, [], {}, [[]], {"id": None}, "-5.00", "1e9", "\ud800"]
    for _ in range(2_000):
        placed = shop.place()
        if chance.random() < 0.5:
            shop.refund(placed, whole=True)
        found = whole(placed)
        _spoil(found, chance, odd)
        body = json.dumps(found).encode()
        said_of(body)
        try:
            state = read_order(body, SHOP)
            bodies = [json.dumps(each).encode() for each in found["agreements"] if returns_of(each)]
            for each in bodies if state.record else ():
                read_refund(each, state.order_id, head_of(state.record or {}), SHOP)
        except BadOrder:
            continue


def _spoil(found: Any, chance: Random, odd: list[Any]) -> None:
    while True:
        key = chance.choice(list(found) if isinstance(found, dict) else range(len(found)))
        inner = found[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            found = inner
        else:
            found[key] = chance.choice(odd)
            return
