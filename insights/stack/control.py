"""Starts and stops the stack from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import psutil

from insights import dbt_run, jars
from insights.settings import PROJECT, Settings
from insights.shop_currency import keep_currency
from insights.stack.composition import CONNECTIONS, NOT_AWAITED, UpPlan, everything
from insights.stack.part import make_folders
from insights.stack.past import PAST_SECONDS, Past
from insights.stack.process_record import Record, end_process, process_of, read_state
from insights.stack.states import is_paused, log_path, supervisor_process
from insights.upgrade import refuse_changed_in_place
from insights.wiring import deployment, flink_home
from schemas.errors import InsightsError, Misconfigured
from warehouse.postgres import opened

# Comes back when it is killed, ends with the supervisor's own ending.
RESPAWN = 'while ! "$0" -m insights.stack.supervisor "$1" >> "$2" 2>&1; do sleep 1; done'
UP_SECONDS = 300.0
MARTS_SECONDS = 180.0
DOWN_SECONDS = 240.0
POLL_SECONDS = 0.2
# A supervisor writes down all that it is to start before it starts any of it.
KNOWN_SECONDS = 10.0


class StackNotUp(InsightsError):
    """A part of the stack did not come up; the message has its detail and where its log is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A bit of progress, to be displayed."""

    name: str
    state: Literal["started", "progress", "done"]
    detail: str = ""


Report = Callable[[Step], None]


def up(settings: Settings, plan: UpPlan, report: Report) -> None:
    """Brings everything up and returns once all of it is. When daemons run: with the past counted and the marts built,
    or with some of that when it takes longer than PAST_SECONDS.

    Blocks. What is up already is left alone. Raises StackNotUp, JarMissing or Misconfigured with what to do.
    """
    keep_currency(settings)
    make_folders(settings)
    _fetch_jars(settings, report)
    things = everything(settings, plan)  # first: wrong settings are reported here, before anything starts
    refuse_changed_in_place(deployment(settings))
    _start_supervisor(settings, plan)
    # Some jobs wait for the past, as shown below.
    await_all(settings, [t.name for t in things if not (plan.daemons and t.name in NOT_AWAITED)], report)
    if plan.daemons:
        past = Past(settings, plan.source)
        if not plan.connected:  # a shop may have sold nothing yet
            _await_numbers(settings, report)
        if await_past(past, report, PAST_SECONDS):
            _await_first_marts(settings, report)


def follow_connections(settings: Settings, report: Report, *, connected: bool) -> None:
    """Has a running stack follow the connected shops from now on, or no longer. Blocks until it does.

    Raises Misconfigured when no stack is running, and StackNotUp.
    """
    supervisor = supervisor_process(settings)
    if supervisor is None:
        raise Misconfigured(f"no stack is running in {settings.home}; `insights up` starts it")
    config = settings.run_dir / "config.json"
    written = json.loads(config.read_text())
    written["plan"]["connected"] = connected
    _write_config(config, json.dumps(written, indent=1))
    supervisor.send_signal(signal.SIGHUP)
    if connected:
        await_all(settings, [CONNECTIONS], report)
        return
    deadline = time.monotonic() + DOWN_SECONDS
    while CONNECTIONS in read_state(settings.run_dir) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _write_config(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _fetch_jars(settings: Settings, report: Report) -> None:
    report(Step(name="jars", state="started"))

    def progress(done: int, total: int) -> None:
        report(Step(name="jars", state="progress", detail=f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"))

    parts = jars.of_stack(settings)
    came = jars.fetch(settings.jars, parts=parts, repository=settings.maven_repository, report=progress)
    if not settings.external_registry:
        jars.unpacked_registry(settings.jars)
    jars.link_flink(settings.jars, flink_home(), settings.flink_lib_dir, jars.of_servers(settings))
    needed = sum(jar.part in parts for jar in jars.locked_jars())
    report(Step(name="jars", state="done", detail=f"{came} downloaded, {needed - came} cached"))


def _start_supervisor(settings: Settings, plan: UpPlan) -> None:
    config = settings.run_dir / "config.json"
    wanted = json.dumps({"settings": settings.model_dump(mode="json"), "plan": asdict(plan)}, default=str, indent=1)
    if supervisor_process(settings):
        if json.loads(config.read_text())["settings"] != json.loads(wanted)["settings"]:
            raise Misconfigured(
                f"the stack in {settings.home} is running with different settings; run `insights down`, then"
                " `insights up`"
            )
        return
    if is_paused(settings):
        raise Misconfigured(f"{settings.home} is being backed up; the stack starts again by itself where it ran before")
    _write_config(config, wanted)
    _forget_tasks(settings)
    subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", RESPAWN, sys.executable, str(config), str(settings.logs_dir / "supervisor.out")],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while supervisor_process(settings) is None:
        if time.monotonic() > deadline:
            log = settings.logs_dir / "supervisor.out"
            raise StackNotUp(f"the supervisor did not start: {_tail(log)} (log: {log})")
        time.sleep(POLL_SECONDS)


def _forget_tasks(settings: Settings) -> None:
    """The state of an earlier run is not this run's progress. The processes it names may still be adopted, and
    recurring jobs run when they would have.
    """
    state = read_state(settings.run_dir)
    kept = {
        name: asdict(Record(pid=r.pid, started=r.started, is_task=r.is_task, recurring=r.recurring))
        for name, r in state.items()
        if r.recurring or process_of(r)
    }
    (settings.run_dir / "state.json").write_text(json.dumps(kept))


def await_all(settings: Settings, names: list[str], report: Report) -> None:
    """Returns once each of ``names`` is up. Raises StackNotUp when one fails, does not stay up, or takes too long."""
    deadline = time.monotonic() + UP_SECONDS
    announced: dict[str, str] = {}
    # A stack that ran already may have started things again in its time: only what happens from here on counts.
    before = {name: record.restarts for name, record in read_state(settings.run_dir).items()}
    while True:
        state = read_state(settings.run_dir)
        for name in names:
            _announce(name, state.get(name, Record()), announced, report)
        if all(_is_up(state.get(name, Record())) for name in names):
            return
        _give_up_on_failures(settings, names, state, before)
        _refuse_older_stack(settings, names, state, time.monotonic() - (deadline - UP_SECONDS))
        if supervisor_process(settings) is None and time.monotonic() > deadline - UP_SECONDS + 30:
            log = settings.logs_dir / "supervisor.out"
            raise StackNotUp(f"the supervisor ended: {_tail(log)} (log: {log})")
        if time.monotonic() > deadline:
            late = [n for n in names if not _is_up(state.get(n, Record()))]
            said = "; ".join(f"{n}: {state.get(n, Record()).detail or state.get(n, Record()).state}" for n in late)
            raise StackNotUp(f"not up after {UP_SECONDS:.0f} s: {said}. See `insights logs {late[0]}`")
        time.sleep(POLL_SECONDS)


def _is_up(record: Record) -> bool:
    """A recurring job whose newest run failed runs again by itself: `up` reports it and does not wait."""
    return record.state in ("running", "done") or (record.recurring is not None and record.state == "failed")


def _announce(name: str, record: Record, announced: dict[str, str], report: Report) -> None:
    if record.state == announced.get(name) or record.state == "waiting":
        return
    announced[name] = record.state
    if _is_up(record):
        failed = "its latest run failed and will be repeated: " if record.state == "failed" else ""
        report(Step(name=name, state="done", detail=f"{failed}{record.detail or record.endpoint}"))
    else:
        report(Step(name=name, state="started", detail=record.detail))


def _give_up_on_failures(
    settings: Settings, names: list[str], state: dict[str, Record], before: dict[str, int]
) -> None:
    for name in names:
        record = state.get(name, Record())
        if record.state == "failed" and record.recurring is None:
            raise StackNotUp(f"{name} failed: {record.detail}. See `insights logs {name}`")
        restarts = record.restarts - before.get(name, 0)
        if restarts >= 3 and record.state in ("restarting", "starting") and not record.is_task:
            log = log_path(settings, name)
            raise StackNotUp(f"{name} keeps crashing ({record.detail}): {_tail(log)} (log: {log})")


def _refuse_older_stack(settings: Settings, names: list[str], state: dict[str, Record], seconds: float) -> None:
    """A stack that runs already has the parts of the release that started it, and of the options that it was given."""
    unknown = [name for name in names if name not in state]
    if unknown and state and supervisor_process(settings) and seconds > KNOWN_SECONDS:
        raise StackNotUp(
            f"the running stack has no {unknown[0]}: it was started by another release or with other options. Nothing"
            " was changed. Run `insights down`, then `insights up`"
        )


def _await_numbers(settings: Settings, report: Report) -> None:
    report(Step(name="first numbers", state="started"))
    deadline = time.monotonic() + UP_SECONDS
    with opened(settings.postgres_dsn) as connection:
        while True:
            row = connection.execute("select count(*) from (select 1 from live.sales_per_minute limit 1)").fetchone()
            if row and row[0]:
                break
            if time.monotonic() > deadline:
                raise StackNotUp(
                    f"live.sales_per_minute got no rows in {UP_SECONDS:.0f} s; `insights status` shows how far"
                    " events got: published on the topics, the job's state and lag"
                )
            time.sleep(POLL_SECONDS)
    report(Step(name="first numbers", state="done", detail="live.sales_per_minute has rows"))


def await_past(past: Past, report: Report, seconds: float) -> bool:
    """Whether the past is counted, up to now. Blocks until it is, or for so long."""
    report(Step(name="the past", state="started"))
    deadline = time.monotonic() + seconds
    while not past.is_counted():
        if time.monotonic() > deadline:
            report(Step(name="the past", state="done", detail="not all of it is counted yet"))
            return False
        if until := past.reached():
            report(Step(name="the past", state="progress", detail=f"counted up to {until:%Y-%m-%d %H:%M} UTC"))
        time.sleep(1)
    report(Step(name="the past", state="done", detail="counted, up to now"))
    return True


def _await_first_marts(settings: Settings, report: Report) -> None:
    """Blocks until the marts that stand on the whole past are built, if none were before; or for MARTS_SECONDS."""
    if not settings.dbt_minutes or not dbt_run.DBT.exists():
        return
    deadline = time.monotonic() + MARTS_SECONDS
    with opened(settings.postgres_dsn) as connection:
        # The supervisor may have seen that the past is counted, and begun, some seconds ago.
        if (built := dbt_run.last_build(connection)) and _began(built) < datetime.now(UTC) - timedelta(seconds=30):
            return
        report(Step(name="first marts", state="started"))
        while not (built := dbt_run.last_build(connection)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    detail = "built; dashboards have them" if built else "not built yet; `insights logs marts` says why"
    report(Step(name="first marts", state="done", detail=detail))


def _began(build: dbt_run.LastBuild) -> datetime:
    return build.ended_at - timedelta(seconds=build.seconds)


def down(settings: Settings, report: Report) -> None:
    """Stops everything, the live job with a savepoint. Blocks. Nothing of the stack runs after it."""
    supervisor = supervisor_process(settings)
    before = read_state(settings.run_dir)
    if supervisor is not None:
        supervisor.terminate()
        _await_stopped(settings, supervisor, report)
    for name, record in read_state(settings.run_dir).items():
        if process_of(record):  # left by a supervisor that was killed
            report(Step(name=name, state="started", detail="stopping"))
            end_process(record, 2 if name == "postgres" else 15, 20)
            report(Step(name=name, state="done", detail="stopped"))
    state = {
        name: asdict(Record(state="stopped", is_task=record.is_task, recurring=record.recurring))
        for name, record in before.items()
    }
    if settings.run_dir.exists():
        (settings.run_dir / "state.json").write_text(json.dumps(state))


def _await_stopped(settings: Settings, supervisor: psutil.Process, report: Report) -> None:
    deadline = time.monotonic() + DOWN_SECONDS
    announced: dict[str, tuple[str, str]] = {}
    while supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
        for name, record in read_state(settings.run_dir).items():
            now = (record.state, record.detail)
            if now == announced.get(name):
                continue
            announced[name] = now
            if record.state == "stopped" or name == "savepoint" and record.state in ("done", "failed"):
                report(Step(name=name, state="done", detail=record.detail or "stopped"))
            elif record.detail == "stopping" or name == "savepoint":
                report(Step(name=name, state="started", detail=record.detail))
        if time.monotonic() > deadline:
            supervisor.kill()
            return
        time.sleep(POLL_SECONDS)


def _tail(path: Path, characters: int = 600) -> str:
    try:
        return path.read_text(errors="replace").strip()[-characters:] or "no output"
    except OSError:
        return "no output"
