"""Where a source keeps its state across restarts: one SQLite file, written by its process, read by others."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

BUSY_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 0.01
MOST_AHEAD_BYTES: Final = 32 * 1024 * 1024


def opened(path: Path, *, by_threads: bool = False) -> sqlite3.Connection:
    """The file, created if it is missing. Transactions are the caller's; ``by_threads``: several threads may use it."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not by_threads)
    try:
        _write_ahead(database)
    except sqlite3.OperationalError:
        database.close()
        raise
    return database


def _write_ahead(database: sqlite3.Connection) -> None:
    """SQLite waits for others everywhere but here: of two that create a file at once one is refused."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("pragma journal_mode=wal")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)
        else:
            return


def checkpoint(path: Path) -> None:
    """Bring what was written ahead into the file, so that its writer need not wait for the disk. Blocks for as long.

    The writer must only wait, a moment, when so much was written ahead that it has to begin anew.
    """
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
        database.execute("pragma wal_checkpoint(passive)").fetchall()
        ahead = path.with_name(f"{path.name}-wal")
        if ahead.exists() and ahead.stat().st_size > MOST_AHEAD_BYTES:
            database.execute("pragma wal_checkpoint(restart)").fetchall()


@contextmanager
def alone(path: Path, otherwise: Exception | None = None) -> Iterator[None]:
    """Nobody else is in here with the same path meanwhile: blocks until it is free, or raises ``otherwise``.

    The lock ends with its process, even by kill -9; the empty file stays.
    """
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if otherwise else 0))
        except BlockingIOError:
            assert otherwise is not None
            raise otherwise from None
        yield


def only_for_its_owner(path: Path) -> Path:
    """The same path: a file that nobody else can read, made with its folder when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path


def rows(path: Path, table: str, query: str, parameters: Sequence[str | int] = ()) -> list[Any]:
    """What a query finds in the file, as tuples; nothing before its owner has created ``table`` in it."""
    database = to_read(path, table)
    if database is None:
        return []
    with closing(database):
        return database.execute(query, parameters).fetchall()


def to_read(path: Path, table: str) -> sqlite3.Connection | None:
    """The file as it is, or None before its owner has created ``table`` in it."""
    if not path.exists():
        return None
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    if database.execute("select 1 from sqlite_master where type = 'table' and name = ?", (table,)).fetchone():
        return database
    database.close()
    return None
