"""Runs of every outcome, noted by the functions that real replays note theirs with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregates.catalogue import aggregate, aggregates
from replay import run_history
from replay.plan_file import Estimate, PlannedAggregate, PlannedPartition, PlannedTopic, ReplayPlan, Scope, Stretch
from replay.planning import everything
from replay.restate import REASON
from replay.run_history import Run, Status
from schemas import catalogue
from warehouse.postgres import Connection
from warehouse.tables import make_postgres_tables

ORDER_PLACED = catalogue.event("sales.order_placed")
NOW = datetime.now(UTC).replace(microsecond=0)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
CODE = "3f1c9b2e8d7a6054c1b2a39f8e7d6c5b4a392817"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_tables(connection: Connection) -> None:
    make_postgres_tables(connection)
    for a in aggregates():
        connection.execute(
            "insert into ops.finality values (%s, %s, %s, 7, now())", (a.name, MIDNIGHT - timedelta(days=1), NOW)
        )


def a_plan(names: Sequence[str], scope: Scope, records_read: int, made_at: datetime, *, late: int = 0) -> ReplayPlan:
    stretch = Stretch(since=MIDNIGHT - timedelta(days=6), until=MIDNIGHT - timedelta(days=4))
    whole = Stretch(since=None, until=None)
    planned = [
        PlannedAggregate(
            name=a.name,
            version=a.version,
            fingerprint=a.fingerprint,
            table=a.sink,
            final_until=MIDNIGHT - timedelta(days=1),
            windows=(whole if scope == "beginning" else stretch,),
        )
        for a in map(aggregate, names)
    ]
    partitions = {0: PlannedPartition(lake=(0, 90), log=(90, records_read)), 1: PlannedPartition(lake=(0, 75))}
    topic = PlannedTopic(
        event=ORDER_PLACED.name, records=records_read, lake_bytes=4_000_000, schema_ids=(2, 9), partitions=partitions
    )
    return ReplayPlan(
        made_at=made_at,
        scope=scope,
        aggregates=tuple(planned),
        topics={ORDER_PLACED.topic: topic},
        late_events=late,
        waiting_events=3,
        dashboards=("sales_overview",),
        models=(),
        estimate=Estimate(spark_seconds=40, duckdb_seconds=4, emr_usd=0.03),
    )


def a_certificate(run: Run, different: int = 0, excluded: int = 0) -> dict[str, Any]:
    """As verify writes it, of a run whose first aggregate has rows that differ, or are left out."""
    first = run.plan.aggregates[0].name
    found = [
        one(p, different if p.name == first else 0, excluded if p.name == first else 0) for p in run.plan.aggregates
    ]
    return {
        "certificate": 1,
        "run": run.run,
        "made_at": NOW.isoformat(timespec="milliseconds"),
        "result": "different" if different else "equal",
        "scope": run.scope,
        "engine": run.engine,
        "code": CODE,
        "offsets": {ORDER_PLACED.topic: {"0": [0, run.records], "1": [0, 75]}},
        "schema_ids": {ORDER_PLACED.topic: [2, 9]},
        "records": run.records,
        "aggregates": found,
        "sha256": sha256(run.run),
    }


def one(p: PlannedAggregate, different: int, excluded: int) -> dict[str, Any]:
    at = (MIDNIGHT - timedelta(days=5)).isoformat()
    rows = 1_200 + 37 * len(p.name)
    here, there = {"orders": 4, "sales_amount": "118.40"}, {"orders": 4, "sales_amount": "121.90"}
    keys = [{"window_start": at, "category": c, "region": "EU"} for c in ("brakes", "wheels")]
    sides = [(here, there), (None, there)]
    only_live_left_out = excluded // 2
    equal = rows - different - (excluded - only_live_left_out)
    first = [{"key": key, "here": h, "there": t} for key, (h, t) in zip(keys, sides, strict=True)]
    return {
        "name": p.name,
        "table": p.table,
        "version": p.version,
        "query_fingerprint": p.fingerprint,
        "windows": [s.model_dump(mode="json") for s in p.windows],
        "final_until": p.final_until and p.final_until.isoformat(),
        "rows": rows,
        "sha256": sha256(p.name),
        "rows_on_either_side": rows + bool(different) + only_live_left_out,
        "equal": equal,
        "different": different,
        "only_in_replay": 0,
        "only_in_live": int(bool(different)),
        "mismatches": different + bool(different),
        "differing_columns": {"sales_amount": different} if different else {},
        "first_differences": first[: different * 2],
        "excluded": {"affected by events after the offsets": excluded} if excluded else {},
    }


def computed(connection: Connection, plan: ReplayPlan, engine: str, seconds: float) -> Run:
    run = run_history.new_run(connection, plan, engine, "alice")
    created = plan.made_at + timedelta(minutes=1)
    run_history.note(
        connection,
        run.run,
        status=Status.COMPUTED,
        created_at=created,
        computed_at=created + timedelta(seconds=seconds),
        compute_seconds=seconds,
        rows_computed=1_800 * len(plan.aggregates),
    )
    return run_history.find(connection, run.run)


def verified(connection: Connection, run: Run, *, different: int = 0, excluded: int = 0) -> Run:
    found = a_certificate(run, different, excluded)
    status = Status.DIFFERS if different else Status.VERIFIED
    at = run.created_at + timedelta(minutes=5)
    run_history.note(
        connection,
        run.run,
        status=status,
        verified_at=at,
        verify_seconds=2.6,
        certificate=found,
    )
    return run_history.find(connection, run.run)


def promoted(connection: Connection, run: Run, reason: str | None, rows: int) -> Run:
    change = {"rows_removed": rows, "rows_added": rows, "by_measure": {"sales_amount": "-3.50"} if rows else {}}
    run_history.note(
        connection,
        run.run,
        status=Status.PROMOTED,
        promoted_at=run.created_at + timedelta(minutes=9),
        promote_seconds=0.08,
        reason=reason,
        changes={name: change for name in run.aggregates},
    )
    return run_history.find(connection, run.run)


def late_events(connection: Connection, restated_by: str, *, waiting: int, restated: int) -> None:
    for n in range(waiting + restated):
        at = MIDNIGHT - timedelta(days=3 + n % 4)
        place = (ORDER_PLACED.topic, n % 2, n)
        connection.execute(
            "insert into ops.late_events values (%s, %s, %s, %s, %s, %s, 'sales_per_minute, order_lines')",
            (*place, f"e{n}", at, NOW),
        )
        if n < restated:
            connection.execute("insert into ops.restated_events values (%s, %s, %s, %s)", (*place, restated_by))


def fill(connection: Connection) -> dict[str, Run]:
    """A run of each outcome, by what became of it; the newest one goes on."""

    def at(hours: float) -> datetime:
        return NOW - timedelta(hours=hours)

    every = computed(connection, a_plan(everything(), "beginning", 2_041_377, at(60)), "local", 201.4)
    every = promoted(connection, verified(connection, every, excluded=214), None, 0)
    late = a_plan(["sales_per_minute", "order_lines"], "late", 41_902, at(30), late=9)
    restated = promoted(connection, verified(connection, computed(connection, late, "duckdb", 3.2)), REASON, 7)
    failed = run_history.new_run(connection, a_plan(["sessions"], "windows", 90_551, at(9)), "local", "bob")
    error = "the machine has 1.1 GB of memory free and Spark needs 1.5: end something, or take --engine duckdb"
    run_history.note(connection, failed.run, status=Status.FAILED, created_at=at(9), error=error)
    differs = computed(
        connection, a_plan(["sales_per_minute", "refunds_per_day"], "windows", 50_210, at(5)), "duckdb", 4
    )
    differs = verified(connection, differs, different=1)
    running = run_history.new_run(connection, a_plan(["funnel_per_hour"], "windows", 90_551, at(0)), "local", "bob")
    late_events(connection, restated.run, waiting=14, restated=9)
    connection.commit()
    return {"equal": every, "restated": restated, "failed": failed, "different": differs, "running": running}
