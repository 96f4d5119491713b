"""Processes that outlive whoever started them: starting, finding again, signalling.

A process is known by its pid and the moment it was born; a pid alone may be somebody else's by now. Each process of
the stack also carries the mark of its stack and part in its environment (and so do its children), which finds even
those that were started in the instant before their starter was killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "INSIGHTS_PART"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A process that was started: its pid, when it was born (in the kernel's own terms), when that was in Unix time."""

    pid: int
    born: str
    started_at: float

    @property
    def alive(self) -> bool:
        """Whether this very process still runs. A zombie does not."""
        return born(self.pid) == self.born


def born(pid: int) -> str | None:
    """When the process was born, as ``<boot id>:<clock ticks since boot>``; None when it does not run."""
    try:
        # The name in brackets may hold spaces; what follows it does not.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in ("Z", "X") else f"{_boot_id()}:{rest[18]}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_record(path: Path) -> Record | None:
    """The record in a file; None when there is none, or none that can be read."""
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_record(path: Path, pid: int) -> Record:
    """Records a process that runs now. Raises ProcessLookupError when it is gone already."""
    moment = born(pid)
    if moment is None:
        raise ProcessLookupError(pid)
    record = Record(pid=pid, born=moment, started_at=time.time())
    write_atomically(path, json.dumps({"pid": record.pid, "born": record.born, "started_at": record.started_at}))
    return record


def write_atomically(path: Path, text: str) -> None:
    """Replaces the file in one step, so that a reader sees the old text or the new. Readable by its owner alone."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    staging.replace(path)


def mark(home: Path, part: str) -> str:
    """What processes of a part carry in their environment."""
    return f"{home}:{part}"


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    user: tuple[int, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own, its output appended to the log. ``user`` is (user id, group id)."""
    uid, gid = user or (None, None)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=uid,
            group=gid,
            extra_groups=[] if user else None,
        )


def marked(home: Path, part: str | None = None) -> list[psutil.Process]:
    """Every process that carries the mark of this stack, or of one part of it: parents before their children."""
    prefix = mark(home, part or "")
    found = []
    for process in psutil.process_iter():
        try:
            text = process.environ().get(MARK, "")
        except psutil.Error:
            continue
        if (text == prefix if part else text.startswith(prefix)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def find(home: Path, part: str) -> int | None:
    """The pid of a part that runs without a record: the first of its processes. None when there is none."""
    processes = marked(home, part)
    return processes[0].pid if processes else None


def send(record: Record, number: signal.Signals) -> None:
    """Signals the process, if it is still the one that was recorded."""
    if record.alive:
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            pass


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kills what is left of a part. psutil looks at the time of birth before it signals."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
