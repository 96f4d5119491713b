"""Which visit an event belongs to, and when it was by our clock. The one place that knows what a visit is.

A visit ends after half an hour without an event, after a day, or when another campaign brings the visitor back. It
keeps the campaign and the referrer that it began with.

A visitor's clock may be wrong. The first batch of a visitor says by how much: the time here when it came, less the time
there when it was sent. That holds as long as later batches say the same within a minute, so that an event that is sent
again has the same time, and with it the same id. Nothing of who visits is kept but a hash.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from producers.collect.batch import Sent

IDLE_MS: Final = 30 * 60_000
DAY_MS: Final = 24 * 3_600_000
DRIFT_MS: Final = 60_000
KEEP_MS: Final = 2 * DAY_MS
NEVER: Final = 0  # when the visit began of which no event came yet
SCHEMA: Final = """
pragma secure_delete = on;
create table if not exists visits (
    visitor blob primary key, skew_ms integer not null, started_ms integer not null, last_ms integer not null,
    campaign text, referrer text) without rowid;
create index if not exists visits_by_last on visits (last_ms);
create table if not exists salts (day integer primary key, salt blob not null);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A visit so far, and ``skew_ms``: our clock less the visitor's."""

    visitor: bytes
    skew_ms: int
    started_ms: int
    last_ms: int
    campaign: str | None
    referrer: str | None

    @property
    def session_id(self) -> str:
        """The same for the same visit; it says nothing of the visitor."""
        return hashlib.blake2b(b"%b%d" % (self.visitor, self.started_ms), digest_size=16).hexdigest()

    def goes_on(self, at_ms: int, campaign: str | None) -> bool:
        """Does an event at this time, with this campaign, belong to the visit?"""
        is_near = self.started_ms - IDLE_MS <= at_ms <= self.last_ms + IDLE_MS
        # What a page sends when it is left may come after what the next page sends.
        brought = self.campaign is None and at_ms <= self.started_ms
        return is_near and at_ms < self.started_ms + DAY_MS and (campaign in (None, self.campaign) or brought)


class Placed(NamedTuple):
    """A batch's ``skew_ms``, and of each of its events when it was by our clock, and its visit."""

    skew_ms: int
    events: list[tuple[int, Visit]]


class Visits:
    """The visits of the last two days, in a database whose transactions are the caller's. ``now_ms`` is our clock."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.executescript(SCHEMA)
        self._salts: dict[int, bytes] = dict(database.execute("select day, salt from salts"))

    def place(self, key: str, who: tuple[str, ...], events: Sequence[Sent], sent_at: int, now_ms: int) -> Placed:
        """When each event was by our clock, and its visit. ``events`` stand in the order of their time.

        ``who`` is the visitor's own id, or else what the visitor comes from: that is known for a day or two only.
        Without events, because all of a batch were refused, the skew is remembered for when they are sent again.
        """
        visit = self._known(key, who, now_ms)
        skew = now_ms - sent_at
        if visit is None or abs(skew - visit.skew_ms) > DRIFT_MS:
            visitor = self._hash(key, who, now_ms // DAY_MS)
            visit = (
                replace(visit, skew_ms=skew)
                if visit
                else Visit(
                    visitor=visitor, skew_ms=skew, started_ms=NEVER, last_ms=-DAY_MS, campaign=None, referrer=None
                )
            )
        found: list[tuple[int, Visit]] = []
        for event in events:
            at_ms = event.at + visit.skew_ms
            one = (
                visit
                if visit.goes_on(at_ms, event.campaign)
                else replace(visit, started_ms=at_ms, last_ms=at_ms, campaign=event.campaign, referrer=event.referrer)
            )
            if event.campaign is not None and one.campaign is None:
                one = visit = replace(one, campaign=event.campaign, referrer=event.referrer)
            found.append((at_ms, one))
            if at_ms >= visit.last_ms:
                visit = replace(one, last_ms=at_ms)
        self._keep(visit, now_ms)
        return Placed(visit.skew_ms, found)

    def forget_old(self, now_ms: int) -> None:
        """Delete visits that no event can belong to any more, and the salts of the days before yesterday."""
        self._database.execute("delete from visits where last_ms < ?", (now_ms - KEEP_MS,))
        self._database.execute("delete from salts where day < ?", (now_ms // DAY_MS - 1,))
        self._salts = dict(self._database.execute("select day, salt from salts"))

    def _known(self, key: str, who: tuple[str, ...], now_ms: int) -> Visit | None:
        """A visitor without an id has another hash each day, so the one of yesterday may still be here."""
        today = now_ms // DAY_MS
        for day in (today, today - 1) if today - 1 in self._salts else (today,):
            row = self._database.execute(
                "select visitor, skew_ms, started_ms, last_ms, campaign, referrer from visits where visitor = ?",
                (self._hash(key, who, day),),
            ).fetchone()
            if row is not None and (day == today or row[3] > now_ms - IDLE_MS):
                names = ("visitor", "skew_ms", "started_ms", "last_ms", "campaign", "referrer")
                visit = Visit(**dict(zip(names, row, strict=True)))
                return replace(visit, last_ms=-DAY_MS) if visit.started_ms == NEVER else visit
        return None

    def _hash(self, key: str, who: tuple[str, ...], day: int) -> bytes:
        salt = self._salts.get(day)
        if salt is None:
            salt = self._salts[day] = secrets.token_bytes(32)
            self._database.execute("insert into salts values (?, ?)", (day, salt))
        said = "\0".join((key, *who)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(said, key=salt, digest_size=16).digest()

    def _keep(self, visit: Visit, now_ms: int) -> None:
        last_ms = now_ms if visit.started_ms == NEVER else visit.last_ms  # that of a skew alone is when it was told
        self._database.execute(
            "insert or replace into visits values (?, ?, ?, ?, ?, ?)",
            (visit.visitor, visit.skew_ms, visit.started_ms, last_ms, visit.campaign, visit.referrer),
        )
