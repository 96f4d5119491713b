"""Numbers and times as people read them. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from schemas.currency import DECIMALS, decimals_shown
from schemas.duration import duration, largest_unit

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "CHF": "CHF ", "CAD": "CA$", "AUD": "A$"}
STEPS = ((Decimal(10) ** 12, "T"), (Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))
HASH_SHOWN = 10
COMPACT_FROM = Decimal(10) ** 7
MINUS = "\N{MINUS SIGN}"


def symbol(currency: str) -> str:
    """``€`` for EUR; the code and a space for a currency without a sign here."""
    return SYMBOLS.get(currency, f"{currency} ")


def decimal(value: Any) -> Decimal:
    """``value`` as a Decimal; a float by its shortest text, so 0.1 is 0.1."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def rounded(value: Decimal, digits: int) -> Decimal:
    """Half away from zero, as on a receipt."""
    return value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def _grouped(value: Decimal, digits: int, prefix: str = "") -> str:
    number = rounded(value, digits)
    return f"{MINUS if number < 0 else ''}{prefix}{abs(number):,.{digits}f}"


def compact(value: Any, prefix: str = "") -> str:
    """Three digits and a letter: ``€1.24M``, ``987``, ``12.3k``."""
    number = decimal(value)
    for size, letter in STEPS:
        if rounded(abs(number), 0) >= size:
            scaled = number / size
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return _grouped(scaled, digits, prefix) + letter
    return _grouped(number, 0, prefix)


def shown(value: Any, kind: str, currency: str = "EUR") -> str:
    """A value for a tile, label or table cell; an en dash for null. Ten million and more are compact."""
    if value is None:
        return "–"
    if kind == "text":
        return str(value)
    if kind == "hash":
        return str(value)[:HASH_SHOWN]
    if kind == "time":
        return f"{value:%-d %b %Y, %H:%M}"
    if kind == "date":
        return f"{value:%-d %b %Y}"
    if kind == "duration":
        return duration(float(value))
    number, sign = decimal(value), symbol(currency) if kind.startswith("currency") else ""
    if kind in ("percent", "percent_0"):
        return f"{_grouped(number * 100, 1 if kind == 'percent' else 0)}\N{NARROW NO-BREAK SPACE}%"
    if kind == "ago":
        return age_shown(float(number))
    if abs(number) >= COMPACT_FROM:
        return compact(number, sign)
    if kind == "currency_exact":
        return _grouped(number, decimals_shown(currency), sign)
    digits = {"decimal": 2, "decimal_1": 1}.get(kind, 0)
    return _grouped(number, digits, sign)


def exact(value: Any, kind: str, currency: str = "EUR") -> str:
    """Every digit, for a tooltip: ``€12,345.67``, ``¥12,345``, and ``¥12,345.67`` for what is no whole yen."""
    if value is None or kind in ("text", "percent", "ago", "date"):
        return shown(value, kind, currency)
    if kind == "percent_0":
        return shown(value, "percent")
    if kind == "hash":
        return str(value)
    if kind == "time":
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if kind == "duration":
        return f"{float(value):,.3f} s"
    if kind.startswith("currency"):
        number, own = decimal(value), decimals_shown(currency)
        return _grouped(number, own if rounded(number, own) == number else DECIMALS, symbol(currency))
    return _grouped(decimal(value), {"decimal": 2, "decimal_1": 1}.get(kind, 0))


def change(value: Any, previous: Any) -> Decimal | None:
    """Growth over ``previous`` as a share (0.1 is ten percent), or None when there is nothing to compare with."""
    if value is None or previous is None or decimal(previous) == 0:
        return None
    before = decimal(previous)
    return (decimal(value) - before) / abs(before)


def change_shown(share: Decimal) -> str:
    """``+12.3 %``; past tenfold ``×14``, since nobody reads +1,300 %."""
    if share >= 9:
        return f"×{_grouped(share + 1, 0)}"
    sign = "+" if share > 0 else ""
    return f"{sign}{_grouped(share * 100, 1)}\N{NARROW NO-BREAK SPACE}%"


def age_shown(seconds: float) -> str:
    """``now``, ``12 s``, ``5 min``, ``3 h``, ``2 d``."""
    return "now" if seconds < 2 else largest_unit(seconds)


def clock(at: datetime) -> str:
    """Time of day, UTC."""
    return f"{at:%H:%M:%S} UTC"


def moment(at: datetime, extent_seconds: float) -> str:
    """A point of a time axis, as exact as the axis is long: with the time of day up to ten days, the date beyond."""
    return f"{at:%a %-d %b, %H:%M}" if extent_seconds < 10 * 86_400 else f"{at:%a %-d %b %Y}"
