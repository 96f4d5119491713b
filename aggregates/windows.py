"""Windows of event time: minutes, hours and days, each named by the instant when it begins.

Days are the shop's if it has a time zone (aggregates/zones.py), and so are hours if these aren't UTC's. A fact's window
is its event's own millisecond.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aggregates.catalogue import Window
from aggregates.zones import Zone
from schemas.binary import EPOCH

LENGTH: dict[Window | None, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    None: timedelta(milliseconds=1),
}


def floored(moment: datetime, window: Window | None, zone: Zone | None = None) -> datetime:
    """Start of the window that a time falls into; the first time there is, where that is before it."""
    if zone is None or window not in ("hour", "day"):
        return EPOCH + (moment - EPOCH) // LENGTH[window] * LENGTH[window]
    try:
        return zone.start_of_day(moment) if window == "day" else zone.start_of_hour(moment)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def end_of(moment: datetime, window: Window | None, zone: Zone | None = None) -> datetime:
    """End of the window that a time falls into; the last time there is, where that is beyond it."""
    if zone is None or window not in ("hour", "day"):
        return later(floored(moment, window), LENGTH[window])
    try:
        return zone.end_of_day(moment) if window == "day" else zone.end_of_hour(moment)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def later(moment: datetime, length: timedelta) -> datetime:
    """A time so much later, or earlier where that is negative. Years are 1 to 9999, and that is where it ends."""
    try:
        return moment + length
    except OverflowError:
        return (datetime.max if length > timedelta() else datetime.min).replace(tzinfo=UTC)
