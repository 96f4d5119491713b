"""A rule's file is read into a rule, or refused by file and field."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.rule import RULES, Freshness, load, read_rules
from schemas.errors import Misconfigured
from tests.alerts.made_rules import rule, write


def test_every_rule_that_is_shipped_is_right() -> None:
    read = read_rules()
    assert read.problems == ()
    assert {r.name for r in read.rules} == {path.stem for path in RULES.glob("*.yaml")}
    assert len(read.rules) >= 12


def test_lengths_of_time_are_written_as_people_do(tmp_path: Path) -> None:
    found = rule(tmp_path, every="90s", kind="freshness", limit="2h", remind="1d", **{"for": "10m"})
    assert isinstance(found, Freshness)
    assert (found.every, found.hold) == (timedelta(seconds=90), timedelta(minutes=10))
    assert (found.limit, found.remind) == (timedelta(hours=2), timedelta(days=1))


@pytest.mark.parametrize(
    ("wanted", "hold", "clear"),
    [("0s", 0, 0), ("1 check", 0, 0), ("3 checks", 4, 4), ("10m", 10, 10), ("3h", 180, 10)],
)
def test_a_finding_is_over_when_it_was_gone_as_long_as_it_must_hold_and_ten_minutes_at_most(
    tmp_path: Path, wanted: str, hold: int, clear: int
) -> None:
    found = rule(tmp_path, every="2m", **{"for": wanted})
    assert (found.hold, found.clear) == (timedelta(minutes=hold), timedelta(minutes=clear))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"titel": "x"}, "field titel: is not a field here; remove it or fix its spelling"),
        ({"title": None}, "field title: is missing; add it"),
        ({"kind": "treshold"}, "field kind: is one of empty, threshold, freshness"),
        ({"kind": None}, "field kind: is one of empty, threshold, freshness"),
        ({"kind": "threshold"}, "has no limit: add 'above' or 'below'"),
        ({"kind": "freshness"}, "field limit: is missing; add it"),
        ({"kind": "freshness", "limit": "soon"}, "field limit: 'soon' is not a length of time"),
        ({"every": "often"}, "field every: 'often' is not a length of time; write 90s, 10m, 2h, 3d or 1d12h"),
        ({"every": "0s"}, "field every: is zero; write at least 1s"),
        ({"for": "long"}, "field for: 'long' is not a length of time; write 90s, 10m, 2h, 3d or 1d12h, or 3 checks"),
        ({"severity": "loud"}, "field severity: input should be 'critical', 'warning' or 'info', and it is 'loud'"),
        ({"channels": ["pager"]}, "field channels.0: input should be 'webhook', 'slack' or 'email'"),
        ({"sql": "delete from shelves"}, "field sql: is not a query: it must start with 'with' or 'select'"),
        ({"sql": "select 1; select 2"}, "field sql: has a semicolon"),
        ({"sql": "select {{today}}"}, "field sql: {{today}} is not defined; use {{now}}"),
        ({"message": "{label"}, "field message: can't be read"),
        ({"message": "{label.upper}"}, "field message: {label.upper} is not a column name"),
        ({"message": "{}"}, "field message: {} is not a column name"),
        ({"hold": "3m"}, "field hold: is not a field here"),
    ],
)
def test_a_mistake_is_reported_with_file_and_field(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    path = write(tmp_path, **words)
    with pytest.raises(Misconfigured) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_name_inside_of_the_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(f"{path.read_text()}name: other\n")
    with pytest.raises(Misconfigured, match="field name: a rule is named after its file; remove it"):
        load(path)


def test_all_mistakes_of_all_files_are_reported_and_the_other_rules_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "one", titel="x", every="often")
    write(tmp_path, "two", message="{")
    write(tmp_path, "three")
    (tmp_path / "four.yaml").write_text("title: [")
    (tmp_path / "five.yaml").write_text("- title")
    read = read_rules(tmp_path)
    assert [r.name for r in read.rules] == ["three"]
    assert len(read.problems) == 5
    assert {Path(problem.split(": ")[0]).stem for problem in read.problems} == {"one", "two", "four", "five"}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = read_rules(tmp_path / "none").problems
    assert str(tmp_path / "none") in problem
