"""A request about a person that is closed is closed, whatever else does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from insights.cli.main import app
from insights.settings import Settings
from producers.persons.requests import ask, requests


def test_a_request_is_closed_without_an_error_while_postgres_is_away(
    apart: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = apart(tmp_path / "home")
    settings.producers_dir.mkdir(parents=True)
    ask(settings.producers_dir, "export", "bikes-7", "customers/data_request", 1_000)
    monkeypatch.setattr("insights.cli.privacy_commands.load_settings", lambda: settings)
    monkeypatch.setattr("insights.stack.states.supervisor_process", lambda settings: object())
    (asked,) = requests(settings.producers_dir)
    done = CliRunner().invoke(app, ["privacy", "requests", "--close", str(asked.number)])
    assert done.exit_code == 0, done.output
    assert f"Request {asked.number} is answered." in done.output
    assert "The alerts follow at the next hourly run" in " ".join(done.output.split())
    assert [each.answered_ms is None for each in requests(settings.producers_dir)] == [False]
