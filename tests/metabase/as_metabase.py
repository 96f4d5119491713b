"""A native query as Metabase sends it to Postgres, parsed from the text again, not by the code that is tested.

Its rules: ``[[…]]`` goes when a variable in it has neither a value nor a default; a variable elsewhere must have one; a
value becomes a parameter of the prepared statement, of the type varchar, as JDBC sets a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.types.string import StrDumperVarchar

PIECE = re.compile(r"\[\[|\]\]|\{\{\s*([^{}]+?)\s*\}\}")


class MissingValue(Exception):
    """Metabase's message: you'll need to pick a value before this query can run."""


def as_sent(stage: Mapping[str, Any], given: Mapping[str, str]) -> tuple[str, list[str]]:
    """SQL with ``%s``, and the values for them."""
    tags: Mapping[str, Any] = stage["template-tags"]
    values = {name: given.get(name) or tag.get("default") for name, tag in tags.items()}
    out: list[str] = [""]
    arguments: list[list[str]] = [[]]
    lacking = False
    text, end = stage["native"], 0
    for found in PIECE.finditer(text):
        out[-1] += text[end : found.start()].replace("%", "%%")
        end = found.end()
        if found[0] == "[[":
            assert len(out) == 1, "optional clauses can't be nested"
            out.append("")
            arguments.append([])
            lacking = False
        elif found[0] == "]]" and len(out) == 2:
            clause, its = out.pop(), arguments.pop()
            if not lacking:
                out[-1] += clause
                arguments[-1] += its
        elif found[0] == "]]":
            out[-1] += "]]"
        elif values[found[1]]:
            out[-1] += "%s"
            arguments[-1].append(values[found[1]])
        elif len(out) == 2:
            lacking = True
        else:
            raise MissingValue(found[1])
    assert len(out) == 1, "an optional clause is not closed"
    return out[0] + text[end:].replace("%", "%%"), arguments[0]


def run(connection: psycopg.Connection[Any], stage: Mapping[str, Any], given: Mapping[str, str]) -> Sequence[Any]:
    """Rows, as whatever the connection's row factory makes of them."""
    sql, arguments = as_sent(stage, given)
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(str, StrDumperVarchar)
        return cursor.execute(sql.encode(), arguments).fetchall()
