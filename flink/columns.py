"""Types of a contract's or a sink's columns in Flink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aggregates.catalogue import SCALES, Column, ColumnType
from schemas.avro_types import TypeVisitor

FLINK: dict[ColumnType, str] = {
    "timestamp": "timestamp(3)",
    "date": "date",
    "string": "string",
    "bytes": "bytes",
    "int": "int",
    "count": "bigint",
    **{name: f"decimal(38, {scale})" for name, scale in SCALES.items()},
    "boolean": "boolean",
    "double": "double",
}
AVRO_PRIMITIVES = {
    "string": "string",
    "bytes": "bytes",
    "int": "int",
    "long": "bigint",
    "boolean": "boolean",
    "double": "double",
    "float": "float",
    "enum": "string",
    "date": "date",
    # avro-confluent has no zones: the zone of every session is UTC, which the lake's column states.
    "timestamp-millis": "timestamp(3)",
}


class _FlinkTypes(TypeVisitor[str]):
    def nullable(self, avro: Any) -> str:
        return self.visit(avro).removesuffix(" not null")

    def primitive(self, kind: str) -> str:
        return f"{AVRO_PRIMITIVES[kind]} not null"

    def decimal(self, precision: int, scale: int) -> str:
        return f"decimal({precision}, {scale}) not null"

    def array(self, items: Any) -> str:
        return f"array<{self.visit(items)}> not null"

    def map(self, values: Any) -> str:
        return f"map<string not null, {self.visit(values)}> not null"

    def record(self, fields: Sequence[Any]) -> str:
        inner = ", ".join(f"`{field['name']}` {self.visit(field['type'])}" for field in fields)
        return f"row<{inner}> not null"


def flink_type(avro: Any) -> str:
    """Flink's type of an Avro type, ``not null`` included."""
    return _FlinkTypes().visit(avro)


def sink_column(name: str, column: Column) -> str:
    """A line of Flink DDL for a Postgres sink."""
    return f"`{name}` {FLINK[column.type]}{'' if column.nullable else ' not null'}"
