"""On stderr, and in the log of a part, is our text only: no library's messages to its own authors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from insights.settings import PROJECT, Settings
from tests.conftest import environment_of, own_settings


def ran(arguments: list[str], settings: Settings, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as one types it who is no user of a desktop: without XDG_RUNTIME_DIR."""
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    return subprocess.run(
        [sys.executable, "-m", "insights", *arguments],
        env={**environment, **environment_of(settings), "PYTHONPATH": str(PROJECT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        ("--help", ()),
        ("status", ()),
        ("status --json", ("Postgres at", "Kafka at", "Flink at")),
        ("doctor", ()),
        ("schemas list", ()),
        ("flink list", ("insights: ",)),
        ("replay list", ("insights: ",)),
        ("alerts list", ("insights: ",)),
        ("produce shop --max-events 1", ("insights produce: ", '{"')),
    ],
)
def test_a_command_prints_only_our_text_where_nothing_runs(
    command: str, begins: tuple[str, ...], tmp_path: Path
) -> None:
    said = ran(command.split(), own_settings(tmp_path / "home"), tmp_path).stderr.splitlines()
    assert [line for line in said if not line.startswith(begins)] == []


@pytest.mark.parametrize(
    "command", ["status", "status --json", "replay list", "alerts list", "lake list", "schemas list", "flink list"]
)
def test_a_command_is_silent_on_stderr_when_all_is_well(command: str, stack: Settings, tmp_path: Path) -> None:
    assert ran(command.split(), stack, tmp_path).stderr == ""


def test_explain_prints_nothing_but_the_answer(stack: Settings, tmp_path: Path) -> None:
    done = ran(["replay", "explain", "sales_per_minute", "2020-01-01 10:15, EU, wheels"], stack, tmp_path)
    assert (done.stderr, "The events match the live row" in done.stdout) == ("", True)


def test_the_log_of_a_part_has_no_warning_of_a_library(stack: Settings) -> None:
    said = (stack.logs_dir / "supervisor.out").read_text()
    assert "Warning" not in said


@pytest.mark.parametrize("module", ["producers.main", "insights.stack.supervisor", "insights.stack.control", "alerts"])
def test_what_the_stack_starts_loads_without_a_warning(module: str) -> None:
    what = "from schemas.registry import Registry" if module == "producers.main" else "pass"
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}; {what}"], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
