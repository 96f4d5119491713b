"""Spark on this machine: a script of this folder, run in Spark's own environment as a child of this process.

What the script prints are lines of JSON, each with an ``event``. ``failed`` has a ``reason`` and ends it; the others
are passed on. All other output of Spark is in ``spark.log`` in the work folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import EXIT_WITH_PARENT
from schemas.aws import login
from schemas.errors import InsightsError, Misconfigured

FOLDER = Path(__file__).parent
JOB = FOLDER / "job.py"
GRACE_SECONDS = 20.0
# Spark asks for a module of Java that the runtime from the wheel does not have, and works without it.
JAVA = """#!/bin/bash
arguments=()
for argument in "$@"; do
    [ "$argument" = --add-modules=jdk.incubator.vector ] || arguments+=("$argument")
done
exec {java} "${{arguments[@]}}"
"""
LOGGING = """rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
"""

OnEvent = Callable[[dict[str, Any]], None]
"""Called with each event that the script prints."""
Say = Callable[[str], None]
"""Called with a few words on what takes time before the script starts."""


class SparkFailed(InsightsError):
    """A script did not finish; the message has the reason and where the log is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkRuntime:
    """Where Spark runs. ``java_home`` is a plain Java; ``bootstrap`` makes the environment that ``python`` is in.

    ``work_dir`` takes all that a run leaves on disk, and belongs to one run at a time. ``memory`` is Java's heap.
    """

    python: Path
    bootstrap: Path
    java_home: Path
    jars: tuple[Path, ...]
    work_dir: Path
    cores: str = "*"
    memory: str = "2g"
    java_options: tuple[str, ...] = ("-XX:+UseParallelGC",)

    @property
    def log(self) -> Path:
        """Where Spark's output goes."""
        return self.work_dir / "spark.log"


def run(
    runtime: SparkRuntime,
    script: Path,
    arguments: Sequence[str] = (),
    *,
    on_event: OnEvent = lambda event: None,
    say: Say = lambda text: None,
) -> None:
    """Runs a script to its end: it ends when this process does, or when ``on_event`` raises. Blocks.

    Raises SparkFailed with the script's reason, Misconfigured when the environment can't be made.
    """
    with started(runtime, [str(EXIT_WITH_PARENT), str(script), *arguments], say=say) as process:
        reason = _listen(process, on_event)
        if process.wait() or reason:
            raise SparkFailed(
                f"{(reason or _last_words(runtime.log)).rstrip('.')}. Spark's log is {runtime.log}. Finished work"
                " is kept: fix the cause and run it again"
            )


@contextmanager
def started(
    runtime: SparkRuntime, command: Sequence[str], *, say: Say = lambda text: None
) -> Iterator[subprocess.Popen[str]]:
    """Spark's Python with a command line; standard input and output are pipes. Leaving closes the first and ends it."""
    make_environment(runtime, say)
    conf = _written_conf(runtime)
    with (
        runtime.log.open("w") as log,
        # A session of its own: Ctrl-C is for us to answer.
        subprocess.Popen(
            [str(runtime.python), *command],
            env=_environment(runtime, conf),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            _end(process)
            shutil.rmtree(runtime.work_dir / "local", ignore_errors=True)


def make_environment(runtime: SparkRuntime, say: Say) -> None:
    """Makes or brings up to date Spark's environment; milliseconds when it is as locked. Raises Misconfigured."""
    if gone := [jar.name for jar in runtime.jars if not jar.is_file()]:
        raise Misconfigured(f"Spark lacks {', '.join(gone)} in {runtime.jars[0].parent}; `insights up` downloads them")
    if not runtime.python.exists():
        say(f"creating Spark's environment in {runtime.python.parent.parent}, once")
    done = subprocess.run(
        [sys.executable, str(runtime.bootstrap), "spark"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Misconfigured(f"Spark's environment could not be created: {done.stderr.strip()[-800:]}")


def _written_conf(runtime: SparkRuntime) -> Path:
    """Spark's configuration and the Java it is to use, rewritten each time."""
    conf = runtime.work_dir / "conf"
    shutil.rmtree(runtime.work_dir / "local", ignore_errors=True)
    for folder in (conf / "java" / "bin", runtime.work_dir / "local"):
        folder.mkdir(parents=True, exist_ok=True)
    java = conf / "java" / "bin" / "java"
    java.write_text(JAVA.format(java=_quoted(runtime.java_home / "bin" / "java")))
    java.chmod(0o755)
    (conf / "spark-defaults.conf").write_text("".join(f"{k} {v}\n" for k, v in _defaults(runtime).items()))
    (conf / "log4j2.properties").write_text(LOGGING)
    return conf


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _defaults(runtime: SparkRuntime) -> dict[str, str]:
    """What is so because Spark runs here. What a result depends on is set in the script itself."""
    local = runtime.work_dir / "local"
    return {
        "spark.master": f"local[{runtime.cores}]",
        # Not spark.jars, which Spark copies for each run and loads by a class loader of its own.
        "spark.driver.extraClassPath": ":".join(str(jar.absolute()) for jar in runtime.jars),
        "spark.driver.memory": runtime.memory,
        "spark.driver.extraJavaOptions": " ".join(
            (*runtime.java_options, "-XX:+ExitOnOutOfMemoryError", "-Duser.timezone=UTC")
        ),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(local),
        "spark.sql.warehouse.dir": (local / "warehouse").as_uri(),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


def _environment(runtime: SparkRuntime, conf: Path) -> dict[str, str]:
    java_home = conf / "java"
    return {
        "PATH": f"{java_home / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(runtime.work_dir),
        "JAVA_HOME": str(java_home),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": str(runtime.python),
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **login(),
    }


def _listen(process: subprocess.Popen[str], on_event: OnEvent) -> str:
    """Hands on what the script prints until it closes its output; the reason that it failed for, or an empty text."""
    assert process.stdout is not None
    reason = ""
    for line in process.stdout:
        if not line.startswith("{"):
            continue
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "failed":
            reason = event["reason"]
        else:
            on_event(event)
    return reason


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")] or lines
    return (
        f"Spark ended during the run: {causes[-1][:600]}" if causes else "Spark ended during the run without a message"
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Closes the script's input, and waits until Java is gone too; what stays is killed. At most GRACE_SECONDS."""
    assert process.stdin is not None
    process.stdin.close()
    deadline = time.monotonic() + GRACE_SECONDS
    while process.poll() is None or _has_members(process.pid):
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
