"""Records of other programs, and a gate's checks without servers."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro

from producers.gate.check import Checker, Message
from producers.gate.writers import Writers
from producers.redrive.event import Anybody
from schemas import catalogue
from schemas.errors import PoisonEvent

ORDER = catalogue.event("sales.order_placed")
OWN_ID, OLDER_ID = 1, 2
OLDER = {**ORDER.avro_schema, "fields": ORDER.avro_schema["fields"][:15]}
AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


class Known:
    """A registry in memory: schemas by id. ``asked`` are the ids that it was asked for."""

    def __init__(self, schemas: Mapping[int, Any] | None = None) -> None:
        self.schemas = {OWN_ID: ORDER.avro_schema, OLDER_ID: OLDER, **(schemas or {})}
        self.asked: list[int] = []

    def schema_text(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        if schema_id not in self.schemas:
            raise PoisonEvent(f"no schema has the id {schema_id}")
        found = self.schemas[schema_id]
        return found if isinstance(found, str) else json.dumps(found)


def order(**said: Any) -> dict[str, Any]:
    """An order as JSON has it; ``...`` leaves a field out."""
    line = {"product_id": "P1", "category": "Bikes", "quantity": 2, "unit_price": "10.00", "discount_amount": "0.00"}
    found = {
        **{"event_id": "019a4704-25de-7f51-a52e-726e549d0006", "occurred_at": AT.isoformat(), "source": "till"},
        **{"order_id": "1", "customer_id": "C1", "region": "EU", "currency": "EUR", "channel": "store"},
        **{"lines": [line], "shipping_amount": "4.90", "tax_amount": "1.93"},
        **said,
    }
    return {name: what for name, what in found.items() if what is not ...}


def in_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def in_avro(record: Mapping[str, Any], schema_id: int = OWN_ID, schema: Any = ORDER.avro_schema) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), dict(record))
    return struct.pack(">bI", 0, schema_id) + body.getvalue()


def typed(**said: Any) -> dict[str, Any]:
    """The same order with the types that Avro's writers take."""
    line = {"product_id": "P1", "category": "Bikes", "brand": None, "quantity": 2}
    amounts = {"unit_price": Decimal("10.00"), "discount_amount": Decimal("0.00")}
    plain = order(occurred_at=AT, shipping_amount=Decimal("4.90"), tax_amount=Decimal("1.93"), session_id=None)
    return {**plain, "trace": None, "lines": [{**line, **amounts}], "version": None, **said}


def message(value: bytes | None, key: bytes | None = None, offset: int = 7) -> Message:
    return Message(ORDER.ingress, 0, offset, int(AT.timestamp() * 1000) + 5, key, value)


def checker(known: Known | None = None, shops: frozenset[str] = frozenset()) -> Checker:
    return Checker(ORDER, Writers(ORDER, known or Known()), Anybody(), shops)
