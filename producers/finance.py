"""What a shop pays: costs of goods, payment fees and ad spend, of the synthetic shop or from a table in a file.

What a file holds follows from its columns, whose names are those of the contracts:

======  ==============================================  =========================================
kind    columns it must have                            columns it may have
======  ==============================================  =========================================
costs   ``product_id``, ``unit_cost``, ``valid_from``   ``currency``
spend   ``campaign``, ``day``, ``amount``               ``channel``, ``impressions``, ``clicks``, ``currency``
fees    ``order_id``, ``amount``, ``charged_at``        ``fee_id``, ``provider``, ``currency``
======  ==============================================  =========================================

A row that was read before and says the same is not published again; one that says something else is stated anew, and
then counts. A row that is gone from a file takes nothing back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from producers.order_file import content as contents
from producers.order_file import table as tables
from producers.order_file import values
from producers.order_file.memory import Known, Memory
from producers.order_file.table import Record, Table, folded
from producers.order_file.values import BadValue
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.runner import Run
from producers.shop.identifiers import digest_of, envelope
from producers.shop.occurrences import COST_STATED, FEE_CHARGED, SPEND_STATED
from schemas.binary import EPOCH
from schemas.catalogue import Event
from schemas.errors import Misconfigured, PoisonEvent, RowsRefused
from schemas.plural import counted

Row = Mapping[str, str]
REASONS_SAID: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a file may hold: the columns that tell it, and how a row is read.

    ``fields`` takes a row and the shop's currency, gives the event's own fields, and raises BadValue. ``names`` are the
    fields that say of what a row states something; ``time`` is the field with the event's time, if it is not now.
    """

    event: Event
    needs: tuple[str, ...]
    fields: Callable[[Row, str], dict[str, Any]]
    names: tuple[str, ...]
    time: str | None = None


def _text(row: Row, column: str, default: str | None = None) -> str:
    if found := row.get(column, "").strip() or default:
        return found
    raise BadValue(f"{column} is blank")


def _amount(row: Row, column: str, currency: str) -> Decimal:
    return Decimal(_read(column, lambda: values.cents(_text(row, column), None, currency))).scaleb(-2)


def _moment(row: Row, column: str) -> datetime:
    at_ms: int = _read(column, lambda: values.millis(_text(row, column), (values.ISO,), "UTC"))
    return EPOCH + timedelta(milliseconds=at_ms)


def _count(row: Row, column: str) -> int | None:
    return _read(column, lambda: values.units(row[column])) if row.get(column, "").strip() else None


def _read(column: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except BadValue as error:
        raise error if str(error).startswith(column) else BadValue(f"{column} is {error}") from error


def _cost(row: Row, currency: str) -> dict[str, Any]:
    return {
        "product_id": _text(row, "product_id"),
        "valid_from": _moment(row, "valid_from"),
        "unit_cost": _amount(row, "unit_cost", currency),
    }


def _spend(row: Row, currency: str) -> dict[str, Any]:
    return {
        "channel": _text(row, "channel", "ads"),
        "campaign": _text(row, "campaign"),
        "day": _moment(row, "day").date(),
        "amount": _amount(row, "amount", currency),
        "impressions": _count(row, "impressions"),
        "clicks": _count(row, "clicks"),
    }


def _fee(row: Row, currency: str) -> dict[str, Any]:
    order_id = _text(row, "order_id")
    return {
        "fee_id": _text(row, "fee_id", order_id),
        "order_id": order_id,
        "provider": _text(row, "provider", "unknown"),
        "amount": _amount(row, "amount", currency),
        "occurred_at": _moment(row, "charged_at"),
    }


KINDS: Final = (
    Kind(
        event=COST_STATED,
        needs=("product_id", "unit_cost", "valid_from"),
        fields=_cost,
        names=("product_id", "valid_from"),
    ),
    Kind(
        event=SPEND_STATED,
        needs=("campaign", "day", "amount"),
        fields=_spend,
        names=("channel", "campaign", "day"),
    ),
    Kind(
        event=FEE_CHARGED,
        needs=("order_id", "amount", "charged_at"),
        fields=_fee,
        names=("fee_id", "occurred_at"),
        time="occurred_at",
    ),
)


def run(this: Run) -> None:
    """Publish the synthetic shop's, until asked to stop; with ``options.from_file`` what that file says, and return.

    Raises Misconfigured for a file that can't be read. Leaves RowsRefused as the verdict when rows were refused: each
    is a dead letter, once.
    """
    if this.options.from_file is not None:
        _read_file(this, this.options.from_file)
    else:
        from producers.shop import source as shop

        shop.run(this)


def opened(path: Path) -> tuple[Kind, Table]:
    """A file's kind and its rows below the header. Raises Misconfigured with what is wrong and what to do."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"the file {path} can't be read: {error.strerror}") from error
    read = tables.read(content, name=path.name, delimiter=contents.AUTO, encoding=contents.AUTO)
    table = read.with_header(())
    header = [folded(name) for name in table.header or ()]
    for kind in KINDS:
        if set(kind.needs) <= set(header):
            return kind, table
    wanted = "; or ".join(", ".join(kind.needs) for kind in KINDS)
    raise Misconfigured(f"{path.name} has the columns {', '.join(header)}: rename them, so that they have {wanted}")


def _read_file(this: Run, path: Path) -> None:
    kind, table = opened(path)
    memory = Memory(this.options.state / f"{this.source.name}-statements.sqlite")
    try:
        stated, refused = _publish(this, kind, table, memory)
    finally:
        memory.close()
    this.log.info("finished", file=path.name, stated=stated, refused=len(refused))
    if refused:
        said = "; ".join(refused[:REASONS_SAID])
        this.verdict = RowsRefused(
            f"{counted(len(refused), 'row')} of {path.name} refused, {stated:,} published now. {said}."
            " `insights dead-letters` lists each; fix them and read the file again: nothing is published twice"
        )


def _publish(this: Run, kind: Kind, table: Table, memory: Memory) -> tuple[int, list[str]]:
    """Returns how many rows were published, and why the others were refused."""
    stated, refused, said = 0, [f"line {row.line}: {row.problem}" for row in table.broken], dict[str, int]()
    for row in table.broken:
        _refuse(this, kind, memory, table.original(row.line, row.line, row.cells), row.line, BadValue(row.problem))
    for record in table.records:
        if this.stop.requested:
            break
        try:
            stated += _state(this, kind, memory, _row(table.header or (), record), record.line, said)
        except PoisonEvent as error:
            refused.append(f"line {record.line}: {error}")
            original = table.original(record.line, record.last_line, record.cells)
            _refuse(this, kind, memory, original, record.line, error)
    this.publisher.flush()
    memory.commit()
    return stated, refused


def _row(header: Sequence[str], record: Record) -> Row:
    return {folded(name): cell for name, cell in zip(header, record.cells, strict=False)}


def _state(this: Run, kind: Kind, memory: Memory, row: Row, line: int, said: dict[str, int]) -> bool:
    """Publish a row unless it is known; whether it was. ``said`` are the lines by what they are about.

    Raises PoisonEvent, also for a second row about the same: nobody knows which of the two counts.
    """
    currency = row.get("currency", "").strip() or this.options.currency
    fields = kind.fields(row, currency)
    key = ":".join([kind.event.table, *(str(fields[name]) for name in kind.names)])
    if said.setdefault(key, line) != line:
        raise BadValue(f"{', '.join(kind.names)} are those of line {said[key]}, which counts; keep one of the two")
    digest = digest_of((currency, sorted(fields.items())))
    if memory.known([key]).get(key) == Known(digest):
        return False
    now_ms = int(this.clock() * 1000)
    at = fields[kind.time] if kind.time else EPOCH + timedelta(milliseconds=now_ms)
    at_ms = (at - EPOCH) // timedelta(milliseconds=1)
    record = {
        **envelope(this.source.name, f"{key}:{digest.hex()}:{now_ms}", at_ms),
        "currency": currency,
        **({"version": now_ms} if kind.event.versions else {}),
        **fields,
    }
    this.publish(kind.event, record)
    memory.note(key, Known(digest))
    return True


def _refuse(this: Run, kind: Kind, memory: Memory, original: bytes, line: int, error: PoisonEvent) -> None:
    """Send a row to the dead letters, sealed, unless the same one was: a list of fees may name who paid."""
    key = f"row:{hashlib.blake2b(original, digest_size=12).hexdigest()}"
    if memory.known([key]):
        return
    # Redriven, it is of this source: what the file says later of the same thing replaces it.
    origin = {"source": this.source.name, "file": str(this.options.from_file), "line": str(line)}
    with closing(PersonKeys(this.options.state)) as keys:
        Letters(this.publisher, keys, this.clock).send(kind.event, original, error=error, origin=origin)
    this.published += 1
    memory.note(key, Known(b""))
