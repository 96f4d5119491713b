"""The log by offsets: where its partitions begin and end, what is in between, the position of a consumer group.

Every call may block for some seconds and raise BrokerUnavailable. It never joins a group or commits an offset.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.catalogue import Event
from schemas.errors import BrokerUnavailable
from schemas.kafka import Kafka, stays_logged_in
from spark.task import Slice

SECONDS = 30
BATCH = 5_000
QUIET: dict[str, Any] = {"log_level": 0, "logger": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A record as it stands in the log. ``published_at`` is its timestamp, UTC."""

    partition: int
    offset: int
    published_at: datetime
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A partition's contents: the first offset, and the one after the last."""

    begin: int
    end: int


class Log:
    """One Kafka cluster."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def extents(self, event: Event) -> dict[int, Extent]:
        """By partition of the event's topic."""
        begins = self._offsets(event, OffsetSpec.earliest())
        ends = self._offsets(event, OffsetSpec.latest())
        return {n: Extent(begin=begins[n], end=ends[n]) for n in begins}

    def first_since(self, event: Event, moment: datetime) -> dict[int, int]:
        """By partition, the first offset published at ``moment`` or later; the end when there is none.

        Kafka knows no time before 1970. Nothing was published then, so that is the log's beginning.
        """
        found = self._offsets(event, OffsetSpec.for_timestamp(max(int(moment.timestamp() * 1000), 0)))
        ends = self._offsets(event, OffsetSpec.latest())
        return {n: offset if offset >= 0 else ends[n] for n, offset in found.items()}

    def _offsets(self, event: Event, spec: OffsetSpec) -> dict[int, int]:
        with self._admin() as admin:
            partitions = self._partitions(admin, event)
            asked = admin.list_offsets({TopicPartition(event.topic, n): spec for n in partitions}, request_timeout=10)
            return {place.partition: future.result().offset for place, future in asked.items()}

    def _partitions(self, admin: AdminClient, event: Event) -> list[int]:
        topic = admin.list_topics(event.topic, timeout=10).topics[event.topic]
        if topic.error is not None:
            raise BrokerUnavailable(f"Kafka at {self._kafka} has no topic {event.topic}; `insights up` creates it")
        return sorted(topic.partitions)

    def committed(self, group: str, events: Iterable[Event]) -> dict[str, dict[int, int]]:
        """By topic and partition, the offsets a group has committed; partitions without one are left out."""
        with self._admin() as admin:
            places = [TopicPartition(e.topic, n) for e in events for n in self._partitions(admin, e)]
            (future,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]).values()
            found: dict[str, dict[int, int]] = {}
            for place in future.result(timeout=SECONDS).topic_partitions:
                if place.offset >= 0:
                    found.setdefault(place.topic, {})[place.partition] = place.offset
            return found

    def records(self, event: Event, slices: Iterable[Slice]) -> Iterator[LogRecord]:
        """What stands in the slices, partition by partition, in order. Tombstones are left out."""
        consumer = Consumer(
            {
                **QUIET,
                **self._kafka.librdkafka,
                "group.id": "insights-replay-reads-without-a-group",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
            }
        )
        try:
            for piece in slices:
                if piece.records > 0:
                    yield from self._slice(consumer, event, piece)
        except KafkaException as error:
            raise self._away(error) from error
        finally:
            consumer.close()

    def _slice(self, consumer: Consumer, event: Event, piece: Slice) -> Iterator[LogRecord]:
        consumer.assign([TopicPartition(event.topic, piece.partition, piece.from_offset)])
        last = time.monotonic()
        following = piece.from_offset
        while True:
            # No more than are left: consume returns when it has them all, and else waits for its whole timeout.
            messages = consumer.consume(min(BATCH, piece.until_offset - following), timeout=1)
            if messages:
                last = time.monotonic()
            elif time.monotonic() - last > SECONDS:
                raise BrokerUnavailable(
                    f"Kafka at {self._kafka} returned nothing of {event.topic} partition {piece.partition} for"
                    f" {SECONDS} s"
                )
            for message in messages:
                if message.error():
                    if message.error().name() == "_PARTITION_EOF":
                        return
                    raise KafkaException(message.error())
                if message.offset() >= piece.until_offset:
                    return
                if message.value() is not None:
                    at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
                    yield LogRecord(
                        partition=piece.partition, offset=message.offset(), published_at=at, value=message.value()
                    )
                following = message.offset() + 1
                if following == piece.until_offset:
                    return

    @cached_property
    def _client(self) -> AdminClient:
        return stays_logged_in(self._kafka, AdminClient({**QUIET, **self._kafka.librdkafka}))

    @contextmanager
    def _admin(self) -> Iterator[AdminClient]:
        try:
            yield self._client
        except KafkaException as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> BrokerUnavailable:
        return BrokerUnavailable(f"Kafka at {self._kafka} did not answer as expected: {error}")


def slices(offsets: Mapping[int, tuple[int, int]]) -> tuple[Slice, ...]:
    """Partition to (first, after the last), as slices; empty ones are left out."""
    return tuple(
        Slice(partition=n, from_offset=first, until_offset=until)
        for n, (first, until) in sorted(offsets.items())
        if until > first
    )
