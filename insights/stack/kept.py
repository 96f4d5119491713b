"""A supervisor's state of one part, task or recurring job, and descriptions of what went wrong with it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psutil

from insights.stack.part import Part, Recurring, Task
from insights.stack.process_record import Record, Recurrence, last_words, process_of
from schemas.errors import InsightsError, Retryable

HUNG_AFTER_SECONDS = 90.0
# Until a recurring job runs again whose first run found a server coming up, and one that failed once.
COMING_SECONDS = 2.0
RETRY_SECONDS = 10.0

Thing = Part | Task | Recurring


@dataclass(slots=True)
class Kept:
    """One part, task or recurring job under supervision. Times ending in ``due``, ``since`` are of the monotonic clock.

    Attributes:
        killed_for: why we ended its process ourselves.
        failures: how many in a row.
        began_at: when the newest run of a recurring job began, in seconds since the epoch.
    """

    what: Thing
    record: Record
    child: subprocess.Popen[bytes] | None = None
    checking: Future[bool] | None = None
    working: Future[object] | None = None
    check_due: float = 0.0
    start_due: float = 0.0
    well_since: float | None = None
    ill_since: float | None = None
    killed_for: str = ""
    failures: int = 0
    began_at: float = 0.0

    def cancel(self) -> None:
        """Ask a recurring job's run under way to end."""
        if isinstance(self.what, Recurring) and self.working is not None and self.what.cancel is not None:
            self.what.cancel()

    def step_failed(self, job: Recurring, known: Recurrence, error: BaseException, now: float) -> None:
        """Record it, and have the job run again: sooner than at its time, and less soon each time it fails."""
        known.failing_since = known.failing_since or now
        known.failures += 1
        # A server that is still coming up: `insights up` waits for it.
        is_coming = isinstance(error, Retryable) and known.succeeded_at is None and self.record.state == "starting"
        self.record.state = "starting" if is_coming else "failed"
        self.record.detail = " ".join(error_text(error).split())
        self.failures += not is_coming
        wait = COMING_SECONDS if is_coming else RETRY_SECONDS * 2.0 ** min(self.failures - 1, 20)
        if wait < job.every_seconds:
            self.began_at = now - job.every_seconds + wait
        known.began_at = self.began_at


def how_it_ended(code: int | None, log: Path) -> str:
    """Why a process is gone, with the last words of its log; ``code`` is None if it was not our child."""
    if code is None:
        return "died"
    if code < 0:
        return f"killed by signal {-code}"
    return f"ended with code {code}{last_words(log)}"


def why_unresponsive(record: Record, part: Part, is_ready: Callable[[str], bool]) -> str:
    """Why a running part does not answer: suspended, another part is down, or unknown; and what happens next."""
    process = process_of(record)
    if process is not None and process.status() == psutil.STATUS_STOPPED:
        return (
            f"is not responding: its process {process.pid} is suspended (SIGSTOP)."
            f" `kill -CONT {process.pid}` resumes it; after {HUNG_AFTER_SECONDS:.0f} s it is killed and restarted"
        )
    if away := [name for name in part.after if not is_ready(name)]:
        return f"is not responding while {', '.join(away)} is down"
    return f"is not responding; after {HUNG_AFTER_SECONDS:.0f} s it is killed and restarted"


def error_text(error: BaseException) -> str:
    """The error's message; an unforeseen error also gives its type."""
    return str(error) if isinstance(error, InsightsError) else f"{type(error).__name__}: {error}"
