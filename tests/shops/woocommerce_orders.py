"""A WooCommerce order in the smallest units of its currency, and as the REST API v3 (wc/v3) writes it. The shapes are
the vendor's; the values are made up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

TAX = 19  # per cent, in the price
Money = Callable[[int], str]


class Sold(NamedTuple):
    """A line: units, and in cents the price of all of them before and after the discount, tax in it."""

    sku: str
    product_id: int
    quantity: int
    whole: int
    paid: int

    @property
    def subtotal(self) -> int:
        return _share(self.whole, 100, 100 + TAX)

    @property
    def total(self) -> int:
        return _share(self.paid, 100, 100 + TAX)


@dataclass
class Refunded:
    id: int
    at: datetime
    amount: int
    lines: list[tuple[Sold, int, int]]  # units and cents that came back
    shipping: int = 0
    tax: int = 0


@dataclass
class Order:
    id: int
    created: datetime
    modified: datetime
    status: str
    lines: list[Sold]
    shipping: int
    shipping_tax: int
    email: str
    customer_id: int
    country: str
    fee: int = 0
    currency: str = "EUR"
    refunds: list[Refunded] = field(default_factory=list)
    completed: datetime | None = None
    spoilt: dict[str, Any] = field(default_factory=dict)  # what its JSON says instead

    @property
    def paid(self) -> datetime | None:
        """It is paid by card a minute after it is placed."""
        return self.created + timedelta(minutes=1) if self.status in ("processing", "completed", "refunded") else None

    @property
    def payment_fee(self) -> int:
        """What the provider keeps: of Stripe euro cents, of PayPal the currency's smallest units; else nothing."""
        return self.total * 29 // 1000 + 30 if self.paid and self.id % 3 else 0

    @property
    def tax(self) -> int:
        """Rounded once, as the shop does when it rounds taxes at the subtotal: not the sum of the lines' taxes."""
        return _share(sum(line.paid for line in self.lines), TAX, 100 + TAX) + self.shipping_tax

    @property
    def total(self) -> int:
        return sum(line.paid for line in self.lines) + self.fee + self.shipping + self.shipping_tax

    @property
    def goods(self) -> int:
        """What was sold, without tax and shipping: what the shop calls net sales."""
        return self.total - self.tax - self.shipping

    @property
    def discount(self) -> int:
        return sum(line.subtotal - line.total for line in self.lines)


def order_json(order: Order) -> dict[str, Any]:
    """An order as the API writes it."""
    money = partial(_money, currency=order.currency)
    address = {"first_name": "Nobody", "last_name": "Special", "city": "Anywhere", "country": order.country}
    found = {
        "id": order.id,
        "parent_id": 0,
        "status": order.status,
        "currency": order.currency,
        "version": "9.8.1",
        "prices_include_tax": True,
        "date_created": _local(order.created),
        "date_modified": _local(order.modified),
        "discount_total": money(order.discount),
        "discount_tax": "0.00",
        "shipping_total": money(order.shipping),
        "shipping_tax": money(order.shipping_tax),
        "cart_tax": money(order.tax - order.shipping_tax),
        "total": money(order.total),
        "total_tax": money(order.tax),
        "customer_id": order.customer_id,
        "order_key": f"wc_order_{order.id:x}",
        "billing": {**address, "email": order.email, "phone": "0"},
        "shipping": address,
        "payment_method": "bacs",
        "created_via": "checkout",
        "date_completed": _local(order.completed) if order.completed else None,
        "date_paid": _local(order.paid) if order.paid else None,
        "number": str(order.id),
        "meta_data": _meta(order, money),
        "line_items": [_item(index, line, money) for index, line in enumerate(order.lines, start=1)],
        "tax_lines": [],
        "shipping_lines": [],
        "fee_lines": [_fee(order.fee, money)] if order.fee else [],
        "coupon_lines": [_coupon(order.discount, money)] if order.discount else [],
        "refunds": [{"id": r.id, "reason": "", "total": f"-{money(r.amount)}"} for r in order.refunds],
        "date_created_gmt": _gmt(order.created),
        "date_modified_gmt": _gmt(order.modified),
        "date_completed_gmt": _gmt(order.completed) if order.completed else None,
        "date_paid_gmt": _gmt(order.paid) if order.paid else None,
        "currency_symbol": "€",
    }
    return found | order.spoilt


def _item(index: int, line: Sold, money: Money) -> dict[str, Any]:
    return {
        "id": index,
        "name": f"Product {line.product_id}",
        "product_id": line.product_id,
        "variation_id": 0,
        "quantity": line.quantity,
        "tax_class": "",
        "subtotal": money(line.subtotal),
        "subtotal_tax": money(line.paid - line.total),
        "total": money(line.total),
        "total_tax": money(line.paid - line.total),
        "taxes": [],
        "meta_data": [],
        "sku": line.sku or None,
        "price": line.total / line.quantity / 100,
    }


def _meta(order: Order, money: Money) -> list[dict[str, Any]]:
    """What plugins write: Stripe's, or PayPal's of today, which says the same twice."""
    if not order.payment_fee:
        return [{"id": 6, "key": "is_vat_exempt", "value": "no"}]
    if order.id % 3 == 1:
        said = {"_stripe_fee": _money(order.payment_fee), "_stripe_currency": "EUR"}
        return [{"id": 7, "key": key, "value": value} for key, value in said.items()]
    fees = {"paypal_fee": {"currency_code": order.currency, "value": money(order.payment_fee)}}
    return [
        {"id": 7, "key": "PayPal Transaction Fee", "value": "77"},
        {"id": 8, "key": "_ppcp_paypal_fees", "value": fees},
    ]


def _fee(cents: int, money: Money) -> dict[str, Any]:
    return {"id": 90, "name": "Packing", "total": money(cents), "total_tax": "0.00"}


def _coupon(cents: int, money: Money) -> dict[str, Any]:
    return {"id": 91, "code": "summer", "discount": money(cents), "discount_tax": "0.00", "meta_data": []}


def refund_json(refund: Refunded, currency: str = "EUR") -> dict[str, Any]:
    money = partial(_money, currency=currency)
    lines = [
        {**_item(index, line, money), "quantity": -units, "subtotal": f"-{money(cents)}", "total": f"-{money(cents)}"}
        for index, (line, units, cents) in enumerate(refund.lines, start=1)
    ]
    return {
        "id": refund.id,
        "date_created": _local(refund.at),
        "date_created_gmt": _gmt(refund.at),
        "amount": money(refund.amount),
        "reason": "Too small",
        "refunded_by": 1,
        "refunded_payment": False,
        "meta_data": [],
        "line_items": lines,
        "tax_lines": [{"id": 92, "tax_total": f"-{money(refund.tax)}", "shipping_tax_total": "0.00"}]
        if refund.tax
        else [],
        "shipping_lines": [{"id": 93, "total": f"-{money(refund.shipping)}", "total_tax": "0.00"}]
        if refund.shipping
        else [],
        "fee_lines": [],
    }


def _money(units: int, currency: str = "EUR") -> str:
    """An amount as the shop writes it: in as many decimals as its currency has."""
    digits = {"JPY": 0, "KRW": 0, "KWD": 3, "BHD": 3}.get(currency, 2)
    return f"{units // 10**digits}.{units % 10**digits:0{digits}d}" if digits else str(units)


def _gmt(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")


def _local(at: datetime) -> str:
    return _gmt(at + timedelta(hours=1))


def _share(cents: int, part: int, whole: int) -> int:
    """So much of an amount, rounded half up."""
    return (2 * cents * part + whole) // (2 * whole)
