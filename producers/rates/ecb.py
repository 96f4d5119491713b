"""The euro foreign exchange reference rates, as the European Central Bank publishes them in XML. Pure.

Every working day at 16:00 in Frankfurt, in three files of one shape: the newest day, the last 90 days, all since 1999.
https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, NamedTuple
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from schemas.currency import is_currency
from schemas.errors import InsightsError

URL: Final = "https://www.ecb.europa.eu/stats/eurofxref"
BASE: Final = "EUR"
File = Literal["eurofxref-daily.xml", "eurofxref-hist-90d.xml", "eurofxref-hist.xml"]
DAILY: Final[File] = "eurofxref-daily.xml"
RECENT: Final[File] = "eurofxref-hist-90d.xml"
ALL: Final[File] = "eurofxref-hist.xml"
RECENT_DAYS: Final = 80  # the file has 90, of which some have passed when it is read
CUBE: Final = "{http://www.ecb.int/vocabulary/2002-08-01/eurofxref}Cube"
FRANKFURT: Final = ZoneInfo("Europe/Berlin")
PUBLISHED: Final = time(16)
READY: Final = time(16, 10)
CLOSED: Final = timedelta(hours=6)  # after midnight, UTC: a day without rates until then has none
DAY: Final = timedelta(days=1)
SATURDAY: Final = 5
MOST_HOLIDAYS: Final = 2  # one after the other: Good Friday and Easter Monday, the days after Christmas Eve
MOST: Final = Decimal(10) ** 12  # what a rate in the contract may be
LEAST: Final = Decimal("0.000001")


class BadRates(InsightsError):
    """What was given as rates is none, or was cut."""


class Rate(NamedTuple):
    """So many units of a currency are a euro on a day."""

    day: date
    currency: str
    rate: Decimal


def read(xml: bytes) -> list[Rate]:
    """All rates of a file, by day and currency. Of a file all count, or none: raises BadRates naming what is wrong."""
    try:
        root = fromstring(xml)
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise BadRates(f"it is not XML, or was cut: {error}") from None
    found: dict[tuple[date, str], Rate] = {}
    for cube in root.iter(CUBE):
        if "time" not in cube.attrib:
            continue
        day = _day(cube.attrib["time"])
        for each in cube.iter(CUBE):
            if each is not cube:
                rate = _rate(day, each.attrib)
                if found.setdefault((day, rate.currency), rate) != rate:
                    raise BadRates(f"{rate.currency} of {day} has two rates")
    if not found:
        raise BadRates("it has no rates: is this the bank's file?")
    return sorted(found.values())


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRates(f"a day is {text[:40]!r}, and should be one such as 2026-11-27") from None


def _rate(day: date, said: dict[str, str]) -> Rate:
    currency, text = said.get("currency", ""), said.get("rate", "")
    if not is_currency(currency) and not (len(currency) == len(BASE) and currency.isalpha() and currency.isupper()):
        raise BadRates(f"a currency of {day} is {currency[:40]!r}, and should be a code such as USD")
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or not LEAST <= rate < MOST or rate != round(rate, 12):
        raise BadRates(f"the rate of {currency} on {day} is {text[:40]!r}, and should be a number above zero")
    return Rate(day, currency, rate)


def published_at(day: date) -> datetime:
    """When the rates of a day are published, UTC."""
    return datetime.combine(day, PUBLISHED, FRANKFURT).astimezone(UTC)


def expected(now: datetime) -> date:
    """The newest working day whose rates should be out by now; it may be a holiday, which has none."""
    local = now.astimezone(FRANKFURT)
    day = local.date() if local.time() >= READY else local.date() - DAY
    while day.weekday() >= SATURDAY:
        day -= DAY
    return day


def known_until(newest: date, now: datetime) -> date:
    """Up to which day all is known by a file that was read now and has ``newest`` as its newest day.

    At weekends nothing is published. A working day without rates was a holiday, once the next day has begun for good.
    Raises BadRates when there would be too many of those: the file is an old one.
    """
    known = max(newest, (now.astimezone(UTC) - CLOSED).date() - DAY)
    if working_days(newest, known) > MOST_HOLIDAYS:
        raise BadRates(f"its newest day is {newest}, and there were rates since: it is an old one")
    while (known + DAY).weekday() >= SATURDAY:
        known += DAY
    return known


def missing(wanted: date, known: tuple[date, date] | None, now: datetime) -> tuple[File, date] | None:
    """The smallest file that has what is wanted and should be out by now, and from which day on it is missing.

    ``wanted`` is the first day that somebody wants, ``known`` the first and the last that are known. None when nothing
    is missing.
    """
    since, newest = wanted, expected(now)
    if known is not None and known[0] <= wanted:
        if known[1] >= newest:
            return None
        since = known[1] + DAY
        if working_days(known[1], newest) == 1:
            return DAILY, since
    return (RECENT if since > now.date() - RECENT_DAYS * DAY else ALL), since


def working_days(after: date, until: date) -> int:
    """How many days there are after one, up to another, that are no Saturday or Sunday."""
    return sum((after + n * DAY).weekday() < SATURDAY for n in range(1, (until - after).days + 1))
