"""Avro of other programs: read with the schema that it names, as the contract has it.

Both the bytes and the schema are a stranger's. A schema is judged once: whether it is the contract's record, whether
the contract can be read from it, and whether bytes written with it could take for ever or overflow the stack.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import fastavro

from schemas.catalogue import Event
from schemas.codec import HEADER, SchemaLookup
from schemas.compatibility import logical_difference, unreadable
from schemas.errors import PoisonEvent

MOST_UNKNOWN: Final = 60
PER_SECONDS: Final = 60.0
MOST_REMEMBERED: Final = 10_000
PRIMITIVES: Final = ("boolean", "int", "long", "float", "double", "bytes", "string")


class UnreadableAvro(PoisonEvent):
    """Bytes that are no record of the contract, or whose schema can't be read as one."""


class UnknownSchema(PoisonEvent):
    """The registry has no schema with the id."""


class Writers:
    """The schemas that one contract's records come with. Not for several threads.

    ``lookup`` should remember for a while what it does not know (schemas.registry.Registry: a minute). Of ids that are
    not known, no more than MOST_UNKNOWN are looked up in PER_SECONDS: a flood of them would slow all others.
    """

    def __init__(self, event: Event, lookup: SchemaLookup, clock: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._lookup = lookup
        self._clock = clock
        self._readers: dict[int, tuple[Any, Any]] = {}
        self._unfit: dict[int, str] = {}
        self._unknown: dict[int, float] = {}

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
            schema = json.loads(text)
            problem = unfit(self._event, schema)
            # Without a reader's schema it is faster, and for the contract's own it is the same.
            reader = None if schema == self._event.avro_schema else fastavro.parse_schema(self._event.avro_schema)
            found = None if problem else (fastavro.parse_schema(schema), reader)
        except Exception as error:  # noqa: BLE001 neither has the parser, nor is a registered schema always Avro
            found, problem = None, f"it is not Avro that can be read here ({type(error).__name__}: {error})"
        if found is None:
            if len(self._unfit) >= MOST_REMEMBERED:
                self._unfit.clear()
            self._unfit[schema_id] = f"schema {schema_id} is not one of {self._event.name}: {problem}"
            raise UnreadableAvro(self._unfit[schema_id])
        return self._readers.setdefault(schema_id, found)

    def _text(self, schema_id: int) -> str:
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
        except PoisonEvent as error:
            self._unknown.setdefault(schema_id, now)
            raise UnknownSchema(
                f"{error}; register the schema, and redrive this letter: the id is asked for again after a minute"
            ) from error


def unfit(event: Event, schema: Any) -> str | None:
    """Why records of a schema can't be taken for the contract's; None when they can."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return "it is no record"
    return hazard(schema) or unreadable(event.avro_schema, schema) or logical_difference(event.avro_schema, schema)


def hazard(schema: Any, inside: tuple[str, ...] = ()) -> str | None:
    """What would let a few bytes take for ever to read, or overflow the stack: contracts have neither."""
    if isinstance(schema, str):
        return f"{schema} is made of itself" if schema in inside else None
    if isinstance(schema, list):
        return next((found for each in schema if (found := hazard(each, inside))), None)
    kind = schema.get("type")
    if isinstance(kind, dict | list):
        return hazard(kind, inside)
    if kind == "record":
        within = (*inside, *_names(schema))
        return next((found for each in schema["fields"] if (found := hazard(each["type"], within))), None)
    if kind == "array":
        if may_be_empty(schema["items"]):
            return "it has an array whose items may take no bytes"
        return hazard(schema["items"], inside)
    return hazard(schema["values"], inside) if kind == "map" else None


def may_be_empty(schema: Any) -> bool:
    """Whether a value of the type may be encoded as nothing. A type that is only named is taken to be one."""
    if isinstance(schema, str):
        return schema not in PRIMITIVES
    if isinstance(schema, list):  # which branch it is takes a byte
        return False
    kind = schema.get("type")
    if kind == "record":
        return all(may_be_empty(field["type"]) for field in schema["fields"])
    if kind == "fixed":
        return not schema.get("size")
    return kind not in ("array", "map", "enum") and may_be_empty(kind)


def _names(schema: Mapping[str, Any]) -> tuple[str, str]:
    name, space = str(schema["name"]), schema.get("namespace")
    return name, f"{space}.{name}" if space else name
