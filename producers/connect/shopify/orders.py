"""A Shopify order, as its GraphQL Admin API has it, as our events. Pure: bytes in, values out.

Everything is read from the order's sales agreements: Shopify writes one when an order is placed, edited, refunded or
returned, with a sale for each of its lines. Its own sales reports are made of them, so the definitions are Shopify's:

- **Sold** is what was ordered, when it was placed or by an edit, of the kind PRODUCT. It is without tax
  (``totalAmount`` less ``totalTaxAmount``), and gross is that with its discounts (``totalDiscountAmountBeforeTaxes``).
- **Returned** is what an agreement takes back, on the day when it did: by a refund, a return, an edit or a
  cancellation, whether money was paid back by then or not. A cancelled order is a sale and a return.
- **Gift cards** that are sold and **tips** are no sales, and taking them back is no return. Duties and fees are no
  sales, and are part of the total.
- **Test orders** count nowhere, and an order of nothing but gift cards is no sale.

All amounts are the shop's own currency's (``shopMoney``), whatever the customer paid in. What was charged in another
(``presentmentMoney``) stands beside them, with the rate that the one is to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple

from producers.connect.orders import (
    CENT,
    NO_FEES,
    VOID,
    BadOrder,
    Cancelled,
    Json,
    OrderState,
    Refund,
    Shop,
    cents_of,
    list_of,
    millis_of,
    object_of,
    of_order,
    shown,
    text_of,
    time_of,
    units_of,
)
from producers.connect.shopify.fees import CHARGES, read_fees
from producers.connect.shopify.ids import number_of
from producers.order_file.records import order_lines
from producers.order_file.rows import Line, spread
from producers.rates.exchange import Charge, cross
from producers.shop.identifiers import digest_of, envelope
from producers.withdrawn import whose
from schemas.binary import since_epoch
from schemas.currency import scale

NO_SALE: Final = frozenset(("GIFT_CARD", "TIP"))
BESIDE: Final = frozenset(("SHIPPING", "DUTY", "FEE", "ADDITIONAL_FEE"))  # of the total, and no goods
KINDS: Final = frozenset(("PRODUCT", "ADJUSTMENT")) | NO_SALE | BESIDE
PAID: Final = frozenset(("PAID", "PARTIALLY_REFUNDED", "REFUNDED"))


class Presented(NamedTuple):
    """A sale as the customer saw it, in the smallest units of that currency."""

    currency: str
    total: int
    tax: int


class Sale(NamedTuple):
    """A sale of an agreement. Amounts in cents, below zero where something is taken back; ``net`` is without tax."""

    kind: str
    units: int
    net: int
    tax: int
    discount: int
    line_id: str
    product_id: str
    brand: str | None
    presented: Presented | None = None

    @property
    def total(self) -> int:
        return self.net + self.tax


def order_id_of(order: Json) -> str:
    """The order's number. Raises BadOrder."""
    return number_of(order, "id")


def read_order(body: bytes, shop: Shop) -> OrderState:
    """Raises BadOrder naming the field."""
    order = object_of(body)
    order_id = order_id_of(order)
    with of_order(order_id):
        return _state(order, order_id, shop)


def customer_of(body: bytes, shop: Shop) -> str | None:
    """Whose order this is, also of one that can't be read otherwise; None when it does not say."""
    try:
        order = object_of(body)
        return _customer(order, number_of(order, "id"), shop)
    except BadOrder:
        return None


def read_refund(body: bytes, order_id: str, head: Json, shop: Shop) -> Refund:
    """An agreement by which something of an order was taken back; ``head`` is of the order's event (see ``head_of``).

    Raises BadOrder naming the field.
    """
    agreement = object_of(body)
    refund_id = number_of(agreement, "id")
    try:
        at_ms = millis_of(agreement, "happenedAt")
        record = {
            **envelope(shop.name, f"refund:{refund_id}", at_ms),
            "refund_id": f"{shop.name}-{refund_id}",
            **whose(head),
            **_returned(returns_of(agreement)),
            **_charged_back(returns_of(agreement), head["currency"]),
            "reason": "other",
        }
    except BadOrder as bad:
        raise BadOrder(f"agreement {refund_id}: {bad}", order_id) from None
    return Refund(refund_id, at_ms, record)


def returns_of(agreement: Json, where: str = "sales") -> list[Sale]:
    """What an agreement takes back. Raises BadOrder."""
    return [sale for sale, is_return in _sales(agreement, where) if is_return and sale.kind not in NO_SALE]


def _state(order: Json, order_id: str, shop: Shop) -> OrderState:
    created_ms, modified_ms = millis_of(order, "processedAt"), millis_of(order, "updatedAt")
    status = "cancelled" if order.get("cancelledAt") else "open"
    sold: list[Sale] = []
    refund_ids = set()
    for i, agreement in enumerate(list_of(order, "agreements")):
        where = f"agreements[{i}].sales"
        sold += [sale for sale, is_return in _sales(agreement, where) if not is_return]
        if returns_of(agreement, where):
            refund_ids.add(number_of(agreement, f"agreements[{i}].id", "id"))
    lines = _lines(sold)
    fees = NO_FEES if order.get("test") else read_fees(order, shop)
    cancelled_at = None if order.get("test") else time_of(order, "cancelledAt")
    cancelled = Cancelled(since_epoch(cancelled_at), _region(order), is_sure=True) if cancelled_at else None
    if order.get("test") or (not lines and sold):
        return OrderState(order_id, created_ms, modified_ms, status, None, VOID, frozenset(refund_ids), fees, cancelled)
    if not lines:
        raise BadOrder("agreements is empty: the order has no sales")
    record = {
        **envelope(shop.name, f"order:{order_id}", created_ms),
        "order_id": f"{shop.name}-{order_id}",
        "customer_id": _customer(order, order_id, shop),
        "region": _region(order),
        "currency": text_of(order, "currencyCode"),
        "channel": "store" if order.get("sourceName") == "pos" else "web",
        "session_id": None,
        "lines": [each for line in lines for each in order_lines(line)],
        **_amounts(sold),
        **_life(order),
        "discounts": _discounts(order, sum(line.discount for line in lines)),
        "is_cancelled": None,
    }
    record |= _charged(sold, record["currency"])
    counted = {name: value for name, value in record.items() if name not in ("event_id", "lines")}
    digest = digest_of((sorted(counted.items()), sorted(tuple(line) for line in lines)))
    return OrderState(order_id, created_ms, modified_ms, status, record, digest, frozenset(refund_ids), fees, cancelled)


def _sales(agreement: Json, where: str) -> Iterable[tuple[Sale, bool]]:
    """An agreement's sales, and of each whether it takes something back."""
    for i, item in enumerate(list_of(agreement, "sales")):
        sale = _sale(item, f"{where}[{i}]")
        yield sale, item.get("actionType") == "RETURN" or sale.total < 0


def _sale(item: Json, where: str) -> Sale:
    kind = text_of(item, f"{where}.lineType", "lineType")
    if kind not in KINDS:
        raise BadOrder(f"{where}.lineType is {shown(kind)}, and should be one of {', '.join(sorted(KINDS))}")
    total = _money(item, f"{where}.totalAmount", "totalAmount")
    tax = _money(item, f"{where}.totalTaxAmount", "totalTaxAmount")
    discount = _money(item, f"{where}.totalDiscountAmountBeforeTaxes", "totalDiscountAmountBeforeTaxes")
    units = 0 if item.get("quantity") is None else units_of(item, f"{where}.quantity", "quantity")
    line = item.get("lineItem")
    presented = _presented(item, where)
    if kind != "PRODUCT":
        return Sale(kind, units, total - tax, tax, discount, "", kind.lower(), None, presented)
    if not isinstance(line, dict):
        raise BadOrder(f"{where}.lineItem is {shown(line)}, and should be the order's line")
    product_id = str(line.get("sku") or line.get("name") or "unknown")
    brand = str(line["vendor"]) if line.get("vendor") else None
    return Sale(kind, units, total - tax, tax, discount, str(line.get("id")), product_id, brand, presented)


def _presented(item: Json, where: str) -> Presented | None:
    """A sale in the customer's currency; None where it is not said."""
    total, tax = (
        bag.get("presentmentMoney") if isinstance(bag := item.get(name), dict) else None
        for name in ("totalAmount", "totalTaxAmount")
    )
    if not isinstance(total, dict) or not isinstance(tax, dict):
        return None
    currency = text_of(total, f"{where}.totalAmount.presentmentMoney.currencyCode", "currencyCode")
    read = partial(cents_of, name="amount", decimals=scale(currency))
    return Presented(currency, read(total, f"{where}.totalAmount"), read(tax, f"{where}.totalTaxAmount"))


def _charge(sales: Sequence[Sale], own: str, sign: int = 1) -> tuple[Charge, list[Presented]] | None:
    """How sales were charged, if in one other currency than the shop's, and each so; ``sign`` -1: they came back."""
    presented = [sale.presented for sale in sales if sale.presented]
    currencies = {each.currency for each in presented}
    if len(presented) < len(sales) or len(currencies) != 1 or own in currencies:
        return None
    (currency,) = currencies
    total, cents = sign * sum(each.total for each in presented), sign * sum(sale.total for sale in sales)
    if min(total, cents) <= 0:
        return None
    rate = cross(Decimal(total).scaleb(-scale(currency)), CENT * cents)
    return Charge(currency, own, rate, "shop"), presented


def _charged(sold: Iterable[Sale], own: str) -> dict[str, Any]:
    """What the customer was charged, in another currency than the shop's; nothing to say in the shop's own."""
    goods = [sale for sale in sold if sale.kind != "GIFT_CARD"]
    found = _charge(goods, own)
    if found is None:
        return {}
    charge, presented = found
    shipping = sum(p.total - p.tax for sale, p in zip(goods, presented, strict=True) if sale.kind == "SHIPPING")
    return {
        **charge.fields(),
        "charged_total_amount": charge.amount(sum(each.total for each in presented)),
        "charged_shipping_amount": charge.amount(shipping),
        "charged_tax_amount": charge.amount(sum(each.tax for each in presented)),
    }


def _charged_back(returns: Sequence[Sale], own: str) -> dict[str, Any]:
    """The same of what was paid back."""
    found = _charge(returns, own, -1)
    if found is None:
        return {}
    charge, presented = found
    return {**charge.fields(), "charged_amount": charge.amount(-sum(each.total for each in presented))}


def _lines(sold: Iterable[Sale]) -> list[Line]:
    """What was sold, a line for each of the order's: an edit may have added to one."""
    by_line: dict[tuple[str, str], list[Sale]] = {}
    for sale in sold:
        if sale.kind in ("PRODUCT", "ADJUSTMENT"):
            by_line.setdefault((sale.line_id, sale.product_id), []).append(sale)
    lines = []
    for (_, product_id), sales in by_line.items():
        net, units = sum(sale.net for sale in sales), max(1, sum(sale.units for sale in sales))
        discount = max(0, sum(sale.discount for sale in sales))
        lines.append(Line(product_id, "uncategorized", sales[0].brand, units, net + discount, discount, 0, 0))
    return lines


def _amounts(sold: Iterable[Sale]) -> dict[str, Any]:
    """The order's amounts beside its goods; the total is all that it came to, gift cards included."""
    net, tax, total = dict.fromkeys(KINDS, 0), 0, 0
    for sale in sold:
        net[sale.kind] += sale.net
        tax += sale.tax
        total += sale.total
    return {
        "shipping_amount": CENT * net["SHIPPING"],
        "tax_amount": CENT * tax,
        "total_amount": CENT * (total - net["GIFT_CARD"]),
        "tip_amount": CENT * net["TIP"] if net["TIP"] else None,
        "duties_amount": CENT * net["DUTY"] if net["DUTY"] else None,
    }


def _returned(returns: Iterable[Sale]) -> dict[str, Any]:
    """The amounts of a refund's event. What the shop kept back of the goods is taken off their lines."""
    goods = [sale for sale in returns if sale.kind == "PRODUCT" and sale.units < 0 and sale.net < 0]
    amount = -sum(sale.total for sale in returns)
    tax = -sum(sale.tax for sale in returns)
    shipping = -sum(sale.net for sale in returns if sale.kind == "SHIPPING")
    if min(amount, tax, shipping) < 0:
        raise BadOrder(f"sales: they give back {amount * CENT}, of it tax {tax * CENT} and shipping {shipping * CENT}")
    worth = [-sale.net for sale in goods]
    kept = max(0, sum(worth) - (amount - tax - shipping)) if goods else 0
    lines = [
        {
            "product_id": sale.product_id,
            "category": "uncategorized",
            "quantity": -sale.units,
            "amount": CENT * (net - off),
        }
        for sale, net, off in zip(goods, worth, spread(min(kept, sum(worth)), worth), strict=True)
    ]
    return {
        "lines": lines,
        "amount": CENT * amount,
        "shipping_amount": CENT * min(shipping, amount),
        "tax_amount": CENT * min(tax, amount),
    }


def _life(order: Json) -> dict[str, Any]:
    """When the order was paid, sent and cancelled, and what of it was paid by gift card."""
    charges = [each for each in list_of(order, "transactions") if each.get("status") == "SUCCESS"]
    charges = [each for each in charges if str(each.get("kind")) in CHARGES]
    by_card = sum(_money(each, "transactions", "amountSet") for each in charges if each.get("gateway") == "gift_card")
    sent = [each for each in list_of(order, "fulfillments") if each.get("status") == "SUCCESS"]
    # One that costs nothing is paid without a charge.
    is_paid = str(order.get("displayFinancialStatus")) in PAID
    is_sent = order.get("displayFulfillmentStatus") == "FULFILLED"
    return {
        "gift_card_amount": CENT * by_card if by_card else None,
        "taxes_included": bool(order["taxesIncluded"]) if "taxesIncluded" in order else None,
        "paid_at": (_latest(charges, "processedAt") or time_of(order, "processedAt")) if is_paid else None,
        "fulfilled_at": _latest(sent, "createdAt") if is_sent else None,
        "cancelled_at": time_of(order, "cancelledAt"),
    }


def _discounts(order: Json, taken_off: int) -> list[dict[str, Any]] | None:
    """What the lines' discounts are of; None where there are several, because their shares are not asked for."""
    said = order.get("discountApplications")
    nodes = list_of(said, "nodes") if isinstance(said, dict) else []
    found = [each for each in nodes if each.get("targetType") == "LINE_ITEM"]
    if len(found) > 1 or (not found and taken_off):
        return None
    return [
        {"code": each.get("code") or None, "title": each.get("title") or None, "amount": CENT * taken_off}
        for each in found
    ]


def _customer(order: Json, order_id: str, shop: Shop) -> str:
    customer = order.get("customer")
    if not isinstance(customer, dict):
        return f"{shop.name}-guest-of-{order_id}"
    return f"{shop.name}-{number_of(customer, 'customer.id', 'id')}"


def _region(order: Json) -> str:
    address = order.get("shippingAddress")
    return str(address.get("countryCodeV2") or "unknown") if isinstance(address, dict) else "unknown"


def _latest(items: Iterable[Json], name: str) -> datetime | None:
    return max((at for each in items if (at := time_of(each, name))), default=None)


def _money(item: Json, where: str, name: str) -> int:
    """Cents of the shop's currency."""
    bag = item.get(name)
    money = bag.get("shopMoney") if isinstance(bag, dict) else None
    if not isinstance(money, dict):
        raise BadOrder(f"{where} is {shown(bag)}, and should have the shop's money")
    return cents_of(money, where, "amount")
