"""What shops were asked about persons: to erase one, or to hand over what is known of one. In ``keys.sqlite``.

A request is listed until somebody answers it. None is done by itself: an erasure can't be undone, and who knows a
webhook's secret could ask for one.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, NamedTuple

from producers import state
from producers.persons.keys import FILE

Wish = Literal["erase", "export", "remove"]
SCHEMA: Final = """
create table if not exists privacy_requests (
    number integer primary key autoincrement, asked_ms integer not null, wish text not null, who text not null,
    said_by text not null, answered_ms integer);
create unique index if not exists open_privacy_requests on privacy_requests (wish, who) where answered_ms is null;
"""


class Request(NamedTuple):
    """Something that is asked about ``who``: a customer's id here, or for ``remove`` a connected shop's name.

    ``said_by`` is the shop's own word for it. ``answered_ms`` is None while it is open.
    """

    number: int
    asked_ms: int
    wish: Wish
    who: str
    said_by: str
    answered_ms: int | None


def ask(folder: Path, wish: Wish, who: str, said_by: str, at_ms: int) -> bool:
    """Note a request; it is on disk when this returns. False when the same is open already."""
    with closing(state.opened(state.only_for_its_owner(folder / FILE))) as database:
        database.executescript(SCHEMA)
        values = (at_ms, wish, who, said_by)
        added = database.execute(
            "insert or ignore into privacy_requests (asked_ms, wish, who, said_by) values (?, ?, ?, ?)", values
        ).rowcount
        database.execute("pragma wal_checkpoint(passive)")
    return bool(added)


def requests(folder: Path) -> list[Request]:
    """All of them, the oldest first."""
    query = "select number, asked_ms, wish, who, said_by, answered_ms from privacy_requests order by number"
    return [Request(*row) for row in state.rows(folder / FILE, "privacy_requests", query)]


def answer(folder: Path, wish: Wish, whose: Collection[str], at_ms: int) -> int:
    """Note that what was asked of these is done; how many requests that answers."""
    theirs = [each.number for each in requests(folder) if each.wish == wish and each.who in whose]
    return sum(close(folder, number, at_ms) for number in theirs)


def close(folder: Path, number: int, at_ms: int) -> bool:
    """Note that a request is answered; False when there is no such open one."""
    if all((each.number, each.answered_ms) != (number, None) for each in requests(folder)):
        return False
    with closing(state.opened(folder / FILE)) as database:
        noted = "update privacy_requests set answered_ms = ? where number = ? and answered_ms is null"
        return bool(database.execute(noted, (at_ms, number)).rowcount)
