"""A Postgres by itself, up in two seconds, for tests that need nothing else of the stack."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from insights.stack.servers import servers
from tests import watcher
from tests.conftest import own_settings, wait_until


@contextmanager
def own_postgres(home: Path) -> Iterator[str]:
    """The DSN of an empty database, from here until it is left."""
    settings = own_settings(home)
    settings.run_dir.mkdir(parents=True)
    (part,) = [p for p in servers(settings) if p.name == "postgres"]
    assert part.prepare
    part.prepare()

    def healthy() -> bool:
        try:
            return part.healthy()
        except psycopg.OperationalError:
            return False

    with (home / "postgres.log").open("w") as log:
        environment = {**part.environment, watcher.TAG: os.environ[watcher.TAG]}
        process = subprocess.Popen(part.command, env=environment, cwd=part.cwd, stdout=log, stderr=log)
        try:
            wait_until(healthy, what=f"Postgres is up; see {log.name}")
            yield settings.postgres_dsn
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


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
