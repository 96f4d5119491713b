"""What the source of vehicles knows across restarts, in SQLite: each vehicle's last report, and what is unsent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from producers import state
from producers.scraping.fetching import NOTHING, Validators

FORGOTTEN_SECONDS: Final = 86_400  # after which a position would be too old to publish, anyway
MOST_VEHICLES: Final = 50_000  # of one feed
SCHEMA: Final = """
create table if not exists feeds (feed text primary key, etag text, last_modified text) without rowid;
create table if not exists vehicles (
    feed text, vehicle text, digest blob not null, own_time integer, seen_at real not null,
    primary key (feed, vehicle)) without rowid;
create table if not exists told (
    feed text, part text, reason text, primary key (feed, part, reason)) without rowid;
create table if not exists unsent (place integer primary key, record text not null);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The last of a vehicle: what it said, and the time if the vehicle stated one."""

    digest: bytes
    own_time: int | None


class Memory:
    """The state file. Every method is one transaction."""

    def __init__(self, path: Path, most_vehicles: int = MOST_VEHICLES) -> None:
        """Opens or creates the file."""
        self._database = state.opened(path)
        self._database.executescript(SCHEMA)
        self._most = most_vehicles

    def validators(self, feed: str) -> Validators:
        """What to ask the feed with whether it has changed."""
        row = self._database.execute("select etag, last_modified from feeds where feed = ?", (feed,)).fetchone()
        return Validators(*row) if row else NOTHING

    def reports(self, feed: str) -> dict[str, Report]:
        """The last report of each vehicle of the feed."""
        rows = self._database.execute("select vehicle, digest, own_time from vehicles where feed = ?", (feed,))
        return {vehicle: Report(digest=digest, own_time=own_time) for vehicle, digest, own_time in rows}

    def polled(
        self,
        feed: str,
        validators: Validators,
        reports: Mapping[str, Report],
        records: Iterable[Mapping[str, Any]],
        now: float,
    ) -> None:
        """Keep what a poll gave: all vehicles' reports, and the records to publish. Old vehicles are forgotten."""
        self._database.execute("begin")
        self._database.execute("insert or replace into feeds values (?, ?, ?)", (feed, *validators))
        kept = [(feed, vehicle, r.digest, r.own_time, now) for vehicle, r in reports.items()]
        self._database.executemany("insert or replace into vehicles values (?, ?, ?, ?, ?)", kept)
        self._database.executemany("insert into unsent (record) values (?)", [(_written(r),) for r in records])
        self._forget(feed, now)
        self._database.execute("commit")

    def _forget(self, feed: str, now: float) -> None:
        old = (feed, now - FORGOTTEN_SECONDS)
        self._database.execute("delete from vehicles where feed = ? and seen_at < ?", old)
        (count,) = self._database.execute("select count(*) from vehicles where feed = ?", (feed,)).fetchone()
        self._database.execute(
            "delete from vehicles where feed = ?1 and vehicle in"
            " (select vehicle from vehicles where feed = ?1 order by seen_at limit ?2)",
            (feed, max(count - self._most, 0)),
        )

    def told(self, feed: str, part: str) -> set[str]:
        """The reasons for which a dead letter of this part of the feed, its messages or its entities, is on the log."""
        rows = self._database.execute("select reason from told where feed = ? and part = ?", (feed, part))
        return {reason for (reason,) in rows}

    def tell(self, feed: str, part: str, reasons: Iterable[str]) -> None:
        """These reasons are told, and no others. Call it when Kafka has the letters."""
        self._database.execute("begin")
        self._database.execute("delete from told where feed = ? and part = ?", (feed, part))
        self._database.executemany("insert into told values (?, ?, ?)", [(feed, part, each) for each in reasons])
        self._database.execute("commit")

    def unsent(self) -> tuple[list[dict[str, Any]], int]:
        """Records that may not be on the log yet, oldest first, and the place of the last."""
        rows = self._database.execute("select place, record from unsent order by place").fetchall()
        return [_read(text) for _, text in rows], rows[-1][0] if rows else 0

    def sent(self, place: int) -> None:
        """Kafka has the records up to this place."""
        self._database.execute("delete from unsent where place <= ?", (place,))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _written(record: Mapping[str, Any]) -> str:
    return json.dumps({**record, "occurred_at": record["occurred_at"].isoformat()})


def _read(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    return record | {"occurred_at": datetime.fromisoformat(record["occurred_at"])}
