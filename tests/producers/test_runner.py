"""How a source is run: it stops when asked to, and within its limits."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from producers.main import moment, read_length
from producers.runner import Stop
from producers.sources import SOURCES, source
from schemas import catalogue
from schemas.errors import Misconfigured

PROJECT = Path(__file__).parents[2]


def test_a_wait_ends_at_once_when_a_stop_is_wished_for() -> None:
    stop = Stop()
    threading.Timer(0.05, stop.request).start()
    began = time.monotonic()
    assert stop.wait(30)
    assert time.monotonic() - began < 10
    assert stop.wait(30)


def test_a_wait_without_a_wish_lasts_as_long_as_it_should() -> None:
    stop, began = Stop(), time.monotonic()
    assert not stop.wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_a_signal_is_a_wish_to_stop() -> None:
    stop = Stop()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        stop.on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_every_source_names_contracts_there_are_and_a_module_that_runs() -> None:
    for candidate in SOURCES:
        assert all(catalogue.event(name) for name in candidate.events)
        assert source(candidate.name) is candidate


def test_an_unknown_source_is_answered_with_those_there_are() -> None:
    with pytest.raises(Misconfigured, match="no source 'weather'; the sources are shop, orders, customers"):
        source("weather")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("45m", timedelta(minutes=45)),
        ("1d12h", timedelta(hours=36)),
        ("1d 12 h", timedelta(hours=36)),
        ("30d", timedelta(days=30)),
    ],
)
def test_a_length_of_time_is_written_with_units(text: str, length: timedelta) -> None:
    assert read_length(text) == length


@pytest.mark.parametrize("text", ["", "12", "h", "-1h", "1w", "1h30"])
def test_a_length_without_its_unit_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Misconfigured, match="write 90s, 10m, 2h, 3d or 1d12h"):
        read_length(text)


def test_a_moment_without_a_zone_is_utc() -> None:
    assert moment("2026-11-23T08:00") == moment("2026-11-23T09:00+01:00")
    with pytest.raises(Misconfigured, match="write it as 2026"):
        moment("yesterday")


def test_a_producer_stops_when_asked_and_answers_prometheus_until_then(
    produce: Callable[..., Any], until: Callable[..., Any], tmp_path: Path
) -> None:
    running = produce("stock", "--rate", "5", "--metrics-port", "0", "--start", "2025-03-02T00:00Z")
    served = until(lambda: running.logged("metrics"), what="metrics served")

    def published() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{served['port']}/metrics", timeout=30) as response:
            return bool(re.search(r'published_total\{source="stock",topic="[^"]+"\} [1-9]', response.read().decode()))

    until(published, what="something is published")
    assert running.terminate() == 0
    stopped = running.logged("stopped")
    assert stopped is not None
    assert stopped["published"] > 0


def test_a_producer_stops_by_itself_after_so_many_events(produce: Callable[..., Any]) -> None:
    running = produce("stock", "--rate", "5", "--max-events", "123", "--start", "2025-03-02T00:00Z")
    assert running.process.wait(120) == 0
    assert running.logged("stopped")["published"] == 123


def test_a_port_that_is_taken_is_named(produce: Callable[..., Any]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        running = produce("stock", "--metrics-port", str(port))
        assert running.process.wait(120) == 1
    assert f"port {port} for the metrics of stock is not available" in running.log_file.read_text()
