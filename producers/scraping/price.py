"""Prices as people write them. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

# The shortest sign last: "CA$" before "$".
SIGNS = {"CA$": "CAD", "A$": "AUD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "zł": "PLN", "$": "USD"}
SPACES = "\\s\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
NUMBER = re.compile(rf"\d[\d.,'’{SPACES}]*")
MOST_DIGITS = 10  # before the point, as in the contract's prices
CODE = re.compile(r"\b[A-Z]{3}\b")


def parse_price(text: str) -> tuple[Decimal, str | None]:
    """The first price in a text, in whole cents, and its ISO 4217 code when a sign or code stands there.

    ``1.234,56 €``, ``€1,234.56``, ``CHF 1'234.50``, ``49,-`` and ``1 234`` are read as meant. A single separator
    with three digits behind it parts thousands, as shops write, unless the number begins with a bare zero.
    Raises ValueError when there is no number, or one that is too long for a price.
    """
    found = NUMBER.search(text)
    if not found:
        raise ValueError(f"{text.strip()[:40]!r} holds no price")
    return _amount(found[0]), _currency(text)


def _amount(written: str) -> Decimal:
    digits = re.sub(rf"['’{SPACES}]", "", written).rstrip(".,")
    point = max(digits.rfind("."), digits.rfind(","))
    if point < 0:
        whole, cents = digits, ""
    else:
        whole, cents = re.sub(r"[.,]", "", digits[:point]), digits[point + 1 :]
        both = "." in digits and "," in digits
        repeated = digits.count(digits[point]) > 1
        if repeated or (len(cents) == 3 and not both and whole.strip("0")):
            whole, cents = whole + cents, ""
    if len(whole.lstrip("0")) <= MOST_DIGITS:
        amount = Decimal(f"{whole}.{cents or '0'}").quantize(Decimal("0.01"))
        if amount < 10**MOST_DIGITS:
            return amount
    raise ValueError(f"{written[:40]!r} is too long for a price")


def _currency(text: str) -> str | None:
    for sign, code in SIGNS.items():
        if sign in text:
            return code
    found = CODE.search(text)
    return found[0] if found else None
