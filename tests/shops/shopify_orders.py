"""A Shopify order in whole cents, and as the GraphQL Admin API 2026-10 writes it. Its shapes, and made-up values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

TAX = 19  # per cent, in the price


class Item(NamedTuple):
    """A line: units, and in cents the price of all of them before and after the discount, tax in it."""

    id: int
    kind: str  # PRODUCT, GIFT_CARD, TIP, SHIPPING, DUTY
    sku: str
    units: int
    whole: int
    paid: int

    @property
    def tax(self) -> int:
        return 0 if self.kind in ("GIFT_CARD", "TIP", "DUTY") else self.paid - _share(self.paid, 100, 100 + TAX)

    @property
    def net(self) -> int:
        return self.paid - self.tax

    @property
    def discount(self) -> int:
        """Without tax."""
        return _share(self.whole - self.paid, 100, 100 + TAX)


class Back(NamedTuple):
    """What comes back of a line: units, and in cents what they cost with tax, the tax, and their discount."""

    item: Item
    units: int
    total: int
    tax: int
    discount: int


class Agreement(NamedTuple):
    """What was agreed at a time: lines sold, lines that come back, and what the shop keeps back of their price."""

    id: int
    at: datetime
    reason: str
    sold: tuple[Item, ...]
    back: tuple[Back, ...] = ()
    kept: int = 0

    @property
    def given_back(self) -> int:
        """What counts as returned, tax in it."""
        return sum(each.total for each in self.back if each.item.kind not in ("GIFT_CARD", "TIP")) - self.kept


@dataclass
class Order:
    id: int
    created: datetime
    modified: datetime
    customer: int
    country: str
    is_test: bool
    agreements: list[Agreement]
    presentment: float = 1.0  # what the customer's currency is worth
    currency: str = "EUR"
    paid: datetime | None = None
    sent: datetime | None = None
    cancelled: datetime | None = None
    spoilt: dict[str, Any] = field(default_factory=dict)  # what its JSON says instead

    @property
    def items(self) -> list[Item]:
        return [item for agreement in self.agreements for item in agreement.sold]

    @property
    def goods(self) -> list[Item]:
        return [item for item in self.items if item.kind == "PRODUCT"]

    @property
    def is_counted(self) -> bool:
        """Whether Shopify's sales reports have sales of it."""
        return bool(self.goods) and not self.is_test

    @property
    def payment_fee(self) -> int:
        """What Shopify Payments keeps, in cents; it did not take every payment."""
        return total_of(self.items) * 29 // 1000 + 30 if self.paid and self.id % 3 else 0

    def left(self) -> list[tuple[Item, int]]:
        """Each line with the units that were not taken back."""
        back: dict[int, int] = {}
        for agreement in self.agreements:
            for each in agreement.back:
                back[each.item.id] = back.get(each.item.id, 0) + each.units
        return [(item, item.units - back.get(item.id, 0)) for item in self.items if item.units > back.get(item.id, 0)]

    def back(self, item: Item, units: int) -> Back:
        """So many units of a line, at what they cost; the last ones take what rounding left."""
        before = item.units - next(left for each, left in self.left() if each.id == item.id)

        def part(cents: int) -> int:
            return _share(cents, before + units, item.units) - _share(cents, before, item.units)

        return Back(item, units, part(item.paid), part(item.tax), part(item.discount))


def order_json(order: Order, *, agreements: int, sales: int) -> dict[str, Any]:
    """An order as a query for so many agreements, and sales of each, gives it."""
    found = {
        "id": f"gid://shopify/Order/{order.id}",
        "processedAt": at(order.created),
        "updatedAt": at(order.modified),
        "cancelledAt": at(order.cancelled) if order.cancelled else None,
        "test": order.is_test,
        "currencyCode": order.currency,
        "taxesIncluded": True,
        "sourceName": "web",
        "displayFinancialStatus": "PAID" if order.paid else "PENDING",
        "displayFulfillmentStatus": "FULFILLED" if order.sent else "UNFULFILLED",
        "customer": {"id": f"gid://shopify/Customer/{order.customer}"} if order.customer else None,
        "shippingAddress": {"countryCodeV2": order.country} if order.country else None,
        "fulfillments": [{"createdAt": at(order.sent), "status": "SUCCESS"}] if order.sent else [],
        "transactions": [_charge(order)] if order.paid else [],
        "discountApplications": {"nodes": [], "pageInfo": {"hasNextPage": False}},
        "agreements": agreements_json(order, 0, agreements, sales),
    }
    return found | order.spoilt


def agreements_json(order: Order, start: int, first: int, sales: int) -> dict[str, Any]:
    """A page of an order's agreements."""
    edges = [
        {"cursor": f"agreement-{i}", "node": agreement_json(order, agreement, sales)}
        for i, agreement in enumerate(order.agreements[start : start + first], start=start)
    ]
    more = start + first < len(order.agreements)
    end = edges[-1]["cursor"] if edges else None
    return {"edges": edges, "pageInfo": {"hasNextPage": more, "endCursor": end}}


def agreement_json(order: Order, agreement: Agreement, sales: int) -> dict[str, Any]:
    return {
        "id": f"gid://shopify/SalesAgreement/{agreement.id}",
        "happenedAt": at(agreement.at),
        "reason": agreement.reason,
        "sales": sales_json(order, agreement, 0, sales),
    }


def sales_json(order: Order, agreement: Agreement, start: int, first: int) -> dict[str, Any]:
    """A page of an agreement's sales."""
    found = [
        _sale(order, item.kind, "ORDER", item, item.units, item.paid, item.tax, item.discount)
        for item in agreement.sold
    ]
    for each in agreement.back:
        sums = (-each.units, -each.total, -each.tax, -each.discount)
        found.append(_sale(order, each.item.kind, "RETURN", each.item, *sums))
    if agreement.kept:
        found.append(_sale(order, "ADJUSTMENT", "RETURN", None, None, agreement.kept, 0, 0))
    page = found[start : start + first]
    more = start + first < len(found)
    return {"nodes": page, "pageInfo": {"hasNextPage": more, "endCursor": f"sale-{start + len(page) - 1}"}}


def _sale(
    order: Order, kind: str, action: str, item: Item | None, units: int | None, total: int, tax: int, discount: int
) -> dict[str, Any]:
    found = {
        "id": f"gid://shopify/Sale/{order.id}{item.id if item else 0}",
        "actionType": action,
        "lineType": kind,
        "quantity": None if kind == "SHIPPING" else units,
        "totalAmount": _bag(order, total),
        "totalTaxAmount": _bag(order, tax),
        "totalDiscountAmountBeforeTaxes": _bag(order, discount),
    }
    if kind == "PRODUCT" and item is not None:
        name = f"Product {item.id}"
        line = {"id": f"gid://shopify/LineItem/{item.id}", "sku": item.sku or None, "name": name, "vendor": "Veloria"}
        found["lineItem"] = line
    return found


def _charge(order: Order) -> dict[str, Any]:
    total = sum(item.paid for item in order.items)
    assert order.paid is not None
    said = {"kind": "SALE", "status": "SUCCESS", "gateway": "shopify_payments", "processedAt": at(order.paid)}
    fee = {"id": f"gid://shopify/TransactionFee/{order.id}", "amount": _money(order, order.payment_fee)}
    return {**said, "amountSet": _bag(order, total), "fees": [fee] if order.payment_fee else []}


def _money(order: Order, cents: int) -> dict[str, Any]:
    return {"amount": money(cents), "currencyCode": order.currency}


def _bag(order: Order, cents: int) -> dict[str, Any]:
    """A MoneyBag: in the shop's currency, and in the customer's."""
    other = round(cents * order.presentment)
    return {
        "shopMoney": {"amount": money(cents), "currencyCode": order.currency},
        "presentmentMoney": {"amount": money(other), "currencyCode": "USD"},
    }


def money(cents: int) -> str:
    """As the API writes decimals: with one digit after the point where the second is zero."""
    sign, cents = ("-" if cents < 0 else ""), abs(cents)
    text = f"{cents // 100}.{cents % 100:02d}"
    return sign + (text[:-1] if text.endswith("0") else text)


def at(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def total_of(items: Iterable[Item]) -> int:
    return sum(item.paid for item in items)


def _share(cents: int, part: int, whole: int) -> int:
    """So much of an amount, rounded half up."""
    return (2 * cents * part + whole) // (2 * whole)
