"""Commands that the stack repeats, and what Postgres knows of its recurring jobs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from insights.settings import Settings
from insights.stack.composition import UpPlan, recurring_jobs
from insights.stack.process_record import Record, Recurrence
from insights.stack.recurring_jobs import Command, CommandFailed, RecurringJobsRecorder
from insights.wiring import deployment
from tests.conftest import wait_until
from warehouse.deployment import Deployment

SAYS = "import os; print('tidied', os.environ['INSIGHTS_HOME'])"
WAITS = "import time; print('began', flush=True); time.sleep(1000)"
FAILS = "import sys; print('begins'); sys.exit('insights: ERROR: Postgres is away')"


@pytest.fixture
def settings(tmp_path: Path, apart: Callable[..., Settings]) -> Settings:
    found = apart(tmp_path / "home")
    for folder in (found.run_dir, found.logs_dir):
        folder.mkdir(parents=True)
    return found


def command(settings: Settings, code: str) -> Command:
    return Command(settings, "lake", (sys.executable, "-c", code))


def test_a_job_that_something_else_schedules_can_be_turned_off(apart: Callable[..., Settings], tmp_path: Path) -> None:
    def names(**minutes: int) -> set[str]:
        return {job.name for job in recurring_jobs(apart(tmp_path, **minutes), UpPlan())}

    every = names(lake_maintenance_minutes=60, restate_late_minutes=60, dbt_minutes=5)
    none = names(lake_maintenance_minutes=0, restate_late_minutes=0, dbt_minutes=0)
    assert every - none == {"lake", "late", "histories", "marts"}


def test_a_command_has_the_stacks_settings_and_its_output_is_in_its_log(settings: Settings) -> None:
    tidy = command(settings, SAYS)
    tidy.run()
    tidy.run()
    assert (settings.logs_dir / "lake.out").read_text() == f"tidied {settings.home}\n" * 2


def test_a_failed_command_is_reported_with_the_end_of_its_log_and_where_the_rest_is(settings: Settings) -> None:
    with pytest.raises(CommandFailed) as failure:
        command(settings, FAILS).run()
    assert str(failure.value) == ("ended with code 1: insights: ERROR: Postgres is away. Its log: `insights logs lake`")


def test_a_command_under_way_ends_when_the_stack_does(settings: Settings) -> None:
    waits = command(settings, WAITS)
    waits.cancel()
    said: list[str] = []

    def run() -> None:
        try:
            waits.run()
        except CommandFailed as error:
            said.append(str(error))

    running = threading.Thread(target=run, daemon=True)
    running.start()
    log = settings.logs_dir / "lake.out"
    wait_until(lambda: log.exists() and log.read_text() == "began\n")
    waits.cancel()
    running.join(timeout=60)
    assert said
    waits.cancel()


def test_what_is_known_of_recurring_jobs_is_in_postgres(stack: Settings, tmp_path: Path) -> None:
    """In a folder of the test's own: the stack's supervisor writes into its own all the time."""
    own = stack.model_copy(update={"home": tmp_path})
    own.run_dir.mkdir(parents=True)
    target: Deployment = deployment(stack)
    at = 1_800_000_000.0
    well = Recurrence(every_seconds=1.0, began_at=at, succeeded_at=at)
    ill = Recurrence(every_seconds=3600.0, began_at=at, failing_since=at + 1, failures=2)
    records = {
        "kafka": Record(state="running"),
        "topics": Record(state="done", is_task=True),
        "finality": Record(state="running", detail="kept in ops.finality", is_task=True, recurring=well),
        "lake": Record(state="failed", detail="ended with code 1: the disk is full", is_task=True, recurring=ill),
    }
    (own.run_dir / "state.json").write_text(json.dumps({name: asdict(record) for name, record in records.items()}))
    with psycopg.connect(stack.postgres_dsn) as connection:
        # Not committed, so that the stack's own rows stay; its recorder waits for the lock meanwhile.
        RecurringJobsRecorder(own, target).write(connection)
        rows = connection.execute(
            "select job, every_seconds, extract(epoch from succeeded_at)::int, extract(epoch from failing_since)::int,"
            " failures, error from ops.recurring_jobs order by job"
        ).fetchall()
        connection.rollback()
    assert rows == [
        ("finality", 1.0, int(at), None, 0, None),
        ("lake", 3600.0, None, int(at) + 1, 2, "ended with code 1: the disk is full"),
    ]


def test_the_stack_records_how_the_runs_of_each_recurring_job_went(stack: Settings) -> None:
    def rows() -> dict[str, bool]:
        with psycopg.connect(stack.postgres_dsn) as connection:
            found = connection.execute(
                "select job, succeeded_at is not null from ops.recurring_jobs where failures = 0"
            )
            return dict(found.fetchall())

    always = {"finality", "health", "reconciliation", "recurring"}
    wait_until(lambda: {name for name, succeeded in rows().items() if succeeded} >= always, what="each succeeded")
    assert set(rows()) <= {*always, "histories", "lake", "late", "marts", "upgrade"}
