"""A contract of no domain, for tests that change it."""

from __future__ import annotations

import json
from typing import Any

from schemas.catalogue import Event, parse_event

THING_HAPPENED: dict[str, Any] = {
    "type": "record",
    "name": "ThingHappened",
    "namespace": "insights.tests",
    "doc": "Something happened.",
    "topic": "tests.thing_happened.v1",
    "key": "event_id",
    "partitions": 1,
    "retention_days": 1,
    "cleanup": "delete",
    "max_bytes": 65536,
    "fields": [
        {"name": "event_id", "type": "string"},
        {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "amount", "type": "int"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["first", "second"], "default": "first"}},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "quantity", "type": "int"},
                        {"name": "tag", "type": ["null", "string"], "default": None},
                    ],
                },
            },
        },
    ],
}


def of(contract: dict[str, Any]) -> Event:
    return parse_event(json.dumps(contract), "a test")


def the_field(contract: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in contract["fields"] if field["name"] == name)


def line_fields(contract: dict[str, Any]) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = the_field(contract, "lines")["type"]["items"]["fields"]
    return fields
