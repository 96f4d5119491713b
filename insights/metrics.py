"""What the stack knows of itself, for Prometheus: what `insights status` shows. docs/metrics.md lists all names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from insights.metric_families import Sample, counter, gauge
from insights.server_metrics import ServerMetrics
from insights.settings import Settings
from insights.status import Status, watching
from schemas.errors import InsightsError

FATES = {
    "published": "Events on the log since its beginning",
    "counted": "Events that count in the tables",
    "duplicate": "Events that were on the log already",
    "late": "Events that came too late to count at once",
    "dead": "Records that could not be read, and events that were refused",
}


class MetricsPortTaken(InsightsError):
    """The port for the stack's metrics can't be used; the message names the setting."""


def serve(settings: Settings) -> str:
    """Answer http://…/metrics from a thread of this process, for as long as it lives. A line that says where.

    Raises MetricsPortTaken.
    """
    registry = CollectorRegistry()
    registry.register(StackMetrics(settings))
    try:
        start_http_server(settings.stack_metrics_port, addr=settings.listen, registry=registry)
    except OSError as error:
        raise MetricsPortTaken(
            f"the metrics can't listen on port {settings.stack_metrics_port}: {error.strerror}; choose another with"
            f" {Settings.variable('stack_metrics_port')}"
        ) from error
    return settings.stack_metrics_url


class StackMetrics(Collector):
    """Looks at the stack each time that it is scraped, one scrape after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._watch = watching(settings)
        self._servers = ServerMetrics(settings)
        self._look: Callable[[], Status] | None = None
        self._one = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: or it would be scraped to be registered, before any server is there."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All families. Blocks for as long as a look at the stack takes, some seconds while a server hangs."""
        with self._one:
            began = time.monotonic()
            self._look = self._look or self._watch.__enter__()
            found = [*families(self._look()), *self._servers.collect()]
            took = time.monotonic() - began
        return [*found, gauge("insights_look_seconds", "Time that this look at the stack took", (), [((), took)])]


def families(status: Status) -> Iterator[Metric]:
    """The metrics of one look. What is not known has no sample. Pure."""
    yield from _of_parts(status)
    yield from _of_topics(status)
    yield from _of_live_jobs(status)
    fresh, final = status.freshness_seconds.items(), status.final_until.items()
    yield gauge(
        "insights_table_freshness_seconds", "Age of the newest event counted in a table", ("table",), _named(fresh)
    )
    yield gauge(
        "insights_final_until_timestamp_seconds",
        "Up to when an aggregate's windows are final",
        ("aggregate",),
        _named(final),
    )
    if status.marts:
        built = status.marts
        yield gauge(
            "insights_marts_built_timestamp_seconds", "When the marts' last build ended", (), [((), built.ended_at)]
        )
        yield gauge("insights_marts_ok", "1 if that build and its tests succeeded", (), [((), built.outcome == "ok")])
    if status.canaries:
        ways = [(("table",), status.canaries.table_seconds), (("mart",), status.canaries.mart_seconds)]
        yield gauge("insights_canary_latency_seconds", "From a canary's publication to its row", ("stage",), ways)
        is_right = status.canaries.wrong is None
        yield gauge("insights_canary_ok", "1 if the row of every canary that arrived is right", (), [((), is_right)])
    if status.alerts:
        firing = [((level,), getattr(status.alerts, level)) for level in ("critical", "warning", "info")]
        yield gauge("insights_alerts_firing", "Alerts that fire", ("severity",), firing)


def _of_parts(status: Status) -> Iterator[Metric]:
    parts = [part for part in status.parts if not part.recurring]
    jobs = [(part.name, part.recurring) for part in status.parts if part.recurring]
    up = [((part.name,), part.healthy) for part in parts]
    yield gauge("insights_part_up", "1 if a part runs and responds, or a task of the setup is done", ("part",), up)
    restarts = [((part.name,), part.restarts) for part in parts if not part.is_task]
    yield counter("insights_part_restarts", "Restarts since the stack was started", ("part",), restarts)
    memory = [((part.name,), part.memory_mb and part.memory_mb * 1e6) for part in parts if not part.is_task]
    yield gauge("insights_part_memory_bytes", "Memory of a part, with its child processes", ("part",), memory)
    yield gauge(
        "insights_recurring_job_success_timestamp_seconds",
        "When a run last succeeded",
        ("job",),
        [((name,), job.succeeded_at) for name, job in jobs],
    )
    yield gauge(
        "insights_recurring_job_failures",
        "Runs that failed since then",
        ("job",),
        [((name,), job.failures) for name, job in jobs],
    )


def _of_topics(status: Status) -> Iterator[Metric]:
    for fate, doc in FATES.items():
        samples = [((topic,), getattr(counts, fate)) for topic, counts in status.topics.items()]
        yield counter(f"insights_topic_{fate}", doc, ("topic",), samples)
    left = [((topic,), counts.unaccounted) for topic, counts in status.topics.items()]
    yield gauge("insights_topic_unaccounted", "Events whose fate is not known yet: 0 at rest", ("topic",), left)


def _of_live_jobs(status: Status) -> Iterator[Metric]:
    known = [job for job in status.jobs if job.state is not None]
    label = ("job",)
    yield gauge(
        "insights_job_up", "1 if a live job runs", label, [((j.name,), j.state == "RUNNING") for j in status.jobs]
    )
    yield gauge(
        "insights_job_lag", "Records on the log that it has not read", label, [((j.name,), j.lag) for j in known]
    )
    yield gauge(
        "insights_job_checkpoint_age_seconds",
        "Time since its latest checkpoint completed",
        label,
        [((j.name,), j.last_checkpoint_age_seconds) for j in known],
    )
    yield gauge(
        "insights_job_failures",
        "Its failures since that checkpoint",
        label,
        [((j.name,), j.failing.failures if j.failing else 0) for j in known],
    )
    yield gauge("insights_job_held", "1 while somebody has stopped the live job", (), [((), status.hold is not None)])


def _named(values: Iterable[tuple[str, float | datetime | None]]) -> list[Sample]:
    return [((name,), value) for name, value in values]
