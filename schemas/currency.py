"""Currencies: ISO 4217 codes in upper case, as the package iso4217 lists them."""

from __future__ import annotations

from functools import cache

DECIMALS = 2  # of every amount in the contracts


@cache
def _decimals() -> dict[str, int]:
    """By code, of those that have amounts: not gold, nor ISO's codes for tests and for no currency.

    The list is read on first use: most commands never need it.
    """
    from iso4217 import Currency

    return {c.value: c.exponent for c in Currency if c.value and c.exponent is not None}


def decimals(code: str) -> int | None:
    """How many decimals an amount in this currency has; None when no currency has this code, spelt as here."""
    return _decimals().get(code)


def decimals_shown(code: str) -> int:
    """Number of decimals that people see: the currency's own, but no more than amounts have."""
    found = decimals(code)
    return DECIMALS if found is None else min(found, DECIMALS)


def scale(code: str) -> int:
    """Number of decimals of amounts in this currency: two, or three for currencies with thousandths."""
    return max(DECIMALS, min(decimals(code) or 0, DECIMALS + 1))


def is_currency(code: str) -> bool:
    """Whether it is the code of a currency: ``EUR``, and neither ``eur`` nor ``Euro``."""
    return code in _decimals()


def problem(code: str) -> str | None:
    """What is wrong with it as a currency code, and what to write instead; None if it is right."""
    if is_currency(code):
        return None
    spelt = code.strip().upper()
    hint = f"write {spelt}" if is_currency(spelt) else "write three capital letters, such as EUR, USD or GBP"
    return f"is not an ISO 4217 currency; {hint}"


def problem_as_shops(code: str) -> str | None:
    """The same for the currency that a shop reports in: its amounts must fit the contracts."""
    if found := problem(code):
        return found
    if (digits := decimals(code) or 0) > DECIMALS:
        return f"has amounts of {digits} decimals, and events carry {DECIMALS}; such currencies are not supported yet"
    return None
