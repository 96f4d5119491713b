"""The stack as another process has it: in the foreground for as long as it runs, or standing still for a backup."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO

import psutil

from insights.settings import Settings
from insights.stack.composition import UpPlan, plan_in
from insights.stack.control import Report, StackNotUp, down, up
from insights.stack.process_record import Record, process_of, read_state
from insights.stack.states import PAUSE, is_paused, supervisor_process
from insights.stack.supervisor import RUNS_LOCK
from schemas.errors import Misconfigured

FOREGROUND = "foreground.json"
# How long a supervisor that was killed takes to be started again, and more.
RESPAWN_SECONDS = 15.0
# A foreground that brings the stack up again looks every second whether the pause has ended.
RESUMED_SECONDS = 60.0
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def stay(settings: Settings, plan: UpPlan, report: Report) -> None:
    """Bring everything up and return when it has ended: by SIGTERM, by Ctrl-C, or by `insights down`. Blocks.

    What stands still for a backup is brought up again when that ends. Raises StackNotUp when the supervisor is gone
    though nobody took it down.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _note_foreground(settings)
        known = _newest_pause(settings)
        up(settings, plan, report)
        while True:
            while _is_there(settings):
                _reap()
                time.sleep(1)
            newest = _newest_pause(settings)
            if newest == known:  # it was taken down
                break
            while is_paused(settings):
                time.sleep(0.2)
            known = newest
            up(settings, plan, report)
    except KeyboardInterrupt:
        pass
    finally:
        down(settings, report)


def _note_foreground(settings: Settings) -> None:
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    me = Record(pid=os.getpid(), started=psutil.Process().create_time())
    (settings.run_dir / FOREGROUND).write_text(json.dumps(asdict(me)))


def _is_there(settings: Settings) -> bool:
    """Whether it runs, or is about to: one that ends as asked removes its file, one that was killed is started again.

    Raises StackNotUp when it is not.
    """
    deadline = time.monotonic() + RESPAWN_SECONDS
    while (settings.run_dir / "supervisor.json").exists():
        if supervisor_process(settings):
            return True
        if time.monotonic() > deadline:
            raise StackNotUp("the supervisor was killed and did not come back; `insights up` starts it again")
        time.sleep(0.2)
    return False


@contextmanager
def paused(settings: Settings, report: Report) -> Iterator[Settings]:
    """The stack stands still inside, and then runs again as before, also when the block raises. Blocks for both.

    Gives the settings that the stack was started with. Where none runs, none does afterwards. Nothing can start
    meanwhile. Raises Misconfigured when it can't be paused, and StackNotUp.
    """
    with (settings.run_dir / PAUSE).open("a") as lock, _interruptible():
        _lock_pause(settings, lock)
        runs = _runs(settings)
        own = _as_started(settings) if runs else settings
        had_foreground = _foreground(settings) is not None
        try:
            if runs:
                down(own, report)
            with _still(settings):
                yield own
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            if runs:
                with _undisturbed():
                    down(own, report)  # where that was interrupted
                _resume(own, report, had_foreground=had_foreground)


def _lock_pause(settings: Settings, lock: IO[str]) -> None:
    deadline = time.monotonic() + 2
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:  # for a moment also while the foreground looks
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"the stack in {settings.home} stands still for another backup; wait for it"
                ) from None
            time.sleep(0.1)
    lock.truncate(0)
    lock.write(str(time.time_ns()))
    lock.flush()


def _runs(settings: Settings) -> bool:
    try:
        return _is_there(settings)
    except StackNotUp:  # the machine was restarted since
        return False


@contextmanager
def _still(settings: Settings) -> Iterator[None]:
    """No supervisor runs inside, nor can one begin. Raises Misconfigured when one does, or left something running."""
    with (settings.run_dir / RUNS_LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(
                f"a stack still runs in {settings.home}, here or in a container: stop it with `insights down` there"
            ) from None
        left = [name for name, record in read_state(settings.run_dir).items() if process_of(record)]
        if left:
            raise Misconfigured(f"{', '.join(left)} still runs in {settings.home}; `insights down` stops it")
        yield


def _as_started(settings: Settings) -> Settings:
    config = json.loads((settings.run_dir / "config.json").read_text())
    return Settings.model_validate(config["settings"])


def _resume(settings: Settings, report: Report, *, had_foreground: bool) -> None:
    if had_foreground:
        deadline = time.monotonic() + RESUMED_SECONDS
        while supervisor_process(settings) is None:
            if _foreground(settings) is None:
                return  # somebody ended it meanwhile, so that it stays down
            if time.monotonic() > deadline:
                raise StackNotUp("the process that has the stack in the foreground did not bring it up again")
            time.sleep(0.2)
    up(settings, plan_in(settings.run_dir / "config.json"), report)


def _foreground(settings: Settings) -> psutil.Process | None:
    path = settings.run_dir / FOREGROUND
    return process_of(Record(**json.loads(path.read_text()))) if path.exists() else None


def _newest_pause(settings: Settings) -> str:
    """When it began; an empty text before the first."""
    path = settings.run_dir / PAUSE
    return path.read_text() if path.exists() else ""


@contextmanager
def _interruptible() -> Iterator[None]:
    """What would end the process at once is a KeyboardInterrupt inside: what was stopped must be started again."""
    with _handled(signal.default_int_handler):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def _handled(handler: object) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in ENDS}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def _reap() -> None:
    """The first process of a container inherits those whose parent ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
