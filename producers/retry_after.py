"""How long a site that turns us away wants us to wait, as its header ``Retry-After`` says it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_SECONDS: Final = 1e12


def retry_after(said: str, now: datetime) -> float:
    """Seconds from now, which the header gives as a number of them or as a date; 0 for anything else."""
    try:
        seconds = float(said)
    except ValueError:
        try:
            at = parsedate_to_datetime(said)
        except (ValueError, TypeError, IndexError, OverflowError):
            return 0.0
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(seconds, LONGEST_SECONDS) if seconds > 0 else 0.0  # and not for what is no number (nan)
