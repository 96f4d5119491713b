"""From a record of another program to an event of its contract. Reads no topic and publishes nothing.

A value that begins with a zero byte is Avro in Confluent's wire format (producers/gate/writers.py). Any other is one
object of JSON in UTF-8 with the contract's fields, as ``insights dead-letters redrive`` reads it: times in ISO 8601
with their zone or in milliseconds, dates as 2026-11-30, decimals as text or number. Fields with a default may be left
out, and ``event_id`` too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from producers.gate.writers import Writers
from producers.redrive.event import PERSONS, UUID, Persons, as_typed, person
from producers.redrive.steps import CannotFix, read_json
from producers.shop.identifiers import event_id_of
from schemas.binary import since_epoch
from schemas.catalogue import Event
from schemas.errors import PoisonEvent

SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class BadMessage(PoisonEvent):
    """A record that can't become an event: the field, and what is wrong with it."""

    def __init__(self, event: str, field: str, problem: str) -> None:
        super().__init__(f"{event}: {f'field {field}' if field else 'the value'} {problem}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Message:
    """A record of an ingress topic as it came. ``at_ms`` is when the broker took it, in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def event_id(self, source: str, occurred_at: Any) -> str:
        """The id of an event without one. It follows from the record's place: of two topics with one name none has the
        same. Whoever makes the event of this record makes the same event: the gate again, or a redrive of its letter.
        """
        is_time = isinstance(occurred_at, datetime) and occurred_at.tzinfo is not None
        place = f"{self.topic}:{self.partition}:{self.offset}:{self.at_ms}"
        return event_id_of(source, place, since_epoch(occurred_at) if is_time else self.at_ms)


class Checker:
    """Checks the records of one ingress topic. ``shops`` are the connected shops, whose events only we publish."""

    def __init__(self, event: Event, writers: Writers, persons: Persons, shops: Collection[str] = ()) -> None:
        self._event = event
        self._writers = writers
        self._persons = persons
        self.shops = shops

    def record(self, message: Message) -> dict[str, Any]:
        """The event's record, which the publisher's codec has yet to check against the contract.

        Raises PoisonEvent, or Retryable while the registry does not answer.
        """
        said = self._said(message.value)
        check_said(self._event, said, self.shops, message.key)
        source = str(said["source"])
        said.setdefault("trace", None)
        said["event_id"] = self._event_id(said, source, message)
        for name in PERSONS:
            if isinstance(who := said.get(name), str):
                said[name] = person(self._persons, source, who)
        return said

    def known(self, message: Message) -> tuple[str | None, str | None]:
        """The source of a record, and the pseudonym of its person, as far as it can be read. Raises Retryable."""
        try:
            said = self._said(message.value)
        except PoisonEvent:
            return None, None
        source = said.get("source")
        if not isinstance(source, str) or not SOURCE.fullmatch(source):
            return None, None
        found = (said.get(name) for name in PERSONS)
        return source, next((person(self._persons, source, who) for who in found if isinstance(who, str)), None)

    def _said(self, value: bytes | None) -> dict[str, Any]:
        name = self._event.name
        if not value:
            raise BadMessage(name, "", "is empty; an event that is withdrawn is published as its contract says")
        if value[0] == 0:
            return self._writers.read(value)
        try:
            found = read_json(value.decode())
        except UnicodeDecodeError as error:
            problem = f"is neither Avro with a schema id nor JSON in UTF-8 ({error.reason})"
            raise BadMessage(name, "", problem) from error
        except CannotFix as error:
            raise BadMessage(name, "", f"is neither Avro with a schema id nor JSON ({error})") from error
        if not isinstance(found, dict):
            raise BadMessage(name, "", f"is JSON, but {type(found).__name__} and not one object")
        said: dict[str, Any] = as_typed(self._event.schema, found)
        return said

    def _event_id(self, said: Mapping[str, Any], source: str, message: Message) -> Any:
        """The one that it has; without one it follows from its place, so that reading it again makes the same event."""
        found = said.get("event_id")
        if found is None:
            return message.event_id(source, said.get("occurred_at"))
        if not isinstance(found, str) or not UUID.fullmatch(found):
            problem = f"is {found!r}, which is not a UUID in lower case; send one, or leave it out"
            raise BadMessage(self._event.name, "event_id", problem)
        return found


def check_said(event: Event, said: Mapping[str, Any], shops: Collection[str], key: bytes | None) -> None:
    """What a program of others may not say, although the contract would allow it. Raises BadMessage.

    ``said`` has the contract's types, as far as they fit; the codec says where they don't. ``key`` is the record's.
    """
    wanted = said.get(event.key)
    if key is not None and isinstance(wanted, str) and key != wanted.encode("utf-8", "surrogatepass"):
        problem = f"is {wanted!r}, and the record's key is {key!r}; send the same, or no key"
        raise BadMessage(event.name, event.key, problem)
    source = said.get("source")
    if not isinstance(source, str) or not SOURCE.fullmatch(source):
        problem = f"is {source!r}" if "source" in said else "is missing"
        raise BadMessage(event.name, "source", f"{problem}; name the program with up to 63 of a-z, 0-9 and hyphens")
    if source in shops:
        problem = f"is {source!r}, a connected shop, whose events are read from the shop alone"
        raise BadMessage(event.name, "source", problem)
    at = said.get("occurred_at")
    if isinstance(at, datetime) and at.tzinfo is not None and at < OLDEST:
        problem = f"is {at.isoformat()}, before {OLDEST:%Y}; send ISO 8601 with a zone, or milliseconds since 1970"
        raise BadMessage(event.name, "occurred_at", problem)
