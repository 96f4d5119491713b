"""A stack in the foreground, and one that stands still for a backup: who brings what up again."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import psutil
import pytest

from insights.settings import Settings
from insights.stack import attended
from insights.stack.composition import UpPlan
from insights.stack.control import Step
from schemas.errors import Misconfigured
from tests.conftest import own_settings, wait_until

PLAN = UpPlan(daemons=False)


class Played:
    """What starts and stops a stack, noted; the real one takes a minute."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs, self.done = False, list[str]()
        settings.run_dir.mkdir(parents=True)
        plan = {**dict.fromkeys(UpPlan.__dataclass_fields__), "daemons": False, "connected": False}
        (settings.run_dir / "config.json").write_text(json.dumps({"plan": plan}))
        monkeypatch.setattr(attended, "up", lambda *_: self._note("up", runs=True))
        monkeypatch.setattr(attended, "down", lambda *_: self._note("down", runs=False))
        monkeypatch.setattr(attended, "supervisor_process", lambda _: psutil.Process() if self.runs else None)

    def _note(self, what: str, *, runs: bool) -> None:
        self.done.append(what)
        self.runs = runs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return own_settings(tmp_path / "home")


@pytest.fixture
def played(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(settings, monkeypatch)


def quiet(step: Step) -> None:
    del step


def test_a_running_stack_is_down_for_the_pause_and_up_after_it_also_when_what_was_done_failed(
    settings: Settings, played: Played
) -> None:
    played.runs = True

    def backup() -> None:
        with attended.paused(settings, quiet):
            assert not played.runs
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        backup()
    assert (played.done, played.runs) == (["down", "up"], True)


def test_a_stack_that_did_not_run_does_not_run_after_a_pause_either(settings: Settings, played: Played) -> None:
    with attended.paused(settings, quiet):
        pass
    assert played.done == []


def test_two_do_not_pause_one_stack_at_once(settings: Settings, played: Played) -> None:
    with (
        attended.paused(settings, quiet),
        pytest.raises(Misconfigured, match="stands still for another backup"),
        attended.paused(settings, quiet),
    ):
        pass
    assert played.done == []


def test_the_process_that_has_it_in_the_foreground_brings_it_up_again_and_ends_when_it_is_taken_down(
    settings: Settings, played: Played
) -> None:
    seen: list[bool] = []

    def backup_and_down() -> None:
        wait_until(lambda: (settings.run_dir / attended.FOREGROUND).exists())
        with attended.paused(settings, quiet):
            seen.append(played.runs)
        seen.append(played.runs)
        played.runs = False  # as after `insights down`

    other = threading.Thread(target=backup_and_down)
    other.start()
    attended.stay(settings, PLAN, quiet)
    other.join()
    assert seen == [False, True]
    # Up by itself, down for the backup, up again by itself, left alone by who paused it, and down at the end.
    assert played.done == ["up", "down", "up", "up", "down"]
    assert json.loads((settings.run_dir / attended.FOREGROUND).read_text())["pid"] == os.getpid()
