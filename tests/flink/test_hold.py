"""A live job that was stopped on purpose stays stopped; one that was not, does not. Against a JobManager's answers."""

from __future__ import annotations

import getpass
import json
import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flink import job_control
from flink.hold import Hold, held, now_by_me, release, set_hold
from flink.intended_downtime import asked_at
from flink.live_job import JOB_NAME
from flink.rest import FlinkUnavailable, JobFailed
from insights.stack.live_jobs import LiveJobs
from schemas.errors import Retryable
from tests.flink.live_on_files import DEPLOYMENT
from warehouse.deployment import Deployment

STOPPED = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:///savepoints/savepoint-1"}}
REFUSED = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"stack-trace": "some tasks do not run"}}}
NEVER_DONE = {"status": {"id": "IN_PROGRESS"}}


class JobManager(ThreadingHTTPServer):
    """Answers as Flink's does of a job that runs, until it is stopped, with ``answer``."""

    daemon_threads = True

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.answer = answer
        self.asked_to_stop = threading.Event()
        self.state = "RUNNING"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: JobManager

    def do_GET(self) -> None:
        if self.path == "/jobs/overview":
            self._say({"jobs": [{"jid": "0aa0", "name": JOB_NAME, "state": self.server.state, "start-time": 1}]})
        elif self.server.answer is STOPPED:
            self.server.state = "FINISHED"  # before anybody is notified
            self._say(STOPPED)
        else:
            self._say(self.server.answer)

    def do_POST(self) -> None:
        self.server.asked_to_stop.set()
        self._say({"request-id": "1"})

    def _say(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def job_manager(answer: dict[str, Any]) -> Iterator[JobManager]:
    with JobManager(answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    folders = {name: tmp_path / name for name in ("snapshots_dir", "jobs_dir", "work_dir")}
    return replace(DEPLOYMENT, **folders)


def test_a_stop_that_succeeded_holds_and_records_who_and_when(deployment: Deployment) -> None:
    before = datetime.now(UTC)
    with job_manager(STOPPED) as flink:
        assert job_control.stop(replace(deployment, flink_url=flink.url)) == ["file:///savepoints/savepoint-1"]
    hold = held(deployment)
    assert hold is not None
    assert hold.by == getpass.getuser()
    assert before <= hold.at <= datetime.now(UTC)
    assert hold.sentence == f"the live job was stopped by {hold.by} at {hold.at:%Y-%m-%d %H:%M:%S} UTC"


@pytest.mark.parametrize(
    ("answer", "error"),
    [(REFUSED, JobFailed), (None, FlinkUnavailable)],
    ids=["the savepoint fails", "the JobManager is away"],
)
def test_a_stop_that_failed_holds_nothing(
    deployment: Deployment, answer: dict[str, Any] | None, error: type[Exception]
) -> None:
    if answer is None:
        with pytest.raises(error):
            job_control.stop(deployment)
    else:
        with job_manager(answer) as flink, pytest.raises(error):
            job_control.stop(replace(deployment, flink_url=flink.url))
    assert held(deployment) is None


def test_a_stop_that_is_killed_half_way_holds_nothing_and_is_in_nobodys_way(deployment: Deployment) -> None:
    with job_manager(NEVER_DONE) as flink:
        stops = multiprocessing.get_context("spawn").Process(
            target=job_control.stop, args=(replace(deployment, flink_url=flink.url),)
        )
        stops.start()
        assert flink.asked_to_stop.wait(60)
        stops.kill()
        stops.join(60)
    with job_control.one_at_a_time(deployment):
        assert held(deployment) is None


def test_a_job_that_shall_keep_running_is_never_started_between_its_end_and_its_hold(deployment: Deployment) -> None:
    """Starting it would fail here: there is no Flink to start it with."""
    with job_manager(STOPPED) as flink:
        target = replace(deployment, flink_url=flink.url)
        said: list[str] = []
        keeper = threading.Thread(target=lambda: said.append(job_control.keep_running(target)))
        with job_control.one_at_a_time(target):
            stopper = threading.Thread(target=job_control.stop, args=(target,))
            stopper.start()
        assert flink.asked_to_stop.wait(60)
        keeper.start()
        for thread in (stopper, keeper):
            thread.join(60)
    assert ["stopped by" in line for line in said] == [True]


def test_keeping_the_job_running_reports_a_stop_and_leaves_the_job_stopped(deployment: Deployment) -> None:
    with job_manager(STOPPED) as flink:
        target = replace(deployment, flink_url=flink.url)
        jobs = LiveJobs(target)
        assert jobs.still_done()
        job_control.stop(target)
        assert not jobs.still_done(), "what it said of the job is not so any more"
        assert "was stopped by" in jobs.run()
        assert jobs.still_done(), "there is nothing to do until somebody starts it"
        flink.state = "RUNNING"
        release(target)
        assert not jobs.still_done()


def test_a_start_over_that_ended_half_way_is_gone_on_from_by_nothing_but_another(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres is away when the tables are to be emptied."""
    monkeypatch.setattr(job_control, "log_beginnings", lambda _kafka: {})
    with job_manager(STOPPED) as flink:
        flink.state = "FINISHED"
        target = replace(deployment, flink_url=flink.url)
        with pytest.raises(Retryable, match="Postgres"):
            job_control.start_over(target)
        assert asked_at(target, 1.0) > 1.0, "that the job is gone is no trouble"
        assert "was not finished; `insights flink submit --from-beginning` finishes it" in job_control.keep_running(
            target
        )
        with pytest.raises(job_control.StartOverUnfinished):
            job_control.submit(target)
        hold = job_control.end_stop(target)
    assert hold is not None
    assert held(deployment) == hold, "`up` must not end it"


def test_up_ends_the_hold_of_a_stop(deployment: Deployment) -> None:
    assert job_control.end_stop(deployment) is None
    assert asked_at(deployment, 1.0) == 0.0, "there was nothing to ask for"
    stopped = now_by_me()
    set_hold(deployment, stopped)
    assert job_control.end_stop(deployment) == stopped
    assert held(deployment) is None
    assert asked_at(deployment, 1.0) > 1.0, "the job has its time to come up"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"by": "ann"}', '{"by": "ann", "at": "noon", "why": "stopped"}'])
def test_a_hold_of_an_earlier_version_is_one_of_somebody_since_the_file_was_written(
    deployment: Deployment, text: str
) -> None:
    set_hold(deployment, Hold(by="ann", at=datetime.now(UTC) - timedelta(days=1)))
    (deployment.work_dir / "held").write_text(text)
    hold = held(deployment)
    assert hold is not None
    assert (hold.by, hold.why) == ("somebody", "stopped")
    assert datetime.now(UTC) - hold.at < timedelta(minutes=5)
