"""Bodies checked by the vendor's own command line, as ``make test`` installs it."""

from __future__ import annotations

import json
import os
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboards.metabase.render import render
from dashboards.metabase.validate import ENVIRONMENT, Request, ValidatorMissing, own_problems, refusals, requests
from dashboards.model import load
from insights.cli import dashboard_commands as commands
from insights.cli.dashboard_commands import HERE, VALIDATOR
from insights.cli.main import app
from tests.metabase.folders import a_card, a_dashboard, written

pytestmark = pytest.mark.engine

RENDERED = [render(path.stem, load(path), "EUR") for path in sorted(HERE.glob("*.yaml"))]
ASKED = list(requests(RENDERED))


def one(kind: str) -> Request:
    return next(deepcopy(r) for r in ASKED if r.kind == kind and (kind == "dashboard" or "{{" in json.dumps(r.body)))


def test_every_body_that_would_be_sent_is_well() -> None:
    assert len(ASKED) > 100
    assert own_problems(RENDERED) == []
    assert refusals(VALIDATOR, ASKED) == []


def spoil_tag(body: dict[str, Any]) -> None:
    tags = body["dataset_query"]["stages"][0]["template-tags"]
    next(iter(tags.values()))["type"] = "texxt"


def spoil_filter(body: dict[str, Any]) -> None:
    body["parameters"][0]["type"] = "string/is"


def spoil_dashcard(body: dict[str, Any]) -> None:
    del body["dashcards"][0]["card_id"]


def spoil_settings(body: dict[str, Any]) -> None:
    body["visualization_settings"] = ["scalar"]


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("card", spoil_tag, "/type must be equal to one of the allowed values"),
        ("card", spoil_settings, "/visualization_settings"),
        ("dashboard", spoil_filter, "/parameters/0/type"),
        ("dashboard", spoil_dashcard, "/dashcards/0/card_id"),
    ],
)
def test_a_body_with_a_mistake_is_refused_by_name_and_place(kind: str, spoil: Any, said: str) -> None:
    well, spoiled = one(kind), one(kind)
    spoil(spoiled.body)
    (problem,) = refusals(VALIDATOR, [well, spoiled, well])
    assert problem.startswith(f"{kind} {spoiled.name}: ")
    assert said in problem


@pytest.mark.parametrize("is_well", [True, False])
def test_many_calls_in_one_process_give_the_same_answers_as_separate_ones(tmp_path: Path, is_well: bool) -> None:
    asked = one("card")
    if not is_well:
        spoil_tag(asked.body)
    (tmp_path / "body.json").write_text(json.dumps(asked.body))
    alone = subprocess.run(
        [VALIDATOR / "mb", "card", "create", "--file", tmp_path / "body.json", "--json"],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert bool(refusals(VALIDATOR, [asked])) is not is_well
    assert json.loads(alone.stderr)["error"]["category"] == ("network" if is_well else "config")
    if not is_well:
        assert json.loads(alone.stdout)["errors"][0]["path"] in refusals(VALIDATOR, [asked])[0]


def test_without_the_vendors_command_line_it_reports_that_nothing_was_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidatorMissing, match="nothing was validated"):
        refusals(tmp_path, ASKED[:1])
    monkeypatch.setattr(commands, "VALIDATOR", tmp_path)
    done = CliRunner().invoke(app, ["dashboards", "validate"])
    assert done.exit_code == 1
    assert "`python3 bootstrap.py metabase` installs it" in done.stderr


def test_a_command_line_that_ends_early_is_no_yes(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "node").chmod(0o755)
    with pytest.raises(ValidatorMissing, match="validation is incomplete"):
        refusals(tmp_path, ASKED[:2])


def test_the_command_counts_valid_objects_and_fails_for_an_invalid_one(tmp_path: Path) -> None:
    written(tmp_path / "well", sales=a_dashboard(a_card("orders")))
    done = CliRunner().invoke(app, ["dashboards", "validate", "--folder", str(tmp_path / "well")])
    assert (done.exit_code, done.output.strip()) == (0, "Dashboards: 1, cards: 1. All valid by Metabase's schemas.")
    column = {"column": "name", "title": "Name", "sets": "region", "opens": "nowhere"}
    written(tmp_path / "ill", sales=a_dashboard(a_card("orders", kind="table", sql="select 1", columns=[column])))
    done = CliRunner().invoke(app, ["dashboards", "validate", "--folder", str(tmp_path / "ill")])
    assert done.exit_code == 1
    assert "opens nowhere, and there is no such dashboard" in done.stderr
