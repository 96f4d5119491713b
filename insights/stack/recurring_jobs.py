"""The stack's recurring jobs: commands that it repeats, and the results of all their runs, for the alerts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from insights.settings import PROJECT, Settings
from insights.stack.process_record import Record, last_words, open_log, read_state
from processes import JSON_LINES
from schemas.errors import InsightsError
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, connected

INSIGHTS = (sys.executable, "-m", "insights")
KINDER = 10
LOG_BYTES = 5_000_000
UPSERT = """
insert into ops.recurring_jobs (job, every_seconds, succeeded_at, failing_since, failures, error, recorded_at)
values (%s, %s, %s, %s, %s, %s, now())
on conflict (job) do update
set every_seconds = excluded.every_seconds, succeeded_at = excluded.succeeded_at,
    failing_since = excluded.failing_since, failures = excluded.failures, error = excluded.error,
    recorded_at = excluded.recorded_at
"""


class CommandFailed(InsightsError):
    """A command that is repeated ended with an exit code other than 0."""


class Command:
    """Runs a command in a separate process, so that its memory is released. Its output: logs/NAME.out."""

    def __init__(self, settings: Settings, name: str, command: Sequence[str]) -> None:
        as_json = (sys.executable, str(JSON_LINES), name) if settings.log_format == "json" else ()
        self._command = (*as_json, *command)
        self._log = settings.logs_dir / f"{name}.out"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(PROJECT)}

    def run(self) -> None:
        """Blocks until it ends. Raises CommandFailed with its last words."""
        with open_log(self._log, LOG_BYTES) as log:
            self._process = subprocess.Popen(
                ["nice", "-n", str(KINDER), *self._command],  # the live job goes first
                env=self._environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        code = self._process.wait()
        if code:
            raise CommandFailed(f"ended with code {code}{last_words(self._log)}. Its log: `insights logs {self._name}`")

    def cancel(self) -> None:
        """Asks the run under way to end."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()


class RecurringJobsRecorder:
    """Keeps ops.recurring_jobs, from what the supervisor writes down of them."""

    def __init__(self, settings: Settings, deployment: Deployment) -> None:
        self._run_dir = settings.run_dir
        self._deployment = deployment

    def step(self) -> None:
        """Raises Retryable when Postgres is away."""
        with connected(self._deployment) as connection:
            self.write(connection)

    def write(self, connection: Connection) -> None:
        """In the caller's transaction."""
        records = {name: record for name, record in read_state(self._run_dir).items() if record.recurring}
        connection.execute("delete from ops.recurring_jobs where not job = any(%s)", (list(records),))
        for name, record in records.items():
            connection.execute(UPSERT, (name, *_row(record)))


def _row(record: Record) -> tuple[object, ...]:
    known = record.recurring
    assert known is not None
    error = record.detail[:800] if known.failures else None
    return known.every_seconds, _at(known.succeeded_at), _at(known.failing_since), known.failures, error


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
