from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from insights.settings import Settings
from insights.stack.scheduled_commands import Upkeep

SAYS = (sys.executable, "-c", "import os; print('tidied', os.environ['INSIGHTS_HOME'])")


@pytest.fixture
def settings(tmp_path: Path, apart: Callable[..., Settings]) -> Settings:
    found = apart(tmp_path / "home")
    for folder in (found.run_dir, found.logs_dir):
        folder.mkdir(parents=True)
    return found


def upkeep_of(settings: Settings, command: Sequence[str] = SAYS) -> Upkeep:
    return Upkeep(settings, "lake", 30, command)


def minutes_pass(settings: Settings, minutes: float) -> None:
    (marker,) = settings.run_dir.iterdir()
    at = marker.stat().st_mtime - minutes * 60
    os.utime(marker, (at, at))


def test_a_command_runs_when_it_is_due_and_not_before(settings: Settings) -> None:
    log = settings.logs_dir / "lake.out"
    assert upkeep_of(settings).step()
    minutes_pass(settings, 29)
    assert upkeep_of(settings).step()
    assert not log.exists()
    minutes_pass(settings, 1.1)
    # Another supervisor counts on from what the first one saw.
    upkeep = upkeep_of(settings)
    assert upkeep.step()
    assert upkeep.step()
    assert log.read_text() == f"tidied {settings.home}\n"


def test_a_first_run_may_come_sooner_than_the_others(settings: Settings) -> None:
    upkeep = Upkeep(settings, "marts", 30, SAYS, first_after_seconds=60.0)
    log = settings.logs_dir / "marts.out"
    upkeep.step()
    assert not log.exists()
    minutes_pass(settings, 1.1)
    upkeep.step()
    upkeep.step()
    assert log.read_text() == f"tidied {settings.home}\n"


def test_a_run_that_fails_says_so_in_its_log_and_is_due_again_as_any_other(settings: Settings) -> None:
    fails = upkeep_of(settings, (sys.executable, "-c", "import sys; sys.exit('insights: Postgres is away')"))
    fails.step()
    minutes_pass(settings, 31)
    assert fails.step()
    assert fails.step()
    assert (settings.logs_dir / "lake.out").read_text() == "insights: Postgres is away\n"
    (marker,) = settings.run_dir.iterdir()
    assert time.time() - marker.stat().st_mtime < 60
