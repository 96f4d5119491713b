"""Parses a cell: an amount of money, a number of units, a time. The result is exact, or refused with the reason."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.binary import EPOCH, MILLISECOND
from schemas.currency import scale
from schemas.errors import PoisonEvent

MOST_CENTS: Final = 10**12 - 1  # an amount in a contract has twelve digits
MOST_UNITS: Final = (1 << 31) - 1
EPOCH_UNITS: Final = {"epoch_seconds": 1, "epoch_millis": 1_000, "epoch_micros": 1_000_000}
ISO: Final = "iso"
OWN_ZONE: Final = re.compile(
    r"^(?P<time>.*\d.*?)\s*(?P<zone>Z|[+-]\d\d(?::?\d\d)?|(?<=\s)[A-Za-z]{3,5}|[A-Z][A-Za-z]+(?:/[A-Za-z_+-]+)+)$"
)
# RFC 822's, and Europe's. What means two times in two countries (BST, IST) is not here.
ZONES: Final = {
    **dict.fromkeys(("Z", "UTC", "GMT", "WET"), 0),
    **{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7},
    **{"CET": 1, "CEST": 2, "WEST": 1, "EET": 2, "EEST": 3, "JST": 9},
}
SIGNS: Final = {
    "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN"),
    **{"US $": ("USD",), "US$": ("USD",), "C $": ("CAD",), "CA$": ("CAD",), "AU $": ("AUD",), "A$": ("AUD",)},
    **{"€": ("EUR",), "£": ("GBP",), "¥": ("JPY", "CNY"), "kr": ("SEK", "NOK", "DKK"), "zł": ("PLN",), "Fr.": ("CHF",)},
}
AMOUNT: Final = re.compile(
    r"(?P<whole>\d+|\d{1,3}(?:(?P<mark>[,.'’ \u00a0\u202f])\d{3})(?:(?P=mark)\d{3})*)?(?P<rest>[.,]\d*)?"
)


class BadValue(PoisonEvent):
    """A cell is not what it should be; the message has its value and the reason."""


@lru_cache(maxsize=65_536)  # prices repeat
def cents(text: str, decimal_point: str | None, currency: str) -> int:
    """The amount in cents (thousandths of a currency that has them), which may be negative.

    ``decimal_point`` None: the mapping has none, so it is a point, and an amount that could be meant in two ways is
    refused. Raises BadValue.
    """
    bare, negative = _bare(text, currency)
    match = AMOUNT.fullmatch(bare)
    if match is None or not bare.isascii() and not _is_grouped(match) or not re.search(r"\d", bare):
        raise BadValue(f"{text!r}, which is not an amount of money{_hint(bare, currency, decimal_point)}")
    point = decimal_point or "."
    whole, mark, rest = match["whole"] or "", match["mark"], match["rest"] or ""
    other = "," if point == "." else "."
    if mark == point or (mark is None and rest[:1] == other):
        # A point where a comma should be: thousands, if three digits follow.
        if mark is None and _looks_grouped(whole, rest):
            if decimal_point is None:
                raise _ambiguous(text, whole, rest)
            whole, rest = whole + rest[1:], ""
        else:
            raise BadValue(
                f"{text!r}: amounts have a {_named(point)} before the cents by the mapping, and this one has a"
                f" {_named(other)}; set decimal_point = {other!r} if all have"
            )
    elif rest[:1] == other:
        raise BadValue(f"{text!r}: it has two kinds of sign before the cents; set decimal_point in the mapping")
    digits = rest[1:]
    if decimal_point is None and mark is None and _looks_grouped(whole, rest):
        raise _ambiguous(text, whole, rest)
    decimals = scale(currency)
    if digits[decimals:].strip("0"):
        raise BadValue(
            f"{text!r}, which has parts of a cent; if its {_named(point)} separates thousands, set decimal_point ="
            f" {other!r}"
        )
    found = int((re.sub(r"\D", "", whole) or "0") + digits[:decimals].ljust(decimals, "0"))
    if found > MOST_CENTS:
        raise BadValue(f"{text!r}, which is more than an amount can be: {Decimal(MOST_CENTS).scaleb(-2):,}")
    return -found if negative else found


def _looks_grouped(whole: str, rest: str) -> bool:
    return len(rest) == 4 and 0 < len(whole) <= 3 and whole != "0"


def _ambiguous(text: str, whole: str, rest: str) -> BadValue:
    return BadValue(
        f"{text!r}, which could be {whole}.{rest[1:]} or {whole}{rest[1:]}; set decimal_point in the mapping to the"
        " sign before the cents"
    )


def _is_grouped(match: re.Match[str]) -> bool:
    return match["mark"] is not None and re.sub(r"[\u00a0\u202f’]", "", match[0]).isascii()


def _named(sign: str) -> str:
    return {".": "point", ",": "comma"}[sign]


def _hint(bare: str, currency: str, decimal_point: str | None) -> str:
    sign = max((s for s in SIGNS if bare.startswith(s) or bare.endswith(s)), key=len, default="")
    if sign:
        return f": it has the currency sign of {' or '.join(SIGNS[sign])}, and the order is in {currency}"
    if re.search(r"\d[eE][+-]?\d", bare):
        return ", but a number in scientific notation; write its digits out"
    if re.fullmatch(r"[\d.,]+", bare) and decimal_point is None:
        return "; does decimal_point match the file?"
    return ""


def _bare(text: str, currency: str) -> tuple[str, bool]:
    """The amount without its sign and without its currency, which must be the row's."""
    bare, negative = text.strip(), False
    if bare.startswith("(") and bare.endswith(")"):
        bare, negative = bare[1:-1].strip(), True
    if bare[:1] in ("-", "−"):
        bare, negative = bare[1:].strip(), not negative
    for sign in sorted((currency, *(s for s, of in SIGNS.items() if currency in of)), key=len, reverse=True):
        if sign and bare.startswith(sign):
            bare = bare[len(sign) :].strip()
            break
        if sign and bare.endswith(sign):
            bare = bare[: -len(sign)].strip()
            break
    if bare[:1] in ("-", "−", "+"):
        bare, negative = bare[1:].strip(), negative != (bare[0] != "+")
    return bare, negative


@lru_cache(maxsize=8192)
def units(text: str) -> int:
    """A whole number of units, which may be negative; ``3.0`` is 3. Raises BadValue."""
    match = re.fullmatch(r"([-−+]?)(\d{1,10})(?:[.,]0*)?", text.strip(), re.ASCII)
    if match is None:
        raise BadValue(f"{text!r}, which is not a whole number")
    found = int(match[2])
    if found > MOST_UNITS:
        raise BadValue(f"{text!r}, which is more than {MOST_UNITS:,}")
    return -found if match[1] in ("-", "−") else found


@lru_cache(maxsize=65_536)  # many orders fall on a day, and a date is slow to read
def millis(text: str, formats: tuple[str, ...], zone: str) -> int:
    """Milliseconds since 1970 UTC. A zone that is written in the value wins over ``zone``. Raises BadValue."""
    for form in formats:
        scale = EPOCH_UNITS.get(form)
        if scale is not None:
            if re.fullmatch(r"\d{1,17}(\.0*)?", text, re.ASCII):
                return _checked(int(text.partition(".")[0]) * 1000 // scale, text)
            continue
        at = _read(text, form)
        if at is not None:
            return _since_1970(at, text, zone)
    likes = " or ".join(_like(form) for form in formats)
    raise BadValue(f"{text!r}, which is not a date like {likes}")


def _like(form: str) -> str:
    return "2026-11-28 10:00:00 (iso)" if form == ISO else form


def _read(text: str, form: str) -> datetime | None:
    """The time in the value, with the zone that it names, if any. None when the value has another form."""
    own: tzinfo | None = None
    bare = text
    if match := OWN_ZONE.match(text):
        own = _zone(match["zone"], text, form)
        if own is not None:
            bare, form = match["time"], form.replace("%z", "").replace("%Z", "").strip()
    try:
        at = datetime.fromisoformat(bare) if form == ISO else datetime.strptime(bare, form)
    except ValueError:
        return None
    return at.replace(tzinfo=own) if own is not None else at


def _zone(name: str, text: str, form: str) -> tzinfo | None:
    """The zone that a value ends with. None when that is no zone: ``10:00 PM``, or the day in ``2026-11-28``."""
    if name[0] in "+-":
        if form == ISO or "%z" in form or "%Z" in form or re.search(r":\d\d(\.\d+)?\s*[+-]\d\d(:?\d\d)?$", text):
            hours, minutes = int(name[1:3]), int(name[-2:]) if len(name) > 3 else 0
            if re.search(r"\d\d:\d\d(:\d\d(\.\d+)?)?\s*[+-]", text) and hours < 24 and minutes < 60:
                offset = timedelta(hours=hours, minutes=minutes)
                return timezone(-offset if name[0] == "-" else offset)
        return None
    if name in ZONES:
        return timezone(timedelta(hours=ZONES[name]))
    if "/" in name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None
    if (form == ISO or "%Z" in form or form.endswith("%S")) and name.isupper() and name not in ("AM", "PM"):
        raise BadValue(f"{text!r}: {name} is a zone in more than one country, or none; write it as +01:00")
    return None


def _since_1970(at: datetime, text: str, zone: str) -> int:
    try:
        if at.tzinfo is None:
            at = at.replace(tzinfo=ZoneInfo(zone))
        return _checked((at - EPOCH) // MILLISECOND, text)
    except OverflowError:
        raise BadValue(f"{text!r}, which is not a valid time in UTC") from None


def _checked(found: int, text: str) -> int:
    if found < 0:
        raise BadValue(f"{text!r}, which is before 1970")
    if found > 253_402_300_799_999:
        raise BadValue(f"{text!r}, which is after the year 9999; are these milliseconds or microseconds?")
    return found
