"""Submits, lists and stops the live jobs on a session cluster: the main one, and those of hand-overs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from flink.final_windows import floors
from flink.health import Failing, failing
from flink.hold import Hold, held, now_by_me, release, set_hold
from flink.intended_downtime import asked_for
from flink.job_sql import JobPlan, live_plan
from flink.live_job import JOB_NAME, LiveJob, job_of_added, keep, kept, kept_jobs, main_job, snapshots_of
from flink.rest import ENDED, FlinkRest, JobFailed
from schemas.aws import login
from schemas.catalogue import events
from schemas.errors import BrokerUnavailable, InsightsError
from schemas.kafka import Kafka, logged_in
from schemas.plural import counted
from warehouse.deployment import Deployment
from warehouse.postgres import connected
from warehouse.versions import note_deployed, show

JOB_FILE = Path(__file__).parent / "job.py"
RUNNING_SECONDS = 240.0


class StateTooOld(InsightsError):
    """The newest snapshot's state has expired: resuming would overwrite whole windows with parts of them."""


class LogIncomplete(InsightsError):
    """Retention has removed records that a run from the log's beginning would need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One job, as reported by Flink; all None when Flink is away.

    ``lag`` is the number of records on the log that it has not read; None when not known. ``failing`` is None of one
    that has completed a checkpoint since it last failed. ``is_asked``: whether Flink can be asked for its checkpoints.
    """

    name: str
    state: str | None = None
    last_checkpoint_age_seconds: float | None = None
    lag: int | None = None
    failing: Failing | None = None
    is_asked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A complete checkpoint or savepoint on disk."""

    path: Path
    taken_at: float


def newest_snapshot(deployment: Deployment, name: str = JOB_NAME) -> Snapshot | None:
    """A job's newest complete checkpoint or savepoint, by the time its metadata was written; None when it has none."""
    found = snapshots_of(deployment, name).glob("**/_metadata")
    snapshots = [Snapshot(path=path.parent, taken_at=path.stat().st_mtime) for path in found]
    return max(snapshots, key=lambda snapshot: snapshot.taken_at, default=None)


class StartOverUnfinished(InsightsError):
    """A rebuild from scratch ended half-way: the job can't resume from what is left of state and tables."""


def submit(deployment: Deployment) -> str:
    """Starts every live job that is deployed and does not run; the main job's id. Blocks until they run.

    Ends a hold. Each resumes from its newest snapshot, as it was deployed, even if the folders have changed since. The
    main job starts from the log's beginning, as the folders are, when it has none. Events that it does not know, of a
    later release, get a job of their own. Raises JobFailed with Flink's reason, StateTooOld when a snapshot is past
    use, StartOverUnfinished.
    """
    with one_at_a_time(deployment), asked_for(deployment):
        return submit_deployed(deployment)


def keep_running(deployment: Deployment) -> str:
    """As ``submit``, for the task that keeps the jobs running: a hold stays and blocks the start. A line to show."""
    with one_at_a_time(deployment):
        if hold := held(deployment):
            return f"{hold.sentence}; {hold.way_out}"
        return f"runs as {submit_deployed(deployment)}"


def submit_deployed(deployment: Deployment) -> str:
    """As ``submit``, for a caller that is inside ``one_at_a_time`` already."""
    if (hold := held(deployment)) and hold.why == "starting over":
        raise StartOverUnfinished(f"{hold.sentence}; {hold.way_out}")
    release(deployment)
    main = _run(deployment, _main_job(deployment))
    if added := job_of_added(kept_jobs(deployment)):
        show_deployed(deployment, added)
        keep(deployment, added)
    for job in kept_jobs(deployment):
        if not job.is_main:
            _run(deployment, job)
    return main


def end_stop(deployment: Deployment) -> Hold | None:
    """Ends the hold of a stop, so that the jobs are started again. Returns the hold of either kind, or None."""
    with one_at_a_time(deployment):
        hold = held(deployment)
        if hold and hold.why == "stopped":
            with asked_for(deployment):
                release(deployment)
        return hold


def _main_job(deployment: Deployment) -> LiveJob:
    known = kept(deployment)
    is_under_way = FlinkRest(deployment.flink_url).active_job(JOB_NAME) or newest_snapshot(deployment)
    # A hand-over resumes from what the main job had.
    if known and (is_under_way or len(kept_jobs(deployment)) > 1):
        return known
    job = main_job()
    if not is_under_way:
        show_deployed(deployment, job)
    keep(deployment, job)
    return job


def show_deployed(deployment: Deployment, job: LiveJob) -> None:
    """Readers see what this job writes."""
    with connected(deployment) as connection:
        for aggregate in job.aggregates:
            note_deployed(connection, aggregate)
            show(connection, aggregate, aggregate.version, None)


def _run(deployment: Deployment, job: LiveJob) -> str:
    rest = FlinkRest(deployment.flink_url)
    if running := rest.active_job(job.name):
        return running
    snapshot = newest_snapshot(deployment, job.name)
    reached: Mapping[str, datetime] = {}
    if snapshot is not None:
        refuse_expired(deployment, snapshot, time.time())
        # What is final stays so, though the state of a long-silent partition is dropped.
        reached = floors(deployment)
    _run_client(deployment, live_plan(deployment, reached, job), snapshot)
    return _await_running(rest, job.name, deadline_seconds=RUNNING_SECONDS)


def start_over(deployment: Deployment) -> str:
    """Discards all jobs' state, empties the tables, starts one from the log's beginning; its id. Blocks until it runs.

    That one computes everything as the folders are: hand-overs end, and readers see the folders' versions. Raises
    LogIncomplete, and changes nothing, when retention has removed a topic's first records: they would be lost.
    """
    from warehouse.tables import empty_tables  # brings the lake's library, which nothing else here needs

    refuse_incomplete(log_beginnings(deployment.kafka))
    with one_at_a_time(deployment), asked_for(deployment):
        for name in {JOB_NAME, *(job.name for job in kept_jobs(deployment))}:
            cancel(deployment, name)
        # From the first removal to the last: no job may resume from what is left in between.
        set_hold(deployment, now_by_me("starting over"))
        shutil.rmtree(deployment.snapshots_dir, ignore_errors=True)
        shutil.rmtree(deployment.jobs_dir, ignore_errors=True)
        empty_tables(deployment)
        release(deployment)
        return submit_deployed(deployment)


def cancel(deployment: Deployment, name: str) -> None:
    """Ends the job of this name, if it runs, without a savepoint. Blocks until it has ended. Raises JobFailed."""
    rest = FlinkRest(deployment.flink_url)
    if running := rest.active_job(name):
        rest.cancel(running)
        _await_ended(rest, name, deadline_seconds=60)


def all_run(deployment: Deployment) -> bool:
    """Does every live job that is deployed run?"""
    active = FlinkRest(deployment.flink_url).active_jobs()
    return {JOB_NAME, *(job.name for job in kept_jobs(deployment))} <= active.keys()


@contextmanager
def one_at_a_time(deployment: Deployment) -> Iterator[None]:
    """Two submissions at once would run the job twice, and both would write."""
    deployment.work_dir.mkdir(parents=True, exist_ok=True)
    with (deployment.work_dir / "submit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def log_beginnings(kafka: Kafka) -> dict[str, int]:
    """By topic, how many records its partitions no longer hold. Raises BrokerUnavailable."""
    consumer = logged_in(Consumer({**kafka.librdkafka, "group.id": f"{JOB_NAME}-beginnings", "log_level": 0}))
    try:
        return {
            e.topic: sum(
                consumer.get_watermark_offsets(TopicPartition(e.topic, number), timeout=10)[0]
                for number in range(e.partitions)
            )
            for e in events()
        }
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka at {kafka} did not return where its topics begin: {error}") from error
    finally:
        consumer.close()


def refuse_incomplete(beginnings: Mapping[str, int]) -> None:
    """Raises LogIncomplete naming the topics whose first records are gone."""
    if gone := {topic: missing for topic, missing in beginnings.items() if missing}:
        named = ", ".join(f"{topic} ({counted(missing, 'record')})" for topic, missing in gone.items())
        raise LogIncomplete(
            f"the log no longer holds the beginning of {named}: a rebuild from scratch would lose them from every"
            " table and from the lake. Nothing was changed"
        )


def _await_ended(rest: FlinkRest, name: str, *, deadline_seconds: float) -> None:
    deadline = time.monotonic() + deadline_seconds
    while rest.active_job(name):
        if time.monotonic() > deadline:
            raise JobFailed(f"the job {name} had not ended {deadline_seconds:.0f} s after it was cancelled")
        time.sleep(0.2)


def refuse_expired(deployment: Deployment, snapshot: Snapshot, now: float) -> None:
    """Raises StateTooOld when windows that may still change could have lost their state."""
    limit_hours = deployment.state_ttl_hours - deployment.horizon_hours
    age_hours = (now - snapshot.taken_at) / 3600
    if age_hours > limit_hours:
        raise StateTooOld(
            f"the live job's newest snapshot is {age_hours:.0f} h old and its state is only valid for {limit_hours} h:"
            " resuming would overwrite full windows with partial ones. Rebuild from scratch with"
            " `insights flink submit --from-beginning`, which empties the tables and reads the whole log again"
        )


def _run_client(deployment: Deployment, plan: JobPlan, snapshot: Snapshot | None) -> None:
    deployment.work_dir.mkdir(parents=True, exist_ok=True)
    plan_path = deployment.work_dir / f"{plan.name}.json"
    plan_path.touch(mode=0o600)
    plan_path.write_text(plan.to_json())
    command = [
        *(str(deployment.java_home / "bin" / "java"), f"@{deployment.conf_dir / 'client.args'}"),
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
        "FLINK_OPT_DIR": str(deployment.flink_home / "opt"),
        "FLINK_PLUGINS_DIR": str(deployment.flink_home / "plugins"),
        "FLINK_LOG_DIR": str(deployment.work_dir),
        **login(),  # it looks into the lake's catalog, which may be AWS Glue
    }
    done = subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    (deployment.work_dir / "submit.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise JobFailed(
            f"Flink rejected the job: {_reason(done.stdout + done.stderr)}"
            f" (full output: {deployment.work_dir / 'submit.log'})"
        )


def _reason(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    causes = [line for line in lines if line.startswith("Caused by:")] or [line for line in lines if line]
    return causes[-1][:600] if causes else "no output"


def _await_running(rest: FlinkRest, called: str, *, deadline_seconds: float) -> str:
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        job = rest.active_job(called)
        if job and rest.all_tasks_running(job):
            return job
        time.sleep(0.2)
    known = next((job for job, name, _ in rest.jobs() if name == called), None)
    reason = rest.why_failed(known) if known else "Flink does not list it"
    raise JobFailed(f"{called} was not running after {deadline_seconds:.0f} s: {reason or 'no exception recorded'}")


def jobs(deployment: Deployment) -> list[JobStatus]:
    """Every job that the JobManager knows, but for ended runs of what runs again or is no longer deployed."""
    rest = FlinkRest(deployment.flink_url)
    newest: dict[str, tuple[str, str]] = {}
    deployed = {JOB_NAME, *(job.name for job in kept_jobs(deployment))}
    for job, name, state in rest.jobs():
        if state not in ENDED or name in deployed:
            newest.setdefault(name, (job, state))
    return [_status(rest, job, name, state) for name, (job, state) in newest.items()]


def _status(rest: FlinkRest, job: str, name: str, state: str) -> JobStatus:
    checkpoints = rest.checkpoints(job)
    checkpoint = checkpoints.newest
    age = None if checkpoint is None else max(0.0, time.time() - checkpoint.completed_at_ms / 1000)
    pending = [
        value
        for vertex in rest.vertices(job)
        if vertex.name.startswith("Source")
        for value in rest.metrics(job, vertex.id, "pendingRecords").values()
    ]
    return JobStatus(
        name=name,
        state=state,
        last_checkpoint_age_seconds=age,
        lag=int(sum(pending)) if pending else None,
        failing=failing(rest, job, checkpoints),
    )


def savepoint(deployment: Deployment) -> list[str]:
    """Takes a savepoint of each live job while it runs: their paths. Raises JobFailed when there is no main job."""
    rest = FlinkRest(deployment.flink_url)
    return [rest.savepoint(job, _savepoints(deployment, name)) for name, job in _running(deployment).items()]


def stop(deployment: Deployment, *, hold: bool = True) -> list[str]:
    """Stops the live jobs, each with a savepoint: their paths. Raises JobFailed when there is no main job.

    With ``hold`` they stay stopped until they are submitted again; the supervisor leaves them alone. Only a stop
    that succeeded holds: of one that failed, or was killed, what had ended already is started again.
    """
    with one_at_a_time(deployment), asked_for(deployment):
        running = _running(deployment)
        # The main job last: while it is running, an interrupted stop can be repeated.
        paths = [stop_one(deployment, name, job) for name, job in reversed(running.items())]
        if hold:
            set_hold(deployment, now_by_me())
        return paths


def stop_one(deployment: Deployment, name: str, job: str) -> str:
    """Stops one live job with a savepoint, inside ``one_at_a_time``: its path. Raises JobFailed."""
    return FlinkRest(deployment.flink_url).stop(job, _savepoints(deployment, name))


def _savepoints(deployment: Deployment, name: str) -> str:
    return (snapshots_of(deployment, name) / "savepoints").as_uri()


def _running(deployment: Deployment) -> dict[str, str]:
    """Name to id of the live jobs that run, the main job first."""
    rest = FlinkRest(deployment.flink_url)
    names = [JOB_NAME, *(job.name for job in kept_jobs(deployment) if not job.is_main)]
    found = {name: job for name in names if (job := rest.active_job(name))}
    if JOB_NAME not in found:
        raise JobFailed(f"no job {JOB_NAME} is running; `insights flink submit` starts it")
    return found
