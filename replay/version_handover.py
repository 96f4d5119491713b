"""Promotes a new version of an aggregate: its history from a replay, its windows from a line on from a job of its own.

Readers see the old version until the new one is whole, and then the new one, by one transaction. Of an aggregate that
is new they see no row until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from psycopg.errors import LockNotAvailable

from aggregates.catalogue import Aggregate, aggregate
from flink import handover
from flink.live_job import kept, second_name
from replay.compare import comparable, totals
from replay.context import Context, Say
from replay.plan_file import PlannedAggregate
from replay.run import COUNTED
from replay.run_history import NotNow, Run, staging
from replay.swap import differing, final_part, swap
from schemas.errors import Retryable
from warehouse.postgres import Connection
from warehouse.versions import seen_version, table_of

CATCH_UP_SECONDS = 600.0
SWAP_SECONDS = 60.0
PAUSE_SECONDS = 0.05


def hand_over(
    context: Context, connection: Connection, record: Run, new: Sequence[PlannedAggregate], say: Say
) -> dict[str, Any]:
    """Makes the new version what readers see when the caller commits, at once; what changed. Blocks, maybe for minutes.

    Each step may be done again. Raises NotNow when the plan does not hold a whole history, Retryable when the new
    version's job does not catch up or readers leave no moment to swap in.
    """
    planned = _only(record, new)
    a = aggregate(planned.name)
    if planned.final_until is None:
        handover.line(context.deployment, a)  # raises with the reason, if there still is one
        raise NotNow(f"no window of {a.name} was final when {record.run} was planned: plan it again when one is")
    line = _line(context, a, planned.final_until)
    handover.prepare_version(context.deployment, a)
    old = _seen_before(context, a)
    if old is None:
        say(f"{a.name} is new: readers see no rows of it until it is whole")
    say(f"writing the history of version {a.version} up to {line:%Y-%m-%d %H:%M}")
    with context.postgres() as writing:
        written = swap(writing, a, a.table, staging(record.run, a.name, COUNTED), final_part(planned))
        both = a if old is None else comparable(writing, a, table_of(a.name, old))
        now = totals(writing, both, a.table, final_part(planned))
        was = dict.fromkeys(now, 0) if old is None else totals(writing, both, a.sink, final_part(planned))
    say(f"a live job takes over version {a.version} from there")
    handover.start_version(context.deployment, a, line)
    _await_caught_up(context, a, say)
    _swap(connection, a, a.version, record.run)
    return {
        "rows_removed": written.removed,
        "rows_added": written.added,
        "by_measure": differing(was, now),
        "handed_over": {"from_version": old, "to_version": a.version, "line": line.isoformat()},
    }


def _seen_before(context: Context, a: Aggregate) -> int | None:
    """The version that readers see. One that no live job writes was made visible, empty, before there were hand-overs
    of new aggregates: it is hidden first.
    """
    with context.postgres() as connection:
        seen = seen_version(connection, a.name)
    if seen is not None and handover.is_new(context.deployment, a.name):
        with context.postgres() as connection:
            _as_soon_as_nobody_reads(connection, a, partial(handover.hide, connection, a))
        return None
    return seen


def _line(context: Context, a: Aggregate, final_until: datetime) -> datetime:
    """Where the new version's job takes over: where it did already, if an earlier try got so far."""
    begun = kept(context.deployment, second_name(a.name, a.version))
    is_same = begun is not None and begun.aggregates[0].fingerprint == a.fingerprint
    if begun and begun.from_line and is_same and begun.from_line <= final_until:
        return begun.from_line
    return final_until


def _only(record: Run, new: Sequence[PlannedAggregate]) -> PlannedAggregate:
    if len(record.plan.aggregates) > 1:
        raise NotNow(
            f"{record.run} has several aggregates, of which {new[0].name} is a new version: plan it separately,"
            " because it is handed over to its own live job"
        )
    if record.scope != "beginning":
        raise NotNow(
            f"version {new[0].version} of {new[0].name} is new and needs its whole history: plan it with"
            " --from-beginning"
        )
    return new[0]


def _await_caught_up(context: Context, a: Aggregate, say: Say) -> None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        is_there, words = handover.caught_up(context.deployment, a)
        say(words)
        if is_there:
            return
        if time.monotonic() > deadline:
            raise Retryable(f"{words} after {CATCH_UP_SECONDS / 60:.0f} minutes; promote the same run again later")


def _swap(connection: Connection, a: Aggregate, version: int, run: str | None) -> None:
    _as_soon_as_nobody_reads(connection, a, partial(handover.swap, connection, a, version, run))


def _as_soon_as_nobody_reads(connection: Connection, a: Aggregate, change: Callable[[], None]) -> None:
    """Changes the view when no reader holds it, so that new readers do not queue behind us. Raises Retryable."""
    deadline = time.monotonic() + SWAP_SECONDS
    while True:
        try:
            change()
            return
        except LockNotAvailable as error:
            connection.rollback()
            if time.monotonic() > deadline:
                raise Retryable(
                    f"{a.sink} was being read continuously for {SWAP_SECONDS:.0f} s: try again later"
                ) from error
            time.sleep(PAUSE_SECONDS)


def hand_back(context: Context, connection: Connection, record: Run) -> bool:
    """Readers see the version before a hand-over again, when the caller commits; False when the run was none.

    Of an aggregate that was new they see no row then.
    Raises NotNow when no job writes that version any more: its numbers no longer change.
    """
    for name, change in (record.changes or {}).items():
        if handed := change.get("handed_over"):
            old, a = handed["from_version"], aggregate(name)
            if old is None:
                _as_soon_as_nobody_reads(connection, a, partial(handover.hide, connection, a))
                return True
            if old not in handover.written_versions(context.deployment, aggregate(name)):
                raise NotNow(f"version {old} of {name} was retired after {record.run}, and can't be restored")
            _swap(connection, a, old, None)
            return True
    return False


def give_up(context: Context, record: Run) -> None:
    """Ends the job of a new version that readers do not see, with its table."""
    for planned in record.plan.aggregates:
        if not kept(context.deployment, second_name(planned.name, planned.version)):
            continue
        with context.postgres() as connection:
            is_seen = seen_version(connection, planned.name) == planned.version
        if not is_seen:
            handover.retire(context.deployment, aggregate(planned.name), planned.version)
            handover.drop_version(context.deployment, aggregate(planned.name), planned.version)


def retire_old(context: Context, record: Run) -> None:
    """Stops writing the version before a hand-over, and drops its table. Restarts the main job."""
    for name, change in (record.changes or {}).items():
        handed = change.get("handed_over")
        if handed and handed["from_version"] is not None:
            handover.retire(context.deployment, aggregate(name), handed["from_version"])
            handover.drop_version(context.deployment, aggregate(name), handed["from_version"])
