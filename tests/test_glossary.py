"""The glossary, and that dashboards, alerts, help and docs keep to its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import typer.main
import yaml

from alerts.rule import load as load_rule
from dashboards.cards import Card
from dashboards.model import load
from insights.cli.main import app
from insights.settings import PROJECT

GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text()
TERMS, RETIRED = GLOSSARY.split("## Words we don't use")
ROWS = re.findall(r"^\| (?!term)(?!---)([^|]+) \| ([^|]+) \| ([^|]+) \|$", TERMS, re.MULTILINE)
WORDS = [(old, new) for old, new in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", RETIRED, re.MULTILINE) if old != "not"][
    1:
]
DASHBOARDS = sorted((PROJECT / "dashboards").glob("*.yaml"))
RULES = sorted((PROJECT / "alerts" / "rules").glob("*.yaml"))
DOCUMENTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
# What a heading may have besides terms and column names.
PLAIN = set(
    re.findall(
        r"\w+",
        """
        a after alert all and average before best build built by change changed code column compute day definition
        detail differ difference different duration equal error example failure first firing fix from history how id in
        input intended latest model new now of old one only or order outcome over page partition per plan product
        promotion read reason record result row schema sha since source started state status step table test that
        this time to today top total under unit until utc verify version vs
        """,
    )
)


def texts_of(card: Card) -> Iterator[str]:
    yield from (card.title, card.description, card.empty, getattr(card, "compare", ""))
    for part in (*getattr(card, "columns", ()), *getattr(card, "series", ())):
        yield part.title


def headings(card: Card) -> Iterator[str]:
    yield card.title
    for part in (*getattr(card, "columns", ()), *getattr(card, "series", ())):
        yield part.title


def help_texts(command: object, name: str) -> Iterator[tuple[str, str]]:
    shown = [getattr(command, "help", "") or ""]
    shown += [getattr(parameter, "help", "") or "" for parameter in getattr(command, "params", ())]
    yield name, "\n".join(shown)
    for below, one in getattr(command, "commands", {}).items():
        yield from help_texts(one, f"{name} {below}")


def readable() -> dict[str, str]:
    """What people read, by where it is."""
    found = {}
    for path in DASHBOARDS:
        dashboard = load(path)
        texts = chain([dashboard.title, dashboard.description], *(texts_of(card) for card in dashboard.cards))
        found[path.name] = "\n".join(texts)
    for path in RULES:
        rule = load_rule(path)
        found[path.name] = "\n".join((rule.title, rule.message, rule.runbook))
    found |= dict(help_texts(typer.main.get_command(app), "insights"))
    found |= {str(path.relative_to(PROJECT)): path.read_text() for path in DOCUMENTS}
    found["docs/glossary.md"] = TERMS
    return found


def singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word if word.endswith(("is", "us")) or len(word) < 3 else word.removesuffix("s")


def words_of(text: str) -> set[str]:
    return {singular(word) for word in re.findall(r"[a-z]+", text.lower())}


def column_words() -> set[str]:
    """Of all columns of aggregates and marts, which a heading may name as they are."""
    names = [
        name
        for path in (PROJECT / "aggregates").glob("*/aggregate.toml")
        for name in re.findall(r"^(\w+) = \{", path.read_text(), re.MULTILINE)
    ]
    for path in (PROJECT / "dbt" / "models" / "marts").rglob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", ()):
            names += [column["name"] for column in model.get("columns", ())]
    return set().union(*(words_of(name.replace("_", " ")) for name in names))


def test_a_term_stands_once_and_is_explained_in_one_sentence() -> None:
    terms = [term for term, _, _ in ROWS]
    assert len(ROWS) > 60
    assert [term for term in terms if terms.count(term) > 1] == []
    assert [meaning for _, meaning, _ in ROWS if not re.fullmatch(r"[^.]+(\.\d[^.]*)*\.", meaning)] == []


@pytest.fixture(scope="module")
def code() -> str:
    folders = ("aggregates", "alerts", "dashboards", "dbt", "flink", "insights", "reconciliation", "replay", "schemas")
    kinds = {".py", ".yaml", ".yml", ".sql", ".toml", ".avsc"}
    paths = [path for folder in (*folders, "warehouse") for path in (PROJECT / folder).rglob("*")]
    return "\n".join(path.read_text() for path in paths if path.suffix in kinds)


def test_the_name_of_a_term_is_in_the_code(code: str) -> None:
    missing = []
    for term, _, names in ROWS:
        for name in re.findall(r"`([^`]+)`", names):
            module = PROJECT / f"{name.replace('.', '/')}.py"
            there = module.exists() or ("/" in name and any(PROJECT.glob(name.rstrip("/"))))
            # `marts.rfm` is a model's file, `ops.finality.watermark` a column, INSIGHTS_HORIZON_HOURS a setting.
            plain = name.split(" ")[-1].removeprefix("INSIGHTS_").rpartition(".")[2]
            if not (there or plain in code or plain.lower() in code):
                missing.append((term, name))
    assert missing == []


@pytest.mark.parametrize(("old", "new"), WORDS, ids=[old for old, _ in WORDS])
def test_a_retired_word_is_not_used(old: str, new: str) -> None:
    pattern = re.compile(rf"\b{re.escape(old)}\b", re.IGNORECASE)
    used = [where for where, text in readable().items() if pattern.search(" ".join(text.split()))]
    assert used == [], f"write {new!r} instead of {old!r}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=[path.stem for path in DASHBOARDS])
def test_the_headings_of_a_dashboard_are_terms_or_names_of_columns(path: Path) -> None:
    known = words_of(" ".join(term for term, _, _ in ROWS)) | column_words() | PLAIN
    unknown = {
        (card.id, heading, *sorted(words_of(heading) - known))
        for card in load(path).cards
        for heading in headings(card)
        if words_of(heading) - known
    }
    assert unknown == set(), "add the term to docs/glossary.md, or use one that is there"
