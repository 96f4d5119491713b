"""What became of the canaries: which rows are there, which are missing, and which are not what was published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

from schemas.binary import EPOCH

TABLE, MART = "live.canary_per_minute", "marts.canary"
Connection = psycopg.Connection[tuple[Any, ...]]
Rows = Mapping[datetime, tuple[int, Decimal]]
"""Minute to how many canaries a table or mart has of it, and the sum of their amounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A canary that was published, and when its row was first seen."""

    canary_at: datetime
    published_at: datetime
    in_table_at: datetime | None = None
    in_mart_at: datetime | None = None
    wrong: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """Of the canaries of the last day.

    Attributes:
        table_seconds: from publication to the row, of the newest canary that arrived in the table; but the age of the
            oldest one that did not arrive since, when that is more. None before the first one.
        mart_seconds: the same of the mart; None where it was never built.
        wrong: how the newest row that is wrong differs.
    """

    table_seconds: float | None
    mart_seconds: float | None
    wrong: str | None = None


def amount_at(minute: datetime) -> Decimal:
    """The amount of a minute's canary, from 0.01 to 1000.00: neighbours differ."""
    return Decimal(number_of(minute) * 7919 % 100_000 + 1).scaleb(-2)


def number_of(minute: datetime) -> int:
    """The minute, counted from 1970."""
    return int((minute - EPOCH).total_seconds()) // 60


def judge(sent: Sent, table: Rows, mart: Rows, now: datetime) -> Sent:
    """The same canary, by what the table and the mart have of its minute now. Pure.

    A row that is missing is not wrong: a rebuild empties the tables for a while. How long it is missing tells.
    """
    wrong = [
        text for where, rows in ((TABLE, table), (MART, mart)) if (text := _difference(sent.canary_at, where, rows))
    ]
    return Sent(
        canary_at=sent.canary_at,
        published_at=sent.published_at,
        in_table_at=(sent.in_table_at or now) if _is_right(sent.canary_at, table) else None,
        in_mart_at=(sent.in_mart_at or now) if _is_right(sent.canary_at, mart) else None,
        wrong="; ".join(wrong) or None,
    )


def _is_right(minute: datetime, rows: Rows) -> bool:
    return rows.get(minute) == (1, amount_at(minute))


def _difference(minute: datetime, where: str, rows: Rows) -> str | None:
    if minute not in rows or _is_right(minute, rows):
        return None
    number, amount = rows[minute]
    return f"{where} has {number} of {amount}, not 1 of {amount_at(minute)}"


def sum_up(canaries: Iterable[Sent], now: datetime) -> Canaries | None:
    """None without any. Pure."""
    known = sorted(canaries, key=lambda sent: sent.canary_at)
    if not known:
        return None
    is_in_marts = any(sent.in_mart_at for sent in known)
    return Canaries(
        table_seconds=_seconds([(sent.published_at, sent.in_table_at) for sent in known], now),
        mart_seconds=_seconds([(sent.published_at, sent.in_mart_at) for sent in known], now) if is_in_marts else None,
        wrong=next((f"{sent.canary_at:%Y-%m-%d %H:%M}: {sent.wrong}" for sent in reversed(known) if sent.wrong), None),
    )


def _seconds(ways: list[tuple[datetime, datetime | None]], now: datetime) -> float:
    took = [(seen - published).total_seconds() for published, seen in ways if seen][-1:]
    waited = [(now - published).total_seconds() for published, seen in ways if not seen][:1]
    return round(max(took + waited), 3)


def read(connection: Connection) -> list[Sent]:
    """The canaries of the last day, as they were last judged. May raise psycopg.Error."""
    rows = connection.execute("select canary_at, published_at, in_table_at, in_mart_at, wrong from ops.canaries")
    names = ("canary_at", "published_at", "in_table_at", "in_mart_at", "wrong")
    return [Sent(**dict(zip(names, row, strict=True))) for row in rows]


def summary(connection: Connection) -> Canaries | None:
    """None without any, also on the data of a release that had none. May raise psycopg.Error."""
    try:
        return sum_up(read(connection), datetime.now(UTC))
    except psycopg.errors.UndefinedTable:
        return None
