"""The gate's dead letters: sealed, with Kafka Connect's headers, and one for each record.

The gate reads a record again that it had taken and not committed when it was killed. An event has the same id then,
and counts once. A letter has no id, so the gate looks at the letters on the log before it sends one of a record that an
earlier reader may have had.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from producers.gate.check import Message
from producers.persons.letters import Letters
from schemas.catalogue import MOST_AHEAD, Event, event
from schemas.codec import ERROR_HEADERS
from schemas.errors import BrokerUnavailable, Retryable
from schemas.kafka import Kafka, logged_in
from schemas.quoted import LONGEST_REASON

TOPIC: Final = event("ops.dead_letter").topic
TAKEN_AT: Final = "record.timestamp"
NAME: Final = "insights-gate"
KAFKA_SECONDS: Final = 10.0
AHEAD_MS: Final = int(MOST_AHEAD.total_seconds() * 1000)  # by which two machines' clocks may differ
MOST_HEADERS: Final = 32
# Some 50 MB of them. Only a gate whose group was set back has more: beyond, a record gets a second letter, and both
# make the same event.
MOST_FOUND: Final = 200_000
LONGEST_HEADER: Final = 1_024
READING: Final[Mapping[str, Any]] = {
    "group.id": NAME,  # never joined: its partition is assigned, and nothing is committed
    "enable.auto.commit": False,
    "log_level": 0,
}
Place = tuple[str, int, int, int]


def send(
    letters: Letters, meant_for: Event, message: Message, error: Exception, source: str | None, whose: str | None
) -> None:
    """Queue the letter of a record. In plain are its place, its source and why; sealed are bytes, key and headers."""
    letters.send(
        meant_for,
        message.value or b"",
        error=error,
        origin={
            "topic": message.topic,
            "partition": str(message.partition),
            "offset": str(message.offset),
            TAKEN_AT: str(message.at_ms),
            "connector.name": NAME,
            **({"source": source} if source else {}),
        },
        quoting=_quoted(message),
        whose=whose,
    )


def _quoted(message: Message) -> dict[str, str]:
    found = {} if message.key is None else {"key": _text(message.key)}
    for name, value in message.headers[:MOST_HEADERS]:
        found[f"header.{name[:LONGEST_REASON]}"] = _text(value or b"")
    if left := len(message.headers) - MOST_HEADERS:
        found |= {"headers.left_out": str(left)} if left > 0 else {}
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()[:LONGEST_HEADER]
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()[:LONGEST_HEADER]


class SentLetters:
    """Which records have a letter on the log. ``open_consumer`` is confluent_kafka's Consumer.

    Of all letters it keeps those of records that may be read again: from where their partition is, or was committed.
    """

    def __init__(
        self,
        kafka: Kafka,
        is_stopping: Callable[[], bool] = lambda: False,
        open_consumer: Callable[[dict[str, Any]], Any] = Consumer,
    ) -> None:
        self._kafka = kafka
        self._is_stopping = is_stopping
        self._open = open_consumer
        self._found: set[Place] = set()
        self._from_ms: int | None = None
        self._reached = 0

    def has(self, message: Message) -> bool:
        """Whether it had one when ``catch_up`` was called."""
        return (message.topic, message.partition, message.offset, message.at_ms) in self._found

    def catch_up(self, message: Message, positions: Mapping[tuple[str, int], int]) -> None:
        """Read the letters that this record, and those after it in its partition, may have.

        ``positions`` are the partitions' offsets below which nobody asks. Blocks; raises BrokerUnavailable, or
        Retryable when the gate is to stop. A letter is read once, however often this is called: a partition is read in
        the order in which the broker took its records.
        """
        from_ms = message.at_ms - AHEAD_MS
        try:
            consumer = logged_in(self._open({**self._kafka.librdkafka, **READING}))
            try:
                if self._from_ms is None or from_ms < self._from_ms:
                    self._from_ms, self._reached = from_ms, _offset_at(consumer, from_ms)
                begins = dict(positions)
                self._found = {each for each in self._found if _begin(consumer, begins, each) <= each[2]}
                for place in self._read(consumer):
                    if len(self._found) < MOST_FOUND and _begin(consumer, begins, place) <= place[2]:
                        self._found.add(place)
            finally:
                consumer.close()
        except KafkaException as error:
            raise BrokerUnavailable(f"the dead letters can't be read from Kafka at {self._kafka}: {error}") from error

    def _read(self, consumer: Any) -> Iterator[Place]:
        _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=KAFKA_SECONDS)
        if self._reached >= end:
            return
        consumer.assign([TopicPartition(TOPIC, 0, self._reached)])
        while self._reached < end:
            if self._is_stopping():
                raise Retryable(f"told to stop at dead letter {self._reached} of {end}")
            messages = consumer.consume(min(1_000, end - self._reached), timeout=KAFKA_SECONDS)
            if not messages:
                raise BrokerUnavailable(f"no dead letter came from offset {self._reached} within {KAFKA_SECONDS:g} s")
            for message in messages:
                if error := message.error():
                    raise KafkaException(error)
                self._reached = message.offset() + 1
                if place := place_in(message.headers()):
                    yield place


def _begin(consumer: Any, begins: dict[tuple[str, int], int], place: Place) -> int:
    """The offset below which no record of a partition is read again: what all gates have committed, where not known."""
    at = place[:2]
    if at not in begins:
        (found,) = consumer.committed([TopicPartition(*at)], timeout=KAFKA_SECONDS)
        begins[at] = max(found.offset, 0)
    return begins[at]


def _offset_at(consumer: Any, at_ms: int) -> int:
    """The first letter that was sent at that time or later; the end, when there is none."""
    (found,) = consumer.offsets_for_times([TopicPartition(TOPIC, 0, max(at_ms, 0))], timeout=KAFKA_SECONDS)
    if found.offset >= 0:
        return int(found.offset)
    _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=KAFKA_SECONDS)
    return int(end)


def place_in(headers: list[tuple[str, bytes | None]] | None) -> Place | None:
    """The record that a letter of the gate is of; None for one of others."""
    said = {name.removeprefix(ERROR_HEADERS): (value or b"").decode(errors="replace") for name, value in headers or ()}
    found = record_of(said) if said.get("connector.name") == NAME else None
    return (found.topic, found.partition, found.offset, found.at_ms) if found else None


def record_of(headers: Mapping[str, str]) -> Message | None:
    """Where the record of a gate's letter was, by the letter's headers without Connect's prefix; None if not said."""
    try:
        place = int(headers["partition"]), int(headers["offset"]), int(headers[TAKEN_AT])
        return Message(headers["topic"], *place, key=None, value=None)
    except (KeyError, ValueError):  # of another gate's making
        return None
