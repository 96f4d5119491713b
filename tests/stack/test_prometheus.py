"""docker/prometheus.yml and the dashboard for Grafana in a real Prometheus, which scrapes the run's stack.

Its program is looked for on the path (Debian's package `prometheus` has it). Without it, these tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from insights.settings import PROJECT, Settings
from producers.metrics import ANSWERS, PublisherMetrics
from producers.publisher import TopicCounts
from tests.conftest import free_ports, wait_until
from tests.stack.test_metrics import DASHBOARD, Nobody

CONFIGURATION = PROJECT / "docker" / "prometheus.yml"
# What a stack has no samples of before its first event, alert and canary.
LATER = {
    "insights_alerts_firing",
    "insights_canary_latency_seconds",
    "insights_canary_ok",
    "insights_job_lag",
    "insights_table_freshness_seconds",
}


def program(name: str) -> str:
    """Where it is. Skips the test that asks, when it is nowhere."""
    if found := shutil.which(name):
        return found
    pytest.skip(f"there is no {name} here: Debian's package prometheus has it")


class Publishing(Nobody):
    """A publisher that has published one event, and was refused none."""

    counts = {"sales.order_placed.v1": TopicCounts(accepted=1)}  # noqa: RUF012


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of its answer. Raises HTTPError for a query that it does not understand."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def samples(self, query: str) -> list[Any]:
        """What a query finds now."""
        return list(self.ask("query", query=query)["result"])

    def is_ready(self) -> bool:
        with suppress(URLError, ConnectionError), urlopen(f"{self.url}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
        return False

    def targets(self) -> dict[str, str]:
        """The health of each that it has: up, down, or unknown at first."""
        return {each["labels"]["instance"]: each["health"] for each in self.ask("targets")["activeTargets"]}


@pytest.fixture(scope="module")
def prometheus_program() -> str:
    return program("prometheus")


@pytest.fixture(scope="module")
def producers_metrics() -> Iterator[str]:
    """Where a publisher's numbers are, as a producer answers them. The run's stack has no producers."""
    registry = CollectorRegistry()
    registry.register(PublisherMetrics(Publishing(), "shop"))  # type: ignore[arg-type]
    ANSWERS.labels("collect", "200").inc()
    registry.register(ANSWERS)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(
    prometheus_program: str, stack: Settings, producers_metrics: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """With the configuration that containers have, except for where it asks and how often."""
    folder, (port,) = tmp_path_factory.mktemp("prometheus"), free_ports(1)
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    (scrape,) = configuration["scrape_configs"]
    targets = [stack.stack_metrics_url.removeprefix("http://").removesuffix("/metrics"), producers_metrics]
    scrape |= {"scrape_interval": "2s", "scrape_timeout": "2s", "static_configs": [{"targets": targets}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    started = Prometheus(f"http://127.0.0.1:{port}")
    places = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    command = [prometheus_program, *places, f"--web.listen-address=127.0.0.1:{port}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(started.is_ready, what="Prometheus is ready")
            yield started
        finally:
            process.terminate()


def test_it_scrapes_every_target_and_the_dashboard_shows_something_in_every_panel(prometheus: Prometheus) -> None:
    wait_until(lambda: [*prometheus.targets().values()] == ["up", "up"], what="both targets are up")
    queries = [query["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for query in panel["targets"]]
    now = [query for query in queries if not set(re.findall(r"insights_\w+", query)) & LATER]
    assert len(now) >= 12
    for query in queries:
        prometheus.ask("query", query=query)
    for query in now:
        wait_until(partial(prometheus.samples, query), what=f"{query} has samples")


def test_its_configuration_in_containers_is_one_that_it_takes() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", str(CONFIGURATION)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
