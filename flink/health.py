"""The health of the live jobs, as reported by Flink: why one keeps failing, and since when. For alerts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from flink.hold import held
from flink.intended_downtime import asked_at
from flink.live_job import kept_jobs
from flink.rest import Checkpoints, FlinkRest, FlinkUnavailable, JobFailed
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, connected

# How often ``step`` is to be called.
EVERY_SECONDS = 5.0
# For this long after its submission, a job that has not run yet counts as starting.
START_SECONDS = 300.0
NO_REASON = "Flink gives no reason"
NOT_THERE, NOT_KNOWN = "not there", "not known"
UPSERT = """
insert into ops.live_jobs as known
    (job, state, not_running_since, failing_since, failures, checkpoint_at, checkpoint_problem, why, recorded_at)
values (%(job)s, %(state)s, %(down)s, %(failing)s, %(failures)s, %(checkpoint)s, %(problem)s, %(why)s, %(now)s)
on conflict (job) do update
set state = excluded.state,
    -- Only a job that runs is down no more: a recorder that has just begun may not know that it was.
    not_running_since = case
        when excluded.state <> 'RUNNING' then least(known.not_running_since, excluded.not_running_since)
    end,
    -- Flink forgets the oldest failures of many; those before a complete checkpoint are over.
    failing_since = case
        when %(blind)s then known.failing_since
        when excluded.failing_since is not null and known.failing_since > excluded.checkpoint_at
            then least(known.failing_since, excluded.failing_since)
        else excluded.failing_since
    end,
    failures = case when %(blind)s then known.failures else excluded.failures end,
    checkpoint_at = coalesce(excluded.checkpoint_at, known.checkpoint_at),
    checkpoint_problem = case when %(blind)s then known.checkpoint_problem else excluded.checkpoint_problem end,
    why = case when %(blind)s and known.failing_since is not null then known.why else excluded.why end,
    recorded_at = excluded.recorded_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A job's failures since its newest checkpoint. ``failures`` is what Flink remembers; of ``is_more`` it forgot."""

    since: datetime
    failures: int
    is_more: bool
    why: str

    @property
    def sentence(self) -> str:
        """For people: how often, since when, and why."""
        times = "once" if self.failures == 1 else f"{self.failures} times"
        often = f"more than {times}" if self.is_more else times
        when = f"{self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"failed {often} since {when}, without completing a checkpoint: {self.why}"


def failing(rest: FlinkRest, job: str, checkpoints: Checkpoints) -> Failing | None:
    """Why a job keeps failing; None when a checkpoint was complete since its newest failure. May raise as ``rest``."""
    last = checkpoints.newest.completed_at_ms if checkpoints.newest else 0
    history, is_truncated = rest.failures(job)
    since = [failure for failure in history if failure.at_ms > last]
    if not since:
        return None
    return Failing(
        since=_at(min(failure.at_ms for failure in since)),
        failures=len(since),
        is_more=is_truncated and len(since) == len(history),
        why=since[0].root or NO_REASON,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look at a live job. ``checkpoint_problem`` is that of one which failed after the newest complete one."""

    state: str
    failing: Failing | None = None
    checkpoint_at: datetime | None = None
    checkpoint_problem: str | None = None
    why: str | None = None


class HealthRecorder:
    """Keeps ops.live_jobs. ``step`` is called every few seconds; it blocks for requests to Flink and Postgres."""

    def __init__(
        self,
        deployment: Deployment,
        clock: Callable[[], float] = time.time,
        look: Callable[[str], Health] | None = None,
    ) -> None:
        """``look`` asks how a job is, by its name; Flink's REST interface if there is none."""
        self._deployment = deployment
        self._clock = clock
        self._look = look or partial(_asked, FlinkRest(deployment.flink_url))
        self._asked: float | None = None
        self._wanted_since: dict[str, float] = {}
        self._has_run: set[str] = set()

    def step(self) -> None:
        """Raises Retryable when Postgres is away. That Flink is away is recorded as well."""
        looks = {} if held(self._deployment) else dict(self._looks())
        now = self._clock()
        # Read after the jobs: then a start or stop in between is included.
        asked = asked_at(self._deployment, now)
        with connected(self._deployment) as connection:
            if self._asked is None:
                self._has_run = _have_run(connection, since=max(asked, now - START_SECONDS))
            elif asked != self._asked:
                self._has_run, self._wanted_since = set(), {}
            self._asked = asked
            self._want(looks.keys(), now)
            connection.execute("delete from ops.live_jobs where not job = any(%s)", (list(looks),))
            for name, found in looks.items():
                connection.execute(UPSERT, self._row(name, found, now))

    def _want(self, names: Collection[str], now: float) -> None:
        """A job that was not wanted for a while, as of a hold, has all its time again to come up."""
        self._wanted_since = {name: self._wanted_since.get(name, now) for name in names}
        self._has_run &= set(names)

    def _looks(self) -> Iterator[tuple[str, Health]]:
        for name in (job.name for job in kept_jobs(self._deployment)):
            try:
                yield name, self._look(name)
            except (FlinkUnavailable, JobFailed) as error:
                yield name, Health(state=NOT_KNOWN, why=str(error)[:800])

    def _row(self, name: str, found: Health, now: float) -> dict[str, object]:
        is_running = found.state == "RUNNING"
        if is_running:
            self._has_run.add(name)
        # A job that was submitted is absent for a while, which is no failure.
        is_late = now - self._wanted_since[name] > START_SECONDS
        is_down = not is_running and (name in self._has_run or is_late)
        at, trouble = datetime.fromtimestamp(now, UTC), found.failing
        return {
            "job": name,
            "state": found.state,
            "blind": found.state in (NOT_THERE, NOT_KNOWN),
            "down": at if is_down else None,
            "failing": trouble.since if trouble else None,
            "failures": trouble.failures if trouble else 0,
            "checkpoint": found.checkpoint_at,
            "problem": found.checkpoint_problem,
            "why": found.why,
            "now": at,
        }


def _asked(rest: FlinkRest, name: str) -> Health:
    found = next(((job, state) for job, called, state in rest.jobs() if called == name), None)
    if found is None:
        return Health(state=NOT_THERE)
    job, state = found
    checkpoints = rest.checkpoints(job)
    newest, trouble = checkpoints.newest, failing(rest, job, checkpoints)
    return Health(
        state=state,
        failing=trouble,
        why=trouble.why if trouble else None,
        checkpoint_at=_at(newest.completed_at_ms if newest else rest.started_at_ms(job)),
        checkpoint_problem=checkpoints.problem,
    )


def _have_run(connection: Connection, since: float) -> set[str]:
    """Jobs that ran, as a recorder before this one knew; what it wrote before ``since`` is of no use, and goes."""
    connection.execute("delete from ops.live_jobs where recorded_at < %s", (datetime.fromtimestamp(since, UTC),))
    found = connection.execute("select job from ops.live_jobs where state = 'RUNNING' or not_running_since is not null")
    return {job for (job,) in found}


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
