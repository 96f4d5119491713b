from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.scraping.price import parse_price

AMOUNTS = st.decimals(min_value=Decimal("0.01"), max_value=Decimal("9999999.99"), places=2)


def _grouped(amount: Decimal, thousands: str, point: str) -> str:
    return f"{amount:,.2f}".replace(",", "\0").replace(".", point).replace("\0", thousands)


@given(
    amount=AMOUNTS,
    separators=st.sampled_from(
        [(".", ","), (",", "."), (" ", ","), ("\N{NO-BREAK SPACE}", ","), ("'", "."), ("", "."), ("", ",")]
    ),
    sign=st.sampled_from([("€", "EUR"), ("$", "USD"), ("£", "GBP"), ("CHF", "CHF"), ("", None)]),
    sign_first=st.booleans(),
)
def test_a_price_reads_the_same_however_a_country_writes_it(
    amount: Decimal, separators: tuple[str, str], sign: tuple[str, str | None], sign_first: bool
) -> None:
    number = _grouped(amount, *separators)
    text = f"{sign[0]} {number}" if sign_first else f"{number}\N{NO-BREAK SPACE}{sign[0]}"
    assert parse_price(text) == (amount, sign[1])


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.234,56 €", "1234.56"),
        ("€1,234.56", "1234.56"),
        ("1.234 €", "1234.00"),
        ("49,- €", "49.00"),
        ("0.500 €", "0.50"),
        ("1.234.567", "1234567.00"),
        ("from 12,5 €", "12.50"),
        ("Original price was: €89.99.", "89.99"),
    ],
)
def test_a_price_is_read_as_a_shopper_reads_it(text: str, amount: str) -> None:
    assert parse_price(text)[0] == Decimal(amount)


def test_a_text_without_a_number_is_no_price() -> None:
    with pytest.raises(ValueError, match="contains no price"):
        parse_price("Price on request")


@pytest.mark.parametrize(
    "number", ["12345678901", "100000000000000000000000000", "1'234'567'890'123.00", "9999999999.9999"]
)
def test_a_number_that_no_price_of_the_contract_holds_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="too long for a price"):
        parse_price(f"€ {number}")
    assert parse_price("€ 000001234567890.99") == (Decimal("1234567890.99"), "EUR")


@given(st.text(max_size=60))
def test_any_text_is_a_price_or_refused_with_a_reason(text: str) -> None:
    if not any(character.isdecimal() for character in text):
        with pytest.raises(ValueError, match="contains no price"):
            parse_price(text)
        return
    try:
        amount, _ = parse_price(text)
    except ValueError as refused:
        assert "too long for a price" in str(refused)  # noqa: PT017
        return
    assert 0 <= amount < 10**10
    assert amount.as_tuple().exponent == -2
