"""The collector as the stack runs it, in a thread of the test's process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog

from producers.collect import keys
from producers.collect.intake import INTERACTION
from producers.collect.source import run
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.registry import Registry
from tests.conftest import free_ports, wait_until
from tests.producers.collect.test_batches import CHROME, EVENT

ORIGIN = "https://bikes.example"


class Collecting:
    """A collector that runs, and a key for it."""

    def __init__(self, url: str, folder: Path, key: keys.Key) -> None:
        self.url = url
        self.folder = folder
        self.key = key
        self._session = requests.Session()

    @property
    def events_url(self) -> str:
        return f"{self.url}/v1/events?key={self.key.key}"

    def post(self, body: bytes, address: str = "192.0.2.1", **headers: str | None) -> requests.Response:
        """As a page in a browser does, from an address; a header that is None is left out."""
        given = {"Origin": ORIGIN, "User-Agent": CHROME, "Content-Type": "text/plain", "X-Forwarded-For": address}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[misc]
        return self._session.post(self.events_url, data=body, headers=given, timeout=30)

    def send(self, *events: Any, address: str = "192.0.2.1", **headers: str | None) -> requests.Response:
        return self.post(batch_of(*events), address, **headers)

    def answers(self) -> dict[str, int]:
        found: dict[str, int] = requests.get(f"{self.url}/health", timeout=10).json()["answers"]
        return found


def now_ms() -> int:
    return int(time.time() * 1000)


def event(**fields: Any) -> dict[str, Any]:
    """An event of now with an id of its own."""
    return {**EVENT, "id": f"e{time.monotonic_ns()}", "at": now_ms(), **fields}


def batch_of(*events: Any, **more: Any) -> bytes:
    return json.dumps({"sent_at": now_ms(), "events": list(events), **more}).encode()


@contextmanager
def collecting(publisher: Publisher, folder: Path, origins: list[str]) -> Iterator[Collecting]:
    """From here until it is left."""
    (port,) = free_ports(1)
    key = keys.add(folder, f"shop-{time.monotonic_ns()}", origins)
    options, stop = Options(state=folder, collect_port=port), Stop()
    this = Run(source=source("collect"), options=options, publisher=publisher, stop=stop, log=structlog.get_logger())
    thread = threading.Thread(target=run, args=(this,))
    thread.start()
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), what="the collector answers")
        yield Collecting(f"http://127.0.0.1:{port}", folder, key)
    finally:
        stop.request()
        thread.join(30)
    assert not thread.is_alive()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="session")
def publisher(stack: Any) -> Publisher:
    made = Publisher(stack.kafka, Registry(stack.registry_url), client_id="test-collect", currency="EUR")
    made.open((INTERACTION,))
    return made


@pytest.fixture
def collector(publisher: Publisher, tmp_path: Path) -> Iterator[Collecting]:
    with collecting(publisher, tmp_path, [ORIGIN]) as running:
        yield running


@pytest.fixture
def interactions(collector: Collecting, log_of: Callable[..., Any]) -> Callable[[], list[dict[str, Any]]]:
    """What the collector has published since."""
    log = log_of(INTERACTION)
    return lambda: [each for each in log.records(INTERACTION.topic) if each["source"] == collector.key.name]
