"""How connected shops look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from insights.cli.terminal_table import Column, TerminalTable

if TYPE_CHECKING:
    from producers.connect.connections import Connection
    from producers.connect.memory import Progress


def connections_table(shops: Sequence[tuple[Connection, Progress]]) -> TerminalTable:
    """Each connected shop, with what was published of it."""
    sheet = TerminalTable(
        "connected shops",
        *(Column(), Column(name="since"), Column(name="orders", right=True), Column(name="refunds", right=True)),
        *(Column(name="rejected", right=True), Column(name="history"), Column(name="address", flows=True)),
    )
    for shop, done in shops:
        sheet.add(
            shop.name,
            f"{shop.since:%Y-%m-%d}",
            *(f"{number:,}" for number in (done.orders, done.refunds, done.refused)),
            "complete" if done.is_history_done else "being read",
            shop.url,
        )
    return sheet
