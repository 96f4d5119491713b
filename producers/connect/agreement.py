"""Whether our tables have what a shop has, order by order.

The shop's side is counted from what its API answers now, apart from the log and from how orders become events (each
platform's ``sold_in_shop``): a mistake has to be made twice to pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from producers import state
from producers.connect.memory import FILE

NOTHING: Final = Decimal(0)


class Sold(NamedTuple):
    """An order: the day it was placed (UTC), and in the shop's currency what was sold and what was paid back.

    Sales are without tax and shipping and before refunds; refunds are with both.
    """

    day: date
    sales: Decimal
    refunds: Decimal


class Totals(NamedTuple):
    """The same of a day."""

    orders: int
    sales: Decimal
    refunds: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An order that the two sides do not have alike. A side is None where it has no such order."""

    order_id: str
    there: Sold | None
    here: Sold | None
    why: str

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
    """What the shop has of some days, and what we have. Of the orders in ``unread`` the API says too little."""

    there: Mapping[str, Sold]
    here: Mapping[str, Sold]
    differences: tuple[Difference, ...]
    unread: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Is every order alike on both sides?"""
        return not self.differences and not self.unread

    def days(self) -> dict[date, tuple[Totals, Totals]]:
        """By day the shop's totals and ours, the newest day first."""
        both = [_totals(side) for side in (self.there, self.here)]
        nothing = Totals(0, NOTHING, NOTHING)
        days = sorted({day for side in both for day in side}, reverse=True)
        return {day: (both[0].get(day, nothing), both[1].get(day, nothing)) for day in days}


def _totals(orders: Mapping[str, Sold]) -> dict[date, Totals]:
    found: dict[date, Totals] = {}
    for sold in orders.values():
        before = found.get(sold.day, Totals(0, NOTHING, NOTHING))
        found[sold.day] = Totals(before.orders + 1, before.sales + sold.sales, before.refunds + sold.refunds)
    return found


def differing(there: Mapping[str, Sold], here: Mapping[str, Sold]) -> list[str]:
    """The ids of orders that the two sides do not have alike."""
    return sorted(order_id for order_id in there.keys() | here.keys() if there.get(order_id) != here.get(order_id))


def compared(
    there: Mapping[str, Sold], here: Mapping[str, Sold], reasons: Mapping[str, str], unread: Iterable[str] = ()
) -> Agreement:
    """Both sides, and where they differ, by order id. ``reasons`` has what is known of an order that is not here."""
    differences = tuple(
        Difference(order_id=i, there=there.get(i), here=here.get(i), why=reasons.get(i, ""))
        for i in differing(there, here)
    )
    return Agreement(there=there, here=here, differences=differences, unread=tuple(unread))


def reasons(folder: Path, shop: str, order_ids: Iterable[str]) -> dict[str, str]:
    """Of those orders that are known, what became of them: refused with a reason, or on the log."""
    database = state.to_read(folder / FILE, "refused")
    if database is None:
        return {}
    found: dict[str, str] = {}
    try:
        for order_id in order_ids:
            refused = database.execute(
                "select reason from refused where shop = ? and what = ?", (shop, f"order:{order_id}")
            ).fetchone()
            known = database.execute(
                "select version from order_states where shop = ? and order_id = ?", (shop, order_id)
            ).fetchone()
            if refused is not None:
                found[order_id] = f"refused: {refused[0]}"
            elif known is not None and known[0]:
                found[order_id] = "on the log; it is late and waits for the run that counts late events, or just came"
            else:
                found[order_id] = "not read from the shop yet"
    finally:
        database.close()
    return found
