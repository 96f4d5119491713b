"""Windows of event time: minutes, hours and days of UTC. A fact's window is its event's own millisecond."""

from __future__ import annotations

from datetime import datetime, timedelta

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
    """End of the window that a time falls into."""
    return floored(moment, window) + LENGTH[window]
