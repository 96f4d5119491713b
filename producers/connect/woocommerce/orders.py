"""A WooCommerce order, as its REST API v3 and its webhooks write it in JSON, as our events. Pure: bytes in, values out.

**Counted.** An order counts as in WooCommerce's own reports: whatever its status, but for those in NOT_COUNTED, which
are the defaults of its setting "Excluded statuses" (Analytics > Settings) and the drafts.

**Exact.** What is sold comes to the order's total less tax and shipping, to the cent, as in those reports. WooCommerce
rounds each line and the total by itself, so the lines may miss it by parts of a cent each: that is put on the dearest
line. An order whose lines miss it by more is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from producers.connect.orders import (
    CENT,
    VOID,
    BadOrder,
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
from producers.order_file.records import order_lines
from producers.order_file.rows import Line, spread
from producers.shop.identifiers import digest_of, envelope

NOT_COUNTED: Final = frozenset(
    ("pending", "failed", "cancelled", "trash", "auto-draft", "draft", "checkout-draft", "new")
)


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
    try:
        at_ms = millis_of(refund, "date_created_gmt")
        lines = [each for i, item in enumerate(list_of(refund, "line_items")) if (each := _returned(item, i))]
        amount = abs(cents_of(refund, "amount"))
        record = {
            **envelope(shop.name, f"refund:{refund_id}", at_ms),
            "refund_id": f"{shop.name}-{refund_id}",
            **head,
            "lines": lines,
            "amount": CENT * amount,
            "reason": "other",  # it is free text there
            "is_deleted": None,
            **_parts(refund, amount),
        }
    except BadOrder as bad:
        raise BadOrder(f"refund {refund_id}: {bad}", order_id) from None
    return Refund(refund_id, at_ms, record)


def _state(order: Json, order_id: str, shop: Shop) -> OrderState:
    status = text_of(order, "status")
    created_ms = millis_of(order, "date_created_gmt")
    modified_ms = millis_of(order, "date_modified_gmt") if order.get("date_modified_gmt") else created_ms
    refund_ids = frozenset(id_of(item, f"refunds[{i}].id", "id") for i, item in enumerate(list_of(order, "refunds")))
    if status in NOT_COUNTED:
        return OrderState(order_id, created_ms, modified_ms, status, None, VOID, refund_ids)
    shipping, tax, total = (cents_of(order, name) for name in ("shipping_total", "total_tax", "total"))
    lines = _lines(order, total - shipping - tax)
    currency = text_of(order, "currency")
    more = {
        "total_amount": CENT * total,
        "taxes_included": bool(order["prices_include_tax"]) if "prices_include_tax" in order else None,
        "discounts": _discounts(order, lines),
        "paid_at": time_of(order, "date_paid_gmt"),
        "fulfilled_at": time_of(order, "date_completed_gmt"),
    }
    record = {
        **envelope(shop.name, f"order:{order_id}", created_ms),
        "order_id": f"{shop.name}-{order_id}",
        "customer_id": _customer(order, order_id, shop),
        "region": region_of(order),
        "currency": currency,
        "channel": "store" if str(order.get("created_via", "")).startswith("pos") else "web",
        "session_id": None,
        "lines": [each for line in lines for each in order_lines(line)],
        "shipping_amount": CENT * shipping,
        "tax_amount": CENT * tax,
        "is_cancelled": None,
        **more,
    }
    counted = (created_ms, currency, shipping, tax, sorted(tuple(line) for line in lines), sorted(more.items()))
    return OrderState(order_id, created_ms, modified_ms, status, record, digest_of(counted), refund_ids)


def _lines(order: Json, goods: int) -> list[Line]:
    """What was sold, which comes to ``goods`` cents. A fee is a line; one below zero is a discount on all."""
    lines = [_line(item, f"line_items[{i}]") for i, item in enumerate(list_of(order, "line_items"))]
    off = 0
    for i, fee in enumerate(list_of(order, "fee_lines")):
        amount = cents_of(fee, f"fee_lines[{i}].total", "total")
        off -= min(amount, 0)
        if amount > 0:
            lines.append(_plain_line(f"fee: {fee.get('name') or 'without a name'}", "fees", 1, amount, 0))
    if not lines:
        raise BadOrder("line_items is empty: the order has no lines")
    costs = [line.total - line.discount for line in lines]
    if off > sum(costs):
        raise BadOrder(f"fee_lines: they take off {off * CENT}, and the goods cost {sum(costs) * CENT}")
    lines = [
        line._replace(discount=line.discount + share) for line, share in zip(lines, spread(off, costs), strict=True)
    ]
    return _to_the_cent(lines, goods)


def _to_the_cent(lines: list[Line], goods: int) -> list[Line]:
    """The lines, with what rounding left over on the dearest of them."""
    found = sum(line.total - line.discount for line in lines)
    missing = goods - found
    if abs(missing) > len(lines):
        raise BadOrder(
            f"total: the order comes to {goods * CENT} without tax and shipping, and its lines to {found * CENT}"
        )
    if missing:
        at = max(range(len(lines)), key=lambda i: (lines[i].total - lines[i].discount, -i))
        line = lines[at]
        if line.total + missing < line.discount:
            raise BadOrder(f"total: the order comes to {goods * CENT} without tax and shipping, which is below zero")
        lines[at] = line._replace(total=line.total + missing)
    return lines


def _discounts(order: Json, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What the lines' discounts are of: coupons, fees below zero, and what somebody took off by hand."""
    found: list[tuple[str | None, str | None, int]] = []
    for i, coupon in enumerate(list_of(order, "coupon_lines")):
        off = abs(cents_of(coupon, f"coupon_lines[{i}].discount", "discount"))
        found.append((str(coupon.get("code") or "") or None, None, off))
    for i, fee in enumerate(list_of(order, "fee_lines")):
        if (amount := cents_of(fee, f"fee_lines[{i}].total", "total")) < 0:
            found.append((None, str(fee.get("name") or "") or None, -amount))
    rest = sum(line.discount for line in lines) - sum(off for _, _, off in found)
    if rest > len(lines):  # less is of rounding
        found.append((None, None, rest))
    return [{"code": code, "title": title, "amount": CENT * off} for code, title, off in found]


def _parts(refund: Json, amount: int) -> dict[str, Decimal | None]:
    """Of a refund's ``amount`` what is shipping and what is tax; None where it is not said, or said to be more."""
    shipping = sum(
        abs(cents_of(item, f"shipping_lines[{i}].total", "total"))
        for i, item in enumerate(list_of(refund, "shipping_lines"))
    )
    tax = sum(
        abs(cents_of(item, f"tax_lines[{i}].{name}", name))
        for i, item in enumerate(list_of(refund, "tax_lines"))
        for name in ("tax_total", "shipping_tax_total")
    )
    is_said = shipping + tax <= amount
    return {
        "shipping_amount": CENT * shipping if is_said and "shipping_lines" in refund else None,
        "tax_amount": CENT * tax if is_said and "tax_lines" in refund else None,
    }


def _line(item: Json, where: str) -> Line:
    quantity = units_of(item, f"{where}.quantity", "quantity")
    if quantity < 1:
        raise BadOrder(f"{where}.quantity is {quantity}, and should be at least 1")
    subtotal = cents_of(item, f"{where}.subtotal", "subtotal")
    total = cents_of(item, f"{where}.total", "total")
    if subtotal < 0 or total < 0:
        raise BadOrder(f"{where} has an amount below zero: subtotal {subtotal * CENT}, total {total * CENT}")
    # A price that was raised by hand has a total above its subtotal, and no discount.
    return _plain_line(_product(item), "uncategorized", quantity, max(subtotal, total), max(subtotal - total, 0))


def _plain_line(product_id: str, category: str, quantity: int, total: int, discount: int) -> Line:
    return Line(product_id, category, None, quantity, total, discount, 0, 0)


def _returned(item: Any, index: int) -> dict[str, Any] | None:
    """A refund's line; None when money was paid back for an item, and none of it came back."""
    where = f"line_items[{index}]"
    if not isinstance(item, dict):
        raise BadOrder(f"{where} is not an object")
    quantity = abs(units_of(item, f"{where}.quantity", "quantity"))
    if not quantity:
        return None
    amount = CENT * abs(cents_of(item, f"{where}.total", "total"))
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
