"""Formats and parses durations: one notation for the command line, the page and alerts."""

from __future__ import annotations

import re
from datetime import timedelta

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
LETTERS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LENGTH = re.compile(r"(?:\d+\s*[smhd]\s*)+")


def duration(length: float | timedelta) -> str:
    """In its two largest units: ``0.4 s``, ``45 s``, ``3 min 20 s``, ``2 h``. Below zero it is ``0 s``."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if round(seconds, 1) < 60:
        return f"{max(seconds, 0.0):.1f}".removesuffix(".0") + " s"
    left = round(seconds)
    place, (size, unit) = next((i, each) for i, each in enumerate(UNITS) if left >= each[0])
    small, small_unit = UNITS[place + 1]
    rest = left % size // small
    return f"{left // size:,} {unit}" + (f" {rest} {small_unit}" if rest else "")


def largest_unit(seconds: float) -> str:
    """In its largest unit alone, rounded down: ``0 s``, ``12 s``, ``5 min``, ``3 h``, ``2 d``."""
    size, unit = next((each for each in UNITS if seconds >= each[0]), UNITS[-1])
    return f"{int(seconds // size):,} {unit}"


def length_of_time(text: str) -> timedelta:
    """What ``90s``, ``10m``, ``2h``, ``3d`` or a sum like ``1d12h`` means. Raises ValueError for anything else."""
    if not LENGTH.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a length of time; write 90s, 10m, 2h, 3d or 1d12h")
    parts = re.findall(r"(\d+)\s*([smhd])", text)
    return timedelta(seconds=sum(int(number) * LETTERS[unit] for number, unit in parts))
