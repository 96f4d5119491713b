"""The DAGs, as the Airflow that is locked reads them, and the commands that they call."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from insights.cli.main import app
from insights.settings import PROJECT
from producers.main import app as producers_app
from tests.airflow.own_airflow import BIN, DAGS, run_airflow

pytestmark = pytest.mark.engine
DESCRIBES = Path(__file__).with_name("described.py")
DOCUMENT = (PROJECT / "docs" / "airflow.md").read_text()
# It notes what it was given, says something, and ends as it was told to.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$2" >> "$(dirname "$0")/heard"
echo "insights: the end"
case $2 in exit*|exec*|kill*) eval "$2" ;; esac
"""
FACES = {"var.value.insights_shop_url": "https://shop.example", "params.day": "2026-11-08", "params.customer": "a-1"}
NAMES = ("scrape", "marts", "late_events", "verification", "agreement", "lake", "erasure")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    """What Airflow says of the folder, and of a task that ends in every way."""
    stand_in = folder / "insights"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    done = run_airflow(folder, "python", str(DESCRIBES), str(DAGS), str(stand_in))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_airflow_reads_the_folder_without_an_error_and_finds_seven_dags(seen: dict[str, Any]) -> None:
    assert seen["errors"] == {}
    assert seen["stored"] == sorted(f"insights_{name}" for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_dag_is_one_task_that_never_runs_twice_at_once_nor_for_the_past(seen: dict[str, Any], name: str) -> None:
    dag = seen["dags"][f"insights_{name}"]
    assert (dag["task"], dag["owner"], dag["zone"]) == (name, "insights", "UTC")
    assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
    assert (dag["retries"], dag["waits"]) == (5, [60.0, 2, 1800.0])
    assert 0 < dag["seconds"] <= 3 * 3600
    assert dag["on_failure"] == ["say_what_to_do"]


def test_only_an_erasure_waits_to_be_asked_for_and_whom_it_erases_has_no_default(seen: dict[str, Any]) -> None:
    unscheduled = {name for name, dag in seen["dags"].items() if dag["schedule"] is None}
    assert unscheduled == {"insights_erasure"}
    asked = seen["dags"]["insights_erasure"]["params"]["customer"]
    assert "default" not in asked
    fits = {text: bool(re.search(asked["pattern"], text)) for text in ("bikes-17", "a b", "anna@example.com", "--yes")}
    assert fits == {"bikes-17": True, "a b": True, "anna@example.com": False, "--yes": False}


def test_the_document_has_each_dag_with_its_schedule_and_its_command(seen: dict[str, Any]) -> None:
    rows = re.findall(
        r"^\| `(insights_\w+)` \| (?:`([^`]+)`|on request) \| `insights ([^`]+)` \|", DOCUMENT, re.MULTILINE
    )
    assert {name: (schedule or None) for name, schedule, _ in rows} == {
        name: dag["schedule"] for name, dag in seen["dags"].items()
    }
    for name, _, command in rows:
        arguments = [argument for argument in seen["dags"][name]["arguments"] if argument != "--"]
        words = [re.sub(r"\{\{.*?\}\}", "…", argument) for argument in arguments]
        assert re.sub(r"\b[A-Z]{3,}\b", "…", command).split() == words, name


@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_a_dag_calls_exists_with_its_options(seen: dict[str, Any], name: str) -> None:
    arguments = [filled(argument) for argument in seen["dags"][f"insights_{name}"]["arguments"]]
    command: click.Command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    if command.name == "produce":
        command = typer.main.get_command(producers_app)
    context = command.make_context(command.name, arguments)  # reads them as the command would, and runs nothing
    assert context.params


def filled(argument: str) -> str:
    found = re.sub(r"\{\{ (.*?) \}\}", lambda template: FACES[template[1]], argument)
    assert "{" not in found
    return found


def test_a_code_says_whether_a_task_has_succeeded_is_tried_again_or_has_failed(seen: dict[str, Any]) -> None:
    raised = {says: kind for says, (kind, _) in seen["endings"].items() if says.startswith(("exit", "kill"))}
    assert raised == {
        "exit 0": "",
        "exit 1": "AirflowFailException",
        "exit 3": "AirflowFailException",
        "exit 75": "AirflowException",
        "exit 143": "AirflowException",
        "kill -TERM $$": "AirflowException",
    }
    assert seen["endings"]["exit 1"][1] == "`insights says 'exit 1'` ended with code 1: insights: the end"


def test_a_task_that_is_stopped_ends_its_command_and_may_be_tried_again(seen: dict[str, Any]) -> None:
    kind, said = seen["endings"]["stopped"]
    assert (kind, "ended with code -15" in said) == ("AirflowException", True), said


def test_an_argument_reaches_the_command_as_it_is_whatever_is_in_it(seen: dict[str, Any], folder: Path) -> None:
    (odd,) = [says for says in seen["endings"] if says.startswith(";")]
    assert f"{odd}\n" in (folder / "heard").read_text()


def test_the_folder_hides_no_airflow_and_is_none(folder: Path) -> None:
    """From the project's own folder too, where Python looks for modules first."""
    where = "import importlib.util; print(importlib.util.find_spec('airflow').origin)"
    real, ours = (
        subprocess.run([python, "-c", where], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
        for python in (str(BIN / "python"), sys.executable)
    )
    assert Path(real).is_relative_to(BIN.parent)
    assert ours == "None", "a folder without a module, in which nothing can be found"
