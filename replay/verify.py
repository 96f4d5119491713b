"""Verifies that a run equals what readers see, cell by cell, or shows where it differs.

The live tables keep changing during the comparison. So they are read in one snapshot, and the log's ends are read after
it; rows affected by events between the plan's offsets and those ends are excluded, and counted. Everything else must be
equal, to the last digit. The result is the run's certificate, which is signed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from aggregates.catalogue import Aggregate, aggregate, table_of
from flink import live_job
from replay import certificates, run_history
from replay.affected_rows import Cells
from replay.compare import Comparison, canonical_hash, comparable, compare, name_of
from replay.context import Context, Say
from replay.log import slices
from replay.plan_file import PlannedAggregate, ReplayPlan
from replay.planning import check_current
from replay.record_counts import Sums, sums
from replay.run import COUNTED, RESTATED, await_live_job, restated_places
from replay.run_history import NotNow, Run, Status, staging
from schemas import catalogue
from spark.task import Slice
from warehouse.postgres import Connection
from warehouse.versions import seen_version

AFTER = "affected by events after the offsets"


def verify(context: Context, run: str, *, say: Say) -> Run:
    """Compares a computed run with what readers see, and returns its record with the certificate. Blocks.

    Changes nothing but the record. Raises NotNow when the run isn't computed, LiveJobBehind, or Retryable.
    """
    with run_history.held(context, run) as record:
        check_verifiable(record)
        check_current(record.plan)
        await_live_job(context, record.plan, say)
        return _verified(context, record, say)


def check_verifiable(record: Run) -> None:
    """Raises NotNow unless the run is computed and not yet swapped in."""
    if record.status in (Status.PROMOTED, Status.ROLLED_BACK, Status.SUPERSEDED):
        raise NotNow(f"{record.run} is {record.status}; its certificate: `insights replay show {record.run}`")
    if record.computed_at is None or record.status in (Status.RUNNING, Status.FAILED, Status.PRUNED):
        raise NotNow(f"{record.run} is {record.status}: a run can be verified only after it has ended")


def _verified(context: Context, record: Run, say: Say) -> Run:
    run, began = record.run, time.monotonic()
    # Between frozen offsets, and so before the snapshot: it may wait for the lake.
    found_sums = sums(context, record)
    with context.postgres() as connection:
        key = certificates.signing_key(connection, context.work_dir)
        found = _certificate(context, connection, record, found_sums, say)
        connection.commit()  # the end of the snapshot: the chain may have grown since
        certificates.append(connection, key, found)
        is_equal = found["result"] != "different"
        run_history.note(
            connection,
            run,
            status=Status.VERIFIED if is_equal else Status.DIFFERS,
            verified_at=True,
            verify_seconds=time.monotonic() - began,
            certificate=found,
        )
        connection.commit()
        return run_history.find(connection, run)


def _certificate(
    context: Context, connection: Connection, record: Run, found_sums: Mapping[str, Sums], say: Say
) -> dict[str, Any]:
    plan = record.plan
    _take_snapshot(connection)
    is_open = _has_open_windows(plan)
    after = _slices_after(context, plan, has_open_windows=is_open)
    cells = Cells.from_log(context, after) if any(after.values()) and is_open else None
    found = [_one(context, connection, record, p, cells, say) for p in plan.aggregates]
    certificate: dict[str, Any] = {
        "certificate": 1,
        "run": record.run,
        "made_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "result": _result(found),
        "scope": plan.scope,
        "engine": record.engine,
        "code": context.code,
        "offsets": {
            topic: {str(n): _bounds(p.lake, p.log) for n, p in planned.partitions.items()}
            for topic, planned in plan.topics.items()
        },
        "schema_ids": {topic: list(planned.schema_ids) for topic, planned in plan.topics.items()},
        "records": plan.records,
        "sums": {topic: one.of_certificate for topic, one in found_sums.items()},
        # Cells are verified independently: problems of the lake are reported, and do not prevent verification.
        "sums_faults": {topic: one.faults for topic, one in found_sums.items() if one.faults},
        "aggregates": found,
    }
    if plan.scope == "late":
        certificate["late"] = _late_proof(context, connection, record, say)
        if not certificate["late"]["proven"]:
            certificate["result"] = "different"
    canonical = json.dumps(certificate, sort_keys=True, separators=(",", ":"), default=str)
    return {**json.loads(canonical), "sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def _result(found: Sequence[Mapping[str, Any]]) -> str:
    """``new`` where there is nothing to compare with: no live job has computed any of the aggregates."""
    if any(one["mismatches"] for one in found):
        return "different"
    return "new" if all(one.get("is_new") for one in found) else "equal"


def _bounds(*sources: tuple[int, int] | None) -> list[int]:
    there = [source for source in sources if source]
    return [there[0][0], there[-1][1]] if there else [0, 0]


def _take_snapshot(connection: Connection) -> None:
    """From here on this connection sees every table as it is at this moment."""
    connection.commit()
    connection.execute("set transaction isolation level repeatable read")
    connection.execute("select count(*) from ops.replays")


def _slices_after(context: Context, plan: ReplayPlan, *, has_open_windows: bool) -> dict[str, tuple[Slice, ...]]:
    """By event, what has come onto the log since the plan was made. Read after the snapshot, so that it has all."""
    found = {}
    for planned in plan.topics.values():
        extents = context.log.extents(catalogue.event(planned.event))
        known = {n: p.until for n, p in planned.partitions.items()}
        if gone := [n for n, extent in extents.items() if known.get(n, 0) < extent.begin] if has_open_windows else []:
            raise NotNow(
                f"the log of {catalogue.event(planned.event).topic} begins after this plan ends, in partition"
                f" {gone[0]}: the windows that newer events affect are no longer known. Plan again, or plan only"
                " final windows"
            )
        found[planned.event] = slices({n: (known.get(n, 0), extent.end) for n, extent in extents.items()})
    return found


def _has_open_windows(plan: ReplayPlan) -> bool:
    return any(
        p.final_until is None or any(s.until is None or s.until > p.final_until for s in p.windows)
        for p in plan.aggregates
    )


def _one(
    context: Context, connection: Connection, record: Run, planned: PlannedAggregate, cells: Cells | None, say: Say
) -> dict[str, Any]:
    a = aggregate(planned.name)
    here = staging(record.run, a.name, COUNTED)
    seen = seen_version(connection, a.name)
    is_new = seen is None or live_job.is_new(context.deployment, a.name)
    if is_new:
        say(f"{a.name} is new: there is no live table to compare it with")
        both, found = replace(a, columns={}), Comparison.of_nothing()
    else:
        say(f"comparing {a.name}")
        touched = _touched_table(connection, a, cells) if cells else None
        both = comparable(connection, a, table_of(a.name, seen or a.version))
        # All events of a window that is final are in the plan: what comes for it later is late, and counts nowhere.
        found = compare(connection, both, here, planned.table, planned.windows, touched, planned.final_until)
    rows, digest = canonical_hash(connection, a, here, planned.windows)
    return {
        "name": a.name,
        "table": planned.table,
        "version": planned.version,
        "query_fingerprint": planned.fingerprint,
        "windows": [s.model_dump(mode="json") for s in planned.windows],
        "final_until": planned.final_until,
        "rows": rows,
        "sha256": digest,
        **_counts(found),
        "columns_compared": list(both.columns),
        "excluded": {AFTER: found.excluded} if found.excluded else {},
        **({"is_new": True} if is_new else {}),
    }


def _counts(found: Comparison) -> dict[str, Any]:
    return {
        "rows_on_either_side": found.rows,
        "equal": found.equal,
        "different": found.different,
        "only_in_replay": found.only_here,
        "only_in_live": found.only_there,
        "mismatches": found.mismatches,
        "differing_columns": found.columns,
        "first_differences": [_words(asdict(difference)) for difference in found.first],
    }


def _words(value: Any) -> Any:
    """As JSON can have it: decimals and times as texts."""
    if isinstance(value, Mapping):
        return {name: _words(item) for name, item in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _touched_table(connection: Connection, a: Aggregate, cells: Cells) -> str:
    """A table of the keys that events after the offsets touch."""
    name = f"touched_{a.name}"
    columns = sql.SQL(", ").join(map(sql.Identifier, a.key))
    connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("pg_temp", name)))
    connection.execute(
        sql.SQL("create temporary table {} as select {} from {} limit 0").format(
            sql.Identifier(name), columns, name_of(a.sink)
        )
    )
    copy = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier("pg_temp", name), columns)
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        for key in cells.keys(a):
            rows.write_row(key)
    connection.execute(sql.SQL("analyze {}").format(sql.Identifier("pg_temp", name)))
    return f"pg_temp.{name}"


def _late_proof(context: Context, connection: Connection, record: Run, say: Say) -> dict[str, Any]:
    """That a restatement changes only cells which its late events touch, by exactly those events."""
    say("verifying that only cells of the late events change")
    places = restated_places(context, record)
    listed = json.dumps(sorted((name, *place) for name, found in places.items() for place in found))
    cells = Cells.from_lake(context, places)
    proofs = [_only_touched(connection, record, planned, cells) for planned in record.plan.aggregates]
    return {
        "events": sum(map(len, places.values())),
        "topics": {catalogue.event(name).topic: len(found) for name, found in places.items() if found},
        "places_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "aggregates": proofs,
        "proven": all(proof["changed_untouched"] == 0 for proof in proofs),
    }


def _only_touched(connection: Connection, record: Run, planned: PlannedAggregate, cells: Cells) -> dict[str, Any]:
    a = aggregate(planned.name)
    touched = _touched_table(connection, a, cells)
    base, restated = staging(record.run, a.name, COUNTED), staging(record.run, a.name, RESTATED)
    every = compare(connection, a, restated, base, planned.windows)
    untouched = compare(connection, a, restated, base, planned.windows, touched)
    rows, digest = canonical_hash(connection, a, restated, planned.windows)
    return {
        "name": a.name,
        "changed": every.mismatches,
        "changed_untouched": untouched.mismatches,
        "rows": rows,
        "sha256": digest,
        "first_changes": [_words(asdict(difference)) for difference in every.first],
    }
