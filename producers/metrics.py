"""A producer's metrics for Prometheus. These names are the complete set; dashboards and alerts may rely on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from producers.publisher import Publisher
from schemas import catalogue

SLOT_BYTES: Final = Gauge(
    "insights_producer_slot_bytes",
    "Bytes of its log that a database keeps for a pipeline's replication slot",
    labelnames=("slot",),
    registry=None,
)

ANSWERS: Final = Counter(
    "insights_http_answers",
    "Answers to events and webhooks that were sent",
    labelnames=("source", "status"),
    registry=None,
)


class PublisherMetrics(Collector):
    """Reads a publisher's counts when it is scraped, so that counting costs the hot path an integer addition."""

    def __init__(self, publisher: Publisher, source: str) -> None:
        self._publisher = publisher
        self._source = source

    def collect(self) -> Iterable[Metric]:
        """One sample per topic of each counter and gauge."""
        labels = ("source", "topic")
        published = CounterMetricFamily("insights_producer_published", "Events handed to Kafka", labels=labels)
        failed = CounterMetricFamily("insights_producer_failed", "Events that Kafka rejected", labels=labels)
        refused = CounterMetricFamily(
            "insights_producer_refused", "Events that broke their contract or were dated in the future", labels=labels
        )
        large = CounterMetricFamily(
            "insights_producer_too_large", "Events larger than their topic's limit", labels=labels
        )
        size = CounterMetricFamily("insights_producer_bytes", "Encoded bytes handed to Kafka", labels=labels)
        dead = CounterMetricFamily(
            "insights_producer_dead", "Records sent to the dead-letter topic", labels=("source",)
        )
        queue = GaugeMetricFamily("insights_producer_queue", "Events not yet acknowledged", labels=("source",))
        waiting = GaugeMetricFamily(
            "insights_producer_waiting", "1 while it waits for a server that is away", labels=("source",)
        )
        letters = catalogue.event("ops.dead_letter").topic
        for topic, counts in list(self._publisher.counts.items()):
            if topic == letters:
                dead.add_metric((self._source,), counts.accepted)
            else:
                published.add_metric((self._source, topic), counts.accepted)
            failed.add_metric((self._source, topic), counts.failed)
            refused.add_metric((self._source, topic), counts.refused)
            large.add_metric((self._source, topic), counts.too_large)
            size.add_metric((self._source, topic), counts.bytes)
        queue.add_metric((self._source,), self._publisher.queued)
        waiting.add_metric((self._source,), self._publisher.is_waiting)
        return (published, failed, refused, large, size, dead, queue, waiting)


def serve(publisher: Publisher, source: str, port: int, listen: str) -> int:
    """Answer http://listen:port/metrics from a daemon thread; returns the port, also when asked for any by 0.

    Raises OSError when the port is taken.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # of each count, a second series with when it began
    registry = CollectorRegistry()
    registry.register(PublisherMetrics(publisher, source))
    registry.register(SLOT_BYTES)
    registry.register(ANSWERS)
    server, _ = start_http_server(port, addr=listen, registry=registry)
    return int(server.server_port)
