"""Creates the tables that the live job writes: Postgres tables from the sinks, lake tables from the contracts.

People read views of the Postgres tables (warehouse/versions.py). Existing tables are compared with their definitions
before anything is changed: a table that the job would write wrongly, or not at all, is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

from aggregates.catalogue import Aggregate, aggregates
from schemas.catalogue import Event, events
from schemas.errors import Misconfigured
from warehouse.columns import lake_schema, postgres_type
from warehouse.deployment import Deployment
from warehouse.glue import glue_answers
from warehouse.migrate import migrate
from warehouse.postgres import Connection, connected, opened
from warehouse.roles import let_flink_use_lake, provide_roles, take_turn
from warehouse.shop_days import make_shop_time
from warehouse.sinks import OF_THE_LOG, OPS_TABLES, TOPICS, VERSIONS, Sink, sink_of, sinks
from warehouse.versions import (
    drop_others,
    move_rows_of_old,
    note_version,
    show,
    show_nothing_where_nothing_is_shown,
    show_where_nothing_is_shown,
)

NAMESPACE = "events"

LAKE_PROPERTIES = {
    "write.parquet.compression-codec": "zstd",
    # Each commit writes a metadata file: by default those of all commits are kept.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
"""Of every table in the lake, whichever job writes it."""

SCHEMAS = ("live", "events", "versions", "ops")

COLUMNS_AND_KEY = """
select
    a.attname,
    format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end,
    array_position(i.indkey::smallint[], a.attnum)
from pg_attribute as a
left join pg_index as i on i.indrelid = a.attrelid and i.indisprimary
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the job relies on in a table: columns with their types, and its key. A lake table's is its partitioning."""

    columns: dict[str, str]
    key: tuple[str, ...]


def differences(there: Shape, wanted: Shape, key: str) -> str:
    """What is there and what is wanted, for each column that differs and for the key; empty when none does."""
    names = [*wanted.columns, *(name for name in there.columns if name not in wanted.columns)]
    found = [
        f"column {name} is {there.columns.get(name, 'missing')} and should be {wanted.columns.get(name, 'gone')}"
        for name in names
        if there.columns.get(name) != wanted.columns.get(name)
    ]
    if there.key != wanted.key:
        found.append(f"the {key} is ({', '.join(there.key)}) and should be ({', '.join(wanted.key)})")
    return "; ".join(found)


def create_tables(deployment: Deployment, deployed: Iterable[Aggregate]) -> None:
    """Creates the schemas, tables and lake tables that are missing, and brings settings of the others up to date.

    ``deployed`` are the versions that live jobs write; those of the folders have tables too. Of an aggregate that no
    live job writes while there are live jobs, readers see no rows: it is to come with its history.

    Raises Misconfigured, and changes nothing, when a table that is there differs; Retryable when Postgres is away.
    """
    live = list(deployed)
    with connected(deployment) as connection, glue_answers(deployment), open_lake(deployment) as catalog:
        _make_state_tables(connection)
        move_rows_of_old(connection, aggregates())
        for sink in sinks():
            check_sink(connection, sink)
        there = [(e, checked_lake_table(catalog, e)) for e in events()]
        _make_sinks(connection, {a.name for a in live})
        for aggregate in live:
            make_version(connection, aggregate)
        connection.commit()
        for e, table in there:
            _make_or_bring_up(catalog, e, table)
    if deployment.lake_catalog != "postgres":
        return
    with opened(deployment.lake_dsn, autocommit=False) as connection:
        let_flink_use_lake(connection, deployment.flink_login)


def empty_tables(deployment: Deployment) -> None:
    """Empties every table that the live job writes, in Postgres and in the lake, for a run from the log's beginning.

    Readers see the folders' versions then; the tables of others are gone.
    """
    with connected(deployment) as connection:
        make_postgres_tables(connection)
        kept = (VERSIONS, TOPICS, *OF_THE_LOG)
        connection.execute(f"truncate {', '.join(sink.table for sink in sinks() if sink not in kept)}")
        for aggregate in aggregates():
            show(connection, aggregate, aggregate.version, None)
        drop_others(connection, aggregates())
        # Readers see other rows from now on: a reader that keeps what it read (dbt) must read all of it again.
        connection.execute("update ops.versions set run = null, since = now() where since is not null")
    with glue_answers(deployment), open_lake(deployment) as catalog:
        for e in events():
            catalog.drop_table(f"{NAMESPACE}.{e.table}")
            create_lake_table(catalog, e)


def make_postgres_tables(connection: Connection) -> None:
    """What is missing: schemas, migrations, tables, those of the folders' versions, views, roles. Comments follow."""
    _make_state_tables(connection)
    _make_sinks(connection)


def _make_sinks(connection: Connection, live: Collection[str] = ()) -> None:
    make_shop_time(connection)
    for sink in OPS_TABLES:
        for statement in sink_ddl(sink):
            connection.execute(statement)
    _note_topics(connection)
    for aggregate in aggregates():
        make_version(connection, aggregate)
        if live and aggregate.name not in live:
            show_nothing_where_nothing_is_shown(connection, aggregate)
        else:
            show_where_nothing_is_shown(connection, aggregate)
    provide_roles(connection)


def _make_state_tables(connection: Connection) -> None:
    take_turn(connection)  # before a table is changed, of which another session may grant rights
    for schema in SCHEMAS:
        connection.execute(f"create schema if not exists {schema}".encode())
    migrate(connection)


def _note_topics(connection: Connection) -> None:
    watched = [(e.topic, e.freshness) for e in events() if e.freshness]
    connection.execute("delete from ops.topics")
    for topic, f in watched:
        connection.execute(
            "insert into ops.topics (topic, title, place, fresh_seconds, stale_seconds, silent_seconds)"
            " values (%s, %s, %s, %s, %s, %s)",
            (topic, f.title, f.place, f.fresh_seconds, f.stale_seconds, f.silent_hours * 3600),
        )


def make_version(connection: Connection, aggregate: Aggregate) -> None:
    """The table of one version, which readers don't see by that. Raises Misconfigured when another is in its place."""
    sink = sink_of(aggregate)
    check_sink(connection, sink)
    for statement in (*sink_ddl(sink), _storage(aggregate)):
        connection.execute(statement)
    note_version(connection, aggregate)


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
        index = f"{aggregate.name}_v{aggregate.version}_occurred_at"
        return f"create index if not exists {index} on {aggregate.table} (occurred_at)"
    # A row of an aggregate is rewritten often: free space next to it avoids an index update each time (a HOT update).
    return f"alter table {aggregate.table} set (fillfactor = 70)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def check_sink(connection: Connection, sink: Sink) -> None:
    """Raises Misconfigured when the table exists with other columns, in any order, or another key."""
    rows = connection.execute(COLUMNS_AND_KEY, (sink.table,)).fetchall()
    key = sorted((place, name) for name, _, place in rows if place is not None)
    there = Shape(columns={name: kind for name, kind, _ in rows}, key=tuple(name for _, name in key))
    wanted = Shape(columns={name: postgres_type(c) for name, c in sink.columns.items()}, key=sink.key)
    if rows and (found := differences(there, wanted, "primary key")):
        raise Misconfigured(
            f"the table {sink.table} in Postgres differs from {sink.origin}: {found}. Nothing was changed. The"
            " columns of a released aggregate are fixed: a changed one is a new version of the aggregate. Or drop the"
            " table, recreate it with `insights up` and fill it with `insights flink submit --from-beginning`"
        )


def open_lake(deployment: Deployment) -> Catalog:
    """The lake's catalog, as pyiceberg opens it."""
    return load_catalog("lake", **deployment.lake_properties)


def archived_fields(deployment: Deployment) -> dict[str, set[str]]:
    """By event that has a table in the lake, its columns, and those of records in them: ``lines.quantity``.

    Raises Retryable when Postgres is away.
    """
    with connected(deployment), glue_answers(deployment), open_lake(deployment) as catalog:
        there = {name for _, name in catalog.list_tables(NAMESPACE)} if catalog.namespace_exists(NAMESPACE) else set()
        found = {e.name: catalog.load_table(f"{NAMESPACE}.{e.table}") for e in events() if e.table in there}
    return {
        name: {column.replace(".element.", ".") for column in table.schema().column_names}
        for name, table in found.items()
    }


def create_lake_table(catalog: Catalog, e: Event) -> None:
    """The event's table in the lake, made or brought up to its contract. Raises Misconfigured when it differs."""
    _make_or_bring_up(catalog, e, checked_lake_table(catalog, e))


def _make_or_bring_up(catalog: Catalog, e: Event, table: Table | None) -> None:
    schema, partitions = _lake_definition(e)
    if table is not None:
        _bring_up_to_contract(table, schema, _lake_properties(e))
        return
    catalog.create_namespace_if_not_exists(NAMESPACE)
    catalog.create_table(
        f"{NAMESPACE}.{e.table}",
        schema,
        partition_spec=partitions,
        properties={"format-version": "2", **_lake_properties(e)},
    )


def _lake_definition(e: Event) -> tuple[Schema, PartitionSpec]:
    """By day of publication: appends go to few files, and offsets stay together."""
    schema = Schema(*lake_schema(e).fields)
    day = PartitionField(schema.find_field("kafka_timestamp").field_id, 1000, DayTransform(), "kafka_day")
    return schema, PartitionSpec(day)


def _lake_properties(e: Event) -> dict[str, str]:
    return {
        **LAKE_PROPERTIES,
        "write.distribution-mode": "none",
        # Never; 0 is refused. By default the sink commits an empty snapshot at every tenth checkpoint without records,
        # and the table of a silent topic keeps them forever. Nothing needs them (Iceberg 1.11, IcebergFilesCommitter
        # and SinkUtil): a job that is restored walks back from the newest snapshot, however old, to the last one that
        # carries the id of the job that wrote its state, and commits what the state holds of later checkpoints. What
        # had been committed is not in the state any more, and a checkpoint without records leaves nothing to commit.
        # The job reads this when it starts.
        "flink.max-continuous-empty-commits": "2147483647",
        "comment": str(e.schema["doc"]),
    }


def checked_lake_table(catalog: Catalog, e: Event) -> Table | None:
    """The event's table in the lake, or None when it is not there.

    Raises Misconfigured when it differs by more than nullable fields that the contract gained, in its lines too.
    """
    try:
        table = catalog.load_table(f"{NAMESPACE}.{e.table}")
    except NoSuchTableError:
        return None
    there, wanted = _lake_shape(table.schema(), table.spec()), _lake_shape(*_lake_definition(e))
    known = {name: kind for name, kind in wanted.columns.items() if not _may_be_added(name, kind, there)}
    if found := differences(there, replace(wanted, columns=known), "partitioning"):
        raise Misconfigured(
            f"the table {NAMESPACE}.{e.table} in the lake differs from the contract {e.name}: {found}. Nothing was"
            " changed. A released field stays as it is, and an added one is nullable: start a new major version of the"
            " topic. Or rebuild the lake's tables from the log: `insights flink submit --from-beginning`"
        )
    return table


def _may_be_added(name: str, kind: str, there: Shape) -> bool:
    parent = name.rpartition(".")[0]
    is_within_added = parent != "" and parent not in there.columns
    return name not in there.columns and (is_within_added or not kind.endswith(" not null"))


def _lake_shape(schema: Schema, spec: PartitionSpec) -> Shape:
    return Shape(
        columns={name: _lake_kind(schema.find_field(name)) for name in schema.column_names},
        key=partitioning(schema, spec),
    )


def partitioning(schema: Schema, spec: PartitionSpec) -> tuple[str, ...]:
    """``("day(kafka_timestamp)",)``."""
    return tuple(f"{field.transform}({schema.find_column_name(field.source_id)})" for field in spec.fields)


def _lake_kind(field: NestedField) -> str:
    """``list not null``: what a list, map or record holds are columns of their own."""
    kind = field.field_type
    name = str(kind) if kind.is_primitive else type(kind).__name__.removesuffix("Type").lower()
    return f"{name} not null" if field.required else name


def _bring_up_to_contract(table: Table, schema: Schema, properties: dict[str, str]) -> None:
    """Adds the fields that the contract gained, each at its place, and sets the properties that differ."""
    changed = {name: value for name, value in properties.items() if table.properties.get(name) != value}
    there = table.schema().column_names
    with table.transaction() as transaction:
        if changed:
            transaction.set_properties(changed)
        if there != schema.column_names:
            with transaction.update_schema() as update:
                update.union_by_name(schema)
                # Flink's insert goes by place, in records too, and what is added comes last.
                for path, names in _records(schema.as_struct()):
                    if path == "" or path.removesuffix(".") in there:
                        update.move_first(path + names[0])
                        for before, name in pairwise(names):
                            update.move_after(path + name, path + before)


def _records(kind: IcebergType, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Path and fields of each record in a type, itself first: ``("lines.element.", ["quantity", "tag"])``."""
    match kind:
        case StructType():
            yield path, [field.name for field in kind.fields]
            for field in kind.fields:
                yield from _records(field.field_type, f"{path}{field.name}.")
        case ListType():
            yield from _records(kind.element_type, f"{path}element.")
        case MapType():
            yield from _records(kind.value_type, f"{path}value.")
