"""The only way to publish to the log: encodes by contract, publishes idempotently, loses nothing silently."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import catalogue
from schemas.catalogue import MOST_AHEAD, Event
from schemas.codec import ERROR_HEADERS, SCHEMA_ID_HEADER, Encoder, Record
from schemas.errors import BrokerUnavailable, ContractBroken, EventTooLarge, InsightsError
from schemas.kafka import Kafka, stays_logged_in
from schemas.plural import counted

LONGEST_HEADER: Final = 8_192  # characters: a letter has to fit, whatever its message quotes
POLL_EVERY: Final = 256
FLUSH_SECONDS: Final = 60.0
# Errors are remembered up to here; the first one names the cause, the rest are its echo.
REMEMBERED_ERRORS: Final = 16

PRODUCER_SETTINGS: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    "batch.size": 1_000_000,
    "batch.num.messages": 50_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 262_144,
    "message.max.bytes": 2_097_152,  # above every contract's max_bytes, which is what refuses
    "partitioner": "murmur2_random",  # as Java clients do, so that a key has one partition whichever client writes it
    "delivery.report.only.error": True,  # a callback an event would cost a fifth of the throughput
}


class SchemaIds(Protocol):
    """Where a contract's schema id comes from: schemas.registry.Registry."""

    def register(self, event: Event) -> int:
        """The id of the event's schema, registered if it is new. May block and raise Retryable."""
        ...


class DeliveryFailed(InsightsError):
    """Kafka refused events for good: continuing would lose them. The process must end and restart from its cursor."""


@dataclass(slots=True)
class TopicCounts:
    """What became of one topic's events in this process. ``accepted`` went to the client, ``bytes`` are theirs."""

    accepted: int = 0
    failed: int = 0
    refused: int = 0
    too_large: int = 0
    bytes: int = 0


@dataclass(slots=True, frozen=True)
class _Channel:
    topic: str
    key: str
    headers: list[tuple[str, bytes]]
    times: tuple[str, ...]
    encode: Callable[[Record], bytes]
    counts: TopicCounts


class _Producer(Producer):  # type: ignore[misc]
    """One that can be referred to weakly, which the client's own class can't."""


class Publisher:
    """Publishes events in the order they are given, per key, exactly once per call as long as the process lives.

    Not for several threads at once. Nothing is sure to be on the log before ``flush`` returns.
    """

    def __init__(
        self,
        kafka: Kafka,
        schema_ids: SchemaIds,
        *,
        client_id: str,
        currency: str | None = None,
        settings: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``currency`` is the shop's: a sale in another one is refused. Without it any currency will do.

        ``settings`` are librdkafka's and win over PRODUCER_SETTINGS. ``clock`` gives seconds since 1970.

        Does not block, unless for AWS' keys; the first publish does.
        """
        self.kafka = kafka
        self.counts: dict[str, TopicCounts] = {}
        self.is_waiting = False  # the source's to say: it can't go on until a server answers
        self._schema_ids = schema_ids
        self._currency = currency
        self._channels: dict[str, _Channel] = {}
        self._errors: list[str] = []
        self._failing = Lock()
        self._since_poll = 0
        self._clock = clock
        self._look_at_clock()
        self._producer = stays_logged_in(
            kafka,
            _Producer(
                {
                    **PRODUCER_SETTINGS,
                    **(settings or {}),
                    **kafka.librdkafka,
                    "client.id": client_id,
                    "on_delivery": self._on_delivery,
                    "error_cb": self._on_error,
                    "logger": structlog.get_logger(),  # else it writes to stderr in a form of its own
                }
            ),
        )

    def publish(self, event: Event, record: Record) -> None:
        """Encode and queue one event; blocks while the queue is full.

        Raises ContractBroken naming the field, also for a time at which the event may count that is more than
        MOST_AHEAD of the clock, EventTooLarge, or DeliveryFailed for an earlier event that Kafka refused. A refused
        event leaves nothing behind.
        """
        channel = self._channels.get(event.name) or self._open(event)
        try:
            value = channel.encode(record)
            for name in channel.times:
                if (at := record.get(name)) is not None and at > self._latest:
                    self._refuse_if_ahead(event, name, at)
        except ContractBroken:
            channel.counts.refused += 1
            raise
        except EventTooLarge:
            channel.counts.too_large += 1
            raise
        counts = channel.counts
        counts.accepted += 1
        counts.bytes += len(value)
        self._send(channel.topic, record[channel.key], value, channel.headers)

    def check(self, event: Event, record: Record) -> None:
        """Raises ContractBroken or EventTooLarge as ``publish`` would now, and publishes nothing."""
        channel = self._channels.get(event.name) or self._open(event)
        channel.encode(record)
        for name in channel.times:
            if (at := record.get(name)) is not None:
                self._refuse_if_ahead(event, name, at)

    def dead_letter(
        self,
        meant_for: Event,
        original: bytes,
        *,
        key: bytes | None,
        error: Exception,
        stage: str,
        origin: Mapping[str, str] | None = None,
        message: str | None = None,
    ) -> None:
        """Queue bytes that could not become an event, as they are given, with Kafka Connect's error headers.

        ``stage`` is where it failed (Connect's word; here ``VALUE_CONVERTER`` or ``TRANSFORMATION``), ``origin`` where
        the bytes stood (``{"file": ..., "line": ...}``) and is written under the same prefix. Of bytes that are too
        many even for that topic the head goes, and a header ``truncated.from`` has their number. ``message`` stands for
        the error's own text. What may name a person is sealed first: producers/persons/letters.py.
        """
        letters = catalogue.event("ops.dead_letter")
        counts = self.counts.setdefault(letters.topic, TopicCounts())
        origin = dict(origin or {})
        if len(original) > letters.max_bytes:
            origin["truncated.from"] = str(len(original))
            original = original[: letters.max_bytes]
        counts.accepted += 1
        counts.bytes += len(original)
        headers = _error_headers(
            meant_for, error, str(error) if message is None else message, stage, origin, int(self._clock() * 1000)
        )
        self._send(letters.topic, key, original, headers)

    def flush(self, deadline_seconds: float = FLUSH_SECONDS) -> None:
        """Blocks until everything queued is acknowledged.

        Raises DeliveryFailed when Kafka refused some of it, BrokerUnavailable when it is not done by the deadline.
        """
        left = self._producer.flush(deadline_seconds)
        self._raise_failures()
        if left:
            raise BrokerUnavailable(
                f"{counted(left, 'event was', 'events were')} not acknowledged by Kafka at {self.kafka} within"
                f" {deadline_seconds:g} s; check `insights status`"
            )

    def poll(self) -> None:
        """Serve the client without publishing, and raise what it was told meanwhile."""
        self._producer.poll(0)
        self._look_at_clock()  # it may have been set back
        self._raise_failures()

    @property
    def queued(self) -> int:
        """Events not yet acknowledged."""
        return len(self._producer)

    def open(self, events: Iterable[Event]) -> None:
        """Look the schema ids up now: a registry that goes away later then does not stop this publisher.

        Raises RegistryUnavailable or IncompatibleSchema.
        """
        for event in events:
            self._open(event)

    def _look_at_clock(self) -> datetime:
        """The time now, by which the latest that an event may have is remembered."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        self._latest = now + MOST_AHEAD
        return now

    def _refuse_if_ahead(self, event: Event, name: str, at: datetime) -> None:
        """Raises ContractBroken when the time is past the limit by the clock as it is now, too."""
        now = self._look_at_clock()
        if at > self._latest:
            # The clock's time is quoted, as what is no part of the reason: it is the same one a minute later.
            harm = "later events would be late" if name == "occurred_at" else "it would count in the future"
            raise ContractBroken(
                event.name,
                name,
                f"is {at.isoformat()}, more than {MOST_AHEAD / timedelta(hours=1):g} h ahead of this machine's"
                f" clock ('{now.isoformat(timespec='seconds')}'): {harm}. Correct the time or the clock",
            )

    def _open(self, event: Event) -> _Channel:
        encoder = Encoder(event, self._schema_ids.register(event), self._currency)
        counts = self.counts.setdefault(event.topic, TopicCounts())
        headers = [(SCHEMA_ID_HEADER, str(encoder.schema_id).encode())]
        channel = _Channel(event.topic, event.key, headers, event.times, encoder.encode, counts)
        self._channels[event.name] = channel
        return channel

    def _send(self, topic: str, key: Any, value: bytes, headers: list[tuple[str, Any]]) -> None:
        produce = self._producer.produce
        while True:
            try:
                produce(topic, value, key, headers=headers)
                break
            except BufferError:  # the queue is full: wait for room rather than drop
                self._producer.poll(0.05)
                self._raise_failures()
            except KafkaException as error:
                raise self._failure(str(error.args[0])) from error
        self._since_poll += 1
        if self._since_poll >= POLL_EVERY:
            self._since_poll = 0
            self.poll()

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        topic = message.topic() or "?"
        with self._failing:  # the thread that stays logged in may be told of it, too
            self.counts.setdefault(topic, TopicCounts()).failed += 1
            if len(self._errors) < REMEMBERED_ERRORS:
                self._errors.append(f"{topic}: {error.str()}")

    def _on_error(self, error: KafkaError) -> None:
        # Anything else is a broker that is away, which the client outlasts; its failures come by _on_delivery.
        if error.fatal():
            self._errors.insert(0, f"the client can't continue: {error.str()}")

    def _raise_failures(self) -> None:
        if self._errors:
            raise self._failure(self._errors[0])

    def _failure(self, cause: str) -> DeliveryFailed:
        return DeliveryFailed(
            f"Kafka at {self.kafka} rejected events ({cause}); the source stops so that none is lost, and resumes"
            " from its last acknowledged event when it is started again"
        )


def _error_headers(
    meant_for: Event, error: Exception, message: str, stage: str, origin: Mapping[str, str], at_ms: int
) -> list[tuple[str, bytes]]:
    texts = {
        "topic": meant_for.topic,
        "stage": stage,
        "exception.class.name": f"{type(error).__module__}.{type(error).__qualname__}",
        "exception.message": message,
        "timestamp": str(at_ms),
        **origin,
    }
    # A message may quote what no UTF-8 has, and at any length.
    return [(ERROR_HEADERS + name, text[:LONGEST_HEADER].encode(errors="replace")) for name, text in texts.items()]
