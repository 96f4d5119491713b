"""Loads an engine's results, Parquet files in a folder, into a Postgres table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.dataset as ds
import pyarrow.fs as fs
from psycopg import sql

from aggregates.catalogue import SCALES
from schemas.errors import InsightsError, Misconfigured
from spark.task import Chunk, Task

SUCCESS = "_SUCCESS"
ROWS_AT_ONCE = 32_768
# In CSV, Postgres takes an empty field for null and a quoted one for an empty text; all texts are quoted.
AS_POSTGRES_READS = csv.WriteOptions(include_header=False, quoting_style="needed", batch_size=ROWS_AT_ONCE)

ARROW: dict[str, pa.DataType] = {
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "string": pa.large_string(),
    "bytes": pa.large_binary(),
    "int": pa.int32(),
    "count": pa.int64(),
    **{name: pa.decimal128(38, scale) for name, scale in SCALES.items()},
    "boolean": pa.bool_(),
    "double": pa.float64(),
}


class ResultUnreadable(InsightsError):
    """A chunk's result does not match the task: a column is missing, of another type, or holds what no table can."""


def load(
    connection: psycopg.Connection[Any], task: Task, variant: str, aggregate: str, chunk: Chunk, table: str
) -> int:
    """Adds the result of one chunk to ``table`` (``schema.name``). Returns its rows; see ``copy_parquet``."""
    columns = {c.aggregate: c.columns for c in task.computations}
    if aggregate not in columns:
        raise Misconfigured(f"the run {task.run} computes {', '.join(columns)}, and not {aggregate!r}")
    return copy_parquet(connection, task.folder(variant, aggregate, chunk), table, columns[aggregate])


def copy_parquet(connection: psycopg.Connection[Any], folder_uri: str, table: str, columns: Mapping[str, str]) -> int:
    """Adds all rows of a finished folder of Parquet files to ``table`` by one COPY. Returns how many.

    ``columns`` are name and logical type, as in Computation. Commits nothing. Blocks until Postgres has all. Raises
    ResultUnreadable when the folder is not finished or its files don't fit; psycopg's own when Postgres is away.
    """
    rows = 0
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    target = sql.Identifier(*table.split("."))
    statement = sql.SQL("copy {} ({}) from stdin with (format csv, encoding 'UTF8')").format(target, names)
    try:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in _batches(folder_uri, columns):
                copy.write(_csv(batch))
                rows += batch.num_rows
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ResultUnreadable(f"Postgres rejected {folder_uri} for {table}: {error}") from error
    return rows


def _batches(folder_uri: str, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    filesystem, path = fs.FileSystem.from_uri(folder_uri)
    if filesystem.get_file_info(f"{path}/{SUCCESS}").type is not fs.FileType.File:
        raise ResultUnreadable(f"{folder_uri} is incomplete: it has no {SUCCESS}. Resume the run")
    schema = pa.schema([(name, ARROW[kind]) for name, kind in columns.items()])
    try:
        files = ds.dataset(path, filesystem=filesystem, format="parquet")
        if not files.files:
            return
        for batch in files.to_batches(columns=list(columns), batch_size=ROWS_AT_ONCE, batch_readahead=4):
            yield batch.cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise ResultUnreadable(f"{folder_uri} can't be read as {', '.join(columns)}: {error}") from error


def _csv(batch: pa.RecordBatch) -> pa.Buffer:
    columns = [_hexadecimal(c) if pa.types.is_large_binary(c.type) else c for c in batch.columns]
    sink = pa.BufferOutputStream()
    csv.write_csv(pa.record_batch(columns, names=batch.schema.names), sink, AS_POSTGRES_READS)
    return sink.getvalue()


def _hexadecimal(column: pa.Array) -> pa.Array:
    r"""Bytes as Postgres' ``\x00ff``; null stays null. All at once: no Python for each value."""
    filled = pc.fill_null(column, b"")
    _, places, data = filled.buffers()
    offsets = pa.Array.from_buffers(pa.int64(), len(filled) + 1, [None, places], offset=filled.offset)
    start, end = offsets[0].as_py(), offsets[-1].as_py()
    digits = pa.py_buffer(data.slice(start, end - start).hex() if data else b"")
    doubled = pc.multiply(pc.subtract(offsets, start), 2)
    texts = pa.Array.from_buffers(pa.large_string(), len(filled), [None, doubled.buffers()[1], digits])
    prefixed = pc.binary_join_element_wise(pa.scalar("\\x", pa.large_string()), texts, pa.scalar("", pa.large_string()))
    return pc.if_else(pc.is_null(column), pa.scalar(None, pa.large_string()), prefixed)
