"""What the source of edits knows across restarts, in SQLite: how far it read, and which changes it has had."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from producers import state

MOST_KEYS: Final = 200_000  # more than the stream has in the seconds that are read again
SCHEMA: Final = """
create table if not exists positions (stream text primary key, at text not null) without rowid;
create table if not exists seen (place integer primary key autoincrement, change blob not null unique);
"""


class Seen:
    """The state file. ``take`` remembers in this process only; ``commit`` writes, in one transaction."""

    def __init__(self, path: Path, stream: str, most_keys: int = MOST_KEYS) -> None:
        """Opens or creates the file. ``stream`` is the address that is read: another one has another position."""
        self._database = state.opened(path)
        self._database.executescript(SCHEMA)
        self._most = most_keys
        self._stream = stream
        self._taken: dict[bytes, None] = {}
        row = self._database.execute("select at from positions where stream = ?", (stream,)).fetchone()
        self.position: str | None = row[0] if row else None

    def take(self, change: bytes) -> bool:
        """Whether the change is new; it isn't from now on."""
        if change in self._taken:
            return False
        if self._database.execute("select 1 from seen where change = ?", (change,)).fetchone():
            return False
        self._taken[change] = None
        return True

    def commit(self, position: str | None) -> None:
        """Keep what was taken, and how far was read. Call it when Kafka has what was taken."""
        self._database.execute("begin")
        self._database.executemany("insert or ignore into seen (change) values (?)", [(k,) for k in self._taken])
        self._database.execute("delete from seen where place <= (select max(place) from seen) - ?", (self._most,))
        if position is not None and position != self.position:
            self._database.execute("insert or replace into positions values (?, ?)", (self._stream, position))
            self.position = position
        self._database.execute("commit")
        self._taken.clear()

    def close(self) -> None:
        """Close the file."""
        self._database.close()
