"""One Spark for all tests that need no stack: the job's own code runs in one Java process next to pytest."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from insights import jars
from insights.settings import load_settings
from insights.wiring import spark_runtime
from schemas.catalogue import event
from spark.local import SparkRuntime, started
from spark.task import Task

INTERPRETER = Path(__file__).parent / "interpreter.py"
ANSWER_SECONDS = 480


class SparkRefused(Exception):
    """What the job gave as the reason."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """SQL for Spark over the views of ``inputs``: ``{"event": ..., "table": ..., "schema": ...}`` each."""

    sql: str
    time_column: str
    inputs: tuple[dict[str, str], ...]


class SparkProcess:
    """Answers one request at a time. Raises SparkRefused with the job's reason when it fails."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def recompute(self, task: Task, log: Path) -> list[dict[str, Any]]:
        """Runs a task with Parquet files in ``log`` for its topics; its messages on the way."""
        said: list[dict[str, Any]] = self._ask({"wanted": "recompute", "task": task.to_json(), "log": str(log)})
        return said

    def describe(self, queries: list[Query]) -> list[dict[str, Any]]:
        """Of each query ``{"columns": {name: type}}``, or ``{"error": text}``."""
        found: list[dict[str, Any]] = self._ask({"wanted": "describe", "queries": [vars(q) for q in queries]})
        return found

    def reads(self, name: str, sql: str) -> list[str]:
        """Paths of the fields that are decoded of an event's records for a query: ``["lines.quantity"]``."""
        e = event(name)
        fields: list[str] = self._ask({"wanted": "reads", "schema": e.schema_text, "table": e.table, "sql": sql})
        return fields

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            line = ""
        if not line:
            raise AssertionError(f"Spark did not answer; its last words: {self._log.read_text()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise SparkRefused(answer["error"])
        return answer["answer"]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


def runtime(folder: Path) -> SparkRuntime:
    """Spark as a replay uses it, with its jars, and with a Java that is quick to begin."""
    settings = load_settings()
    jars.fetch(settings.jars, repository=settings.maven_repository)
    return replace(spark_runtime(settings, folder), java_options=("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"))


@contextmanager
def spark_process(folder: Path) -> Iterator[SparkProcess]:
    """A Spark of our own; it ends at the end of its input."""
    here = runtime(folder)
    with started(here, [str(INTERPRETER)]) as process:
        yield SparkProcess(process, here.log)


RUNNING = pytest.StashKey[SparkProcess]()


def shared_spark(config: pytest.Config) -> SparkProcess:
    """The test run's one Spark, started when it is first asked for."""
    if RUNNING not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="spark-of-tests-")
        config.add_cleanup(folder.cleanup)
        running = spark_process(Path(folder.name))
        config.stash[RUNNING] = running.__enter__()
        config.add_cleanup(lambda: running.__exit__(None, None, None))
    return config.stash[RUNNING]
