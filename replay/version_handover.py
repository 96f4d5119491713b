"""Promotes new versions of aggregates: history from a replay, windows from a line on from their own live job.

Readers see the old versions until the new ones are complete, and then all the new ones, in one transaction. For a new
aggregate, they see no rows until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from psycopg.errors import LockNotAvailable

from aggregates.catalogue import Aggregate, aggregate, table_of
from flink import handover
from flink.live_job import kept, second_job, second_name
from replay.compare import comparable, totals
from replay.context import Context, Say
from replay.plan_file import PlannedAggregate
from replay.run import COUNTED
from replay.run_history import NotNow, Run, staging
from replay.swap import differing, final_part, swap
from schemas.errors import Retryable
from schemas.plural import counted
from warehouse.postgres import Connection
from warehouse.versions import seen_version

CATCH_UP_SECONDS = 600.0
SWAP_SECONDS = 60.0
PAUSE_SECONDS = 0.05


def hand_over(
    context: Context, connection: Connection, record: Run, new: Sequence[PlannedAggregate], say: Say
) -> dict[str, Any]:
    """Makes the new versions what readers see when the caller commits, all at once; by aggregate, what changed.

    Blocks, maybe for minutes. Each step may be done again. Raises NotNow when the plan does not hold whole histories,
    Retryable when the new versions' job does not catch up or readers leave no moment to swap in.
    """
    _check_whole(record, new)
    versions = [aggregate(planned.name) for planned in new]
    for a in versions:
        handover.line(context.deployment, a)  # raises when no job reads its topics
    lines = _lines(context, versions, new)
    changes = {
        a.name: _write_history(context, record, planned.model_copy(update={"final_until": lines.get(a.name)}), say)
        for a, planned in zip(versions, new, strict=True)
    }
    say(f"a live job takes over {_named(versions)} from there")
    handover.start_versions(context.deployment, versions, lines)
    _await_caught_up(context, versions[0], say)
    _as_soon_as_nobody_reads(
        connection, versions, [partial(handover.swap, connection, a, a.version, record.run) for a in versions]
    )
    return changes


def _check_whole(record: Run, new: Sequence[PlannedAggregate]) -> None:
    if len(record.plan.aggregates) > len(new):
        raise NotNow(
            f"{record.run} has aggregates that readers see and {new[0].name}, of which it has a new version: plan"
            " them separately, because new versions are handed over to a live job of their own"
        )
    if record.scope != "beginning":
        raise NotNow(
            f"version {new[0].version} of {new[0].name} is new and needs its whole history: plan it with"
            " --from-beginning"
        )


def _named(versions: Sequence[Aggregate]) -> str:
    if len(versions) == 1:
        return f"version {versions[0].version}"
    return f"the new versions of {counted(len(versions), 'table')}"


def _lines(context: Context, versions: Sequence[Aggregate], new: Sequence[PlannedAggregate]) -> Mapping[str, datetime]:
    """Where the new versions' job takes over each: where it did already, if an earlier try got so far."""
    planned = {p.name: p.final_until for p in new if p.final_until is not None}
    begun = kept(context.deployment, second_name(versions))
    if begun is None or {a.name: a.fingerprint for a in begun.aggregates} != {p.name: p.fingerprint for p in new}:
        return planned
    is_final = all(name in planned and line <= planned[name] for name, line in begun.lines.items())
    return begun.lines if is_final else planned


def _write_history(context: Context, record: Run, planned: PlannedAggregate, say: Say) -> dict[str, Any]:
    """Up to its line, ``final_until``; what was written."""
    a, line = aggregate(planned.name), planned.final_until
    handover.prepare_version(context.deployment, a)
    old = _seen_before(context, a)
    if old is None:
        say(f"{a.name} is new: readers see no rows of it until it is complete")
    if line:
        say(f"writing the history of version {a.version} of {a.name} up to {line:%Y-%m-%d %H:%M}")
    with context.postgres() as writing:
        written = swap(writing, a, a.table, staging(record.run, a.name, COUNTED), final_part(planned))
        both = a if old is None else comparable(writing, a, table_of(a.name, old))
        now = totals(writing, both, a.table, final_part(planned))
        was = dict.fromkeys(now, 0) if old is None else totals(writing, both, a.sink, final_part(planned))
    return {
        "rows_removed": written.removed,
        "rows_added": written.added,
        "by_measure": differing(was, now),
        "handed_over": {"from_version": old, "to_version": a.version, "line": line.isoformat() if line else None},
    }


def _seen_before(context: Context, a: Aggregate) -> int | None:
    """The version that readers see. One that no live job writes was made visible, empty, before there were hand-overs
    of new aggregates: it is hidden first.
    """
    with context.postgres() as connection:
        seen = seen_version(connection, a.name)
    if seen is not None and handover.is_new(context.deployment, a.name):
        with context.postgres() as connection:
            _as_soon_as_nobody_reads(connection, [a], [partial(handover.hide, connection, a)])
        return None
    return seen


def _await_caught_up(context: Context, a: Aggregate, say: Say) -> None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        is_there, words = handover.caught_up(context.deployment, a)
        say(words)
        if is_there:
            return
        if time.monotonic() > deadline:
            raise Retryable(f"{words} after {CATCH_UP_SECONDS / 60:.0f} minutes; promote the same run again later")


def _as_soon_as_nobody_reads(
    connection: Connection, of: Sequence[Aggregate], changes: Iterable[Callable[[], None]]
) -> None:
    """Changes views when no reader holds one, so that new readers do not queue behind us. Raises Retryable."""
    changes, deadline = list(changes), time.monotonic() + SWAP_SECONDS
    while True:
        try:
            for change in changes:
                change()
            return
        except LockNotAvailable as error:
            connection.rollback()
            if time.monotonic() > deadline:
                named = " or ".join(a.sink for a in of)
                raise Retryable(
                    f"{named} was being read continuously for {SWAP_SECONDS:.0f} s: try again later"
                ) from error
            time.sleep(PAUSE_SECONDS)


def hand_back(context: Context, connection: Connection, record: Run) -> bool:
    """Readers see the versions before a hand-over again, when the caller commits; False when the run was none.

    Of an aggregate that was new they see no row then.
    Raises NotNow when no job writes such a version any more: its numbers no longer change.
    """
    handed = _handed_over(record)
    for name, old in handed.items():
        if old is not None and old not in handover.written_versions(context.deployment, aggregate(name)):
            raise NotNow(f"version {old} of {name} was retired after {record.run}, and can't be restored")
    before = [(aggregate(name), old) for name, old in handed.items()]
    changes = [
        partial(handover.hide, connection, a) if old is None else partial(handover.swap, connection, a, old, None)
        for a, old in before
    ]
    _as_soon_as_nobody_reads(connection, [a for a, _ in before], changes)
    return bool(handed)


def _handed_over(record: Run) -> dict[str, int | None]:
    """By aggregate that the run handed over, the version before."""
    changes = (record.changes or {}).items()
    return {name: change["handed_over"]["from_version"] for name, change in changes if "handed_over" in change}


def give_up(context: Context, record: Run) -> None:
    """Ends the job of new versions that readers do not see, with their tables."""
    for planned in record.plan.aggregates:
        if not second_job(context.deployment, planned.name, planned.version):
            continue
        with context.postgres() as connection:
            is_seen = seen_version(connection, planned.name) == planned.version
        if not is_seen:
            handover.retire(context.deployment, aggregate(planned.name), planned.version)
            handover.drop_version(context.deployment, aggregate(planned.name), planned.version)


def retire_old(context: Context, record: Run) -> None:
    """Stops writing the versions before a hand-over, and drops their tables. Restarts the jobs that wrote them."""
    for name, old in _handed_over(record).items():
        if old is not None:
            handover.retire(context.deployment, aggregate(name), old)
            handover.drop_version(context.deployment, aggregate(name), old)
