from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from insights.cli.main import app, check_is_data_folder, up_plan
from insights.settings import PROJECT, Settings, load_settings
from producers.sources import SOURCES
from schemas.catalogue import avro_events
from schemas.errors import Misconfigured

RUNNER = CliRunner()
HISTORY = {"rate": None, "seed": None, "daemons": True}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path
    for name, child in children.items():
        yield from commands(child, (*path, name))


ALL = list(commands(typer.main.get_command(app)))
GROUPS = sorted({path[:1] for path in ALL if len(path) > 1})


def test_the_commands_are_those_of_the_readme() -> None:
    assert {" ".join(path) for path in ALL} == {
        *("up", "down", "clean", "status", "doctor", "serve", "logs", "produce"),
        *("dead-letters list", "dead-letters show", "dead-letters stats"),
        *("dead-letters redrive", "dead-letters check-recipe"),
        *("schemas check", "schemas register", "schemas list"),
        *("lake maintain", "lake list", "lake publish"),
        *("dashboards apply", "dashboards diff", "dashboards validate", "dbt build", "dbt docs", "dbt sources"),
        *("replay plan", "replay run", "replay verify", "replay promote", "replay rollback", "replay prune"),
        *("replay list", "replay show", "replay explain", "replay late", "replay cancel"),
        *("replay check-day", "audit check", "audit export", "audit key", "audit new-key"),
        *("privacy erase", "privacy export", "privacy requests"),
        *("alerts check", "alerts list", "alerts test", "export tableau"),
        *("collect add", "collect list", "collect remove"),
        *("connect csv", "connect shopify", "connect woocommerce", "connect list", "connect remove", "connect zone"),
        *("page share", "page shares", "page unshare", "page user add", "page user list", "page user remove"),
        "agree",
        *("deploy plan", "deploy apply", "deploy status", "deploy rollback"),
        *("time-zone", "sales-by", "upgrade", "backup", "restore", "backup-key", "systemd-unit"),
        *("flink submit", "flink list", "flink stop", "flink savepoint"),
    }


@pytest.mark.parametrize("path", [(), *GROUPS, *ALL], ids=lambda path: " ".join(path) or "insights")
def test_a_command_helps_with_an_example(path: tuple[str, ...]) -> None:
    shown = RUNNER.invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert f"Example: insights {' '.join(path)}" in shown.output


@pytest.mark.parametrize("path", [(), *GROUPS, *ALL], ids=lambda path: " ".join(path) or "insights")
def test_help_is_whole_at_80_columns(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = RUNNER.invoke(app, [*path, "--help"])
    assert max(len(line) for line in shown.output.splitlines()) <= 80
    assert "…" not in shown.output  # where a line is cut


def test_help_lists_the_sources_and_what_they_are() -> None:
    shown = RUNNER.invoke(app, ["produce", "--help"]).output
    for source in SOURCES:
        assert re.search(rf"^ +{source.name} +{re.escape(source.summary)} *$", shown, re.MULTILINE)


def test_help_names_the_defaults_and_the_variables_that_set_them() -> None:
    shown = " ".join(RUNNER.invoke(app, ["up", "--help"], env={"COLUMNS": "300"}).output.split())
    for default in ("INSIGHTS_HISTORY, or 63d.", "INSIGHTS_RATE, or 0.3.", "INSIGHTS_SEED, or 1."):
        assert f"Default: {default}" in shown


def one_paragraph(text: str) -> str:
    assert "Traceback" not in text
    assert text.startswith("insights: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["logs", "nosuchpart"], 1, "nosuchpart"),
        (["flink", "list"], 75, "JobManager"),
        (["flink", "savepoint"], 75, "JobManager"),
        (["schemas", "register"], 75, "registry"),
        (["up", "--mapping", "columns.toml"], 1, "--history FILE"),
        (["up", "--history", "yesterday"], 1, "12h"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_goes_wrong_is_one_readable_paragraph(
    arguments: list[str], code: int, says: str, apart: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(apart(tmp_path / "home")).items():
        monkeypatch.setenv(name, value)
    shown = RUNNER.invoke(app, arguments)
    assert shown.exit_code == code
    assert says in one_paragraph(shown.stderr)


def test_the_contracts_are_listed_while_the_registry_is_away(
    apart: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(apart(tmp_path / "home")).items():
        monkeypatch.setenv(name, value)
    shown = RUNNER.invoke(app, ["schemas", "list"])
    assert shown.exit_code == 0
    assert "sales.order_placed.v1" in shown.stdout
    assert "unreachable" in shown.stdout


def environment(settings: Settings) -> dict[str, str]:
    return {"INSIGHTS_HOME": str(settings.home)} | {
        Settings.variable(name): str(port) for name, port in settings.ports().items()
    }


def test_a_wrong_setting_is_named_as_the_variable_that_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTS_KAFKA_PORT", "many")
    shown = RUNNER.invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "INSIGHTS_KAFKA_PORT=many" in one_paragraph(shown.stderr)


def test_more_parts_of_the_job_than_partitions_are_refused_with_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    most = min(e.partitions for e in avro_events())
    monkeypatch.setenv("INSIGHTS_PARALLELISM", str(most))
    assert load_settings().parallelism == most
    monkeypatch.setenv("INSIGHTS_PARALLELISM", str(most + 1))
    with pytest.raises(Misconfigured, match=rf"INSIGHTS_PARALLELISM={most + 1}: .*at most {most}"):
        load_settings()


def test_settings_are_read_without_any_contract() -> None:
    """A contract that can't be read must be a command's own error, not every command's."""
    broken = (
        "import schemas.catalogue as c; c.events = None; from insights.settings import load_settings; load_settings()"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_home_that_is_no_folder_is_named(below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("INSIGHTS_HOME", f"{tmp_path}/file{below}")
    shown = RUNNER.invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert f"{tmp_path}/file is not a folder" in one_paragraph(shown.stderr)


@pytest.mark.parametrize("option", ["--from-file", "--mapping", "--url", "--product-path", "--every"])
def test_an_option_of_another_source_is_refused(option: str) -> None:
    shown = RUNNER.invoke(app, ["produce", "clickstream", option, "1h"])
    assert shown.exit_code == 1
    assert f"{option} only applies to the source" in shown.stderr


def test_debug_lets_the_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTS_KAFKA_PORT", "many")
    assert isinstance(RUNNER.invoke(app, ["--debug", "doctor"]).exception, Misconfigured)


def test_a_defect_is_one_paragraph_too() -> None:
    broken = "import insights.cli.main as cli; cli.load_settings = lambda: 1 // 0; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", broken, "doctor"], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in one_paragraph(done.stderr)


def test_the_doctor_ends_with_a_verdict(apart: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(apart(tmp_path / "home")).items():
        monkeypatch.setenv(name, value)
    assert RUNNER.invoke(app, ["doctor"]).output.splitlines()[-1].startswith("This machine can run the stack")
    monkeypatch.setenv("INSIGHTS_MIN_DISK_GB", "1e6")
    unfit = RUNNER.invoke(app, ["doctor"])
    assert unfit.exit_code == 1
    assert unfit.output.splitlines()[-1].startswith("This machine can't run the stack")


def test_status_of_a_stack_that_is_down_shows_what_is_away(
    apart: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(apart(tmp_path / "home")).items():
        monkeypatch.setenv(name, value)
    shown = RUNNER.invoke(app, ["status", "--json"])
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert all(set(counts.values()) <= {None, 0} for counts in found["topics"].values())
    for part in ("Kafka", "Postgres", "Flink"):
        assert f"{part} at" in shown.stderr


def test_a_history_is_a_length_of_time() -> None:
    assert up_plan("12h", None, **HISTORY).history == "12h"
    assert up_plan("12h", None, **HISTORY).history_file is None


def test_a_history_is_a_file_when_there_is_one(tmp_path: Path) -> None:
    orders, columns = tmp_path / "orders.csv", tmp_path / "columns.toml"
    orders.touch()
    columns.touch()
    plan = up_plan(str(orders), columns, **HISTORY)
    assert (plan.history, plan.history_file, plan.mapping) == (None, orders, columns)


def test_a_history_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"orders\.csv is not a file"):
        up_plan(str(tmp_path / "orders.csv"), tmp_path / "columns.toml", **HISTORY)


@pytest.mark.parametrize("folder", [Path.home(), PROJECT, PROJECT.parent, Path("/")])
def test_clean_does_not_touch_a_folder_that_up_did_not_make(folder: Path) -> None:
    with pytest.raises(Misconfigured, match="INSIGHTS_HOME"):
        check_is_data_folder(folder)


def test_clean_asks_first_and_then_removes_all(apart: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    for name, value in environment(apart(home)).items():
        monkeypatch.setenv(name, value)
    assert RUNNER.invoke(app, ["clean"], input="n\n").exit_code == 1
    assert home.exists()
    assert RUNNER.invoke(app, ["clean"], input="y\n").exit_code == 0
    assert not home.exists()
    assert "nothing to remove" in RUNNER.invoke(app, ["clean"]).output
