"""When people shop: by hour and weekday, each region by its own clock, and by season.

Times are whole minutes since 1970, UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

WEEK_MINUTES = 7 * 24 * 60
# Monday, 5 January 2015: the shop opened, and its customers are numbered from there.
OPENED = 1_420_416_000 // 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A market: its share of the visits, its distance to UTC, where its parcels come from, its tax in percent."""

    name: str
    percent: int
    utc_offset_hours: int
    warehouse: str
    tax_percent: int


REGIONS = (
    Region(name="EU", percent=38, utc_offset_hours=1, warehouse="Rotterdam", tax_percent=19),
    Region(name="NA", percent=27, utc_offset_hours=-6, warehouse="Memphis", tax_percent=8),
    Region(name="UK", percent=15, utc_offset_hours=0, warehouse="Tilbury", tax_percent=20),
    Region(name="APAC", percent=13, utc_offset_hours=8, warehouse="Singapore", tax_percent=10),
    Region(name="LATAM", percent=7, utc_offset_hours=-4, warehouse="Santos", tax_percent=16),
)
# Visits by local hour, and by weekday from Monday; only their proportions matter.
HOURS = (28, 18, 12, 9, 9, 13, 25, 44, 62, 74, 82, 88, 96, 90, 84, 82, 86, 96, 112, 130, 142, 138, 104, 58)
DAYS = (96, 92, 94, 97, 98, 108, 115)
# How busy the middle of each month is, from January, in percent of the year's mean: bicycles sell in spring.
MONTHS = (72, 80, 98, 114, 122, 118, 108, 100, 96, 92, 98, 102)
MONTH_MINUTES = 43_830  # a twelfth of 365.25 days


def _raw(minute_of_week: int, region: Region) -> int:
    local = (minute_of_week + region.utc_offset_hours * 60) % WEEK_MINUTES
    hour, past = divmod(local % 1440, 60)
    # Straight lines between the hours; integers, so that every machine agrees.
    level = HOURS[hour] * (60 - past) + HOURS[(hour + 1) % 24] * past
    return level * DAYS[local // 1440] * region.percent


@cache
def _week() -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """(for each minute of the week the regions' weights summed up from the first, the week's running total)."""
    sums = tuple(tuple(accumulate(_raw(minute, region) for region in REGIONS)) for minute in range(WEEK_MINUTES))
    return sums, (0, *accumulate(s[-1] for s in sums))


def region_sums(minute: int) -> tuple[int, ...]:
    """The regions' weights in a minute, in the order of REGIONS, each added to those before it."""
    return _week()[0][(minute - OPENED) % WEEK_MINUTES]


def intensity(minute: int) -> float:
    """How busy a minute is; the mean over any week is 1."""
    sums, running = _week()
    return sums[(minute - OPENED) % WEEK_MINUTES][-1] * WEEK_MINUTES / running[-1]


def weekday(minute: int) -> int:
    """0 on Monday, in UTC."""
    return (minute - OPENED) // 1440 % 7


def season(minute: int) -> float:
    """How busy the time of year is; the mean over a year is 1. Changes by less than two percent a day."""
    month, past = divmod(minute - MONTH_MINUTES // 2, MONTH_MINUTES)
    level = MONTHS[month % 12] * (MONTH_MINUTES - past) + MONTHS[(month + 1) % 12] * past
    return level / (100 * MONTH_MINUTES)


def count_until(minute: int, per_week: int) -> int:
    """How many of something that comes ``per_week``, in the shop's rhythm, came before a minute since it opened."""
    running = _week()[1]
    weeks, within = divmod(minute - OPENED, WEEK_MINUTES)
    return (weeks * running[-1] + running[within]) * per_week // running[-1]


def minute_of(number: int, per_week: int) -> int:
    """The minute in which number ``number`` (from 0) of those came: count_until turned around."""
    running = _week()[1]
    weeks, rest = divmod(number, per_week)
    # The first running total whose count passes ``rest``: rest + 1 <= total * per_week // whole.
    needed = -(-(rest + 1) * running[-1] // per_week)
    return OPENED + weeks * WEEK_MINUTES + bisect_right(running, needed - 1) - 1
