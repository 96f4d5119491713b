"""The stack as another process has it: in the foreground for as long as it runs, or standing still for a backup."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from insights.settings import Settings
from insights.stack.composition import UpPlan, plan_in
from insights.stack.control import Report, StackNotUp, down, up
from insights.stack.process_record import Record, process_of
from insights.stack.states import supervisor_process
from schemas.errors import Misconfigured

PAUSE, FOREGROUND = "pause.lock", "foreground.json"
# A foreground that brings the stack up again looks every second whether the pause has ended.
RESUMED_SECONDS = 60.0


def stay(settings: Settings, plan: UpPlan, report: Report) -> None:
    """Bring everything up and return when it has ended: by SIGTERM, by Ctrl-C, or by `insights down`. Blocks.

    What stands still for a backup is brought up again when that ends.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        up(settings, plan, report)
        me = Record(pid=os.getpid(), started=psutil.Process().create_time())
        (settings.run_dir / FOREGROUND).write_text(json.dumps(asdict(me)))
        known = _newest_pause(settings)
        while True:
            while supervisor_process(settings):
                _reap()
                time.sleep(1)
            newest = _newest_pause(settings)
            if newest == known:  # it was taken down
                break
            while _is_paused(settings):
                time.sleep(0.2)
            known = newest
            up(settings, plan, report)
    except KeyboardInterrupt:
        pass
    finally:
        down(settings, report)


@contextmanager
def paused(settings: Settings, report: Report) -> Iterator[None]:
    """The stack stands still inside, and then runs again as before, also when the block raises. Blocks for both.

    Where none runs, it stays so. Raises Misconfigured when another process has paused it, and StackNotUp.
    """
    with (settings.run_dir / PAUSE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"the stack in {settings.home} stands still for another backup; wait for it") from None
        runs = supervisor_process(settings) is not None
        lock.truncate(0)
        lock.write(str(time.time_ns()))
        lock.flush()
        try:
            if runs:
                down(settings, report)
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            if runs:
                _resume(settings, report)


def _resume(settings: Settings, report: Report) -> None:
    if _foreground(settings):
        deadline = time.monotonic() + RESUMED_SECONDS
        while supervisor_process(settings) is None:
            if time.monotonic() > deadline:
                raise StackNotUp("the process that has the stack in the foreground did not bring it up again")
            time.sleep(0.2)
    up(settings, plan_in(settings.run_dir / "config.json"), report)


def _foreground(settings: Settings) -> psutil.Process | None:
    path: Path = settings.run_dir / FOREGROUND
    return process_of(Record(**json.loads(path.read_text()))) if path.exists() else None


def _newest_pause(settings: Settings) -> str:
    """When it began; an empty text before the first."""
    path = settings.run_dir / PAUSE
    return path.read_text() if path.exists() else ""


def _is_paused(settings: Settings) -> bool:
    with (settings.run_dir / PAUSE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _reap() -> None:
    """The first process of a container inherits those whose parent ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
