"""From positions on the grid to bands of columns, which a page that must also fit a phone can draw. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.cards import GRID_COLUMNS, Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Cards from top to bottom, or None for an empty stretch; ``width`` in grid columns."""

    width: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Columns from left to right that share no row with another band."""

    columns: tuple[Column, ...]

    @property
    def tiles(self) -> bool:
        """True if it has only numbers: a phone shows them two by two."""
        return all(card.kind == "number" for column in self.columns for card in column.cards)


def bands(cards: Sequence[Card]) -> tuple[Band, ...]:
    """The cards in reading order. Cards in one band whose columns overlap stand in one column, one above the other."""
    groups: list[list[Card]] = []
    end = -1
    for card in sorted(cards, key=lambda c: (c.layout.row, c.layout.col)):
        if card.layout.row >= end:
            groups.append([])
        groups[-1].append(card)
        end = max(end, card.layout.row + card.layout.height)
    return tuple(Band(columns=tuple(_columns(group))) for group in groups)


def _columns(cards: Sequence[Card]) -> list[Column]:
    found: list[Column] = []
    stack: list[Card] = []
    at = end = 0
    for card in sorted(cards, key=lambda c: (c.layout.col, c.layout.row)):
        if stack and card.layout.col >= end:
            found.append(_column(stack, at, end))
            stack = []
        if not stack:
            if card.layout.col > end:
                found.append(Column(width=card.layout.col - end, cards=()))
            at = end = card.layout.col
        stack.append(card)
        end = max(end, card.layout.col + card.layout.width)
    found.append(_column(stack, at, end))
    if end < GRID_COLUMNS:
        found.append(Column(width=GRID_COLUMNS - end, cards=()))
    return found


def _column(stack: Sequence[Card], start: int, end: int) -> Column:
    return Column(width=end - start, cards=tuple(sorted(stack, key=lambda c: (c.layout.row, c.layout.col))))
