"""The orders and refunds that an order file holds, each whole or refused whole. Pure: rows in, records out.

**Identity.** The id of an order's event is made of the source, the order's id and its time, never of the file: the same
order in a corrected file, or in two exports that overlap, is one event. Where rows have no order id, a row is an order,
and its id is made of its contents and of how many equal rows come before it: two equal rows of a file are two orders,
and an export that holds both again holds the same two. A ``digest`` covers what an event counts; an order with an id
whose digest changed is a correction (source.py).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from producers.order_file import records
from producers.order_file.mapping import ColumnMapping
from producers.order_file.rows import HEAD_FIELDS, BadRow, Head, Line, RowReader, Texts, check_same_order, spread
from producers.order_file.steps import ORDER, REFUND, Refusal, Skip, Step, Withdrawal
from producers.order_file.table import Record, Table
from producers.order_file.table import read as read_table
from producers.order_file.values import MOST_CENTS
from producers.rates.exchange import Exchange
from producers.shop.identifiers import digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFile:
    """A file as it was read: what to publish, in order, and what not. Every row is in one of the three lists."""

    mapping: ColumnMapping
    table: Table = field(repr=False)
    sha256: str
    steps: Sequence[Step]
    refused: Sequence[Refusal]
    skipped: Sequence[Skip]

    def record(self, step: Step | Withdrawal, exchange: Exchange | None = None) -> dict[str, Any]:
        """The record of a step, as its contract has it. Raises NoRate, as ``records.record`` does."""
        if isinstance(step, Withdrawal):
            return records.withdrawal(self.mapping.source, step)
        return records.record(self.mapping.source, step, exchange, tax_included=self.mapping.tax_included)

    def original(self, rows: Sequence[Record], line: int = 0) -> bytes:
        """The bytes of rows as they stood in the file."""
        if not rows:
            return self.table.original(line, line)
        return b"\n".join(self.table.original(row.line, row.last_line, row.cells) for row in rows)


def read(content: bytes, mapping: ColumnMapping, name: str = "orders") -> OrderFile:
    """Everything in a file. Raises Misconfigured when the whole of it can't be read, or lacks a mapped column."""
    table = read_table(
        content, name=name, delimiter=mapping.delimiter, encoding=mapping.encoding, wanted=mapping.names()
    )
    return assembled(table, mapping, hashlib.sha256(content).hexdigest())


def assembled(table: Table, mapping: ColumnMapping, sha256: str) -> OrderFile:
    """The orders in a table of rows. Raises Misconfigured when it lacks a mapped column."""
    if mapping.header:
        table = table.with_header(mapping.names())
    book = _Assembly(RowReader(mapping, table), mapping)
    book.add_all(table)
    return OrderFile(
        mapping=mapping,
        table=table,
        sha256=sha256,
        steps=sorted(book.steps),
        refused=sorted(book.refused, key=lambda refusal: (refusal.sheet, refusal.line)),
        skipped=book.skipped,
    )


class _Assembly:
    """Puts rows together to orders."""

    def __init__(self, reader: RowReader, mapping: ColumnMapping) -> None:
        self._reader = reader
        self._mapping = mapping
        self.steps: list[Step] = []
        self.refused: list[Refusal] = []
        self.skipped: list[Skip] = []
        self._equal_rows: Counter[bytes] = Counter()
        self._equal_refused: Counter[tuple[Any, ...]] = Counter()

    def add_all(self, table: Table) -> None:
        unread = [(BadRow(b.problem, line=b.line), Record(b.line, b.line, b.cells, b.sheet)) for b in table.broken]
        for rows, spoilt in self._groups(table.records, unread):
            try:
                if spoilt is not None:
                    raise spoilt
                self._add(rows)
            except BadRow as bad:
                self.refuse(bad, tuple(sorted(record for record, _ in rows)))

    def refuse(self, bad: BadRow, rows: tuple[Record, ...]) -> None:
        line = bad.line or rows[0].line
        same = (str(bad), tuple(tuple(row.cells) for row in rows))
        self._equal_refused[same] += 1
        self.refused.append(
            Refusal(
                line=line,
                column=self._reader.column(bad.field),
                value=bad.value,
                reason=str(bad),
                rows=rows,
                order_id=self._reader.order_id(rows[0]),
                sheet=rows[0].sheet,
                number=self._equal_refused[same],
                customer_id=self._reader.customer_id(rows[0]),
            )
        )

    def _groups(
        self, records: Sequence[Record], unread: Sequence[tuple[BadRow, Record]]
    ) -> Iterator[tuple[list[tuple[Record, Texts]], BadRow | None]]:
        """Rows by order, in the order of their first ones, and why one can't be read, which spoils its order."""
        inherits, has_ids = self._mapping.inherit_blanks, self._reader.has_order_ids
        orders: dict[str, list[tuple[Record, Texts]]] = {}
        bad_rows = list(unread)
        newest = ""
        for record in records:
            if self._reader.is_note(record):
                reason = "a summary line of the export, not an order"
                self.skipped.append(Skip("note", "", reason, (record,)))
                continue
            try:
                texts = self._reader.texts(record)
            except BadRow as bad:
                bad.line = record.line
                bad_rows.append((bad, record))
                newest = self._reader.order_id(record) or newest
                continue
            if not has_ids:
                yield [(record, texts)], None
                continue
            newest = order_id = texts.get("order_id") or (newest if inherits else "")
            texts["order_id"] = order_id
            if order_id:
                orders.setdefault(order_id, []).append((record, texts))
            else:
                yield [(record, texts)], None
        spoilt: dict[str, BadRow] = {}
        for problem, record in bad_rows:
            order_id = self._reader.order_id(record)
            if order_id in orders:
                spoilt.setdefault(order_id, problem)
                orders[order_id].append((record, {}))
            else:
                yield [(record, {})], problem
        for order_id, rows in orders.items():
            yield rows, spoilt.get(order_id)

    def _add(self, rows: list[tuple[Record, Texts]]) -> None:
        rows = self._without_cancelled(rows)
        records = tuple(record for record, _ in rows)
        _, first = rows[0]
        if len(rows) > 1:
            own = dict(first)
            for record, texts in rows[1:]:
                self._complete(record, texts, own)
        try:
            first = self._reader.with_defaults(first)
            outcome, status = self._reader.outcome(first.get("status", ""))
            if self._reader.is_cancelled(first):
                outcome, status = "void", first["line_status"]
            if outcome == "void":  # often with blanks where an order has its money
                order_id = first.get("order_id") or f"in line {records[0].line}"
                self.skipped.append(Skip("order", order_id, f"its status is {status}: it was not sold", records))
                return
            head = self._reader.head(first)
        except BadRow as bad:
            bad.line = records[0].line
            raise
        lines, at_ms = [], head.at_ms
        for record, texts in self._without_summaries(rows):
            try:
                texts = self._reader.with_defaults(texts)
                lines.append(self._reader.line(texts, head.currency))
                if record is not records[0] and texts["occurred_at"] != first["occurred_at"]:
                    at_ms = min(at_ms, self._reader.head(texts).at_ms)
            except BadRow as bad:
                bad.line = record.line
                raise
        self._finish(head if at_ms == head.at_ms else head._replace(at_ms=at_ms), lines, records)

    def _complete(self, record: Record, texts: Texts, first: Texts) -> None:
        """A later row of an order: blank fields of the whole order are the first row's; others must not differ."""
        inherits = self._mapping.inherit_blanks
        try:
            check_same_order(texts, first, inherit_blanks=inherits)
            self._reader.check_same_outcome(texts, first)
        except BadRow as bad:
            bad.line = record.line
            raise
        for name in HEAD_FIELDS:
            if inherits and not texts.get(name) and first.get(name):
                texts[name] = first[name]

    def _without_cancelled(self, rows: list[tuple[Record, Texts]]) -> list[tuple[Record, Texts]]:
        """Without the items that were cancelled; all of them if none was sold, with the order's own status."""
        sold: list[tuple[Record, Texts]] = []
        cancelled: list[tuple[Record, Texts]] = []
        for row in rows:
            (cancelled if self._reader.is_cancelled(row[1]) else sold).append(row)
        if not cancelled or not sold:
            return rows
        for record, texts in cancelled:
            reason = f"an item of it, and its status is {texts['line_status']}: it was not sold"
            self.skipped.append(Skip("item", self._reader.order_id(record), reason, (record,)))
        return sold

    def _without_summaries(self, rows: list[tuple[Record, Texts]]) -> list[tuple[Record, Texts]]:
        if not self._mapping.summary_rows or len(rows) == 1:
            return rows
        return [row for row in rows if row[1].get("product_id")] or rows

    def _finish(self, head: Head, lines: list[Line], records: tuple[Record, ...]) -> None:
        version = 1 if head.order_id else None  # what it is instead, goes by what is known (source.py)
        order_id = head.order_id or self._id_of_row(head, lines)
        if not head.order_id or not head.customer_id:
            head = head._replace(order_id=order_id, customer_id=head.customer_id or f"guest-{order_id}")
        sold = [line for line in lines if line.quantity > 0]
        back = [line for line in lines if line.quantity < 0]
        if back and not order_id.startswith(self._mapping.cancellation_prefix or ""):
            bad = records[next(i for i, line in enumerate(lines) if line.quantity < 0)]
            raise BadRow(
                f"quantity is negative, and the order is no cancellation: its id does not begin with"
                f" {self._mapping.cancellation_prefix}",
                field="quantity",
                line=bad.line,
            )
        if not sold and not back:
            raise BadRow("the order has no lines", line=records[0].line)
        found = [*self._placed(head, sold, records)] if sold else []
        if back:
            found.append(self._returned(head, back, records))
        self.steps += [step._replace(version=version) for step in found]

    def _placed(self, head: Head, sold: list[Line], records: tuple[Record, ...]) -> Iterator[Step]:
        """The order, and what was paid back of it."""
        lines = self._discounted(head, sold)
        shipping = head.shipping + sum(line.shipping for line in lines)
        tax = head.tax + sum(line.tax for line in lines)
        if shipping != head.shipping or tax != head.tax:
            head = head._replace(shipping=shipping, tax=tax)
        goods = sum(line.total - line.discount for line in lines)
        paid = goods + shipping + tax
        if goods > MOST_CENTS or paid > MOST_CENTS:
            raise BadRow("the order comes to more than an amount can be", line=records[0].line)
        said = (head.at_ms, head.customer_id, head.region, head.currency, head.channel, _said(lines))
        digest = digest_of((ORDER, *said, shipping, tax))
        yield Step(head.at_ms, records[0].line, ORDER, _id(head), digest, head, tuple(lines), records)
        amount = head.refunded or 0
        if head.outcome == "refunded" and not amount:
            amount = goods + shipping + (0 if self._mapping.tax_included else tax)
        if amount > paid:
            raise BadRow(
                f"refunded is {Decimal(amount).scaleb(-2)}, and the order comes to {Decimal(paid).scaleb(-2)}",
                field="refunded",
                line=records[0].line,
            )
        if amount:
            # A part of an order that was paid back: the file does not have which goods came back.
            yield self._refund(head, tuple(lines) if amount >= goods else (), amount, records)

    def _returned(self, head: Head, back: list[Line], records: tuple[Record, ...]) -> Step:
        lines = [line._replace(quantity=-line.quantity) for line in back]
        amount = sum(line.total - line.discount + line.shipping for line in lines)
        if amount > MOST_CENTS:
            raise BadRow("what was paid back is more than an amount can be", line=records[0].line)
        return self._refund(head, tuple(lines), amount, records)

    def _refund(self, head: Head, lines: tuple[Line, ...], amount: int, records: tuple[Record, ...]) -> Step:
        at_ms = head.at_ms if head.refunded_at_ms is None else head.refunded_at_ms
        digest = digest_of((REFUND, head.customer_id, head.region, head.currency, _said(lines), amount))
        return Step(at_ms, records[0].line, REFUND, _id(head), digest, head, lines, records, amount)

    def _discounted(self, head: Head, lines: list[Line]) -> list[Line]:
        """The order's discount is spread over its lines by what they cost."""
        if not head.discount:
            return lines
        costs = [line.total - line.discount for line in lines]
        if head.discount > sum(costs):
            off, cost = Decimal(head.discount).scaleb(-2), Decimal(sum(costs)).scaleb(-2)
            raise BadRow(f"order_discount is {off}, and the goods cost {cost}", field="order_discount")
        shares = spread(head.discount, costs)
        return [line._replace(discount=line.discount + off) for line, off in zip(lines, shares, strict=True)]

    def _id_of_row(self, head: Head, lines: list[Line]) -> str:
        digest = digest_of(
            ("row", head.at_ms, head.customer_id, head.region, head.currency, head.channel, _said(lines))
        )
        self._equal_rows[digest] += 1
        return f"{self._mapping.source}-{digest_of(('nth', digest, self._equal_rows[digest])).hex()}"


def _id(head: Head) -> str:
    assert head.order_id is not None
    return head.order_id


def _said(lines: Sequence[Line]) -> list[tuple[Any, ...]]:
    """Lines for a digest, in whatever order a file has them. Plain tuples: a named one's repr takes twice as long."""
    plain = [tuple(line) for line in lines]
    return plain if len(plain) == 1 else sorted(plain, key=repr)
