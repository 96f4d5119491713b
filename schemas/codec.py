"""Avro in Confluent's wire format: a zero byte, the schema id as 4 big-endian bytes, the Avro body.

Encoding goes through a function compiled for the contract (schemas/compiled.py); what that does not take goes to the
careful encoder (schemas/binary.py), which encodes it or names the field. A property test holds both against fastavro.
Decoding is fastavro with the writer's schema.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import Any, Final, Protocol

import fastavro

from schemas.binary import MISFITS, Misfit, written
from schemas.catalogue import Event
from schemas.compiled import CompiledEncoder
from schemas.errors import ContractBroken, EventTooLarge, PoisonEvent
from schemas.rules import check

Record = Mapping[str, Any]

HEADER = struct.Struct(">bI")
SCHEMA_ID_HEADER: Final = "schema_id"
"""The header of a record that says its schema id too, as a number in text."""
ERROR_HEADERS: Final = "__connect.errors."
"""What a dead letter's headers begin with: Kafka Connect's, so that any of its tools can read them."""


class Encoder:
    """Encodes records of one contract under one schema id. ``currency`` is the shop's; without it any will do."""

    def __init__(self, event: Event, schema_id: int, currency: str | None = None) -> None:
        self.event = event
        self.schema_id = schema_id
        self._header = HEADER.pack(0, schema_id)
        self._compiled = CompiledEncoder(event.schema, self._header, currency).encode
        self._currency = currency
        self._max_bytes = event.max_bytes

    def encode(self, record: Record) -> bytes:
        """Bytes ready to publish. Raises ContractBroken naming the field, EventTooLarge past the topic's limit."""
        try:
            encoded = self._compiled(record)
        except MISFITS:
            encoded = self._carefully(record)
        if len(encoded) > self._max_bytes:
            raise EventTooLarge(self.event.name, len(encoded), self._max_bytes)
        return encoded

    def _carefully(self, record: Record) -> bytes:
        try:
            encoded = self._header + written(self.event.schema, record)
            check(self.event.schema, record, self._currency)
        except Misfit as misfit:
            raise ContractBroken(self.event.name, misfit.path or "(the record)", misfit.problem) from misfit
        return encoded


class SchemaLookup(Protocol):
    """Where writers' schemas come from. Raises PoisonEvent for an id that is not registered."""

    def schema_text(self, schema_id: int) -> str:
        """The schema as JSON."""
        ...


class Decoder:
    """Decodes records of any contract with the schema they were written with."""

    def __init__(self, lookup: SchemaLookup) -> None:
        self._lookup = lookup
        self._parsed: dict[int, Any] = {}

    def decode(self, value: bytes) -> tuple[int, dict[str, Any]]:
        """(schema id, record). Raises PoisonEvent when the bytes are not an event of a registered schema."""
        if len(value) < HEADER.size or value[0] != 0:
            raise PoisonEvent(f"not in Confluent wire format: starts with {bytes(value[:5])!r}")
        _, schema_id = HEADER.unpack_from(value)
        if schema_id not in self._parsed:
            self._parsed[schema_id] = fastavro.parse_schema(json.loads(self._lookup.schema_text(schema_id)))
        body = io.BytesIO(value[HEADER.size :])
        try:
            record = fastavro.schemaless_reader(body, self._parsed[schema_id], None)
        except (EOFError, ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:
            raise PoisonEvent(f"the body does not match schema {schema_id}: {error}") from error
        if body.read(1):
            raise PoisonEvent(f"bytes are left after a record of schema {schema_id}")
        assert isinstance(record, dict)
        return schema_id, record
