"""A test run that is killed leaves nothing behind: a real pytest, killed with -9 while what it started runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests import watcher
from tests.conftest import wait_until

PROJECT = Path(__file__).parent.parent
ANSWERS = """
import subprocess, sys
from pathlib import Path
import psycopg
from tests.conftest import wait_until
from tests.replay.own_postgres import own_postgres

def test_it_waits(tmp_path):
    with own_postgres(tmp_path / "home") as dsn:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
        Path(READY).touch()
        psycopg.connect(dsn).execute("select pg_sleep(1000)")
"""
STACK = """
import threading
from pathlib import Path
from insights import stack
from insights.stack.process_record import process_of, read_state
from tests.conftest import own_settings, wait_until

def test_it_waits():
    settings = own_settings(Path(READY).parent / "home")
    arguments = (settings, stack.UpPlan(daemons=False), lambda step: None)
    threading.Thread(target=stack.up, args=arguments, daemon=True).start()
    wait_until(lambda: {"kafka", "postgres"} <= {n for n, r in read_state(settings.run_dir).items() if process_of(r)})
    Path(READY).touch()
    wait_until(lambda: False, seconds=1000)
"""


def family_of_a_killed_run(folder: Path, test: str) -> dict[psutil.Process, str]:
    """Has a pytest run that test until it is ready, and kills it. Returns what it had started by then, with names."""
    ready = folder / "ready"
    file = folder / "test_inner.py"
    file.write_text(f"READY = {str(ready)!r}\n{test}")
    settled = ["-c", str(PROJECT / "pyproject.toml"), "-o", "addopts=", "-o", "log_file=", "-p", "no:cacheprovider"]
    options = ["-p", "tests.conftest", *settled, "--basetemp", str(folder / "t")]
    with (folder / "output").open("w") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, str(file)], cwd=PROJECT, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: ready.exists() or run.poll() is not None, seconds=120, what=f"ready; see {output.name}")
        assert run.poll() is None, (folder / "output").read_text()
        tag = f"{run.pid}-{psutil.Process(run.pid).create_time()}"
        family: dict[psutil.Process, str] = {}
        for process in watcher.tagged(tag):
            with suppress(psutil.NoSuchProcess):
                family |= {member: member.name() for member in (process, *process.children(recursive=True))}
        return family
    finally:
        run.kill()
        run.wait()


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_run_takes_its_postgres_with_it_and_a_process_that_will_not_end(tmp_path: Path) -> None:
    family = family_of_a_killed_run(tmp_path, ANSWERS)
    assert len(family) > 5, "a Postgres of several processes, and one of ours"
    wait_until(lambda: not living(family), seconds=60, what=f"none of {family} is left")


def test_a_killed_run_takes_its_half_started_stack_with_it(tmp_path: Path, my_turn: None) -> None:
    family = family_of_a_killed_run(tmp_path, STACK)
    assert {"java", "postgres"} <= set(family.values())
    wait_until(lambda: not living(family), seconds=120, what=f"none of {family} is left")
    left = [
        p.info for p in psutil.process_iter(["pid", "cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]
    assert not left
