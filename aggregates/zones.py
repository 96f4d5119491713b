"""The shop's day in its time zone, as arithmetic that Python and every engine do alike.

A zone is a table of offsets from UTC: from an instant on, the shop's clock is so many seconds ahead. The table is
taken once from the time zone database (the package ``tzdata``, the same on every machine) and is part of a definition
from then on, so that no engine asks a database of its own. It ends with the year 2060; after that the last offset
holds.

A day is the stretch of instants that begins at the shop's midnight, of 23, 24 or 25 hours, and is named by the instant
at which it begins. Days never overlap: where a clock is put back over a midnight that it had passed, as in St. John's
until 2011, it counts as put back at that midnight, so the minute after it belongs to the day before.
"""

from __future__ import annotations

import difflib
import importlib.resources
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from zoneinfo import ZoneInfo

from schemas.binary import EPOCH
from schemas.errors import Misconfigured

HOUR, DAY = 3_600, 86_400
FIRST, LAST = datetime(1850, 1, 1, tzinfo=UTC), datetime(2061, 1, 1, tzinfo=UTC)
LONG_AGO = -50_000_000_000
"""Seconds since 1970 that are before every time there is."""

Table = tuple[tuple[int, int], ...]
"""From these seconds since 1970 on, this many seconds; in order, the first from LONG_AGO on."""


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A time zone other than UTC: its IANA name, and its offsets from UTC in seconds."""

    name: str
    offsets: Table

    @cached_property
    def day_offsets(self) -> Table:
        """What the shop's midnight less the instant at which the day began is, for every instant of the day.

        That is the offset when the day began; where the clock was put forward over midnight, what was left out too.
        """
        found = [self.offsets[0]]
        for (_, before), (since, offset) in zip(self.offsets, self.offsets[1:], strict=False):
            while found[-1][0] >= since:
                found.pop()  # a second change within one day
            was, day = (since - 1 + before) // DAY, (since + offset) // DAY
            if day > was:
                found.append((since, day * DAY - since))
            found.append(((day + 1) * DAY - offset, offset))
        return tuple(found)

    @cached_property
    def has_whole_hours(self) -> bool:
        """Whether its hours have been UTC's since 1970."""
        ends = [since for since, _ in self.offsets[1:]] + [_seconds(LAST)]
        return all(offset % HOUR == 0 for (_, offset), end in zip(self.offsets, ends, strict=True) if end > 0)

    @cached_property
    def changes(self) -> Table:
        """When the clock was last changed, for every instant."""
        return tuple((since, since) for since, _ in self.offsets)

    def offset(self, moment: datetime) -> timedelta:
        """How far the shop's clock is ahead of UTC."""
        return timedelta(seconds=_value(self.offsets, _seconds(moment)))

    def wall_clock(self, moment: datetime) -> datetime:
        """What the shop's clock shows, as a time without a zone."""
        return (moment + self.offset(moment)).replace(tzinfo=None)

    def start_of_day(self, moment: datetime) -> datetime:
        """The instant at which the day began that this one is in."""
        return _at(self._day(_seconds(moment)))

    def end_of_day(self, moment: datetime) -> datetime:
        """The instant at which the next day begins."""
        return _at(_next(_seconds(moment), self._day, 2 * DAY))

    def start_of_hour(self, moment: datetime) -> datetime:
        """The instant at which the shop's hour began, or the clock was changed within it."""
        return _at(self._hour(_seconds(moment)))

    def end_of_hour(self, moment: datetime) -> datetime:
        """The instant at which the next hour begins."""
        return _at(_next(_seconds(moment), self._hour, 2 * HOUR))

    def _day(self, seconds: int) -> int:
        return (seconds + _value(self.offsets, seconds)) // DAY * DAY - _value(self.day_offsets, seconds)

    def _hour(self, seconds: int) -> int:
        since, offset = self.offsets[_place(self.offsets, seconds)]
        return max((seconds + offset) // HOUR * HOUR - offset, since)


def _next(seconds: int, start_of: Callable[[int], int], longest: int) -> int:
    """The start of the window after the one that these are in; none is longer than ``longest``."""
    start = start_of(seconds)
    return start + bisect_right(range(start, start + longest), start, key=start_of)


def _seconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(seconds=1)


def _at(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _place(table: Table, seconds: int) -> int:
    return max(0, bisect_right(table, seconds, key=lambda row: row[0]) - 1)


def _value(table: Table, seconds: int) -> int:
    return table[_place(table, seconds)][1]


@cache
def zone(name: str) -> Zone | None:
    """The zone with this IANA name; None for UTC. Raises Misconfigured naming the closest ones when there is none.

    ``+05:45`` is a clock that is always so many hours and minutes ahead of UTC.
    """
    if ahead := re.fullmatch(r"([+-])([01]\d):([0-5]\d)", name):
        seconds = int(f"{ahead[1]}1") * (int(ahead[2]) * HOUR + int(ahead[3]) * 60)
        return Zone(name=name, offsets=((LONG_AGO, seconds),)) if seconds else None
    if name not in names():
        known = sorted(names())
        cities = [each for each in known if name and name.casefold() in each.casefold()]
        close = dict.fromkeys([*cities, *difflib.get_close_matches(name, known, n=3)])
        hint = f"; did you mean {' or '.join(list(close)[:3])}?" if close else ""
        raise Misconfigured(f"{name!r} is no time zone's IANA name, such as Europe/Berlin{hint}")
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        offsets = tuple(_days_apart(_changes(ZoneInfo.from_file(file, key=name))))
    return None if offsets == ((LONG_AGO, 0),) else Zone(name=name, offsets=offsets)


@cache
def names() -> frozenset[str]:
    """All IANA names there are."""
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text().split())


def _changes(info: ZoneInfo) -> Iterator[tuple[int, int]]:
    """Every change of the offset: looked for day by day, and then found to the second."""
    known = _offset(info, _seconds(FIRST))
    yield LONG_AGO, known
    for seconds in range(_seconds(FIRST), _seconds(LAST), DAY):
        if _offset(info, seconds + DAY) != known:
            same, other = seconds, seconds + DAY
            while other - same > 1:
                middle = (same + other) // 2
                same, other = (middle, other) if _offset(info, middle) == known else (same, middle)
            known = _offset(info, other)
            yield other, known


def _offset(info: ZoneInfo, seconds: int) -> int:
    offset = _at(seconds).astimezone(info).utcoffset() or timedelta()
    return offset // timedelta(seconds=1)


def _days_apart(changes: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Clocks that are put back over a midnight they had passed are put back at that midnight: days don't overlap."""
    _, before = first = next(changes)
    yield first
    for since, offset in changes:
        day = (since - 1 + before) // DAY
        yield (day * DAY - before if (since + offset) // DAY < day else since), offset
        before = offset
