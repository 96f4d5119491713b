"""What the supervisor runs: parts (processes that stay), tasks (steps that are repeated when they are undone), and
recurring jobs (steps that are repeated for as long as the stack is up).
"""

from __future__ import annotations

import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from insights.settings import Settings
from processes import JSON_LINES
from schemas.errors import InsightsError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ServerSetupFailed(InsightsError):
    """A server could not be set up; the message has its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A process of the stack.

    Attributes:
        name: of the part, and of its log file.
        command: argument vector; the first is an absolute path.
        environment: all of the process's environment.
        healthy: may block for a second or two; raises or returns False while the part does not answer.
        endpoint: where people and programs find it.
        after: parts and tasks that must be there first.
        prepare: runs before each start; may block.
        cwd: folder that it runs in.
        stop_signal: what asks it to end.
        stop_seconds: how long it may take to; then it is killed.
        ends: exit codes after which it is finished and not restarted, each with the detail to show. Servers have
            none: one that was asked to end, but not by us, is started again.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    healthy: Callable[[], bool]
    endpoint: str
    after: Sequence[str] = ()
    prepare: Callable[[], None] | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    ends: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A step that runs once the things in ``after`` are up, and again when ``still_done`` returns False.

    ``run`` may block, returns a line for people, and raises InsightsError when it can't; that is tried again.
    """

    name: str
    run: Callable[[], str]
    after: Sequence[str] = ()
    still_done: Callable[[], bool] | None = None
    every_seconds: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurring:
    """A step to repeat for as long as the stack is up.

    Attributes:
        name: of the job, and of its log file if it has one.
        step: one run; may block. Raises when it failed; it then runs again sooner, and less soon each time it fails.
        says: what it does, as status shows it.
        every_seconds: from the beginning of one run to that of the next.
        first_after_seconds: how long after the stack was first up the first run begins.
        after: parts and tasks that must be there for a run to begin.
        cancel: ends the run under way, when the stack goes down.
    """

    name: str
    step: Callable[[], object]
    says: str
    every_seconds: float
    first_after_seconds: float = 0.0
    after: Sequence[str] = ()
    cancel: Callable[[], None] | None = None


def in_json(part: Part, settings: Settings) -> Part:
    """The same part, which prints instead of logging, with each line as a JSON object where logs are JSON."""
    if settings.log_format != "json":
        return part
    return replace(part, command=[sys.executable, str(JSON_LINES), part.name, *part.command])


def http_ok(url: str, *, timeout_seconds: float = 2) -> bool:
    """Does a GET of ``url`` answer 2xx?"""
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as response:  # noqa: S310 our own loopback addresses
            return 200 <= int(response.status) < 300
    except (urllib.error.URLError, OSError):
        return False


def make_folders(settings: Settings) -> None:
    """The data folder and what every process expects in it. It holds secrets: only its owner gets in.

    Except where Flink runs elsewhere: it shares the folder, maybe as another user.
    """
    for folder in (settings.run_dir, settings.logs_dir, settings.conf_dir, settings.producers_dir):
        folder.mkdir(parents=True, exist_ok=True)
    if not settings.external_flink:
        with suppress(PermissionError):  # it is somebody else's, who decides
            settings.home.chmod(0o700)
