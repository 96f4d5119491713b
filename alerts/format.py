"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def shown(value: Any) -> str:
    """12,345.6 for a number, a time in UTC to the minute, a length of time in its two largest units."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case Decimal() | float():
            return _number(Decimal(str(value)))
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        case timedelta():
            return span(value)
        case list() | tuple():
            return ", ".join(shown(each) for each in value)
        case _:
            return str(value)


def _number(value: Decimal) -> str:
    """Without the zeros at its end, except of money: 0.350000 is 0.35, 10.50 stays."""
    if not value.is_finite():
        return str(value)
    digits = -int(value.as_tuple().exponent)
    return f"{value.normalize() if digits > 2 or value == value.to_integral() else value:,f}"


def span(length: timedelta) -> str:
    """``3 h 20 min``, ``45 s``."""
    left = max(0, round(length.total_seconds()))
    for place, (size, unit) in enumerate(UNITS):
        if left >= size:
            rest = [(left % size // small, small_unit) for small, small_unit in UNITS[place + 1 : place + 2]]
            return " ".join([f"{left // size} {unit}", *(f"{n} {small_unit}" for n, small_unit in rest if n)])
    return "0 s"
