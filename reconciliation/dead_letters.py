"""Reads the dead-letter topic: what each letter was meant for, and why it is dead. Does not read its contents."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.catalogue import event, meant_for
from schemas.codec import ERROR_HEADERS
from schemas.errors import BrokerUnavailable
from schemas.kafka import Kafka, logged_in
from schemas.quoted import without_values

TOPIC = event("ops.dead_letter").topic
PARTITION = 0  # its contract gives it one
KAFKA_SECONDS = 3.0
READING = {
    "group.id": "insights-dead-letters",  # never joined: partitions are assigned, and nothing is committed
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "log_level": 0,
    "logger": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One letter. ``topic`` is what it was meant for, empty without a header for it; ``dead_at`` when it was sent.

    ``reason`` quotes no values. ``headers`` are all of them, with the values needed to fix it, and ``value`` the bytes:
    they are for a terminal, and are kept nowhere else.
    """

    offset: int
    dead_at: datetime
    topic: str
    error: str
    reason: str
    source_partition: int | None
    source_offset: int | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    value: bytes = field(default=b"", repr=False)

    @property
    def place(self) -> str:
        """Where it stood: the line of a file, a page, or a place in another topic."""
        if file := self.headers.get("file"):
            sheet = f", sheet {self.headers['sheet']}" if "sheet" in self.headers else ""
            return f"{Path(file).name}{sheet}, line {self.headers.get('line', '?')}"
        if self.source_offset is not None:
            return f"partition {self.source_partition}, offset {self.source_offset}"
        return self.headers.get("url", "")


def read(kafka: Kafka, start: int, end: int) -> Iterator[DeadLetter]:
    """Letters from offset ``start`` up to, not including, ``end``, without those that retention removed. Blocks.

    Raises KafkaException when nothing comes for a few seconds before the end.
    """
    consumer = logged_in(Consumer({**kafka.librdkafka, **READING}))
    try:
        oldest, _ = consumer.get_watermark_offsets(TopicPartition(TOPIC, PARTITION), timeout=KAFKA_SECONDS)
        reached = max(start, oldest)
        consumer.assign([TopicPartition(TOPIC, PARTITION, reached)])
        while reached < end:
            # It waits for as many as it is asked for.
            messages = consumer.consume(min(1000, end - reached), timeout=KAFKA_SECONDS)
            if not messages:
                raise KafkaException(f"no dead letters from offset {reached} within {KAFKA_SECONDS:.0f} s")
            for message in messages:
                if error := message.error():
                    raise KafkaException(error)
                reached = (message.offset() or 0) + 1
                if reached <= end:
                    yield _letter(message)
    finally:
        consumer.close()


def _letter(message: Any) -> DeadLetter:
    # A letter that failed again somewhere has a header twice: the first has what it was meant for.
    # Postgres takes no text with a NUL.
    raw = ((name, bytes(value or b"").replace(b"\0", b"")) for name, value in reversed(message.headers() or []))
    headers = {name: value.decode(errors="replace") for name, value in raw}
    _, milliseconds = message.timestamp()
    return DeadLetter(
        offset=message.offset(),
        dead_at=datetime.fromtimestamp(milliseconds / 1000, UTC),
        topic=meant_for(headers.get(ERROR_HEADERS + "topic", "")),
        error=headers.get(ERROR_HEADERS + "exception.class.name", ""),
        reason=without_values(headers.get(ERROR_HEADERS + "exception.message", "")),
        source_partition=_number(headers.get(ERROR_HEADERS + "partition")),
        source_offset=_number(headers.get(ERROR_HEADERS + "offset")),
        headers={name.removeprefix(ERROR_HEADERS): text for name, text in headers.items()},
        value=bytes(message.value() or b""),
    )


def every(kafka: Kafka, topic: str | None = None) -> Iterator[DeadLetter]:
    """All letters on the topic, or those that were meant for one topic, oldest first. Blocks; BrokerUnavailable."""
    try:
        consumer = logged_in(Consumer({**kafka.librdkafka, **READING}))
        try:
            start, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, PARTITION), timeout=KAFKA_SECONDS)
        finally:
            consumer.close()
        for letter in read(kafka, start, end):
            if topic is None or letter.topic in (topic, f"{topic}.v1"):
                yield letter
    except KafkaException as error:
        raise BrokerUnavailable(f"the dead letters can't be read from Kafka at {kafka}: {error}; is it up?") from error


def listed(kafka: Kafka, topic: str | None = None) -> list[DeadLetter]:
    """The same as a list. Raises BrokerUnavailable."""
    return list(every(kafka, topic))


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


class DeadLetters:
    """Counts the dead letters by the topic they were for, each read once: where it got to is kept in a file.

    So their number stays whole after the topic's retention has taken the oldest.
    """

    def __init__(self, kafka: Kafka, memory: Path) -> None:
        self._kafka = kafka
        self._memory = memory

    def count(self, end: int) -> dict[str, int]:
        """By topic, up to the offset ``end``. May raise KafkaException."""
        offset, counts = self._remembered(end)
        if offset < end:
            for letter in read(self._kafka, offset, end):
                counts[letter.topic] = counts.get(letter.topic, 0) + 1
            self._remember(end, counts)
        return counts

    def _remembered(self, end: int) -> tuple[int, dict[str, int]]:
        try:
            kept = json.loads(self._memory.read_text())
            # A log that is shorter than what was read of it is another log.
            return (kept["offset"], kept["counts"]) if kept["offset"] <= end else (0, {})
        except (OSError, ValueError, KeyError):
            return 0, {}

    def _remember(self, offset: int, counts: Mapping[str, int]) -> None:
        try:
            part = self._memory.with_suffix(f".{threading.get_ident()}.part")
            part.write_text(json.dumps({"offset": offset, "counts": counts}))
            part.replace(self._memory)
        except OSError:
            pass  # read-only for this user; it is only slower next time
