"""The event that a fixed letter is: its value as the contract has it, and its envelope. Pure.

A web event is fixed as a page would have sent it, and becomes an event as the collector makes one. Every other event is
fixed as its contract's record in JSON: times in ISO 8601 or milliseconds, dates and decimals as texts.

An event has the id that it had. Without one its id follows from where the letter stands, so that a letter makes the
same event however often it is redriven.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

from producers.collect.batch import Sent, sent
from producers.collect.intake import INTERACTION, check_time
from producers.collect.intake import record as record_of
from producers.persons.keys import NUMBER
from producers.redrive.steps import CannotFix
from producers.shop.identifiers import event_id_of
from schemas.binary import EPOCH, MILLISECOND, kind_of, since_epoch
from schemas.catalogue import Event

SOURCE: Final = "redrive"
OWN: Final = ("source", "session_id", "session_started_at")
PERSONS: Final = ("customer_id", "user_id")
DECIMAL: Final = re.compile(r"-?\d{1,30}(?:\.\d{1,20})?", re.ASCII)
OF_THE_LOG: Final = re.compile(r"(?:[a-z0-9-]+-customer-|again-)[0-9a-f]{16}")
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Persons(Protocol):
    """Who a source's customer is on the log: producers.persons.keys.PersonKeys."""

    def customer(self, source: str, said: str) -> str:
        """A shop's number as it is, anything else as a pseudonym."""
        ...

    def called(self, customer: str) -> str:
        """The customer, or once erased the one that this person is from then on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a letter stands, when it was sent, its headers, and ``said``: what its bytes say, before any step."""

    offset: int
    dead_at: datetime
    headers: Mapping[str, str]
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in event ids: of two logs none has the same."""
        return f"ops.dead_letter:{self.offset}:{since_epoch(self.dead_at)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The visit of a web event, as far as its letter tells."""

    session_id: str
    started_ms: int
    referrer: str | None
    campaign: str | None


class Anybody:
    """Persons of whom nobody has keys: everybody is who they say. For examples."""

    def customer(self, _source: str, said: str) -> str:
        """As said."""
        return said

    def called(self, customer: str) -> str:
        """As said."""
        return customer


def made(event: Event, value: Mapping[str, Any], letter: Origin, persons: Persons) -> dict[str, Any]:
    """The record to publish. Raises PoisonEvent; what is not as its type wants it is left to the encoder.

    Whose event it is says the collector, where it sent the letter, and not the letter's bytes: they are a visitor's.
    """
    try:
        return _interaction(value, letter, persons) if event is INTERACTION else _other(event, value, letter, persons)
    except (ArithmeticError, RecursionError) as error:
        raise CannotFix("", f"has a time out of range, or is nested too deeply: {type(error).__name__}") from error


def _interaction(value: Mapping[str, Any], letter: Origin, persons: Persons) -> dict[str, Any]:
    own = {name: value[name] for name in OWN if name in value and _is_known(name, value, letter)}
    found = sent(_json({name: what for name, what in value.items() if name not in own}))
    source = str(letter.headers.get("source") or own.get("source") or SOURCE)
    at_ms = found.at + _number(letter, "skew_ms", 0)
    event = record_of(source, found, at_ms, _session(own, source, found, at_ms, letter))
    if event["user_id"] is not None:
        event["user_id"] = persons.called(event["user_id"])
    return event


def _is_known(name: str, value: Mapping[str, Any], letter: Origin) -> bool:
    """Whether a field that no page may send is known of an event; if not, it is refused as the collector refuses it.

    Of a letter of the collector the source is known already, and what a step wrote of the visit.
    """
    if "source" not in letter.headers:
        return True
    return name != "source" and (name not in letter.said or value[name] != letter.said[name])


def check_arrival(record: Mapping[str, Any], letter: Origin) -> None:
    """Raises BadEvent for a web event whose time the collector would have refused when the letter was sent.

    A letter that is not the collector's may be of any time in the past: when its event arrived is not known.
    """
    if "source" in letter.headers:
        check_time(since_epoch(record["occurred_at"]), since_epoch(letter.dead_at))


def _session(own: Mapping[str, Any], source: str, found: Sent, at_ms: int, letter: Origin) -> Session:
    """The visit that the recipe names, else that of the letter's batch, else one of its own."""
    said, headers = own.get("session_id"), letter.headers
    if said is None and "session_id" in headers:
        return Session(
            session_id=headers["session_id"],
            started_ms=_number(letter, "session_started_ms", at_ms),
            referrer=headers.get("session_referrer"),
            campaign=headers.get("session_campaign"),
        )
    name = letter.key if said is None else f"{source}\0{said}"
    started_ms = at_ms
    if (started := own.get("session_started_at")) is not None:
        began = _moment(started)
        if not isinstance(began, datetime) or began.tzinfo is None:
            raise CannotFix("session_started_at", "is no time with its zone, and no number of milliseconds")
        started_ms = since_epoch(began)
    session_id = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return Session(session_id=session_id, started_ms=started_ms, referrer=found.referrer, campaign=found.campaign)


def _other(event: Event, value: Mapping[str, Any], letter: Origin, persons: Persons) -> dict[str, Any]:
    if secret := [field["name"] for field in event.schema["fields"] if "bytes" in _kinds(field["type"])]:
        raise CannotFix(secret[0], f"is encrypted by the source of {event.name}, which alone can publish it")
    found = dict(as_typed(event.schema, value))
    found["source"] = letter.headers.get("source") or found.get("source") or SOURCE
    found.setdefault("trace", None)
    if "event_id" not in found:
        found["event_id"] = event_id_of(SOURCE, letter.key, since_epoch(letter.dead_at))
    elif not isinstance(found["event_id"], str) or not UUID.fullmatch(found["event_id"]):
        raise CannotFix("event_id", "is not a UUID; drop it, and the letter gets one")
    for name in PERSONS:
        if isinstance(said := found.get(name), str):
            found[name] = person(persons, str(found["source"]), said)
    return found


def person(persons: Persons, source: str, said: str) -> str:
    """A customer as the log has them: who is on the log already stays, and no address of a person gets onto it."""
    number = said.removeprefix(f"{source}-")
    if OF_THE_LOG.fullmatch(said) or NUMBER.fullmatch(number):
        return persons.called(said)
    return persons.customer(source, said)


def _number(letter: Origin, header: str, default: int) -> int:
    said = letter.headers.get(header, "")
    return int(said) if re.fullmatch(r"-?\d{1,14}", said, re.ASCII) else default


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, default=float).encode()


def _kinds(schema: Any) -> list[str]:
    return [kind_of(each) for each in schema] if isinstance(schema, list) else [kind_of(schema)]


def as_typed(schema: Any, value: Any) -> Any:
    """A value of JSON with the types of its schema, and its defaults filled in; a misfit stays as it is."""
    kind = kind_of(schema)
    if kind == "union":
        return None if value is None else as_typed(schema[1], value)
    if kind == "record" and isinstance(value, Mapping):
        return _record(schema, value)
    if kind == "array" and isinstance(value, list):
        return [as_typed(schema["items"], each) for each in value]
    if kind == "map" and isinstance(value, Mapping):
        return {name: as_typed(schema["values"], each) for name, each in value.items()}
    return READ[kind](value) if kind in READ else value


def _record(schema: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    fields = {field["name"]: field for field in schema["fields"]}
    made = {name: as_typed(fields[name]["type"], each) if name in fields else each for name, each in value.items()}
    for name, each in fields.items():
        if "default" in each and name not in made:
            made[name] = each["default"]
    return made


def _moment(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return EPOCH + value * MILLISECOND
        except OverflowError:
            return value
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    # A time without a zone is nobody's: the encoder refuses it.
    return at if at.tzinfo is None else at - timedelta(microseconds=at.microsecond % 1000)


def _day(value: Any) -> Any:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def _decimal(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and DECIMAL.fullmatch(value) else value


def _double(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timestamp-millis": _moment,
    "date": _day,
    "decimal": _decimal,
    "double": _double,
    "float": _double,
}
