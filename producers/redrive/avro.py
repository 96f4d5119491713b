"""Letters whose bytes are Avro in Confluent's wire format, as the gate has them: read as JSON has the same record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from producers.gate.writers import Writers
from producers.redrive.steps import CannotFix
from schemas.catalogue import avro_events
from schemas.codec import SchemaLookup


def is_framed(value: bytes) -> bool:
    """Whether bytes can be nothing but that: no text begins with a zero byte."""
    return value[:1] == b"\0"


class FramedAvro:
    """Reads them with the schemas of a registry."""

    def __init__(self, lookup: SchemaLookup) -> None:
        self._writers = {each.topic: Writers(each, lookup) for each in avro_events()}

    def read(self, topic: str, value: bytes) -> Any:
        """The record, with times, dates and decimals as texts. Raises PoisonEvent, and RegistryUnavailable."""
        if topic not in self._writers:
            raise CannotFix("", f"is Avro that was meant for {topic or 'no topic'}, which has no contract")
        return _as_json(self._writers[topic].read(value))


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if isinstance(value, date):  # datetime is one
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        raise CannotFix("", "has encrypted fields, which only their source can publish")
    return Decimal(repr(value)) if isinstance(value, float) else value
