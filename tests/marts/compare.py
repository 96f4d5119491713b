"""Marts in Postgres against what they must hold, row by row and column by column."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from tests.e2e import table_contents
from tests.marts.oracle.history import History, Row
from tests.marts.oracle.marts import MARTS, QUALITY_MARTS
from tests.marts.oracle.quality import Recorded

Connection = psycopg.Connection[tuple[Any, ...]]


def wrong_marts(connection: Connection, history: History, names: Collection[str] = tuple(MARTS)) -> list[str]:
    """What is wrong with each of these marts; nothing when they match the history."""
    return [found for name in names if (found := wrong(connection, name, MARTS[name].grain, MARTS[name].rows(history)))]


def wrong_quality_marts(
    connection: Connection, recorded: Recorded, names: Collection[str] = tuple(QUALITY_MARTS)
) -> list[str]:
    """The same for the marts of what became of the log's records."""
    return [
        found
        for name in names
        if (found := wrong(connection, name, QUALITY_MARTS[name].grain, QUALITY_MARTS[name].rows(recorded)))
    ]


def wrong(connection: Connection, name: str, grain: Sequence[str], expected: Sequence[Row]) -> str:
    """How the table ``marts.<name>`` differs, in columns or rows; an empty text when it does not."""
    if connection.execute("select to_regclass(%s)", (f"marts.{name}",)).fetchone() == (None,):
        return f"there is no marts.{name}"
    columns, rows = _read(connection, name)
    if not expected:
        return f"marts.{name} should be empty and has {len(rows):,} rows" if rows else ""
    if columns.keys() != expected[0].keys():
        missing, more = expected[0].keys() - columns.keys(), columns.keys() - expected[0].keys()
        return f"marts.{name} lacks the columns {sorted(missing)} and has besides {sorted(more)}"
    others = [column for column in expected[0] if column not in grain]
    wanted = _by_grain(name, expected, grain, others)
    found = _by_grain(name, rows, grain, others)
    text = table_contents.difference(wanted, found, expected_is="by the log", found_is="in the mart")
    return f"marts.{name} ({', '.join([*grain, '|', *others])}): {text}" if text else ""


def _read(connection: Connection, name: str) -> tuple[Mapping[str, int], list[Row]]:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("select * from marts.{}").format(sql.Identifier(name)))
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, map(_plain, row), strict=True)) for row in cursor]
    return {column: place for place, column in enumerate(names)}, rows


def _plain(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _by_grain(
    name: str, rows: Iterable[Row], grain: Sequence[str], others: Sequence[str]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        key = tuple(row[column] for column in grain)
        assert key not in found, f"{name} has two rows of {key}"
        found[key] = tuple(row[column] for column in others)
    return found
