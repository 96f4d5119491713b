"""Submits, lists and stops the live job on a session cluster."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from flink.deployment import Deployment
from flink.finality import floors
from flink.plan import JOB_NAME, JobPlan, live_plan
from flink.rest import FlinkRest, JobFailed
from flink.tables import empty_tables
from schemas.catalogue import events
from schemas.errors import BrokerUnavailable, InsightsError

JOB_FILE = Path(__file__).parent / "job.py"
RUNNING_SECONDS = 240.0


class StateTooOld(InsightsError):
    """The newest snapshot's state has expired: resuming would overwrite whole windows with parts of them."""


class LogIncomplete(InsightsError):
    """Retention has removed records that a run from the log's beginning would need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One job. ``lag`` is the number of records on the log that it has not read; None when not known."""

    name: str
    state: str
    last_checkpoint_age_seconds: float | None
    lag: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A complete checkpoint or savepoint on disk."""

    path: Path
    taken_at: float


def newest_snapshot(deployment: Deployment) -> Snapshot | None:
    """The newest complete checkpoint or savepoint, by the time its metadata was written; None when there is none."""
    found = deployment.snapshots_dir.glob("**/_metadata")
    snapshots = [Snapshot(path=path.parent, taken_at=path.stat().st_mtime) for path in found]
    return max(snapshots, key=lambda snapshot: snapshot.taken_at, default=None)


def submit(deployment: Deployment) -> str:
    """Starts the live job from its newest snapshot, or from the log's beginning; its id. Blocks until it runs.

    Does nothing when it runs already. Raises JobFailed with Flink's reason, StateTooOld when the snapshot is past use.
    """
    rest = FlinkRest(deployment.flink_url)
    with _one_at_a_time(deployment):
        _hold_file(deployment).unlink(missing_ok=True)
        if running := rest.active_job(JOB_NAME):
            return running
        snapshot = newest_snapshot(deployment)
        if snapshot is None:
            plan = live_plan(deployment)
        else:
            refuse_expired(deployment, snapshot, time.time())
            # What is final stays so, though state of a partition that was silent for long is forgotten.
            plan = live_plan(deployment, floors(deployment))
        _run_client(deployment, plan, snapshot)
        return _await_running(rest, deadline_seconds=RUNNING_SECONDS)


def start_over(deployment: Deployment) -> str:
    """Forgets the job's state, empties its tables and starts it from the log's beginning; its id. Blocks until it runs.

    Raises LogIncomplete, and changes nothing, when retention has removed a topic's first records: they would be lost.
    """
    rest = FlinkRest(deployment.flink_url)
    refuse_incomplete(log_beginnings(deployment.kafka))
    with _one_at_a_time(deployment):
        _hold_file(deployment).touch()
        if running := rest.active_job(JOB_NAME):
            rest.cancel(running)
            _await_ended(rest, deadline_seconds=60)
        shutil.rmtree(deployment.snapshots_dir, ignore_errors=True)
        empty_tables(deployment)
    return submit(deployment)


@contextmanager
def _one_at_a_time(deployment: Deployment) -> Iterator[None]:
    """Two submissions at once would run the job twice, and both would write."""
    deployment.work_dir.mkdir(parents=True, exist_ok=True)
    with (deployment.work_dir / "submit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hold_file(deployment: Deployment) -> Path:
    return deployment.work_dir / "held"


def is_held(deployment: Deployment) -> bool:
    """Was the job stopped on purpose, to stay stopped until it is submitted again?"""
    return _hold_file(deployment).exists()


def log_beginnings(bootstrap: str) -> dict[str, int]:
    """By topic, how many records its partitions no longer hold. Raises BrokerUnavailable."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{JOB_NAME}-beginnings", "log_level": 0})
    try:
        return {
            e.topic: sum(
                consumer.get_watermark_offsets(TopicPartition(e.topic, number), timeout=10)[0]
                for number in range(e.partitions)
            )
            for e in events()
        }
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka at {bootstrap} did not tell where its topics begin: {error}") from error
    finally:
        consumer.close()


def refuse_incomplete(beginnings: Mapping[str, int]) -> None:
    """Raises LogIncomplete naming the topics whose first records are gone."""
    if gone := {topic: missing for topic, missing in beginnings.items() if missing}:
        named = ", ".join(f"{topic} ({missing:,} records)" for topic, missing in gone.items())
        raise LogIncomplete(
            f"the log no longer holds the beginning of {named}: starting over would lose them from every table and from"
            " the lake. Nothing was changed"
        )


def _await_ended(rest: FlinkRest, *, deadline_seconds: float) -> None:
    deadline = time.monotonic() + deadline_seconds
    while rest.active_job(JOB_NAME):
        if time.monotonic() > deadline:
            raise JobFailed(f"the live job had not ended {deadline_seconds:.0f} s after it was cancelled")
        time.sleep(0.2)


def refuse_expired(deployment: Deployment, snapshot: Snapshot, now: float) -> None:
    """Raises StateTooOld when windows that may still change could have lost their state."""
    limit_hours = deployment.state_ttl_hours - deployment.horizon_hours
    age_hours = (now - snapshot.taken_at) / 3600
    if age_hours > limit_hours:
        raise StateTooOld(
            f"the live job's newest snapshot is {age_hours:.0f} h old and its state is only good for {limit_hours} h:"
            " resuming would overwrite full windows with partial ones. Start over from the log with"
            " `insights flink submit --from-beginning`, which empties the tables and reads everything again"
        )


def _run_client(deployment: Deployment, plan: JobPlan, snapshot: Snapshot | None) -> None:
    deployment.work_dir.mkdir(parents=True, exist_ok=True)
    plan_path = deployment.work_dir / f"{plan.name}.json"
    plan_path.touch(mode=0o600)
    plan_path.write_text(plan.to_json())
    command = [
        "bash",
        str(deployment.flink_home / "bin" / "flink"),
        "run",
        "--detached",
        *("-m", deployment.flink_url.removeprefix("http://")),
        *(("-s", snapshot.path.as_uri()) if snapshot else ()),
        *("-pyclientexec", str(deployment.flink_python), "-pyexec", str(deployment.flink_python)),
        *("-py", str(JOB_FILE), str(plan_path)),
    ]
    environment = {
        "PATH": f"{deployment.java_home / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "JAVA_HOME": str(deployment.java_home),
        "FLINK_CONF_DIR": str(deployment.conf_dir),
        "FLINK_LIB_DIR": str(deployment.lib_dir),
        "FLINK_LOG_DIR": str(deployment.work_dir),
    }
    done = subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    (deployment.work_dir / "submit.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise JobFailed(
            f"Flink did not take the job: {_reason(done.stdout + done.stderr)}"
            f" (the whole answer is in {deployment.work_dir / 'submit.log'})"
        )


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    causes = [line for line in lines if line.startswith("Caused by:")] or [line for line in lines if line]
    return causes[-1][:600] if causes else "no output"


def _await_running(rest: FlinkRest, *, deadline_seconds: float) -> str:
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        job = rest.active_job(JOB_NAME)
        if job and rest.all_tasks_running(job):
            return job
        time.sleep(0.2)
    known = next((job for job, name, _ in rest.jobs() if name == JOB_NAME), None)
    reason = rest.why_failed(known) if known else "it is not in Flink's list of jobs"
    raise JobFailed(f"the live job was not running after {deadline_seconds:.0f} s: {reason or 'no exception recorded'}")


def jobs(deployment: Deployment) -> list[JobStatus]:
    """Every job that the JobManager knows; ended runs of a job that runs again are left out."""
    rest = FlinkRest(deployment.flink_url)
    newest: dict[str, tuple[str, str]] = {}
    for job, name, state in rest.jobs():
        newest.setdefault(name, (job, state))
    return [_status(rest, job, name, state) for name, (job, state) in newest.items()]


def _status(rest: FlinkRest, job: str, name: str, state: str) -> JobStatus:
    checkpoint = rest.newest_checkpoint(job)
    age = None if checkpoint is None else max(0.0, time.time() - checkpoint.completed_at_ms / 1000)
    pending = [
        value
        for vertex in rest.vertices(job)
        if vertex.name.startswith("Source")
        for value in rest.metrics(job, vertex.id, "pendingRecords").values()
    ]
    return JobStatus(
        name=name, state=state, last_checkpoint_age_seconds=age, lag=int(sum(pending)) if pending else None
    )


def savepoint(deployment: Deployment) -> str:
    """Takes a savepoint of the live job while it runs: its path. Raises JobFailed when there is no such job."""
    rest = FlinkRest(deployment.flink_url)
    return rest.savepoint(_running(rest), (deployment.snapshots_dir / "savepoints").as_uri())


def stop(deployment: Deployment, *, hold: bool = True) -> str:
    """Stops the live job with a savepoint and returns its path. Raises JobFailed when there is no such job.

    With ``hold`` it stays stopped, whoever keeps it running otherwise, until it is submitted again.
    """
    rest = FlinkRest(deployment.flink_url)
    with _one_at_a_time(deployment):
        job = _running(rest)
        if hold:
            _hold_file(deployment).touch()
        return rest.stop(job, (deployment.snapshots_dir / "savepoints").as_uri())


def _running(rest: FlinkRest) -> str:
    job = rest.active_job(JOB_NAME)
    if job is None:
        raise JobFailed(f"no job {JOB_NAME} is running; `insights flink submit` starts it")
    return job
