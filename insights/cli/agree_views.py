"""How a comparison of a connected shop with the tables looks on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

from insights.cli.terminal_table import Column, TerminalTable
from producers.connect.agreement import MEASURES, NO_TOTALS, Agreement, Difference, Sold, Totals
from schemas.plural import counted

if TYPE_CHECKING:
    from insights.agreement.compare import Comparison

SHOWN = 20
Days = dict[date, tuple[Totals, Totals]]


def days_apart(found: Agreement) -> Days:
    """The days on which the two sides' totals differ."""
    return {day: both for day, both in found.days().items() if both[0] != both[1]}


def days_table(days: Days) -> TerminalTable:
    """Each day with the shop's totals and ours."""
    apart = dict.fromkeys(
        name for a, b in days.values() for name, total in a.measures.items() if total != b.measures[name]
    )
    names = ("orders", *apart)
    sheet = TerminalTable(
        "days that differ", Column(), *(Column(name=name, right=True) for name in names), note="the shop's total / ours"
    )
    for day, (there, here) in days.items():
        sums = [f"{there.measures.get(name, 0):,.2f} / {here.measures.get(name, 0):,.2f}" for name in apart]
        sheet.add(f"{day:%Y-%m-%d}", f"{there.orders:,} / {here.orders:,}", *sums)
    return sheet


def orders_table(differences: Sequence[Difference]) -> TerminalTable:
    """The first of the orders that differ."""
    more = len(differences) - SHOWN
    sheet = TerminalTable(
        "orders that differ",
        *(Column(), Column(name="differs"), Column(name="in the shop", right=True), Column(name="here", right=True)),
        Column(name="finding", flows=True),
        note=f"and {more:,} more" if more > 0 else "what differs of it; sales where a side is missing",
    )
    for one in differences[:SHOWN]:
        sheet.add(
            one.order_id,
            one.what,
            *(_side(one, side) for side in (one.there, one.here)),
            f"pending: {one.why}" if one.is_pending else one.why,
        )
    return sheet


def _side(one: Difference, side: Sold | None) -> str:
    if side is None:
        return "–"
    names = one.what.split(", ") if one.there and one.here else ["sales"]
    return " ".join(f"{getattr(side, name):,.2f}" if name in MEASURES else str(getattr(side, name)) for name in names)


def tally(found: Agreement) -> str:
    """How many orders differ, and are pending."""
    return f"{len(found.different) + len(found.unread):,} differ, {len(found.pending):,} pending"


def verdict(done: Comparison) -> str:
    """What the comparison says, over how many orders."""
    found = done.agreement
    since = f"placed since {done.first_day:%Y-%m-%d} ({done.zone_name})"
    compared = f"{counted(found.orders, 'order')} {since}"
    if found.result == "equal":
        sums = reduce(Totals.plus, found.there.values(), NO_TOTALS)
        said = ", ".join(f"{name} {total:,.2f}" for name, total in sums.measures.items())
        return f"{done.shop} agrees: {compared}, {said}, equal order by order to the cent."
    pending = f"{counted(len(found.pending), 'order is', 'orders are')} pending"
    if found.result == "pending":
        equal = found.orders - len(found.pending)
        return f"{done.shop} agrees, except for pending orders: {equal:,} of {compared} are equal; {pending}."
    wrong = counted(len(found.different) + len(found.unread), "order")
    also = f" Another {pending}." if found.pending else ""
    days = counted(len(days_apart(found)), "day")
    return f"{done.shop} does not agree: {wrong} of {found.orders:,} {since} differ, on {days}.{also}"
