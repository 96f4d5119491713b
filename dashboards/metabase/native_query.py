"""A card's SQL as Metabase's native query: one text without snippets, and its template tags. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dashboards.card_sql import OPTIONAL, PLACEHOLDER
from dashboards.metabase.identity import tag_id
from dashboards.model import Dashboard, Parameter

NO_OPERATOR = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeQuery:
    """``sql`` with ``{{name}}`` and ``[[…]]`` in it, and the parameters that it names, in their order."""

    sql: str
    parameters: tuple[Parameter, ...]

    def payload(self, key: str, database: int) -> dict[str, Any]:
        """The ``dataset_query`` of a card with this key."""
        tags = {parameter.name: _tag(key, parameter) for parameter in self.parameters}
        stage = {"lib/type": "mbql.stage/native", "native": self.sql, "template-tags": tags}
        return {"lib/type": "mbql/query", "database": database, "stages": [stage]}


def native(dashboard: Dashboard, sql: str) -> NativeQuery:
    """``sql`` of a dashboard. A list that comes from the data has no fixed default in Metabase: its first row is asked
    for in the query itself, where the page would put it in.
    """
    text = dashboard.expanded(sql)
    for parameter in dashboard.parameters:
        if parameter.choices_sql and not parameter.all:
            text = _with_first_row(text, parameter, dashboard.expanded(parameter.choices_sql))
    named = {found["name"] for found in PLACEHOLDER.finditer(text)}
    return NativeQuery(sql=text, parameters=tuple(p for p in dashboard.parameters if p.name in named))


def stands_for_a_value(sql: str) -> Iterable[str]:
    """Operators with a question mark, as Postgres has them for JSON: Metabase's driver takes it for a value's place."""
    return re.findall(r"\S*\?\S*", NO_OPERATOR.sub(" ", sql))


def _tag(key: str, parameter: Parameter) -> dict[str, Any]:
    tag: dict[str, Any] = {
        "id": tag_id(f"{key}/{parameter.name}"),
        "name": parameter.name,
        "display-name": parameter.title,
        "type": "text",
    }
    return tag | ({"required": True, "default": parameter.default} if parameter.default else {})


def _with_first_row(sql: str, parameter: Parameter, choices_sql: str) -> str:
    name = parameter.name
    # What it selects from is in the dashboard's own file.
    first = f"select choice.value from (\n{choices_sql}\n) as choice limit 1"  # noqa: S608
    value = f"coalesce([[{{{{{name}}}}}, ]]({first}), '')"
    parts, end = [], 0
    for found in OPTIONAL.finditer(sql):
        parts += [_replaced(sql[end : found.start()], name, value), found[0]]
        end = found.end()
    return "".join([*parts, _replaced(sql[end:], name, value)])


def _replaced(sql: str, name: str, value: str) -> str:
    return PLACEHOLDER.sub(lambda m: value if m["name"] == name and not m["snippet"] else m[0], sql)
