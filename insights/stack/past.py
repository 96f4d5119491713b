"""Progress of the history that a stack begins with: published by its source, then counted by the live job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from insights.settings import Settings
from insights.stack.process_record import Record, read_state
from insights.stack.recurring_jobs import Command
from producers.connect.connections import names
from producers.connect.memory import histories_read
from producers.shop.shop_state import published_until
from reconciliation.topic_counts import QUIET, Recorded, read_log, read_recorded
from schemas.catalogue import avro_events
from schemas.kafka import logged_in
from warehouse.postgres import PostgresAway, opened

# The source's cursor moves once a second; a minute that is over is noted when the next one has an event.
LIVE_WITHIN = timedelta(minutes=3)
PAST_SECONDS = 600.0
# Canaries are of the present, and may have been turned off.
REACHED = """
select min(newest) from (
    select max(last_event_at) as newest from ops.event_counts where topic <> 'ops.canary_sent.v1' group by topic
) as topics
"""
POLL_SECONDS = 1.0


class Past:
    """The past that ``source``, a part of the stack, publishes: ``shop-events``, ``orders`` of a file, or
    ``connections`` of real shops.
    """

    def __init__(
        self, settings: Settings, source: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._published: dict[str, int] | None = None  # records by topic, when the source was through with the past

    def is_counted(self) -> bool:
        """Whether all that was on the log when the source was through with the past has its fate.

        Blocks for some milliseconds. False while Kafka or Postgres does not answer.
        """
        with suppress(PostgresAway, psycopg.Error, KafkaException):
            if self._published is None:
                if not self.is_published():
                    return False
                self._published = read_log(logged_in(AdminClient({**self._settings.kafka.librdkafka, **QUIET})))
            with opened(self._settings.postgres_dsn) as connection:
                return has_all(self._published, read_recorded(connection))
        return False

    def reached(self) -> datetime | None:
        """The time up to which each source's topic is counted; None before the first event, or without Postgres."""
        with suppress(PostgresAway, psycopg.Error), opened(self._settings.postgres_dsn) as connection:
            row = connection.execute(REACHED).fetchone()
            return row[0] if row else None
        return None

    def is_published(self) -> bool:
        """Whether the source is through with the past: at the clock, or at the end of its file."""
        if self._source == "connections":
            folder = self._settings.producers_dir
            return histories_read(folder).issuperset(names(folder))
        if self._source == "orders":
            return read_state(self._settings.run_dir).get("orders", Record()).state == "done"
        until = published_until(self._settings.producers_dir / "shop.sqlite")
        return until is not None and self._clock() - until < LIVE_WITHIN


class AfterPast:
    """A command whose first run waits until the past is counted, but not for longer than PAST_SECONDS."""

    def __init__(self, command: Command, past: Past, *, seconds: float = PAST_SECONDS) -> None:
        self._command = command
        self._past: Past | None = past
        self._seconds = seconds
        self._cancelled = threading.Event()

    def run(self) -> None:
        """Blocks until the command ends. Raises CommandFailed with its last words."""
        deadline = time.monotonic() + self._seconds
        while self._past is not None and not self._past.is_counted() and time.monotonic() < deadline:
            if self._cancelled.wait(POLL_SECONDS):
                return
        self._past = None
        self._command.run()

    def cancel(self) -> None:
        """Ends the wait, or asks the run under way to end."""
        self._cancelled.set()
        self._command.cancel()


class LateRuns:
    """Runs that count late events: every so often, and once a shop that was connected to a running stack is read.

    Its history is late where the stack has counted newer orders of other shops, and need not wait for an hour.
    """

    def __init__(self, command: Command, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._command = command
        self._settings = settings
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._cancelled = threading.Event()
        self._read = histories_read(settings.producers_dir)
        self._past: Past | None = None
        self._due: float | None = None

    def run(self) -> None:
        """Blocks until the command ends. Raises CommandFailed with its last words."""
        with self._one_at_a_time:
            if not self._cancelled.is_set():
                self._command.run()

    def after_histories(self) -> None:
        """The same, if a history was read to its end since this was last asked, and its windows may be final by now."""
        read = histories_read(self._settings.producers_dir)
        if read - self._read:
            self._past = Past(self._settings, "connections")
        self._read = read
        if self._past is not None and self._past.is_counted():
            # Until then a topic without events has followed the others.
            self._past, self._due = None, self._clock() + 2 * self._settings.idle_timeout_seconds
        if self._due is not None and self._clock() >= self._due:
            self._due = None
            self.run()

    def cancel(self) -> None:
        """Asks the run under way to end, and begins no other."""
        self._cancelled.set()
        self._command.cancel()


def has_all(published: Mapping[str, int], recorded: Recorded) -> bool:
    """Whether this many records of each topic are counted, duplicate, late or dead."""
    topics = {event.topic for event in avro_events()}  # dead letters are not for the live job
    return all(records <= _with_fate(topic, recorded) for topic, records in published.items() if topic in topics)


def _with_fate(topic: str, recorded: Recorded) -> int:
    tally = recorded.tallies.get(topic)
    return (tally.on_time if tally else 0) + recorded.late.get(topic, 0) + recorded.dead.get(topic, 0)
