"""Windows of event time: minutes, hours and days of UTC. A fact's window is its event's own millisecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aggregates.catalogue import Window
from schemas.binary import EPOCH

LENGTH: dict[Window | None, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    None: timedelta(milliseconds=1),
}


def floored(moment: datetime, window: Window | None) -> datetime:
    """Start of the window that a time falls into."""
    return EPOCH + (moment - EPOCH) // LENGTH[window] * LENGTH[window]


def end_of(moment: datetime, window: Window | None) -> datetime:
    """End of the window that a time falls into; the last time there is, where that is beyond it."""
    return later(floored(moment, window), LENGTH[window])


def later(moment: datetime, length: timedelta) -> datetime:
    """A time so much later, or earlier where that is negative. Years are 1 to 9999, and that is where it ends."""
    try:
        return moment + length
    except OverflowError:
        return (datetime.max if length > timedelta() else datetime.min).replace(tzinfo=UTC)
