"""What the documents refer to exists: links, settings, commands, and the messages that they quote."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from alerts.rule import RULES
from insights.cli.main import app
from insights.settings import PROJECT, Settings

PACKAGES = (
    "aggregates",
    "alerts",
    "dashboards",
    "flink",
    "insights",
    "processes",
    "producers",
    "reconciliation",
    "replay",
    "schemas",
    "warehouse",
)
DOCUMENTS = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((PROJECT / "docs").rglob("*.md"))
IDS = [str(path.relative_to(PROJECT)) for path in DOCUMENTS]
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
QUOTED = re.findall(r"^insights(?: produce)?: (.+)$", OPERATIONS, re.MULTILINE)
SECTIONS = re.split(r"^## ", (PROJECT / "docs" / "runbooks.md").read_text(), flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_a_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


def anchor(heading: str) -> str:
    """Of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_a_link_to_a_heading_leads_to_one(path: Path) -> None:
    missing = []
    for to, heading in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text()):
        if "://" in to or (target := path.parent / to if to else path).suffix != ".md":
            continue
        known = [anchor(each) for each in re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)]
        missing += [] if heading in known else [f"{to}#{heading}"]
    assert missing == []


def test_every_alert_names_a_runbook_and_a_runbook_only_alerts_that_name_it() -> None:
    names = {path.stem: re.findall(r"docs/runbooks\.md#([\w-]+)", path.read_text()) for path in RULES.glob("*.yaml")}
    listed: dict[str, set[str]] = {}
    for text in SECTIONS:
        lines = re.findall(r"^Alerts?: (.+)\.$", text, re.MULTILINE)
        listed[anchor(text.partition("\n")[0])] = set(re.findall(r"`(\w+)`", " ".join(lines)))
    assert {rule: found for rule, found in names.items() if len(found) != 1 or found[0] not in listed} == {}
    assert {name for section in listed for name in listed[section] if names.get(name) != [section]} == set()
    assert len(set.union(*listed.values())) > 20


def test_each_runbook_says_what_is_seen_what_it_means_what_to_do_and_when_it_is_well() -> None:
    parts = ("**Seen:**", "**Means:**", "**Well again:**")
    assert len(SECTIONS) > 15
    assert [text.partition("\n")[0] for text in SECTIONS if any(text.count(part) != 1 for part in parts)] == []


def test_a_decision_has_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (PROJECT / "docs" / "decisions").iterdir())
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(INSIGHTS_\w+)` \| ([^|]+) \|", (PROJECT / "README.md").read_text(), re.MULTILINE))
    fields = {Settings.variable(name): field.default for name, field in Settings.model_fields.items()}
    assert rows.keys() == fields.keys()
    plain = {name: default for name, default in fields.items() if isinstance(default, int | float | str)}
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in plain.items()}
    assert {name: rows[name] for name in plain} == {
        n: v.lower() if isinstance(plain[n], bool) else v for n, v in shown.items()
    }


def subcommand(words: list[str]) -> Any:
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands") or word not in command.commands:
            return command
        command = command.commands[word]
    return command


def commands_of(path: Path) -> Iterator[str]:
    """Lines of shell blocks, and of code in the text, that call `insights`."""
    text = path.read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    yield from re.findall(r"^insights (.+)$", blocks, re.MULTILINE)
    yield from re.findall(r"`insights ([^`]+)`", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_a_command_that_is_named_exists_with_its_options(path: Path) -> None:
    unknown = []
    for line in commands_of(path):
        words = [w for w in shlex.split(line, comments=True) if w != "…"]
        command = subcommand(words)
        named = {word for word in words if word.startswith("--")} - {"--help", "--debug"}
        known = {option for parameter in command.params for option in parameter.opts}
        exists = command.name in words or words[:1] in ([], ["--debug"])
        if not exists or (command.name != "produce" and named - known):
            unknown.append(line)
    assert unknown == []


def texts() -> list[str]:
    """Every text in the code, values put into it left out."""
    found = []
    for package in PACKAGES:
        for path in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(" ".join(node.value.split()))
    return found


@pytest.fixture(scope="module")
def code() -> list[str]:
    return texts()


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_that_is_quoted_is_in_the_code(message: str, code: list[str]) -> None:
    pieces = [piece.strip(" .:;()") for piece in re.split(r"…|\. | and (?=…)", message)]
    missing = [piece for piece in pieces if piece and not any(piece in text for text in code)]
    assert missing == []
