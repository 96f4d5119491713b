"""Every Avro type that a contract may use has a column in Flink, in Postgres and in the lake, and they fit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from pyiceberg import types as iceberg

from aggregates.catalogue import Column, ColumnType, aggregates
from flink import columns as flink_columns
from flink.columns import FLINK, flink_type, sink_column
from replay.duckdb import views as duckdb_views
from schemas.avro_types import is_nullable
from schemas.binary import PRIMITIVES
from schemas.catalogue import Event, events
from tests.flink.live_on_files import DEPLOYMENT, plan
from tests.flink.process import FlinkProcess, Part
from tests.schemas.thing_happened import THING_HAPPENED, of
from warehouse import columns as warehouse_columns
from warehouse.columns import POSTGRES, lake_columns, lake_schema, postgres_type

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
RECORD = {
    "type": "record",
    "name": "Inner",
    "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": ["null", MONEY]}],
}

TYPES: list[tuple[str, Any, str]] = [
    ("text", "string", "STRING NOT NULL"),
    ("some_bytes", "bytes", "BYTES NOT NULL"),
    ("small", "int", "INT NOT NULL"),
    ("large", "long", "BIGINT NOT NULL"),
    ("flag", "boolean", "BOOLEAN NOT NULL"),
    ("exact", "double", "DOUBLE NOT NULL"),
    ("inexact", "float", "FLOAT NOT NULL"),
    ("choice", {"type": "enum", "name": "Choice", "symbols": ["a"], "default": "a"}, "STRING NOT NULL"),
    ("on_day", {"type": "int", "logicalType": "date"}, "DATE NOT NULL"),
    ("at", MILLIS, "TIMESTAMP(3) NOT NULL"),
    ("money", MONEY, "DECIMAL(12, 2) NOT NULL"),
    ("maybe_text", ["null", "string"], "STRING"),
    ("maybe_money", ["null", MONEY], "DECIMAL(12, 2)"),
    ("maybe_at", ["null", MILLIS], "TIMESTAMP(3)"),
    ("texts", {"type": "array", "items": "string"}, "ARRAY<STRING NOT NULL> NOT NULL"),
    ("maybe_texts", ["null", {"type": "array", "items": ["null", "string"]}], "ARRAY<STRING>"),
    ("by_name", {"type": "map", "values": "long"}, "MAP<STRING NOT NULL, BIGINT NOT NULL> NOT NULL"),
    ("inner", RECORD, "ROW<`a` INT NOT NULL, `b` DECIMAL(12, 2)> NOT NULL"),
    (
        "inners",
        {"type": "array", "items": {**RECORD, "name": "Item"}},
        "ARRAY<ROW<`a` INT NOT NULL, `b` DECIMAL(12, 2)> NOT NULL> NOT NULL",
    ),
]
CONTRACTS = [pytest.param(e, id=e.name) for e in events()]


@pytest.fixture(scope="module")
def everything() -> Event:
    """A contract with a field of each type."""
    contract = copy.deepcopy(THING_HAPPENED)
    contract["fields"] = [
        *contract["fields"][:2],
        *({"name": name, "type": avro} for name, avro, _ in TYPES),
    ]
    return of(contract)


def test_flink_understands_the_columns_of_a_contract_with_every_type(everything: Event, flink: FlinkProcess) -> None:
    columns = ", ".join(f"`{f['name']}` {flink_type(f['type'])}" for f in everything.avro_schema["fields"])
    # The format compares the columns with the schema and refuses what it could not read into them.
    table = (
        f"create temporary table things ({columns}) with ('connector' = 'kafka', 'topic' = 't',"
        f" 'properties.bootstrap.servers' = '{DEPLOYMENT.kafka}', 'value.format' = 'avro-confluent',"
        f" 'scan.startup.mode' = 'earliest-offset', 'value.avro-confluent.url' = '{DEPLOYMENT.registry}',"
        f" 'value.avro-confluent.schema' = '{everything.schema_text}')"
    )
    sink = f"create temporary table nowhere ({columns}) with ('connector' = 'blackhole')"
    part = Part(name="columns", statements=[table, sink], queries=["select * from things"])
    (described,) = flink.describe(plan().settings, [part])
    assert {name: described[name] for name, _, _ in TYPES} == {name: kind for name, _, kind in TYPES}
    insert = "insert into nowhere select * from things"
    assert "TableSourceScan" in flink.explain(
        plan().settings, [Part(name="c", statements=[table, sink], inserts=[insert])]
    )


@pytest.mark.parametrize(
    "known", [flink_columns.AVRO_PRIMITIVES, warehouse_columns.AVRO_PRIMITIVES, duckdb_views.PRIMITIVES]
)
def test_all_that_the_codec_encodes_has_a_column(known: Mapping[str, object]) -> None:
    assert set(PRIMITIVES) <= set(known)


def test_all_types_of_an_aggregates_column_are_known_to_flink_and_postgres() -> None:
    assert set(FLINK) == set(POSTGRES) == set(get_args(ColumnType))
    assert {column.type for a in aggregates() for column in a.columns.values()} <= set(FLINK)


def test_a_sinks_column_may_be_null_only_where_its_aggregate_allows_it() -> None:
    assert sink_column("a", Column(type="count", doc="x")) == "`a` bigint not null"
    assert sink_column("a", Column(type="money", doc="x", nullable=True)) == "`a` decimal(38, 2)"


def test_a_column_in_postgres_may_be_null_only_where_its_aggregate_allows_it() -> None:
    assert postgres_type(Column(type="count", doc="x")) == "bigint not null"
    assert postgres_type(Column(type="money", doc="x", nullable=True)) == "numeric(38,2)"


def lake_kind(avro: Any) -> str:
    """What Iceberg calls the column of an Avro type."""
    match avro:
        case [_, inner]:
            return lake_kind(inner)
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return f"decimal({precision}, {scale})"
        case {"logicalType": "timestamp-millis"}:
            return "timestamptz"
        case {"logicalType": "date"}:
            return "date"
        case {"type": "array", "items": items}:
            return f"list<{lake_kind(items)}>"
        case {"type": "map", "values": values}:
            return f"map<string, {lake_kind(values)}>"
        case {"type": "record"}:
            return "struct"
        case {"type": "enum"}:
            return "string"
    return {"bytes": "binary"}.get(avro, str(avro))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_lakes_columns_have_the_contracts_types_and_nulls(contract: Event) -> None:
    fields = {field.name: field for field in lake_schema(contract).fields}
    assert list(fields) == list(lake_columns(contract))
    for name, avro in lake_columns(contract).items():
        found = str(fields[name].field_type)
        assert found == lake_kind(avro) or (isinstance(fields[name].field_type, iceberg.ListType) and "struct" in found)
        assert fields[name].required != is_nullable(avro)


def numbers(field_type: iceberg.IcebergType) -> list[int]:
    match field_type:
        case iceberg.StructType():
            return [n for f in field_type.fields for n in (f.field_id, *numbers(f.field_type))]
        case iceberg.ListType():
            return [field_type.element_id, *numbers(field_type.element_type)]
        case iceberg.MapType():
            return [field_type.key_id, field_type.value_id, *numbers(field_type.value_type)]
    return []


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_field_of_the_lake_has_a_number_of_its_own(contract: Event) -> None:
    found = numbers(lake_schema(contract))
    assert len(found) == len(set(found))


def test_a_contract_with_every_type_has_a_table_in_the_lake(everything: Event) -> None:
    found = {field.name: field for field in lake_schema(everything).fields}
    assert str(found["money"].field_type) == "decimal(12, 2)"
    assert str(found["by_name"].field_type) == "map<string, long>"
    assert isinstance(found["inner"].field_type, iceberg.StructType)
    assert [f.required for f in found["inner"].field_type.fields] == [True, False]
