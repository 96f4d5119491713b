"""Publishes the orders of a file that are not on the log yet, once each, and reports what became of the rest.

The memory is moved only after everything before it is acknowledged, so reading a file again after a kill resumes
where it was; events that are published twice have the same ids.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers.order_file import export
from producers.order_file.mapping import check_currency
from producers.order_file.memory import DEAD_LETTER, Memory, path_of
from producers.order_file.orders import OrderFile
from producers.order_file.rows import BadRow
from producers.order_file.steps import EVENTS, ORDER, Refusal, Step
from producers.runner import Run
from producers.shop.occurrences import ORDER_PLACED
from schemas.errors import Interrupted, Misconfigured, PoisonEvent, RowsRefused
from schemas.plural import counted

COMMIT_SECONDS: Final = 2.0
LOOK_AT_CLOCK_EVERY: Final = 256
BAD_ROWS_SAID: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a file adds to what is known: ``refused`` holds corrections as well."""

    steps: Sequence[Step]
    refused: Sequence[Refusal]
    already: int


@dataclass(slots=True)
class Tally:
    """What became of a file in this run."""

    orders: int = 0
    refunds: int = 0
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
    try:
        work = remaining(file, memory)
        log = this.log.bind(file=options.from_file.name)
        log.info("opened", sha256=file.sha256, events=len(work.steps), already=work.already, refused=len(work.refused))
        tally = Tally()
        finished = _publish(this, file, memory, work, tally)
    finally:
        memory.close()
    log.info(
        "finished" if finished else "interrupted",
        orders=tally.orders,
        refunds=tally.refunds,
        already=work.already,
        skipped=len(file.skipped),
        refused=len(tally.refused),
        dead_letters=tally.letters,
    )
    if not finished and this.published != options.max_events:
        left = len(work.steps) - tally.orders - tally.refunds
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
            f" in line {first.line}: {first.reason}"
        )


def remaining(file: OrderFile, memory: Memory) -> Work:
    """What of a file is still to be published. An order that is known and changed is refused as a correction."""
    voided = {skip.key: skip for skip in file.skipped if skip.what == "order"}
    known = memory.known([*(step.key for step in file.steps), *voided])
    source = file.mapping.source
    steps, corrections, already = [], [], 0
    for step in file.steps:
        digest = known.get(step.key)
        if digest is None:
            steps.append(step)
        elif digest == step.digest:
            already += 1
        else:
            reason = (
                f"{step.kind} {step.order_id} of {source} was imported before and is different here: a"
                " correction is not counted on top of the first version"
            )
            corrections.append(step.refused(reason))
    for key, skip in voided.items():
        if key in known:
            reason = (
                f"order {skip.order_id} of {source} was imported before, and is void here ({skip.reason}): this is a"
                " correction, and the first version still counts"
            )
            corrections.append(skip.refused(reason))
    return Work(steps=steps, refused=[*file.refused, *corrections], already=already)


def _publish(this: Run, file: OrderFile, memory: Memory, work: Work, tally: Tally) -> bool:
    """Publish refused rows, then events; True when all are. Commits every COMMIT_SECONDS, and at the end."""
    sent = memory.known(_row_key(file, refusal) for refusal in work.refused)
    began = committed = time.monotonic()
    lost: set[str] = set()
    for refusal in work.refused:
        _refuse(this, file, memory, tally, refusal, BadRow(refusal.reason), sent)
    for index, step in enumerate(work.steps):
        if this.stop.requested:
            break
        _publish_step(this, file, memory, tally, step, lost)
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
    return tally.orders + tally.refunds + len(tally.refused) >= len(work.steps) + len(work.refused)


def _publish_step(this: Run, file: OrderFile, memory: Memory, tally: Tally, step: Step, lost: set[str]) -> None:
    event = EVENTS[step.kind]
    try:
        if step.order_id in lost:
            raise BadRow(f"its order {step.order_id} is rejected, so its refund is as well")
        record = file.record(step)
        this.publish(event, record)
    except PoisonEvent as error:
        lost.add(step.order_id)
        refusal = step.refused(str(error))
        _refuse(this, file, memory, tally, refusal, error, memory.known([_row_key(file, refusal)]))
        return
    memory.note(step.key, step.digest, event, step.at_ms, record)
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
    sent: dict[str, bytes],
) -> None:
    """Send rows to the dead letters, unless an earlier run has. The first are logged."""
    tally.refused.append(refusal)
    key = _row_key(file, refusal)
    if key in sent:
        return
    origin = {
        "file": str(this.options.from_file),
        "file.sha256": file.sha256,
        "line": str(refusal.line),
        "lines": ",".join(str(row.line) for row in refusal.rows[:1000]),
        "column": refusal.column,
        "value": refusal.value,
        "order": refusal.order_id,
        **({"sheet": refusal.sheet} if refusal.sheet else {}),
    }
    this.publisher.dead_letter(
        ORDER_PLACED,
        file.original(refusal.rows),
        key=None,
        error=error,
        stage="VALUE_CONVERTER",
        origin={name: text.encode("utf-8", "replace").decode() for name, text in origin.items()},
    )
    this.published += 1
    tally.letters += 1
    memory.note(key, b"", DEAD_LETTER, 0, {})
    if tally.letters <= BAD_ROWS_SAID:
        this.log.warning("no order, a dead letter", line=refusal.line, problem=refusal.reason)


def _row_key(file: OrderFile, refusal: Refusal) -> str:
    """By what the rows hold and which column is wrong, never by their place: a corrected file has them elsewhere."""
    said = f"{file.mapping.source}\0{refusal.column}\0{refusal.number}\0".encode("utf-8", "replace")
    return f"row:{hashlib.blake2b(said + file.original(refusal.rows), digest_size=12).hexdigest()}"


def summary(file: OrderFile, work: Work, tally: Tally) -> str:
    """What became of a file whose rows do not all count, in a sentence or two."""
    rows = sum(len(refusal.rows) for refusal in tally.refused)
    return (
        f"{counted(rows, 'row')} of the file {'was' if rows == 1 else 'were'} rejected; published now:"
        f" {counted(tally.orders, 'order')} and {counted(tally.refunds, 'refund')}; imported before: {work.already:,};"
        f" not sold: {sum(skip.what == 'order' for skip in file.skipped):,}."
        f" {'; '.join(reasons(tally.refused))}. `insights dead-letters` lists each row; fix them and import the file"
        " again: nothing is counted twice"
    )


def reasons(refused: Sequence[Refusal], most: int = 3) -> Iterator[str]:
    """The first reasons, each with its line."""
    for refusal in refused[:most]:
        yield f"line {refusal.line}: {refusal.reason}"
    if len(refused) > most:
        yield f"and {len(refused) - most:,} more"
