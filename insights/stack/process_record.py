"""The record of a part or task of the stack, and of its processes."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import psutil

from processes.json_lines import message_of

State = Literal["waiting", "starting", "running", "unhealthy", "restarting", "done", "failed", "stopped"]
START_TIME_TOLERANCE_SECONDS = 0.05


@dataclass(slots=True, kw_only=True)
class Recurrence:
    """How the runs of a recurring job went. Times are seconds since the epoch, and some seconds old at most.

    Attributes:
        every_seconds: from the beginning of one run to that of the next.
        began_at: when the newest run began. Before the first: as if there had been one, so that the first is in time.
        succeeded_at: when a run last succeeded; None before the first.
        failing_since: when the first failed run since then ended; None when the newest run succeeded.
        failures: how many runs have failed since then.
    """

    every_seconds: float
    began_at: float
    succeeded_at: float | None = None
    failing_since: float | None = None
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class Record:
    """What is known of one part, task or recurring job; all of run/state.json is these, by name."""

    state: State = "waiting"
    detail: str = ""
    endpoint: str = ""
    pid: int | None = None
    started: float | None = None  # the process's own start time, in seconds since the epoch
    restarts: int = 0
    is_task: bool = False  # has no process of its own: a task, or a recurring job
    recurring: Recurrence | None = None  # of a recurring job


def read_state(run_dir: Path) -> dict[str, Record]:
    """The newest state that a supervisor wrote; empty when none did."""
    try:
        written = json.loads((run_dir / "state.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: _record(**fields) for name, fields in written.items()}


def _record(recurring: dict[str, Any] | None = None, **fields: Any) -> Record:
    return Record(recurring=Recurrence(**recurring) if recurring else None, **fields)


def process_of(record: Record) -> psutil.Process | None:
    """The process in the record, if that same process is still running."""
    if record.pid is None or record.started is None:
        return None
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started) < START_TIME_TOLERANCE_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def kill_family(record: Record) -> None:
    """Kills the recorded process and its children: those of a hanging process may hang, too, and keep its resources."""
    process = process_of(record)
    if process is None:
        return
    for member in (*process.children(recursive=True), process):
        with suppress(psutil.NoSuchProcess):
            member.kill()


def open_log(log: Path, most_bytes: int) -> BinaryIO:
    """The log, to append to. One larger than ``most_bytes`` is first moved to ``.out.1``."""
    if log.exists() and log.stat().st_size > most_bytes:
        log.replace(log.with_suffix(".out.1"))
    return log.open("ab")


def last_words(log: Path, characters: int = 200) -> str:
    """``: …``, the last line of a log with an error, or else the last that is no warning; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            lines = [message_of(line) for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    lines = [line for line in lines if not line.startswith("WARNING")]
    telling = [line for line in lines if re.search(r"FATAL|ERROR|Error|Exception", line)] or lines
    return f": {telling[-1][:characters]}" if telling else ""


def end_process(record: Record, stop_signal: int, patience_seconds: float) -> None:
    """Ends the recorded process and its children: asks, waits, then kills what is left. Blocks."""
    process = process_of(record)
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    process.send_signal(stop_signal)
    _, left = psutil.wait_procs(family, timeout=patience_seconds)
    for survivor in left:
        survivor.kill()
    psutil.wait_procs(left, timeout=5)
