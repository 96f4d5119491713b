"""Publishes a canary each minute, waits for its row, and judges those of the last day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg

from insights.canary.judge import Rows, Sent, amount_at, judge, number_of, read
from insights.stack.part import Recurring
from producers.publisher import DeliveryFailed, Publisher
from producers.shop.identifiers import envelope
from schemas import catalogue
from schemas.codec import Record
from schemas.errors import Retryable
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, opened

CANARY_SENT = catalogue.event("ops.canary_sent")
KEPT = timedelta(days=1)
# A row is there within a second; one that takes longer is seen with the next canary.
AWAITED_SECONDS = 15.0
LOOK_SECONDS = 0.1
FLUSH_SECONDS = 20.0
IN_TABLE: LiteralString = "select window_start, canaries, amount from live.canary_per_minute where window_start >= %s"
IN_MART: LiteralString = "select canary_at, canaries, amount from marts.canary where canary_at >= %s"
JUDGED = """
update ops.canaries
set in_table_at = %(in_table_at)s, in_mart_at = %(in_mart_at)s, wrong = %(wrong)s
where canary_at = %(canary_at)s
"""


def canary_of(minute: datetime) -> Record:
    """The event of a minute: the same whenever it is published, so that a second one is a copy."""
    at_ms = int(minute.timestamp() * 1000)
    key = str(number_of(minute))
    return {**envelope("canary", key, at_ms), "canary_id": key, "amount": amount_at(minute)}


def canary_job(deployment: Deployment) -> Recurring:
    """The recurring job that sends one each minute."""
    stopped = threading.Event()
    return Recurring(
        name="canary",
        step=Canary(deployment, stopped=stopped).step,
        says="kept in ops.canaries",
        every_seconds=60.0,
        after=("job",),
        cancel=stopped.set,
    )


class Canary:
    """Keeps ops.canaries. ``step`` is called once a minute; it blocks until the canary's row is there, or for 15 s.

    Once ``stopped`` is set, it waits for nothing any more.
    """

    def __init__(
        self,
        deployment: Deployment,
        clock: Callable[[], float] = time.time,
        stopped: threading.Event | None = None,
        awaited_seconds: float = AWAITED_SECONDS,
    ) -> None:
        self._deployment = deployment
        self._clock = clock
        self._stopped = stopped or threading.Event()
        self._awaited_seconds = awaited_seconds
        self._publisher: Publisher | None = None

    def step(self) -> None:
        """Raises Retryable when a server is away, and DeliveryFailed when Kafka refuses the canary."""
        minute = self._now().replace(second=0, microsecond=0)
        with opened(self._deployment.postgres_dsn) as connection:
            if not connection.execute("select from ops.canaries where canary_at = %s", (minute,)).fetchone():
                published_at = self._now()
                self._publish(minute)
                connection.execute(
                    "insert into ops.canaries (canary_at, published_at) values (%s, %s)", (minute, published_at)
                )
            self._await(connection, minute)
            self.look(connection)

    def look(self, connection: Connection) -> list[Sent]:
        """Judges all that are kept, by the rows that are there now."""
        now = self._now()
        since = now - KEPT
        connection.execute("delete from ops.canaries where canary_at < %s", (since,))
        table, mart = _rows(connection, IN_TABLE, since), _rows(connection, IN_MART, since)
        before = read(connection)
        judged = [judge(sent, table, mart, now) for sent in before]
        for was, sent in zip(before, judged, strict=True):
            if was != sent:
                connection.execute(JUDGED, asdict(sent))
        return judged

    def _publish(self, minute: datetime) -> None:
        if self._publisher is None:
            from schemas.registry import Registry  # a second to load, which only the supervisor should pay

            registry = Registry(self._deployment.registry)
            self._publisher = Publisher(self._deployment.kafka, registry, client_id="insights-canary")
        try:
            self._publisher.poll()
            self._publisher.publish(CANARY_SENT, canary_of(minute))
            self._flush(self._publisher)
        except (Retryable, DeliveryFailed):
            self._publisher = None  # what is in its queue is of a minute that is over
            raise

    def _flush(self, publisher: Publisher) -> None:
        deadline = self._clock() + FLUSH_SECONDS
        while publisher.queued and self._clock() < deadline and not self._stopped.wait(LOOK_SECONDS):
            publisher.poll()
        publisher.flush(0)

    def _await(self, connection: Connection, minute: datetime) -> None:
        deadline = self._clock() + self._awaited_seconds
        while minute not in _rows(connection, IN_TABLE, minute) and self._clock() < deadline:
            if self._stopped.wait(LOOK_SECONDS):
                return

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _rows(connection: Connection, query: LiteralString, since: datetime) -> Rows:
    """Nothing where the mart was not built yet."""
    try:
        return {minute: (canaries, amount) for minute, canaries, amount in connection.execute(query, (since,))}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return {}
