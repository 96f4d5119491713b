"""Publishes an order file from a cursor that Kafka keeps.

A quixstreams StatefulSource: it runs in a child process, and its state (how many steps of the file are on the log)
is in a compacted topic of its own. The state is moved only after everything before it is acknowledged, so a file
that is read again after a kill goes on at the last moved cursor; what is published twice has the same ids.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import structlog
from quixstreams import Application
from quixstreams.models.topics import TopicConfig
from quixstreams.sources.base import StatefulSource
from quixstreams.sources.base.exceptions import SourceException

from producers import metrics, runner, state
from producers.answer_key import AnswerKey
from producers.order_file import mapping as mappings
from producers.order_file.rows import BadRow, OrderFile, Step, read
from producers.publisher import Publisher
from producers.runner import Options, Run
from producers.shop.occurrences import ORDER_PLACED
from schemas import catalogue
from schemas.catalogue import Event
from schemas.errors import InsightsError, Misconfigured, PoisonEvent
from schemas.registry import Registry

DEAD_LETTER: Final = catalogue.event("ops.dead_letter")
COMMIT_SECONDS: Final = 1.0
BAD_ROWS_SAID: Final = 5
LOOK_AT_CLOCK_EVERY: Final = 256
DONE: Final = "done"


def run(this: Run) -> None:
    """Publish the orders of ``options.from_file`` that are not on the log yet, in the order of their time.

    Returns when the file is done, a limit is reached or the process is told to stop. Raises Misconfigured for a file
    or mapping that can't be read, and what the child raised otherwise.
    """
    options = this.options
    if options.from_file is None or options.mapping is None:
        raise Misconfigured("an order file needs its mapping: give --from-file FILE and --mapping MAPPING.toml")
    file = load(options.from_file, options.mapping)  # what is wrong is said here, and not by a child's traceback
    mappings.check_currency(file.mapping.constants, options.currency, options.mapping)
    name = f"{file.mapping.source}-{file.sha256[:12]}"
    del file  # the child reads its own
    application = Application(
        broker_address=options.bootstrap,
        consumer_group=f"insights-orders-{name}",
        loglevel="WARNING",
        state_dir=str(options.state / "quixstreams"),
    )
    topic = application.topic(
        ORDER_PLACED.topic,
        value_serializer="bytes",
        config=TopicConfig(
            num_partitions=ORDER_PLACED.partitions, replication_factor=1, extra_config=dict(ORDER_PLACED.topic_config)
        ),
    )
    application.add_source(FileSource(name, options), topic=topic)
    before = published(options.state / f"{name}.sqlite")
    try:
        application.run()
    except SourceException as error:
        if isinstance(error.__cause__, InsightsError):
            raise error.__cause__ from error
        raise
    this.published += published(options.state / f"{name}.sqlite") - before


def load(path: Path, mapping: Path) -> OrderFile:
    """The file as its mapping reads it. Raises Misconfigured when either can't be read."""
    return read(_content(path), mappings.load(mapping))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"the order file {path} can't be read: {error.strerror}") from error


class FileSource(StatefulSource):
    """The child: reads the file and publishes from its cursor on. Holds nothing that can't be pickled."""

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name=name, shutdown_timeout=60)
        self._options = options

    def run(self) -> None:
        runner.die_with_parent()
        runner.log_to(sys.stderr)
        options = self._options
        assert options.from_file is not None
        assert options.mapping is not None
        file = load(options.from_file, options.mapping)
        publisher = Publisher(
            options.bootstrap,
            Registry(options.registry_url),
            client_id=f"insights-{self.name}",
            currency=options.currency,
        )
        if options.metrics_port is not None:
            metrics.serve(publisher, "orders", options.metrics_port)
        book = Book(options.state / f"{self.name}.sqlite")
        done = self.state.get(DONE, 0)
        log = structlog.get_logger().bind(source="orders", file=options.from_file.name)
        log.info("opened", sha256=file.sha256, done=done, steps=len(file.steps))
        done = self._publish(file, publisher, book, done, log)
        orders, dead_letters = _accepted(publisher, ORDER_PLACED), _accepted(publisher, DEAD_LETTER)
        outcome = "finished" if done == len(file.steps) else "stopped"
        log.info(outcome, done=done, steps=len(file.steps), orders=orders, dead_letters=dead_letters)

    def _publish(
        self, file: OrderFile, publisher: Publisher, book: Book, done: int, log: structlog.stdlib.BoundLogger
    ) -> int:
        """Publish from step ``done`` on; returns the first step that is not published. Says why the first are bad."""
        options = self._options
        began = committed = time.monotonic()
        end = len(file.steps) if options.max_events is None else min(len(file.steps), done + options.max_events)
        for index in range(done, end):
            if not self.running:
                end = index
                break
            bad = _publish_step(file, file.steps[index], publisher, book, index, options)
            if bad is not None and _accepted(publisher, DEAD_LETTER) <= BAD_ROWS_SAID:
                log.warning("no order, a dead letter", lines=file.steps[index].lines, problem=str(bad))
            if options.rate is not None:
                time.sleep(max(0.0, began + (index - done) / options.rate - time.monotonic()))
            if options.rate is not None or index % LOOK_AT_CLOCK_EVERY == 0:
                now = time.monotonic()
                if now - committed >= COMMIT_SECONDS:
                    self._commit(publisher, book, index + 1)
                    committed = now
        self._commit(publisher, book, end)
        return end

    def _commit(self, publisher: Publisher, book: Book, done: int) -> None:
        # The answer key may be ahead of the cursor (it skips what it has counted), the cursor never of the log:
        # quixstreams writes the state before it waits for events, so these are waited for first.
        publisher.flush()
        book.commit(done)
        self.state.set(DONE, done)
        self.flush()


def _accepted(publisher: Publisher, event: Event) -> int:
    counts = publisher.counts.get(event.topic)
    return counts.accepted if counts else 0


def _publish_step(
    file: OrderFile, step: Step, publisher: Publisher, book: Book, index: int, options: Options
) -> PoisonEvent | None:
    """Publish an order, or the bytes of lines that make none; then what is wrong with them."""
    try:
        if step.problem is not None:
            raise BadRow(step.problem)
        record = file.order(step)
        publisher.publish(ORDER_PLACED, record)
        book.count_order(index, step.at_ms, record)
    except PoisonEvent as error:
        lines = ",".join(map(str, step.lines))
        publisher.dead_letter(
            ORDER_PLACED,
            b"\n".join(file.rows[line - 1] for line in step.lines),
            key=None,
            error=error,
            stage="VALUE_CONVERTER",
            origin={"file": str(options.from_file), "file.sha256": file.sha256, "line": lines},
        )
        book.count_dead(index)
        return error
    return None


class Book:
    """The answer key of an order file, and how far it has counted."""

    def __init__(self, path: Path) -> None:
        self._database = state.opened(path)
        self._database.execute("pragma synchronous=normal")
        self._database.execute("create table if not exists counted (only integer primary key, steps integer not null)")
        self._database.execute("insert or ignore into counted values (1, 0)")
        (self._counted,) = self._database.execute("select steps from counted").fetchone()
        self._answer_key = AnswerKey(self._database)

    def count_order(self, index: int, at_ms: int, record: dict[str, object]) -> None:
        if index >= self._counted:
            self._answer_key.count(ORDER_PLACED, at_ms, record)

    def count_dead(self, index: int) -> None:
        """A bad row has no time; it counts for 1970."""
        if index >= self._counted:
            self._answer_key.count(DEAD_LETTER, 0, {})

    def commit(self, steps: int) -> None:
        """Everything before step ``steps`` is published."""
        self._database.execute("begin")
        self._answer_key.write()
        self._counted = max(self._counted, steps)
        self._database.execute("update counted set steps = ?", (self._counted,))
        self._database.execute("commit")


def published(path: Path) -> int:
    """How many steps of the file whose book is at ``path`` were published; 0 when there is none."""
    database = state.to_read(path, "counted")
    if database is None:
        return 0
    try:
        row = database.execute("select steps from counted").fetchone()
    finally:
        database.close()
    return int(row[0]) if row else 0
