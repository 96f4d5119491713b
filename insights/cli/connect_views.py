"""How connected shops look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from insights.cli.terminal_table import Column, TerminalTable

if TYPE_CHECKING:
    from producers.connect.connections import Connection
    from producers.connect.memory import Progress
    from producers.connect.resources import Resource

PAGES: Final[Mapping[Resource, str]] = {
    "products": "The pages Catalog & prices and Stock",
    "customers": "The page Customers and its marts",
}


def connections_table(shops: Sequence[tuple[Connection, Progress]], zones: Mapping[str, str]) -> TerminalTable:
    """Each connected shop, with the time zone of its days, and what was published of it."""
    sheet = TerminalTable(
        "connected shops",
        *(Column(), Column(name="since"), Column(name="orders", right=True), Column(name="refunds", right=True)),
        Column(name="products", right=True),
        Column(name="customers", right=True),
        *(Column(name="rejected", right=True), Column(name="history"), Column(name="days")),
        Column(name="address", flows=True),
    )
    for shop, done in shops:
        sheet.add(
            shop.name,
            f"{shop.since:%Y-%m-%d}",
            *(f"{number:,}" for number in (done.orders, done.refunds)),
            *(f"{done.count(resource):,}" for resource in PAGES),
            f"{done.refused:,}",
            "complete" if done.is_history_done else "being read",
            zones.get(shop.name) or "–",
            shop.url,
        )
    return sheet


def not_read(shops: Sequence[tuple[Connection, Progress]]) -> list[str]:
    """What a shop does not let us read, what stays empty for it, and why."""
    return [
        f"{shop.name}: {problem}. {PAGES[resource]} show what is read."
        for shop, done in shops
        for resource, (_, problem) in done.resources.items()
        if problem
    ]
