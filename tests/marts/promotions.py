"""Replays that changed windows, as ops.replays has them: what a promotion writes down, without a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from aggregates.catalogue import aggregate
from replay.plan_file import Estimate, PlannedAggregate, ReplayPlan, Stretch

NOTE = """
insert into ops.replays (
    run, status, scope, aggregates, engine, plan, plan_digest, certificate, requested_by, reason, records,
    verified_at, promoted_at, changes
)
values (%s, 'promoted', 'windows', %s, 'duckdb', %s, '', %s, 'a test', 'was ''wrong''', 0, now(), now(), %s)
"""


def promoted(dsn: str, run: str, windows: Mapping[str, Sequence[Stretch]]) -> None:
    """Notes that this run changed these windows of each aggregate, with a certificate of what was compared."""
    names = list(windows)
    certificate = {"aggregates": [_compared(number, name) for number, name in enumerate(names)]}
    changes = {name: {"rows_added": 1, "rows_removed": 1, "by_measure": {}} for name in names}
    plan = _plan(windows).model_dump(mode="json")
    with psycopg.connect(dsn) as connection:
        connection.execute(NOTE, (run, names, Jsonb(plan), Jsonb(certificate), Jsonb(changes)))


def _plan(windows: Mapping[str, Sequence[Stretch]]) -> ReplayPlan:
    return ReplayPlan(
        made_at=datetime(2026, 5, 1, tzinfo=UTC),
        scope="windows",
        aggregates=tuple(_planned(name, stretches) for name, stretches in windows.items()),
        topics={},
        late_events=0,
        waiting_events=0,
        dashboards=(),
        models=(),
        estimate=Estimate(spark_seconds=1, duckdb_seconds=1, emr_usd=0),
    )


def _planned(name: str, stretches: Sequence[Stretch]) -> PlannedAggregate:
    a = aggregate(name)
    return PlannedAggregate(
        name=name,
        version=a.version,
        fingerprint=a.fingerprint,
        table=a.sink,
        final_until=None,
        windows=tuple(stretches),
    )


def _compared(number: int, name: str) -> dict[str, Any]:
    """Some differ, and of some there is nothing that was left out."""
    excluded = {} if number % 2 else {"newer events": number, "late": 1}
    return {"name": name, "equal": 10 + number, "mismatches": number % 3, "excluded": excluded, "sha256": f"{number:x}"}
