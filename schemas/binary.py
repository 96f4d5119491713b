"""Avro's binary encoding (https://avro.apache.org/docs/1.12.0/specification/), written for correctness, not for speed.

``written`` says what is wrong with a value and where. The compiled encoders (schemas/compiled.py) pass on to it
whatever they do not handle.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.quoted import named

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
NUL = "\0"
# Avro would take U+0000. Postgres does not, and the job would try to write such a text again and again. Half a
# character (a lone surrogate) has no UTF-8.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# What a value of the wrong kind makes the functions below raise.
MISFITS = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, struct.error)


def since_epoch(at: datetime) -> int:
    """Whole milliseconds from 1970 to a time, as events have them."""
    return (at - EPOCH) // MILLISECOND


class Misfit(Exception):
    """A value does not fit its schema: ``path`` is where (``lines[2].quantity``), ``problem`` what."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


def within(path: str, name: str) -> str:
    """The path of a record's field."""
    return f"{path}.{name}" if path else name


def zigzag(number: int) -> bytes:
    """Avro's variable-length encoding of an int or long."""
    value = (number << 1) ^ (number >> 63)
    if not 0 <= value < 1 << 64:
        raise OverflowError(f"{number} does not fit 64 bits")
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decimal_bytes(value: Decimal, scale: int, precision: int) -> bytes:
    """The unscaled number, big-endian. Raises TypeError, or ValueError for too many digits."""
    if type(value) is not Decimal:
        raise TypeError(f"{value!r} is not a Decimal")
    unscaled = value.scaleb(scale)
    number = int(unscaled)
    if number != unscaled or abs(number) >= 10**precision:
        raise ValueError(f"{value} does not fit decimal({precision}, {scale})")
    return bytes_(number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True))


def string(value: str) -> bytes:
    """Length and UTF-8. Raises TypeError, or ValueError for what Postgres can't store."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    if NUL in value:
        raise ValueError(f"{value!r} has U+0000")
    return bytes_(value.encode())


def bytes_(value: bytes) -> bytes:
    """Length and bytes. Raises TypeError."""
    if type(value) is not bytes:
        raise TypeError(f"{value!r} is not bytes")
    return zigzag(len(value)) + value


def int_(value: int) -> bytes:
    """Raises TypeError for anything but an int of 32 bits."""
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise TypeError(f"{value!r} is not a 32-bit int")
    return zigzag(value)


def long(value: int) -> bytes:
    """Raises TypeError for anything but an int, OverflowError past 64 bits."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an int")
    return zigzag(value)


def millis(value: datetime) -> bytes:
    """Milliseconds since 1970, rounded down. ``value`` must have a time zone."""
    return zigzag((value - EPOCH) // MILLISECOND)


def day(value: date) -> bytes:
    """Days since 1970."""
    return zigzag((value - EPOCH_DAY).days)


def boolean(value: bool) -> bytes:
    """One byte. Raises TypeError."""
    if type(value) is not bool:
        raise TypeError(f"{value!r} is not a bool")
    return b"\x01" if value else b"\x00"


def double(value: float) -> bytes:
    """Eight bytes, little-endian. Raises struct.error."""
    return struct.pack("<d", value)


def float_(value: float) -> bytes:
    """Four bytes, little-endian: rounded to what they hold. Raises struct.error, or OverflowError."""
    return struct.pack("<f", value)


PRIMITIVES: dict[str, Callable[[Any], bytes]] = {
    "string": string,
    "bytes": bytes_,
    "int": int_,
    "long": long,
    "boolean": boolean,
    "double": double,
    "float": float_,
    "timestamp-millis": millis,
    "date": day,
}


def kind_of(schema: Any) -> str:
    """``union``, ``decimal``, a logical type, or a type of Avro: what decides how a value is written."""
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, dict):
        return str(schema.get("logicalType", schema["type"]))
    return str(schema)


def written(schema: Any, value: Any, path: str = "") -> bytes:
    """The encoding of a value. Raises Misfit naming the first place, depth first, that does not fit."""
    kind = kind_of(schema)
    if kind == "union":  # the contracts allow ["null", T] alone; a test holds them to it
        return b"\x00" if value is None else b"\x02" + written(schema[1], value, path)
    if kind == "record":
        return _record(schema, value, path)
    if kind == "array" and isinstance(value, list | tuple):
        items = [written(schema["items"], item, f"{path}[{n}]") for n, item in enumerate(value)]
        return _block(items)
    if kind == "map" and isinstance(value, Mapping):
        entries = [
            written("string", key, f"{path}[{key!r}]") + written(schema["values"], item, f"{path}[{key!r}]")
            for key, item in value.items()
        ]
        return _block(entries)
    try:
        if kind == "decimal":
            return decimal_bytes(value, schema["scale"], schema["precision"])
        if kind == "enum":
            return zigzag(schema["symbols"].index(value))
        return PRIMITIVES[kind](value)
    except MISFITS as error:
        raise Misfit(path, _problem(schema, value)) from error


def _record(schema: dict[str, Any], value: Any, path: str) -> bytes:
    if not isinstance(value, Mapping):
        raise Misfit(path, f"is {value!r}, which is not a record")
    out = []
    for field in schema["fields"]:
        name = field["name"]
        if name not in value and not isinstance(field["type"], list):
            raise Misfit(within(path, name), "is missing")
        out.append(written(field["type"], value.get(name), within(path, name)))
    if unknown := set(value) - {field["name"] for field in schema["fields"]}:
        raise Misfit(within(path, min(map(named, unknown))), "is not in the contract")
    return b"".join(out)


def _block(items: list[bytes]) -> bytes:
    return b"".join((zigzag(len(items)), *items, b"\x00")) if items else b"\x00"


def _problem(schema: Any, value: Any) -> str:
    if kind_of(schema) == "string" and isinstance(value, str) and (found := UNSTORABLE.search(value)):
        code, place = ord(found[0]), found.start() + 1
        return f"has U+{code:04X} as its character {place}, which Postgres can't store: remove it"
    return f"is {value!r}, which is not {_described(schema)}"


def _described(schema: Any) -> str:
    kind = kind_of(schema)
    if kind == "decimal":
        return f"a Decimal of at most {schema['precision']} digits, {schema['scale']} of them after the point"
    if kind == "enum":
        return "one of " + ", ".join(schema["symbols"])
    return kind
