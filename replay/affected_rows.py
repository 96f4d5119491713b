"""The cells that some events touch, and the result of these events alone: an aggregate's query over a few records.

The query is the aggregate's own, run by DuckDB within this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema

from aggregates.catalogue import Aggregate
from aggregates.render import Engine, render
from replay import archive
from replay.archive import Place
from replay.context import Context
from replay.duckdb.views import columns, duckdb_type, quoted, result, views
from schemas import catalogue
from schemas.catalogue import Event
from schemas.codec import Decoder
from schemas.errors import PoisonEvent
from spark.task import Slice
from warehouse.columns import lake_schema

Row = tuple[Any, ...]
BATCH = 20_000


class Cells:
    """Records of some topics, by event name; topics that are not named have none."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._tables = tables

    @classmethod
    def from_log(cls, context: Context, slices: Mapping[str, Iterable[Slice]]) -> Cells:
        """All records of the slices. Blocks while they are read and decoded, some 50,000 a second."""
        return cls({name: from_log(context, catalogue.event(name), found) for name, found in slices.items()})

    @classmethod
    def from_lake(cls, context: Context, places: Mapping[str, set[Place]]) -> Cells:
        """The records at these places."""
        with context.lake() as catalog:
            return cls(
                {name: archive.rows(catalog, catalogue.event(name), found) for name, found in places.items() if found}
            )

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """The records themselves, with the columns of the lake."""
        return self._tables

    def keys(self, a: Aggregate) -> list[Row]:
        """The key of every row of the aggregate that one of the records counts in."""
        with duckdb.connect() as connection:
            rows = self._run(connection, a)
            return [tuple(row[name] for name in a.key) for row in rows]

    def rows(self, a: Aggregate) -> list[dict[str, Any]]:
        """The result of the records alone."""
        with duckdb.connect() as connection:
            return self._run(connection, a)

    def _run(self, connection: duckdb.DuckDBPyConnection, a: Aggregate) -> list[dict[str, Any]]:
        connection.execute("set timezone = 'UTC'")
        for name in a.inputs:
            event = catalogue.event(name)
            define_views(connection, event, self._tables.get(name, empty(event)))
        kinds = {name: column.type for name, column in a.columns.items()}
        found: pa.Table = connection.sql(result(render(a, Engine.DUCKDB), kinds)).to_arrow_table()
        return list(found.to_pylist())


def arrow_schema(event: Event) -> pa.Schema:
    """Columns of the event's table in the lake, as Arrow has them."""
    return schema_to_pyarrow(Schema(*lake_schema(event).fields), include_field_ids=False)


def empty(event: Event) -> pa.Table:
    """No record."""
    return arrow_schema(event).empty_table()


def from_log(context: Context, event: Event, slices: Iterable[Slice]) -> pa.Table:
    """The readable records of the slices, with the lake's columns. Raises BrokerUnavailable, RegistryUnavailable."""
    decoder, schema = Decoder(context.registry), arrow_schema(event)
    fields = {field.name for field in schema}
    batches: list[pa.RecordBatch] = []
    waiting: list[dict[str, Any]] = []
    for record in context.log.records(event, slices):
        try:
            number, values = decoder.decode(record.value)
        except PoisonEvent:
            continue  # it counts nowhere, and the live job keeps it in ops.dead_records
        place = {
            "kafka_partition": record.partition,
            "kafka_offset": record.offset,
            "kafka_timestamp": record.published_at,
            "schema_id": number,
        }
        waiting.append({**{k: v for k, v in values.items() if k in fields}, **place})
        if len(waiting) == BATCH:
            batches.append(pa.RecordBatch.from_pylist(waiting, schema=schema))
            waiting = []
    if waiting:
        batches.append(pa.RecordBatch.from_pylist(waiting, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def define_views(connection: duckdb.DuckDBPyConnection, event: Event, records: pa.Table) -> None:
    """The relations that a query reads, over the first record of each event."""
    connection.register(f"records_{event.table}", records)
    own = ", ".join(_plain(name, avro) for name, avro in columns(event.avro_schema).items())
    arrived = quoted(f"arrived_{event.table}")
    connection.execute(
        f"create or replace temporary view {arrived} as select {own} from (select *, row_number() over"
        f" (partition by event_id order by kafka_partition, kafka_offset) as copy from records_{event.table})"
        " where copy = 1"
    )
    for statement in views(event.table, event.avro_schema):
        connection.execute(statement)


def _plain(name: str, avro: Any) -> str:
    """A column with the contract's own type: a time without a zone, in UTC."""
    kind = duckdb_type(avro)
    expression = f"{quoted(name)} at time zone 'UTC'" if kind == "TIMESTAMP" else quoted(name)
    return f"cast({expression} as {kind}) as {quoted(name)}"
