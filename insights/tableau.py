"""Marts as .hyper extracts, for Tableau: from Postgres a batch at a time to Parquet, which Hyper reads by itself.

Hyper lives in an environment of its own (bootstrap.py creates it on first use). Its numbers have 18 digits:
a mart's numeric(38, s) becomes numeric(18, s), and a value that does not fit is refused and never rounded. pantab would
do it in one step, but its release 5.3 refuses negative decimals with a zero behind the point, as -0.05.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from insights.settings import PROJECT
from schemas.errors import InsightsError, Misconfigured, Retryable
from schemas.plural import counted

SCHEMA = "marts"
PYTHON = PROJECT / ".venv-tableau" / "bin" / "python"
JOB = PROJECT / "insights" / "hyper_job.py"
BATCH_ROWS = 50_000
DIGITS = 18
Connection = psycopg.Connection[tuple[Any, ...]]

TYPES = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "smallint": pa.int16(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "double precision": pa.float64(),
}
NUMERIC = re.compile(r"numeric\(\d+,(\d+)\)")
# Names that dbt uses while it builds a relation: not ours.
COLUMNS = """
select
    relations.relname,
    attributes.attname,
    format_type(attributes.atttypid, attributes.atttypmod)
from pg_class as relations
inner join pg_namespace as namespaces on relations.relnamespace = namespaces.oid
inner join pg_attribute as attributes on relations.oid = attributes.attrelid
where
    namespaces.nspname = %s
    and relations.relkind in ('r', 'v', 'm', 'p', 'f')
    and relations.relname not like '%%\\_\\_dbt\\_%%'
    and attributes.attnum > 0
    and not attributes.attisdropped
order by
    relations.relname,
    attributes.attnum
"""


class ExtractFailed(InsightsError):
    """An extract was not written; the previous one stays. The message names it and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mart:
    """A relation of the schema marts: its columns with Postgres' types, in order."""

    name: str
    columns: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """A file that was written."""

    mart: str
    file: Path
    rows: int
    size_bytes: int


def marts(connection: Connection) -> dict[str, Mart]:
    """All of them, by name."""
    found: dict[str, dict[str, str]] = {}
    for relation, column, kind in connection.execute(COLUMNS, (SCHEMA,)).fetchall():
        found.setdefault(relation, {})[column] = kind
    return {name: Mart(name=name, columns=columns) for name, columns in found.items()}


def chosen(there: dict[str, Mart], names: Sequence[str]) -> list[Mart]:
    """Those that are named, with or without their schema; all when none is. Raises Misconfigured."""
    if not there:
        raise Misconfigured("there are no marts yet; the stack builds them, or run `insights dbt build` now")
    wanted = [name.removeprefix(f"{SCHEMA}.") for name in names] or list(there)
    if unknown := [name for name in wanted if name not in there]:
        raise Misconfigured(f"there is no mart {unknown[0]!r}; there are {', '.join(there)}")
    return [there[name] for name in dict.fromkeys(wanted)]


def export(connection: Connection, mart: Mart, folder: Path) -> Extract:
    """Writes ``folder/NAME.hyper`` whole or not at all. Blocks. The connection is in autocommit.

    Raises ExtractFailed when a value does not fit, or Hyper does not take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    schema = arrow_schema(mart)
    # On the same disk, so that the last step is a rename.
    with tempfile.TemporaryDirectory(prefix=f".{mart.name}-", dir=folder) as work:
        parquet, hyper = Path(work) / "rows.parquet", Path(work) / "extract.hyper"
        rows = 0
        with pq.ParquetWriter(parquet, schema, compression="zstd") as writer:
            for batch in _batches(connection, mart, schema):
                writer.write_batch(batch)
                rows += batch.num_rows
        _put_into_hyper(mart, parquet, hyper, rows)
        file = hyper.replace(folder / f"{mart.name}.hyper")
    return Extract(mart=mart.name, file=file, rows=rows, size_bytes=file.stat().st_size)


def arrow_schema(mart: Mart) -> pa.Schema:
    """Types in the extract, by column. Raises ExtractFailed naming a column that has none."""
    return pa.schema([(name, _arrow_type(mart.name, name, kind)) for name, kind in mart.columns.items()])


def _arrow_type(mart: str, column: str, kind: str) -> pa.DataType:
    if found := NUMERIC.fullmatch(kind):
        return pa.decimal128(DIGITS, int(found[1]))
    if kind in TYPES:
        return TYPES[kind]
    raise ExtractFailed(
        f"{SCHEMA}.{mart}, column {column}: extracts don't support {kind}; cast it in the mart to"
        f" numeric(38, s) or one of {', '.join(TYPES)}"
    )


def _batches(connection: Connection, mart: Mart, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """All rows as one moment saw them. No lock outlives it, which a build of the marts would have to wait for."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in mart.columns)
    query = sql.SQL("select {} from {}").format(names, sql.Identifier(SCHEMA, mart.name))
    with connection.transaction(), connection.cursor(name="extract") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(BATCH_ROWS):
            columns = zip(schema, zip(*rows, strict=True), strict=True)
            yield pa.record_batch([_array(mart.name, field, values) for field, values in columns], schema=schema)


def _array(mart: str, field: pa.Field, values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except pa.ArrowInvalid as error:
        raise ExtractFailed(
            f"{SCHEMA}.{mart}, column {field.name}: a value does not fit {field.type}, which is what Tableau's numbers"
            f" hold: {_widest(values)}. Nothing was written"
        ) from error


def _widest(values: Sequence[Any]) -> str:
    return str(max((value for value in values if value is not None), key=lambda value: abs(value)))


def _put_into_hyper(mart: Mart, parquet: Path, hyper: Path, rows: int) -> None:
    done = subprocess.run(
        [PYTHON, JOB, parquet, hyper, mart.name], cwd=hyper.parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise ExtractFailed(f"{SCHEMA}.{mart.name}: Hyper rejected it: {said[0]}")
    if int(done.stdout) != rows:
        raise ExtractFailed(
            f"{SCHEMA}.{mart.name}: {counted(rows, 'row was', 'rows were')} read, and Hyper has {int(done.stdout):,}"
        )


def ensure_hyper() -> None:
    """Installs Hyper's environment unless it is there as locked. Raises Retryable when that does not work."""
    done = subprocess.run([sys.executable, PROJECT / "bootstrap.py", "tableau"], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Retryable(f"Hyper's environment could not be created: {' '.join(done.stderr.split())[-600:]}")
