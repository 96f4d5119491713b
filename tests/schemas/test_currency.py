"""Currencies are ISO 4217's, spelt as there."""

from __future__ import annotations

import pytest

from insights.settings import load_settings
from schemas.currency import decimals, problem, problem_as_shops
from schemas.errors import Misconfigured


@pytest.mark.parametrize(("code", "digits"), [("EUR", 2), ("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_a_currency_has_its_decimals(code: str, digits: int) -> None:
    assert problem(code) is None
    assert decimals(code) == digits


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("usd", "write USD"),
        (" EUR ", "write EUR"),
        ("Euro", "three capital letters"),
        ("€", "three capital letters"),
        ("", "three capital letters"),
        ("DEM", "three capital letters"),  # a currency once
        ("XXX", "three capital letters"),  # ISO's word for none
        ("XTS", "three capital letters"),  # and for tests
        ("XAU", "three capital letters"),  # gold, of which no amount has so many decimals
    ],
)
def test_what_is_no_currency_is_refused_with_what_to_write(written: str, hint: str) -> None:
    assert hint in str(problem(written))
    assert hint in str(problem_as_shops(written))
    with pytest.raises(Misconfigured, match=f"INSIGHTS_CURRENCY={written}: .*{hint}"):
        load_settings(currency=written)


def test_a_shop_keeps_its_books_in_a_currency_whose_amounts_fit_the_contracts() -> None:
    assert load_settings(currency="JPY").currency == "JPY"
    with pytest.raises(Misconfigured, match="INSIGHTS_CURRENCY=KWD: .* 3 decimals, and events carry 2"):
        load_settings(currency="KWD")
