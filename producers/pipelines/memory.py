"""What is known of each row that was read: what of it is on the log, and the dead letters. One SQLite file a pipeline.

It is kept from ``commit`` on, after Kafka acknowledged all of it; until then the same rows make the same events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from producers import state

SCHEMA: Final = """
create table if not exists known (
    resource text, key text, digest blob not null, version integer not null, at_ms integer not null,
    read_ms integer not null, nth integer not null, is_gone integer not null, head text not null,
    primary key (resource, key)) without rowid;
create table if not exists refused (resource text, digest blob, primary key (resource, digest)) without rowid;
create table if not exists columns (resource text primary key, names text not null) without rowid;
create table if not exists missing (
    resource text, key text, since_ms integer not null, primary key (resource, key)) without rowid;
create table if not exists leaving (
    resource text, key text, read_ms integer not null, at_ms integer not null, primary key (resource, key))
    without rowid;
create table if not exists unknown (resource text primary key, read_ms integer not null) without rowid;
create table if not exists readings (one integer primary key check (one = 1), read_ms integer not null);
"""


class Place(NamedTuple):
    """Where a row stood: when its reading began, in milliseconds since 1970, and how many rows came before it."""

    read_ms: int
    nth: int


class Known(NamedTuple):
    """What is on the log of a row. ``head`` is what a deletion needs to know; ``place`` where it was seen last."""

    digest: bytes
    version: int
    at_ms: int
    place: Place
    is_gone: bool
    head: dict[str, Any]


class Leaving(NamedTuple):
    """A row that is gone, and is to be withdrawn: by which reading, and when by the clock, both in milliseconds."""

    key: str
    read_ms: int
    at_ms: int


class Memory:
    """Of one pipeline, written by one thread."""

    def __init__(self, path: Path) -> None:
        state.only_for_its_owner(path)
        self._database = state.opened(path)
        self._database.execute("pragma synchronous=normal")
        self._database.executescript(SCHEMA)
        self._is_open = False

    def begin_reading(self, now_ms: int) -> int:
        """The time of a new reading, after that of each one before, also when the clock was set back."""
        self._begin()
        (last,) = self._database.execute("select coalesce(max(read_ms), 0) from readings").fetchone()
        read_ms = max(now_ms, int(last) + 1)
        self._database.execute("insert or replace into readings values (1, ?)", (read_ms,))
        self.commit()
        return read_ms

    def known(self, resource: str, key: str) -> Known | None:
        """What is known of a row."""
        query = "select digest, version, at_ms, read_ms, nth, is_gone, head from known where resource = ? and key = ?"
        row = self._database.execute(query, (resource, key)).fetchone()
        if row is None:
            return None
        digest, version, at_ms, read_ms, nth, is_gone, head = row
        return Known(digest, version, at_ms, Place(read_ms, nth), bool(is_gone), json.loads(head))

    def note(self, resource: str, key: str, known: Known) -> None:
        """It was seen, or is gone: its events are being published."""
        self._begin()
        self._database.execute("delete from missing where resource = ? and key = ?", (resource, key))
        values = (known.digest, known.version, known.at_ms, *known.place, known.is_gone, json.dumps(known.head))
        self._database.execute(
            "insert or replace into known values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (resource, key, *values)
        )

    def unseen(self, resource: str, read_ms: int) -> list[str]:
        """The keys of rows on the log that no reading saw from this one on."""
        query = "select key from known where resource = ? and not is_gone and read_ms < ? order by key"
        return [key for (key,) in self._database.execute(query, (resource, read_ms))]

    def note_missing(self, resource: str, keys: Iterable[str], since_ms: int) -> None:
        """They are missing since then, unless they were already."""
        self._begin()
        rows = [(resource, key, since_ms) for key in keys]
        self._database.executemany("insert or ignore into missing values (?, ?, ?)", rows)

    def missing(self, resource: str, since_ms: int) -> list[str]:
        """The keys of rows that are missing since then, or longer."""
        query = "select key from missing where resource = ? and since_ms <= ? order by key"
        return [key for (key,) in self._database.execute(query, (resource, since_ms))]

    def note_leaving(self, resource: str, keys: Iterable[str], read_ms: int, at_ms: int) -> None:
        """They are to be withdrawn, whatever happens from the next commit on."""
        self._begin()
        rows = [(resource, key, read_ms, at_ms) for key in keys]
        self._database.executemany("insert or ignore into leaving values (?, ?, ?, ?)", rows)

    def leaving(self, resource: str, most: int) -> list[Leaving]:
        """So many of the rows that are to be withdrawn."""
        query = "select key, read_ms, at_ms from leaving where resource = ? order by key limit ?"
        return [Leaving(*row) for row in self._database.execute(query, (resource, most))]

    def left(self, resource: str, key: str) -> None:
        """It is withdrawn, or can't be."""
        self._begin()
        self._database.execute("delete from leaving where resource = ? and key = ?", (resource, key))

    def note_unknown(self, resource: str, read_ms: int) -> None:
        """A row of this reading can't be told from others: it may be any that seems to be missing."""
        self._begin()
        self._database.execute("insert or replace into unknown values (?, ?)", (resource, read_ms))

    def has_unknown(self, resource: str, read_ms: int) -> bool:
        """Whether this reading, or a later one, had such a row."""
        query = "select 1 from unknown where resource = ? and read_ms >= ?"
        return self._database.execute(query, (resource, read_ms)).fetchone() is not None

    def count(self, resource: str) -> int:
        """How many rows are on the log, and not gone."""
        query = "select count(*) from known where resource = ? and not is_gone"
        (count,) = self._database.execute(query, (resource,)).fetchone()
        return int(count)

    def is_refused(self, resource: str, digest: bytes) -> bool:
        """Whether a row that says this is a dead letter already; from now on it is."""
        self._begin()
        done = self._database.execute("insert or ignore into refused values (?, ?)", (resource, digest))
        return done.rowcount == 0

    def columns(self, resource: str) -> set[str] | None:
        """The columns that its rows had last; None before the first."""
        row = self._database.execute("select names from columns where resource = ?", (resource,)).fetchone()
        return set(json.loads(row[0])) if row else None

    def note_columns(self, resource: str, names: set[str]) -> None:
        """Its rows have these columns now."""
        self._begin()
        self._database.execute("insert or replace into columns values (?, ?)", (resource, json.dumps(sorted(names))))

    def commit(self) -> None:
        """All that was noted is on the log."""
        if self._is_open:
            self._database.execute("commit")
            self._is_open = False

    def forget(self) -> None:
        """What was noted since the last commit is as if it never was."""
        if self._is_open:
            self._database.execute("rollback")
            self._is_open = False

    def close(self) -> None:
        """Close the file."""
        self.forget()
        self._database.close()

    def _begin(self) -> None:
        if not self._is_open:
            self._database.execute("begin")
            self._is_open = True
