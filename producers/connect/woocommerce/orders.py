"""A WooCommerce order, as its REST API v3 and its webhooks write it in JSON, as our events. Pure: bytes in, values out.

**Counted.** An order counts as in WooCommerce's own reports: whatever its status, but for those in NOT_COUNTED, which
are the defaults of its setting "Excluded statuses" (Analytics > Settings) and the drafts.

**Exact.** What is sold comes to the order's total less tax and shipping, to the cent, as in those reports. WooCommerce
rounds each line and the total by itself, so the lines may miss it by parts of a cent each: that is put on the dearest
line. An order whose lines miss it by more is refused.

**Converted.** WooCommerce knows an order's amounts in the order's own currency alone. One in another than the shop's is
read in its own smallest units and converted as a whole (producers/rates/exchange.py), its refunds by the same rate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from producers.connect.orders import (
    CENT,
    VOID,
    BadOrder,
    Cancelled,
    Json,
    OrderState,
    Refund,
    Shop,
    cents_of,
    guest,
    id_of,
    list_of,
    millis_of,
    object_of,
    of_order,
    text_of,
    time_of,
    units_of,
)
from producers.connect.woocommerce.customers import region_of
from producers.connect.woocommerce.fees import read_fees
from producers.order_file.records import order_lines
from producers.order_file.rows import Line, spread
from producers.rates.exchange import Charge, charge_of
from producers.shop.identifiers import digest_of, envelope
from producers.withdrawn import whose
from schemas.currency import DECIMALS, is_currency, scale
from schemas.currency import decimals as exponent

NOT_COUNTED: Final = frozenset(
    ("pending", "failed", "cancelled", "trash", "auto-draft", "draft", "checkout-draft", "new")
)


class Cents(NamedTuple):
    """Reads amounts of an order: in cents, or thousandths of a currency that has them.

    ``smallest`` is how many of them are the smallest amount that there is: 100 for yen.
    """

    decimals: int
    smallest: int

    def __call__(self, source: Json, where: str, name: str = "") -> int:
        """Raises BadOrder."""
        return cents_of(source, where, name, self.decimals)

    def shown(self, amount: int) -> Decimal:
        """The amount as people write it."""
        return Decimal(amount).scaleb(-self.decimals)


def _cents_of(currency: str, charge: Charge | None) -> Cents:
    decimals = scale(currency) if charge else DECIMALS
    return Cents(decimals, 10 ** max(0, decimals - (exponent(currency) or 0)) if is_currency(currency) else 1)


def items_of(array: bytes) -> list[bytes]:
    """Each item of a JSON array, as it is written there. Raises ValueError."""
    text, decoder, found = array.decode(), json.JSONDecoder(), []
    space = re.compile(r"\s*")

    def skip(at: int) -> int:
        match = space.match(text, at)
        return match.end() if match else at

    at = skip(0)
    if text[at : at + 1] != "[":
        raise ValueError("it is no list")
    at = skip(at + 1)
    while text[at : at + 1] != "]":
        _, end = decoder.raw_decode(text, at)
        found.append(text[at:end].encode())
        at = skip(end)
        if text[at : at + 1] == ",":
            at = skip(at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError("it ends before its end")
    return found


def read_order(body: bytes, shop: Shop) -> OrderState:
    """Raises BadOrder naming the field."""
    order = object_of(body)
    order_id = id_of(order, "id")
    with of_order(order_id):
        return _state(order, order_id, shop)


def customer_of(body: bytes, shop: Shop) -> str | None:
    """Whose order this is, also of one that can't be read otherwise; None when it does not say."""
    try:
        order = object_of(body)
        return _customer(order, id_of(order, "id"), shop)
    except BadOrder:
        return None


def read_refund(body: bytes, order_id: str, head: Json, shop: Shop) -> Refund:
    """A refund of the order with this id here; ``head`` is what its event takes from the order's (see ``head_of``).

    Raises BadOrder naming the field.
    """
    refund = object_of(body)
    refund_id = id_of(refund, "id")
    charge = charge_of(head)
    cents = _cents_of(head.get("charged_currency", head["currency"]), charge)
    try:
        at_ms = millis_of(refund, "date_created_gmt")
        lines = [each for i, item in enumerate(list_of(refund, "line_items")) if (each := _returned(item, i, cents))]
        amount = abs(cents(refund, "amount"))
        parts = _parts(refund, amount, cents)
    except BadOrder as bad:
        raise BadOrder(f"refund {refund_id}: {bad}", order_id) from None
    record = {
        **envelope(shop.name, f"refund:{refund_id}", at_ms),
        "refund_id": f"{shop.name}-{refund_id}",
        **whose(head),
        **_paid_back(lines, amount, parts, charge),
        "reason": "other",  # it is free text there
        "is_deleted": None,
    }
    return Refund(refund_id, at_ms, record)


def _paid_back(
    lines: list[dict[str, Any]], amount: int, parts: dict[str, int | None], charge: Charge | None
) -> dict[str, Any]:
    """The amounts of a refund's event; ``lines`` have theirs in cents. Converted, they are shares of all of it."""
    charged: dict[str, Any] = {}
    if charge is not None:
        said = [*(line["amount"] for line in lines), *(part or 0 for part in parts.values())]
        *shares, other = charge.shares([*said, max(0, amount - sum(said))])
        charged = {**charge.fields(), "charged_amount": charge.amount(amount)}
        # Lines that say more than was paid back are refused by the contract, here as in the shop's own currency.
        amount = charge.cents(amount) if amount < sum(said) else sum(shares) + other
        lines = [{**line, "amount": share} for line, share in zip(lines, shares, strict=False)]
        parts = {
            name: None if part is None else share
            for (name, part), share in zip(parts.items(), shares[len(lines) :], strict=True)
        }
    return {
        "lines": [{**line, "amount": CENT * line["amount"]} for line in lines],
        "amount": CENT * amount,
        **{name: None if part is None else CENT * part for name, part in parts.items()},
        **charged,
    }


def _state(order: Json, order_id: str, shop: Shop) -> OrderState:
    status = text_of(order, "status")
    created_ms = millis_of(order, "date_created_gmt")
    modified_ms = millis_of(order, "date_modified_gmt") if order.get("date_modified_gmt") else created_ms
    refund_ids = frozenset(id_of(item, f"refunds[{i}].id", "id") for i, item in enumerate(list_of(order, "refunds")))
    paid_ms = millis_of(order, "date_paid_gmt") if order.get("date_paid_gmt") else created_ms
    fees = read_fees(order, order_id, shop, paid_ms)
    if status in NOT_COUNTED:
        cancelled = Cancelled(modified_ms, region_of(order)) if status == "cancelled" else None
        return OrderState(order_id, created_ms, modified_ms, status, None, VOID, refund_ids, fees, cancelled)
    currency = text_of(order, "currency")
    charge = shop.charge(currency, created_ms)
    cents = _cents_of(currency, charge)
    shipping, tax, total = (cents(order, name) for name in ("shipping_total", "total_tax", "total"))
    lines = _lines(order, total - shipping - tax, cents)
    discounts = _discounts(order, lines, cents)
    more = {
        "total_amount": CENT * total,
        "taxes_included": bool(order["prices_include_tax"]) if "prices_include_tax" in order else None,
        "discounts": [{"code": code, "title": title, "amount": CENT * off} for code, title, off in discounts],
        "paid_at": time_of(order, "date_paid_gmt"),
        "fulfilled_at": time_of(order, "date_completed_gmt"),
    }
    # Of what the shop says: what it is converted to follows from that.
    counted = (created_ms, currency, shipping, tax, sorted(tuple(line) for line in lines), sorted(more.items()))
    if charge is not None:
        more |= charge.fields()
        more |= {f"charged_{name}_amount": charge.amount(part) for name, part in _named(total, shipping, tax)}
        lines, (shipping, tax) = charge.lines(lines, (shipping, tax))
        offs = charge.shares([off for _, _, off in discounts])
        more["total_amount"] = CENT * charge.cents(total)
        more["discounts"] = [
            {"code": code, "title": title, "amount": CENT * off}
            for (code, title, _), off in zip(discounts, offs, strict=True)
        ]
    record = {
        **envelope(shop.name, f"order:{order_id}", created_ms),
        "order_id": f"{shop.name}-{order_id}",
        "customer_id": _customer(order, order_id, shop),
        "region": region_of(order),
        "currency": charge.own if charge else currency,
        "channel": "store" if str(order.get("created_via", "")).startswith("pos") else "web",
        "session_id": None,
        "lines": [each for line in lines for each in order_lines(line)],
        "shipping_amount": CENT * shipping,
        "tax_amount": CENT * tax,
        "is_cancelled": None,
        **more,
    }
    return OrderState(order_id, created_ms, modified_ms, status, record, digest_of(counted), refund_ids, fees)


def _named(total: int, shipping: int, tax: int) -> tuple[tuple[str, int], ...]:
    return ("total", total), ("shipping", shipping), ("tax", tax)


def _lines(order: Json, goods: int, cents: Cents) -> list[Line]:
    """What was sold, which comes to ``goods`` cents. A fee is a line; one below zero is a discount on all."""
    lines = [_line(item, f"line_items[{i}]", cents) for i, item in enumerate(list_of(order, "line_items"))]
    off = 0
    for i, fee in enumerate(list_of(order, "fee_lines")):
        amount = cents(fee, f"fee_lines[{i}].total", "total")
        off -= min(amount, 0)
        if amount > 0:
            lines.append(_plain_line(f"fee: {fee.get('name') or 'without a name'}", "fees", 1, amount, 0))
    if not lines:
        raise BadOrder("line_items is empty: the order has no lines")
    costs = [line.total - line.discount for line in lines]
    if off > sum(costs):
        raise BadOrder(f"fee_lines: they take off {cents.shown(off)}, and the goods cost {cents.shown(sum(costs))}")
    lines = [
        line._replace(discount=line.discount + share) for line, share in zip(lines, spread(off, costs), strict=True)
    ]
    return _to_the_cent(lines, goods, cents)


def _to_the_cent(lines: list[Line], goods: int, cents: Cents) -> list[Line]:
    """The lines, with what rounding left over on the dearest of them."""
    found = sum(line.total - line.discount for line in lines)
    missing = goods - found
    if abs(missing) > len(lines) * cents.smallest:
        raise BadOrder(
            f"total: the order comes to {cents.shown(goods)} without tax and shipping, and its lines to"
            f" {cents.shown(found)}"
        )
    if missing:
        at = max(range(len(lines)), key=lambda i: (lines[i].total - lines[i].discount, -i))
        line = lines[at]
        if line.total + missing < line.discount:
            said = cents.shown(goods)
            raise BadOrder(f"total: the order comes to {said} without tax and shipping, which is below zero")
        lines[at] = line._replace(total=line.total + missing)
    return lines


def _discounts(order: Json, lines: Sequence[Line], cents: Cents) -> list[tuple[str | None, str | None, int]]:
    """What the lines' discounts are of, by code and title: coupons, fees below zero, and what was taken off by hand."""
    found: list[tuple[str | None, str | None, int]] = []
    for i, coupon in enumerate(list_of(order, "coupon_lines")):
        off = abs(cents(coupon, f"coupon_lines[{i}].discount", "discount"))
        found.append((str(coupon.get("code") or "") or None, None, off))
    for i, fee in enumerate(list_of(order, "fee_lines")):
        if (amount := cents(fee, f"fee_lines[{i}].total", "total")) < 0:
            found.append((None, str(fee.get("name") or "") or None, -amount))
    rest = sum(line.discount for line in lines) - sum(off for _, _, off in found)
    if rest > len(lines) * cents.smallest:  # less is of rounding
        found.append((None, None, rest))
    return found


def _parts(refund: Json, amount: int, cents: Cents) -> dict[str, int | None]:
    """Of a refund's ``amount`` what is shipping and what is tax; None where it is not said, or said to be more."""
    shipping = sum(
        abs(cents(item, f"shipping_lines[{i}].total", "total"))
        for i, item in enumerate(list_of(refund, "shipping_lines"))
    )
    tax = sum(
        abs(cents(item, f"tax_lines[{i}].{name}", name))
        for i, item in enumerate(list_of(refund, "tax_lines"))
        for name in ("tax_total", "shipping_tax_total")
    )
    is_said = shipping + tax <= amount
    return {
        "shipping_amount": shipping if is_said and "shipping_lines" in refund else None,
        "tax_amount": tax if is_said and "tax_lines" in refund else None,
    }


def _line(item: Json, where: str, cents: Cents) -> Line:
    quantity = units_of(item, f"{where}.quantity", "quantity")
    if quantity < 1:
        raise BadOrder(f"{where}.quantity is {quantity}, and should be at least 1")
    subtotal = cents(item, f"{where}.subtotal", "subtotal")
    total = cents(item, f"{where}.total", "total")
    if subtotal < 0 or total < 0:
        raise BadOrder(
            f"{where} has an amount below zero: subtotal {cents.shown(subtotal)}, total {cents.shown(total)}"
        )
    # A price that was raised by hand has a total above its subtotal, and no discount.
    return _plain_line(_product(item), "uncategorized", quantity, max(subtotal, total), max(subtotal - total, 0))


def _plain_line(product_id: str, category: str, quantity: int, total: int, discount: int) -> Line:
    return Line(product_id, category, None, quantity, total, discount, 0, 0)


def _returned(item: Any, index: int, cents: Cents) -> dict[str, Any] | None:
    """A refund's line, its amount in cents; None when money was paid back for an item, and none of it came back."""
    where = f"line_items[{index}]"
    if not isinstance(item, dict):
        raise BadOrder(f"{where} is not an object")
    quantity = abs(units_of(item, f"{where}.quantity", "quantity"))
    if not quantity:
        return None
    amount = abs(cents(item, f"{where}.total", "total"))
    return {"product_id": _product(item), "category": "uncategorized", "quantity": quantity, "amount": amount}


def _product(item: Json) -> str:
    """Its SKU, as people know it; of a product that is gone, its name."""
    number = item.get("variation_id") or item.get("product_id")
    return str(item.get("sku") or number or item.get("name") or "unknown")


def _customer(order: Json, order_id: str, shop: Shop) -> str:
    """Who ordered: the account's number, or of a guest what the e-mail address becomes under the shop's key."""
    if account := order.get("customer_id"):
        return f"{shop.name}-{account}"
    billing = order.get("billing")
    email = str(billing.get("email") or "") if isinstance(billing, dict) else ""
    return guest(email, order_id, shop)
