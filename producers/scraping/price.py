"""Prices and currencies: as machines write them for machines, and as people write them for people. Pure."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from schemas.currency import is_currency

# Signs of one currency. The longest first: "CA$" before "$".
SIGNS: Final = {
    "AU$": "AUD",
    "CA$": "CAD",
    "HK$": "HKD",
    "MX$": "MXN",
    "NZ$": "NZD",
    "NT$": "TWD",
    "US$": "USD",
    "A$": "AUD",
    "C$": "CAD",
    "R$": "BRL",
    "S$": "SGD",
    "Kč": "CZK",
    "zł": "PLN",
    "Ft": "HUF",
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "₩": "KRW",
    "₪": "ILS",
    "₫": "VND",
    "₴": "UAH",
    "₺": "TRY",
    "₽": "RUB",
    "฿": "THB",
}
# Signs of several currencies, by the country or language of the page; "" is for all others.
SHARED_SIGNS: Final = {
    "¥": {"jp": "JPY", "cn": "CNY", "ja": "JPY", "zh": "CNY"},
    "￥": {"jp": "JPY", "cn": "CNY", "ja": "JPY", "zh": "CNY"},
    "円": {"": "JPY"},
    "元": {"": "CNY", "tw": "TWD"},
    "kr": {"se": "SEK", "dk": "DKK", "no": "NOK", "is": "ISK", "sv": "SEK", "da": "DKK", "nb": "NOK", "nn": "NOK"},
    "$": {
        **{"ca": "CAD", "au": "AUD", "nz": "NZD", "mx": "MXN", "sg": "SGD", "hk": "HKD", "tw": "TWD", "cl": "CLP"},
        **{"co": "COP", "ar": "ARS", "": "USD"},
    },
}
SPACES = "\\s\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
NUMBER = re.compile(rf"\d[\d.,'’{SPACES}]*")
MINUS = re.compile("(?:^|[^\\w.,])[-\N{MINUS SIGN}\N{EN DASH}][^\\w.,-]*$")
MOST_DIGITS = 10  # before the point, as in the contract's prices
CODE = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])")
CENT: Final = Decimal("0.01")
LONGEST: Final = 100  # characters of a text that is a price


def structured_price(given: Any) -> Decimal:
    """A price of structured data, in whole cents. https://schema.org/price: the decimal sign is the point.

    So ``19.990`` is 19.99, whatever the shop's country. Shops also write what people read: ``19,99``, ``1.234,56 €``
    and ``,89`` can mean one thing only and are read as that. Raises ValueError, naming the reason, for anything that
    could be two prices, for no number, a negative one, and one that whole cents don't hold.
    """
    if isinstance(given, bool) or not isinstance(given, int | float | str | Decimal):
        raise ValueError(f"{given!r:.40} is not a number")
    text = str(given).strip()
    if len(text) > LONGEST:
        raise ValueError(f"{text[:40]!r}… is too long for a price")
    try:
        return _whole_cents(
            Decimal(text if isinstance(given, str) else str(given)) if _plain(given) else _written(text), text
        )
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a number") from error


def _plain(given: Any) -> bool:
    return not isinstance(given, str) or bool(re.fullmatch(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*", given, re.ASCII))


def _written(text: str) -> Decimal:
    """The number of a text that is more than digits and a point, when it can mean one thing only."""
    bare = CODE.sub("", text)
    for sign in (*SIGNS, *SHARED_SIGNS):
        bare = bare.replace(sign, "")
    bare = re.sub(rf"(?<=\d)[{SPACES}'’](?=\d{{3}}(?!\d))|^[{SPACES}]+|[{SPACES}]+$", "", bare)
    if bare.startswith(("-", "\N{MINUS SIGN}")):
        raise ValueError(f"{text!r} is negative")
    if re.fullmatch(r"\d+(\.\d+)?|\.\d+", bare, re.ASCII):
        return Decimal(bare)
    if re.fullmatch(r"\d{1,3}(,\d{3})+\.\d+|\d{1,3}(,\d{3}){2,}", bare, re.ASCII):
        return Decimal(bare.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}", bare, re.ASCII):
        return Decimal(bare.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d*,\d{1,2}", bare, re.ASCII):
        return Decimal(bare.replace(",", "."))
    if re.fullmatch(r"\d+,\d{3}", bare, re.ASCII):
        raise ValueError(f"{text!r} could be thousands or thousandths: write the price with a point")
    raise ValueError(f"{text!r} is not a number")


def _whole_cents(amount: Decimal, text: str) -> Decimal:
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not a number")
    if amount.is_signed() and amount:
        raise ValueError(f"{text!r} is negative")
    if amount >= 10**MOST_DIGITS:
        raise ValueError(f"{text!r} is too long for a price")
    cents = amount.quantize(CENT)
    if cents != amount:
        raise ValueError(f"{text!r} is not in whole cents, and an event's prices have two decimals")
    return abs(cents)


def parse_price(text: str, locale: str = "") -> tuple[Decimal, str | None]:
    """The first price in a text for people, in whole cents, and its ISO 4217 code when a sign or code stands there.

    ``1.234,56 €``, ``€1,234.56``, ``CHF 1'234.50``, ``49,-``, ``,89`` and ``1 234`` are read as meant. A single
    separator with three digits behind it parts thousands, as shops write, unless the number begins with a bare zero.
    Raises ValueError when there is no number, a negative one, or one that is too long for a price. ``locale`` is the
    page's language, as in HTML's ``lang``: it decides whose ``$`` or ``¥`` that is.
    """
    found = NUMBER.search(text)
    if not found:
        raise ValueError(f"{text.strip()[:40]!r} contains no price")
    before = text[: found.start()]
    bare_cents = re.search(r"(?:^|[^\w.,])[.,]$", before) and re.match(r"\d{1,2}(?!\d)", found[0])
    if MINUS.search(before[:-1] if bare_cents else _without_signs(before)):
        raise ValueError(f"{text.strip()[:40]!r} is negative")
    return _amount("0." + found[0] if bare_cents else found[0]), currency_in(text, locale)


def _without_signs(text: str) -> str:
    text = CODE.sub("", text)
    for sign in (*SIGNS, *SHARED_SIGNS):
        text = text.replace(sign, "")
    return text


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
        amount = Decimal(f"{whole}.{cents or '0'}").quantize(CENT)
        if amount < 10**MOST_DIGITS:
            return amount
    raise ValueError(f"{written[:40]!r} is too long for a price")


def currency_in(text: str, locale: str = "") -> str | None:
    """The ISO 4217 code that a text has as a code or a sign; None when it has none, or an ambiguous one."""
    for code in CODE.findall(text):
        if is_currency(code):
            return str(code)
    for sign, code in SIGNS.items():
        if _stands(sign, text):
            return code
    language, _, rest = locale.lower().replace("_", "-").partition("-")
    for sign, codes in SHARED_SIGNS.items():
        if _stands(sign, text):
            return codes.get(rest.rpartition("-")[2]) or codes.get(language) or codes.get("")
    return None


def _stands(sign: str, text: str) -> bool:
    # A sign of letters is a word of its own: the "kr" of "Kr 5" and not that of "kraft".
    return bool(re.search(rf"(?<![A-Za-z]){re.escape(sign)}(?![A-Za-z])", text)) if sign.isalpha() else sign in text


def structured_currency(given: Any, locale: str = "") -> str:
    """The ISO 4217 code of structured data: ``eur`` and ``€`` are EUR. Raises ValueError for what is none."""
    text = str(given).strip()
    if is_currency(text.upper()):
        return text.upper()
    if len(text) <= 4 and (found := currency_in(text, locale)):
        return found
    raise ValueError(f"{text[:40]!r} is not an ISO 4217 currency, or is a sign shared by several")
