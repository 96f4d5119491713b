"""The engines of a replay by name, made from settings."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

from aggregates.render import Engine
from insights.settings import Settings
from insights.wiring import spark_runtime
from replay.result import SUCCESS
from replay.run import ComputeEngine, OnEvent
from schemas.errors import Misconfigured
from spark import emr, local
from spark.task import Task

Say = Callable[[str], None]

# What is too much for Spark's memory goes to its disk. It is what a run that is killed does again: a minute's work.
SPARK_CHUNK_RECORDS = 10_000_000
POLL_SECONDS = 5.0


class LocalSpark:
    """Spark on this machine, as a child of this process."""

    name = "local"
    dialect = Engine.SPARK
    reads_log = True
    chunk_records = SPARK_CHUNK_RECORDS

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings = settings
        self._say = say

    def compute(self, task: Task, on_event: OnEvent) -> None:
        """Blocks until all is computed. Raises SparkFailed with the reason."""
        folder = _path(task.output).parent
        self._say("starting Spark")
        local.run(
            spark_runtime(self._settings, folder / "spark"),
            local.JOB,
            [str(folder / "task.json")],
            on_event=on_event,
            say=self._say,
        )


class EmrSpark:
    """Spark on EMR Serverless, with the same job as on this machine."""

    name = "emr"
    dialect = Engine.SPARK
    reads_log = True
    chunk_records = SPARK_CHUNK_RECORDS

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings = settings
        self._target = emr_target(settings)
        self._say = say

    def compute(self, task: Task, on_event: OnEvent) -> None:
        """Blocks until all is computed and here. Raises what spark.emr.compute does, and JarUnavailable."""
        emr.check_reachable(task)
        emr.compute(self._target, task, self.jars(), on_event=on_event, say=self._say)

    def jars(self) -> tuple[Path, ...]:
        """The jars of a job on EMR. Downloads what is missing. Raises JarUnavailable."""
        from insights import jars

        folder = self._settings.jars
        jars.fetch(folder, parts=("flink", "spark", "s3", "iam"), repository=self._settings.maven_repository)
        on_aws = {*jars.of_part("s3", folder), *jars.of_part("iam", folder)}
        return tuple(sorted({*spark_runtime(self._settings, folder).jars} | on_aws))


class SparkOnKubernetes:
    """Spark that its operator runs in pods of their own: helm/insights-hub starts them on a run's task."""

    name = "kubernetes"
    dialect = Engine.SPARK
    reads_log = True
    chunk_records = SPARK_CHUNK_RECORDS

    def __init__(self, settings: Settings, say: Say, pause: Callable[[float], object] = time.sleep) -> None:
        self._settings = settings
        self._say = say
        self._pause = pause

    def compute(self, task: Task, on_event: OnEvent) -> None:
        """Blocks until every chunk is there, however long nobody computes them. Raises Misconfigured without jars."""
        folder = _path(task.output).parent
        self._hand_over(folder.parent / "files")
        self._say(f"waiting for Spark: give the chart spark.run={task.run} (docs/kubernetes.md)")
        chunks = [
            _path(task.folder(variant, computation.aggregate, chunk)) / SUCCESS
            for variant in task.variants
            for computation in task.computations
            for chunk in computation.chunks
        ]
        records = sum(piece.records for i in task.inputs for piece in (*i.lake, *i.log))
        while (done := sum(chunk.exists() for chunk in chunks)) < len(chunks):
            on_event({"event": "progress", "records": records * done // len(chunks), "of": records})
            self._pause(POLL_SECONDS)

    def _hand_over(self, folder: Path) -> None:
        """Job and jars where Spark's pods find them; what is there is left alone, but for another release's jars."""
        folder.mkdir(parents=True, exist_ok=True)
        jars = spark_runtime(self._settings, folder).jars
        for other in {*folder.glob("*.jar")} - {folder / jar.name for jar in jars}:
            other.unlink()
        for file in (local.JOB, local.JOB.with_name("task.py"), *jars):
            if not file.is_file():
                raise Misconfigured(f"Spark lacks {file.name} in {file.parent}; `insights up` downloads it")
            there = folder / file.name
            if not there.exists() or there.read_bytes() != file.read_bytes():
                part = there.with_name(f"{file.name}.part")
                shutil.copy(file, part)
                part.replace(there)


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


def emr_target(settings: Settings) -> emr.EmrServerless:
    """Where on AWS jobs run. Raises Misconfigured naming all settings that are missing."""
    given = {name: getattr(settings, name) for name in ("emr_application", "emr_role", "emr_bucket", "emr_region")}
    if missing := [Settings.variable(name) for name, value in given.items() if not value]:
        raise Misconfigured(f"--engine emr needs {', '.join(missing)} (docs/emr.md), in the environment or in .env")
    return emr.EmrServerless(
        application_id=given["emr_application"],
        execution_role_arn=given["emr_role"],
        bucket=given["emr_bucket"],
        region=given["emr_region"],
        max_executors=settings.emr_max_executors,
    )


class DuckDb:
    """DuckDB within this process, over the lake alone."""

    name = "duckdb"
    dialect = Engine.DUCKDB
    reads_log = False
    # With them grows what it holds in memory.
    chunk_records = 2_000_000

    def __init__(self, say: Say) -> None:
        self._say = say

    def compute(self, task: Task, on_event: OnEvent) -> None:
        """Blocks until all is computed. Raises LakeIncomplete, ComputationFailed or NotEnoughRoom."""
        from replay.duckdb import engine as duckdb_engine

        records = sum(piece.records for i in task.inputs for piece in (*i.lake, *i.log))

        def report(progress: duckdb_engine.Progress) -> None:
            self._say(progress.doing)
            on_event({"event": "progress", "records": records * progress.done // max(1, progress.total), "of": records})

        duckdb_engine.compute(task, report)


def engine_of(settings: Settings, name: str, say: Say) -> ComputeEngine:
    """The engine of this name. Raises Misconfigured listing those there are."""
    engines: dict[str, Callable[[], ComputeEngine]] = {
        "local": lambda: LocalSpark(settings, say),
        "duckdb": lambda: DuckDb(say),
        "emr": lambda: EmrSpark(settings, say),
        "kubernetes": lambda: SparkOnKubernetes(settings, say),
    }
    if name not in engines:
        raise Misconfigured(f"there is no engine {name!r}; --engine is one of {', '.join(engines)}")
    return engines[name]()
