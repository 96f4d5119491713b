"""Everything that reads a table, directly or not: dbt's models and snapshots, and dashboards, found in their texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path


def downstream(tables: Iterable[str], texts: Mapping[Path, str]) -> tuple[Path, ...]:
    """The files that read one of ``tables`` (``live.sessions``), themselves or by way of others among ``texts``.

    A model is a file ``NAME.sql``; others read it by ``ref('NAME')`` in dbt, or as ``marts.NAME`` in a dashboard.
    """
    found: set[Path] = set()
    wanted = [_named(*table.split(".", 1)) for table in tables]
    while wanted:
        new = {path for path, text in texts.items() if path not in found and any(w.search(text) for w in wanted)}
        found |= new
        wanted = [_model(path.stem) for path in new if path.suffix == ".sql"]
    return tuple(sorted(found))


def _named(schema: str, name: str) -> re.Pattern[str]:
    return re.compile(rf"""\b{schema}\.{name}\b|\bsource\(\s*['"]{schema}['"]\s*,\s*['"]{name}['"]\s*\)""")


def _model(name: str) -> re.Pattern[str]:
    return re.compile(rf"""\bref\(\s*['"]{name}['"]\s*\)|\bmarts\.{name}\b""")
