"""An addition has at most two places: each recipe of CONTRIBUTING.md is carried out in a copy of the project.

The copy gets what the recipes' blocks of code hold and what `make format` writes. A recipe must name every place that
its addition has, so each is checked by what would find a place missing: the loading of the whole, dbt's parser, the
scripts of `make check`, and the tests in the copy that go by lists.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
LINKED = (".venv", ".venv-dbt")
# Tests that go over all of something, and which of them: those have something to say of an addition.
BY_LISTS = {
    "tests/schemas/test_contracts.py": "test_contracts and ticket",
    "tests/aggregates/test_duckdb.py": "test_duckdb and tickets_per_hour",
    "tests/aggregates/test_examples.py": "tickets_per_hour and (oracle or has_an_example)",
    "tests/stack/test_command_line.py": "help_lists_the_sources",
    "tests/producers/test_runner.py": "every_source_names",
    "tests/marts/test_project.py": "test_project",
    "tests/marts/test_oracle.py": "grain",
    "tests/web/test_dashboard_files.py": "every_dashboard_here",
    "tests/alerts/test_rule_files.py": "shipped_is_right",
    "tests/alerts/test_shipped_rules.py": "every_rule_fires",
}
GENERATED = {"dbt/models/sources.yml", "dbt/models/exposures.yml"}
KINDS = ("event", "aggregate", "source", "mart", "card", "alert")
CHECK_GENERATED = ("-m", "insights", "dbt", "sources", "--check")
FORMAT = CHECK_GENERATED[:-1]
EVENT = """
from schemas.catalogue import event
e = event("support.ticket_opened")
print(e.topic, e.partitions, e.freshness.title, e.freshness.place)
"""
PART = """
from insights.settings import Settings
from insights.stack.composition import UpPlan, daemons
(part,) = [part for part in daemons(Settings(), UpPlan()) if part.name == "tickets"]
print(part.name, part.endpoint, *part.command[-2:])
"""
PUBLISHED = """
from dataclasses import replace
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.codec import Encoder
stop, tickets = Stop(), source("tickets")
class Once(Run):
    def publish(self, event, record):
        print(event.name, bool(Encoder(event, 1).encode(record)))
        stop.request()
tickets.run(Once(source=tickets, options=Options(rate=1000), publisher=None, stop=stop, log=None))
"""
CARD = """
from pathlib import Path
from dashboards.model import load
board = load(Path("dashboards/sales_overview.yaml"))
(card,) = [card for card in board.cards if card.id == "tickets"]
print(*board.relations(card))
"""
# Where a block goes in a file that is there: before this text, or else at the end.
BEFORE = {
    "producers/sources.py": ")\n\n\ndef source(",
    "tests/alerts/test_shipped_rules.py": "def test_every_rule_fires_in_one_of_these_tests(",
}
PATH = re.compile(r"`((?:[\w.]+/)+[\w.]+\.\w+)`")
BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The project's files in a folder of their own."""

    folder: Path

    def run(self, *arguments: str) -> str:
        """The output of a Python program of the copy. Fails when that ends with another code than 0."""
        done = self.ran(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ran(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        of_no_worker = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**of_no_worker, "INSIGHTS_HOME": str(self.folder / ".insights"), "COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=False,
        )

    def tests(self, *arguments: str) -> str:
        """Tests of the copy, in a process of their own."""
        return self.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *arguments)

    def contents(self) -> dict[str, bytes]:
        files = (p for p in self.folder.rglob("*") if p.is_file() and not p.is_symlink())
        names = ((p.relative_to(self.folder).as_posix(), p) for p in files if "__pycache__" not in p.parts)
        return {name: p.read_bytes() for name, p in names if not name.startswith((".insights/", "test-results/"))}


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """Path and text of each block of code in a recipe: the path is the last that is named before it."""
    (recipe,) = re.findall(rf"^### Add an? {kind}\b.*?(?=^##)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    end = 0
    for block in BLOCK.finditer(recipe):
        if named := PATH.findall(recipe[end : block.start()]):
            yield named[-1], block[1]
        end = block.end()


def add(copy: Copy, kind: str) -> None:
    """Carries out one recipe."""
    for name, text in blocks(kind):
        path = copy.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(put_in(name, path.read_text(), text) if path.exists() else text)


def put_in(name: str, there: str, text: str) -> str:
    if before := BEFORE.get(name):
        assert there.count(before) == 1, name
        gap = "\n\n" if text.startswith("def ") else ""
        return there.replace(before, text + gap + before)
    return there + ("\n\n" if name.endswith(".py") else "\n") + text


def places(was: Mapping[str, bytes], now: Mapping[str, bytes]) -> set[str]:
    """What somebody wrote: an aggregate's folder is one place, and so is a mart's query with its description."""
    touched = {name for name in now if was.get(name) != now[name]} - GENERATED
    assert was.keys() <= now.keys()
    found = {re.sub(r"^(aggregates/\w+)/.*", r"\1", name) for name in touched}
    return {re.sub(r"^(dbt/models/.*)\.(sql|yml)$", r"\1", name) for name in found}


def stated() -> dict[str, int]:
    """The table's numbers."""
    return {kind: int(number) for kind, number in re.findall(r"^\| (\w+) \| (\d) \|", CONTRIBUTING, re.MULTILINE)}


def copied(folder: Path) -> Copy:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return Copy(folder=folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A copy with every addition. ``outdated``: what `make check` reported before `make format` wrote its files."""

    copy: Copy
    places: Mapping[str, set[str]]
    outdated: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Added:
    copy = copied(tmp_path_factory.mktemp("additions"))
    found, was = {}, copy.contents()
    for kind in KINDS:
        add(copy, kind)
        now = copy.contents()
        found[kind] = places(was, now)
        was = now
    outdated = copy.ran(*CHECK_GENERATED)
    copy.run(*FORMAT)
    return Added(copy=copy, places=found, outdated=outdated)


def test_each_addition_has_the_places_that_the_table_states_and_two_at_most(added: Added) -> None:
    assert {kind: len(there) for kind, there in added.places.items()} == stated(), added.places
    assert max(stated().values()) == 2


def test_what_is_written_from_an_addition_is_missed_by_make_check_and_written_by_make_format(added: Added) -> None:
    assert added.outdated.returncode == 1
    assert all(name in added.outdated.stdout for name in GENERATED), added.outdated.stdout
    assert added.copy.run(*CHECK_GENERATED) == ""
    makefile = (ROOT / "Makefile").read_text()
    assert "insights dbt sources --check" in makefile
    assert "insights dbt sources > /dev/null" in makefile


def test_what_the_recipes_add_is_as_make_check_wants_it(added: Added) -> None:
    changed = [name for there in added.places.values() for name in there if name.endswith(".py")]
    assert len(changed) == 5
    added.copy.run("-m", "ruff", "check", "--no-cache", *changed)
    added.copy.run("-m", "ruff", "format", "--no-cache", "--check", *changed)
    added.copy.run("-m", "yamllint", "--strict", "alerts", "dashboards")


def test_what_goes_by_lists_finds_nothing_missing(added: Added) -> None:
    """One run for all of them: most of such a run is its start."""
    said = added.copy.tests(*BY_LISTS, "-rp", "-k", " or ".join(BY_LISTS.values()))
    assert [path for path in BY_LISTS if f"PASSED {path}::" not in said] == []


def test_an_event_is_whole(added: Added) -> None:
    assert added.copy.run("-c", EVENT) == "support.ticket_opened.v1 2 Support 10\n"


def test_an_aggregate_is_whole(added: Added) -> None:
    assert "0 violations" in added.copy.run(".ci/lint_sql.py", "aggregates/tickets_per_hour")


def test_the_stack_runs_a_source(added: Added) -> None:
    assert added.copy.run("-c", PART) == "tickets http://127.0.0.1:19410/metrics --rate 0.1\n"
    assert added.copy.run("-c", PUBLISHED) == "support.ticket_opened True\n"


def test_a_card_reads_what_its_sql_names(added: Added) -> None:
    assert added.copy.run("-c", CARD) == "live.tickets_per_hour\n"
