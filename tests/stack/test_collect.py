"""``insights collect``, and the collector as a part of the stack."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from insights.cli.main import app
from insights.settings import Settings
from insights.stack.composition import Part, UpPlan, everything
from producers.collect import keys
from producers.demo_shop.__main__ import KEY, tracker
from tests.conftest import environment_of

RUNNER = CliRunner()


@pytest.fixture
def settings(tmp_path: Path, apart: Callable[..., Settings]) -> Settings:
    return apart(tmp_path / "home")


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: RUNNER.invoke(app, ["collect", *arguments])


def test_a_key_is_made_shown_and_removed(run: Callable[..., Result], settings: Settings) -> None:
    assert "No shop sends web events" in run("list").stdout
    added = run("add", "bikes", "--origin", "https://bikes.example/")
    assert added.exit_code == 0, added.output
    (key,) = keys.listed(settings.producers_dir)
    assert f'src="{settings.collect_url}/v1/tracker.js" data-key="{key.key}"' in added.stdout
    listed = run("list").stdout
    assert re.search(rf"bikes +0 +0 +0 +{key.key} +https://bikes.example", listed)
    assert run("remove", "bikes").exit_code == 0
    gone = run("remove", "bikes")
    assert (gone.exit_code, "there is no key named 'bikes'" in gone.stderr) == (1, True)


@pytest.mark.parametrize("plan", [UpPlan(), replace(UpPlan(), connected=True)], ids=["synthetic", "connected"])
def test_the_stack_collects_whichever_shop_it_has(settings: Settings, plan: UpPlan) -> None:
    parts = {part.name: part for part in everything(settings, plan) if isinstance(part, Part)}
    assert str(settings.collect_port) in parts["collect"].command
    assert parts["collect"].endpoint == f"{settings.collect_url}/health"
    assert "shop" not in parts or settings.collect_url in parts["shop"].command


def test_the_demo_shop_keeps_its_key_until_it_stands_elsewhere(tmp_path: Path) -> None:
    first = tracker(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:2")
    assert first == tracker(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:2")
    assert first.script == "http://127.0.0.1:1/v1/tracker.js"
    moved = tracker(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:3")
    assert [(key.name, key.key, key.origins) for key in keys.listed(tmp_path)] == [
        (KEY, moved.key, {"http://127.0.0.1:3"})
    ]
