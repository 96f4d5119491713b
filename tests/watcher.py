"""Ends what a test run started once the run is gone, be it by kill -9: ``watcher.py PID STARTED``.

Each pytest process, an xdist worker too, starts one of these and puts its tag into its environment, which every process
that it starts inherits. A test takes down what it made; this is for the test that could not. A stack is taken down as
`insights down` does it, with a savepoint; any other process is asked to end, and killed when it does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

TAG = "HUB_TESTS_OF"
PROJECT = Path(__file__).resolve().parent.parent
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 5.0
SUPERVISOR = "insights.stack.supervisor"


def watch() -> str:
    """Starts a watcher of this process and tags what it starts from now on. The tag."""
    me = psutil.Process()
    tag = f"{me.pid}-{me.create_time()}"
    os.environ[TAG] = tag
    subprocess.Popen(
        [sys.executable, __file__, str(me.pid), str(me.create_time())],
        env={name: value for name, value in os.environ.items() if name != TAG},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    return tag


def tagged(tag: str) -> list[psutil.Process]:
    """The living processes with that tag in the environment they were started with."""
    return [process for process in psutil.process_iter() if _is_tagged(process, tag)]


def _is_tagged(process: psutil.Process, tag: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(TAG) == tag
    except psutil.Error:
        return False


def end(tag: str) -> None:
    """Ends every process with that tag, and what they start meanwhile. Blocks."""
    asked: dict[psutil.Process, float] = {}
    taken_down: set[Path] = set()
    while found := tagged(tag):
        stacks = {config for process in found if (config := _config_of_stack(process))} - taken_down
        for config in stacks:
            taken_down.add(config)
            _down(config)
        if not stacks:
            _ask_or_kill(found, asked)
            time.sleep(LOOK_SECONDS)


def _config_of_stack(process: psutil.Process) -> Path | None:
    """The run/config.json of the stack whose supervisor this is, or the shell that starts it again."""
    with suppress(psutil.Error):
        command = process.cmdline()
        if any(SUPERVISOR in word for word in command):
            return next((Path(word) for word in command if word.endswith("config.json")), None)
    return None


def _down(config: Path) -> None:
    sys.path[:0] = [str(PROJECT)]
    from insights.settings import Settings
    from insights.stack.control import down, supervisor_process

    settings = Settings(**json.loads(config.read_text())["settings"])
    deadline = time.monotonic() + PATIENCE_SECONDS  # the run may have gone before its supervisor was there
    while supervisor_process(settings) is None and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    down(settings, lambda step: None)


def _ask_or_kill(found: Sequence[psutil.Process], asked: dict[psutil.Process, float]) -> None:
    now = time.monotonic()
    for process in found:
        with suppress(psutil.NoSuchProcess):
            if process not in asked:
                asked[process] = now
                process.terminate()
            elif now - asked[process] > PATIENCE_SECONDS:
                process.kill()


def main(pid: int, started: float) -> None:
    with suppress(psutil.NoSuchProcess):
        run = psutil.Process(pid)
        while run.create_time() == started and run.is_running() and run.status() != psutil.STATUS_ZOMBIE:
            time.sleep(LOOK_SECONDS)
    end(f"{pid}-{started}")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
