"""A replay on EMR Serverless, against moto's server: AWS' interface with no Spark behind it.

The tests play the worker, while the engine pauses between two looks, so that no time passes. What was uploaded is all
that a worker has: one runs it in the real Spark, and puts the results in the task's folder. Where it matters only that
there are results, those of a run here are put there.

Longer than 400 lines, because its tests share one AWS server and the worker that they play.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from moto.core.exceptions import JsonRESTError
from moto.emrserverless import models

from insights.engines import engine_of
from schemas.errors import Misconfigured
from spark import aws, local
from spark.emr import IAM_LOGIN, EmrFailed, EmrServerless, LeftRunning, cancel, compute
from spark.task import Slice, Task, read_task
from tests.aggregates import oracle
from tests.aggregates.any_events import any_log
from tests.conftest import free_ports, own_settings
from tests.own_aws import moto_server
from tests.spark.process import SparkProcess, runtime
from tests.spark.replay_on_files import computation, rows, task, with_late, write_log
from tests.spark.test_job import EVENT, MOVES, PUBLISHED_AT, chunks

REGION, ACCOUNT, BUCKET = "eu-central-1", "123456789012", "insights-of-tests"
BROKERS = "b-1.insights.kafka.eu-central-1.amazonaws.com:9098,b-2.insights.kafka.eu-central-1.amazonaws.com:9098"
CUT = chunks(None, "2026-03-02T05:00:00Z", None)
RESULTS = f"only/{MOVES.name}"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-tests")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # A job of moto's has succeeded as it begins, and botocore's own pauses are real ones.
    monkeypatch.setattr(models, "JOB_STATUS", "SUBMITTED")
    monkeypatch.setattr(aws, "BOTOCORE_TRIES", 1)


@dataclass(kw_only=True)
class Emr:
    """EMR Serverless with a worker. ``plan`` is what the worker does in each pause; then it has nothing to do."""

    endpoint: str
    folder: Path
    results: Path
    plan: list[Any] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.s3 = boto3.client("s3", region_name=REGION, endpoint_url=self.endpoint)
        self.prefix = self.folder.name
        emr = boto3.client("emr-serverless", region_name=REGION, endpoint_url=self.endpoint)
        made = emr.create_application(name="insights", releaseLabel="emr-7.12.0", type="SPARK")
        self.application = made["applicationId"]

    @property
    def target(self) -> EmrServerless:
        return EmrServerless(
            application_id=self.application,
            execution_role_arn=f"arn:aws:iam::{ACCOUNT}:role/replay",
            bucket=f"s3://{BUCKET}/{self.prefix}",
            region=REGION,
            endpoint_url=self.endpoint,
            sleep=self.pause,
            rng=Random(1),
        )

    def compute(self, given: Task, *plan: Any) -> None:
        jar = self.folder / "some.jar"
        jar.write_bytes(b"a jar")
        self.plan = list(plan)
        compute(self.target, given, [jar], on_event=self.received.append, say=self.said.append)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.plan.pop(0)()

    @property
    def jobs(self) -> list[Any]:
        backend = models.emrserverless_backends[ACCOUNT][REGION]
        return backend.job_runs.get(self.application, [])

    @property
    def submitted(self) -> dict[str, Any]:
        found: dict[str, Any] = self.jobs[-1].job_driver["sparkSubmit"]
        return found

    @property
    def task(self) -> Task:
        """What the newest job was given."""
        (uri,) = self.submitted["entryPointArguments"]
        return read_task(self.read(uri).decode())

    def read(self, uri: str) -> bytes:
        bucket, key = aws.split_uri(uri)
        content: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def write(self, uri: str, content: bytes) -> None:
        bucket, key = aws.split_uri(uri)
        self.s3.put_object(Bucket=bucket, Key=key, Body=content)

    def uploads(self) -> list[str]:
        """Each version of each object, results and logs aside: two of one are two uploads."""
        versions = self.s3.list_object_versions(Bucket=BUCKET, Prefix=self.prefix).get("Versions", [])
        return sorted(v["Key"] for v in versions if "/results/" not in v["Key"] and "/logs/" not in v["Key"])

    # ---- what a worker does in a pause ----

    def mirrored(self) -> tuple[Path, Task]:
        """Everything of the bucket in a folder, and the task with that folder for the bucket: Spark here has no S3."""
        mirror = self.folder / f"worker-{len(self.jobs)}"
        for entry in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=self.prefix)["Contents"]:
            path = mirror / entry["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(f"s3://{BUCKET}/{entry['Key']}"))
        return mirror, read_task(self.task.to_json().replace(f"s3://{BUCKET}", mirror.as_uri()))

    def run(self) -> None:
        self.jobs[-1].state = "RUNNING"

    def finish(self, *chunks: str) -> None:
        """Puts the results of chunks in the task's folder, with all that Spark leaves in their folders."""
        for chunk in chunks:
            for path in (self.results / RESULTS / chunk).iterdir():
                self.write(f"{self.task.output}/{path.relative_to(self.results)}", path.read_bytes())

    def succeed(self) -> None:
        self.finish(*(chunk.name for chunk in CUT))
        self.end("SUCCESS")

    def end(self, state: str, details: str = "") -> None:
        job = self.jobs[-1]
        job.state, job.state_details = state, details
        job.billed_resource_utilization = {"vCPUHour": 0.25, "memoryGBHour": 1.0, "storageGBHour": 0.0}


@pytest.fixture
def emr(endpoint: str, run_here: Path, tmp_path: Path) -> Emr:
    found = Emr(endpoint=endpoint, folder=tmp_path, results=run_here / "out")
    location: Any = {"LocationConstraint": REGION}
    if BUCKET not in [bucket["Name"] for bucket in found.s3.list_buckets()["Buckets"]]:
        found.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
        found.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return found


def moves_task(folder: Path) -> Task:
    """A task over a log in files, cut into chunks and with late records."""
    moves = any_log(3, events_a_topic=300)[EVENT]
    late = [oracle.place(moves, number) for number in range(40, 80)]
    read = with_late(write_log(folder, EVENT, moves, PUBLISHED_AT), late, folder)
    return replace(task(folder, [read], [computation(MOVES, tuple(CUT))]), kafka=BROKERS)


@pytest.fixture
def given(tmp_path: Path) -> Task:
    return moves_task(tmp_path)


@pytest.fixture(scope="module")
def run_here(spark: SparkProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the same task by Spark here."""
    folder = tmp_path_factory.mktemp("run-here")
    spark.recompute(moves_task(folder), folder)
    return folder


@pytest.fixture(scope="module")
def expected(run_here: Path) -> list[Any]:
    found = rows(run_here, MOVES)
    assert found
    return found


def test_a_replay_on_emr_brings_the_rows_that_one_here_computes(
    emr: Emr, spark: SparkProcess, given: Task, expected: list[Any], tmp_path: Path
) -> None:
    """What was uploaded is run by a Spark, and the log is all else that it has."""

    def work() -> None:
        mirror, there = emr.mirrored()
        spark.recompute(there, tmp_path)
        emr.results = mirror / Path(there.output.removeprefix("file://")).relative_to(mirror)
        emr.finish(CUT[0].name)

    emr.compute(given, emr.run, work, emr.succeed)
    assert rows(tmp_path, MOVES) == expected
    told = [event["records"] for event in emr.received if event["event"] == "progress"]
    assert told == [0, 0, 150, 300], "it is told by chunks that are done"
    assert emr.received[-1] == {"event": "billed", "vcpu_hours": 0.25, "memory_gb_hours": 1.0}
    brought = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(name == "_SUCCESS" or name.endswith(".parquet") for name in brought), "and not Spark's checksums"
    assert [job.client_token[-2:] for job in emr.jobs] == ["-1"]


def test_the_job_is_the_one_that_runs_here(emr: Emr, given: Task) -> None:
    emr.compute(given, emr.succeed)
    assert emr.read(emr.submitted["entryPoint"]) == local.JOB.read_bytes()
    options = emr.submitted["sparkSubmitParameters"].split()
    assert options[0] == "--py-files"
    assert options[1].endswith("/task.py")
    assert emr.read(options[1]) == (local.FOLDER / "task.py").read_bytes()
    (jars,) = [option for option in options if option.startswith("spark.jars=")]
    assert emr.read(jars.removeprefix("spark.jars=")) == b"a jar"
    assert emr.task.kafka_options == IAM_LOGIN
    assert emr.task.output.startswith(f"s3://{BUCKET}/")
    logs = emr.jobs[-1].configuration_overrides["monitoringConfiguration"]["s3MonitoringConfiguration"]["logUri"]
    assert logs == emr.task.output.removesuffix("results") + "logs/"


def test_a_job_that_is_left_is_taken_up_and_nothing_is_done_twice(
    emr: Emr, given: Task, expected: list[Any], tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(
        LeftRunning, match=r"keeps running on EMR Serverless.* Run the same plan again .*replay cancel test"
    ):
        emr.compute(given, interrupt)
    uploads = emr.uploads()
    emr.compute(given, emr.succeed)
    assert len(emr.jobs) == 1
    assert emr.uploads() == uploads
    assert len(uploads) == len(set(uploads)) == 5, "job, task.py, jar, late file, task"
    assert rows(tmp_path, MOVES) == expected
    emr.compute(given)
    assert len(emr.jobs) == 1, "what is here is not asked for again"


def test_a_kill_before_the_jobs_number_is_noted_submits_the_same_again(emr: Emr, given: Task, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        emr.compute(given, lambda: 1 // 0)
    note = tmp_path / "emr.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "job": None}))
    uploads = emr.uploads()
    emr.compute(given, emr.succeed)
    first, second = emr.jobs  # AWS would have made one of the two; moto does not know tokens
    assert first.client_token == second.client_token
    assert first.job_driver == second.job_driver
    assert emr.uploads() == uploads


def test_results_that_came_half_are_brought_again(emr: Emr, given: Task, expected: list[Any], tmp_path: Path) -> None:
    emr.compute(given, emr.succeed)
    whole, half = (tmp_path / "out" / RESULTS / chunk.name for chunk in CUT)
    (half / "_SUCCESS").unlink()
    (half / "part-half.parquet").write_bytes(b"half a file")
    (tmp_path / "emr-part").mkdir()
    (tmp_path / "emr-part" / "part-older.parquet").write_bytes(b"of a download that was killed")
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    emr.compute(given)
    assert rows(tmp_path, MOVES) == expected
    assert len(emr.jobs) == 1
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_another_attempt_goes_on_from_the_chunks_that_a_failed_one_finished(
    emr: Emr, given: Task, expected: list[Any], tmp_path: Path
) -> None:
    def fail() -> None:
        emr.finish(CUT[0].name)
        emr.end("FAILED", "Job failed, please check complete logs in configured logging destination.")

    with pytest.raises(EmrFailed, match=r"failed: Job failed.*destination\. The driver's log is s3://.*/stderr\.gz"):
        emr.compute(given, fail)
    assert not (tmp_path / "out").exists()
    first = emr.task

    def finish_the_rest() -> None:
        emr.finish(CUT[1].name)
        emr.end("SUCCESS")

    emr.compute(given, finish_the_rest)
    assert emr.task == first, "its output too: a chunk that is there is not computed again"
    assert rows(tmp_path, MOVES) == expected
    assert [job.client_token[-2:] for job in emr.jobs] == ["-1", "-2"]


def test_a_failed_job_is_reported_with_its_own_message(emr: Emr, given: Task, tmp_path: Path) -> None:
    """The uploaded files alone, started as EMR starts them, without the jar that logs in to Kafka by IAM."""

    def fail() -> None:
        mirror, there = emr.mirrored()
        script = tmp_path / "driver" / "job.py"
        script.parent.mkdir()
        script.write_bytes(emr.read(emr.submitted["entryPoint"]))
        (script.parent / "task.py").write_bytes(emr.read(emr.submitted["sparkSubmitParameters"].split()[1]))
        (mirror / "task.json").write_text(there.to_json())
        with pytest.raises(local.SparkFailed) as failed:
            local.run(runtime(tmp_path / "spark"), script, [str(mirror / "task.json")])
        printed = json.dumps({"event": "failed", "reason": str(failed.value)})
        logs = f"{there.output.removesuffix('results')}logs".replace(mirror.as_uri(), f"s3://{BUCKET}")
        driver = f"{logs}/applications/{emr.application}/jobs/{emr.jobs[-1].id}/SPARK_DRIVER/stdout.gz"
        emr.write(driver, gzip.compress(f"words of a library\n{printed}\n".encode()))
        emr.end("FAILED", "Job failed, please check complete logs in configured logging destination.")

    with pytest.raises(EmrFailed, match=r"failed: reading inventory.*IAMClientCallbackHandler could not be found"):
        emr.compute(given, fail)


def test_a_job_is_cancelled_when_that_is_asked_for(emr: Emr, given: Task) -> None:
    assert cancel(emr.target, given) is None, "there is none yet"
    found: list[str | None] = []
    with pytest.raises(EmrFailed, match="was cancelled"):
        emr.compute(given, lambda: found.append(cancel(emr.target, given)))
    assert found == [emr.jobs[0].id]
    assert cancel(emr.target, given) is None, "it has ended"


def test_a_success_without_results_is_none(emr: Emr, given: Task, tmp_path: Path) -> None:
    def pretend() -> None:
        emr.finish(CUT[0].name)
        emr.end("SUCCESS")

    with pytest.raises(EmrFailed, match=f"lacks 1 of 2 results, the first of them {RESULTS}/chunk-1"):
        emr.compute(given, pretend)
    assert not (tmp_path / "out").exists()


def test_a_request_that_aws_has_no_time_for_is_made_again(
    emr: Emr, given: Task, expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Throttled(JsonRESTError):
        code = 429

    refusals = [Throttled("ThrottlingException", "Rate exceeded") for _ in range(4)]
    answer = models.EMRServerlessBackend.get_job_run

    def now_and_then(self: Any, *arguments: Any, **named: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return answer(self, *arguments, **named)

    monkeypatch.setattr(models.EMRServerlessBackend, "get_job_run", now_and_then)
    emr.compute(given, *[lambda: None] * 4, emr.succeed)
    assert not refusals
    assert emr.pauses[:4] == sorted(emr.pauses[:4]), "each is longer"
    assert rows(tmp_path, MOVES) == expected


def test_when_aws_can_not_be_reached_it_is_retried_and_then_reported(emr: Emr, given: Task) -> None:
    (port,) = free_ports(1)
    emr.endpoint = f"http://127.0.0.1:{port}"
    with pytest.raises(
        aws.AwsUnavailable, match=r"AWS can't be reached \(s3 head_object: .*Check the network and try again"
    ):
        emr.compute(given, *[lambda: None] * 20)
    assert len(emr.pauses) == aws.TRIES - 1


def test_an_application_that_is_not_there_is_named(emr: Emr, given: Task) -> None:
    emr.application = "00nosuchapp"
    with pytest.raises(aws.NotThere, match=r"start_job_run .*00nosuchapp.*docs/emr\.md"):
        emr.compute(given)


def test_without_credentials_the_message_says_how_to_get_some(
    emr: Emr, given: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    with pytest.raises(Misconfigured, match="there are no AWS credentials: `aws configure`"):
        emr.compute(given)
    assert emr.pauses == []


def test_what_only_this_machine_can_reach_is_refused_before_anything_is_uploaded(emr: Emr, given: Task) -> None:
    archived = tuple(replace(i, lake=(Slice(partition=9, from_offset=0, until_offset=5),)) for i in given.inputs)
    here = replace(given, kafka="127.0.0.1:19092", inputs=archived, lake={"type": "sql", "warehouse": "file:///lake"})
    with pytest.raises(Misconfigured, match=r"Kafka is at 127.* and the lake is at file:///lake\. .*--engine local"):
        emr.compute(here)
    assert emr.uploads() == []


def test_settings_that_are_missing_are_all_named(tmp_path: Path) -> None:
    settings = own_settings(tmp_path, emr_application="00abc", emr_role=None, emr_bucket=None, emr_region=None)
    with pytest.raises(Misconfigured, match="needs INSIGHTS_EMR_ROLE, INSIGHTS_EMR_BUCKET, INSIGHTS_EMR_REGION"):
        engine_of(settings, "emr", lambda text: None)
