"""``GET /health``: whether the daemon runs, and its state; 200 while its steps run. ``GET /metrics`` for Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alerts.watch import Health, Watch

# A step may wait for every rule's statement timeout and for a channel that hangs.
STUCK_AFTER = timedelta(minutes=5)


class DaemonMetrics(Collector):
    """Of the newest step."""

    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        """All families."""
        now = self._health()
        return [
            GaugeMetricFamily(name, doc, value=value)
            for name, doc, value in (
                ("insights_alerts_step_timestamp_seconds", "When the rules were last checked", now.at.timestamp()),
                ("insights_alerts_watching", "1 in the one daemon that checks them", float(now.watching)),
                ("insights_alerts_rules", "Rules that were read", float(now.rules)),
                ("insights_alerts_rules_broken", "Rules that can't be evaluated", float(len(now.broken))),
            )
        ]


def _answer(path: str, health: Health, metrics: CollectorRegistry) -> tuple[int, str, bytes] | None:
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest(metrics)
    if path != "/health":
        return None
    is_stuck = datetime.now(UTC) - health.at > STUCK_AFTER
    said = json.dumps({**asdict(health), "at": health.at.isoformat()})
    return 503 if is_stuck else 200, "application/json", said.encode()


@contextmanager
def serving(watch: Watch, port: int, listen: str = "127.0.0.1") -> Iterator[None]:
    """Answers from here until it is left. Raises OSError when the port is taken."""
    metrics = CollectorRegistry()
    metrics.register(DaemonMetrics(lambda: watch.health))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = _answer(self.path, watch.health, metrics)
            if found is None:
                self.send_error(404)
                return
            status, kind, body = found
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests come every few seconds: they are not logged."""

    server = ThreadingHTTPServer((listen, port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
