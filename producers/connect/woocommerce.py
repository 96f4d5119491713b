"""A WooCommerce order, as its REST API v3 and its webhooks write it in JSON, as our events. Pure: bytes in, values out.

**Counted.** An order counts as in WooCommerce's own reports: whatever its status, but for those in NOT_COUNTED, which
are the defaults of its setting "Excluded statuses" (Analytics > Settings) and the drafts.

**Exact.** What is sold comes to the order's total less tax and shipping, to the cent, as in those reports. WooCommerce
rounds each line and the total by itself, so the lines may miss it by parts of a cent each: that is put on the dearest
line. An order whose lines miss it by more is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from producers.order_file.records import order_lines
from producers.order_file.rows import Line, spread
from producers.order_file.values import MOST_CENTS, MOST_UNITS
from producers.shop.identifiers import event_id_of
from schemas.binary import EPOCH, MILLISECOND, since_epoch
from schemas.errors import PoisonEvent

NOT_COUNTED: Final = frozenset(
    ("pending", "failed", "cancelled", "trash", "auto-draft", "draft", "checkout-draft", "new")
)
VOID: Final = b"not counted"
GONE: Final = {
    "product_id": "unknown",
    "category": "uncategorized",
    "brand": None,
    "quantity": 1,
    "unit_price": Decimal("0.00"),
    "discount_amount": Decimal("0.00"),
}
AMOUNT: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,10}))?")
CENT: Final = Decimal("0.01")
Json = Mapping[str, Any]


class BadOrder(PoisonEvent):
    """JSON that is no order or no refund; ``order_id`` is the order's, where the JSON has one."""

    def __init__(self, problem: str, order_id: str = "") -> None:
        super().__init__(problem)
        self.order_id = order_id


class Shop(NamedTuple):
    """What the reading needs to know of the shop: its name here, and the key under which guests are known."""

    name: str
    guest_key: bytes


class OrderState(NamedTuple):
    """An order as it was at ``modified_ms``.

    ``record`` is the event but for what ``stamped`` adds; None while the order does not count. ``digest`` is of all
    that the event counts, VOID when it does not count. ``refund_ids`` are those made by then.
    """

    order_id: str
    created_ms: int
    modified_ms: int
    status: str
    record: dict[str, Any] | None
    digest: bytes
    refund_ids: frozenset[str]


class Refund(NamedTuple):
    """A refund's id in the shop, and its event."""

    refund_id: str
    at_ms: int
    record: dict[str, Any]


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


def deleted_id(body: bytes) -> str | None:
    """The order's id when the body says no more than that, as it does of one that was deleted."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return str(found["id"]) if isinstance(found, dict) and found.keys() == {"id"} else None


def read_order(body: bytes, shop: Shop) -> OrderState:
    """Raises BadOrder naming the field."""
    order = _object(body)
    order_id = _id(order, "id")
    try:
        return _state(order, order_id, shop)
    except BadOrder as bad:
        raise BadOrder(str(bad), order_id) from None


def read_refund(body: bytes, order_id: str, head: Json, shop: Shop) -> Refund:
    """A refund of the order with this id here; ``head`` is what its event takes from the order's (see ``head_of``).

    Raises BadOrder naming the field.
    """
    refund = _object(body)
    refund_id = _id(refund, "id")
    try:
        at_ms = _millis(refund, "date_created_gmt")
        lines = [each for i, item in enumerate(_list(refund, "line_items")) if (each := _returned(item, i))]
        record = {
            **_envelope(shop, f"refund:{refund_id}", at_ms),
            "refund_id": f"{shop.name}-{refund_id}",
            **head,
            "lines": lines,
            "amount": CENT * abs(_cents(refund, "amount")),
            "reason": "other",  # it is free text there
        }
    except BadOrder as bad:
        raise BadOrder(f"refund {refund_id}: {bad}", order_id) from None
    return Refund(refund_id, at_ms, record)


def stamped(record: Json, shop: Shop, order_id: str, version: int, digest: bytes) -> dict[str, Any]:
    """The event of a state of an order: of two states the one with the higher version counts."""
    key = f"order:{order_id}:{version}:{digest.hex()}"
    return {**record, "event_id": event_id_of(shop.name, key, since_epoch(record["occurred_at"])), "version": version}


def taken_back(shop: Shop, order_id: str, version: int, head: Json, created_ms: int) -> dict[str, Any]:
    """The event of an order that no longer counts. It has the order's time, and nothing else of it is read."""
    record = {
        **_envelope(shop, f"order:{order_id}", created_ms),
        **head,
        "channel": "web",
        "session_id": None,
        "lines": [GONE],
        "shipping_amount": Decimal("0.00"),
        "tax_amount": Decimal("0.00"),
        "is_cancelled": True,
    }
    return stamped(record, shop, order_id, version, VOID)


def head_of(record: Json) -> dict[str, str]:
    """What a refund's event takes from its order's."""
    return {name: record[name] for name in ("order_id", "customer_id", "region", "currency")}


def _state(order: Json, order_id: str, shop: Shop) -> OrderState:
    status = _text(order, "status")
    created_ms = _millis(order, "date_created_gmt")
    modified_ms = _millis(order, "date_modified_gmt") if order.get("date_modified_gmt") else created_ms
    refund_ids = frozenset(_id(item, f"refunds[{i}].id", "id") for i, item in enumerate(_list(order, "refunds")))
    if status in NOT_COUNTED:
        return OrderState(order_id, created_ms, modified_ms, status, None, VOID, refund_ids)
    shipping, tax, total = (_cents(order, name) for name in ("shipping_total", "total_tax", "total"))
    lines = _lines(order, total - shipping - tax)
    currency = _text(order, "currency")
    record = {
        **_envelope(shop, f"order:{order_id}", created_ms),
        "order_id": f"{shop.name}-{order_id}",
        "customer_id": _customer(order, order_id, shop),
        "region": _region(order),
        "currency": currency,
        "channel": "store" if str(order.get("created_via", "")).startswith("pos") else "web",
        "session_id": None,
        "lines": [each for line in lines for each in order_lines(line)],
        "shipping_amount": CENT * shipping,
        "tax_amount": CENT * tax,
        "is_cancelled": None,
    }
    counted = (created_ms, currency, shipping, tax, sorted(tuple(line) for line in lines))
    digest = hashlib.blake2b(repr(counted).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return OrderState(order_id, created_ms, modified_ms, status, record, digest, refund_ids)


def _envelope(shop: Shop, key: str, at_ms: int) -> dict[str, Any]:
    return {
        "event_id": event_id_of(shop.name, key, at_ms),
        "occurred_at": EPOCH + at_ms * MILLISECOND,
        "source": shop.name,
        "trace": None,
    }


def _lines(order: Json, goods: int) -> list[Line]:
    """What was sold, which comes to ``goods`` cents. A fee is a line; one below zero is a discount on all."""
    lines = [_line(item, f"line_items[{i}]") for i, item in enumerate(_list(order, "line_items"))]
    off = 0
    for i, fee in enumerate(_list(order, "fee_lines")):
        amount = _cents(fee, f"fee_lines[{i}].total", "total")
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


def _line(item: Json, where: str) -> Line:
    quantity = _units(item, f"{where}.quantity", "quantity")
    if quantity < 1:
        raise BadOrder(f"{where}.quantity is {quantity}, and should be at least 1")
    subtotal = _cents(item, f"{where}.subtotal", "subtotal")
    total = _cents(item, f"{where}.total", "total")
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
    quantity = abs(_units(item, f"{where}.quantity", "quantity"))
    if not quantity:
        return None
    amount = CENT * abs(_cents(item, f"{where}.total", "total"))
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
    email = str(billing.get("email") or "").strip().casefold() if isinstance(billing, dict) else ""
    if not email:
        return f"{shop.name}-guest-of-{order_id}"
    said = hmac.new(shop.guest_key, email.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
    return f"{shop.name}-guest-{said[:16]}"


def _region(order: Json) -> str:
    for address in (order.get("shipping"), order.get("billing")):
        if isinstance(address, dict) and address.get("country"):
            return str(address["country"])
    return "unknown"


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise BadOrder(f"it is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadOrder("it is JSON, but not an object with names and values")
    return found


def _list(source: Json, name: str) -> Sequence[Any]:
    found = source.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadOrder(f"{name} is not a list of objects")
    return found


def _id(source: Json, where: str, name: str = "") -> str:
    found = source.get(name or where)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BadOrder(f"{where} is {_shown(found)}, and should be a number from 1")
    return str(found)


def _text(source: Json, name: str) -> str:
    found = source.get(name)
    if not isinstance(found, str) or not found:
        raise BadOrder(f"{name} is {_shown(found)}, and should be a text")
    return found


def _cents(source: Json, where: str, name: str = "") -> int:
    """An amount, which the API writes as a text: ``"19.90"``. Parts of a cent are refused."""
    found = source.get(name or where)
    text = str(found) if isinstance(found, str | int | Decimal) and not isinstance(found, bool) else ""
    match = AMOUNT.fullmatch(text)
    if match is None:
        raise BadOrder(f"{where} is {_shown(found)}, and should be an amount such as 19.90")
    sign, whole, part = match[1], match[2], match[3] or ""
    if part[2:].strip("0"):
        raise BadOrder(f"{where} is {text}, which has parts of a cent")
    cents = int(whole) * 100 + int(part[:2].ljust(2, "0") or 0)
    if cents > MOST_CENTS:
        raise BadOrder(f"{where} is {text}, which is more than an amount can be")
    return -cents if sign else cents


def _units(item: Json, where: str, name: str) -> int:
    found = item.get(name)
    is_number = isinstance(found, int | Decimal) and not isinstance(found, bool)
    if found is None or not is_number or abs(found) > MOST_UNITS or found % 1:
        raise BadOrder(f"{where} is {_shown(found)}, and should be a whole number")
    return int(found)


def _millis(source: Json, name: str) -> int:
    """A time of the API, which is UTC and has no zone: ``2026-11-28T10:00:00``."""
    found = source.get(name)
    try:
        at = datetime.fromisoformat(found) if isinstance(found, str) else None
    except ValueError:
        at = None
    if at is None:
        raise BadOrder(f"{name} is {_shown(found)}, and should be a time such as 2026-11-28T10:00:00")
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return since_epoch(at)


def _shown(value: Any) -> str:
    """A value as it may stand in a message: short."""
    return "missing" if value is None else repr(value)[:60]
