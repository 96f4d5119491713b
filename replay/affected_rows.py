"""The rows that some events affect, and the result of these events alone: an aggregate's query over a few records.

The query is the aggregate's own, run by DuckDB within this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
from replay.order_states import with_states
from schemas.catalogue import Event, event
from schemas.codec import Decoder
from schemas.errors import PoisonEvent
from schemas.versions import ByPayment, newest
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
        """All records of the slices, and the states that they replace.

        Blocks while they are read and decoded, some 50,000 a second.
        """
        found = {name: from_log(context, event(name), pieces) for name, pieces in slices.items()}
        return cls._with_states(context, found)

    @classmethod
    def from_lake(cls, context: Context, places: Mapping[str, set[Place]]) -> Cells:
        """The records at these places, and the states that they replace."""
        with context.lake() as catalog:
            found = {name: archive.rows(catalog, event(name), there) for name, there in places.items() if there}
        return cls._with_states(context, found)

    @classmethod
    def _with_states(cls, context: Context, found: Mapping[str, pa.Table]) -> Cells:
        return cls({name: with_states(context, event(name), records) for name, records in found.items()})

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """The records themselves, with the columns of the lake."""
        return self._tables

    def keys(self, a: Aggregate) -> list[Row]:
        """The key of every row of the aggregate that one of the records counts in, or a state that it replaces did."""
        with _duckdb() as connection:
            rows = self._run(connection, a, every_state=True)
            return [tuple(row[name] for name in a.key) for row in rows]

    def rows(self, a: Aggregate) -> list[dict[str, Any]]:
        """The result of the records alone."""
        with _duckdb() as connection:
            return self._run(connection, a)

    def _run(
        self, connection: duckdb.DuckDBPyConnection, a: Aggregate, *, every_state: bool = False
    ) -> list[dict[str, Any]]:
        for name in a.inputs:
            e = event(name)
            records = self._tables.get(name, empty(e))
            define_views(connection, e, records, a.rule_of(name), every_state=every_state)
        kinds = {name: column.type for name, column in a.columns.items()}
        found: pa.Table = connection.sql(result(render(a, Engine.DUCKDB), kinds)).to_arrow_table()
        return list(found.to_pylist())


@contextmanager
def _duckdb() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database that shows times in UTC."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def arrow_schema(e: Event) -> pa.Schema:
    """Columns of the event's table in the lake, as Arrow has them."""
    return schema_to_pyarrow(Schema(*lake_schema(e).fields), include_field_ids=False)


def empty(e: Event) -> pa.Table:
    """No record."""
    return arrow_schema(e).empty_table()


def from_log(context: Context, e: Event, slices: Iterable[Slice]) -> pa.Table:
    """The readable records of the slices, with the lake's columns. Raises BrokerUnavailable, RegistryUnavailable."""
    decoder, schema = Decoder(context.registry), arrow_schema(e)
    fields = {field.name for field in schema}
    batches: list[pa.RecordBatch] = []
    waiting: list[dict[str, Any]] = []
    for record in context.log.records(e, slices):
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


def counting(e: Event, records: pa.Table) -> pa.Table:
    """Those of the records that count: of several states of one thing the newest, unless it is void."""
    if e.versions is None:
        return records
    with _duckdb() as connection:
        connection.register("records", records)
        chosen = newest("records", records.column_names, e.versions, quoted)
        found: pa.Table = connection.sql(chosen).to_arrow_table()
        return found.cast(records.schema)


def define_views(
    connection: duckdb.DuckDBPyConnection,
    e: Event,
    records: pa.Table,
    rule: ByPayment | None,
    *,
    every_state: bool = False,
) -> None:
    """The relations that a query reads, over the first record of each event: those that count, or every state."""
    connection.register(f"records_{e.table}", records)
    own = ", ".join(_plain(name, avro) for name, avro in columns(e.avro_schema).items())
    arrived = quoted(f"arrived_{e.table}")
    connection.execute(
        f"create or replace temporary view {arrived} as select {own} from (select *, row_number() over"
        f" (partition by event_id order by kafka_partition, kafka_offset) as copy from records_{e.table})"
        " where copy = 1"
    )
    for statement in views(e.table, e.avro_schema, e.versions, rule, every_state=every_state):
        connection.execute(statement)


def _plain(name: str, avro: Any) -> str:
    """A column with the contract's own type: a time without a zone, in UTC."""
    kind = duckdb_type(avro)
    expression = f"{quoted(name)} at time zone 'UTC'" if kind == "TIMESTAMP" else quoted(name)
    return f"cast({expression} as {kind}) as {quoted(name)}"
