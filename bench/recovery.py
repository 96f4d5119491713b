"""How soon numbers are fresh again after a part of the stack was killed, in units of an undisturbed start of the job.

Talks to a stack that is up with its shop (`insights up --rate 10 --history 1h`), found by the same settings as the
`insights` command's (INSIGHTS_HOME and the like).

    python -m bench.recovery --rounds 3

First the live job is stopped with a savepoint and submitted again: the time until an event from after the submission is
counted is the unit. Then each part is killed (-9) in turn, by its number, and watched until an event from after the
kill is counted:

back      the supervisor has started it again, and it answers
running   every task of the live job runs, in a run that began after the kill (only where the job had to start again)
fresh     an event from after the kill is in ops.event_counts; where the job had to start again, one from after that:
          what was not killed counts on for some seconds
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from bench.producer import machine
from flink import job_control
from flink.live_job import JOB_NAME
from flink.rest import FlinkRest, FlinkUnavailable, JobFailed
from insights.settings import Settings, load_settings
from insights.stack.states import part_states
from insights.status import status
from insights.wiring import deployment

PARTS = ("taskmanager", "jobmanager", "kafka", "postgres")
ENDS_THE_JOB = ("taskmanager", "jobmanager")
PATIENCE_SECONDS = 400.0
POLL_SECONDS = 0.1
NEWEST = "select max(last_event_at) from ops.event_counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Seconds since the kill; None where nothing of the kind had to happen."""

    back: float | None
    running: float | None
    fresh: float


def until(condition: Callable[[], bool], what: str) -> float:
    """Polls until it is so; when, on the monotonic clock. Raises SystemExit after some minutes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not so after {PATIENCE_SECONDS:.0f} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic()


def counts_since(settings: Settings, at: datetime) -> bool:
    """Is an event of after ``at`` counted?"""
    with suppress(psycopg.Error), psycopg.connect(settings.postgres_dsn, connect_timeout=2) as connection:
        row = connection.execute(NEWEST).fetchone()
        return bool(row and row[0] and row[0] > at)
    return False


def runs_anew(rest: FlinkRest, since_ms: float) -> bool:
    """Does every task of the live job run, and did any start after that time?"""
    with suppress(FlinkUnavailable, JobFailed):
        return (job := rest.active_job(JOB_NAME)) is not None and rest.started_since(job, since_ms)
    return False


def undisturbed(settings: Settings) -> float:
    """Seconds from the submission until an event from after it is counted."""
    target = deployment(settings)
    job_control.stop(target)
    began, at = time.monotonic(), datetime.now(UTC)
    job_control.submit(target)
    return until(lambda: counts_since(settings, at), "an event is counted after the job was submitted") - began


def killed(settings: Settings, name: str) -> Recovery:
    """Kills the part and watches the recovery."""
    rest = FlinkRest(settings.flink_url)
    pid = next(part.pid for part in part_states(settings) if part.name == name)
    if pid is None:
        raise SystemExit(f"{name} does not run")
    os.kill(pid, signal.SIGKILL)
    began, at = time.monotonic(), datetime.now(UTC)
    seen: dict[str, float] = {}
    counted_from = None if name in ENDS_THE_JOB else at

    def look() -> bool:
        nonlocal counted_from
        part = next(part for part in part_states(settings) if part.name == name)
        if "back" not in seen and part.pid not in (None, pid) and part.healthy:
            seen["back"] = time.monotonic() - began
        if "running" not in seen and runs_anew(rest, at.timestamp() * 1000):
            seen["running"] = time.monotonic() - began
            counted_from = datetime.now(UTC)
        return "back" in seen and counted_from is not None and counts_since(settings, counted_from)

    fresh = until(look, f"numbers are fresh after {name} was killed") - began
    return Recovery(back=seen["back"], running=seen.get("running"), fresh=fresh)


def settle(settings: Settings) -> None:
    """Waits until the stack is well and every source is read to within some events: each kill meets the same."""

    def well() -> bool:
        seen = status(settings)
        left = [counts.unaccounted for counts in seen.topics.values()]
        return all(part.healthy for part in seen.parts) and all(n is not None and 0 <= n < 100 for n in left)

    until(well, "every part is well and everything is counted")


def _shown(seconds: float | None) -> str:
    return f"{'-':>9}" if seconds is None else f"{seconds:9.1f}"


def main() -> None:
    """Prints a line a kill."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=1, help="how many times each part is killed")
    arguments.add_argument("--parts", default=",".join(PARTS), help="which, with commas")
    given = arguments.parse_args()
    settings = load_settings()
    print(machine())
    settle(settings)
    unit = undisturbed(settings)
    print(f"an undisturbed start of the job: {unit:.1f} s until an event is counted; load {os.getloadavg()[0]:.1f}")
    print(f"{'killed':<12}{'back':>9}{'running':>9}{'fresh':>9}{'ratio':>7}{'load':>6}")
    for _ in range(given.rounds):
        for name in given.parts.split(","):
            settle(settings)
            took = killed(settings, name)
            columns = "".join(_shown(seconds) for seconds in (took.back, took.running, took.fresh))
            print(f"{name:<12}{columns}{took.fresh / unit:7.2f}{os.getloadavg()[0]:6.1f}", flush=True)
    settle(settings)
    print("reconciliation: every topic balances, none counts more than was published")


if __name__ == "__main__":
    main()
