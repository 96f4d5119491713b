"""Flink: a session cluster of one JobManager and one TaskManager, from the wheel's own scripts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from insights.settings import HOST, Settings
from insights.stack import jars
from insights.stack.java import java_environment
from insights.stack.layout import Layout
from insights.stack.part import CHECK_SECONDS, Part, answers_http
from schemas.errors import Misconfigured

LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
logger.pekko.name = org.apache.pekko
logger.pekko.level = WARN
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.hadoop.name = org.apache.hadoop
logger.hadoop.level = ERROR
"""


def flink_home(settings: Settings) -> Path:
    """Flink's own files inside its environment. Raises Misconfigured when they are not there."""
    found = sorted(settings.flink_venv.glob("lib/python3*/site-packages/pyflink"))
    if not found:
        raise Misconfigured(
            f"there is no Flink in {settings.flink_venv}; `make up` installs it, INSIGHTS_FLINK_VENV says where it is"
        )
    return found[0]


def prepare(settings: Settings, layout: Layout) -> None:
    """Writes Flink's configuration and links every jar of its class path into one folder."""
    layout.flink_config.mkdir(parents=True, exist_ok=True)
    home = flink_home(settings)
    (layout.flink_config / "config.yaml").write_text(yaml.safe_dump(configuration(settings, layout, home), width=10_000))
    for name in ("log4j-console.properties", "log4j-cli.properties"):
        (layout.flink_config / name).write_text(LOG4J)
    wanted = {path.name: path for path in (*home.glob("lib/*.jar"), *home.glob("opt/flink-python-*.jar"))}
    # Hadoop and flink-python must be on the cluster's own class path; in a job's they fail from the second job on.
    wanted |= {path.name: path for path in jars.of_part("flink", layout.jars)}
    link_all(layout.flink_lib, wanted)


def link_all(folder: Path, wanted: Mapping[str, Path]) -> None:
    """Makes the folder hold exactly these links."""
    folder.mkdir(parents=True, exist_ok=True)
    for link in folder.iterdir():
        if link.name not in wanted or link.readlink() != wanted[link.name]:
            link.unlink()
    for name, path in wanted.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(path)


def configuration(settings: Settings, layout: Layout, home: Path) -> dict[str, Any]:
    """Flink's config.yaml: the wheel's own module openings for Java 21, and everything on loopback."""
    stock = yaml.safe_load((home / "conf" / "config.yaml").read_text())
    openings = stock["env"]["java"]["opts"]["all"]
    return {
        "env.java.opts.all": f"{openings} -Duser.timezone=UTC",
        "env.java.opts.taskmanager": "-XX:+ExitOnOutOfMemoryError",
        "jobmanager.bind-host": HOST,
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": settings.flink_rpc_port,
        "jobmanager.memory.process.size": f"{settings.flink_jobmanager_mb}m",
        "jobmanager.execution.failover-strategy": "region",
        "taskmanager.bind-host": HOST,
        "taskmanager.host": HOST,
        # Every other port is taken as it is free, so that two stacks never collide.
        "taskmanager.rpc.port": "0",
        "taskmanager.data.port": 0,
        "blob.server.port": "0",
        "metrics.internal.query-service.port": "0",
        "taskmanager.numberOfTaskSlots": settings.flink_slots,
        "taskmanager.memory.process.size": f"{settings.flink_taskmanager_mb}m",
        "taskmanager.memory.managed.fraction": 0.1,
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": settings.flink_port,
        "rest.flamegraph.enabled": True,
        "web.submit.enable": False,
        "web.log.path": str(layout.log("jobmanager")),
        "taskmanager.log.path": str(layout.log("taskmanager")),
        "io.tmp.dirs": str(layout.work),
        # A killed TaskManager is noticed in seconds; a long garbage collection is not taken for one.
        "heartbeat.interval": "3 s",
        "heartbeat.timeout": "30 s",
        "state.backend.type": "hashmap",
        "execution.checkpointing.dir": (layout.snapshots / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (layout.snapshots / "savepoints").as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": 3,
        "classloader.check-leaked-classloader": False,
    }


def _environment(settings: Settings, layout: Layout) -> dict[str, str]:
    return {
        **java_environment(),
        "FLINK_CONF_DIR": str(layout.flink_config),
        "FLINK_LIB_DIR": str(layout.flink_lib),
        "FLINK_LOG_DIR": str(layout.logs),
        "FLINK_PID_DIR": str(layout.work),
    }


def flink_parts(settings: Settings, layout: Layout) -> tuple[Part, Part]:
    """JobManager and TaskManager. They start side by side: the TaskManager waits for the JobManager by itself."""
    scripts = flink_home(settings) / "bin"
    jobmanager = Part(
        name="jobmanager",
        command=("bash", str(scripts / "jobmanager.sh"), "start-foreground"),
        environment=_environment(settings, layout),
        folder=layout.work,
        healthy=lambda: answers_http(f"{settings.flink}/config"),
        endpoint=settings.flink,
        ports=("flink_port", "flink_rpc_port"),
        prepare=lambda: prepare(settings, layout),
        stop_seconds=20,
    )
    taskmanager = Part(
        name="taskmanager",
        command=("bash", str(scripts / "taskmanager.sh"), "start-foreground"),
        environment=_environment(settings, layout),
        folder=layout.work,
        healthy=lambda: has_task_manager(settings.flink),
        prepare=lambda: prepare(settings, layout),
        stop_seconds=20,
    )
    return jobmanager, taskmanager


def has_task_manager(url: str) -> bool:
    """Whether a TaskManager is registered with the JobManager."""
    try:
        with urllib.request.urlopen(f"{url}/overview", timeout=CHECK_SECONDS) as response:  # noqa: S310
            return int(json.load(response)["taskmanagers"]) > 0
    except (OSError, urllib.error.URLError, ValueError, KeyError):
        return False
