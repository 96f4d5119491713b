"""What is known of a source's orders: what was published of each, and the answer key. One SQLite file a source.

It is the cursor as well: what is not in it is not sure to be on the log. It is written in batches, each in one
transaction after Kafka acknowledged all of it, so that after a kill the newest batch is published again, under the same
ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from producers import state
from producers.answer_key import AnswerKey
from schemas import catalogue
from schemas.catalogue import Event

CACHE_KIB: Final = 64 << 10
DEAD_LETTER: Final = catalogue.event("ops.dead_letter")
SCHEMA: Final = """
create table if not exists known (key text primary key, digest blob not null) without rowid;
create temp table asked (key text primary key) without rowid;
"""


def path_of(folder: Path, source: str) -> Path:
    """Where the memory of a source's orders is."""
    return folder / f"{source}-orders.sqlite"


class Memory:
    """Remembers by key what was published: ``order:1001``, ``refund:1001``, or a refused row."""

    def __init__(self, path: Path) -> None:
        self._database = state.opened(path)
        # A lost last commit only publishes some events again, under the same ids.
        self._database.execute("pragma synchronous=normal")
        self._database.execute(f"pragma cache_size=-{CACHE_KIB}")  # keys come in no order: each may touch any page
        self._database.executescript(SCHEMA)
        self._answer_key = AnswerKey(self._database)
        self._noted: list[tuple[str, bytes]] = []

    def known(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Those of the keys that are known, with their digests: one question, however many they are."""
        self._database.execute("begin")
        self._database.executemany("insert or ignore into asked values (?)", ((key,) for key in keys))
        found = dict(self._database.execute("select key, digest from known join asked using (key)"))
        self._database.execute("delete from asked")
        self._database.execute("commit")
        return found

    def note(self, key: str, digest: bytes, event: Event, at_ms: int, record: Mapping[str, Any]) -> None:
        """An event is being published. A dead letter has no time; it counts for 1970."""
        self._noted.append((key, digest))
        self._answer_key.count(event, at_ms, record)

    def commit(self) -> None:
        """All that was noted is on the log."""
        self._database.execute("begin")
        self._answer_key.write()
        self._database.executemany("insert or replace into known values (?, ?)", self._noted)
        self._database.execute("commit")
        self._noted.clear()

    def close(self) -> None:
        """Close the file; what was noted and not committed is as if it never was."""
        self._database.close()


def published(path: Path) -> int:
    """How many events and dead letters are in the memory at ``path``; 0 when there is none."""
    database = state.to_read(path, "known")
    if database is None:
        return 0
    try:
        (count,) = database.execute("select count(*) from known").fetchone()
    finally:
        database.close()
    return int(count)
