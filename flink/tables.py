"""Creates what the live job writes to: Postgres tables from the aggregates, lake tables from the contracts."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform

from aggregates.catalogue import Aggregate, aggregates
from flink.columns import POSTGRES, lake_schema
from flink.deployment import Deployment
from schemas.catalogue import Event, event, events
from schemas.errors import Misconfigured, Retryable

NAMESPACE = "events"

OPS = """
create schema if not exists live;
create schema if not exists events;
create schema if not exists ops;

create table if not exists ops.event_counts (
    topic text not null,
    window_start timestamptz not null,
    on_time bigint not null,
    counted bigint not null,
    last_event_at timestamptz not null,
    primary key (topic, window_start)
);
comment on table ops.event_counts is
    'By topic and day: events read on time and, of them, counted; the difference is duplicates.';

create table if not exists ops.late_events (
    topic text not null,
    kafka_partition integer not null,
    kafka_offset bigint not null,
    event_id text not null,
    occurred_at timestamptz not null,
    watermark timestamptz not null,
    aggregates text not null,
    primary key (topic, kafka_partition, kafka_offset)
);
comment on table ops.late_events is
    'The late ledger: events past the horizon, in no number until a restatement counts them.';

create table if not exists ops.finality (
    aggregate text primary key,
    final_until timestamptz not null,
    watermark timestamptz not null,
    checkpoint_id bigint not null,
    recorded_at timestamptz not null default now()
);
comment on table ops.finality is
    'Windows that end by final_until are final: only a replay may change them.';
"""


def create_tables(deployment: Deployment) -> None:
    """Creates the schemas, tables and lake tables that are missing. Raises Misconfigured when one there differs."""
    try:
        with psycopg.connect(deployment.postgres_dsn) as connection:
            connection.execute(OPS)
            for aggregate in aggregates():
                table, *details = postgres_ddl(aggregate)
                connection.execute(table)
                _check_columns(connection, aggregate)
                for statement in details:
                    connection.execute(statement)
    except psycopg.OperationalError as error:
        raise Retryable(
            f"Postgres at {deployment.postgres_host}:{deployment.postgres_port} is away: {error}"
        ) from error
    with open_lake(deployment) as catalog:
        for e in events():
            create_lake_table(catalog, e)


def empty_tables(deployment: Deployment) -> None:
    """Empties every table that the live job writes, in Postgres and in the lake, for a run from the log's beginning."""
    sinks = ", ".join(["ops.event_counts", "ops.late_events", "ops.finality", *(a.sink for a in aggregates())])
    with psycopg.connect(deployment.postgres_dsn) as connection:
        connection.execute(f"truncate {sinks}")
    with open_lake(deployment) as catalog:
        for e in events():
            catalog.drop_table(f"{NAMESPACE}.{e.table}")
            create_lake_table(catalog, e)


def postgres_ddl(aggregate: Aggregate) -> Iterator[str]:
    """DDL of one sink: the table, its comments, and an index by time where the key does not begin with it."""
    columns = [
        f"{name} {POSTGRES[column.type]}{'' if column.nullable else ' not null'}"
        for name, column in aggregate.columns.items()
    ]
    lines = ",\n    ".join([*columns, f"primary key ({', '.join(aggregate.key)})"])
    yield f"create table if not exists {aggregate.sink} (\n    {lines}\n)"
    yield f"comment on table {aggregate.sink} is {_literal(aggregate.description)}"
    for name, column in aggregate.columns.items():
        yield f"comment on column {aggregate.sink}.{name} is {_literal(column.doc)}"
    if aggregate.is_fact:
        yield f"create index if not exists {aggregate.name}_occurred_at on {aggregate.sink} (occurred_at)"
    else:
        # A row of an aggregate is written again and again: room beside it spares its index each time (a HOT update).
        yield f"alter table {aggregate.sink} set (fillfactor = 70)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_columns(connection: psycopg.Connection[tuple[object, ...]], aggregate: Aggregate) -> None:
    schema, table = aggregate.sink.split(".")
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = %s and table_name = %s",
        (schema, table),
    )
    there = {str(row[0]) for row in rows}
    if there != set(aggregate.columns):
        difference = ", ".join(sorted(there ^ set(aggregate.columns)))
        raise Misconfigured(
            f"{aggregate.sink} in Postgres and aggregates/{aggregate.name}/aggregate.toml differ in: {difference}."
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
