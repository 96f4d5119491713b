"""What dbt is told of its sources: the tables and columns that aggregates/ and flink/sinks.py define, as dbt's YAML.

The file is committed, so that dbt runs by itself; a test holds it against the definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from aggregates.catalogue import Aggregate, aggregates
from flink.sinks import BOOKS
from insights.settings import PROJECT

FILE = PROJECT / "dbt" / "models" / "sources.yml"
HEAD = "# Written by `insights dbt sources`, from aggregates/*/aggregate.toml and flink/sinks.py.\n"
# How old the newest row may be, in hours, before `dbt source freshness` warns: an open window's row has its start.
WARN_HOURS = {"minute": 1, "hour": 3, "day": 48, None: 24}
MORE_BOOKS: dict[str, tuple[str, dict[str, str]]] = {
    "replays": (
        "Every replay: its plan, how far it came, its certificate, and who asked.",
        {
            "run": "Its name.",
            "status": "How far it came.",
            "scope": "windows, beginning or late.",
            "aggregates": "Names of what it computes.",
            "engine": "What computed it.",
            "plan": "What it reads and computes: aggregates with their windows.",
            "certificate": "What the comparison with the live tables found; null before it.",
            "requested_by": "Who asked for it.",
            "reason": "Why it was promoted though it differs; null otherwise.",
            "verified_at": "When it was compared.",
            "promoted_at": "When it became what readers see.",
            "rolled_back_at": "When that was taken back.",
            "changes": "By aggregate, the rows that the promotion changed.",
        },
    ),
}


def sources_yaml() -> str:
    """The whole file."""
    found: dict[str, list[dict[str, Any]]] = {"live": [], "events": []}
    for a in aggregates():
        found["events" if a.is_fact else "live"].append(_of_aggregate(a))
    books = [
        *(_table(s.table.split(".")[1], s.description, {n: c.doc for n, c in s.columns.items()}) for s in BOOKS),
        *(_table(name, description, columns) for name, (description, columns) in MORE_BOOKS.items()),
    ]
    sources = [
        _source("live", "Aggregates: what the live job and replays count, by window.", found["live"]),
        _source("events", "Facts: one row an event or a line of one.", found["events"]),
        _source("ops", "The books: what was counted, what is final, what replays did.", books),
    ]
    text = yaml.safe_dump({"version": 2, "sources": sources}, sort_keys=False, width=120, allow_unicode=True)
    return HEAD + text


def _source(name: str, description: str, tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "schema": name, "description": description, "tables": list(tables)}


def _of_aggregate(a: Aggregate) -> dict[str, Any]:
    columns = {name: column.doc for name, column in a.columns.items()}
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
