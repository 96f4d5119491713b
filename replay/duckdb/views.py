"""Events as DuckDB's queries see them: types and views, from a contract alone.

``arrived_<event>``  the records on time, once each, with the contract's own types; the reader provides it
``<event>``          those that count: of several states of one thing the newest
``<event>_lines``    one row an item of its array of records called lines, as in the live job (flink/source_sql.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.avro_types import TypeVisitor, is_nullable, place_of, record_arrays
from schemas.catalogue import Versions
from schemas.versions import PLACED, ByPayment, newest, when_paid

Schema = Mapping[str, Any]

PRIMITIVES = {
    "string": "VARCHAR",
    "enum": "VARCHAR",
    "bytes": "BLOB",
    "int": "INTEGER",
    "long": "BIGINT",
    "boolean": "BOOLEAN",
    "double": "DOUBLE",
    "float": "FLOAT",
    "date": "DATE",
    # As in Flink a plain time, in UTC: DuckDB's functions are fast on these, and know no zone.
    "timestamp-millis": "TIMESTAMP",
}
RESULT_TYPES = {
    "timestamp": "TIMESTAMPTZ",
    "date": "DATE",
    "string": "VARCHAR",
    "bytes": "BLOB",
    "int": "INTEGER",
    "count": "BIGINT",
    "money": "DECIMAL(38,2)",
    "charge": "DECIMAL(38,3)",
    "rate": "DECIMAL(38,12)",
    "boolean": "BOOLEAN",
    "double": "DOUBLE",
}
WIDEST = 38


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as a literal."""
    return "'" + value.replace("'", "''") + "'"


class _DuckDbTypes(TypeVisitor[str]):
    def primitive(self, kind: str) -> str:
        return PRIMITIVES[kind]

    def decimal(self, precision: int, scale: int) -> str:
        return f"DECIMAL({precision},{scale})"

    def array(self, items: Any) -> str:
        return f"{self.visit(items)}[]"

    def map(self, values: Any) -> str:
        return f"MAP(VARCHAR, {self.visit(values)})"

    def record(self, fields: Sequence[Any]) -> str:
        return f"STRUCT({_definitions({'fields': fields})})"


def duckdb_type(avro: Any) -> str:
    """DuckDB's type of an Avro type, as DuckDB itself writes it."""
    return _DuckDbTypes().visit(avro)


def columns(schema: Schema) -> dict[str, Any]:
    """Field to Avro type."""
    return {f["name"]: f["type"] for f in schema["fields"]}


def views(
    table: str,
    schema: Schema,
    versions: Versions | None,
    rule: ByPayment | None = None,
    *,
    every_state: bool = False,
    within: str = "",
) -> list[str]:
    """Statements that make the views of an event over ``arrived_<table>``.

    With a ``rule``, ``occurred_at`` is when an order counts by payment. ``within`` is a condition on the records that
    count, and ``every_state`` makes them all count, not the newest of several alone.
    """
    own = columns(schema)
    wide = [_wide(quoted(name), name, avro) for name, avro in own.items()]
    counting = quoted(f"counting_{table}")
    chosen = newest(quoted(f"arrived_{table}"), list(own), None if every_state else versions, quoted)
    if rule is not None and versions is not None:
        chosen = when_paid(chosen, list(own), versions, rule, quoted)
        wide.append(quoted(PLACED))
    if within:
        chosen = f"select * from (\n{chosen}\n) where {within}"
    carried = ",\n  ".join(wide)
    statements = [
        f"create or replace temporary view {counting} as\n{chosen}",
        f"create or replace temporary view {quoted(table)} as\nselect\n  {carried}\nfrom {counting}",
    ]
    for array, fields in record_arrays(schema).items():
        items = columns({"fields": fields})
        # An item's own field hides the event's of that name: a refund and its lines both have an amount.
        of_event = [_wide(quoted(n), n, avro) for n, avro in own.items() if n != array and n not in items]
        of_item = [_wide(f'"an item".{quoted(n)}', n, avro) for n, avro in items.items()]
        place = f'cast("its place" as integer) as {quoted(place_of(array))}'
        selected = ",\n  ".join([*of_event, *of_item, place])
        # Both go through the array together.
        unnested = f'unnest({quoted(array)}) as "an item", generate_subscripts({quoted(array)}, 1) as "its place"'
        statements.append(
            f"create or replace temporary view {quoted(f'{table}_{array}')} as\n"
            f"select\n  {selected}\nfrom (select *, {unnested} from {counting})"
        )
    return statements


def _wide(expression: str, name: str, avro: Any) -> str:
    """Decimals as wide as can be: the product of an int and a DECIMAL(18, 2) is no wider in DuckDB, and overflows."""
    inner = avro[1] if is_nullable(avro) else avro
    if isinstance(inner, dict) and inner.get("logicalType") == "decimal":
        return f"cast({expression} as decimal({WIDEST}, {inner['scale']})) as {quoted(name)}"
    return f"{expression} as {quoted(name)}"


def empty(table: str, schema: Schema) -> str:
    """A statement that makes ``arrived_<table>`` without a row."""
    return f"create temporary table {quoted(f'arrived_{table}')} ({_definitions(schema)})"


def _definitions(schema: Schema) -> str:
    return ", ".join(f"{quoted(name)} {duckdb_type(avro)}" for name, avro in columns(schema).items())


def result(sql: str, kinds: Mapping[str, str]) -> str:
    """A query with each of its columns as its canonical type. DuckDB raises where a value does not fit."""
    cast = ", ".join(f"cast({quoted(name)} as {RESULT_TYPES[kind]}) as {quoted(name)}" for name, kind in kinds.items())
    return f"select {cast} from (\n{sql}\n) as result"
