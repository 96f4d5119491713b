"""Avro of other programs: read with the schema that it names, as the contract has it.

Both the bytes and the schema are a stranger's. A schema is judged once: whether it is the contract's record, whether
the contract can be read from it, and whether bytes written with it could take for ever or overflow the stack. The last
is judged of what fastavro's parser made of it: there, names stand for the types that are read by them.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import fastavro

from producers.redrive.steps import shallow
from schemas.catalogue import Event
from schemas.codec import HEADER, SchemaLookup
from schemas.compatibility import logical_difference, unreadable
from schemas.errors import PoisonEvent

MOST_UNKNOWN: Final = 60
PER_SECONDS: Final = 60.0
LARGEST_ID: Final = 2**31 - 1
MOST_REMEMBERED: Final = 10_000
MOST_TYPES: Final = 1_000  # of a schema, with each type where its name stands; contracts have fewer than 100
PRIMITIVES: Final = ("boolean", "int", "long", "float", "double", "bytes", "string", "enum")
NO_BYTES: Final = "it has a type whose values take no bytes: null outside of a union, or a record or fixed of nothing"
UNCHECKED: Final = ("boolean", "float", "double", "fixed")
ENDLESS: Final = f"it has an array of nothing but {', '.join(UNCHECKED)}, which may claim any number of items"


class UnreadableAvro(PoisonEvent):
    """Bytes that are no record of the contract, or whose schema can't be read as one."""


class UnknownSchema(PoisonEvent):
    """The registry has no schema with the id."""


class Sparing:
    """A lookup that is asked for no more than MOST_UNKNOWN unknown ids in PER_SECONDS: a flood would slow all others.

    ``lookup`` should remember for a while what it does not know (schemas.registry.Registry: a minute).
    """

    def __init__(self, lookup: SchemaLookup, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = lookup
        self._clock = clock
        self._unknown: dict[int, float] = {}

    def schema_text(self, schema_id: int) -> str:
        """As the lookup's. Raises UnknownSchema for an id that it does not ask for."""
        now = self._clock()
        if len(self._unknown) >= MOST_UNKNOWN:
            self._unknown = {each: at for each, at in self._unknown.items() if at > now - PER_SECONDS}
        if len(self._unknown) >= MOST_UNKNOWN and schema_id not in self._unknown:
            raise UnknownSchema(
                f"schema {schema_id} is not known here, and the registry was asked for {MOST_UNKNOWN} unknown ones"
                f" within {PER_SECONDS:g} s; if it is registered, redrive this letter"
            )
        try:
            return self._lookup.schema_text(schema_id)
        except PoisonEvent:
            self._unknown.setdefault(schema_id, now)
            raise


class Writers:
    """The schemas that one contract's records come with. Not for several threads."""

    def __init__(self, event: Event, lookup: SchemaLookup) -> None:
        self._event = event
        self._lookup = lookup
        self._readers: dict[int, tuple[Any, Any]] = {}
        self._unfit: dict[int, str] = {}

    def read(self, value: bytes) -> dict[str, Any]:
        """The record in Confluent's wire format. Raises PoisonEvent, or RegistryUnavailable and has read nothing."""
        if len(value) < HEADER.size:
            raise UnreadableAvro(
                f"it begins with a zero byte and has {len(value)} bytes; Avro comes with 5 bytes before it"
            )
        _, schema_id = HEADER.unpack_from(value)
        writer, reader = self._readers.get(schema_id) or self._judged(schema_id)
        body = io.BytesIO(value[HEADER.size :])
        try:
            record = fastavro.schemaless_reader(body, writer, reader)
        except Exception as error:  # noqa: BLE001 it has no list of what it raises, and the bytes are a stranger's
            said = f"{type(error).__name__}: {error}"
            raise UnreadableAvro(f"its body does not match schema {schema_id} ({said})") from error
        if body.read(1):
            raise UnreadableAvro(f"bytes are left after a record of schema {schema_id}")
        assert isinstance(record, dict)
        return record

    def _judged(self, schema_id: int) -> tuple[Any, Any]:
        if problem := self._unfit.get(schema_id):
            raise UnreadableAvro(problem)
        text = self._text(schema_id)
        try:
            schema = shallow(json.loads(text))
            problem = unfit(self._event, schema)
            # Without a reader's schema it is faster, and for the contract's own it is the same.
            reader = None if schema == self._event.avro_schema else fastavro.parse_schema(self._event.avro_schema)
            found = None if problem else (_parsed(schema, {}), reader)
        except Exception as error:  # noqa: BLE001 neither has the parser, nor is a registered schema always Avro
            found, problem = None, f"it is not Avro that can be read here ({type(error).__name__}: {error})"
        if found is None:
            if len(self._unfit) >= MOST_REMEMBERED:
                self._unfit.clear()
            self._unfit[schema_id] = f"schema {schema_id} is not one of {self._event.name}: {problem}"
            raise UnreadableAvro(self._unfit[schema_id])
        return self._readers.setdefault(schema_id, found)

    def _text(self, schema_id: int) -> str:
        if schema_id > LARGEST_ID:
            raise UnknownSchema(f"no registry has a schema {schema_id}: the largest id is {LARGEST_ID}")
        try:
            return self._lookup.schema_text(schema_id)
        except UnknownSchema:
            raise
        except PoisonEvent as error:
            raise UnknownSchema(
                f"{error}; register the schema, and redrive this letter: the id is asked for again after a minute"
            ) from error


def unfit(event: Event, schema: Any) -> str | None:
    """Why records of a schema can't be taken for the contract's; None when they can."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return "it is no record"
    return hazard(schema) or unreadable(event.avro_schema, schema) or logical_difference(event.avro_schema, schema)


def hazard(schema: Mapping[str, Any]) -> str | None:
    """What would let a few bytes take for ever to read, or overflow the stack: contracts have none of it.

    Where each type takes a byte, and none is inside itself, reading ends with the bytes.
    """
    names: dict[str, Any] = {}
    for number, problem in enumerate(_problems(_parsed(schema, names), names)):
        if problem:
            return problem
        if number >= MOST_TYPES:
            return f"it is made of more than {MOST_TYPES:,} types, with each where its name stands"
    return None


def _parsed(schema: Mapping[str, Any], names: dict[str, Any]) -> Any:
    """The schema with full names, whose types are added to ``names``. Raises what fastavro raises."""
    # With two leading underscores fastavro marks what it parsed itself, and would believe a stranger who does.
    return fastavro.parse_schema({key: what for key, what in schema.items() if not key.startswith("__")}, names)


def _problems(schema: Any, names: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Iterator[str | None]:
    """For each type that a schema is made of, in the order in which it is read: what is wrong with it, or None."""
    if isinstance(schema, list):  # which branch it is takes a byte
        yield None
        for each in schema:
            if each != "null":
                yield from _problems(each, names, inside)
    elif isinstance(schema, str):
        yield from _problems_by_name(schema, names, inside)
    elif (kind := schema["type"]) in ("record", "error"):
        yield None if schema["fields"] else NO_BYTES
        for field in schema["fields"]:
            yield from _problems(field["type"], names, (*inside, schema["name"]))
    elif kind == "array":  # its end takes a byte
        yield from _problems(schema["items"], names, inside)
        yield None if _notices_the_end(schema["items"], names) else ENDLESS
    elif kind == "map":
        yield None
        yield from _problems(schema["values"], names, inside)
    elif kind == "fixed":
        yield None if schema["size"] > 0 else NO_BYTES
    else:
        yield from _problems(kind, names, inside)


def _notices_the_end(schema: Any, names: Mapping[str, Any]) -> bool:
    """Whether fastavro, where it skips a value, fails when the bytes have ended: without a length it does not."""
    if isinstance(schema, str):
        return _notices_the_end(names[schema], names) if schema in names else schema not in UNCHECKED
    if isinstance(schema, list):
        return True
    if "fields" in schema:
        return any(_notices_the_end(field["type"], names) for field in schema["fields"])
    kind = schema["type"]
    return kind in ("array", "map") or _notices_the_end(kind, names)


def _problems_by_name(name: str, names: Mapping[str, Any], inside: tuple[str, ...]) -> Iterator[str | None]:
    if name in inside:
        yield f"{name} is made of itself"
    elif name in names:
        yield from _problems(names[name], names, inside)
    elif name == "null":
        yield NO_BYTES
    else:
        yield None if name in PRIMITIVES else f"{name} is no type"
