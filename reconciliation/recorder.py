"""Records the log's counts in Postgres for readers that can't query Kafka: each topic's sum, and every dead letter.

The counts are the same as in `insights status` (reconciliation/topic_counts.py). A letter's contents are not copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from flink.hold import held, record
from reconciliation import dead_letters
from reconciliation.dead_letters import PARTITION, DeadLetter
from reconciliation.topic_counts import QUIET, Log, TopicCounts, count, read_log, read_recorded
from schemas.catalogue import events
from schemas.errors import BrokerUnavailable
from schemas.kafka import Kafka, stays_logged_in
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, connected

NEWEST = "select kafka_offset, dead_at, topic from ops.dead_letters order by kafka_offset desc limit 1"
COPY = """
copy ops.dead_letters
    (kafka_partition, kafka_offset, dead_at, topic, error, reason, source_partition, source_offset)
from stdin
"""
UPSERT = """
insert into ops.log_counts (topic, published, counted, duplicate, late, dead, recorded_at)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (topic) do update
set published = excluded.published, counted = excluded.counted, duplicate = excluded.duplicate,
    late = excluded.late, dead = excluded.dead, recorded_at = excluded.recorded_at
"""


class ReconciliationRecorder:
    """Updates ops.log_counts, ops.dead_letters and ops.holds. ``step`` is called every minute; it blocks."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._admin: AdminClient | None = None

    def step(self) -> None:
        """Raises Retryable when a server is away, and nothing is written."""
        if self._admin is None:
            kafka = self._deployment.kafka
            self._admin = stays_logged_in(kafka, AdminClient({**kafka.librdkafka, **QUIET}))
        try:
            with connected(self._deployment) as connection:
                record(connection, held(self._deployment))
                connection.commit()  # even if Kafka fails
                self._keep(connection, self._admin)
        except KafkaException as error:
            raise BrokerUnavailable(f"Kafka at {self._deployment.kafka} did not return its offsets: {error}") from error

    def _keep(self, connection: Connection, admin: AdminClient) -> None:
        connection.execute("lock table ops.dead_letters in exclusive mode")  # one copies at a time
        # Postgres first: read the other way round, events counted in between would be more than were published.
        recorded, at = read_recorded(connection), datetime.now(UTC)
        records = read_log(admin)
        copy_dead_letters(connection, self._deployment.kafka, records.get(dead_letters.TOPIC, 0))
        log = Log(records=records, dead=_dead(connection))
        for e in events():
            _record(connection, e.topic, count(e.topic, log, recorded, avro=e.format == "avro"), at)


def copy_dead_letters(connection: Connection, kafka: Kafka, end: int) -> None:
    """Copies those up to the offset ``end`` that are not there, in the caller's transaction. May raise KafkaException.

    Letters of another log, which was there before this one, go.
    """
    newest = connection.execute(NEWEST).fetchone()
    # From the newest on, which must be the same again: else the log is not the one that it was copied from.
    letters = dead_letters.read(kafka, newest[0] if newest else 0, end)
    first = next(letters, None)
    if newest and _is_other_log(newest, first, end):
        connection.execute("delete from ops.dead_letters")
        _insert(connection, dead_letters.read(kafka, 0, end))
    elif first:
        _insert(connection, letters if newest and first.offset == newest[0] else chain([first], letters))


def _is_other_log(newest: tuple[int, datetime, str], first: DeadLetter | None, end: int) -> bool:
    offset, dead_at, topic = newest
    if first and first.offset == offset:
        return (first.dead_at, first.topic) != (dead_at, topic)
    return offset >= end


def _insert(connection: Connection, letters: Iterator[DeadLetter]) -> None:
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        for letter in letters:
            copy.write_row(
                (
                    *(PARTITION, letter.offset, letter.dead_at, letter.topic, letter.error, letter.reason),
                    *(letter.source_partition, letter.source_offset),
                )
            )


def _dead(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("select topic, count(*) from ops.dead_letters group by topic").fetchall())


def _record(connection: Connection, topic: str, counts: TopicCounts, at: datetime) -> None:
    connection.execute(
        UPSERT, (topic, counts.published, counts.counted, counts.duplicate, counts.late, counts.dead, at)
    )
