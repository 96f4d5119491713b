"""Keeps the stack running: starts parts, restarts dead ones, repeats tasks that are undone, and runs recurring jobs.

One process, started by `insights up` in a session of its own. It writes its state to ``run/state.json`` after every
change, so that the supervisor that replaces a killed one adopts the running parts. It only signals processes whose
number and start time are recorded there.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from insights.settings import Settings
from insights.stack.kept import HUNG_AFTER_SECONDS, Kept, Thing, error_text, how_it_ended, why_unresponsive
from insights.stack.part import Part, Recurring, Task
from insights.stack.process_record import (
    Record,
    Recurrence,
    end_process,
    kill_family,
    open_log,
    process_of,
    read_state,
)
from schemas.errors import Retryable

TICK_SECONDS = 0.2
CHECK_EVERY_SECONDS = 2.0
CHECK_STARTING_EVERY_SECONDS = 0.3
# Under load one answer may be slow: that is no failure yet.
UNHEALTHY_AFTER_SECONDS = 5.0
STABLE_AFTER_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 30.0
SERVERS = ("taskmanager", "jobmanager", "registry", "kafka", "postgres")
LOG_BYTES = 50 * 1024 * 1024
RUNS_LOCK = "supervisor.lock"  # held for as long as a supervisor runs
# Some steps run every second: the time of the newest run is only written this often.
TIMES_WRITTEN_EVERY_SECONDS = 5.0


class Supervisor:
    """Runs ``things``; ``run`` blocks until a stop is requested, and then stops them in reverse order."""

    def __init__(
        self,
        things: Sequence[Thing],
        *,
        run_dir: Path,
        logs_dir: Path,
        before_stop: Task | None = None,
        compose: Callable[[], Sequence[Thing]] | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._clock = clock
        self._run_dir = run_dir
        self._logs_dir = logs_dir
        self._before_stop = before_stop
        self._compose = compose
        self._stop = threading.Event()
        self._recompose = threading.Event()
        self._written = ""
        known = read_state(run_dir)
        self._kept = {t.name: self._kept_of(t, known.get(t.name)) for t in things}
        self._pool = ThreadPoolExecutor(max_workers=max(4, len(things)), thread_name_prefix="supervise")

    def _adopt(self, what: Thing, record: Record | None) -> Record:
        if isinstance(what, Recurring):
            return self._adopt_recurring(what, record.recurring if record else None)
        endpoint = what.endpoint if isinstance(what, Part) else ""
        if isinstance(what, Part) and record is not None and process_of(record):
            return Record(state="starting", endpoint=endpoint, pid=record.pid, started=record.started)
        return Record(endpoint=endpoint, is_task=isinstance(what, Task))

    def _kept_of(self, what: Thing, known: Record | None) -> Kept:
        record = self._adopt(what, known)
        return Kept(what, record, began_at=record.recurring.began_at if record.recurring else 0.0)

    def _adopt_recurring(self, what: Recurring, known: Recurrence | None) -> Record:
        """Its interval continues from an earlier supervisor: restarts, however many, do not delay its runs."""
        if known is None:
            as_if = self._clock() - what.every_seconds + what.first_after_seconds
            known = Recurrence(every_seconds=what.every_seconds, began_at=as_if)
        return Record(is_task=True, recurring=replace(known, every_seconds=what.every_seconds))

    def request_stop(self) -> None:
        """Safe in a signal handler."""
        self._stop.set()

    def request_compose(self) -> None:
        """Ask it to compose its things again. Safe in a signal handler."""
        self._recompose.set()

    def run(self) -> None:
        """Blocks until a stop is requested. Leaves nothing running that it started or adopted."""
        while not self._stop.is_set():
            if self._recompose.is_set():
                self._recompose.clear()
                self.compose_again()
            self.tick(time.monotonic())
            self._stop.wait(TICK_SECONDS)
        self._stop_everything()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def compose_again(self) -> None:
        """Begin and end parts and recurring jobs, as they are composed now. What stays is not touched. Blocks."""
        assert self._compose is not None
        things = {thing.name: thing for thing in self._compose()}
        ending = [kept for name, kept in self._kept.items() if name not in things]
        for kept in ending:
            kept.cancel()
            if isinstance(kept.what, Part):
                self._end_part(kept, kept.what)
        # All leave the state at once: who waits for one of them to be gone (`connect remove`) finds all gone.
        added = {name: self._kept_of(thing, None) for name, thing in things.items() if name not in self._kept}
        self._kept = {name: kept for name, kept in self._kept.items() if name in things} | added
        self._write_state()

    def tick(self, now: float) -> None:
        """Checks everything once; never blocks."""
        for kept in self._kept.values():
            if isinstance(kept.what, Part):
                self._tend_part(kept, kept.what, now)
            elif isinstance(kept.what, Task):
                self._tend_task(kept, kept.what, now)
            else:
                self._tend_recurring(kept, kept.what)
        self._write_state()

    def _log(self, what: Thing) -> Path:
        return self._logs_dir / f"{what.name}.out"

    def _ready(self, names: Sequence[str]) -> bool:
        return all(self._kept[name].record.state in ("running", "done") for name in names if name in self._kept)

    # Parts

    def _tend_part(self, kept: Kept, part: Part, now: float) -> None:
        if kept.child is not None:
            kept.child.poll()  # reaps it when it ended
        if kept.working is not None:
            self._after_prepare(kept, part, now)
        elif kept.record.state == "done":
            return
        elif process_of(kept.record) is None:
            self._start_or_wait(kept, part, now)
        else:
            self._check(kept, part, now)

    def _start_or_wait(self, kept: Kept, part: Part, now: float) -> None:
        if kept.record.pid is not None:
            self._lost(kept, part, now)
        if kept.record.state == "done" or now < kept.start_due or not self._ready(part.after):
            return
        kept.record.state = "starting"
        kept.working = self._pool.submit(lambda: "" if part.prepare is None else (part.prepare(), "")[1])

    def _lost(self, kept: Kept, part: Part, now: float) -> None:
        code = kept.child.returncode if kept.child is not None else None
        kept.record.pid = kept.record.started = None
        kept.child = None
        kept.checking = None
        if code is not None and code in part.ends:
            kept.record.state, kept.record.detail = "done", part.ends[code]
            return
        if kept.well_since is not None and now - kept.well_since > STABLE_AFTER_SECONDS:
            kept.failures = 0
        kept.record.detail = f"{kept.killed_for or how_it_ended(code, self._log(kept.what))}; restarting"
        kept.killed_for = ""
        kept.record.state = "restarting"
        kept.record.restarts += 1
        kept.well_since = kept.ill_since = None
        kept.start_due = now + min(MAX_BACKOFF_SECONDS, 2.0**kept.failures - 1)
        kept.failures += 1

    def _after_prepare(self, kept: Kept, part: Part, now: float) -> None:
        assert kept.working is not None
        if not kept.working.done():
            return
        error = kept.working.exception()
        kept.working = None
        if error is None:
            self._spawn(kept, part)
            return
        kept.record.state, kept.record.detail = "failed", str(error)
        kept.start_due = now + min(MAX_BACKOFF_SECONDS, 2.0**kept.failures)
        kept.failures += 1

    def _spawn(self, kept: Kept, part: Part) -> None:
        with open_log(self._log(part), LOG_BYTES) as out:
            kept.child = subprocess.Popen(  # noqa: S603
                list(part.command),
                env=dict(part.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=part.cwd or self._run_dir,
                start_new_session=True,
            )
        kept.record.pid = kept.child.pid
        kept.record.started = psutil.Process(kept.child.pid).create_time()
        kept.record.state = "starting"
        kept.check_due = 0.0
        self._write_state()

    def _check(self, kept: Kept, part: Part, now: float) -> None:
        if kept.checking is None:
            if now >= kept.check_due:
                kept.checking = self._pool.submit(part.healthy)
            return
        if not kept.checking.done():
            return
        well = kept.checking.exception() is None and kept.checking.result()
        kept.checking = None
        if well:
            kept.record.state, kept.record.detail = "running", ""
            kept.well_since = kept.well_since or now
            kept.ill_since = None
            kept.check_due = now + CHECK_EVERY_SECONDS
            return
        kept.check_due = now + CHECK_STARTING_EVERY_SECONDS
        kept.ill_since = kept.ill_since or now
        if kept.record.state in ("running", "unhealthy") and now - kept.ill_since >= UNHEALTHY_AFTER_SECONDS:
            kept.record.state, kept.record.detail = (
                "unhealthy",
                why_unresponsive(kept.record, part, lambda name: self._ready((name,))),
            )
        if now - kept.ill_since > HUNG_AFTER_SECONDS and self._ready(part.after) and not kept.killed_for:
            kept.killed_for = f"did not respond for {HUNG_AFTER_SECONDS:.0f} s and was killed"
            kill_family(kept.record)

    # Tasks

    def _tend_task(self, kept: Kept, task: Task, now: float) -> None:
        if kept.working is not None:
            self._after_run(kept, task, now)
        elif kept.record.state == "done":
            self._check_task(kept, task, now)
        elif now >= kept.start_due and self._ready(task.after):
            kept.record.state = "starting"
            kept.working = self._pool.submit(task.run)

    def _after_run(self, kept: Kept, task: Task, now: float) -> None:
        assert kept.working is not None
        if not kept.working.done():
            return
        error, kept_working = kept.working.exception(), kept.working
        kept.working = None
        if error is None:
            kept.record.state, kept.record.detail = "done", str(kept_working.result())
            kept.failures = 0
            kept.check_due = now + task.every_seconds
            return
        kept.record.state = "starting" if isinstance(error, Retryable) else "failed"
        kept.record.detail = error_text(error)
        kept.start_due = now + min(MAX_BACKOFF_SECONDS, 2.0**kept.failures)
        kept.failures += 1

    def _check_task(self, kept: Kept, task: Task, now: float) -> None:
        if task.still_done is None:
            return
        if kept.checking is None:
            if now >= kept.check_due and self._ready(task.after):
                kept.checking = self._pool.submit(task.still_done)
            return
        if not kept.checking.done():
            return
        # A server that is briefly unavailable does not mean that the task is undone.
        undone = kept.checking.exception() is None and not kept.checking.result()
        kept.checking = None
        kept.check_due = now + task.every_seconds
        if undone:
            kept.record.state, kept.record.detail = "waiting", "undone; repeating it"
            kept.record.restarts += 1

    # Recurring jobs

    def _tend_recurring(self, kept: Kept, job: Recurring) -> None:
        known = kept.record.recurring
        assert known is not None
        now = self._clock()
        if kept.working is not None:
            if kept.working.done():
                self._after_step(kept, job, known, now)
            return
        is_due = not 0 <= now - kept.began_at < job.every_seconds  # or the clock was set back
        if not self._ready(job.after):
            return
        if is_due:
            kept.began_at = now
            kept.working = self._pool.submit(job.step)
        if kept.record.state == "waiting":
            kept.record.state, kept.record.detail = ("starting", "") if is_due else ("running", job.says)

    def _after_step(self, kept: Kept, job: Recurring, known: Recurrence, now: float) -> None:
        assert kept.working is not None
        error, kept.working = kept.working.exception(), None
        if error is None:
            kept.failures = 0
            is_old = not 0 <= now - (known.succeeded_at or 0) < TIMES_WRITTEN_EVERY_SECONDS
            if kept.record.state != "running" or is_old:
                known.began_at, known.succeeded_at = kept.began_at, now
                known.failing_since, known.failures = None, 0
            kept.record.state, kept.record.detail = "running", job.says
            return
        kept.step_failed(job, known, error, now)

    # The end

    def _stop_everything(self) -> None:
        for kept in self._kept.values():
            kept.cancel()
        parts = [(kept, kept.what) for kept in reversed(self._kept.values()) if isinstance(kept.what, Part)]
        for kept, part in [each for each in parts if each[1].name not in SERVERS]:
            self._end_part(kept, part)
        self._ask_before_stop()
        for kept, part in [each for each in parts if each[1].name in SERVERS]:
            self._end_part(kept, part)
        self._write_state()

    def _ask_before_stop(self) -> None:
        if self._before_stop is None:
            return
        record = self._kept.setdefault(self._before_stop.name, Kept(self._before_stop, Record(is_task=True))).record
        record.state = "starting"
        self._write_state()
        try:
            record.detail, record.state = self._before_stop.run(), "done"
        except Exception as error:
            # Its newest checkpoint stays, and the next start resumes from it.
            record.detail, record.state = str(error), "failed"
        self._write_state()

    def _end_part(self, kept: Kept, part: Part) -> None:
        kept.record.detail = "stopping"
        self._write_state()
        process = process_of(kept.record)
        if process is not None:
            end_process(kept.record, part.stop_signal, part.stop_seconds)
        if kept.child is not None:
            kept.child.poll()
        kept.record.state, kept.record.detail = "stopped", ""
        kept.record.pid = kept.record.started = None
        self._write_state()

    def _write_state(self) -> None:
        text = json.dumps({name: asdict(kept.record) for name, kept in self._kept.items()}, indent=1)
        if text == self._written:
            return
        part = self._run_dir / ".state.json"
        part.write_text(text)
        part.replace(self._run_dir / "state.json")
        self._written = text


def main(config: Path) -> None:
    """The supervisor's process: `python -m insights.stack.supervisor CONFIG`, where CONFIG is what `up` wrote."""
    # Imported here: `insights down` and status need none of it.
    from insights.stack.composition import everything, plan_in
    from insights.stack.live_jobs import savepoint
    from processes.json_logs import write_json

    settings = Settings.model_validate(json.loads(config.read_text())["settings"])
    if settings.log_format == "json":
        write_json("supervisor")

    def compose() -> list[Thing]:
        return [*everything(settings, plan_in(config))]

    with (settings.run_dir / RUNS_LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits for a backup to end, which must not be written while anything runs
        run_dir, logs_dir, before_stop = settings.run_dir, settings.logs_dir, savepoint(settings)
        supervisor = Supervisor(compose(), run_dir=run_dir, logs_dir=logs_dir, before_stop=before_stop, compose=compose)
        signal.signal(signal.SIGTERM, lambda *_: supervisor.request_stop())
        signal.signal(signal.SIGINT, lambda *_: supervisor.request_stop())
        signal.signal(signal.SIGHUP, lambda *_: supervisor.request_compose())
        me = Record(pid=os.getpid(), started=psutil.Process().create_time(), state="running")
        (settings.run_dir / "supervisor.json").write_text(json.dumps(asdict(me)))
        supervisor.run()
        (settings.run_dir / "supervisor.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
