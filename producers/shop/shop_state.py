"""The position of a shop's process, in one SQLite file, updated only after everything before it is acknowledged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from producers import state
from producers.answer_key import AnswerKey
from producers.shop.occurrences import MINUTE_MS, Scheduled
from producers.shop.simulation import Minute, Place
from schemas.errors import Misconfigured

SCHEMA: Final = """
create table if not exists identity (name text primary key, value text not null) without rowid;
create table if not exists cursor (
    only integer primary key check (only = 1), origin integer not null, minute integer not null, done integer not null,
    customers_from integer not null, written_ms integer not null);
create table if not exists scheduled (due_ms integer not null, kind text not null, payload text not null);
create index if not exists scheduled_by_time on scheduled (due_ms);
create table if not exists levels (
    product_id text, warehouse text, units integer not null, primary key (product_id, warehouse)) without rowid;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """All events before ``minute`` and the first ``done`` of it are on the log.

    The shop began at ``origin`` and announced its customers from number ``customers_from`` on. ``written_ms`` is when,
    by the clock on the wall, this was true.
    """

    origin: int
    minute: int
    done: int
    customers_from: int
    written_ms: int


class ShopState:
    """The state file of one source: cursor, what is scheduled, stock levels, and the answer key."""

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        """Opens or makes the file. Raises Misconfigured when it belongs to a shop with another ``identity``."""
        self.path = path
        self._database = state.opened(path)
        # A lost last commit only publishes some events again, under the same ids.
        self._database.execute("pragma synchronous=normal")
        self._database.executescript(SCHEMA)
        self.answer_key = AnswerKey(self._database)
        self._check(identity)

    def _check(self, identity: Mapping[str, str]) -> None:
        known = dict(self._database.execute("select name, value from identity"))
        for name, value in identity.items():
            if known.get(name, value) != value:
                raise Misconfigured(
                    f"{self.path} holds the cursor of a shop with {name} {known[name]}, this run has {name} {value}:"
                    f" its events would not match those published. Use --{name} {known[name]} or another --state folder"
                )
        self._database.executemany("insert or ignore into identity values (?, ?)", identity.items())

    def cursor(self) -> Cursor | None:
        """Where to resume, or None in a new file."""
        row = self._database.execute("select origin, minute, done, customers_from, written_ms from cursor").fetchone()
        if row is None:
            return None
        return Cursor(origin=row[0], minute=row[1], done=row[2], customers_from=row[3], written_ms=row[4])

    def scheduled(self) -> list[Scheduled]:
        """What is still to come, in the order it was scheduled."""
        rows = self._database.execute("select due_ms, kind, payload from scheduled order by rowid")
        return [Scheduled(due_ms, kind, json.loads(payload)) for due_ms, kind, payload in rows]

    def levels(self) -> dict[Place, int]:
        """Units on hand by product and warehouse."""
        rows = self._database.execute("select product_id, warehouse, units from levels")
        return {(product_id, warehouse): units for product_id, warehouse, units in rows}

    def commit(self, cursor: Cursor, over: Iterable[Minute]) -> None:
        """Move to a cursor, in one transaction with the state at the start of its minute and with the answer key.

        ``over`` are the minutes that ended since the last commit.
        """
        database = self._database
        database.execute("begin")
        for minute in over:
            if minute.minute % 1440 == 0:
                self.answer_key.prune(minute.minute * MINUTE_MS)
            self._add(minute.scheduled)
            database.executemany(
                "insert or replace into levels values (?, ?, ?)",
                [(*place, units) for place, units in minute.levels.items()],
            )
        database.execute("delete from scheduled where due_ms < ?", (cursor.minute * MINUTE_MS,))
        self.answer_key.write()
        self._move(cursor)
        database.execute("commit")

    def restart(self, cursor: Cursor, scheduled: Iterable[Scheduled]) -> None:
        """Jump to a cursor, with something else scheduled than what was."""
        self._database.execute("begin")
        self._database.execute("delete from scheduled")
        self._add(scheduled)
        self.answer_key.prune(cursor.minute * MINUTE_MS)
        self._move(cursor)
        self._database.execute("commit")

    def close(self) -> None:
        """Close the database. What was not committed is lost."""
        self._database.close()

    def _add(self, scheduled: Iterable[Scheduled]) -> None:
        self._database.executemany(
            "insert into scheduled values (?, ?, ?)",
            [(item.due_ms, item.kind, json.dumps(item.payload)) for item in scheduled],
        )

    def _move(self, cursor: Cursor) -> None:
        self._database.execute(
            "insert or replace into cursor values (1, ?, ?, ?, ?, ?)",
            (cursor.origin, cursor.minute, cursor.done, cursor.customers_from, cursor.written_ms),
        )


def published_until(path: Path) -> datetime | None:
    """Up to when a shop's events are on the log, as it last wrote; None before it did."""
    database = state.to_read(path, "levels")
    if database is None:
        return None
    try:
        row = database.execute("select minute from cursor").fetchone()
        return datetime.fromtimestamp(row[0] * 60, UTC) if row else None
    finally:
        database.close()


def stock_levels(path: Path) -> dict[str, int]:
    """Units of each product in all warehouses, as a running shop last wrote them; empty when there are none yet."""
    database = state.to_read(path, "levels")
    if database is None:
        return {}
    try:
        return dict(database.execute("select product_id, sum(units) from levels group by product_id"))
    finally:
        database.close()
