"""Rows of an order file, and the orders they make. Pure: bytes in, records out."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from producers.order_file.mapping import WHITESPACE, ColumnMapping
from producers.shop.identifiers import event_id, tail_prefix
from schemas.errors import PoisonEvent

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
CENT: Final = Decimal("0.01")
ZERO: Final = Decimal("0.00")


class BadRow(PoisonEvent):
    """A row is no order line, and why."""


class Row(NamedTuple):
    """One row that is good: ``total_cents`` for all its units."""

    at_ms: int
    customer_id: str
    order_id: str | None
    product_id: str
    category: str
    brand: str | None
    region: str
    currency: str
    channel: str
    quantity: int
    total_cents: int


class Step(NamedTuple):
    """One thing to publish: an order of some lines of the file, or a bad line with its ``problem``.

    Steps sort into the order of publishing: bad lines first, then orders by time, then by where they stand.
    """

    at_ms: int
    lines: tuple[int, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFile:
    """A file as it was read: its raw ``rows`` (line 1 is ``rows[0]``), its hash, and what to publish, in order."""

    mapping: ColumnMapping
    sha256: str
    rows: Sequence[bytes]
    positions: dict[str, int]
    steps: Sequence[Step]

    def order(self, step: Step) -> dict[str, Any]:
        """The ``sales.order_placed`` record of a step without a problem. The same file gives the same ids."""
        rows = [parse_row(self.mapping, self.positions, self.rows[line - 1]) for line in step.lines]
        first, line = rows[0], step.lines[0]
        source = self.mapping.source
        return {
            "event_id": event_id(step.at_ms, tail_prefix(_bits(self.sha256, line)), 0),
            "occurred_at": EPOCH + step.at_ms * MILLISECOND,
            "source": source,
            "trace": None,
            "order_id": first.order_id or f"{source}-{line}",
            "customer_id": first.customer_id,
            "region": first.region,
            "currency": first.currency,
            "channel": first.channel,
            "session_id": None,
            "lines": [line for row in rows for line in order_lines(row)],
            "shipping_amount": ZERO,
            "tax_amount": ZERO,
        }


def read(content: bytes, mapping: ColumnMapping) -> OrderFile:
    """Everything in a file. Raises Misconfigured when the mapping names columns that the file lacks."""
    rows = content.splitlines()
    first = 1 if mapping.header else 0
    header = [cell.strip() for cell in _cells(mapping, rows[0])] if mapping.header and rows else None
    positions = mapping.positions(header)
    steps: list[Step] = []
    step_of_order: dict[str, tuple[int, Row]] = {}
    for line, raw in enumerate(rows[first:], start=first + 1):
        if not raw.strip():
            continue
        try:
            row = parse_row(mapping, positions, raw)
            known = step_of_order.get(row.order_id) if row.order_id is not None else None
            if known is not None:
                _check_same_order(row, known[1])
                step = steps[known[0]]
                steps[known[0]] = step._replace(at_ms=min(step.at_ms, row.at_ms), lines=(*step.lines, line))
                continue
            if row.order_id is not None:
                step_of_order[row.order_id] = (len(steps), row)
            steps.append(Step(row.at_ms, (line,)))
        except BadRow as bad:
            steps.append(Step(-1, (line,), str(bad)))
    return OrderFile(
        mapping=mapping,
        sha256=hashlib.sha256(content).hexdigest(),
        rows=rows,
        positions=positions,
        steps=sorted(steps),
    )


def parse_row(mapping: ColumnMapping, positions: dict[str, int], raw: bytes) -> Row:
    """One row. Raises BadRow saying which field can't be, and why."""
    try:
        cells = _cells(mapping, raw)
    except UnicodeDecodeError as error:
        raise BadRow(f"the row is not {mapping.encoding}: {error.reason} at byte {error.start}") from error

    def field(name: str) -> str:
        position = positions.get(name)
        if position is None:
            return mapping.constants.get(name, "")
        if position >= len(cells):
            raise BadRow(f"{name} should stand in column {position + 1}, and the row has {len(cells)}")
        return cells[position].strip()

    for name in ("customer_id", "product_id", "category", "region", "currency", "channel"):
        if not field(name):
            raise BadRow(f"{name} is empty")
    quantity = _quantity(field("quantity") or "1")
    return Row(
        at_ms=_millis(field("occurred_at"), mapping.date_format, mapping.zone),
        customer_id=field("customer_id"),
        order_id=field("order_id") or None,
        product_id=field("product_id"),
        category=field("category"),
        brand=field("brand") or None,
        region=field("region"),
        currency=field("currency"),
        channel=field("channel"),
        quantity=quantity,
        total_cents=_total_cents(field("total"), field("unit_price"), quantity, mapping.decimal_point),
    )


def order_lines(row: Row) -> list[dict[str, Any]]:
    """The row as order lines whose units and money are both exact.

    A total that its units don't divide becomes two lines, one with the price rounded down and one a cent dearer.
    """
    price, dearer_units = divmod(row.total_cents, row.quantity)
    priced = ((row.quantity - dearer_units, price), (dearer_units, price + 1))
    return [
        {
            "product_id": row.product_id,
            "category": row.category,
            "brand": row.brand,
            "quantity": units,
            "unit_price": CENT * cents,
            "discount_amount": ZERO,
        }
        for units, cents in priced
        if units
    ]


def _cells(mapping: ColumnMapping, raw: bytes) -> list[str]:
    text = raw.decode(mapping.encoding)
    if mapping.delimiter == WHITESPACE:
        return text.split()
    return next(csv.reader((text,), delimiter=mapping.delimiter))


def _check_same_order(row: Row, first: Row) -> None:
    for name in ("customer_id", "region", "currency", "channel"):
        if getattr(row, name) != getattr(first, name):
            earlier, here = getattr(first, name), getattr(row, name)
            raise BadRow(f"order {row.order_id} has {name} {earlier} in an earlier row and {here} in this one")


def _quantity(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 31:
        raise BadRow(f"quantity is {text!r}, which is not a positive whole number")
    return int(text)


@lru_cache(maxsize=8192)  # many orders fall on a day, and a date is slow to read
def _millis(text: str, date_format: str, zone: str) -> int:
    try:
        at = datetime.strptime(text, date_format)
    except ValueError as error:
        raise BadRow(f"occurred_at is {text!r}, which is not a date like {date_format}") from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=ZoneInfo(zone))
    millis = (at - EPOCH) // MILLISECOND
    if millis < 0:
        raise BadRow(f"occurred_at is {text!r}, which is before 1970")
    return millis


def _total_cents(total: str, unit_price: str, quantity: int, decimal_point: str) -> int:
    name, text = ("total", total) if total else ("unit_price", unit_price)
    try:
        amount = Decimal(text.replace(decimal_point, ".")) if text.isascii() else Decimal("nan")
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise BadRow(f"{name} is {text!r}, which is not an amount of money")
    cents = amount.scaleb(2)
    if cents != int(cents):
        raise BadRow(f"{name} is {text}, which is not in whole cents")
    if cents < 0:
        raise BadRow(f"{name} is {text}: a refund is not an order")
    return int(cents) if total else int(cents) * quantity


def _bits(sha256: str, line: int) -> int:
    digest = hashlib.blake2b(f"{sha256}:{line}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & ((1 << 58) - 1)
