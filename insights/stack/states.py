"""The state of the stack, seen from outside: from the system and Postgres, without knowing how a part is started."""

from __future__ import annotations

import fcntl
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import psycopg

from insights.settings import Settings
from insights.stack.process_record import Record, Recurrence, process_of, read_state
from schemas.errors import Misconfigured
from warehouse.postgres import PostgresAway, opened

PAUSE = "pause.lock"  # held while a backup is written (insights/stack/attended.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """How a part, task or recurring job of the stack is."""

    name: str
    state: str
    healthy: bool
    endpoint: str
    detail: str
    pid: int | None
    memory_mb: float | None
    uptime_seconds: float | None
    restarts: int
    is_task: bool
    recurring: Recurrence | None = None


def supervisor_process(settings: Settings) -> psutil.Process | None:
    """The supervisor of this home, if one runs."""
    try:
        record = Record(**json.loads((settings.run_dir / "supervisor.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return process_of(record)


def is_paused(settings: Settings) -> bool:
    """Whether it stands still for a backup."""
    if not settings.run_dir.is_dir():
        return False
    with (settings.run_dir / PAUSE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def part_states(settings: Settings) -> list[PartState]:
    """Every part and task that the supervisor knows, and the supervisor itself first."""
    supervisor = supervisor_process(settings)
    states = [_part_state("supervisor", Record(state="running" if supervisor else "stopped"), supervisor, {})]
    children = _children()
    for name, record in read_state(settings.run_dir).items():
        states.append(_part_state(name, record, process_of(record), children))
    return states


Children = Mapping[int, list[psutil.Process]]  # by the process that started them


def _children() -> Children:
    found: dict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            found[process.ppid()].append(process)
    return found


def _family(process: psutil.Process, children: Children) -> Iterator[psutil.Process]:
    yield process
    for child in children.get(process.pid, ()):
        yield from _family(child, children)


def _part_state(name: str, record: Record, process: psutil.Process | None, children: Children) -> PartState:
    memory = uptime = None
    if process is not None:
        try:
            uptime = time.time() - process.create_time()
        except psutil.NoSuchProcess:
            process = None
        else:
            memory = sum(_private_memory(p) for p in _family(process, children)) / 1e6
    return PartState(
        name=name,
        state=record.state if process or record.is_task or record.state in ("done", "stopped") else "down",
        healthy=record.state in ("running", "done")
        and (process is not None or record.is_task or record.state == "done"),
        endpoint=record.endpoint,
        detail=record.detail,
        pid=process.pid if process else None,
        memory_mb=memory,
        uptime_seconds=uptime,
        restarts=record.restarts,
        is_task=record.is_task,
        recurring=record.recurring,
    )


def _private_memory(process: psutil.Process) -> int:
    """Bytes that this process does not share: what Postgres' processes share is not counted once for each. 0 of one
    that has ended, as a part's children do all the time.

    From the kernel's counters. To count page by page (USS) takes it up to 50 ms for a Java, at each look.
    """
    with suppress(psutil.NoSuchProcess):
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    return 0


def log_path(settings: Settings, part: str) -> Path:
    """The file with the part's newest messages. Raises Misconfigured listing the parts when there is no such one."""
    own, captured = settings.logs_dir / f"{part}.log", settings.logs_dir / f"{part}.out"
    found = [path for path in (own, captured) if path.exists()]
    if not found:
        parts = sorted({path.stem for path in settings.logs_dir.glob("*.*")})
        known = f"there are logs of: {', '.join(parts)}" if parts else "no part has run yet"
        raise Misconfigured(f"there is no log of {part!r} in {settings.logs_dir}; {known}")
    return max(found, key=lambda path: (path.stat().st_size > 0, path == own))


def counted_until(settings: Settings) -> datetime | None:
    """The newest minute with an order that is counted; None before the first, or when Postgres is away."""
    with suppress(PostgresAway, psycopg.Error), opened(settings.postgres_dsn) as connection:
        row = connection.execute("select max(window_start) from live.sales_per_minute").fetchone()
        return row[0] if row else None
    return None
