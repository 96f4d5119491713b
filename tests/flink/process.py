"""One Flink for all tests that need no cluster: plan and job run in one Java process next to pytest."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from insights import jars
from insights.java import java_home
from insights.settings import load_settings
from insights.wiring import COMPILED_THOUGH_LONG, FLINK_ENVIRONMENT, QUICK_START, flink_home

INTERPRETER = Path(__file__).parent / "interpreter.py"
ANSWER_SECONDS = 480


class FlinkRefused(Exception):
    """Flink's answer: the message of its exception, causes included."""

    def __str__(self) -> str:
        causes = [line for line in str(self.args[0]).splitlines() if line.startswith("Caused by:")]
        return "\n".join(causes[-3:]) or str(self.args[0])


@dataclass(frozen=True, kw_only=True)
class Part:
    """Statements and inserts that share names; other parts of the same job do not see them."""

    name: str
    statements: list[str]
    inserts: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)


class FlinkProcess:
    """Answers one request at a time. Raises FlinkRefused, with Flink's reason, when a statement or the job fails."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, settings: dict[str, str], parts: list[Part]) -> None:
        """Runs all inserts of the parts as one job, to its end."""
        self._ask("run", settings, parts)

    def explain(self, settings: dict[str, str], parts: list[Part]) -> str:
        """The plan of the job that would run."""
        return str(self._ask("explain", settings, parts))

    def describe(self, settings: dict[str, str], parts: list[Part]) -> list[dict[str, str]]:
        """{column: type} of each of the parts' queries."""
        described: list[dict[str, str]] = self._ask("describe", settings, parts)
        return described

    def plan(self, settings: dict[str, str], part: Part) -> list[dict[str, Any]]:
        """Of each of the part's queries ``{"columns": {name: type}}``, or ``{"error": text}`` when it has no plan."""
        planned: list[dict[str, Any]] = self._ask("plan", settings, [part])
        return planned

    def _ask(self, wanted: str, settings: dict[str, str], parts: list[Part]) -> Any:
        assert self._process.stdin is not None
        request = {"wanted": wanted, "settings": settings, "parts": [vars(part) for part in parts]}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            line = ""
        if not line:
            raise AssertionError(f"Flink did not answer; its last words: {self._log.read_text()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise FlinkRefused(answer["error"])
        return answer["answer"]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


@contextmanager
def flink_process(
    folder: Path, more: Collection[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[FlinkProcess]:
    """A Flink of our own with the same class path as the cluster's, and ``more`` parts of insights/jars.toml."""
    settings = load_settings()
    jars.fetch(settings.jars, parts=(*jars.STACK, *more), repository=settings.maven_repository)
    jars.link_flink(settings.jars, flink_home(), folder / "lib", more)
    log = folder / "interpreter.log"
    variables = {
        "PATH": f"{java_home() / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "JAVA_HOME": str(java_home()),
        # Without a home of its own pyflink looks for one, and ignores the folder of jars that it was given.
        "FLINK_HOME": str(flink_home()),
        "FLINK_LIB_DIR": str(folder / "lib"),
        "FLINK_LOG_DIR": str(folder),
        "JVM_ARGS": f"-Xmx1g -XX:+UseSerialGC {QUICK_START} {COMPILED_THOUGH_LONG} -Duser.timezone=UTC",
        "LC_ALL": "C.UTF-8",
        **(environment or {}),
    }
    command = [str(FLINK_ENVIRONMENT / "bin" / "python"), str(INTERPRETER)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield FlinkProcess(process, log)
        finally:
            # At the end of its input the interpreter ends, and Java with it.
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


RUNNING = pytest.StashKey[FlinkProcess]()


def shared_flink(config: pytest.Config) -> FlinkProcess:
    """The test run's one Flink, started when it is first asked for."""
    if RUNNING not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="flink-of-tests-")
        config.add_cleanup(folder.cleanup)
        running = flink_process(Path(folder.name))
        config.stash[RUNNING] = running.__enter__()
        config.add_cleanup(lambda: running.__exit__(None, None, None))
    return config.stash[RUNNING]
