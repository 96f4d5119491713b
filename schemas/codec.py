"""Avro in Confluent's wire format: a zero byte, the schema id as 4 big-endian bytes, the Avro body.

Encoding is the hot path of every producer, so a contract is compiled once into straight Python that appends the
parts of one record to a list; that is faster here than fastavro's generic C walk, which looks at the schema again
for every field. What it writes is the Avro specification's binary encoding
(https://avro.apache.org/docs/1.12.0/specification/), checked against fastavro by a property test. Anything that does
not fit is left to fastavro's validation, which names the field. Decoding is fastavro with the writer's schema.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import fastavro

from schemas.catalogue import Event
from schemas.errors import ContractBroken, EventTooLarge, PoisonEvent

Record = Mapping[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
HEADER = struct.Struct(">bI")
MEMO_LIMIT = 65_536


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


SMALL = tuple(zigzag(n) for n in range(1024))


def _decimal_bytes(value: Decimal, scale: int, precision: int) -> bytes:
    unscaled = value.scaleb(scale)
    number = int(unscaled)
    if number != unscaled or abs(number) >= 10**precision:
        raise ValueError(f"{value} does not fit decimal({precision}, {scale})")
    body = number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)
    return SMALL[len(body)] + body


class _Decimals(dict[Decimal, bytes]):
    """Encoded decimals, remembered: a shop has few distinct prices and very many order lines."""

    def __init__(self, scale: int, precision: int) -> None:
        super().__init__()
        self._scale = scale
        self._precision = precision

    def __missing__(self, value: Decimal) -> bytes:
        if type(value) is not Decimal:
            raise TypeError(f"{value!r} is not a Decimal")
        encoded = _decimal_bytes(value, self._scale, self._precision)
        if len(self) < MEMO_LIMIT:
            self[value] = encoded
        return encoded


def _string(value: str) -> bytes:
    body = value.encode()
    size = len(body)
    return (SMALL[size] if size < 1024 else zigzag(size)) + body


def _bytes(value: bytes) -> bytes:
    if type(value) is not bytes:
        raise TypeError(f"{value!r} is not bytes")
    return zigzag(len(value)) + value


def _int(value: int) -> bytes:
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise TypeError(f"{value!r} is not a 32-bit int")
    return SMALL[value] if 0 <= value < 1024 else zigzag(value)


def _long(value: int) -> bytes:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an int")
    return zigzag(value)


def _millis(value: datetime) -> bytes:
    return zigzag((value - EPOCH) // MILLISECOND)


def _date(value: date) -> bytes:
    return zigzag((value - EPOCH_DAY).days)


def _boolean(value: bool) -> bytes:
    if type(value) is not bool:
        raise TypeError(f"{value!r} is not a bool")
    return b"\x01" if value else b"\x00"


def _double(value: float) -> bytes:
    return struct.pack("<d", value)


def _float(value: float) -> bytes:
    return struct.pack("<f", value)


PRIMITIVES: dict[str, Callable[[Any], bytes]] = {
    "string": _string,
    "bytes": _bytes,
    "int": _int,
    "long": _long,
    "boolean": _boolean,
    "double": _double,
    "float": _float,
    "timestamp-millis": _millis,
    "date": _date,
}


class _Compiler:
    """Writes the source of ``encode(r)`` for one schema: each ``emit`` appends statements that append bytes to ``p``."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"SMALL": SMALL, "zigzag": zigzag}
        self.lines: list[str] = []
        self._names = 0

    def name(self, value: Any = None) -> str:
        self._names += 1
        name = f"_{self._names}"
        if value is not None:
            self.scope[name] = value
        return name

    def emit(self, schema: Any, expression: str, indent: int) -> None:
        pad = " " * indent
        kind = schema["type"] if isinstance(schema, dict) else "union" if isinstance(schema, list) else schema
        logical = schema.get("logicalType") if isinstance(schema, dict) else None
        if logical == "decimal":
            memo = self.name(_Decimals(schema["scale"], schema["precision"]))
            self.lines.append(f"{pad}a({memo}[{expression}])")
        elif kind == "string":
            body = self.name()
            self.lines += [
                f"{pad}{body} = {expression}.encode()",
                f"{pad}a(SMALL[len({body})] if len({body}) < 1024 else zigzag(len({body})))",
                f"{pad}a({body})",
            ]
        elif kind == "union":
            self._union(schema, expression, indent)
        elif kind == "record":
            value = self.name()
            self.lines.append(f"{pad}{value} = {expression}")
            for field in schema["fields"]:
                nullable = isinstance(field["type"], list) and "default" in field
                read = f"{value}.get({field['name']!r})" if nullable else f"{value}[{field['name']!r}]"
                self.emit(field["type"], read, indent)
        elif kind == "array":
            self._block(schema["items"], expression, indent)
        elif kind == "map":
            self._block(schema["values"], expression, indent, entries=True)
        elif kind == "enum":
            symbols = self.name({symbol: zigzag(i) for i, symbol in enumerate(schema["symbols"])})
            self.lines.append(f"{pad}a({symbols}[{expression}])")
        else:
            encode = self.name(PRIMITIVES[logical or kind])
            self.lines.append(f"{pad}a({encode}({expression}))")

    def _union(self, schema: list[Any], expression: str, indent: int) -> None:
        null, other = schema  # the contracts allow ["null", T] alone; a test holds them to it
        pad, value = " " * indent, self.name()
        assert null == "null"
        self.lines += [
            f"{pad}{value} = {expression}",
            f"{pad}if {value} is None:",
            f"{pad} a(b'\\x00')",
            f"{pad}else:",
            f"{pad} a(b'\\x02')",
        ]
        self.emit(other, value, indent + 1)

    def _block(self, items: Any, expression: str, indent: int, *, entries: bool = False) -> None:
        pad, value, item = " " * indent, self.name(), self.name()
        self.lines += [f"{pad}{value} = {expression}", f"{pad}if {value}:", f"{pad} a(zigzag(len({value})))"]
        if entries:
            key = self.name()
            self.lines.append(f"{pad} for {key}, {item} in {value}.items():")
            self.emit("string", key, indent + 2)
        else:
            self.lines.append(f"{pad} for {item} in {value}:")
        self.emit(items, item, indent + 2)
        self.lines.append(f"{pad}a(b'\\x00')")


def _compile(schema: dict[str, Any], header: bytes) -> Callable[[Record], bytes]:
    compiler = _Compiler()
    compiler.scope["HEADER_BYTES"] = header
    compiler.emit(schema, "r", 1)
    source = "\n".join(
        ["def encode(r):", " p = [HEADER_BYTES]", " a = p.append", *compiler.lines, " return b''.join(p)"]
    )
    exec(compile(source, f"<encoder of {schema['name']}>", "exec"), compiler.scope)  # noqa: S102 source is built from our own contracts
    encode: Callable[[Record], bytes] = compiler.scope["encode"]
    return encode


class Encoder:
    """Encodes records of one contract under one schema id."""

    def __init__(self, event: Event, schema_id: int) -> None:
        self.event = event
        self.schema_id = schema_id
        self._encode = _compile(event.avro_schema, HEADER.pack(0, schema_id))
        self._max_bytes = event.max_bytes
        self._fields = frozenset(field["name"] for field in event.avro_schema["fields"])

    def encode(self, record: Record) -> bytes:
        """Bytes ready to publish. Raises ContractBroken naming the field, EventTooLarge past the topic's limit."""
        try:
            encoded = self._encode(record)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise self._explain(record, error) from error
        if len(record) > len(self._fields) or not record.keys() <= self._fields:
            unknown = sorted(set(record) - self._fields)[0]
            raise ContractBroken(self.event.name, str(unknown), "is not in the contract")
        if len(encoded) > self._max_bytes:
            raise EventTooLarge(self.event.name, len(encoded), self._max_bytes)
        return encoded

    def _explain(self, record: Record, error: Exception) -> ContractBroken:
        found = _misfit(self.event.avro_schema, record, "")
        path, problem = found or ("?", f"could not be encoded: {error}")
        return ContractBroken(self.event.name, path, problem)


def _describe(schema: Any) -> str:
    if isinstance(schema, list):
        return " or ".join(_describe(branch) for branch in schema)
    if not isinstance(schema, dict):
        return str(schema)
    if schema.get("logicalType") == "decimal":
        return f"a Decimal of at most {schema['precision']} digits, {schema['scale']} of them after the point"
    if schema["type"] == "enum":
        return "one of " + ", ".join(schema["symbols"])
    return str(schema.get("logicalType", schema["type"]))


def _misfit(schema: Any, value: Any, path: str) -> tuple[str, str] | None:
    """The first place, depth first, where ``value`` does not fit ``schema``: (path, problem), or None. Slow path only."""
    if isinstance(schema, list):
        return None if value is None else _misfit(schema[1], value, path)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        if not isinstance(value, Mapping):
            return path, f"is {value!r}, which is not a record"
        for field in schema["fields"]:
            inner = f"{path}.{field['name']}" if path else field["name"]
            optional = isinstance(field["type"], list)
            if field["name"] not in value and not optional:
                return inner, "is missing"
            if found := _misfit(field["type"], value.get(field["name"]), inner):
                return found
        return None
    if kind == "array" and isinstance(value, list | tuple):
        return next((m for i, v in enumerate(value) if (m := _misfit(schema["items"], v, f"{path}[{i}]"))), None)
    if kind == "map" and isinstance(value, Mapping):
        return next((m for k, v in value.items() if (m := _misfit(schema["values"], v, f"{path}[{k!r}]"))), None)
    return None if _fits(schema, value) else (path, f"is {value!r}, which is not {_describe(schema)}")


def _fits(schema: Any, value: Any) -> bool:
    compiler = _Compiler()
    compiler.emit(schema, "r", 1)
    source = "\n".join(["def encode(r):", " a = [].append", *compiler.lines])
    exec(source, compiler.scope)  # noqa: S102
    try:
        compiler.scope["encode"](value)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, InvalidOperation):
        return False
    return True


class SchemaLookup(Protocol):
    """Where writers' schemas come from. Raises PoisonEvent for an id that nobody registered."""

    def schema_text(self, schema_id: int) -> str: ...


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
