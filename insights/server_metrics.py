"""What Kafka, Flink and Postgres know of themselves, as metrics of the stack. docs/metrics.md lists all names.

They are asked as clients ask them, wherever they run: no agent in their processes, and no further port of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata
from prometheus_client.core import Metric

from flink.rest import ENDED, FlinkRest, FlinkUnavailable, JobFailed
from insights.metric_families import counter, gauge
from insights.settings import Settings
from schemas.kafka import stays_logged_in
from warehouse.postgres import PostgresAway, opened

SECONDS = 3
OF_PROCESS = {
    "heap_bytes": "Status.JVM.Memory.Heap.Used",
    "heap_max_bytes": "Status.JVM.Memory.Heap.Max",
    "gc_ms": "Status.JVM.GarbageCollector.All.Time",
    "cpu": "Status.JVM.CPU.Load",
}
POSTGRES = """
select
    pg_database_size(current_database()),
    (select count(*) from pg_stat_activity where datname = current_database()),
    (select setting::int from pg_settings where name = 'max_connections'),
    xact_commit, xact_rollback, deadlocks
from pg_stat_database
where datname = current_database()
"""
AWAY = (OSError, KafkaException, psycopg.Error, PostgresAway, FlinkUnavailable, JobFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlinkFound:
    """``processes`` is by name of the process, ``jobs`` by name of the job."""

    overview: Mapping[str, Any]
    processes: Mapping[str, Mapping[str, float]]
    jobs: Mapping[str, Mapping[str, float]]


class ServerMetrics:
    """Asks each server when it is scraped. One that is away has no samples."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None

    def collect(self) -> Iterator[Metric]:
        """All families. Blocks for some seconds while a server hangs."""
        ways: tuple[Callable[[], Iterable[Metric]], ...] = (self._of_kafka, self._of_flink, self._of_postgres)
        for ask in ways:
            with suppress(*AWAY):
                yield from ask()

    def _of_kafka(self) -> Iterable[Metric]:
        if self._admin is None:
            kafka = self._settings.kafka
            self._admin = stays_logged_in(kafka, AdminClient({**kafka.librdkafka, "log_level": 0}))
        return [*kafka_families(self._admin.list_topics(timeout=SECONDS))]

    def _of_flink(self) -> Iterable[Metric]:
        if not self._settings.flink_url:
            return []
        return [*flink_families(_ask_flink(FlinkRest(self._settings.flink_url)))]

    def _of_postgres(self) -> Iterable[Metric]:
        with opened(self._settings.postgres_dsn) as connection:
            row = connection.execute(POSTGRES).fetchone()
        return [*postgres_families(row)] if row else []


def kafka_families(cluster: ClusterMetadata) -> Iterator[Metric]:
    """Brokers that answer, and partitions that miss a leader or a copy."""
    partitions = [each for topic in cluster.topics.values() for each in topic.partitions.values()]
    yield _gauge("insights_kafka_brokers", "Brokers that answer", len(cluster.brokers))
    yield _gauge("insights_kafka_partitions", "Partitions of all topics", len(partitions))
    yield _gauge(
        "insights_kafka_partitions_offline", "Partitions without a leader", sum(each.leader < 0 for each in partitions)
    )
    behind = sum(len(each.isrs) < len(each.replicas) for each in partitions)
    yield _gauge("insights_kafka_partitions_under_replicated", "Partitions that miss a copy in sync", behind)


def _ask_flink(rest: FlinkRest) -> FlinkFound:
    names = ",".join(OF_PROCESS.values())
    processes = {
        "jobmanager": _values(rest.ask("/jobmanager/metrics", get=names)),
        "taskmanager": {
            each["id"]: float(each["sum"]) for each in rest.ask("/taskmanagers/metrics", get=names, agg="sum")
        },
    }
    running = [(job, name) for job, name, state in rest.jobs() if state not in ENDED]
    jobs = {name: _job(rest, job) for job, name in running}
    return FlinkFound(overview=rest.ask("/overview"), processes=processes, jobs=jobs)


def _job(rest: FlinkRest, job: str) -> dict[str, float]:
    done = (rest.ask(f"/jobs/{job}/checkpoints").get("latest") or {}).get("completed")
    found = _values(rest.ask(f"/jobs/{job}/metrics", get="numRestarts"))
    if done:
        found |= {"seconds": done["end_to_end_duration"] / 1000, "bytes": float(done["state_size"])}
    return found


def _values(metrics: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    return {each["id"]: float(each["value"]) for each in metrics if each.get("value") not in (None, "", "NaN")}


def flink_families(found: FlinkFound) -> Iterator[Metric]:
    """TaskManagers and slots, memory and collection of each process, restarts and checkpoints of each job."""
    yield _gauge("insights_flink_taskmanagers", "TaskManagers that are registered", found.overview["taskmanagers"])
    yield _gauge("insights_flink_slots_free", "Slots that no job has", found.overview["slots-available"])
    of = {key: {p: v[name] for p, v in found.processes.items() if name in v} for key, name in OF_PROCESS.items()}
    heap, cpu = of["heap_bytes"], of["cpu"]
    yield _labelled("insights_flink_heap_bytes", "Heap that a process uses", "process", heap)
    yield _labelled("insights_flink_heap_max_bytes", "Heap that it may use", "process", of["heap_max_bytes"])
    yield _labelled("insights_flink_cpu_load", "Share of the machine's processors that it uses", "process", cpu)
    seconds = [((process,), ms / 1000) for process, ms in of["gc_ms"].items()]
    yield counter("insights_flink_gc_seconds", "Time of its garbage collections", ("process",), seconds)
    for name, key, doc in (
        ("insights_job_restarts", "numRestarts", "Restarts of a job since it was submitted"),
        ("insights_job_checkpoint_seconds", "seconds", "Duration of its latest complete checkpoint"),
        ("insights_job_state_bytes", "bytes", "Size of its state in that checkpoint"),
    ):
        yield _labelled(name, doc, "job", {job: v[key] for job, v in found.jobs.items() if key in v})


def postgres_families(row: tuple[Any, ...]) -> Iterator[Metric]:
    """Size, connections and transactions of the stack's database."""
    size, connections, most, commits, rollbacks, deadlocks = row
    yield _gauge("insights_postgres_bytes", "Size of the database", size)
    yield _gauge("insights_postgres_connections", "Connections to it", connections)
    yield _gauge("insights_postgres_connections_max", "Connections that the server takes", most)
    yield counter("insights_postgres_commits", "Transactions committed", (), [((), commits)])
    yield counter("insights_postgres_rollbacks", "Transactions rolled back", (), [((), rollbacks)])
    yield counter("insights_postgres_deadlocks", "Deadlocks", (), [((), deadlocks)])


def _gauge(name: str, doc: str, value: float) -> Metric:
    return gauge(name, doc, (), [((), value)])


def _labelled(name: str, doc: str, label: str, values: Mapping[str, float]) -> Metric:
    return gauge(name, doc, (label,), [((key,), value) for key, value in values.items()])
