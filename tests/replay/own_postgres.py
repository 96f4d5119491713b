"""A Postgres by itself, up in two seconds, for tests that need nothing else of the stack."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from insights.stack.servers import servers
from tests import watcher
from tests.conftest import own_settings, wait_until
from warehouse.postgres import PostgresAway

# What a test wrote need not survive the machine, only the server's own end.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off")


@contextmanager
def own_postgres(home: Path, *options: str) -> Iterator[str]:
    """The DSN of an empty database, from here until it is left. ``options`` are the server's: ``wal_level=logical``."""
    process, dsn = _started(home, os.environ[watcher.TAG], options)
    try:
        yield dsn
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def postgres_of_run(folder: Path, tag: str) -> str:
    """The DSN of the one server of a test run, started by whichever worker asks first. It ends with the run.

    ``folder`` is the run's, ``tag`` the run's own for its watcher.
    """
    known = folder / "dsn"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists():
            known.write_text(_started(folder / "home", tag)[1])
    return known.read_text()


def _started(home: Path, tag: str, options: Sequence[str] = ()) -> tuple[subprocess.Popen[bytes], str]:
    settings = own_settings(home)
    settings.run_dir.mkdir(parents=True)
    (part,) = [p for p in servers(settings) if p.name == "postgres"]
    assert part.prepare
    part.prepare()

    def healthy() -> bool:
        try:
            return part.healthy()
        except PostgresAway:
            return False

    with (home / "postgres.log").open("w") as log:
        process = subprocess.Popen(
            [*part.command, *QUICK, *(word for option in options for word in ("-c", option))],
            env={**part.environment, watcher.TAG: tag},
            cwd=part.cwd,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests
        )
    try:
        wait_until(healthy, what=f"Postgres is up; see {home / 'postgres.log'}")
    except BaseException:
        process.kill()
        raise
    return process, settings.postgres_dsn


@contextmanager
def standing_still(dsn: str) -> Iterator[None]:
    """From here until it is left no process of that Postgres does anything; connections to it stay, and are silent."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("show data_directory").fetchone()
        assert row
    server = psutil.Process(int((Path(row[0]) / "postmaster.pid").read_text().split()[0]))
    server.suspend()  # first, so that it has no more children than are found
    processes = [server]
    try:
        processes += server.children(recursive=True)
        for process in processes[1:]:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in reversed(processes):
            with suppress(psutil.NoSuchProcess):
                process.resume()
