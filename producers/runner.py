"""Runs a source as a daemon: one publisher, a graceful stop, limits, metrics and structured logs."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import structlog

from processes.json_logs import write_json
from producers.publisher import FLUSH_SECONDS, Publisher, SchemaIds
from schemas import catalogue
from schemas.catalogue import Event
from schemas.codec import Record
from schemas.errors import InsightsError, Misconfigured
from schemas.kafka import Kafka


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run a source: addresses, limits, and what the sources themselves ask for.

    Attributes:
        kafka: how it is reached.
        registry_url: the schema registry's Confluent API.
        listen: address that hooks and collector receive on, and that metrics are served on.
        state: folder where sources keep their cursors, keys and answer keys; made when it is missing.
        rate: mean events a second, over all topics of the source; None leaves it to the source.
        max_events: stop after so many; None never stops.
        currency: the shop's, by ISO 4217: its sales are in no other.
        seed: of everything drawn by chance.
        history: publish this much past first, then go live.
        start: where the past begins; wins over ``history``. Processes that must agree are given the same.
        metrics_port: serve Prometheus metrics there; None does not.
        from_file: a file to read the past from, with
        mapping: the TOML file that describes its columns.
        feeds: addresses of feeds with vehicles' positions, each alone or as ``NAME=URL``.
        url: the site to read, for a source that reads the web, and
        product_path: the pattern of its product pages' paths, and
        profile: the name of its shop software's profile; None finds it out, and
        private: also read addresses of this machine and its network, and
        at_once: how many pages are asked for at the same time, and
        contact: who the site's people can ask, an address that is sent with each request, and
        every: how long from one round over it to the next, or from one reading of connected shops to the next; None
            leaves it to the source.
        once: end after one round over the site, for a source that would go on with the next.
        hooks_port: receive connected shops' webhooks there; None does not.
        collect_port: receive web events there, for the source that does nothing else.
        events: names of the contracts that other programs may publish, for the gate.
        pipeline: the Python file that says what dlt reads.
        log_format: ``json`` writes logs as processes/json_logs.py does.
    """

    kafka: Kafka = Kafka("127.0.0.1:19092")
    registry_url: str = "http://127.0.0.1:19081/apis/ccompat/v7"
    listen: str = "127.0.0.1"
    state: Path = Path(".insights/producers")
    rate: float | None = None
    max_events: int | None = None
    currency: str = "EUR"
    seed: int = 1
    history: timedelta = timedelta(0)
    start: datetime | None = None
    metrics_port: int | None = None
    from_file: Path | None = None
    mapping: Path | None = None
    feeds: tuple[str, ...] = ()
    url: str | None = None
    product_path: str | None = None
    profile: str | None = None
    private: bool = False
    at_once: int = 1
    contact: str | None = None
    every: timedelta | None = None
    once: bool = False
    hooks_port: int | None = None
    collect_port: int | None = None
    events: tuple[str, ...] = ()
    pipeline: Path | None = None
    log_format: str = "text"


class Stop:
    """The wish to stop, from a signal or from a limit. Safe to ask for inside a signal handler."""

    def __init__(self) -> None:
        self.requested = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def request(self) -> None:
        """Ask to stop. Again is harmless."""
        if not self.requested:
            self.requested = True
            os.write(self._write, b"\0")

    def wait(self, seconds: float) -> bool:
        """Blocks for at most so long; True, at once, when a stop is wished for."""
        if not self.requested and seconds > 0:
            poll = select.poll()  # select itself takes no number from 1024 on
            poll.register(self._read, select.POLLIN)
            poll.poll(seconds * 1000)
        return self.requested

    def fileno(self) -> int:
        """Readable once a stop is wished for: for select, or an event loop's ``add_reader``."""
        return self._read

    def on_signals(self) -> None:
        """From now on SIGTERM and SIGINT ask to stop instead of ending the process."""

        def handle(_signal: int, _frame: FrameType | None) -> None:
            self.request()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)


@dataclass(slots=True, kw_only=True)
class Run:
    """What a source is given. It publishes until it is done or ``stop`` is requested, and returns.

    A source that keeps a cursor moves it after ``publisher.flush()`` only. One that did its work, and has to say that
    all is not well, leaves a ``verdict``, which is raised at the end.
    """

    source: Source
    options: Options
    publisher: Publisher
    stop: Stop
    log: structlog.stdlib.BoundLogger
    clock: Callable[[], float] = time.time
    published: int = field(default=0, init=False)
    verdict: InsightsError | None = field(default=None, init=False)

    def publish(self, event: Event, record: Record) -> None:
        """Publish one event and count it against ``max_events``. Raises as Publisher.publish does."""
        self.publisher.publish(event, record)
        self.published += 1
        if self.published == self.options.max_events:
            self.stop.request()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A line in the list of sources.

    Attributes:
        name: of the source, and of the part that runs it in the stack.
        events: the contracts that it publishes.
        summary: what it is, in a line.
        run: what runs it.
        in_stack: with which options of ``insights produce`` the stack runs it; None: the stack does not run it, or
            with options from its settings (insights/stack/composition.py).
    """

    name: str
    events: tuple[str, ...]
    summary: str
    run: Callable[[Run], None]
    in_stack: tuple[str, ...] | None = None


def run(
    source: Source,
    options: Options,
    schema_ids: SchemaIds,
    stop: Stop | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Run a source until it is done or asked to stop; then flush. Returns how many events it published.

    Takes over SIGTERM and SIGINT unless ``stop`` is given. ``clock`` gives seconds since 1970. Raises what the source
    raises, Misconfigured when the metrics' port is taken, and DeliveryFailed or BrokerUnavailable when events could
    not be delivered; last, the source's verdict.
    """
    log = structlog.get_logger().bind(source=source.name)
    if stop is None:
        stop = Stop()
        stop.on_signals()
    options.state.mkdir(parents=True, exist_ok=True)
    publisher = Publisher(
        options.kafka, schema_ids, client_id=f"insights-{source.name}", currency=options.currency, clock=clock
    )
    publisher.open(catalogue.event(name) for name in source.events)
    _serve_metrics(publisher, source, options, log)
    this = Run(source=source, options=options, publisher=publisher, stop=stop, log=log, clock=clock)
    log.info("started", topics=list(source.events), kafka=str(options.kafka), seed=options.seed, rate=options.rate)
    began = time.monotonic()
    source.run(this)
    publisher.flush(FLUSH_SECONDS)
    log.info("stopped", published=this.published, seconds=round(time.monotonic() - began, 1))
    if this.verdict is not None:
        raise this.verdict
    return this.published


def _serve_metrics(publisher: Publisher, source: Source, options: Options, log: structlog.stdlib.BoundLogger) -> None:
    port = options.metrics_port
    if port is None:
        return
    from producers import metrics  # a fifth of a second to load

    try:
        log.info("metrics", port=metrics.serve(publisher, source.name, port, options.listen))
    except OSError as error:
        raise Misconfigured(f"port {port} for the metrics of {source.name} is not available: {error}") from error


def log_to(stream: TextIO, part: str, log_format: str) -> None:
    """Structured logs to a stream: a line for people on a terminal, one JSON object a line anywhere else.

    With ``json`` these objects are those of every part: see processes/json_logs.py.
    """
    if log_format == "json":
        write_json(part, stream)
        return
    shared: Sequence[Any] = (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    )
    human = stream.isatty()
    renderer = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*(shared[:2] if human else shared), renderer],
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
