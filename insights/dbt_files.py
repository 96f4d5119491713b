"""What dbt reads about its neighbours: its sources, from aggregates/ and warehouse/sinks.py, and the readers of marts.

The files are committed, so that dbt runs by itself; `make format` writes them, and `make check` compares them with what
they are written from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from aggregates.catalogue import Aggregate, aggregates
from dashboards.card_sql import relations
from dashboards.model import load
from insights.settings import PROJECT
from warehouse.sinks import OPS_TABLES

MODELS = PROJECT / "dbt" / "models"
HEAD = "# Written by `insights dbt sources`, from {}.\n"
# How old the newest row may be, in hours, before `dbt source freshness` warns: an open window's row has its start.
WARN_HOURS = {"minute": 1, "hour": 3, "day": 48, None: 24}
MORE_OPS_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "replays": (
        "Every replay: its plan, status and certificate, and who requested it.",
        {
            "run": "Its name.",
            "status": "Its status.",
            "scope": "windows, beginning or late.",
            "aggregates": "Names of what it computes.",
            "engine": "The engine that computed it.",
            "plan": "What it reads and computes: aggregates with their windows.",
            "certificate": "The result of the comparison with the live tables; null before it.",
            "requested_by": "Who requested it.",
            "reason": "Why it was promoted although it differs; otherwise null.",
            "verified_at": "When it was verified.",
            "promoted_at": "When it was promoted.",
            "rolled_back_at": "When it was rolled back.",
            "changes": "By aggregate, the rows that the promotion changed.",
        },
    ),
}


def files() -> dict[Path, str]:
    """Each file with its expected contents."""
    return {MODELS / "sources.yml": sources_yaml(), MODELS / "exposures.yml": exposures_yaml()}


def outdated() -> list[Path]:
    """Those of the files that do not hold what they should, or are missing."""
    return [path for path, text in files().items() if not path.exists() or path.read_text() != text]


def exposures_yaml() -> str:
    """Each dashboard, with the marts and sources that its cards and its lists of choices read."""
    found = []
    for path in sorted((PROJECT / "dashboards").glob("*.yaml")):
        board = load(path)
        read = {relation for card in board.cards for relation in board.relations(card)}
        read |= {r for p in board.parameters if p.choices_sql for r in relations(board.expanded(p.choices_sql))}
        depends = sorted(filter(None, map(_reference, read)))
        found.append(
            {
                "name": path.stem,
                "label": board.title,
                "type": "dashboard",
                "description": board.description or board.title,
                "owner": {"name": "the shop"},
                "depends_on": depends,
            }
        )
    return _written({"exposures": found}, "dashboards/*.yaml")


def _reference(relation: str) -> str | None:
    """As dbt names it; None for a table that dbt neither reads nor makes."""
    schema, _, name = relation.partition(".")
    if (schema, name) in _known_sources():
        return f"source('{schema}', '{name}')"
    return f"ref('{name}')" if schema in ("marts", "intermediate", "staging", "snapshots") else None


def _known_sources() -> set[tuple[str, str]]:
    return {(source["name"], table["name"]) for source in _sources() for table in source["tables"]}


def _written(document: dict[str, Any], origin: str) -> str:
    return HEAD.format(origin) + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def sources_yaml() -> str:
    """Every table and column that there is to read."""
    return _written({"version": 2, "sources": _sources()}, "aggregates/*/aggregate.toml and warehouse/sinks.py")


def _sources() -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {"live": [], "events": []}
    for a in aggregates():
        found["events" if a.is_fact else "live"].append(_of_aggregate(a))
    ops_tables = [
        *(_table(s.table.split(".")[1], s.description, {n: c.doc for n, c in s.columns.items()}) for s in OPS_TABLES),
        *(_table(name, description, columns) for name, (description, columns) in MORE_OPS_TABLES.items()),
    ]
    return [
        _source("live", "Aggregates per window, computed by the live job and by replays.", found["live"]),
        _source("events", "Facts: one row per event, or per line of an event.", found["events"]),
        _source("ops", "Operations: events counted, final windows, replays.", ops_tables),
    ]


def _source(name: str, description: str, tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "schema": name, "description": description, "tables": list(tables)}


def _of_aggregate(a: Aggregate) -> dict[str, Any]:
    columns = {name: column.doc for name, column in a.columns.items()}
    if all(name.startswith("ops.") for name in a.inputs):
        return _table(a.name, a.description, columns)  # no source's, and may be turned off
    loaded = {
        "config": {
            "loaded_at_field": a.moment,
            "freshness": {"warn_after": {"count": WARN_HOURS[a.window], "period": "hour"}},
        }
    }
    return _table(a.name, a.description, columns) | loaded


def _table(name: str, description: str, columns: Mapping[str, str]) -> dict[str, Any]:
    listed = [{"name": column, "description": doc} for column, doc in columns.items()]
    return {"name": name, "description": description, "columns": listed}
