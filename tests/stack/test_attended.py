"""A stack in the foreground, and one that stands still for a backup: who brings what up again."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from insights.settings import Settings
from insights.stack import attended, control
from insights.stack.composition import UpPlan
from insights.stack.control import StackNotUp, Step
from insights.stack.states import is_paused
from insights.stack.supervisor import RUNS_LOCK
from schemas.errors import Misconfigured
from tests.conftest import own_settings, wait_until

PLAN = UpPlan(daemons=False)


class Played:
    """What starts and stops a stack, noted; the real one takes a minute."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = list[str]()
        self._file = settings.run_dir / "supervisor.json"
        settings.run_dir.mkdir(parents=True)
        plan = {**dict.fromkeys(UpPlan.__dataclass_fields__), "daemons": False, "connected": False}
        config = {"plan": plan, "settings": settings.model_dump(mode="json")}
        (settings.run_dir / "config.json").write_text(json.dumps(config))
        monkeypatch.setattr(control, "_fetch_jars", lambda *_: None)
        monkeypatch.setattr(control, "everything", lambda *_: [])
        monkeypatch.setattr(control, "refuse_changed_in_place", lambda _: None)
        monkeypatch.setattr(attended, "up", lambda *_: self._note("up", runs=True))
        monkeypatch.setattr(attended, "down", lambda *_: self._note("down", runs=False))
        monkeypatch.setattr(attended, "supervisor_process", lambda _: psutil.Process() if self.runs else None)

    def _note(self, what: str, *, runs: bool) -> None:
        self.done.append(what)
        self.runs = runs

    @property
    def runs(self) -> bool:
        return self._file.exists()

    @runs.setter
    def runs(self, runs: bool) -> None:
        self._file.write_text("{}") if runs else self._file.unlink(missing_ok=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return own_settings(tmp_path / "home")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """`stay` handles SIGTERM for as long as its process lives; pytest's lives on."""
    known = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, known)


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
    assert (played.done, played.runs) == (["down", "down", "up"], True)


def test_a_backup_that_is_asked_to_end_brings_the_stack_up_again(settings: Settings, played: Played) -> None:
    played.runs = True

    def backup() -> None:
        with attended.paused(settings, quiet):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)

    with pytest.raises(KeyboardInterrupt):
        backup()
    assert (played.done, played.runs) == (["down", "down", "up"], True)


def test_nothing_starts_in_a_folder_that_is_being_backed_up(settings: Settings, played: Played) -> None:
    with attended.paused(settings, quiet):
        assert is_paused(settings)
        with pytest.raises(Misconfigured, match="is being backed up"):
            control.up(settings, PLAN, quiet)
    assert not is_paused(settings)
    assert played.done == []


def test_a_stack_that_runs_where_it_can_not_be_seen_is_not_copied(settings: Settings, played: Played) -> None:
    """As in another container with the same folder."""
    with (settings.run_dir / RUNS_LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(Misconfigured, match="a stack still runs in"), attended.paused(settings, quiet):
            pass


def test_a_supervisor_that_is_killed_for_good_ends_the_foreground_with_an_error(
    settings: Settings, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as if somebody had taken the stack down: then nothing would start it again."""
    monkeypatch.setattr(attended, "supervisor_process", lambda _: None)
    monkeypatch.setattr(attended, "RESPAWN_SECONDS", 0.3)
    with pytest.raises(StackNotUp, match="was killed and did not come back"):
        attended.stay(settings, PLAN, quiet)
    assert played.done == ["up", "down"]


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
        wait_until(lambda: (settings.run_dir / attended.FOREGROUND).exists() and played.runs)
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
    assert [what for n, what in enumerate(played.done) if [what] != played.done[n - 1 : n]] == [
        "up",
        "down",
        "up",
        "down",
    ]
    assert json.loads((settings.run_dir / attended.FOREGROUND).read_text())["pid"] == os.getpid()
