"""How the live jobs get on, as Flink tells it: why one keeps failing, and since when. In ops.live_jobs for alerts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from flink.deployment import Deployment
from flink.hold import held
from flink.live_job import kept_jobs
from flink.postgres import connected
from flink.rest import Checkpoints, FlinkRest, FlinkUnavailable, JobFailed

START_SECONDS = 300.0
NO_REASON = "Flink tells no reason"
UPSERT = """
insert into ops.live_jobs as known
    (job, state, not_running_since, failing_since, failures, checkpoint_at, checkpoint_problem, why, recorded_at)
values (%(job)s, %(state)s, %(down)s, %(failing)s, %(failures)s, %(checkpoint)s, %(problem)s, %(why)s, %(now)s)
on conflict (job) do update
set state = excluded.state,
    not_running_since = case
        when excluded.not_running_since is not null
            then least(known.not_running_since, excluded.not_running_since)
    end,
    -- Flink forgets the oldest failures of many; those before a complete checkpoint are over.
    failing_since = case
        when excluded.failing_since is not null and known.failing_since > excluded.checkpoint_at
            then least(known.failing_since, excluded.failing_since)
        else excluded.failing_since
    end,
    failures = excluded.failures,
    checkpoint_at = coalesce(excluded.checkpoint_at, known.checkpoint_at),
    checkpoint_problem = excluded.checkpoint_problem,
    why = excluded.why,
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
    def told(self) -> str:
        """For people: how often, since when, and why."""
        times = "once" if self.failures == 1 else f"{self.failures} times"
        often = f"more than {times}" if self.is_more else times
        when = f"{self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"failed {often} since {when}, and has completed no checkpoint since: {self.why}"


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

    def __init__(self, deployment: Deployment, clock: Callable[[], float] = time.time) -> None:
        self._deployment = deployment
        self._clock = clock
        self._began = clock()
        self._has_run: set[str] = set()
        self._rest = FlinkRest(deployment.flink_url)

    def step(self) -> bool:
        """Always True. Raises Retryable when Postgres is away. A Flink that is away is what there is to say."""
        looks = {} if held(self._deployment) else dict(self._looks())
        now = self._clock()
        with connected(self._deployment) as connection:
            connection.execute("delete from ops.live_jobs where not job = any(%s)", (list(looks),))
            for name, found in looks.items():
                connection.execute(UPSERT, self._row(name, found, now))
        return True

    def _looks(self) -> Iterator[tuple[str, Health]]:
        for name in (job.name for job in kept_jobs(self._deployment)):
            try:
                yield name, self._look(name)
            except (FlinkUnavailable, JobFailed) as error:
                yield name, Health(state="not known", why=str(error)[:800])

    def _look(self, name: str) -> Health:
        found = next(((job, state) for job, called, state in self._rest.jobs() if called == name), None)
        if found is None:
            return Health(state="not there")
        job, state = found
        checkpoints = self._rest.checkpoints(job)
        newest, trouble = checkpoints.newest, failing(self._rest, job, checkpoints)
        return Health(
            state=state,
            failing=trouble,
            why=trouble.why if trouble else None,
            checkpoint_at=_at(newest.completed_at_ms if newest else self._rest.started_at_ms(job)),
            checkpoint_problem=checkpoints.problem,
        )

    def _row(self, name: str, found: Health, now: float) -> dict[str, object]:
        is_running = found.state == "RUNNING"
        if is_running:
            self._has_run.add(name)
        # A stack that comes up has no job for a while, and nobody needs to look.
        is_down = not is_running and (name in self._has_run or now - self._began > START_SECONDS)
        at, trouble = datetime.fromtimestamp(now, UTC), found.failing
        return {
            "job": name,
            "state": found.state,
            "down": at if is_down else None,
            "failing": trouble.since if trouble else None,
            "failures": trouble.failures if trouble else 0,
            "checkpoint": found.checkpoint_at,
            "problem": found.checkpoint_problem,
            "why": found.why,
            "now": at,
        }


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
