"""Why a live job keeps failing, in the words of a JobManager: its answers are of shapes that Flink 2.2 gave."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aggregates.catalogue import aggregates
from flink import handover, job_control
from flink.health import HealthRecorder
from flink.hold import now_by_me, release, set_hold
from flink.intended_downtime import asked_at, asked_for
from flink.live_job import JOB_NAME, handed_over, keep, main_job
from flink.rest import JobFailed, root_cause
from tests.flink.live_on_files import with_database
from warehouse.deployment import Deployment
from warehouse.tables import make_postgres_tables

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CAUSE = 'PSQLException: ERROR: relation "versions.refunds_v1" does not exist'
TRACE = """java.io.IOException: Could not perform checkpoint 7 for operator Source: arrived_order_placed[1] (1/1)#3.
\tat org.apache.flink.streaming.runtime.tasks.StreamTask.triggerCheckpointAsyncInMailbox(StreamTask.java:1388)
\tSuppressed: java.lang.IllegalStateException: closed
\t\tat org.apache.flink.Something.close(Something.java:1)
\tCaused by: java.lang.Error: of what was suppressed
Caused by: java.io.IOException: java.sql.BatchUpdateException: Batch entry 0 insert into versions.refunds_v1
\tat org.apache.flink.connector.jdbc.core.table.sink.Sink.flush(Sink.java:2)
\t... 13 more
Caused by: org.postgresql.util.PSQLException: ERROR: relation "versions.refunds_v1" does not exist
  Position: 13
\tat org.postgresql.core.v3.QueryExecutorImpl.receiveErrorResponse(QueryExecutorImpl.java:2734)
"""


def milliseconds(seconds: float) -> int:
    return int((START + timedelta(seconds=seconds)).timestamp() * 1000)


@dataclass
class Flink:
    """What the JobManager knows of one job; ``state`` None is of a JobManager that knows none. Seconds since START."""

    url: str = ""
    state: str | None = "RUNNING"
    failures: list[float] = field(default_factory=list)
    completed: float | None = -5
    failed: str | None = None
    truncated: bool = False
    trace: str = TRACE
    looked: Callable[[], object] = lambda: None  # noqa: E731

    def answer(self, path: str) -> Any:
        self.looked()
        match path.split("/")[1:]:
            case ["jobs", "overview"]:
                job = {"jid": "a", "name": JOB_NAME, "state": self.state, "start-time": milliseconds(-60)}
                return {"jobs": [job] if self.state else []}
            case ["jobs", _]:
                return {"vertices": [], "start-time": milliseconds(-60)}
            case ["jobs", _, "checkpoints"]:
                return {"latest": {"completed": self._completed(), "failed": self._failed(), "savepoint": None}}
            case ["jobs", _, "exceptions"]:
                return {
                    "exceptionHistory": {"entries": list(map(self._entry, self.failures)), "truncated": self.truncated}
                }
        raise AssertionError(path)

    def _completed(self) -> dict[str, Any] | None:
        if self.completed is None:
            return None
        at = milliseconds(self.completed)
        return {"id": 6, "trigger_timestamp": at - 90, "latest_ack_timestamp": at, "external_path": "file:/c/chk-6"}

    def _failed(self) -> dict[str, Any] | None:
        return {"id": 7, "failure_timestamp": 1, "failure_message": self.failed} if self.failed else None

    def _entry(self, seconds: float) -> dict[str, Any]:
        return {
            **{"exceptionName": "java.io.IOException", "stacktrace": self.trace, "timestamp": milliseconds(seconds)},
            **{"taskName": "refunds (1/1)", "endpoint": "127.0.0.1:1", "failureLabels": {}, "concurrentExceptions": []},
        }


class _Answers(BaseHTTPRequestHandler):
    flink: Flink

    def do_GET(self) -> None:
        body = json.dumps(self.flink.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def flink() -> Iterator[Flink]:
    known = Flink()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"flink": known})) as server:
        known.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield known
        server.shutdown()


@pytest.fixture(scope="module")
def dsn(new_database: Callable[[], str]) -> str:
    dsn = new_database()
    with psycopg.connect(dsn) as connection:
        make_postgres_tables(connection)
    return dsn


@pytest.fixture
def deployment(flink: Flink, dsn: str, tmp_path: Path) -> Deployment:
    folders = {name: tmp_path / name for name in ("snapshots_dir", "jobs_dir", "work_dir")}
    found = with_database(dsn, **folders, flink_url=flink.url)
    keep(found, main_job())
    return found


@pytest.fixture
def seen_anew(deployment: Deployment, dsn: str) -> Callable[..., dict[str, Any] | None]:
    """``seen_anew(at)``: as ``seen``, by a recorder that begins with that look."""

    def look(seconds: float, **differs: str) -> dict[str, Any] | None:
        now = (START + timedelta(seconds=seconds)).timestamp()
        HealthRecorder(replace(deployment, **differs), clock=lambda: now).step()
        with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute("select * from ops.live_jobs").fetchone()

    return look


@pytest.fixture
def seen(deployment: Deployment, dsn: str) -> Iterator[Callable[..., dict[str, Any] | None]]:
    """``seen(at)``: the row that one look writes, so many seconds after START."""
    now = [START.timestamp()]
    recorder = HealthRecorder(deployment, clock=lambda: now[0])
    with psycopg.connect(dsn, autocommit=True, row_factory=psycopg.rows.dict_row) as connection:

        def look(seconds: float) -> dict[str, Any] | None:
            now[0] = (START + timedelta(seconds=seconds)).timestamp()
            recorder.step()
            return connection.execute("select * from ops.live_jobs").fetchone()

        yield look
        connection.execute("truncate ops.live_jobs")


def test_the_root_cause_is_the_last_one_that_is_not_of_what_was_suppressed() -> None:
    assert root_cause(TRACE) == CAUSE
    assert root_cause("org.apache.flink.util.FlinkException: The TaskManager is lost.\n\tat x") == (
        "FlinkException: The TaskManager is lost."
    )
    assert root_cause("") == ""


@pytest.mark.parametrize(
    ("failures", "completed", "truncated", "told"),
    [
        ([], -5, False, None),
        ([-30, -20], -5, False, None),
        ([4], -5, False, f"failed once since 2026-11-23 12:00:04 UTC, without completing a checkpoint: {CAUSE}"),
        (
            [-30, 4, 9, 15],
            -5,
            False,
            f"failed 3 times since 2026-11-23 12:00:04 UTC, without completing a checkpoint: {CAUSE}",
        ),
        (
            [4, 9],
            None,
            True,
            f"failed more than 2 times since 2026-11-23 12:00:04 UTC, without completing a checkpoint: {CAUSE}",
        ),
    ],
    ids=["never", "over since a checkpoint", "once", "again and again", "before the first checkpoint"],
)
def test_a_job_shows_its_failures_since_its_newest_checkpoint_and_their_cause(
    flink: Flink,
    deployment: Deployment,
    failures: list[float],
    completed: float | None,
    truncated: bool,
    told: str | None,
) -> None:
    flink.failures, flink.completed, flink.truncated = failures, completed, truncated
    (job,) = job_control.jobs(deployment)
    assert (job.failing and job.failing.sentence) == told


def test_what_a_job_goes_through_is_kept_until_a_checkpoint_is_complete(flink: Flink, seen: Any) -> None:
    row = seen(0)
    assert (row["state"], row["not_running_since"], row["failing_since"]) == ("RUNNING", None, None)
    assert row["checkpoint_at"] == START - timedelta(seconds=5)

    flink.state, flink.failures = "RESTARTING", [4]
    row = seen(10)
    assert (row["failing_since"], row["failures"], row["why"]) == (START + timedelta(seconds=4), 1, CAUSE)
    assert row["not_running_since"] == START + timedelta(seconds=10)

    flink.failures = [9, 15]  # the oldest is dropped
    row = seen(20)
    assert (row["failing_since"], row["failures"]) == (START + timedelta(seconds=4), 2)
    assert row["not_running_since"] == START + timedelta(seconds=10)

    flink.state, flink.completed = "RUNNING", 25
    row = seen(30)
    assert (row["failing_since"], row["failures"], row["why"], row["not_running_since"]) == (None, 0, None, None)

    flink.failures = [9, 15, 31]
    assert seen(40)["failing_since"] == START + timedelta(seconds=31), "what was before the checkpoint is over"


def test_a_checkpoint_that_fails_is_kept_with_its_reason(flink: Flink, seen: Any) -> None:
    flink.failed = "Checkpoint expired before completing."
    assert seen(0)["checkpoint_problem"] == "Checkpoint expired before completing."
    flink.completed = None
    assert seen(1)["checkpoint_at"] == START - timedelta(seconds=60), "no checkpoint since it was started"


def test_a_job_that_is_gone_is_down_and_one_that_has_not_come_up_yet_is_not(flink: Flink, seen: Any) -> None:
    flink.state = None
    assert seen(0)["not_running_since"] is None
    assert seen(299)["not_running_since"] is None
    assert seen(301)["not_running_since"] == START + timedelta(seconds=301)
    flink.state = "RUNNING"
    assert seen(310)["not_running_since"] is None
    flink.state = None
    assert (seen(320)["state"], seen(330)["not_running_since"]) == ("not there", START + timedelta(seconds=320))


def test_a_second_versions_job_has_its_own_time_to_come_up_however_long_the_stack_runs(
    flink: Flink, deployment: Deployment, seen: Any, dsn: str
) -> None:
    def down(name: str) -> datetime | None:
        with psycopg.connect(dsn) as connection:
            row = connection.execute("select not_running_since from ops.live_jobs where job = %s", (name,)).fetchone()
        assert row
        return row[0]

    seen(0)
    seen(1000)
    second = handed_over([aggregates()[0]], {aggregates()[0].name: START})
    keep(deployment, second)
    seen(1010)
    seen(1300)
    assert (down(JOB_NAME), down(second.name)) == (None, None)
    seen(1311)
    assert (down(JOB_NAME), down(second.name)) == (None, START + timedelta(seconds=1311))


def test_a_job_that_somebody_has_started_again_is_not_down_before_it_had_its_time(
    flink: Flink, deployment: Deployment, seen: Any
) -> None:
    """As one that no longer writes a version: it is stopped and started, and there is no hold."""
    seen(0)
    with asked_for(deployment):
        flink.state = None
        assert seen(1000)["not_running_since"] is None
        assert seen(1040)["not_running_since"] is None
    flink.state = "RUNNING"
    assert seen(1050)["not_running_since"] is None
    flink.state = None
    assert seen(1060)["not_running_since"] == START + timedelta(seconds=1060), "nobody asked for this"


def test_a_job_that_was_stopped_and_started_between_two_looks_had_been_asked_for(
    flink: Flink, deployment: Deployment, seen: Any
) -> None:
    seen(0)
    with asked_for(deployment):
        flink.state = None
    assert seen(1000)["not_running_since"] is None
    assert seen(1290)["not_running_since"] is None
    assert seen(1301)["not_running_since"] == START + timedelta(seconds=1301)


NEXT = replace(aggregates()[0], version=99)
ASKS: dict[str, Callable[[Deployment], object]] = {
    "submit": job_control.submit,
    "stop": job_control.stop,
    "a new version": lambda target: handover.start_versions(target, [NEXT], {NEXT.name: START.replace(hour=0)}),
    "an old version": lambda target: handover.retire(target, NEXT, 99),
}


@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
def test_every_command_that_starts_or_stops_jobs_is_known_to_have_been_asked_for(
    flink: Flink, deployment: Deployment, asks: Callable[[Deployment], object]
) -> None:
    job_control.keep_running(deployment)
    assert asked_at(deployment, 1.0) == 0.0, "nobody asked"
    during: list[float] = []
    flink.looked = lambda: during.append(asked_at(deployment, 1.0))
    with contextlib.suppress(handover.NotReady, JobFailed):  # this Flink starts and stops none
        asks(deployment)
    assert set(during) <= {1.0}, "while it goes on"
    assert asked_at(deployment, 1.0) > 1.0, "and afterwards"


def test_a_job_that_starts_after_a_hold_has_its_time(flink: Flink, deployment: Deployment, seen: Any) -> None:
    seen(0)
    set_hold(deployment, now_by_me())
    flink.state = None
    assert seen(1000) is None
    release(deployment)
    assert seen(2000)["not_running_since"] is None
    assert seen(2299)["not_running_since"] is None


def test_a_recorder_that_has_just_begun_goes_on_with_what_was_known(
    flink: Flink, deployment: Deployment, seen: Any, seen_anew: Any
) -> None:
    seen(0)
    flink.state = None
    assert seen(10)["not_running_since"] == START + timedelta(seconds=10)
    assert seen_anew(20)["not_running_since"] == START + timedelta(seconds=10)
    flink.state = "RUNNING"
    assert seen(30)["not_running_since"] is None
    flink.state = None
    assert seen_anew(40)["not_running_since"] == START + timedelta(seconds=40), "it ran, as the one before had written"


@pytest.mark.parametrize("is_asked", [True, False], ids=["stopped a moment ago", "away for long"])
def test_a_stack_that_comes_up_again_does_not_go_on_with_what_was(
    flink: Flink, deployment: Deployment, seen: Any, seen_anew: Any, is_asked: bool
) -> None:
    flink.failures = [4, 9]
    seen(0)
    flink.state = None
    assert seen(10)["not_running_since"]
    if is_asked:
        with asked_for(deployment):  # the stop of the stack, which the clock of these tests is behind
            pass
    row = seen_anew(20 if is_asked else 311)
    assert (row["not_running_since"], row["failing_since"]) == (None, None)


@pytest.mark.parametrize("is_away", [True, False])
def test_what_is_known_of_a_failing_job_stays_while_flink_reports_nothing_about_it(
    flink: Flink, deployment: Deployment, seen: Any, seen_anew: Any, is_away: bool
) -> None:
    flink.failures, flink.failed = [4, 9], "Checkpoint expired before completing."
    before = seen(10)
    flink.state = None
    after = seen_anew(20, flink_url="http://127.0.0.1:1") if is_away else seen(20)
    assert after["state"] == ("not known" if is_away else "not there")
    same = ("failing_since", "failures", "checkpoint_at", "checkpoint_problem", "why")
    assert [after[name] for name in same] == [before[name] for name in same]


def test_an_unresponsive_flink_is_recorded(seen: Any, seen_anew: Any) -> None:
    seen(0)
    row = seen_anew(100, flink_url="http://127.0.0.1:1")
    assert (row["state"], row["not_running_since"]) == ("not known", START + timedelta(seconds=100))
    assert row["checkpoint_at"] == START - timedelta(seconds=5)
    assert "is not responding" in row["why"]


def test_a_job_that_somebody_stopped_is_no_trouble(deployment: Deployment, seen: Any) -> None:
    assert seen(0)
    set_hold(deployment, now_by_me())
    assert seen(10) is None
    release(deployment)
    assert seen(20)
