"""The real publisher without a Kafka behind it: what it would send is kept, and read back as from the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from producers.publisher import Publisher
from schemas.catalogue import Event
from schemas.codec import Decoder
from schemas.kafka import Kafka


class Message(NamedTuple):
    """As the Kafka client has one; it is of partition 0."""

    topic: str
    sent: bytes
    said: list[tuple[str, Any]]

    def value(self) -> bytes:
        return self.sent

    def headers(self) -> list[tuple[str, Any]]:
        return self.said

    def partition(self) -> int:
        return 0


class Schemas:
    """A registry of this process."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def register(self, event: Event) -> int:
        self._texts.append(event.schema_text)
        return len(self._texts) - 1

    def schema_text(self, schema_id: int) -> str:
        return self._texts[schema_id]


class Kept(Publisher):
    """Checks and encodes as ever, and keeps what comes of it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        schemas = Schemas()
        super().__init__(Kafka("127.0.0.1:1"), schemas, client_id="test-kept", currency="EUR", clock=clock)
        self._decoder = Decoder(schemas)
        self._sent: list[Message] = []

    def _send(self, topic: str, key: Any, value: bytes, headers: list[tuple[str, Any]]) -> None:
        self._sent.append(Message(topic, value, headers))

    def log_of(self, *events: Event) -> Kept:
        """As the fixture of this name: the log of these."""
        return self

    def messages(self, topic: str) -> list[Message]:
        return [message for message in self._sent if message.topic == topic]

    def records(self, topic: str) -> list[dict[str, Any]]:
        return [self._decoder.decode(message.sent)[1] for message in self.messages(topic)]
