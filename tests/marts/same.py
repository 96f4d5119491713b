"""The marts of two targets, row by row and column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.marts.own_prod import Prod

RELATIONS = """
select c.relname, array_agg(a.attname::text order by a.attnum)
from pg_class as c join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = 'marts'::regnamespace and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped
group by c.relname order by c.relname
"""


def marts_of(dsn: str) -> dict[str, list[str]]:
    """Every mart in Postgres with its columns in order."""
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute(RELATIONS).fetchall())


def difference(dsn: str, prod: Prod, mart: str, columns: Sequence[str]) -> str:
    """How a mart on ``prod`` differs from the one in Postgres; an empty text when it does not."""
    there = [row[0] for row in prod.rows(f"show columns from marts.{mart}")]
    if there != list(columns):
        return f"{mart} has the columns {there} and should have {list(columns)}"
    names = ", ".join(f'"{name}"' for name in columns)
    with psycopg.connect(dsn) as connection:
        connection.execute("set time zone 'UTC'")
        wanted = Counter(map(_row, connection.execute(f"select {names} from marts.{mart}").fetchall()))
    found = Counter(map(_row, prod.rows(f"select {names} from marts.{mart}")))
    if wanted == found:
        return ""
    missing, more = wanted - found, found - wanted
    return "\n".join(
        [
            f"{mart} ({', '.join(columns)}) lacks {missing.total():,} of {wanted.total():,} rows and has besides"
            f" {more.total():,}:",
            *(f"- {row}" for row in sorted(missing, key=str)[:3]),
            *(f"+ {row}" for row in sorted(more, key=str)[:3]),
        ]
    )


def _row(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_value(value) for value in values)


def _value(value: Any) -> Any:
    """Athena's times have no zone and are in UTC. A value is of the same type on both, digits included."""
    if isinstance(value, datetime):
        return str(value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))
    return tuple(value) if isinstance(value, list) else f"{type(value).__name__} {value}"
