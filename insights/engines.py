"""The engines of a replay by name, made from settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

from aggregates.render import Engine
from insights.deployment import spark_runtime
from insights.settings import Settings
from replay.run import ComputeEngine, Heard
from schemas.errors import Misconfigured
from spark import local
from spark.task import Task

Say = Callable[[str], None]


class LocalSpark:
    """Spark on this machine, as a child of this process."""

    name = "local"
    dialect = Engine.SPARK
    reads_log = True

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings = settings
        self._say = say

    def compute(self, task: Task, heard: Heard) -> None:
        """Blocks until all is computed. Raises SparkFailed with the reason."""
        folder = Path(unquote(urlparse(task.output).path)).parent
        self._say("starting Spark")
        local.run(
            spark_runtime(self._settings, folder / "spark"),
            local.JOB,
            [str(folder / "task.json")],
            heard=heard,
            said=self._say,
        )


class DuckDb:
    """DuckDB within this process, over the lake alone."""

    name = "duckdb"
    dialect = Engine.DUCKDB
    reads_log = False

    def __init__(self, say: Say) -> None:
        self._say = say

    def compute(self, task: Task, heard: Heard) -> None:
        """Blocks until all is computed. Raises LakeIncomplete, ComputationFailed or NotEnoughRoom."""
        from replay import duck

        records = sum(piece.records for i in task.inputs for piece in (*i.lake, *i.log))

        def report(progress: duck.Progress) -> None:
            self._say(progress.doing)
            heard({"event": "progress", "records": records * progress.done // progress.total, "of": records})

        duck.compute(task, report)


def engine_of(settings: Settings, name: str, say: Say) -> ComputeEngine:
    """The engine of this name. Raises Misconfigured listing those there are."""
    engines: dict[str, Callable[[], ComputeEngine]] = {
        "local": lambda: LocalSpark(settings, say),
        "duckdb": lambda: DuckDb(say),
    }
    if name not in engines:
        raise Misconfigured(f"there is no engine {name!r}; --engine is one of {', '.join(engines)}")
    return engines[name]()
