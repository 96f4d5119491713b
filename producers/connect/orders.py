"""An order and a refund as any shop's software has them, as our events; and how their JSON is read. Pure."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from producers import withdrawn
from producers.order_file.values import MOST_CENTS, MOST_UNITS
from producers.rates.exchange import Charge, Exchange, NoRate
from producers.shop.identifiers import envelope, event_id_of
from schemas.binary import EPOCH, MILLISECOND, since_epoch
from schemas.errors import PoisonEvent

VOID: Final = b"not counted"
AMOUNT: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,10}))?")
CENT: Final = Decimal("0.01")
LONGEST_ID: Final = 100
DAY_MS: Final = 86_400_000
LONGEST_SHOWN: Final = 60
Json = Mapping[str, Any]


class BadOrder(PoisonEvent):
    """JSON that can't be read; ``order_id`` is the order's number, or the product's, where the JSON has one.

    ``awaited`` is the order's day when all that it lacks is a rate that may become known.
    """

    def __init__(self, problem: str, order_id: str = "", awaited: date | None = None) -> None:
        super().__init__(problem)
        self.order_id = order_id
        self.awaited = awaited


@contextmanager
def of_order(order_id: str) -> Iterator[None]:
    """What is found wrong in here is wrong with this order."""
    try:
        yield
    except BadOrder as bad:
        raise BadOrder(str(bad), order_id) from None
    except NoRate as missing:
        raise BadOrder(str(missing), order_id, missing.awaited) from None


class Shop(NamedTuple):
    """What the reading needs to know of the shop: its name here, the key under which guests are known, and what an
    order in another currency is worth; without that each order is in the shop's own.
    """

    name: str
    guest_key: bytes
    exchange: Exchange | None = None

    def charge(self, currency: str, at_ms: int) -> Charge | None:
        """How an order of then was charged; None in the shop's own currency. Raises NoRate."""
        day = (EPOCH + at_ms * MILLISECOND).date()
        return self.exchange.charge(currency, day) if self.exchange else None


class Fee(NamedTuple):
    """What a payment provider keeps, by its id in the shop, in cents of the shop's currency."""

    fee_id: str
    at_ms: int
    provider: str
    cents: int


class Fees(NamedTuple):
    """An order's. ``awaited`` is the day of a rate that one of them waits for, ``problem`` says which can't be read."""

    charged: tuple[Fee, ...] = ()
    awaited: date | None = None
    problem: str = ""


NO_FEES: Final = Fees()


class Cancelled(NamedTuple):
    """Since when an order is cancelled, and where it was to ship to. ``is_sure``: the shop itself says when."""

    at_ms: int
    region: str
    is_sure: bool = False


class OrderState(NamedTuple):
    """An order as it was at ``modified_ms``.

    ``record`` is the event but for what ``stamped`` adds; None while the order does not count. ``digest`` is of all
    that the event counts, VOID when it does not count. ``refund_ids`` are those made by then. ``fees`` are what payment
    providers kept, and ``cancelled`` says since when it is, also of an order that does not count.
    """

    order_id: str
    created_ms: int
    modified_ms: int
    status: str
    record: dict[str, Any] | None
    digest: bytes
    refund_ids: frozenset[str]
    fees: Fees = NO_FEES
    cancelled: Cancelled | None = None


class Refund(NamedTuple):
    """A refund's id in the shop, and its event but for what ``stamped_refund`` adds."""

    refund_id: str
    at_ms: int
    record: dict[str, Any]


class Missing(NamedTuple):
    """An order of which a shop says nothing: it is gone, or, with ``days``, older than the app may read orders."""

    order_id: str
    days: int | None = None

    def is_gone(self, created_ms: int, now_ms: int) -> bool:
        """Whether an order of that time must be gone. The shop's clock may differ from ours, so a day is spared."""
        return self.days is None or now_ms - created_ms < (self.days - 1) * DAY_MS


def missing_of(body: bytes) -> Missing | None:
    """What a body says that has an order's id alone, or with the ``days`` of which the app may read orders."""
    if len(body) > LONGEST_ID:  # most bodies are orders, and are read once
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not {"id"} <= found.keys() <= {"id", "days"}:
        return None
    return Missing(str(found["id"]), found.get("days"))


def deleted_id(body: bytes) -> str | None:
    """The id if the body contains only that, as for a deleted order or product."""
    missing = missing_of(body)
    return missing.order_id if missing and missing.days is None else None


def deleted_body(order_id: str) -> bytes:
    """What stands for an order that the shop has no more, where its bytes are asked for."""
    return json.dumps({"id": order_id}).encode()


def stamped(record: Json, shop: Shop, order_id: str, version: int, digest: bytes) -> dict[str, Any]:
    """The event of a state of an order: of two states the one with the higher version counts."""
    event_id = event_id_of_state(shop.name, order_id, version, digest, since_epoch(record["occurred_at"]))
    return {**record, "event_id": event_id, "version": version}


def event_id_of_state(shop: str, order_id: str, version: int, digest: bytes, created_ms: int) -> str:
    """The id of the event of that state of an order."""
    return event_id_of(shop, f"order:{order_id}:{version}:{digest.hex()}", created_ms)


def taken_back(shop: Shop, order_id: str, version: int, head: Json, created_ms: int) -> dict[str, Any]:
    """The event of an order that no longer counts. It has the order's time, and nothing else of it is read."""
    record = {**envelope(shop.name, f"order:{order_id}", created_ms), **withdrawn.order(head)}
    return stamped(record, shop, order_id, version, VOID)


def stamped_refund(
    record: Json, shop: Shop, refund_id: str, version: int, paid_ms: int | None = None
) -> dict[str, Any]:
    """The event of a state of a refund: of two states the one with the higher version counts.

    ``paid_ms`` is when its order was paid, None while that is not paid.
    """
    event_id = event_id_of_refund(shop.name, refund_id, version, since_epoch(record["occurred_at"]), paid_ms)
    paid_at = None if paid_ms is None else EPOCH + paid_ms * MILLISECOND
    return {**record, "event_id": event_id, "version": version, "order_paid_at": paid_at}


def event_id_of_refund(shop: str, refund_id: str, version: int, at_ms: int, paid_ms: int | None) -> str:
    """The id of the event of that state of a refund."""
    state = f"{version}" if paid_ms is None else f"{version}:paid {paid_ms}"
    return event_id_of(shop, f"refund:{refund_id}:{state}", at_ms)


def paid_ms_of(record: Json) -> int | None:
    """When an order's event says that it was paid in full."""
    paid_at = record.get("paid_at")
    return None if paid_at is None else since_epoch(paid_at)


def deleted_refund(shop: Shop, refund_id: str, version: int, head: Json, at_ms: int) -> dict[str, Any]:
    """The event of a refund that the shop has deleted. It has the refund's time, and nothing else of it is read."""
    found = withdrawn.refund(head, f"{shop.name}-{refund_id}")
    record = {**envelope(shop.name, f"refund:{refund_id}", at_ms), **found}
    return stamped_refund(record, shop, refund_id, version)


def guest(email: str, order_id: str, shop: Shop) -> str:
    """A guest's customer id: a keyed hash of the e-mail address, with the shop's key."""
    email = email.strip().casefold()
    if not email:
        return f"{shop.name}-guest-of-{order_id}"
    said = hmac.new(shop.guest_key, email.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
    return f"{shop.name}-guest-{said[:16]}"


def object_of(body: bytes) -> dict[str, Any]:
    """Raises BadOrder when it is no JSON object."""
    try:
        found = json.loads(body, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:  # a number may have too long an exponent
        raise BadOrder(f"it is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadOrder("it is JSON, but not an object with names and values")
    return found


def list_of(source: Json, name: str) -> Sequence[Any]:
    """A list of objects; empty when there is none. Raises BadOrder."""
    found = source.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadOrder(f"{name} is not a list of objects")
    return found


def id_of(source: Json, where: str, name: str = "") -> str:
    """A number from 1, as a text. Raises BadOrder."""
    found = source.get(name or where)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BadOrder(f"{where} is {shown(found)}, and should be a number from 1")
    return str(found)


def text_of(source: Json, where: str, name: str = "") -> str:
    """Raises BadOrder when it is no text, or empty."""
    found = source.get(name or where)
    if not isinstance(found, str) or not found:
        raise BadOrder(f"{where} is {shown(found)}, and should be a text")
    return found


def cents_of(source: Json, where: str, name: str = "", decimals: int = 2) -> int:
    """An amount, which APIs write as a text: ``"19.90"``, in its smallest units. Raises BadOrder for parts of one."""
    found = source.get(name or where)
    text = str(found) if isinstance(found, str | int | Decimal) and not isinstance(found, bool) else ""
    match = AMOUNT.fullmatch(text)
    if match is None:
        raise BadOrder(f"{where} is {shown(found)}, and should be an amount such as 19.90")
    sign, whole, part = match[1], match[2], match[3] or ""
    if part[decimals:].strip("0"):
        raise BadOrder(f"{where} is {text}, which has parts of a cent")
    cents = int(whole + part[:decimals].ljust(decimals, "0"))
    if cents > MOST_CENTS:
        raise BadOrder(f"{where} is {text}, which is more than an amount can be")
    return -cents if sign else cents


def units_of(item: Json, where: str, name: str) -> int:
    """A whole number, which may be below zero. Raises BadOrder."""
    found = item.get(name)
    is_number = isinstance(found, int | Decimal) and not isinstance(found, bool)
    if found is None or not is_number or abs(found) > MOST_UNITS or found % 1:
        raise BadOrder(f"{where} is {shown(found)}, and should be a whole number")
    return int(found)


def millis_of(source: Json, where: str, name: str = "") -> int:
    """A time in ISO 8601, in UTC where it has no zone: ``2026-11-28T10:00:00``. Raises BadOrder."""
    found = source.get(name or where)
    try:
        at = datetime.fromisoformat(found) if isinstance(found, str) else None
        # In UTC it may be of a year that there is not.
        at = at and (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise BadOrder(f"{where} is {shown(found)}, and should be a time such as 2026-11-28T10:00:00")
    return since_epoch(at)


def time_of(source: Json, where: str, name: str = "") -> datetime | None:
    """The same as a time; None when there is none."""
    return EPOCH + millis_of(source, where, name) * MILLISECOND if source.get(name or where) else None


def shown(value: Any) -> str:
    """A value as it may stand in a message: short, a text in quotes that are closed, so that it can be taken out."""
    if isinstance(value, str):
        return repr(value[:LONGEST_SHOWN])
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return "missing" if value is None else str(value)[:LONGEST_SHOWN]
