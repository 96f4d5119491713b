"""The record of runs and their results: ops.replays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from replay.context import Context
from replay.plan_file import ReplayPlan, Stretch
from schemas.errors import InsightsError, Misconfigured, Retryable
from warehouse.postgres import Connection

SCHEMA = "replay"
LOCK = "select pg_try_advisory_lock(hashtextextended('insights.replay.' || %s, 0))"
RELEASE = "select pg_advisory_unlock_all()"
COLUMNS = (
    "run, status, scope, aggregates, engine, plan, plan_digest, certificate, requested_by, promoted_by, reason,"
    " error, records, rows_computed, created_at, computed_at, verified_at, promoted_at, rolled_back_at,"
    " compute_seconds, verify_seconds, promote_seconds, changes"
)


class Status(StrEnum):
    """How far a run came. ``differs``: verified, and not equal. ``superseded``: all tables were rebuilt since."""

    RUNNING = "running"
    FAILED = "failed"
    COMPUTED = "computed"
    VERIFIED = "verified"
    DIFFERS = "differs"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    PRUNED = "pruned"
    SUPERSEDED = "superseded"


class ReplayBusy(Retryable):
    """Another replay of one of these aggregates is running."""


class HoldLost(Retryable):
    """The server that held the lock on this replay's aggregates restarted."""


class NotNow(InsightsError):
    """A run is in a state that does not allow this; the message has its state and the next step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of ops.replays. Times UTC, durations in seconds."""

    run: str
    status: Status
    scope: str
    aggregates: tuple[str, ...]
    engine: str
    plan: ReplayPlan
    plan_digest: str
    certificate: dict[str, Any] | None
    requested_by: str
    promoted_by: str | None
    reason: str | None
    error: str | None
    records: int
    rows_computed: int | None
    created_at: datetime
    computed_at: datetime | None
    verified_at: datetime | None
    promoted_at: datetime | None
    rolled_back_at: datetime | None
    compute_seconds: float
    verify_seconds: float | None
    promote_seconds: float | None
    changes: dict[str, Any] | None


def new_run(connection: Connection, plan: ReplayPlan, engine: str, requested_by: str) -> Run:
    """A run of the plan that has not begun. Visible at once."""
    with connection.transaction():
        (number,) = connection.execute("select nextval('ops.replay_number')").fetchone() or (0,)
        connection.execute(
            "insert into ops.replays (run, status, scope, aggregates, engine, plan, plan_digest, requested_by, records)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                *(f"r{number}", Status.RUNNING, plan.scope, [a.name for a in plan.aggregates], engine),
                *(Jsonb(plan.model_dump(mode="json")), plan.digest, requested_by, plan.records),
            ),
        )
    return find(connection, f"r{number}")


def unfinished(connection: Connection, plan: ReplayPlan) -> Run | None:
    """The newest run of exactly this plan that is not finished, or None."""
    runs = _select(
        connection,
        "where plan_digest = %s and status in ('running', 'failed') order by created_at desc limit 1",
        [plan.digest],
    )
    return next(runs, None)


def find(connection: Connection, run: str) -> Run:
    """The run of this name. Raises Misconfigured naming the newest ones when there is none."""
    if found := next(_select(connection, "where run = %s", [run]), None):
        return found
    known = ", ".join(r.run for r in newest(connection, 5))
    raise Misconfigured(f"there is no run {run!r}; {f'the latest are {known}' if known else 'there are no runs yet'}")


def newest(connection: Connection, limit: int) -> list[Run]:
    """The newest runs, newest first."""
    return list(_select(connection, "order by created_at desc limit %s", [limit]))


def promoted_or_rolled_back(connection: Connection, aggregate: str, since: datetime) -> list[Stretch]:
    """Windows of an aggregate that runs changed for readers since then, or may have."""
    runs = _select(
        connection,
        "where %s = any(aggregates) and greatest(promoted_at, rolled_back_at) >= %s order by created_at",
        [aggregate, since],
    )
    return [stretch for run in runs for a in run.plan.aggregates if a.name == aggregate for stretch in a.windows]


def _select(connection: Connection, condition: str, values: Sequence[object]) -> Iterator[Run]:
    rows = connection.execute(f"select {COLUMNS} from ops.replays {condition}", values).fetchall()
    for row in rows:
        fields = dict(zip(COLUMNS.replace(" ", "").split(","), row, strict=True))
        yield Run(
            **{
                **fields,
                "status": Status(fields["status"]),
                "aggregates": tuple(fields["aggregates"]),
                "plan": ReplayPlan.model_validate(fields["plan"]),
            }
        )


def note(connection: Connection, run: str, **fields: Any) -> None:
    """Updates a run's record. A field ending in ``_at`` that is True becomes the time."""
    assignments, values = [], []
    for name, value in fields.items():
        if value is True and name.endswith("_at"):
            assignments.append(sql.SQL("{} = now()").format(sql.Identifier(name)))
            continue
        assignments.append(sql.SQL("{} = %s").format(sql.Identifier(name)))
        values.append(Jsonb(value) if isinstance(value, dict) else value)
    connection.execute(
        sql.SQL("update ops.replays set {} where run = %s").format(sql.SQL(", ").join(assignments)), [*values, run]
    )


def supersede(connection: Connection) -> None:
    """After all tables were rebuilt: no run can be promoted or rolled back any more, as it knows the old ones."""
    connection.execute("update ops.replays set status = %s where status <> %s", (Status.SUPERSEDED, Status.PRUNED))


@contextmanager
def alone(context: Context, aggregates: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Holds the aggregates for one replay. Raises ReplayBusy naming the run that has one of them.

    The server releases them when this process or the server ends, in whatever way. The yielded function
    raises HoldLost after that; call it before a write outside the transaction that was open before.
    """
    with context.postgres() as connection:
        for name in sorted(aggregates):
            if connection.execute(LOCK, (name,)).fetchone() != (True,):
                raise ReplayBusy(_holder(connection, name))
        connection.commit()

        def still_held() -> None:
            try:
                connection.execute("select 1")
                connection.commit()
            except psycopg.OperationalError as error:
                raise HoldLost(
                    "Postgres restarted during the run, and another replay may have begun meanwhile; nothing was"
                    " changed. Computed results are kept: run the same plan again"
                ) from error

        try:
            yield still_held
        finally:
            # The server learns of a closed connection a moment later: the next step must not find them held by it.
            with suppress(psycopg.Error):
                connection.rollback()
                connection.execute(RELEASE)


@contextmanager
def held(context: Context, run: str) -> Iterator[Run]:
    """The run as it is now, with its aggregates held. Raises ReplayBusy, Misconfigured when there is no such run."""
    with context.postgres() as connection:
        names = find(connection, run).aggregates
    with alone(context, names):
        with context.postgres() as connection:
            record = find(connection, run)
        yield record


def changed_since(connection: Connection, record: Run) -> str | None:
    """A run that changed what readers see of the same aggregates after this one was verified, or None."""
    row = connection.execute(
        "select run from ops.replays where aggregates && %s and run <> %s"
        " and greatest(promoted_at, rolled_back_at) > %s order by created_at desc limit 1",
        (list(record.aggregates), record.run, record.verified_at),
    ).fetchone()
    return str(row[0]) if row else None


def late_since(connection: Connection, record: Run) -> str | None:
    """A run that made late events count, or took that back, after this one was begun, or None."""
    row = connection.execute(
        "select run from ops.replays where scope = 'late' and greatest(promoted_at, rolled_back_at) > %s"
        " order by created_at desc limit 1",
        (record.created_at,),
    ).fetchone()
    return str(row[0]) if row else None


def _holder(connection: Connection, name: str) -> str:
    runs = _select(
        connection, "where %s = any(aggregates) order by (status = 'running') desc, created_at desc limit 1", [name]
    )
    holder = next(runs, None)
    what = f"{holder.run}, by {holder.requested_by} since {holder.created_at:%H:%M:%S}" if holder else "another one"
    return f"a replay of {name} is running: {what}. Wait until it ends or stop it; nothing was changed"


def staging(run: str, name: str, variant: str) -> str:
    """Table with a run's results for an aggregate."""
    return f"{SCHEMA}.{run}_{name}" if variant == "counted" else f"{SCHEMA}.{run}_{variant}_{name}"


def before(run: str, name: str) -> str:
    """Table with the rows that a promotion replaced."""
    return f"{SCHEMA}.{run}_before_{name}"
