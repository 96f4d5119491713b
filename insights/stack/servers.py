"""The servers of the embedded stack: how each is configured, started and checked."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from flink.rest import FlinkRest
from insights import jars
from insights.java import java_home
from insights.settings import HOST, Settings
from insights.stack import elsewhere
from insights.stack.flink_java import arguments_file, configure, flink_environment, java_environment, log4j
from insights.stack.part import Part, ServerSetupFailed, Task, http_ok
from insights.stack.postgres import databases_elsewhere, postgres
from insights.wiring import QUICK_PLANS, QUICK_START
from schemas.kafka import Kafka

MOST_HAND_OVERS = 7


def servers(settings: Settings) -> Iterator[Part | Task]:
    """Postgres, Kafka, the registry, JobManager and TaskManager. For a server elsewhere, the wait for it."""
    yield databases_elsewhere(settings) if settings.external_postgres else postgres(settings)
    yield elsewhere.kafka(settings).task() if settings.external_kafka else kafka(settings)
    yield elsewhere.registry(settings).task() if settings.external_registry else registry(settings)
    if settings.external_lake:
        yield replace(elsewhere.lake(settings).task(), still_done=None)  # each look at it is billed
    if settings.deploy_stream:
        from insights.stack.managed_job import ManagedJob  # the images of servers lack what it needs

        yield ManagedJob(settings, settings.deploy_stream).server.task()
    elif settings.external_flink:
        yield _flink_elsewhere(settings)
    else:
        yield from (jobmanager(settings), taskmanager(settings))


def _java() -> str:
    return str(java_home() / "bin" / "java")


# Kafka ----------------------------------------------------------------------------------------------------------------


def kafka(settings: Settings) -> Part:
    """One broker, which is its own controller, or one of a cluster's."""
    conf = settings.conf_dir / "kafka"
    class_path = ":".join([str(conf), *(str(jar) for jar in jars.of_part("kafka", settings.jars))])
    heap = settings.kafka_heap_mb
    return Part(
        name="kafka",
        command=[
            *(_java(), f"-Xms{heap // 2}m", f"-Xmx{heap}m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"),
            *([QUICK_START] if settings.quick_start else []),
            *(f"-Dlog.file={settings.logs_dir / 'kafka.log'}", "-cp", class_path, "kafka.Kafka"),
            str(conf / "server.properties"),
        ],
        environment=java_environment(),
        prepare=partial(_prepare_kafka, settings, conf, class_path),
        healthy=partial(_kafka_answers, settings.kafka),
        endpoint=str(settings.kafka),
        stop_seconds=30,
    )


def _prepare_kafka(settings: Settings, conf: Path, class_path: str) -> None:
    conf.mkdir(parents=True, exist_ok=True)
    data = settings.home / "kafka"
    (conf / "log4j2.properties").write_text(log4j("${sys:log.file}", settings.log_format, "kafka"))
    server = conf / "server.properties"
    server.write_text("".join(f"{key}={value}\n" for key, value in kafka_options(settings, data).items()))
    if not (data / "meta.properties").exists():
        _format_kafka(server, class_path, cluster_id(settings))


def kafka_options(settings: Settings, data: Path) -> Mapping[str, str | int]:
    """A broker's server.properties. Alone it keeps one copy of everything, one of a cluster sees to three."""
    alone = f"{HOST}:{settings.kafka_controller_port}"
    quorum = (settings.kafka_quorum or alone).split(",")
    named, listen = (settings.advertise, settings.listen) if settings.kafka_quorum else (HOST, HOST)
    (own,) = (at for at in quorum if at.rpartition(":")[0] == named)
    copies = min(len(quorum), 3)
    in_sync = max(copies - 1, 1)  # what is acknowledged outlives a broker, and one that is away stops nobody
    return {
        "process.roles": "broker,controller",
        "node.id": 1 + quorum.index(own),
        "controller.quorum.voters": ",".join(f"{number}@{at}" for number, at in enumerate(quorum, 1)),
        "listeners": f"PLAINTEXT://{settings.listen}:{settings.kafka_port},CONTROLLER://{listen}:{own.rpartition(':')[2]}",
        "advertised.listeners": f"PLAINTEXT://{settings.advertise}:{settings.kafka_port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,
    }


def cluster_id(settings: Settings) -> str:
    """Of a cluster's brokers each makes the same."""
    quorum = settings.kafka_quorum
    made = uuid.uuid5(uuid.NAMESPACE_URL, f"kafka://{quorum}") if quorum else uuid.uuid4()
    return base64.urlsafe_b64encode(made.bytes).decode().rstrip("=")


def _format_kafka(server: Path, class_path: str, cluster: str) -> None:
    command = [
        _java(),
        "-Dlog.file=format.log",
        "-cp",
        class_path,
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={cluster}",  # in one word, for one in 64 begins with a minus
        "-c",
        str(server),
    ]
    done = subprocess.run(  # noqa: S603
        command, env=java_environment(), capture_output=True, text=True, check=False, cwd=server.parent
    )
    if done.returncode:
        raise ServerSetupFailed(f"Kafka could not format its data folder: {(done.stdout + done.stderr).strip()[-600:]}")


@cache
def _admin(at: Kafka) -> AdminClient:
    return AdminClient({**at.librdkafka, "log_level": 0, "reconnect.backoff.max.ms": 1000})


def _kafka_answers(at: Kafka) -> bool:
    try:
        return bool(_admin(at).list_topics(timeout=2).brokers)
    except KafkaException:
        return False


# Registry -------------------------------------------------------------------------------------------------------------


REGISTRY_JSON = {
    "QUARKUS_LOG_CONSOLE_JSON_ENABLED": "true",
    "QUARKUS_LOG_CONSOLE_JSON_KEY_OVERRIDES": "timestamp=time",
    "QUARKUS_LOG_CONSOLE_JSON_EXCLUDED_KEYS": "sequence,loggerClassName,ndc,mdc,hostName,processName,processId",
    "QUARKUS_LOG_CONSOLE_JSON_ADDITIONAL_FIELD__PART__VALUE": "registry",
}


def registry(settings: Settings) -> Part:
    """Apicurio, which keeps the contracts' versions in Postgres."""
    app, at = jars.unpacked_registry(settings.jars), settings.postgres
    database = at._replace(netloc=settings.postgres_address, path="/registry").geturl()
    return Part(
        name="registry",
        command=[
            _java(),
            f"-Xmx{settings.registry_heap_mb}m",
            *("-XX:+UseSerialGC", QUICK_START),
            "-jar",
            str(app / "quarkus-run.jar"),
        ],
        environment=java_environment(
            QUARKUS_HTTP_HOST=settings.listen,
            QUARKUS_HTTP_PORT=str(settings.registry_port),
            # Its management interface takes every address and a fixed port otherwise.
            QUARKUS_MANAGEMENT_HOST="127.0.0.1",
            QUARKUS_MANAGEMENT_PORT="0",
            **(REGISTRY_JSON if settings.log_format == "json" else {}),
            APICURIO_DATASOURCE_MAX_SIZE="8",
            APICURIO_DATASOURCE_MIN_SIZE="1",
            APICURIO_DATASOURCE_INITIAL_SIZE="1",
            APICURIO_STORAGE_KIND="sql",
            APICURIO_STORAGE_SQL_KIND="postgresql",
            APICURIO_DATASOURCE_URL=f"jdbc:{database}",
            APICURIO_DATASOURCE_USERNAME=unquote(at.username or ""),
            APICURIO_DATASOURCE_PASSWORD=unquote(at.password or ""),
        ),
        healthy=partial(http_ok, f"{settings.registry_url}/subjects"),
        endpoint=settings.registry_url,
        after=("postgres",),
        cwd=app,
    )


# Flink ----------------------------------------------------------------------------------------------------------------


def jobmanager(settings: Settings) -> Part:
    """Flink's half that plans."""
    return Part(
        name="jobmanager",
        command=[_java(), f"@{arguments_file(settings.conf_dir / 'flink', 'jobmanager')}"],
        environment=flink_environment(settings),
        prepare=lambda: configure(settings, flink_options(settings)),
        healthy=partial(http_ok, f"{settings.flink_url}/overview"),
        endpoint=settings.flink_url,
    )


def _flink_elsewhere(settings: Settings) -> Task:
    """Its configuration is here for the client, which submits jobs to it."""
    found = elsewhere.flink(settings)

    def run() -> str:
        line = found.ask()
        configure(settings, flink_options(settings))
        return line

    return Task(name=found.name, run=run, still_done=found.answers)


# Each life of the TaskManager has an id of its own, so that the one before, which the JobManager misses some seconds
# after its end, is not taken for it. The shell's process becomes Java's.
NAMED_TASKMANAGER = (
    'id="taskmanager-$HOSTNAME-$$-$EPOCHSECONDS"; echo "$id" > "$3"; exec "$1" "$2" -D "taskmanager.resource-id=$id"'
)


def taskmanager(settings: Settings) -> Part:
    """Flink's half that computes."""
    rest, name = FlinkRest(settings.flink_url), settings.run_dir / "taskmanager.name"
    arguments = f"@{arguments_file(settings.conf_dir / 'flink', 'taskmanager')}"
    return Part(
        name="taskmanager",
        command=["/bin/bash", "-c", NAMED_TASKMANAGER, "taskmanager", _java(), arguments, str(name)],
        environment=flink_environment(settings),
        healthy=lambda: name.read_text().strip() in rest.task_managers(),
        endpoint=f"{settings.taskmanager_memory_mb} MB at most",
        after=("jobmanager",),
    )


def flink_options(settings: Settings) -> Mapping[str, str | int]:
    """The cluster's config.yaml. What belongs to the job is in flink/job_sql.py."""
    snapshots, at = settings.snapshots_dir.as_uri(), urlsplit(settings.flink_url)
    return {
        **(QUICK_PLANS if settings.quick_start else {}),
        "jobmanager.bind-host": settings.listen,
        "jobmanager.rpc.address": at.hostname or "",
        "jobmanager.rpc.port": settings.flink_rpc_port,
        "jobmanager.memory.process.size": f"{settings.jobmanager_memory_mb}m",
        "jobmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.bind-host": settings.listen,
        "taskmanager.host": settings.advertise,
        # The main job takes one slot a subtask, each hand-over as many more.
        "taskmanager.numberOfTaskSlots": settings.parallelism * (1 + MOST_HAND_OVERS),
        "taskmanager.memory.process.size": f"{settings.taskmanager_memory_mb}m",
        # All slots share RocksDB's memory: managed memory would be divided among them, used or not.
        "taskmanager.memory.managed.size": "0m",
        "taskmanager.memory.task.off-heap.size": f"{_rocksdb_mb(settings)}m",
        "state.backend.rocksdb.memory.managed": "false",
        "state.backend.rocksdb.memory.fixed-per-tm": f"{_rocksdb_mb(settings)}m",
        "taskmanager.memory.network.max": "192m",
        "rest.address": at.hostname or "",
        "rest.bind-address": settings.listen,
        "rest.port": at.port or settings.flink_port,
        "rest.flamegraph.enabled": "true",
        "metrics.fetcher.update-interval": 1000,
        # A hanging TaskManager is declared lost after the timeout; one that refuses connections, after two heartbeats.
        "heartbeat.timeout": 20000,
        "web.submit.enable": "false",
        "heartbeat.interval": 1000,
        # How long a TaskManager waits before it knocks again at a JobManager that was not there: it is back in seconds.
        "cluster.registration.error-delay": 1000,
        "cluster.registration.max-timeout": 2000,
        "execution.checkpointing.dir": f"{snapshots}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{snapshots}/savepoints",
        # Eight days of ids and open windows are more than a heap should hold. Why RocksDB is set up like this:
        # docs/decisions/0005-state-lives-in-rocksdb.md.
        "state.backend.type": "rocksdb",
        "execution.checkpointing.incremental": "true",
        "state.backend.rocksdb.use-bloom-filter": "true",
        "state.backend.rocksdb.memory.partitioned-index-filters": "true",
        "state.backend.rocksdb.compression.per.level": "NO_COMPRESSION;NO_COMPRESSION;LZ4_COMPRESSION",
        "io.tmp.dirs": str(settings.home / "flink" / "tmp"),
    }


def _rocksdb_mb(settings: Settings) -> int:
    return settings.taskmanager_memory_mb * 23 // 100
