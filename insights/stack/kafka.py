"""Kafka: one node that is broker and controller (KRaft)."""

from __future__ import annotations

import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode

from insights.settings import HOST, Settings
from insights.stack import jars
from insights.stack.java import JAVA, java_environment
from insights.stack.layout import Layout
from insights.stack.part import CHECK_SECONDS, Part
from schemas.errors import InsightsError

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}
# A topic exists because a contract says so.
auto.create.topics.enable=false
# One node can't replicate.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# Sized for one machine that runs everything else as well.
num.network.threads=2
num.io.threads=4
background.threads=4
log.cleaner.dedupe.buffer.size=33554432
log.segment.bytes=268435456
"""

LOG4J = """\
Configuration:
  status: WARN
  Appenders:
    Console:
      name: console
      PatternLayout:
        pattern: "%d{ISO8601} %-5p %c{1}: %m%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: console
    Logger:
      - name: kafka.server
        level: INFO
"""

API_VERSIONS = 18


def kafka_part(settings: Settings, layout: Layout) -> Part:
    """Kafka as a part of the stack."""
    classpath = ":".join(str(path) for path in jars.of_part("kafka", layout.jars))
    heap = settings.kafka_heap_mb
    command = (
        *(JAVA, f"-Xms{heap // 2}m", f"-Xmx{heap}m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
        *("-XX:+ExitOnOutOfMemoryError", "-Duser.timezone=UTC", "-Djava.awt.headless=true"),
        f"-Dlog4j2.configurationFile={layout.config / 'kafka-log4j2.yaml'}",
        *("-cp", classpath, "kafka.Kafka", str(layout.config / "kafka.properties")),
    )
    return Part(
        name="kafka",
        command=command,
        environment=java_environment(),
        folder=layout.home,
        healthy=lambda: answers(settings.kafka_port),
        endpoint=settings.kafka,
        ports=("kafka_port", "kafka_controller_port"),
        prepare=lambda: prepare(settings, layout),
        stop_seconds=30,
    )


def prepare(settings: Settings, layout: Layout) -> None:
    """Writes the configuration, and formats the data folder when it is new. Raises InsightsError when Kafka refuses."""
    properties = layout.config / "kafka.properties"
    properties.write_text(
        PROPERTIES.format(
            host=HOST, port=settings.kafka_port, controller_port=settings.kafka_controller_port, folder=layout.kafka
        )
    )
    (layout.config / "kafka-log4j2.yaml").write_text(LOG4J)
    if (layout.kafka / "meta.properties").exists():
        return
    classpath = ":".join(str(path) for path in jars.of_part("kafka", layout.jars))
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    command = [
        *(JAVA, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", classpath, "kafka.tools.StorageTool"),
        *("format", "--cluster-id", cluster, "--config", str(properties), "--ignore-formatted"),
    ]
    done = subprocess.run(command, env=java_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise InsightsError(f"Kafka's data folder {layout.kafka} could not be made: {done.stderr.strip()[-600:]}")


def answers(port: int) -> bool:
    """Whether a broker on this port answers an ApiVersions request (https://kafka.apache.org/protocol#The_Messages_ApiVersions)."""
    correlation = 1
    request = struct.pack(">hhih", API_VERSIONS, 0, correlation, -1)
    try:
        with socket.create_connection((HOST, port), timeout=CHECK_SECONDS) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            header = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(header) == 10 and struct.unpack(">iih", header)[1:] == (correlation, 0)
