"""What the supervisor makes of processes that end, hang and are stopped: real ones, and a clock of ours."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from insights.stack.kept import COMING_SECONDS, HUNG_AFTER_SECONDS
from insights.stack.part import Part, Recurring, Task
from insights.stack.process_record import Record, Recurrence, kill_family, last_words, process_of, read_state
from insights.stack.supervisor import UNHEALTHY_AFTER_SECONDS, Supervisor
from schemas.errors import Retryable
from tests.conftest import wait_until

PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
time.sleep(1000)
"""


class Stack:
    """A supervisor of one part, whose health is taken from ``answers``."""

    def __init__(
        self, folder: Path, command: list[str], after: tuple[str, ...] = (), ends: Mapping[int, str] | None = None
    ) -> None:
        self.answers = True
        self.folder = folder
        part = Part(
            name="server",
            command=command,
            environment={},
            healthy=lambda: self.answers,
            endpoint="",
            after=after,
            ends=ends or {},
        )
        other = Part(
            name="other", command=[sys.executable, "-c", PARENT], environment={}, healthy=self._well, endpoint=""
        )
        self.other_answers = True
        self.supervisor = Supervisor([other, part] if after else [part], run_dir=folder, logs_dir=folder)
        self.now = 0.0

    def _well(self) -> bool:
        return self.other_answers

    @property
    def record(self) -> Record:
        return read_state(self.folder)["server"]

    def tick(self) -> Record:
        self.supervisor.tick(self.now)
        return self.record

    def until(self, condition: Callable[[Record], bool], *, step: float = 0.0) -> Record:
        """Ticks until the record is so, the clock going on by ``step`` each time."""

        def so() -> Record | None:
            self.now += step
            record = self.tick()
            return record if condition(record) else None

        return wait_until(so, what="the record is so")

    def end(self) -> None:
        for record in read_state(self.folder).values():
            kill_family(record)


@pytest.fixture
def stack_of(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(command: list[str], **more: Any) -> Stack:
        made.append(Stack(tmp_path, command, **more))
        return made[-1]

    yield make
    for stack in made:
        stack.end()


def test_a_slow_answer_is_not_called_unhealthy_and_silence_is(stack_of: Callable[..., Stack]) -> None:
    stack = stack_of([sys.executable, "-c", PARENT])
    stack.until(lambda r: r.state == "running")
    stack.answers = False
    began = stack.now
    states = set()
    while stack.now - began < UNHEALTHY_AFTER_SECONDS:
        states.add(stack.tick().state)
        stack.now += 0.5
    assert states == {"running"}
    record = stack.until(lambda r: r.state == "unhealthy", step=0.5)
    assert record.detail == "is not responding; after 90 s it is killed and restarted"
    stack.answers = True
    assert stack.until(lambda r: r.state == "running", step=0.5).detail == ""


def test_a_part_that_is_stopped_is_started_once_more_when_its_whole_family_is_gone(
    stack_of: Callable[..., Stack],
) -> None:
    """Its children are stopped as well, and would hold what it held: memory, a port, a lock."""
    stack = stack_of([sys.executable, "-c", PARENT])
    process = psutil.Process(stack.until(lambda r: r.state == "running").pid)
    (child,) = wait_until(process.children)
    for member in (child, process):
        member.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    stack.answers = False
    said = stack.until(lambda r: r.state == "unhealthy", step=1.0).detail
    assert said == (
        f"is not responding: its process {process.pid} is suspended (SIGSTOP)."
        f" `kill -CONT {process.pid}` resumes it; after {HUNG_AFTER_SECONDS:.0f} s it is killed and restarted"
    )
    record = stack.until(lambda r: r.restarts > 0, step=5.0)
    assert record.detail == "did not respond for 90 s and was killed; restarting"
    stack.answers = True
    assert stack.until(lambda r: r.state == "running", step=1.0).restarts == 1
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_part_that_is_silent_because_of_another_names_that(stack_of: Callable[..., Stack]) -> None:
    stack = stack_of([sys.executable, "-c", PARENT], after=("other",))
    stack.until(lambda r: r.state == "running")
    stack.answers = stack.other_answers = False
    record = stack.until(lambda r: r.detail.endswith("is down"), step=0.5)
    assert record.detail == "is not responding while other is down"
    pid = record.pid
    stack.now += HUNG_AFTER_SECONDS * 2
    assert stack.tick().pid == pid, "it is not to blame, and not killed"


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        (
            "import sys; sys.exit('FATAL: the port is taken')",
            "ended with code 1: FATAL: the port is taken; restarting",
        ),
        ("import os; os.abort()", "killed by signal 6; restarting"),
        # As a server ends that somebody asked to: Streamlit takes a SIGTERM for the end of its work.
        ("pass", "ended with code 0; restarting"),
    ],
)
def test_a_part_that_ends_is_shown_with_how_and_the_end_of_its_log(
    stack_of: Callable[..., Stack], code: str, detail: str
) -> None:
    stack = stack_of([sys.executable, "-c", code])
    assert stack.until(lambda r: r.restarts > 0).detail == detail


def test_a_part_whose_work_has_an_end_is_not_started_again(stack_of: Callable[..., Stack]) -> None:
    stack = stack_of([sys.executable, "-c", "raise SystemExit(3)"], ends={3: "finished"})
    assert stack.until(lambda r: r.state == "done").detail == "finished"
    stack.now += HUNG_AFTER_SECONDS
    assert (stack.tick().state, stack.record.restarts) == ("done", 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("\n \n", ""),
        ("WARNING: Unknown module\n", ""),
        ("it began\nit went on\n", ": it went on"),
        ("FATAL:  pre-existing shared memory\nHINT:  end it\n", ": FATAL:  pre-existing shared memory"),
    ],
)
def test_last_words_are_the_line_with_an_error_or_the_last(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "server.out").write_text(text)
    assert last_words(tmp_path / "server.out") == words
    assert last_words(tmp_path / "nothing.out") == ""


def test_a_record_of_a_process_that_is_gone_speaks_of_none() -> None:
    assert process_of(Record(pid=1, started=0.0)) is None
    kill_family(Record(pid=1, started=0.0))


class Clock:
    """One that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Repeated:
    """A supervisor of one recurring job, which fails while it has a problem."""

    def __init__(self, folder: Path, clock: Clock, **more: Any) -> None:
        self.folder, self.clock = folder, clock
        self.problem: Exception | None = None
        self.began: list[float] = []
        job = Recurring(name="reconciliation", step=self._step, says="kept in ops.log_counts", **more)
        self.supervisor = Supervisor([job], run_dir=folder, logs_dir=folder, clock=clock)

    def _step(self) -> None:
        self.began.append(self.clock())
        if self.problem:
            raise self.problem

    @property
    def record(self) -> Record:
        self.supervisor.tick(0.0)
        return read_state(self.folder)["reconciliation"]

    def until_it_says(self, state: str, detail: str) -> Recurrence:
        self.clock.now += 60.0
        wait_until(lambda: (self.record.state, self.record.detail) == (state, detail), what=f"{state} {detail}")
        known = self.record.recurring
        assert known is not None
        return known


def test_a_failing_recurring_job_shows_why_since_when_and_how_often_until_it_succeeds(tmp_path: Path) -> None:
    clock = Clock()
    job = Repeated(tmp_path, clock, every_seconds=60.0)
    first = job.until_it_says("running", "kept in ops.log_counts")
    assert (first.succeeded_at, first.failing_since, first.failures) == (clock.now, None, 0)
    job.problem = Retryable("Postgres is away:\n  connection refused")
    failed = job.until_it_says("failed", "Postgres is away: connection refused")
    assert (failed.succeeded_at, failed.failing_since, failed.failures) == (first.succeeded_at, clock.now, 1)
    job.problem = ZeroDivisionError("division by zero")
    again = job.until_it_says("failed", "ZeroDivisionError: division by zero")
    assert (again.failing_since, again.failures) == (failed.failing_since, 2)
    job.problem = None
    well = job.until_it_says("running", "kept in ops.log_counts")
    assert (well.succeeded_at, well.failing_since, well.failures) == (clock.now, None, 0)


def test_a_failed_run_is_repeated_soon_and_then_less_often_up_to_the_interval(tmp_path: Path) -> None:
    job = Repeated(tmp_path, Clock(), every_seconds=30.0)
    job.until_it_says("running", "kept in ops.log_counts")
    job.problem = ValueError("another replay has its aggregates")
    job.until_it_says("failed", "ValueError: another replay has its aggregates")
    for later in (10.0, 20.0, 30.0, 30.0):
        runs = len(job.began)
        job.clock.now += later - 0.1
        assert len(job.began) == runs == job.record.recurring.failures + 1  # type: ignore[union-attr]
        job.clock.now += 0.1
        wait_until(lambda runs=runs: job.record.recurring.failures == runs)  # type: ignore[union-attr]
    job.problem = None
    job.until_it_says("running", "kept in ops.log_counts")


def test_a_recurring_job_whose_first_run_finds_a_server_coming_up_is_starting(tmp_path: Path) -> None:
    job = Repeated(tmp_path, Clock(), every_seconds=60.0)
    job.problem = Retryable("Postgres is away")
    job.until_it_says("starting", "Postgres is away")
    job.problem = None
    job.clock.now += COMING_SECONDS  # and not a whole interval: `insights up` waits for it
    wait_until(lambda: job.record.state == "running")


def test_a_recurring_job_runs_at_its_time_whichever_supervisor_repeats_it(tmp_path: Path) -> None:
    clock = Clock()
    began = clock.now
    first = Repeated(tmp_path, clock, every_seconds=1800.0, first_after_seconds=60.0)
    assert (first.record.state, first.began) == ("running", []), "nothing is waited for"
    clock.now += 59.0
    assert (first.record.state, first.began) == ("running", [])
    clock.now += 1.0
    wait_until(lambda: first.record.recurring.succeeded_at)  # type: ignore[union-attr]
    assert first.began == [began + 60.0]

    second = Repeated(tmp_path, clock, every_seconds=1800.0, first_after_seconds=60.0)
    clock.now += 1799.0
    assert (second.record.state, second.began) == ("running", [])
    clock.now += 1.0
    wait_until(lambda: second.record and second.began)
    assert second.began == [began + 1860.0]


def test_a_recurring_job_runs_when_the_clock_was_set_back(tmp_path: Path) -> None:
    clock = Clock()
    job = Repeated(tmp_path, clock, every_seconds=60.0)
    wait_until(lambda: job.record.state == "running")
    clock.now -= 86_400.0
    wait_until(lambda: job.record and len(job.began) == 2)
    wait_until(lambda: (known := job.record.recurring) and known.succeeded_at == clock.now)
    for _ in range(5):
        assert job.record.state == "running"
    assert len(job.began) == 2, "and then at its interval again"


def test_a_recurring_job_waits_for_what_it_needs(tmp_path: Path) -> None:
    runs: list[int] = []
    needs = Task(name="tables", run=lambda: runs.append(0) or "there", after=())  # type: ignore[func-returns-value]
    job = Recurring(
        name="reconciliation", step=lambda: runs.append(1), says="kept", every_seconds=60.0, after=("tables",)
    )
    supervisor = Supervisor([job, needs], run_dir=tmp_path, logs_dir=tmp_path)
    supervisor.tick(0.0)
    assert read_state(tmp_path)["reconciliation"].state == "waiting"

    def ticked() -> bool:
        supervisor.tick(0.0)
        return len(runs) == 2

    wait_until(ticked)
    assert runs == [0, 1]


def test_a_recurring_job_that_a_release_renamed_is_dropped_and_runs_under_its_new_name(tmp_path: Path) -> None:
    known = {"books": asdict(Record(is_task=True, recurring=Recurrence(every_seconds=60.0, began_at=1.0)))}
    (tmp_path / "state.json").write_text(json.dumps(known))
    runs: list[int] = []
    job = Recurring(name="reconciliation", step=lambda: runs.append(1), says="kept", every_seconds=60.0)
    supervisor = Supervisor([job], run_dir=tmp_path, logs_dir=tmp_path)

    def ticked() -> bool:
        supervisor.tick(0.0)
        return bool(runs)

    wait_until(ticked)
    assert read_state(tmp_path).keys() == {"reconciliation"}


def test_parts_and_recurring_jobs_begin_and_end_as_things_are_composed_again(tmp_path: Path) -> None:
    def part(name: str) -> Part:
        command = [sys.executable, "-c", "import time; time.sleep(1000)"]
        return Part(name=name, command=command, environment={}, healthy=lambda: True, endpoint="")

    cancelled = threading.Event()
    job = Recurring(name="agreement", step=cancelled.wait, says="", every_seconds=60.0, cancel=cancelled.set)
    composed = [part("kafka"), part("shop"), job]
    supervisor = Supervisor(composed, run_dir=tmp_path, logs_dir=tmp_path, compose=lambda: composed)

    def running() -> dict[str, int | None]:
        supervisor.tick(0.0)
        return {name: record.pid for name, record in read_state(tmp_path).items() if record.state == "running"}

    before = wait_until(lambda: len(found := running()) == 2 and found)
    composed[1:] = [part("connections")]
    supervisor.compose_again()
    assert cancelled.is_set()
    after = wait_until(lambda: len(found := running()) == 2 and found)
    assert after.keys() == {"kafka", "connections"}
    assert after["kafka"] == before["kafka"]
    assert not psutil.pid_exists(before["shop"] or 0)
    for record in read_state(tmp_path).values():
        kill_family(record)


def test_what_is_no_longer_composed_leaves_the_state_in_one_write(tmp_path: Path) -> None:
    written: list[set[str]] = []

    class Watched(Supervisor):
        def _write_state(self) -> None:
            super()._write_state()
            written.append(set(read_state(tmp_path)))

    def part(name: str) -> Part:
        command = [sys.executable, "-c", "import time; time.sleep(1000)"]
        return Part(name=name, command=command, environment={}, healthy=lambda: True, endpoint="")

    job = Recurring(name="agreement", step=lambda: None, says="", every_seconds=60.0)
    things: list[Part | Recurring] = [part("connections"), job, part("rates")]
    supervisor = Watched(things, run_dir=tmp_path, logs_dir=tmp_path, compose=lambda: [])

    def running() -> bool:
        supervisor.tick(0.0)
        return all(record.state == "running" for record in read_state(tmp_path).values())

    wait_until(running)
    written.clear()
    supervisor.compose_again()
    assert {frozenset(names) for names in written} == {frozenset(), frozenset({"connections", "agreement", "rates"})}
    assert written[-1] == set()
