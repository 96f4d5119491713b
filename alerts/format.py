"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.duration import duration


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
            return duration(value)
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
