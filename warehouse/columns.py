"""What a contract's or a sink's column is called in Flink, Postgres and Iceberg. The only place that knows."""

from __future__ import annotations

from typing import Any

from pyiceberg import types as iceberg

from aggregates.catalogue import Column, ColumnType
from schemas.catalogue import Event

FLINK: dict[ColumnType, str] = {
    "timestamp": "timestamp(3)",
    "date": "date",
    "string": "string",
    "bytes": "bytes",
    "int": "int",
    "count": "bigint",
    "money": "decimal(38, 2)",
    "boolean": "boolean",
    "double": "double",
}
# As Postgres' own catalog writes them: a table that is there is compared with these.
POSTGRES: dict[ColumnType, str] = {
    "timestamp": "timestamp with time zone",
    "date": "date",
    "string": "text",
    "bytes": "bytea",
    "int": "integer",
    "count": "bigint",
    "money": "numeric(38,2)",
    "boolean": "boolean",
    "double": "double precision",
}
AVRO_PRIMITIVES: dict[str, tuple[str, type[iceberg.IcebergType]]] = {
    "string": ("string", iceberg.StringType),
    "bytes": ("bytes", iceberg.BinaryType),
    "int": ("int", iceberg.IntegerType),
    "long": ("bigint", iceberg.LongType),
    "boolean": ("boolean", iceberg.BooleanType),
    "double": ("double", iceberg.DoubleType),
    "float": ("float", iceberg.FloatType),
    "enum": ("string", iceberg.StringType),
    "date": ("date", iceberg.DateType),
    # avro-confluent knows no zone: the zone of every session is UTC, and the lake's column says so.
    "timestamp-millis": ("timestamp(3)", iceberg.TimestamptzType),
}


def sink_column(name: str, column: Column) -> str:
    """A line of Flink DDL for a Postgres sink."""
    return f"`{name}` {FLINK[column.type]}{'' if column.nullable else ' not null'}"


def postgres_type(column: Column) -> str:
    """Postgres' type of a sink's column, ``not null`` included."""
    return f"{POSTGRES[column.type]}{'' if column.nullable else ' not null'}"


def is_nullable(avro: Any) -> bool:
    return isinstance(avro, list)


def flink_type(avro: Any) -> str:
    """Flink's type of an Avro type, ``not null`` included."""
    if isinstance(avro, list):
        return flink_type(avro[1]).removesuffix(" not null")
    kind = avro["type"] if isinstance(avro, dict) else avro
    logical = avro.get("logicalType") if isinstance(avro, dict) else None
    if logical == "decimal":
        return f"decimal({avro['precision']}, {avro['scale']}) not null"
    if kind == "array":
        return f"array<{flink_type(avro['items'])}> not null"
    if kind == "map":
        return f"map<string not null, {flink_type(avro['values'])}> not null"
    if kind == "record":
        fields = ", ".join(f"`{field['name']}` {flink_type(field['type'])}" for field in avro["fields"])
        return f"row<{fields}> not null"
    return f"{AVRO_PRIMITIVES[logical or kind][0]} not null"


class _Ids:
    """Iceberg numbers every field of a schema, nested ones too."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> int:
        self.last += 1
        return self.last


def _iceberg_type(avro: Any, ids: _Ids) -> iceberg.IcebergType:
    if isinstance(avro, list):
        return _iceberg_type(avro[1], ids)
    kind = avro["type"] if isinstance(avro, dict) else avro
    logical = avro.get("logicalType") if isinstance(avro, dict) else None
    if logical == "decimal":
        return iceberg.DecimalType(avro["precision"], avro["scale"])
    if kind == "array":
        element = ids()
        return iceberg.ListType(element, _iceberg_type(avro["items"], ids), element_required=True)
    if kind == "map":
        key, value = ids(), ids()
        return iceberg.MapType(
            key, iceberg.StringType(), value, _iceberg_type(avro["values"], ids), value_required=True
        )
    if kind == "record":
        return iceberg.StructType(*(_iceberg_field(f["name"], f["type"], ids) for f in avro["fields"]))
    return AVRO_PRIMITIVES[logical or kind][1]()


def _iceberg_field(name: str, avro: Any, ids: _Ids) -> iceberg.NestedField:
    number = ids()
    return iceberg.NestedField(number, name, _iceberg_type(avro, ids), required=not isinstance(avro, list))


# Where in the log a record stood: beside the contract's own fields in every table of the lake.
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
    ids = _Ids()
    return iceberg.StructType(*(_iceberg_field(name, avro, ids) for name, avro in lake_columns(event).items()))
