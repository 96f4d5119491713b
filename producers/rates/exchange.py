"""What an order in another currency is in the shop's: by one rate, exact in all. Pure but for ``Exchange``.

**The rate** is the one that counted when the order's day (UTC) began: the newest that the European Central Bank had
published for a day before it, at most MOST_DAYS before. It is the same whenever it is asked for, and can be checked
against the log by anybody: the event has the rate and its day.

**Exact.** The order's total is converted and rounded once, half to even, to the smallest unit of the shop's currency.
Its parts are shares of that by largest remainder, so that they still add up to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

from producers.order_file.rows import Line, spread
from producers.rates import book
from producers.rates.ecb import BASE
from schemas.currency import DECIMALS, decimals_shown, scale
from schemas.errors import PoisonEvent

MOST_DAYS: Final = 7  # Easter and the days between the years are five
EXACT: Final = Decimal("0.000000000001")  # of a rate in the contracts


class NoRate(PoisonEvent):
    """Nobody knows the rate. ``awaited`` is the order's day when it may still become known."""

    def __init__(self, problem: str, awaited: date | None = None) -> None:
        super().__init__(problem)
        self.awaited = awaited


class Charge(NamedTuple):
    """In what an order was charged: its currency, and how many units of it are one of the shop's, ``own``.

    ``source`` is whose rate it is, ``shop`` or ``ecb``; ``on`` is the day of the bank's.
    """

    currency: str
    own: str
    rate: Decimal
    source: str
    on: date | None = None

    def cents(self, amount: int) -> int:
        """An amount in the smallest units that ``currency`` is read in (``scale``), in cents of the shop's currency."""
        units = Fraction(amount * 10**DECIMALS, 10 ** scale(self.currency) * self._unit) / Fraction(self.rate)
        return self._unit * round(units)

    def shares(self, amounts: Sequence[int]) -> list[int]:
        """Amounts that add up to one: each in cents of the shop's currency, and in all what that one is."""
        whole = self.cents(sum(amounts))
        return [share * self._unit for share in spread(whole // self._unit, amounts)]

    @property
    def _unit(self) -> int:
        """Cents in the smallest unit of the shop's currency: 100 for yen."""
        return int(10 ** (DECIMALS - decimals_shown(self.own)))

    def amount(self, of: int) -> Decimal:
        """An amount in the smallest units of ``currency``, as the contracts have it."""
        return Decimal(of).scaleb(-scale(self.currency))

    def lines(self, lines: Sequence[Line], beside: Sequence[int]) -> tuple[list[Line], list[int]]:
        """Lines of an order and what is charged beside them, all in the shop's currency; they add up as before."""
        nets = self.shares([*(line.total - line.discount for line in lines), *beside])
        offs = self.shares([line.discount for line in lines])
        found = [
            line._replace(total=net + off, discount=off) for line, net, off in zip(lines, nets, offs, strict=False)
        ]
        return found, nets[len(lines) :]

    def fields(self) -> dict[str, Any]:
        """The fields of an event that say by which rate its amounts were computed."""
        return {
            "charged_currency": self.currency,
            "charged_rate": self.rate,
            "charged_rate_source": self.source,
            "charged_rate_on": self.on,
        }


def charge_of(head: Mapping[str, str]) -> Charge | None:
    """The order's charge, by what is remembered of its event (``withdrawn.head_of``); None in the shop's currency."""
    if "charged_currency" not in head:
        return None
    on = head.get("charged_rate_on")
    return Charge(
        head["charged_currency"],
        head["currency"],
        Decimal(head["charged_rate"]),
        head["charged_rate_source"],
        date.fromisoformat(on) if on else None,
    )


class Exchange:
    """Knows what an order in any currency is in the shop's, ``own``, by the rates that are on the log.

    A rate that is not known is asked for, unless it should not be: the source of rates then fetches it.
    """

    def __init__(self, folder: Path, own: str, *, asks: bool = True) -> None:
        self._folder = folder
        self.own = own
        self._asks = asks
        self._found: dict[tuple[str, date], Charge] = {}

    def charge(self, currency: str, day: date) -> Charge | None:
        """How an order of that day was charged; None in the shop's currency. Raises NoRate saying which is missing."""
        if currency == self.own:
            return None
        found = self._found.get((currency, day))
        if found is None:
            found = self._found[currency, day] = self._looked_up(currency, day)
        return found

    def _looked_up(self, currency: str, day: date) -> Charge:
        since = day - timedelta(days=MOST_DAYS)
        known, rates = book.rates_of(self._folder, since, day, (currency, self.own))
        if known is None or since < known.since or day > known.until + timedelta(days=1):
            if self._asks:
                book.want(self._folder, since)
            upto = f"; they are known for {known.since} to {known.until}" if known else ""
            raise NoRate(
                f"currency is {currency}, the shop's is {self.own}, and the ECB's rates before {day} are not known"
                f" yet{upto}. `insights produce rates` brings them, and the order is counted when it is read again",
                day,
            )
        by_day: dict[date, dict[str, Decimal]] = {}
        for rate in rates:
            by_day.setdefault(rate.day, {BASE: Decimal(1)})[rate.currency] = rate.rate
        for on in sorted(by_day, reverse=True):
            quoted = by_day[on]
            if currency in quoted and self.own in quoted:
                return Charge(currency, self.own, cross(quoted[currency], quoted[self.own]), "ecb", on)
        raise NoRate(
            f"currency is {currency}, the shop's is {self.own}, and in the {MOST_DAYS} days before {day} the ECB"
            f" published no rate between them. Convert it before it is published"
        )


def cross(currency: Decimal, own: Decimal) -> Decimal:
    """Units of a currency to one of the shop's, by what each is to the euro; rounded to the contracts' decimals."""
    exact = Fraction(currency) / Fraction(own) / Fraction(EXACT)
    return (Decimal(round(exact)) * EXACT).normalize() + 0
