"""The stack's metrics: what status shows, under names that docs/metrics.md lists and Grafana's dashboard uses."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from confluent_kafka.admin import BrokerMetadata, ClusterMetadata, PartitionMetadata, TopicMetadata
from prometheus_client.parser import text_string_to_metric_families

from alerts.alert_store import Summary
from alerts.health import DaemonMetrics
from alerts.watch import Health
from flink.health import Failing
from flink.job_control import JobStatus
from insights.canary.judge import Canaries
from insights.dbt_run import LastBuild
from insights.metrics import MetricsPortTaken, StackMetrics, families, serve
from insights.server_metrics import FlinkFound, flink_families, kafka_families, postgres_families
from insights.settings import PROJECT, Settings
from insights.stack.process_record import Recurrence
from insights.stack.states import PartState
from insights.status import Status
from producers.metrics import ANSWERS, SLOT_BYTES, PublisherMetrics
from producers.metrics import serve as serve_publisher
from reconciliation.topic_counts import TopicCounts
from tests.conftest import wait_until

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOCS = PROJECT / "docs" / "metrics.md"
DASHBOARD = PROJECT / "docker" / "grafana" / "insights-hub.json"
ORDERS = "sales.order_placed.v1"


def part(name: str, **more: Any) -> PartState:
    known: dict[str, Any] = {"state": "running", "healthy": True, "endpoint": "", "detail": "", "pid": 7}
    other: dict[str, Any] = {"memory_mb": 12.5, "uptime_seconds": 60.0, "restarts": 2, "is_task": False}
    return PartState(name=name, **{**known, **other, **more})


JOB = Recurrence(every_seconds=60.0, began_at=0.0, succeeded_at=AT.timestamp(), failures=3)
WHOLE = Status(
    endpoints={},
    topics={ORDERS: TopicCounts(published=10, counted=6, duplicate=1, late=1, dead=0)},
    jobs=(
        JobStatus(
            name="insights-live",
            state="RUNNING",
            last_checkpoint_age_seconds=4.5,
            lag=17,
            failing=Failing(since=AT, failures=2, is_more=False, why="a disk is full"),
        ),
    ),
    freshness_seconds={"live.sales_per_day": 3.25, "live.sessions": None},
    final_until={"sales_per_day": AT, "sessions": None},
    parts=(
        part("kafka"),
        part("page", healthy=False),
        part("topics", is_task=True),
        part("late", is_task=True, recurring=JOB),
    ),
    away=(),
    marts=LastBuild(outcome="ok", ended_at=AT, seconds=9.0, models=60, tests=200, failures=0, message=""),
    canaries=Canaries(table_seconds=0.5, mart_seconds=150.0),
    alerts=Summary(critical=1, warning=2, info=0, broken=0, untold=0, checked_at=AT),
)


def samples(status: Status) -> dict[tuple[str, str], float]:
    """By the sample's name and its label's value."""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families(status)
        for sample in family.samples
    }


def test_every_number_of_status_is_a_sample() -> None:
    assert samples(WHOLE) == {
        ("insights_part_up", "kafka"): 1,
        ("insights_part_up", "page"): 0,
        ("insights_part_up", "topics"): 1,
        ("insights_part_restarts_total", "kafka"): 2,
        ("insights_part_restarts_total", "page"): 2,
        ("insights_part_memory_bytes", "kafka"): 12.5e6,
        ("insights_part_memory_bytes", "page"): 12.5e6,
        ("insights_recurring_job_success_timestamp_seconds", "late"): AT.timestamp(),
        ("insights_recurring_job_failures", "late"): 3,
        ("insights_topic_published_total", ORDERS): 10,
        ("insights_topic_counted_total", ORDERS): 6,
        ("insights_topic_duplicate_total", ORDERS): 1,
        ("insights_topic_late_total", ORDERS): 1,
        ("insights_topic_dead_total", ORDERS): 0,
        ("insights_topic_unaccounted", ORDERS): 2,
        ("insights_job_up", "insights-live"): 1,
        ("insights_job_lag", "insights-live"): 17,
        ("insights_job_checkpoint_age_seconds", "insights-live"): 4.5,
        ("insights_job_failures", "insights-live"): 2,
        ("insights_job_held", ""): 0,
        ("insights_table_freshness_seconds", "live.sales_per_day"): 3.25,
        ("insights_final_until_timestamp_seconds", "sales_per_day"): AT.timestamp(),
        ("insights_marts_built_timestamp_seconds", ""): AT.timestamp(),
        ("insights_marts_ok", ""): 1,
        ("insights_canary_latency_seconds", "table"): 0.5,
        ("insights_canary_latency_seconds", "mart"): 150.0,
        ("insights_canary_ok", ""): 1,
        ("insights_alerts_firing", "critical"): 1,
        ("insights_alerts_firing", "warning"): 2,
        ("insights_alerts_firing", "info"): 0,
    }


def test_what_is_not_known_has_no_sample_and_a_job_that_nobody_can_ask_is_not_up() -> None:
    unknown = TopicCounts(published=None, counted=None, duplicate=None, late=None, dead=None)
    away = replace(
        WHOLE, topics={ORDERS: unknown}, jobs=(JobStatus(name="insights-live"),), marts=None, alerts=None, parts=()
    )
    found = samples(away)
    assert {name for name, label in found if label in (ORDERS, "insights-live")} == {"insights_job_up"}
    assert found["insights_job_up", "insights-live"] == 0
    assert not any(name.startswith(("insights_marts", "insights_alerts", "insights_part")) for name, _ in found)


class Nobody:
    """A publisher that has done nothing yet."""

    counts: dict[str, Any] = {}  # noqa: RUF012
    queued = 0
    is_waiting = False


def names() -> set[str]:
    """Of everything that the stack and the producers can say."""
    stack = {sample.name for family in families(WHOLE) for sample in family.samples}
    health = Health(at=AT, watching=True)
    others = [
        *PublisherMetrics(Nobody(), "shop").collect(),  # type: ignore[arg-type]
        *SLOT_BYTES.collect(),
        *ANSWERS.collect(),
        *DaemonMetrics(lambda: health).collect(),
        *kafka_families(ClusterMetadata()),
        *flink_families(FLINK),
        *postgres_families((1, 2, 100, 3, 4, 5)),
    ]
    totals = {f"{family.name}_total" if family.type == "counter" else family.name for family in others}
    return stack | totals | {"insights_look_seconds"}


def test_answers_are_one_series_for_each_status() -> None:
    ANSWERS.labels("collect", "429").inc()
    port = serve_publisher(Nobody(), "collect", 0, "127.0.0.1")  # type: ignore[arg-type]
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        said = answer.read().decode()
    assert re.search(r'^insights_http_answers_total\{source="collect",status="429"\} [1-9]', said, re.MULTILINE)
    assert "_created" not in said


FLINK = FlinkFound(
    overview={"taskmanagers": 1, "slots-available": 7},
    processes={"jobmanager": {"Status.JVM.Memory.Heap.Used": 5.0, "Status.JVM.GarbageCollector.All.Time": 1500.0}},
    jobs={"insights-live": {"numRestarts": 2.0, "seconds": 0.25, "bytes": 1e6}, "new": {}},
)


def test_what_flink_does_not_say_has_no_sample() -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in flink_families(FLINK)
        for sample in family.samples
    }
    assert found == {
        ("insights_flink_taskmanagers",): 1,
        ("insights_flink_slots_free",): 7,
        ("insights_flink_heap_bytes", "jobmanager"): 5,
        ("insights_flink_gc_seconds_total", "jobmanager"): 1.5,
        ("insights_job_restarts", "insights-live"): 2,
        ("insights_job_checkpoint_seconds", "insights-live"): 0.25,
        ("insights_job_state_bytes", "insights-live"): 1e6,
    }


def test_a_partition_without_a_leader_or_a_copy_is_counted() -> None:
    def partition(leader: int, in_sync: list[int]) -> PartitionMetadata:
        made = PartitionMetadata()
        made.leader, made.isrs, made.replicas = leader, in_sync, [1, 2, 3]
        return made

    cluster, topic = ClusterMetadata(), TopicMetadata()
    topic.partitions = {0: partition(1, [1, 2, 3]), 1: partition(2, [2, 3]), 2: partition(-1, [])}
    cluster.topics, cluster.brokers = {"orders": topic}, {1: BrokerMetadata()}
    found = {family.name.removeprefix("insights_kafka_"): family.samples[0].value for family in kafka_families(cluster)}
    assert found == {"brokers": 1, "partitions": 3, "partitions_offline": 1, "partitions_under_replicated": 2}


def test_the_page_of_names_lists_each_and_no_other() -> None:
    assert set(re.findall(r"^\| `(insights_\w+)` \|", DOCS.read_text(), re.MULTILINE)) == names()


def test_the_dashboard_asks_for_names_that_there_are() -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) >= 8
    used = {name for expression in asked for name in re.findall(r"insights_\w+", expression)}
    assert used <= names()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places), "two panels are in one place"


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MetricsPortTaken, match=f"can't listen on port {port}: .*INSIGHTS_STACK_METRICS_PORT"):
            serve(Settings(stack_metrics_port=port))


def test_a_stack_that_is_down_is_said_to_be_down(tmp_path: Any) -> None:
    families = {family.name: family for family in StackMetrics(Settings(home=tmp_path / "none")).collect()}
    assert [sample.value for sample in families["insights_part_up"].samples] == [0]


def test_a_running_stack_answers_a_scrape(stack: Settings) -> None:
    def scraped() -> dict[str, Any]:
        with urlopen(stack.stack_metrics_url) as answer:
            return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}

    def up(found: dict[str, Any]) -> dict[str, float]:
        return {sample.labels["part"]: sample.value for sample in found["insights_part_up"].samples}

    def whole() -> dict[str, Any] | None:
        found = scraped()
        return found if set(up(found).values()) == {1} else None

    found = wait_until(whole, what="every part is up")
    assert up(found).keys() >= {"supervisor", "kafka", "postgres", "taskmanager", "metrics"}
    assert [sample.value for sample in found["insights_job_up"].samples] == [1]
    servers = {name for name in names() if re.match("insights_(kafka|flink|postgres)_", name)}
    assert len(servers) == 16
    assert {sample.name for family in found.values() for sample in family.samples} >= servers
    assert {sample.labels["topic"] for sample in found["insights_topic_published"].samples} >= {ORDERS}


def test_prometheus_in_containers_asks_the_ports_that_the_page_of_names_has() -> None:
    """And Grafana finds that Prometheus, and our dashboard."""
    asked = yaml.safe_load((PROJECT / "docker" / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    ports = {target.partition(":")[2] for target in asked[0]["targets"]}
    named = set(re.findall(r"\b194\d\d\b", "".join(re.findall(r"^## .*$", DOCS.read_text(), re.MULTILINE))))
    assert ports == named - {"19410"}  # and those after it, one for each further source
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
    source = yaml.safe_load((DASHBOARD.parent / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((DASHBOARD.parent / "provisioning" / "dashboards" / "insights-hub.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./docker/grafana/{DASHBOARD.name}:{folder}/{DASHBOARD.name}:ro" in services["grafana"]["volumes"]
