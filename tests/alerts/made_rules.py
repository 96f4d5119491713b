"""Rules for tests, from YAML's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from alerts.rule import Rule, load

WORDS: dict[str, Any] = {
    "title": "Shelves are empty",
    "kind": "empty",
    "every": "1m",
    "message": "{label} is out",
    "runbook": "Order more.",
    "sql": "select label from shelves order by label",
}


def write(folder: Path, name: str = "shelves", **words: Any) -> Path:
    """The file of a rule; a word that is None is left out."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**WORDS, **words}.items() if value is not None}))
    return path


def rule(folder: Path, name: str = "shelves", **words: Any) -> Rule:
    return load(write(folder, name, **words))
