"""Swaps a run's results in for the live data, and back. Each in one transaction: readers see all or nothing.

Only windows that were final when the plan was made are written; the live job writes the others. Only rows that differ
are written, so promoting an equal run changes nothing but the record.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql

from aggregates.catalogue import aggregate
from flink.final_windows import known_final_until
from flink.live_job import is_new
from replay import run_history
from replay.compare import in_stretches, name_of, totals
from replay.context import Context, Say
from replay.plan_file import PlannedAggregate, Stretch
from replay.planning import check_current, final_until
from replay.run import COUNTED, RESTATED, restated_places
from replay.run_history import NotNow, Run, Status, before, staging
from replay.swap import differing, final_part, swap
from replay.version_handover import give_up, hand_back, hand_over, retire_old
from schemas import catalogue
from schemas.binary import EPOCH
from schemas.errors import InsightsError
from warehouse.postgres import Connection
from warehouse.versions import seen_version


class NotProven(InsightsError):
    """A run has no certificate of equality, and nobody gave a reason to promote it anyway."""


def promote(context: Context, run: str, *, reason: str | None, by: str, say: Say) -> Run:
    """Makes a verified run what readers see, and returns its record. Blocks.

    New versions of aggregates, or new aggregates, are handed over to: their history is written next to the old one's,
    a live job of their own takes over from there, and when that has caught up readers see them. ``reason`` is for a run
    that differs on purpose; without one a clean certificate is needed. Raises NotProven, NotNow, ReplayBusy or
    Retryable; then readers see what they saw, and it can be done again.
    """
    with run_history.held(context, run) as record, context.postgres() as connection:
        check_promotable(record, reason)
        check_current(record.plan)
        check_unchanged(context, connection, record)
        new = [
            p
            for p in record.plan.aggregates
            if seen_version(connection, p.name) != p.version or is_new(context.deployment, p.name)
        ]
        began = time.monotonic()
        if new:
            changes = hand_over(context, connection, record, new, say)
        else:
            changes = _swap_all(context, connection, record, say)
        run_history.note(
            connection,
            run,
            status=Status.PROMOTED,
            promoted_at=True,
            promote_seconds=time.monotonic() - began,
            reason=reason,
            promoted_by=by,
            changes=changes,
        )
        connection.commit()
        return run_history.find(connection, run)


def _swap_all(context: Context, connection: Connection, record: Run, say: Say) -> dict[str, Any]:
    final = {p.name: final_part(p) for p in record.plan.aggregates}
    for planned in record.plan.aggregates:
        _say_if_cut(planned, final[planned.name], say)
    if record.scope == "late" and any(list(final[p.name]) != list(p.windows) for p in record.plan.aggregates):
        raise NotNow(f"not all windows of {record.run} were final: late events are counted everywhere or not at all")
    changes = {p.name: _swap_in(connection, record, p, final[p.name]) for p in record.plan.aggregates}
    if record.scope == "late":
        _mark_restated(connection, context, record)
    return changes


def check_promotable(record: Run, reason: str | None) -> None:
    """Raises NotNow or NotProven unless the run may be swapped in."""
    if record.status is Status.DIFFERS and reason is None:
        raise NotProven(
            f"{record.run} differs from the live tables: `insights replay show {record.run}` shows where. If that is"
            ' intended, because a definition changed or history was wrong, promote it with --restate --reason "why"'
        )
    if record.status not in (Status.VERIFIED, Status.DIFFERS):
        step = {Status.RUNNING: "run", Status.FAILED: "run", Status.COMPUTED: "verify"}.get(record.status)
        hint = f"; run `insights replay {step}` first" if step else ""
        raise NotNow(f"{record.run} is {record.status}, and only a verified run can be promoted{hint}")


def check_unchanged(context: Context, connection: Connection, record: Run) -> None:
    """Raises NotNow when the live tables changed since the certificate, or fewer windows are final than in the plan."""
    if other := run_history.changed_since(connection, record):
        raise NotNow(f"{other} changed the live tables after {record.run} was verified: verify {record.run} again")
    final = final_until(context)
    for planned in record.plan.aggregates:
        if seen_version(connection, planned.name) is None and (late := run_history.late_since(connection, record)):
            raise NotNow(
                f"{late} counted late events, or was rolled back, after {record.run} was begun, and {planned.name} has"
                " no such version yet: plan it again"
            )
        if planned.final_until and planned.final_until > _final(context, planned.name, final):
            raise NotNow(f"windows of {planned.name} are not final up to {planned.final_until}, as planned: plan again")


def _final(context: Context, name: str, recorded: Mapping[str, datetime]) -> datetime:
    known = None if is_new(context.deployment, name) else recorded.get(name)
    return known or known_final_until(context.deployment, aggregate(name)) or EPOCH


def _say_if_cut(planned: PlannedAggregate, final: Sequence[Stretch], say: Say) -> None:
    if list(final) != list(planned.windows):
        until = f"{planned.final_until:%Y-%m-%d %H:%M}" if planned.final_until else "none yet"
        say(
            f"{planned.name}: final windows are promoted (those that start before {until}); the live job"
            " continues with the others"
        )


def _swap_in(
    connection: Connection, record: Run, planned: PlannedAggregate, stretches: Sequence[Stretch]
) -> dict[str, Any]:
    a = aggregate(planned.name)
    source = staging(record.run, a.name, RESTATED if record.scope == "late" else COUNTED)
    kept = before(record.run, a.name)
    connection.execute(sql.SQL("drop table if exists {}").format(name_of(kept)))
    connection.execute(
        sql.SQL("create table {} as select * from {} as s where {}").format(
            name_of(kept), name_of(a.table), in_stretches("s", a, stretches)
        )
    )
    was = totals(connection, a, a.table, stretches)
    swapped = swap(connection, a, a.table, source, stretches)
    now = totals(connection, a, a.table, stretches)
    return {"rows_removed": swapped.removed, "rows_added": swapped.added, "by_measure": differing(was, now)}


def _mark_restated(connection: Connection, context: Context, record: Run) -> None:
    places = [
        (catalogue.event(name).topic, partition, offset, record.run)
        for name, found in restated_places(context, record).items()
        for partition, offset in sorted(found)
    ]
    with connection.cursor() as cursor:
        cursor.executemany("insert into ops.restated_events values (%s, %s, %s, %s)", places)


def rollback(context: Context, run: str, *, say: Say) -> Run:
    """Makes what readers saw before a promotion what they see again. Blocks. Raises NotNow when it can't be done."""
    with run_history.held(context, run) as record, context.postgres() as connection:
        if record.status is not Status.PROMOTED:
            raise NotNow(f"{run} is {record.status}, and only a promoted run can be rolled back")
        if later := _promoted_after(connection, record):
            raise NotNow(f"{later} was promoted over {run}: roll that one back first")
        _refuse_pruned(connection, record)
        if not hand_back(context, connection, record):
            for planned in record.plan.aggregates:
                _refuse_other_version(connection, record, planned)
                a = aggregate(planned.name)
                swap(connection, a, a.table, before(run, a.name), final_part(planned))
        connection.execute("delete from ops.restated_events where run = %s", (run,))
        run_history.note(connection, run, status=Status.ROLLED_BACK, rolled_back_at=True)
        connection.commit()
        return run_history.find(connection, run)


def _refuse_other_version(connection: Connection, record: Run, planned: PlannedAggregate) -> None:
    seen, folder = seen_version(connection, planned.name), aggregate(planned.name).version
    if not seen == planned.version == folder:
        raise NotNow(
            f"{record.run} wrote version {planned.version} of {planned.name}; readers see version {seen} and its folder"
            f" has {folder}: it can only be rolled back where all three are the same"
        )


def _refuse_pruned(connection: Connection, record: Run) -> None:
    kept = [before(record.run, name) for name in record.aggregates]
    is_handed_over = any("handed_over" in change for change in (record.changes or {}).values())
    gone = [name for name in kept if connection.execute("select to_regclass(%s)", (name,)).fetchone() == (None,)]
    if gone and not is_handed_over:
        raise NotNow(f"{record.run} was pruned and can't be rolled back: the data it replaced is gone")


def _promoted_after(connection: Connection, record: Run) -> str | None:
    found = connection.execute(
        "select run from ops.replays where status = 'promoted' and promoted_at > %s and aggregates && %s"
        " order by promoted_at desc limit 1",
        (record.promoted_at, list(record.aggregates)),
    ).fetchone()
    return str(found[0]) if found else None


def prune(context: Context, run: str) -> Run:
    """Removes what a run left: its staging tables, what it replaced, its files. The record and certificate stay.

    After a hand-over the old version goes: it is no longer written, and its table is dropped. The same goes for a new
    version that was not kept. Blocks. Raises ReplayBusy for a running one.
    """
    with run_history.held(context, run) as record:
        if record.status is Status.PROMOTED:
            retire_old(context, record)
        else:
            give_up(context, record)
        with context.postgres() as connection:
            _drop_tables(connection, run)
            if record.status is not Status.PROMOTED:
                run_history.note(connection, run, status=Status.PRUNED)
            connection.commit()
            shutil.rmtree(context.run_dir(run), ignore_errors=True)
            return run_history.find(connection, run)


def tidy(context: Context, run: str) -> None:
    """Removes what a promoted run no longer needs: everything except its record and the data it replaced."""
    with context.postgres() as connection:
        _drop_tables(connection, run, but=f"{run}\\_before\\_%")
    shutil.rmtree(context.run_dir(run), ignore_errors=True)


def _drop_tables(connection: Connection, run: str, but: str = "") -> None:
    for (table,) in connection.execute(
        "select table_name from information_schema.tables"
        " where table_schema = %s and table_name not like %s and table_name like %s",
        (run_history.SCHEMA, but, f"{run}\\_%"),
    ).fetchall():
        connection.execute(sql.SQL("drop table {}").format(sql.Identifier(run_history.SCHEMA, table)))
