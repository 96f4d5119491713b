"""Publishes the orders of a file that are not on the log yet, each once, and reports the outcome of the others.

The memory is updated only after everything before it is acknowledged. So reading a file again after a kill resumes
where it was, and events that are published twice have the same ids.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers.order_file import export
from producers.order_file.mapping import check_currency
from producers.order_file.memory import WITHDRAWN, Known, Memory, path_of
from producers.order_file.orders import OrderFile
from producers.order_file.records import day_of
from producers.order_file.rows import BadRow
from producers.order_file.steps import EVENTS, ORDER, REFUND, Refusal, Step, Withdrawal
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.rates import book
from producers.rates.exchange import Exchange, NoRate
from producers.runner import Run
from producers.shop.occurrences import ORDER_PLACED
from schemas.errors import Interrupted, Misconfigured, PoisonEvent, RowsRefused
from schemas.plural import counted
from schemas.quoted import without_texts

COMMIT_SECONDS: Final = 2.0
RATES_SECONDS: Final = 60  # that a file waits for the rates of its orders
LOOK_AT_CLOCK_EVERY: Final = 256
BAD_ROWS_SAID: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What brings the log from what is known to what a file says. ``corrected`` are orders that changed since.

    ``customers`` has, by key, whom the log has as the customer of what is known.
    """

    steps: Sequence[Step | Withdrawal]
    refused: Sequence[Refusal]
    already: int
    corrected: frozenset[str] = frozenset()
    customers: Mapping[str, str] = field(default_factory=dict)


class Persons:
    """The persons of a source of orders, as the log may know them. To be closed."""

    def __init__(self, this: Run, source: str) -> None:
        self._source = source
        self._keys = PersonKeys(this.options.state)
        self.letters = Letters(this.publisher, self._keys, this.clock)
        self.known: Mapping[str, str] = {}  # by key of an order or a refund: whom the log has as its customer

    def of(self, step: Step) -> str:
        """Who ordered. What was an erased customer's stays theirs, also when it changes."""
        before = self.known.get(step.key) or self.known.get(f"{ORDER}:{step.order_id}", "")
        is_erased = self._keys.erased_ms(before) is not None
        return before if is_erased else self.customer(step.order_id, step.head.customer_id)

    def customer(self, order_id: str, said: str) -> str:
        """Who this is. A guest of one order, and what no text can be, is as the file has it."""
        return said if said == f"guest-{order_id}" or "\0" in said else self._keys.customer(self._source, said)

    def close(self) -> None:
        """Close the keys."""
        self._keys.close()


@dataclass(slots=True)
class Tally:
    """What became of a file in this run, and whom it is about."""

    persons: Persons
    orders: int = 0
    refunds: int = 0
    withdrawn: int = 0
    refused: list[Refusal] = field(default_factory=list)
    letters: int = 0


def run(this: Run) -> None:
    """Publish the orders of ``options.from_file`` that are not on the log yet, in the order of their time.

    Returns when the file is done, a limit is reached or the process is asked to stop. Raises Misconfigured, before
    anything is published, for a file or mapping that can't be read. Leaves RowsRefused as the verdict when there are
    rows that do not count, Interrupted when it was asked to stop.
    """
    options = this.options
    if options.from_file is None or options.mapping is None:
        raise Misconfigured(
            "an order file needs its mapping: give --from-file FILE and --mapping MAPPING.toml, or --mapping auto"
        )
    file = export.opened(options.from_file, options.mapping)
    gc.freeze()  # the file's rows stay to the end: a collector that went through them again took a third of the time
    check_currency(file.mapping.constants, options.currency, options.mapping)
    refuse_hopeless(file, options.from_file)
    memory = Memory(path_of(options.state, file.mapping.source))
    persons = Persons(this, file.mapping.source)
    try:
        work = remaining(file, memory, int(this.clock() * 1000))
        log = this.log.bind(file=options.from_file.name)
        log.info("opened", sha256=file.sha256, events=len(work.steps), already=work.already, refused=len(work.refused))
        persons.known = work.customers
        tally = Tally(persons)
        exchange = Exchange(options.state, options.currency)
        _await_rates(this, work.steps, exchange)
        finished = _publish(this, file, memory, work, tally, exchange)
    finally:
        memory.close()
        persons.close()
    log.info(
        "finished" if finished else "interrupted",
        orders=tally.orders,
        refunds=tally.refunds,
        corrected=len(work.corrected),
        already=work.already,
        skipped=len(file.skipped),
        refused=len(tally.refused),
        dead_letters=tally.letters,
    )
    if not finished and this.published != options.max_events:
        left = len(work.steps) - tally.orders - tally.refunds - tally.withdrawn
        this.verdict = Interrupted(
            f"the import of {options.from_file.name} was interrupted: {left:,} of its orders and refunds are not"
            " published yet. Import it again: nothing is counted twice"
        )
    elif tally.refused:
        this.verdict = RowsRefused(summary(file, work, tally))


def refuse_hopeless(file: OrderFile, path: Path) -> None:
    """Raises Misconfigured when not one row of the file can be counted: the mapping is wrong, not the rows."""
    if file.refused and not file.steps and not any(skip.what == "order" for skip in file.skipped):
        first = file.refused[0]
        raise Misconfigured(
            f"no row of {path.name} makes an order, so nothing was published: is this the right mapping? The first,"
            f" in line {first.line}: {without_texts(first.reason)}"
        )


def remaining(file: OrderFile, memory: Memory, now_ms: int) -> Work:
    """What of a file is still to be published. Where it differs from what is known, the file is right."""
    voided = {skip.order_id: skip for skip in file.skipped if skip.what == "order"}
    whole = {step.order_id: step.line for step in file.steps if step.kind == ORDER and step.version is not None}
    if file.mapping.has_refunds_with_orders:
        paid_back = {step.order_id for step in file.steps if step.kind == REFUND}
        unpaid = {order_id: line for order_id, line in whole.items() if order_id not in paid_back}
    else:
        unpaid = {}
    gone = {
        **{f"{REFUND}:{order_id}": line for order_id, line in unpaid.items()},
        **{f"{kind}:{id_}": skip.rows[0].line for id_, skip in voided.items() for kind in (ORDER, REFUND)},
    }
    known = memory.known([*(step.key for step in file.steps), *gone])
    steps: list[Step] = []
    corrections: list[Step | Withdrawal] = []
    refused, already = [*file.refused], 0
    for step in file.steps:
        before = known.get(step.key)
        if before is None:
            steps.append(step if step.version is None else step._replace(version=now_ms))
        elif before.is_of(step):
            already += 1
        elif before.version is None:
            reason = (
                f"{step.kind} {step.order_id} of {file.mapping.source} was imported before and is different here, and"
                " that import is too old to be corrected: the first version counts"
            )
            refused.append(step.refused(reason))
        else:
            corrections += before.corrected(step, now_ms)
    for key, line in gone.items():
        if (before := known.get(key)) is not None and before.version is not None and before.digest != WITHDRAWN:
            corrections.append(before.withdrawal(key, line, now_ms))
    # Of one order, a correction's events have to stay in this order: the last is what is remembered.
    return Work(
        steps=[*steps, *corrections],
        refused=refused,
        already=already,
        corrected=frozenset(each.order_id for each in corrections),
        customers={key: each.head["customer_id"] for key, each in known.items() if each.head},
    )


def _await_rates(this: Run, steps: Sequence[Step | Withdrawal], exchange: Exchange) -> None:
    """Ask for the rates of all orders in other currencies, and wait a while for them: what is read later comes late.

    Blocks for as long as rates are being fetched, RATES_SECONDS at most. Without a source of rates nobody waits.
    """
    foreign = [step for step in steps if isinstance(step, Step) and step.head.currency != exchange.own]
    seconds = RATES_SECONDS if book.is_begun(this.options.state) else 0
    for day, currency in sorted({(day_of(step), step.head.currency) for step in foreign}):
        while not this.stop.requested:
            try:
                exchange.charge(currency, day)
            except NoRate as missing:
                if missing.awaited is not None and seconds > 0:
                    seconds -= 1
                    this.log.info("waiting for rates", problem=str(missing), seconds=seconds)
                    this.stop.wait(1.0)
                    continue
            break


def _publish(
    this: Run, file: OrderFile, memory: Memory, work: Work, tally: Tally, exchange: Exchange | None = None
) -> bool:
    """Publish refused rows, then events; True when all are. Commits every COMMIT_SECONDS, and at the end."""
    sent = memory.known(_row_key(file, refusal) for refusal in work.refused)
    began = committed = time.monotonic()
    lost: set[str] = set()
    for refusal in work.refused:
        _refuse(this, file, memory, tally, refusal, BadRow(refusal.reason), sent)
    for index, step in enumerate(work.steps):
        if this.stop.requested:
            break
        _publish_step(this, file, memory, tally, step, lost, exchange)
        if this.options.rate is not None:
            this.stop.wait(max(0.0, began + (index + 1) / this.options.rate - time.monotonic()))
        if this.options.rate is not None or index % LOOK_AT_CLOCK_EVERY == 0:
            now = time.monotonic()
            if now - committed >= COMMIT_SECONDS:
                this.publisher.flush()
                memory.commit()
                committed = now
    this.publisher.flush()
    memory.commit()
    done = tally.orders + tally.refunds + tally.withdrawn + len(tally.refused)
    return done >= len(work.steps) + len(work.refused)


def _publish_step(
    this: Run,
    file: OrderFile,
    memory: Memory,
    tally: Tally,
    step: Step | Withdrawal,
    lost: set[str],
    exchange: Exchange | None,
) -> None:
    event = EVENTS[step.kind]
    if isinstance(step, Withdrawal):
        record = file.record(step)
        this.publish(event, record)
        memory.note(step.key, Known.of(step, record))
        tally.withdrawn += 1
        return
    try:
        if step.order_id in lost:
            raise BadRow(f"its order {step.order_id} is rejected, so its refund is as well")
        record = file.record(step, exchange)
        record["customer_id"] = tally.persons.of(step)
        this.publish(event, record)
    except PoisonEvent as error:
        lost.add(step.order_id)
        refusal = step.refused(str(error))
        _refuse(this, file, memory, tally, refusal, error, memory.known([_row_key(file, refusal)]))
        return
    memory.note(step.key, Known.of(step, record))
    if step.kind == ORDER:
        tally.orders += 1
    else:
        tally.refunds += 1


def _refuse(
    this: Run,
    file: OrderFile,
    memory: Memory,
    tally: Tally,
    refusal: Refusal,
    error: PoisonEvent,
    sent: dict[str, Known],
) -> None:
    """Send rows to the dead letters, unless an earlier run has. The first are logged."""
    tally.refused.append(refusal)
    key = _row_key(file, refusal)
    if key in sent:
        return
    said = refusal.customer_id
    tally.persons.letters.send(
        ORDER_PLACED,
        file.original(refusal.rows),
        error=error,
        origin=_origin(this, file, refusal),
        quoting={"value": refusal.value},
        whose=tally.persons.customer(refusal.order_id, said) if said else None,
    )
    this.published += 1
    tally.letters += 1
    memory.note(key, Known(b""))
    if tally.letters <= BAD_ROWS_SAID:
        this.log.warning("no order, a dead letter", line=refusal.line, problem=without_texts(refusal.reason))


def _origin(this: Run, file: OrderFile, refusal: Refusal) -> dict[str, str]:
    origin = {
        "file": str(this.options.from_file),
        "file.sha256": file.sha256,
        "line": str(refusal.line),
        "lines": ",".join(str(row.line) for row in refusal.rows[:1000]),
        "column": refusal.column,
        "order": refusal.order_id,
        **({"sheet": refusal.sheet} if refusal.sheet else {}),
    }
    return {name: text.encode("utf-8", "replace").decode() for name, text in origin.items()}


def _row_key(file: OrderFile, refusal: Refusal) -> str:
    """By what the rows hold and which column is wrong, never by their place: a corrected file has them elsewhere."""
    said = f"{file.mapping.source}\0{refusal.column}\0{refusal.number}\0".encode("utf-8", "replace")
    return f"row:{hashlib.blake2b(said + file.original(refusal.rows), digest_size=12).hexdigest()}"


def summary(file: OrderFile, work: Work, tally: Tally) -> str:
    """What became of a file whose rows do not all count, in a sentence or two."""
    rows = sum(len(refusal.rows) for refusal in tally.refused)
    return (
        f"{counted(rows, 'row')} of the file {'was' if rows == 1 else 'were'} rejected; published now:"
        f" {counted(tally.orders, 'order')} and {counted(tally.refunds, 'refund')},"
        f" {counted(len(work.corrected), 'correction')} among them; imported before: {work.already:,};"
        f" not sold: {sum(skip.what == 'order' for skip in file.skipped):,}."
        f" {'; '.join(reasons(tally.refused))}. `insights dead-letters` lists each row; fix them and import the file"
        " again: nothing is counted twice"
    )


def reasons(refused: Sequence[Refusal], most: int = 3) -> Iterator[str]:
    """The first reasons, each with its line; what they quote is in the dead letters."""
    for refusal in refused[:most]:
        yield f"line {refusal.line}: {without_texts(refusal.reason)}"
    if len(refused) > most:
        yield f"and {len(refused) - most:,} more"
