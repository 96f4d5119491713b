"""The engines of a replay by name, made from settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

from aggregates.render import Engine
from insights.settings import Settings
from insights.wiring import spark_runtime
from replay.run import ComputeEngine, OnEvent
from schemas.errors import Misconfigured
from spark import emr, local
from spark.task import Task

Say = Callable[[str], None]

# What is too much for Spark's memory goes to its disk. It is what a run that is killed does again: a minute's work.
SPARK_CHUNK_RECORDS = 10_000_000


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
        folder = Path(unquote(urlparse(task.output).path)).parent
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
    }
    if name not in engines:
        raise Misconfigured(f"there is no engine {name!r}; --engine is one of {', '.join(engines)}")
    return engines[name]()
