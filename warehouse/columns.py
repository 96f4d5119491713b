"""Types of a contract's or a sink's columns in Postgres and Iceberg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyiceberg import types as iceberg

from aggregates.catalogue import SCALES, Column, ColumnType
from schemas.avro_types import TypeVisitor, is_nullable
from schemas.catalogue import Event

# As Postgres' own catalog writes them: a table that is there is compared with these.
POSTGRES: dict[ColumnType, str] = {
    "timestamp": "timestamp with time zone",
    "date": "date",
    "string": "text",
    "bytes": "bytea",
    "int": "integer",
    "count": "bigint",
    **{name: f"numeric(38,{scale})" for name, scale in SCALES.items()},
    "boolean": "boolean",
    "double": "double precision",
}
AVRO_PRIMITIVES: dict[str, type[iceberg.IcebergType]] = {
    "string": iceberg.StringType,
    "bytes": iceberg.BinaryType,
    "int": iceberg.IntegerType,
    "long": iceberg.LongType,
    "boolean": iceberg.BooleanType,
    "double": iceberg.DoubleType,
    "float": iceberg.FloatType,
    "enum": iceberg.StringType,
    "date": iceberg.DateType,
    "timestamp-millis": iceberg.TimestamptzType,
}


def postgres_type(column: Column) -> str:
    """Postgres' type of a sink's column, ``not null`` included."""
    return f"{POSTGRES[column.type]}{'' if column.nullable else ' not null'}"


class _IcebergTypes(TypeVisitor[iceberg.IcebergType]):
    """Iceberg numbers every field of a schema, nested ones too: one of these for each schema."""

    def __init__(self) -> None:
        self._last = 0

    def primitive(self, kind: str) -> iceberg.IcebergType:
        return AVRO_PRIMITIVES[kind]()

    def decimal(self, precision: int, scale: int) -> iceberg.IcebergType:
        return iceberg.DecimalType(precision, scale)

    def array(self, items: Any) -> iceberg.IcebergType:
        return iceberg.ListType(self._number(), self.visit(items), element_required=True)

    def map(self, values: Any) -> iceberg.IcebergType:
        key, value = self._number(), self._number()
        return iceberg.MapType(key, iceberg.StringType(), value, self.visit(values), value_required=True)

    def record(self, fields: Sequence[Any]) -> iceberg.StructType:
        return iceberg.StructType(*(self._field(field["name"], field["type"]) for field in fields))

    def _field(self, name: str, avro: Any) -> iceberg.NestedField:
        return iceberg.NestedField(self._number(), name, self.visit(avro), required=not is_nullable(avro))

    def _number(self) -> int:
        self._last += 1
        return self._last


# A record's place in the log: in every table of the lake, after the contract's own fields.
LOG_POSITION: dict[str, Any] = {
    "kafka_partition": "int",
    "kafka_offset": "long",
    "kafka_timestamp": {"type": "long", "logicalType": "timestamp-millis"},
    "schema_id": ["null", "int"],
}
DEAD_LETTER_COLUMNS: dict[str, Any] = {
    "key": ["null", "bytes"],
    "value": ["null", "bytes"],
    "headers": ["null", {"type": "map", "values": "bytes"}],
}


def lake_columns(event: Event) -> dict[str, Any]:
    """Column to Avro type of the event's table in the lake."""
    own = {f["name"]: f["type"] for f in event.avro_schema["fields"]} if event.format == "avro" else DEAD_LETTER_COLUMNS
    return {**own, **LOG_POSITION}


def lake_schema(event: Event) -> iceberg.StructType:
    """The lake table's columns with Iceberg's field numbers."""
    return _IcebergTypes().record([{"name": name, "type": avro} for name, avro in lake_columns(event).items()])
