"""Shows how a file would count, before anything is published. Needs no Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from producers.order_file.memory import Memory, path_of
from producers.order_file.orders import OrderFile
from producers.order_file.source import Work, remaining
from producers.order_file.steps import EVENTS, ORDER, Refusal, Step, Withdrawal
from producers.rates.exchange import Exchange
from schemas.binary import EPOCH, MILLISECOND, since_epoch
from schemas.catalogue import MOST_AHEAD, Event
from schemas.codec import Encoder, Record
from schemas.currency import decimals, scale
from schemas.errors import PoisonEvent
from schemas.plural import counted

FIRST: Final = 10
MOST_CORRECTIONS: Final = 100


@dataclass(slots=True)
class Month:
    """Sums of a month in one currency, in cents."""

    orders: int = 0
    units: int = 0
    gross: int = 0
    discount: int = 0
    shipping: int = 0
    tax: int = 0
    refunded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a file would count as: ``steps`` that the contracts take, sums by month and currency, what is refused.

    ``corrections`` of earlier imports are apart, and in no sum.
    """

    file: OrderFile
    steps: Sequence[Step]
    refused: Sequence[Refusal]
    already: int
    corrections: Sequence[Step | Withdrawal]
    months: dict[tuple[str, str], Month] = field(default_factory=dict)


def found(file: OrderFile, state: Path, now: datetime, currency: str) -> Finding:
    """What would become of a file's rows if it were published now, given what is known of its source.

    ``currency`` is the shop's. Sums are in the currency that was charged, each apart.
    """
    work = _remaining(file, state, since_epoch(now))
    exchange = Exchange(state, currency, asks=False)
    encoders = {kind: Encoder(event, 1, currency) for kind, event in EVENTS.items()}
    steps, refused, corrections = [], list(work.refused), []
    months: dict[tuple[str, str], Month] = {}
    for step in work.steps:
        try:
            record = file.record(step, exchange)
            encoders[step.kind].encode(record)
            _refuse_the_future(EVENTS[step.kind], record, now)
        except PoisonEvent as error:
            if isinstance(step, Step):
                refused.append(step.refused(str(error)))
            continue
        if isinstance(step, Withdrawal) or step.order_id in work.corrected:
            corrections.append(step)
            continue
        steps.append(step)
        at = record["occurred_at"]
        _add(months.setdefault((f"{at:%Y-%m}", step.head.currency), Month()), step)
    return Finding(
        file=file,
        steps=steps,
        refused=refused,
        already=work.already,
        corrections=corrections,
        months=dict(sorted(months.items())),
    )


def _refuse_the_future(event: Event, record: Record, now: datetime) -> None:
    """Raises PoisonEvent for what the publisher would refuse now."""
    for name in event.times:
        if (at := record.get(name)) and at > now + MOST_AHEAD:
            raise PoisonEvent(f"{name} is {at.isoformat()}, which is in the future")


def _remaining(file: OrderFile, state: Path, now_ms: int) -> Work:
    path = path_of(state, file.mapping.source)
    if not path.exists():
        return Work(steps=file.steps, refused=file.refused, already=0)
    memory = Memory(path)
    try:
        return remaining(file, memory, now_ms)
    finally:
        memory.close()


def _add(month: Month, step: Step) -> None:
    if step.kind != ORDER:
        month.refunded += step.amount
        return
    month.orders += 1
    month.units += sum(line.quantity for line in step.lines)
    month.gross += sum(line.total for line in step.lines)
    month.discount += sum(line.discount for line in step.lines)
    month.shipping += step.head.shipping
    month.tax += step.head.tax


def show(finding: Finding, console: Console) -> None:
    """Print it: the first orders, the months, every refused row, what was not sold, and the sum of rows."""
    file = finding.file
    console.print(Text(f"Read as {file.mapping.description or file.mapping.source}: {file.table.form}."))
    _print(console, "First orders, as they would be counted", _orders(finding))
    _print(console, "By month, UTC", _months(finding))
    _print(console, "Corrections of earlier imports", _corrections(finding))
    _print(console, "Rejected rows", _refused(finding))
    _print(console, "Skipped rows", _skipped(finding))
    console.print(Text(balance(finding)))
    console.print(Text("Nothing was published."))


def balance(finding: Finding) -> str:
    """Every row of the file, by what would become of it."""
    refused = {(row.sheet, row.line) for refusal in finding.refused for row in refusal.rows}
    skipped = {(row.sheet, row.line): skip.what for skip in finding.file.skipped for row in skip.rows}
    notes = {place for place, what in skipped.items() if what == "note"}
    unsold = skipped.keys() - notes - refused
    rows = {(row.sheet, row.line) for row in finding.file.table.records}
    rows |= {(row.sheet, row.line) for row in finding.file.table.broken}
    kept = len(rows - refused - notes - unsold)
    known = [f"{finding.already:,} of their events were imported before"] if finding.already else []
    if finding.corrections:
        corrected = len({step.order_id for step in finding.corrections})
        known.append(f"{counted(corrected, 'correction')} of earlier imports")
    already = f" ({', '.join(known)})" if known else ""
    return (
        f"{counted(len(rows), 'row')}: {kept:,} in orders{already}, {len(refused):,} rejected, {len(unsold):,} not"
        f" sold{f', {len(notes):,} summary lines' if notes else ''}."
    )


def _print(console: Console, title: str, table: Table) -> None:
    if table.row_count:
        console.print(Text(f"\n{title}", style="bold"))
        console.print(table)


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def money(cents: int, currency: str) -> str:
    """1,234.50 of EUR, 1,234 of JPY; but 1,234.50 of JPY, too, where that is what would be counted."""
    amount, own = Decimal(cents).scaleb(-scale(currency)), decimals(currency)
    return f"{amount:,.{own if own is not None and round(amount, own) == amount else scale(currency)}f}"


MONEY: Final = ("gross", "discount", "sales", "shipping", "tax", "refunded")


def _orders(finding: Finding) -> Table:
    table = _table(
        *("line", "order", "time, UTC", "customer", "region", "units", *MONEY[:5], "refunded", "currency"),
        right=("line", "units", "refunded", *MONEY),
    )
    refunds = {step.order_id: step.amount for step in finding.steps if step.kind != ORDER}
    for step in [step for step in finding.steps if step.kind == ORDER][:FIRST]:
        gross, off = (sum(getattr(line, name) for line in step.lines) for name in ("total", "discount"))
        sums = [gross, off, gross - off, step.head.shipping, step.head.tax, refunds.get(step.order_id, 0)]
        table.add_row(
            *(str(step.line), _plain(step.order_id), f"{EPOCH + step.at_ms * MILLISECOND:%Y-%m-%d %H:%M:%S}"),
            *(_plain(step.head.customer_id), _plain(step.head.region)),
            *(
                f"{sum(line.quantity for line in step.lines):,}",
                *(money(sum_, step.head.currency) for sum_ in sums),
                step.head.currency,
            ),
        )
    return table


def _months(finding: Finding) -> Table:
    table = _table("month", "currency", "orders", "units", *MONEY, right=("orders", "units", *MONEY))
    for (name, currency), m in finding.months.items():
        sums = (m.gross, m.discount, m.gross - m.discount, m.shipping, m.tax, m.refunded)
        table.add_row(name, currency, f"{m.orders:,}", f"{m.units:,}", *(money(sum_, currency) for sum_ in sums))
    return table


def _corrections(finding: Finding) -> Table:
    table = _table("line", "order", "time, UTC", "now", right=("line", "now"))
    for step in finding.corrections[:MOST_CORRECTIONS]:
        at = f"{EPOCH + step.at_ms * MILLISECOND:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(step.line), _plain(step.order_id), at, _now(step))
    if len(finding.corrections) > MOST_CORRECTIONS:
        table.add_row("", f"and {len(finding.corrections) - MOST_CORRECTIONS:,} more", "", "")
    return table


def _now(step: Step | Withdrawal) -> str:
    """What counts of it after the correction."""
    what = "refund" if step.kind != ORDER else "order"
    if isinstance(step, Withdrawal):
        return f"{what}: none"
    cents = step.amount if step.kind != ORDER else sum(line.total - line.discount for line in step.lines)
    return f"{what}: {money(cents, step.head.currency)}"


def _refused(finding: Finding) -> Table:
    table = _table("line", "column", "value", "reason", right=("line",))
    for refusal in finding.refused:
        place = f"{refusal.sheet} {refusal.line}".strip()
        others = len(refusal.rows) - 1
        whole = f" (order {refusal.order_id}: {others + 1} rows are rejected together)" if others else ""
        table.add_row(place, *(_plain(text) for text in (refusal.column, refusal.value, refusal.reason + whole)))
    return table


def _skipped(finding: Finding) -> Table:
    table = _table("line", "order", "why", right=("line",))
    for skip in finding.file.skipped:
        table.add_row(str(skip.rows[0].line), _plain(skip.order_id), _plain(skip.reason))
    return table


def _plain(text: str) -> Text:
    """Text as it can be shown: what is no character, or moves the cursor, as its number."""
    return Text("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))
