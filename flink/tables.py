"""Creates what the live job writes to: Postgres tables from the sinks, lake tables from the contracts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform

from aggregates.catalogue import Aggregate, aggregates
from flink.columns import lake_schema, postgres_type
from flink.deployment import Deployment
from flink.sinks import Sink, sinks
from schemas.catalogue import Event, event, events
from schemas.errors import Misconfigured, Retryable

Connection = psycopg.Connection[tuple[Any, ...]]

NAMESPACE = "events"

SCHEMAS = ("live", "events", "ops")


def create_tables(deployment: Deployment) -> None:
    """Creates the schemas, tables and lake tables that are missing. Raises Misconfigured when one there differs."""
    with _postgres(deployment) as connection:
        for sink in sinks():
            _check_columns(connection, sink)
        for statement in postgres_ddl():
            connection.execute(statement)
    with open_lake(deployment) as catalog:
        for e in events():
            create_lake_table(catalog, e)


@contextmanager
def _postgres(deployment: Deployment) -> Iterator[Connection]:
    try:
        with psycopg.connect(deployment.postgres_dsn) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise Retryable(
            f"Postgres at {deployment.postgres_host}:{deployment.postgres_port} is away: {error}"
        ) from error


def empty_tables(deployment: Deployment) -> None:
    """Empties every table that the live job writes, in Postgres and in the lake, for a run from the log's beginning."""
    with psycopg.connect(deployment.postgres_dsn) as connection:
        connection.execute(f"truncate {', '.join(sink.table for sink in sinks())}")
    with open_lake(deployment) as catalog:
        for e in events():
            catalog.drop_table(f"{NAMESPACE}.{e.table}")
            create_lake_table(catalog, e)


def postgres_ddl() -> Iterator[str]:
    """DDL of all sinks. Run on tables that are there it changes their comments and storage only."""
    yield from (f"create schema if not exists {schema}" for schema in SCHEMAS)
    for sink in sinks():
        yield from sink_ddl(sink)
    for aggregate in aggregates():
        yield _storage(aggregate)


def sink_ddl(sink: Sink) -> Iterator[str]:
    """DDL of one sink: the table and its comments."""
    columns = [f"{name} {postgres_type(column)}" for name, column in sink.columns.items()]
    lines = ",\n    ".join([*columns, f"primary key ({', '.join(sink.key)})"])
    yield f"create table if not exists {sink.table} (\n    {lines}\n)"
    yield f"comment on table {sink.table} is {_literal(sink.description)}"
    for name, column in sink.columns.items():
        yield f"comment on column {sink.table}.{name} is {_literal(column.doc)}"


def _storage(aggregate: Aggregate) -> str:
    if aggregate.is_fact:
        # Its key does not begin with the time, by which it is read.
        return f"create index if not exists {aggregate.name}_occurred_at on {aggregate.sink} (occurred_at)"
    # A row of an aggregate is written again and again: room beside it spares its index each time (a HOT update).
    return f"alter table {aggregate.sink} set (fillfactor = 70)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_columns(connection: Connection, sink: Sink) -> None:
    schema, table = sink.table.split(".")
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = %s and table_name = %s",
        (schema, table),
    )
    there = {str(row[0]) for row in rows}
    if there and there != set(sink.columns):
        difference = ", ".join(sorted(there ^ set(sink.columns)))
        raise Misconfigured(
            f"{sink.table} in Postgres and {sink.origin} differ in: {difference}."
            " A released aggregate's columns stay; give a changed one a new name"
        )


def open_lake(deployment: Deployment) -> Catalog:
    """The lake's catalog, as pyiceberg opens it."""
    return load_catalog("lake", **deployment.lake_properties)


def create_lake_table(catalog: Catalog, e: Event) -> None:
    """The event's table in the lake, by day of publication: appends go to few files, and offsets stay together."""
    try:
        catalog.create_namespace(NAMESPACE)
    except NamespaceAlreadyExistsError:
        pass
    schema = Schema(*lake_schema(e).fields)
    day = PartitionField(schema.find_field("kafka_timestamp").field_id, 1000, DayTransform(), "kafka_day")
    properties = {
        "format-version": "2",
        "write.distribution-mode": "none",
        "write.parquet.compression-codec": "zstd",
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "20",
        "comment": str(e.schema["doc"]),
    }
    try:
        catalog.create_table(f"{NAMESPACE}.{e.table}", schema, partition_spec=PartitionSpec(day), properties=properties)
    except TableAlreadyExistsError:
        _check_lake_table(catalog, e, schema)


def _check_lake_table(catalog: Catalog, e: Event, schema: Schema) -> None:
    """A field that the contract gained, in its lines too, is added to the lake's table; nothing else may differ."""
    table = catalog.load_table(f"{NAMESPACE}.{e.table}")
    there, ours = set(table.schema().column_names), set(schema.column_names)
    if there - ours:
        raise Misconfigured(
            f"the lake's table {NAMESPACE}.{e.table} has columns that {e.name} lacks: {sorted(there - ours)}"
        )
    if ours - there:
        with table.update_schema() as update:
            update.union_by_name(schema)


def sink_inputs() -> dict[str, tuple[str, ...]]:
    """Sink table to the topics that it counts: ``{"live.sales_per_minute": ("sales.order_placed.v1",)}``."""
    return {a.sink: tuple(event(name).topic for name in a.inputs) for a in aggregates()}
