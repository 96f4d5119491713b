"""A card's SQL as it is written: plain Postgres with parameters, snippets and optional clauses. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

PLACEHOLDER = re.compile(r"\{\{\s*(?P<snippet>snippet:)?\s*(?P<name>[A-Za-z_][A-Za-z0-9_ ]*?)\s*\}\}")
OPTIONAL = re.compile(r"\[\[(?P<clause>.*?)\]\]", re.DOTALL)
SYSTEM_SCHEMAS = ("information_schema", "pg_catalog")
Text = Annotated[str, Field(min_length=1)]


def _one_statement(sql: str) -> str:
    text = sql.strip()
    if not re.match(r"(with|select)\b", text, re.IGNORECASE):
        raise ValueError("is not a query: it must start with 'with' or 'select'")
    if ";" in text:
        raise ValueError("has a semicolon: give one statement, without one at its end")
    return closed(text)


def closed(sql: str) -> str:
    """``sql``, whose optional clauses are closed, hold no other and name a parameter each. Raises ValueError."""
    for found in OPTIONAL.finditer(sql):
        if "[[" in found["clause"]:
            raise ValueError(f"has an optional clause inside another: [[{found['clause']}]]; put them side by side")
        if not any(not m["snippet"] for m in PLACEHOLDER.finditer(found["clause"])):
            raise ValueError(f"has an optional clause without a parameter: {found[0]}; remove its brackets")
    if "[[" in OPTIONAL.sub("", sql):
        raise ValueError("has a [[ that no ]] closes; add it")
    return sql


Statement = Annotated[Text, AfterValidator(_one_statement)]


def chosen(sql: str, values: Mapping[str, str]) -> str:
    """``sql`` without the optional clauses in which a parameter has no value, and the others without their brackets."""

    def kept(found: re.Match[str]) -> str:
        names = [m["name"] for m in PLACEHOLDER.finditer(found["clause"]) if not m["snippet"]]
        return found["clause"] if all(values.get(name) for name in names) else ""

    return OPTIONAL.sub(kept, sql)


@lru_cache(maxsize=1024)
def relations(sql: str) -> tuple[str, ...]:
    """The tables and views that a statement reads, sorted: ``live.sessions``, ``marts.daily_sales``.

    Parameters stand in it as ``{{name}}``, optional clauses in double brackets. Postgres' own schemas are left out.
    Raises ValueError saying where it is no SQL of Postgres.
    """
    import sqlglot  # a tenth of a second to load, which only those who ask should pay
    from sqlglot.expressions import Table

    text = PLACEHOLDER.sub("null", OPTIONAL.sub(lambda clause: clause["clause"], sql))
    try:
        statements = sqlglot.parse(text, read="postgres")
    except sqlglot.errors.ParseError as error:
        first = error.errors[0]
        where = f"line {first['line']}, near {first['highlight']!r}"
        raise ValueError(f"can't be read as SQL of Postgres, in {where}: {first['description']}") from error
    except sqlglot.errors.TokenError as error:
        raise ValueError(f"can't be read as SQL of Postgres: {error}") from error
    tables = [table for statement in statements if statement for table in statement.find_all(Table)]
    return tuple(sorted({f"{t.db}.{t.name}" for t in tables if t.db and t.db not in SYSTEM_SCHEMAS}))
