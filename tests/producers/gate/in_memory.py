"""The gate without servers: a publisher and a dead-letter topic in memory, which check as the real ones do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import structlog

from producers.gate.check import Checker
from producers.gate.intake import Intake
from producers.gate.letters import SentLetters
from producers.gate.writers import Writers
from producers.persons.letters import Letters
from producers.redrive.event import Anybody
from producers.runner import Run
from schemas.catalogue import Event
from schemas.codec import Encoder, SchemaLookup
from schemas.errors import Retryable
from tests.producers.gate.records import AT, ORDER, Known

ENCODER = Encoder(ORDER, 1, "EUR")


@dataclass
class NeverAsked:
    """A wish to stop that nobody has; ``asked_after`` waits somebody does."""

    asked_after: int = 1_000
    waits: int = 0

    def wait(self, seconds: float) -> bool:
        self.waits += 1
        return self.waits >= self.asked_after


@dataclass
class Hub:
    """Kafka in memory: ``events`` and ``letters`` as they were queued. ``away`` flushes fail first."""

    lookup: SchemaLookup = field(default_factory=Known)
    events: list[dict[str, Any]] = field(default_factory=list)
    letters: list[tuple[bytes, Exception, Mapping[str, str]]] = field(default_factory=list)
    known_letters: set[int] = field(default_factory=set)
    catch_ups: int = 0
    away: int = 0
    is_waiting: bool = False
    stop: NeverAsked = field(default_factory=NeverAsked)
    log: Any = field(default_factory=structlog.get_logger)

    @property
    def publisher(self) -> Hub:
        return self

    def publish(self, event: Event, record: Mapping[str, Any]) -> None:
        ENCODER.encode(record)
        self.events.append(dict(record))

    def flush(self) -> None:
        if self.away:
            self.away -= 1
            raise Retryable("away")

    def send(self, meant_for: Event, original: bytes, *, error: Exception, origin: Any, **_: Any) -> None:
        self.letters.append((original, error, origin))

    def has(self, message: Any) -> bool:
        return message.offset in self.known_letters

    def catch_up(self, message: Any, positions: Any) -> None:
        self.catch_ups += 1

    def intake(self) -> Intake:
        checker = Checker(ORDER, Writers(ORDER, self.lookup), Anybody())
        return Intake(cast(Run, self), {ORDER.ingress: (ORDER, checker)}, cast(Letters, self), cast(SentLetters, self))


def hand(intake: Intake, offset: int, value: bytes | None, key: bytes | None = None) -> None:
    """One record, as quixstreams hands it over."""
    intake.add(value, key, int(AT.timestamp() * 1000), None, ORDER.ingress, 0, offset)
