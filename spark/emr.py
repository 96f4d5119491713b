"""A replay's job on EMR Serverless: the same job.py and task.py as on this machine, with S3 for its files.

A run has its own folder in S3: its logs and results, and the files packed for it. A note next to the task records the
folder and the submitted job, so a killed run can resume: nothing is uploaded or computed twice, and a job that still
runs is found again, even if the kill came before its number was noted, because AWS knows each attempt by a token of its
own. Results are copied into the task's own output, each chunk complete or not at all.
"""

from __future__ import annotations

import gzip
import json
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

from schemas.errors import InsightsError, Misconfigured
from spark.aws import Aws, NotThere
from spark.local import FOLDER, JOB
from spark.task import Input, Task

OnEvent = Callable[[dict[str, Any]], None]
"""Called with ``{"event": "progress", "records": …, "of": …}`` by finished chunks, and ``{"event": "billed", …}``."""
Say = Callable[[str], None]
"""Called with a few words on what is being done."""

SERVICE = "emr-serverless"
SUCCESS = "_SUCCESS"
NOTE = "emr.json"
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 5.0, 30.0
# Brokers of MSK listen there for those who log in by IAM, from within the network and from outside.
IAM_PORTS = ("9098", "9198")
IAM_LOGIN = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "AWS_MSK_IAM",
    "sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
    "sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
}
HERE = ("localhost", "127.", "0.0.0.0", "[::1]")  # noqa: S104  nothing listens on them: they are recognized only


class EmrFailed(InsightsError):
    """A job did not finish; the message has the reason and where its log is."""


class LeftRunning(InsightsError):
    """We were asked to stop waiting. The job continues; the message says how to resume or cancel the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmrServerless:
    """An application of EMR Serverless, and ``bucket``, an URI in S3 (``s3://bucket/prefix``) for what a run needs.

    The application's release decides Spark's version, which the jars must fit: spark-8.2 is 4.1. A driver and each
    executor have 4 vCPU and 16 GB.
    """

    application_id: str
    execution_role_arn: str
    bucket: str
    region: str
    endpoint_url: str | None = None
    max_executors: int = 2
    timeout_minutes: int = 720
    sleep: Callable[[float], None] = time.sleep
    rng: Random = field(default_factory=Random)

    def aws(self) -> Aws:
        """A client for AWS' APIs in this region."""
        return Aws(region=self.region, endpoint_url=self.endpoint_url, sleep=self.sleep, rng=self.rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of a run on EMR: its place in S3, its attempt, and the attempt's job once that is submitted."""

    application_id: str
    place: str
    attempt: int = 1
    job: str | None = None

    @property
    def token(self) -> str:
        """Two submissions with one token are one job."""
        return f"{PurePosixPath(self.place).name}-{self.attempt}"


def compute(
    target: EmrServerless, task: Task, jars: Sequence[Path], *, on_event: OnEvent = lambda event: None, say: Say
) -> None:
    """Computes what is not there yet, and brings the results into the task's output. Blocks.

    Raises EmrFailed with the reason, LeftRunning when it is interrupted, Misconfigured when the job could not reach
    what the task reads, and what Aws raises.
    """
    check_reachable(task)
    _Run(target, task, on_event, say).compute(jars)


def cancel(target: EmrServerless, task: Task) -> str | None:
    """Asks AWS to cancel the task's job; its id, or None when none runs. Finished chunks stay."""
    return _Run(target, task, lambda event: None, lambda text: None).cancel()


def check_reachable(task: Task) -> None:
    """Raises Misconfigured when the task reads what is on this machine, where no job on AWS can reach it."""
    problems = []
    if any(i.log for i in task.inputs) and any(is_here(address) for address in task.kafka.split(",")):
        problems.append(f"Kafka is at {task.kafka}")
    warehouse = task.lake.get("warehouse", "")
    if any(i.lake for i in task.inputs) and not warehouse.startswith(("s3://", "s3a://")):
        problems.append(f"the lake is at {warehouse or 'no location'}")
    if problems:
        raise Misconfigured(
            f"EMR Serverless can't reach what this replay reads: {' and '.join(problems)}. It needs Kafka in its own"
            " network and a lake in S3 (docs/emr.md); on this machine use --engine local or duckdb"
        )


def is_here(address: str) -> bool:
    """Is a broker's address one that only this machine can reach?"""
    return address.strip().startswith(HERE)


def kafka_options(task: Task) -> dict[str, str]:
    """Options of Kafka's consumer: a login by IAM if the brokers' port is for that, or the task's."""
    ports = {address.strip().rpartition(":")[2] for address in task.kafka.split(",")}
    return dict(IAM_LOGIN) if ports <= set(IAM_PORTS) else task.kafka_options


def packed(task: Task, place: str, put: Callable[[Path], str]) -> Task:
    """The task as the job gets it: its files in S3, each by ``put``, and its output in the run's place."""

    def in_s3(i: Input) -> Input:
        return replace(i, late={variant: put(Path(path)) if path else "" for variant, path in i.late.items()})

    return replace(
        task,
        inputs=tuple(in_s3(i) for i in task.inputs),
        output=f"{place}/results",
        kafka_options=kafka_options(task),
    )


class _Run:
    """One task on one application, from its note to its results."""

    def __init__(self, target: EmrServerless, task: Task, on_event: OnEvent, say: Say) -> None:
        self._target = target
        self._task = task
        self._on_event = on_event
        self._say = say
        self._aws = target.aws()
        self._results = _path(task.output)
        self._folder = self._results.parent
        self._chunks = [
            f"{variant}/{c.aggregate}/{chunk.name}"
            for variant in task.variants
            for c in task.computations
            for chunk in c.chunks
        ]

    def compute(self, jars: Sequence[Path]) -> None:
        if all((self._results / chunk / SUCCESS).exists() for chunk in self._chunks):
            return
        note = self._noted() or self._write(self._new_note())
        found = self._job_of(note) if note.job else None
        if found is None:
            note = self._submit(replace(note, attempt=note.attempt + bool(note.job), job=None), jars)
        try:
            ended = self._ended(note)
        except KeyboardInterrupt as error:
            raise LeftRunning(self._how_to_go_on(note)) from error
        self._tell_bill(ended)
        if ended["state"] != "SUCCESS":
            # The next time is another attempt; what this one finished stays.
            self._write(replace(note, attempt=note.attempt + 1, job=None))
            raise EmrFailed(self._reason(note, ended))
        self._bring(note)

    def cancel(self) -> str | None:
        note = self._noted()
        found = self._job_of(note) if note and note.job else None
        if not note or not found or found["state"] in ENDED:
            return None
        self._aws.ask(SERVICE, "cancel_job_run", applicationId=note.application_id, jobRunId=note.job)
        return note.job

    # ---- the note ----

    def _noted(self) -> Note | None:
        """What was noted, unless the settings name another application or bucket since."""
        path = self._folder / NOTE
        if not path.exists():
            return None
        note = Note(**json.loads(path.read_text()))
        same = (note.application_id, _parent(note.place)) == (self._target.application_id, self._home("replays"))
        return note if same else None

    def _new_note(self) -> Note:
        # Runs of other deployments, or of a stack that was wiped, may have the same name.
        name = f"{self._task.run}-{secrets.token_hex(6)}"
        return Note(application_id=self._target.application_id, place=f"{self._home('replays')}/{name}")

    def _write(self, note: Note) -> Note:
        path = self._folder / NOTE
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(note)))
        fresh.replace(path)
        return note

    def _home(self, folder: str) -> str:
        return f"{self._target.bucket.rstrip('/')}/{folder}"

    # ---- the job ----

    def _submit(self, note: Note, jars: Sequence[Path]) -> Note:
        self._write(note)
        self._say("uploading the job to S3")
        shared = [self._aws.put(path, self._home("files")) for path in (JOB, FOLDER / "task.py", *jars)]
        job, task_module, *jar_uris = shared
        self._say("submitting the job to EMR Serverless")
        answer = self._aws.ask(
            SERVICE,
            "start_job_run",
            applicationId=note.application_id,
            clientToken=note.token,
            executionRoleArn=self._target.execution_role_arn,
            name=f"insights-replay-{self._task.run}",
            jobDriver={
                "sparkSubmit": {
                    "entryPoint": job,
                    "entryPointArguments": [self._packed(note)],
                    "sparkSubmitParameters": self._parameters(task_module, jar_uris),
                }
            },
            configurationOverrides={
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"{note.place}/logs/"}}
            },
            executionTimeoutMinutes=self._target.timeout_minutes,
        )
        return self._write(replace(note, job=answer["jobRunId"]))

    def _packed(self, note: Note) -> str:
        """URI of the task as the job gets it."""
        inputs = f"{note.place}/inputs"
        path = self._folder / "emr-task.json"
        path.touch(mode=0o600)  # the lake's password may be in it
        path.write_text(packed(self._task, note.place, lambda file: self._aws.put(file, inputs)).to_json())
        return self._aws.put(path, inputs)

    def _parameters(self, task_module: str, jars: Sequence[str]) -> str:
        conf = {
            "spark.jars": ",".join(jars),
            "spark.driver.cores": "4",
            "spark.driver.memory": "14g",
            "spark.executor.cores": "4",
            "spark.executor.memory": "14g",
            "spark.dynamicAllocation.initialExecutors": "1",
            "spark.dynamicAllocation.maxExecutors": str(self._target.max_executors),
            # Chunks are known to be done by it.
            "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "true",
        }
        options = " ".join(f"--conf {name}={value}" for name, value in conf.items() if value)
        return f"--py-files {task_module} {options}"

    def _job_of(self, note: Note) -> dict[str, Any] | None:
        """AWS' record of the note's job; None when AWS knows it no more."""
        try:
            answer = self._aws.ask(SERVICE, "get_job_run", applicationId=note.application_id, jobRunId=note.job)
        except NotThere:
            return None
        found: dict[str, Any] = answer["jobRun"]
        return found

    def _ended(self, note: Note) -> dict[str, Any]:
        """Waits for the job's end and reports progress; returns AWS' record of it."""
        state, seconds = "", FIRST_POLL_SECONDS
        while True:
            job = self._job_of(note)
            if job is None:
                raise EmrFailed(
                    f"EMR Serverless no longer has job {note.job}; run the same plan again to start another"
                )
            if job["state"] != state:
                state, seconds = job["state"], FIRST_POLL_SECONDS
                self._say(f"EMR Serverless: job {note.job} is {state.lower()}")
            self._tell_progress(note)
            if state in ENDED:
                return job
            self._aws.pause(seconds)
            seconds = min(seconds * 1.5, LONGEST_POLL_SECONDS)

    def _tell_progress(self, note: Note) -> None:
        of = sum(piece.records for i in self._task.inputs for piece in (*i.log, *i.lake))
        there = {path for path, _ in self._aws.listed(f"{note.place}/results")}
        done = sum(f"{chunk}/{SUCCESS}" in there for chunk in self._chunks)
        self._on_event({"event": "progress", "records": of * done // max(1, len(self._chunks)), "of": of})

    def _tell_bill(self, job: Mapping[str, Any]) -> None:
        # AWS counts for a while after the end: what is not there yet is not zero.
        if used := job.get("billedResourceUtilization"):
            vcpu, memory = used.get("vCPUHour", 0.0), used.get("memoryGBHour", 0.0)
            self._on_event({"event": "billed", "vcpu_hours": vcpu, "memory_gb_hours": memory})
            self._say(f"EMR Serverless bills {vcpu:.2f} hours of a vCPU and {memory:.2f} of a GB")

    # ---- when it did not go well ----

    def _how_to_go_on(self, note: Note) -> str:
        return (
            f"job {note.job} keeps running on EMR Serverless, at a cost. Run the same plan again to wait for it"
            f" and fetch its results; `insights replay cancel {self._task.run}` stops it"
        )

    def _reason(self, note: Note, job: Mapping[str, Any]) -> str:
        logs = f"{note.place}/logs/applications/{note.application_id}/jobs/{note.job}/SPARK_DRIVER"
        reason = self._driver_words(f"{logs}/stdout.gz") or job.get("stateDetails") or "AWS gives no reason"
        return (
            f"job {note.job} on EMR Serverless {'was cancelled' if job['state'] == 'CANCELLED' else 'failed'}:"
            f" {reason.rstrip('.')}. The driver's log is {logs}/stderr.gz. Finished chunks are kept; running the"
            " same plan again resumes from them"
        )

    def _driver_words(self, uri: str) -> str:
        """The reason that the job itself printed; an empty text when it printed none, or its log has not come yet."""
        path = self._folder / "emr-driver.gz"
        try:
            self._aws.get(uri, path)
            lines = gzip.decompress(path.read_bytes()).decode(errors="replace").splitlines()
            failed = [json.loads(line) for line in lines if line.startswith('{"event": "failed"')]
        except (InsightsError, OSError, EOFError, zlib.error, ValueError):
            # A log that can't be had must not hide that the job failed.
            return ""
        return str(failed[-1]["reason"]) if failed else ""

    # ---- results ----

    def _bring(self, note: Note) -> None:
        """Downloads the chunks that are not here yet. Raises EmrFailed when S3 does not have them whole."""
        self._say("fetching the results from S3")
        results = f"{note.place}/results"
        listed = sorted(self._aws.listed(results))
        files = {
            folder: {PurePosixPath(path).name: size for path, size in group}
            for folder, group in groupby(listed, lambda entry: str(PurePosixPath(entry[0]).parent))
        }
        if missing := [chunk for chunk in self._chunks if SUCCESS not in files.get(chunk, {})]:
            raise EmrFailed(
                f"job {note.job} succeeded, but {results} lacks {len(missing)} of {len(self._chunks)}"
                f" results, the first of them {missing[0]}. The bucket may have been cleaned. `insights replay prune"
                f" {self._task.run}`, and plan again"
            )
        for chunk in self._chunks:
            if not (self._results / chunk / SUCCESS).exists():
                self._bring_chunk(f"{results}/{chunk}", {n: s for n, s in files[chunk].items() if is_result(n)}, chunk)

    def _bring_chunk(self, uri: str, sizes: Mapping[str, int], chunk: str) -> None:
        """One chunk, written elsewhere and then moved to its place: a partial one is never taken for a complete one."""
        part, target = self._folder / "emr-part", self._results / chunk
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name, size in sizes.items():
            came = self._aws.get(f"{uri}/{name}", part / name)
            if came != size:
                raise EmrFailed(f"{uri}/{name} has {came:,} bytes, and {size:,} when it was listed. Run it again")
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.rename(target)


def is_result(name: str) -> bool:
    """Is a file of a chunk's folder one of its results, and not what a committer left behind?"""
    return name == SUCCESS or not name.startswith(("_", "."))


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _parent(uri: str) -> str:
    return uri.rpartition("/")[0]
