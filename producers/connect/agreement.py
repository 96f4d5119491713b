"""Whether our tables have what a shop has, order by order.

The shop's side is counted from what its API answers now, apart from the log and from how orders become events (each
platform's ``said_of``): a mistake has to be made twice to pass.

An order that differs may do so by right: it was changed in the shop since the last reading, or its event is late and
waits for the run that counts late events. It is *pending* then, and named apart. Both end by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from producers import state
from producers.connect.memory import FILE, KnownRefund, refunds_of
from producers.connect.orders import event_id_of_refund, event_id_of_state

NOTHING: Final = Decimal(0)
Result = Literal["equal", "pending", "different"]
Cause = Literal["", "late", "recent", "missed", "rejected", "gone", "apart"]
PENDING: Final = frozenset(("late", "recent"))
NAMELESS: Final = "?"  # the id of an answer that has none


DayOf = Callable[[datetime], date]
"""The day that an instant is in."""


def utc_day(at: datetime) -> date:
    """The day of UTC."""
    return at.astimezone(UTC).date()


class Sold(NamedTuple):
    """An order: the day it was placed, and its measures in ``currency``, which is empty for the shop's own.

    An order in another currency is compared as it was charged, where that is what the shop says (``SAYS_AS_CHARGED``).
    A measure is a field here, its value in each platform's ``said_of``, and a column of SALES in
    insights/agreement/compare.py: everything else follows from this list.

    Sales and shipping are without tax, and all but the refunds are before refunds; refunds are with tax and shipping.
    """

    day: date
    sales: Decimal
    shipping: Decimal
    tax: Decimal
    refunds: Decimal
    currency: str = ""

    def measures(self) -> dict[str, Decimal]:
        """By name, which has the currency when it is another than the shop's."""
        return {f"{name} {self.currency}".strip(): getattr(self, name) for name in MEASURES}


MEASURES: Final = Sold._fields[1:-1]


class Said(NamedTuple):
    """What a shop says of an order: ``sold`` is None when it counts nowhere there, or is ``unread`` for a reason."""

    order_id: str
    sold: Sold | None
    changed_at: datetime | None = None
    placed_at: datetime | None = None
    unread: str = ""


class Totals(NamedTuple):
    """Of a day: how many orders, and the sum of each measure; of other currencies apart, as ``sales USD``."""

    orders: int
    measures: Mapping[str, Decimal]

    def by_name(self) -> dict[str, Decimal]:
        """The same, with the orders as another measure."""
        return {"orders": Decimal(self.orders), **self.measures}

    def plus(self, sold: Sold) -> Totals:
        """The same, with one more order."""
        sums = dict(self.measures)
        for name, amount in sold.measures().items():
            sums[name] = sums.get(name, NOTHING) + amount
        return Totals(self.orders + 1, sums)


NO_TOTALS: Final = Totals(0, dict.fromkeys(MEASURES, NOTHING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An order that the two sides do not have alike. A side is None where it has no such order.

    Attributes:
        cause: what is known of it; late: its event waits for the run of late events; recent: it was changed since the
            last reading; missed: it was changed before, and not read; rejected: its event was refused, or a refund's;
            gone: the shop does not list it; apart: it was read as it is, and the tables differ.
        why: the same in a sentence.
    """

    order_id: str
    there: Sold | None
    here: Sold | None
    cause: Cause = ""
    why: str = ""

    @property
    def is_pending(self) -> bool:
        """Does it end by itself?"""
        return self.cause in PENDING

    @property
    def what(self) -> str:
        """What differs, in words."""
        if self.here is None:
            return "missing here"
        if self.there is None:
            return "missing in the shop"
        return ", ".join(name for name in Sold._fields if getattr(self.here, name) != getattr(self.there, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Some days' orders in the shop and here. ``unread`` are orders that could not be read, with reasons."""

    there: Mapping[str, Sold]
    here: Mapping[str, Sold]
    differences: tuple[Difference, ...]
    unread: Mapping[str, str]

    @property
    def result(self) -> Result:
        """Equal only when every order is, on both sides."""
        if self.unread or not all(one.is_pending for one in self.differences):
            return "different"
        return "pending" if self.differences else "equal"

    @property
    def different(self) -> tuple[Difference, ...]:
        """The differences that do not end by themselves."""
        return tuple(one for one in self.differences if not one.is_pending)

    @property
    def pending(self) -> tuple[Difference, ...]:
        """Those that do."""
        return tuple(one for one in self.differences if one.is_pending)

    @property
    def orders(self) -> int:
        """Number of compared orders, from both sides."""
        return len(self.there.keys() | self.here.keys() | self.unread.keys())

    def days(self) -> dict[date, tuple[Totals, Totals]]:
        """By day the shop's totals and ours, the newest day first."""
        both = [_totals(side) for side in (self.there, self.here)]
        days = sorted({day for side in both for day in side}, reverse=True)
        return {day: _alike(both[0].get(day, NO_TOTALS), both[1].get(day, NO_TOTALS)) for day in days}


def _alike(there: Totals, here: Totals) -> tuple[Totals, Totals]:
    """The same, both with every measure that either has."""
    nothing = dict.fromkeys((*there.measures, *here.measures), NOTHING)
    return there._replace(measures=nothing | {**there.measures}), here._replace(measures=nothing | {**here.measures})


def _totals(orders: Mapping[str, Sold]) -> dict[date, Totals]:
    found: dict[date, Totals] = {}
    for sold in orders.values():
        found[sold.day] = found.get(sold.day, NO_TOTALS).plus(sold)
    return found


@dataclass(slots=True)
class ShopSide:
    """The newest state of each of a shop's orders. ``currency`` is the shop's own."""

    since: datetime
    currency: str
    said: dict[str, Said] = field(default_factory=dict)

    def take(self, answers: Iterable[Said]) -> None:
        """An order that comes twice was changed in between."""
        for each in answers:
            is_own = each.sold is not None and each.sold.currency == self.currency
            sold = each.sold._replace(currency="") if each.sold and is_own else each.sold
            self.said[each.order_id] = each._replace(sold=sold)

    def forget(self, order_ids: Iterable[str]) -> None:
        """Drops these orders before they are read again: one that is not returned is gone."""
        for order_id in order_ids:
            self.said.pop(order_id, None)

    def sold(self) -> dict[str, Sold]:
        """By id, the orders placed since then that the shop's own reports count."""
        return {i: each.sold for i, each in self.said.items() if each.sold and self._is_asked(each)}

    def _is_asked(self, said: Said) -> bool:
        """By the time of placing, not the day: by payment date, that is another."""
        return said.placed_at is not None and said.placed_at >= self.since

    def unread(self) -> dict[str, str]:
        """The orders that could not be read, with reasons."""
        return {i: said.unread for i, said in self.said.items() if said.unread}


def differing(there: Mapping[str, Sold], here: Mapping[str, Sold]) -> list[str]:
    """The ids of orders that the two sides do not have alike."""
    return sorted(order_id for order_id in there.keys() | here.keys() if there.get(order_id) != here.get(order_id))


def compared(shop: ShopSide, here: Mapping[str, Sold]) -> Agreement:
    """Both sides, and where they differ, by order id. One that could not be read is compared with nothing."""
    there, unread = shop.sold(), shop.unread()
    ours = {order_id: sold for order_id, sold in here.items() if order_id not in unread}
    differences = (Difference(order_id=i, there=there.get(i), here=ours.get(i)) for i in differing(there, ours))
    return Agreement(there=there, here=ours, differences=tuple(differences), unread=unread)


# What is known of an order that differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What lets an order differ by right: the ids of late events that wait, and since when changes may be unread."""

    late_events: Collection[str]
    unread_since: datetime


def explained(agreement: Agreement, shop: ShopSide, folder: Path, name: str, waiting: Waiting) -> Agreement:
    """Adds the cause of each difference: refused, late, not read yet, gone from the shop. Reads the memory."""
    database = state.to_read(folder / FILE, "refused")
    if database is None:
        return agreement
    with closing(database):
        known = _Known(database, name)
        differences = tuple(
            _explained(one, shop.said.get(one.order_id), known, waiting) for one in agreement.differences
        )
    return replace(agreement, differences=differences)


_Published = tuple[int, int, bytes, int, Mapping[str, KnownRefund]]
"""When it was changed, its version and digest on the log, its time, and its refunds there."""


class _Known:
    """The memory's rows of one shop's orders."""

    def __init__(self, database: Any, shop: str) -> None:
        self._database = database
        self.shop = shop

    def refused(self, what: str) -> str | None:
        row = self._database.execute(
            "select reason from refused where shop = ? and what = ?", (self.shop, what)
        ).fetchone()
        return row[0] if row else None

    def published(self, order_id: str) -> _Published | None:
        row = self._database.execute(
            "select modified_ms, version, digest, created_ms, refunds from order_states"
            " where shop = ? and order_id = ? and version > 0",
            (self.shop, order_id),
        ).fetchone()
        return (*row[:4], refunds_of(row[4])) if row else None


def _explained(one: Difference, said: Said | None, known: _Known, waiting: Waiting) -> Difference:
    def because(cause: Cause, why: str) -> Difference:
        return replace(one, cause=cause, why=why)

    published = known.published(one.order_id)
    if published is not None and _is_late(one.order_id, published, known.shop, waiting.late_events):
        return because("late", "late: the hourly run for late events counts it once its day is final")
    if reason := known.refused(f"order:{one.order_id}"):
        return because("rejected", f"rejected: {reason}")
    changed_at = said.changed_at if said else None
    is_read = published is not None and (changed_at is None or published[0] >= changed_at.timestamp() * 1000)
    if changed_at and not is_read:
        if changed_at > waiting.unread_since:
            return because("recent", f"changed at {changed_at:%H:%M} UTC; the next reading of the shop publishes it")
        return because("missed", f"not read since it was changed, at {changed_at:%Y-%m-%d %H:%M} UTC")
    for refund_id in published[4] if published else ():
        if reason := known.refused(f"refund:{refund_id}"):
            return because("rejected", f"refund {refund_id}: {reason}")
    if said is None:
        return because("gone", "the shop no longer lists it: it is in the trash, or deleted")
    return because("apart", "read as the shop has it, and the tables differ")


def _is_late(order_id: str, published: _Published, shop: str, late_events: Collection[str]) -> bool:
    """Does the event of its newest state wait, or that of a refund?"""
    _, version, digest, created_ms, refunds = published
    return event_id_of_state(shop, order_id, version, digest, created_ms) in late_events or any(
        event_id_of_refund(shop, refund_id, refund.version, refund.at_ms, refund.paid_ms) in late_events
        for refund_id, refund in refunds.items()
    )
