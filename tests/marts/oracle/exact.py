"""Money in whole cents and ratios of whole numbers, so that nothing is rounded but what a mart shows."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.aggregates.oracle import SHOPS

MANY_DIGITS = 60


def cents(amount: Decimal) -> int:
    """The amount in cents. Fails on parts of a cent."""
    hundredfold = Fraction(amount) * 100
    assert hundredfold.denominator == 1, f"{amount} has parts of a cent"
    return hundredfold.numerator


def money(whole_cents: int) -> Decimal:
    return _decimal(whole_cents, 2)


def rounded(value: Fraction, digits: int) -> Decimal:
    """Half away from zero."""
    doubled = abs(value) * 10**digits * 2
    whole = (doubled.numerator // doubled.denominator + 1) // 2
    return _decimal(whole if value >= 0 else -whole, digits)


def ratio(of: int | Fraction, over: int | Fraction, digits: int = 6) -> Decimal | None:
    """``of / over``, rounded; None over nothing."""
    return rounded(Fraction(of) / Fraction(over), digits) if over else None


def mean_money(whole_cents: int, over: int) -> Decimal | None:
    """An amount divided, to the cent; None over nothing."""
    return ratio(Fraction(whole_cents, 100), over, 2)


def _decimal(whole: int, digits: int) -> Decimal:
    with localcontext() as context:
        context.prec = MANY_DIGITS
        return Decimal(whole).scaleb(-digits)


def day(at: datetime) -> date:
    """The shop's day of a time in UTC."""
    assert utc_day(at), "a time is in UTC"
    return at.astimezone(SHOPS[-1]).date()


OF_SHOPS = {"manhattan": ZoneInfo("America/New_York"), "thamel": ZoneInfo("Asia/Kathmandu")}
"""Shops whose days are of a zone of their own."""


def shops_own_day(at: datetime, shop: str) -> date:
    """The day of a time in UTC by the clock of one shop."""
    return at.astimezone(OF_SHOPS[shop]).date() if shop in OF_SHOPS else day(at)


def utc_day(at: datetime) -> date:
    """The day of a time in UTC."""
    assert at.utcoffset() is not None
    assert not at.utcoffset(), f"{at} is not in UTC"
    return at.date()
