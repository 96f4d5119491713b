"""Parses rows of an order file: texts by field, then an order's head and its lines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from producers.order_file import values
from producers.order_file.content import is_readable
from producers.order_file.mapping import OF_THE_ORDER, TIMES, ColumnMapping
from producers.order_file.table import Record, Table, folded
from producers.order_file.values import ISO, BadValue
from schemas.currency import is_currency
from schemas.errors import PoisonEvent

LONGEST_TEXT: Final = 1000
REMEMBERED: Final = 65_536  # equal lines are read once: most rows of a shop sell what others did
MONEY_OF_THE_ORDER: Final = ("shipping", "tax", "order_discount", "refunded")
HEAD_FIELDS: Final = (
    *OF_THE_ORDER,
    *("order_id", "occurred_at", "status", *MONEY_OF_THE_ORDER, *TIMES, "discount_code"),
)
OF_A_LINE: Final = (
    *("product_id", "category", "brand", "quantity", "total", "unit_price"),
    *("discount", "net_total", "line_shipping", "line_shipping_discount", "line_tax"),
)
# What people write for a currency, and what they should.
CURRENCY_NAMES: Final = {
    **{"euro": "EUR", "euros": "EUR", "€": "EUR", "$": "USD, CAD or AUD", "us$": "USD", "dollar": "USD"},
    **{"£": "GBP", "pound": "GBP", "yen": "JPY", "¥": "JPY", "kr": "SEK, NOK or DKK", "zł": "PLN", "chf.": "CHF"},
}


class BadRow(PoisonEvent):
    """A row, and with it its order, can't be counted. The message names the field, its value and the reason.

    Attributes:
        field: of the mapping; empty when it is the row as a whole.
        value: what the cell holds.
        line: where the row begins; 0 until that is known.
    """

    def __init__(self, problem: str, *, field: str = "", value: str = "", line: int = 0) -> None:
        super().__init__(problem)
        self.field = field
        self.value = value
        self.line = line


class Line(NamedTuple):
    """A row as a line of its order; money in cents, ``total`` for all its units. A return has negative units."""

    product_id: str
    category: str
    brand: str | None
    quantity: int
    total: int
    discount: int
    shipping: int
    tax: int


class Head(NamedTuple):
    """What an order's first row has about the whole; money in cents. ``refunded`` None: the file has no such column."""

    order_id: str | None
    at_ms: int
    customer_id: str
    region: str
    currency: str
    channel: str
    outcome: str
    shipping: int
    tax: int
    discount: int
    refunded: int | None
    refunded_at_ms: int | None
    paid_at_ms: int | None
    fulfilled_at_ms: int | None
    discount_code: str | None


Texts = dict[str, str]


class RowReader:
    """Reads a table's rows by a mapping. Raises Misconfigured when the header lacks a column of the mapping."""

    def __init__(self, mapping: ColumnMapping, table: Table) -> None:
        self._mapping = mapping
        self._encoding = table.encoding
        self._header = table.header
        self._positions = mapping.positions(table.header)
        self._single = [(field, at[0]) for field, at in self._positions.items() if len(at) == 1]
        self._several = [(field, at) for field, at in self._positions.items() if len(at) > 1]
        self._constants = dict(mapping.constants)
        self._notes = [folded(note) for note in mapping.notes]
        typed = table.has_typed_dates and ISO not in mapping.date_formats
        self._formats = (*mapping.date_formats, ISO) if typed else mapping.date_formats
        needed = [*OF_THE_ORDER, "occurred_at", *(["order_id"] if "order_id" in self._positions else [])]
        self._needed = [field for field in needed if field != "customer_id" or not mapping.guests]
        mapped = {*self._positions, *mapping.constants, *mapping.defaults}
        self._money = [name for name in MONEY_OF_THE_ORDER if name in mapped]
        self._line_fields: tuple[str, ...] = tuple(name for name in OF_A_LINE if name in mapped)
        self._of_line = itemgetter(*self._line_fields)
        self._line = lru_cache(maxsize=REMEMBERED)(self._parsed_line)
        self._currency = lru_cache(maxsize=64)(self._parsed_currency)
        self.has_order_ids = "order_id" in self._positions or "order_id" in mapping.constants

    def column(self, field: str) -> str:
        """What the file calls a field's column: its name in the header, or its position."""
        at = self._positions.get(field)
        if not at:
            return ""
        if self._header is not None and at[0] < len(self._header):
            return self._header[at[0]]
        return str(at[0] + 1)

    def order_id(self, record: Record) -> str:
        """The id of the order that a row is of, as far as it is readable, even in a refused row."""
        return next((text for text in self._cells_of(record, "order_id") if text), "")

    def customer_id(self, record: Record) -> str:
        """The customer that a row is of, as far as it is readable."""
        return next((text for text in self._cells_of(record, "customer_id") if text), "")

    def is_note(self, record: Record) -> bool:
        """Is a row no order's, but a line about the export itself: ``3, record(s) downloaded``."""
        if not self._notes or any(self._cells_of(record, "product_id")):
            return False
        said = [folded(cell) for cell in record.cells if cell.strip()][:2]
        return any(cell.startswith(note) for cell in said for note in self._notes)

    def _cells_of(self, record: Record, field: str) -> list[str]:
        at = self._positions.get(field, ())
        return [record.cells[place].strip() for place in at if place < len(record.cells)]

    def texts(self, record: Record) -> Texts:
        """What stands in the row, by field; blank ones are empty. Raises BadRow."""
        cells = record.cells
        found = self._constants.copy()
        try:
            for field, at in self._single:
                found[field] = cells[at].strip()
        except IndexError:
            raise BadRow(f"{field} should be in column {at + 1}, but the row has {len(cells)}", field=field) from None
        for field, several in self._several:
            texts = (cells[at].strip() for at in several if at < len(cells))
            found[field] = next((text for text in texts if text), "")
        together = "".join(found.values())
        if len(together) > LONGEST_TEXT or not together.isascii():
            self._check_texts(found)
        return found

    def _check_texts(self, found: Texts) -> None:
        for field, value in found.items():
            if len(value) > LONGEST_TEXT:
                raise BadRow(
                    f"{field} has {len(value):,} characters; at most {LONGEST_TEXT:,} are allowed",
                    field=field,
                    value=value[:40] + "…",
                )
            if not value.isascii() and not is_readable(value, self._encoding):
                bare = value.encode("utf-8", "replace").decode()
                raise BadRow(
                    f"the row is not valid {self._encoding}: {field} has bytes that can't be decoded",
                    field=field,
                    value=bare,
                )

    def with_defaults(self, texts: Texts) -> Texts:
        """Blank fields filled with the mapping's defaults."""
        for field, value in self._mapping.defaults.items():
            if not texts.get(field):
                texts[field] = value
        return texts

    def head(self, texts: Texts) -> Head:
        """The order, as its first row has it. Raises BadRow."""
        for field in self._needed:
            if not texts.get(field):
                raise BadRow(f"{field} is empty", field=field)
        currency = self._currency(texts["currency"])
        outcome, _ = self.outcome(texts.get("status", ""))
        shipping, tax, discount, refunded = (
            self._cents(texts, name, currency) if name in self._money else None for name in MONEY_OF_THE_ORDER
        )
        for name, cents in (("shipping", shipping), ("tax", tax)):
            if cents is not None and cents < 0:
                raise BadRow(f"{name} is {texts[name]!r}, which is below zero", field=name, value=texts[name])
        refunded_at, paid_at, fulfilled_at = (
            self._millis(name, said) if (said := texts.get(name)) else None for name in TIMES
        )
        return Head(  # by position, in the order of its fields: names would take half as long again
            texts.get("order_id") or None,
            self._millis("occurred_at", texts["occurred_at"]),
            texts.get("customer_id", ""),
            texts["region"],
            currency,
            texts["channel"],
            outcome,
            shipping or 0,
            tax or 0,
            abs(discount or 0),  # some exports write it with a minus
            None if refunded is None else abs(refunded),
            refunded_at,
            paid_at,
            fulfilled_at,
            texts.get("discount_code") or None,
        )

    def line(self, texts: Texts, currency: str) -> Line:
        """The row as an order's line. Raises BadRow."""
        return self._line(self._of_line(texts), currency)

    def _parsed_line(self, of_line: tuple[str, ...], currency: str) -> Line:
        texts: Texts = dict(zip(self._line_fields, of_line, strict=True))
        get = texts.get
        product_id, category, brand = (get(name, "") for name in ("product_id", "category", "brand"))
        price = get("total") or get("unit_price", "")
        for name, text in (("product_id", product_id), ("category", category)):
            if not text:
                raise BadRow(f"{name} is empty", field=name)
        units = self._units(get("quantity", ""))
        amount = self._total(texts, units, currency)
        off = abs(self._cents(texts, "discount", currency) or 0)
        net = self._cents(texts, "net_total", currency)
        if net is not None:
            off = amount - abs(net)
            if off < 0:
                said = f"net_total is {texts['net_total']!r}, which is more than total, {price!r}"
                raise BadRow(said, field="net_total", value=texts["net_total"])
        if off > amount:
            said = f"discount is {get('discount')!r}, which is more than the line's price, {price!r}"
            raise BadRow(said, field="discount", value=get("discount", ""))
        extra = [self._cents(texts, name, currency) or 0 for name in ("line_shipping", "line_tax")]
        for name, cents in zip(("line_shipping", "line_tax"), extra, strict=True):
            if cents < 0 and units > 0:
                raise BadRow(f"{name} is {texts[name]!r}, which is below zero", field=name, value=texts[name])
        shipping, tax = (abs(cents) for cents in extra)
        free = abs(self._cents(texts, "line_shipping_discount", currency) or 0)
        if free > shipping:
            name = "line_shipping_discount"
            raise BadRow(f"{name} is {texts[name]!r}, which is more than line_shipping", field=name, value=texts[name])
        return Line(product_id, category, brand or None, units, amount, off, shipping - free, tax)

    def _total(self, texts: Mapping[str, str], units: int, currency: str) -> int:
        """Cents for all units, never negative: a return's sign is that of its units."""
        name = "total" if "total" in self._positions or "total" in self._constants else "unit_price"
        cents = self._cents(texts, name, currency)
        if cents is None:
            raise BadRow(f"{name} is empty", field=name)
        if cents < 0 and (units > 0 or name == "unit_price"):
            raise BadRow(f"{name} is {texts[name]}: a refund is not an order", field=name, value=texts[name])
        found = abs(cents) if name == "total" else cents * abs(units)
        if found > values.MOST_CENTS:
            raise BadRow(f"{name} is {texts[name]}, times its units more than an amount can be", field=name)
        return found

    def _units(self, text: str) -> int:
        if "quantity" not in self._positions and not text:
            return 1
        try:
            found = values.units(text)
        except BadValue as error:
            raise BadRow(f"quantity is {error}", field="quantity", value=text) from None
        if found == 0 or (found < 0 and self._mapping.cancellation_prefix is None):
            raise BadRow(f"quantity is {text!r}, which is not a positive whole number", field="quantity", value=text)
        return found

    def _cents(self, texts: Mapping[str, str], name: str, currency: str) -> int | None:
        text = texts.get(name)
        if not text:
            return None
        try:
            return values.cents(text, self._mapping.decimal_point, currency)
        except BadValue as error:
            raise BadRow(f"{name} is {error}", field=name, value=text) from None

    def _millis(self, name: str, text: str) -> int:
        try:
            return values.millis(text, self._formats, self._mapping.zone)
        except BadValue as error:
            raise BadRow(f"{name} is {error}", field=name, value=text) from None

    def _parsed_currency(self, text: str) -> str:
        found = text.upper() if self._mapping.upper_case_currency else text
        if is_currency(found):
            return found
        upper = text.upper()
        code = CURRENCY_NAMES.get(text.casefold()) or (upper if is_currency(upper) else "as EUR or USD")
        raise BadRow(f"currency is {text!r}; write the ISO 4217 code {code}", field="currency", value=text)

    def outcome(self, text: str) -> tuple[str, str]:
        """What an order's status means, and how the file has it. Raises BadRow for one that the mapping lacks."""
        if not self._mapping.status:
            return "sale", ""
        outcome = self._mapping.status.get(folded(text))
        if outcome is None:
            known = ", ".join(self._mapping.status)
            raise BadRow(
                f"status is {text!r}, and [status] in the mapping does not say what that means; it has {known}",
                field="status",
                value=text,
            )
        return outcome, text

    def is_cancelled(self, texts: Texts) -> bool:
        """Whether the row is of an item that was taken off its order."""
        text = texts.get("line_status", "")
        return text != "" and self._mapping.status.get(folded(text)) == "void"

    def check_same_outcome(self, texts: Texts, first: Texts) -> None:
        """Raises BadRow when a row's status means something else for its order than the first row's."""
        here, earlier = texts.get("status"), first.get("status")
        if here and earlier and here != earlier and self.outcome(here)[0] != self.outcome(earlier)[0]:
            raise BadRow(
                f"order {first.get('order_id')} has status {earlier!r} in an earlier row and {here!r} in this one:"
                " is it sold or not?",
                field="status",
                value=here,
            )


def check_same_order(texts: Texts, first: Texts, *, inherit_blanks: bool) -> None:
    """Raises BadRow when a row contradicts its order's first row."""
    for field in OF_THE_ORDER:
        here, earlier = texts.get(field, ""), first.get(field, "")
        if here != earlier and (here or not inherit_blanks):
            raise BadRow(
                f"order {first.get('order_id')} has {field} {earlier!r} in an earlier row and {here!r} in this one",
                field=field,
                value=here,
            )


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in cents over lines by their weight, exact in all: what is left over goes to the largest remainders.

    The amount is at most the weights' sum, so that no line gets more than its weight.
    """
    whole = sum(weights)
    if not amount or not whole:
        return [0] * len(weights)
    shares = [amount * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % whole), i))
    for index in by_remainder[: amount - sum(shares)]:
        shares[index] += 1
    return shares
