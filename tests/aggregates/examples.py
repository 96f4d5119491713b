"""The worked examples of each aggregate: ``aggregates/<name>/examples/<the case in words>.yaml``.

A file holds, by the contract's name, the events of each topic in the order in which they arrive, and the rows that
the table must then hold, all of them and in any order::

    why: An order with lines in two categories is one order in each.
    sales.order_placed:
      - occurred_at: 2026-03-02 10:15:30
        lines:
          - { category: Bikes, quantity: 1, unit_price: 999.90 }
          - { category: Helmets, quantity: 2, unit_price: 49.90 }
    expect:
      - { window_start: 2026-03-02 10:15, category: Bikes, orders: 1, … }

What does not matter is left out: ``event_id`` is then ``event 1`` for a topic's first and so on, text is the field's
own name (``some region``), a currency EUR, an amount 0.00, a count 1, a measure 0.0, a time that of the event, and all
that may be null is null. An expected row, too, may leave out a column that is a field of the event. Times are UTC.
``zone`` is the shop's time zone, where that is another. ``undated`` is there where orders count when they are paid: it
lists the sources that never say when.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from aggregates.catalogue import Aggregate, Column, ShopsClock, aggregates
from aggregates.zones import zone
from schemas.avro_types import record_arrays
from schemas.binary import kind_of
from schemas.catalogue import Event, event
from schemas.versions import ByPayment


class BadExample(Exception):
    """An example file has something that no event or table can hold; the message names the place."""


class _Plain(yaml.CSafeLoader):
    """YAML in which ``NO`` and ``12:30`` are text and ``0.10`` is exact."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_Plain.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Plain.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Plain.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?[0-9]+$"), list("-0123456789"))
_Plain.add_implicit_resolver("!decimal", re.compile(r"^-?[0-9]+\.[0-9]+$"), list("-0123456789"))
_Plain.add_constructor("!decimal", lambda loader, node: Decimal(loader.construct_scalar(node)))
_Plain.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One case: what arrives on each topic, in order, and the rows that must come of it."""

    aggregate: Aggregate
    case: str
    events: Mapping[str, tuple[dict[str, Any], ...]]
    expected: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        return f"{self.aggregate.name}: {self.case.replace('_', ' ')}"


@functools.cache
def examples() -> list[Example]:
    """All of them, by aggregate. Raises BadExample naming file and field."""
    return [read_example(path, a) for a in aggregates() for path in sorted((a.folder / "examples").glob("*.yaml"))]


def read_example(path: Path, aggregate: Aggregate) -> Example:
    """The example in a file. Raises BadExample naming file and field."""
    try:
        content = yaml.load(path.read_text(), Loader=_Plain)  # noqa: S506 it derives from the safe one
        if missing := {"why", "expect"} - set(content):
            raise BadExample(f"lacks {', '.join(sorted(missing))}")
        if foreign := set(content) - {"why", "zone", "undated", "expect", *aggregate.inputs}:
            raise BadExample(f"has {min(foreign)!r}, which is no input of {aggregate.name}")
        payment = ByPayment(undated=tuple(content["undated"])) if "undated" in content else None
        aggregate = aggregate.by(ShopsClock(zone=zone(content.get("zone", "UTC")), payment=payment))
        inputs = {name: tuple(_events(event(name), content.get(name) or [])) for name in aggregate.inputs}
        expected = tuple(_expected(aggregate, row, f"expect[{n}]") for n, row in enumerate(content["expect"] or []))
    except (BadExample, yaml.YAMLError, TypeError) as error:
        raise BadExample(f"{path}: {error}") from error
    key = aggregate.key
    expected = tuple(sorted(expected, key=lambda row: tuple(row[name] for name in key)))
    return Example(aggregate=aggregate, case=path.stem, events=inputs, expected=expected)


def _events(e: Event, written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for number, fields in enumerate(written, start=1):
        where = f"{e.name}[{number - 1}]"
        if "occurred_at" not in fields:
            raise BadExample(f"{where} lacks occurred_at")
        at = _time(fields["occurred_at"], where)
        found.append(_record(e.avro_schema, {"event_id": f"event {number}", **fields}, at, where))
    return found


def _record(schema: Any, written: Mapping[str, Any], at: datetime, where: str) -> dict[str, Any]:
    if unknown := set(written) - {field["name"] for field in schema["fields"]}:
        raise BadExample(f"{where} has {min(unknown)!r}, which is not in the contract")
    return {
        f["name"]: _value(f["type"], written[f["name"]], at, f"{where}.{f['name']}")
        if f["name"] in written
        else _default(f["type"], f["name"], at)
        for f in schema["fields"]
    }


def _default(schema: Any, name: str, at: datetime) -> Any:
    match kind_of(schema):
        case "union":
            return None
        case "string":
            return "EUR" if name == "currency" else f"some {name}"
        case "enum":
            return schema["symbols"][0]
        case "decimal":
            return Decimal("0.00")
        case "int" | "long":
            return 1
        case "double" | "float":
            return 0.0
        case "array":
            return []
        case "map":
            return {}
        case "timestamp-millis":
            return at
        case "date":
            return at.date()
    raise BadExample(f"{name} has no default: write it")


def _value(schema: Any, value: Any, at: datetime, where: str) -> Any:
    kind = kind_of(schema)
    if kind == "union":
        return None if value is None else _value(schema[1], value, at, where)
    if kind == "record":
        return _record(schema, value, at, where)
    if kind == "array":
        return [_value(schema["items"], item, at, f"{where}[{n}]") for n, item in enumerate(value)]
    if kind == "map":
        return {str(k): _value(schema["values"], item, at, f"{where}.{k}") for k, item in value.items()}
    if kind == "enum" and value not in schema["symbols"]:
        raise BadExample(f"{where} is {value!r}, which is none of {', '.join(schema['symbols'])}")
    return _scalar(KIND_OF_AVRO[kind], value, where)


KIND_OF_AVRO = {
    "string": "string",
    "enum": "string",
    "bytes": "bytes",
    "int": "int",
    "long": "int",
    "decimal": "money",
    "timestamp-millis": "timestamp",
    "date": "date",
    "boolean": "boolean",
    "double": "double",
    "float": "double",
}


def _scalar(kind: str, value: Any, where: str) -> Any:
    match kind, value:
        case "timestamp", _:
            return _time(value, where)
        case "date", str():
            return date.fromisoformat(value)
        case "bytes", str():
            return base64.b64decode(value, validate=True)
        case "money" | "charge" | "rate", Decimal():
            return value
        case ("string", str()) | ("int" | "count", int()) | ("boolean", bool()) | ("double", Decimal() | int()):
            return float(value) if kind == "double" else value
    hint = "; put it in quotes" if kind == "string" else " with its cents" if kind == "money" else ""
    raise BadExample(f"{where} is {value!r}; it must be a {kind}{hint}")


def _time(value: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise BadExample(f"{where} is {value!r}; a time is written 2026-03-02 10:15:00.000") from error


def _expected(aggregate: Aggregate, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    if unknown := set(row) - set(aggregate.columns):
        raise BadExample(f"{where} has {min(unknown)!r}, which is no column of {aggregate.name}")
    return {
        name: _expected_cell(column, row[name], f"{where}.{name}")
        if name in row
        else _unwritten_cell(aggregate, name, row, where)
        for name, column in aggregate.columns.items()
    }


def _expected_cell(column: Column, value: Any, where: str) -> Any:
    if value is None:
        return None
    return _scalar(column.type, value, where)


def _unwritten_cell(aggregate: Aggregate, name: str, row: Mapping[str, Any], where: str) -> Any:
    """What a field of this name has by default in the event, or in one of its lines."""
    needs_time = aggregate.columns[name].type in ("timestamp", "date")
    if name != "event_id" and (not needs_time or "occurred_at" in row):
        at = _time(row["occurred_at"], where) if needs_time else datetime.min
        for fields in (_fields(event(e)) for e in aggregate.inputs):
            if name in fields:
                return _default(fields[name], name, at)
    raise BadExample(f"{where} lacks {name}")


def _fields(e: Event) -> dict[str, Any]:
    own = {f["name"]: f["type"] for f in e.avro_schema["fields"]}
    arrays = {array: {f["name"]: f["type"] for f in fields} for array, fields in record_arrays(e.avro_schema).items()}
    # Of one name a line's is meant, and then the event's.
    lines = arrays.pop("lines", {})
    return {**{name: kind for fields in arrays.values() for name, kind in fields.items()}, **own, **lines}
