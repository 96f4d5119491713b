"""The list of marts: a function that computes one puts itself there, with what makes a row of it one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.marts.oracle.history import History, Row

if TYPE_CHECKING:
    from tests.marts.oracle.quality import Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Mart:
    """``grain`` are the columns that no two rows have the same of."""

    grain: tuple[str, ...]
    rows: Callable[[History], list[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMart:
    """A mart of what became of the log's records."""

    grain: tuple[str, ...]
    rows: Callable[[Recorded], list[Row]]


MARTS: dict[str, Mart] = {}
QUALITY_MARTS: dict[str, QualityMart] = {}


def mart(*grain: str) -> Callable[[Callable[[History], list[Row]]], Callable[[History], list[Row]]]:
    """Lists the function as the mart of its name."""

    def listed(rows: Callable[[History], list[Row]]) -> Callable[[History], list[Row]]:
        MARTS[rows.__name__] = Mart(grain=grain, rows=rows)
        return rows

    return listed


def quality_mart(*grain: str) -> Callable[[Callable[[Recorded], list[Row]]], Callable[[Recorded], list[Row]]]:
    """Lists the function as the mart of its name, of what became of the log's records."""

    def listed(rows: Callable[[Recorded], list[Row]]) -> Callable[[Recorded], list[Row]]:
        QUALITY_MARTS[rows.__name__] = QualityMart(grain=grain, rows=rows)
        return rows

    return listed
