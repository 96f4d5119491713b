"""Where a source keeps what it knows across restarts: one SQLite file, written by its process, read by others."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def opened(path: Path, *, by_threads: bool = False) -> sqlite3.Connection:
    """The file, created if it is missing. Transactions are the caller's; ``by_threads``: several threads may use it."""
    database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=not by_threads)
    database.execute("pragma journal_mode=wal")
    return database


def to_read(path: Path, table: str) -> sqlite3.Connection | None:
    """The file as it is, or None before its owner has created ``table`` in it."""
    if not path.exists():
        return None
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    if database.execute("select 1 from sqlite_master where type = 'table' and name = ?", (table,)).fetchone():
        return database
    database.close()
    return None
