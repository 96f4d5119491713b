"""Which files of the lake hold a range of the log: pyiceberg plans, others read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from schemas.errors import InsightsError, Misconfigured, Retryable
from spark.task import Slice

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema

NAMESPACE = "events"
S3 = "s3://"


class LakeUnreadable(Retryable):
    """The lake's catalog or its metadata can't be read now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeFile:
    """A Parquet file. ``times`` is, by column, the earliest and the latest time in it (UTC); none when not known."""

    path: str
    times: Mapping[str, tuple[datetime, datetime]]

    def may_hold(self, column: str, since: datetime | None, until: datetime | None) -> bool:
        """Whether a record from ``since`` and before ``until`` can be in it."""
        if column not in self.times:
            return True
        earliest, latest = self.times[column]
        return (since is None or latest >= since) and (until is None or earliest < until)


@contextmanager
def open_catalog(properties: Mapping[str, str]) -> Iterator[Catalog]:
    """The lake's catalog, closed at the end."""
    from pyiceberg.catalog import load_catalog

    try:
        catalog = load_catalog("lake", **properties)
    except Exception as error:
        raise _away(error) from error
    try:
        yield catalog
    finally:
        catalog.close()


def open_storage(database: DuckDBPyConnection, properties: Mapping[str, str]) -> None:
    """Lets DuckDB read a lake's files in S3 as pyiceberg does: its own extension would have to be fetched."""
    bucket = urlsplit(properties.get("warehouse", ""))
    if f"{bucket.scheme}://" != S3:
        return
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyiceberg.io.pyarrow import PyArrowFileIO

    database.register_filesystem(ArrowFSWrapper(PyArrowFileIO(dict(properties)).fs_by_scheme("s3", bucket.netloc)))


def lake_files(catalog: Catalog, table: str, slices: Sequence[Slice]) -> list[LakeFile]:
    """Files in which records of the slices can be; others of the same topic may be there too.

    Raises Misconfigured when there is no such table, or it holds what only an Iceberg reader may read; LakeUnreadable.
    """
    from pyiceberg.exceptions import NoSuchTableError

    if not slices:
        return []
    try:
        loaded = catalog.load_table(f"{NAMESPACE}.{table}")
        tasks = list(loaded.scan(row_filter=within(slices)).plan_files())
    except NoSuchTableError as error:
        raise Misconfigured(f"the lake has no table {NAMESPACE}.{table}: `insights up` creates it") from error
    except Exception as error:
        raise _away(error) from error
    for task in tasks:
        if task.delete_files:
            raise Misconfigured(
                f"{NAMESPACE}.{table} has delete files, and the log's copy is never deleted from: something else wrote"
                f" to it. The first is {min(file.file_path for file in task.delete_files)}"
            )
    schema = loaded.schema()
    return [LakeFile(path=readable(t.file.file_path), times=_times(t.file, schema)) for t in tasks]


def readable(uri: str) -> str:
    """What DuckDB opens a file of the lake by: its path on this machine, or its place in S3."""
    return uri if uri.startswith(S3) else local_path(uri)


def local_path(uri: str) -> str:
    """Path of a file on this machine. Raises Misconfigured for a file elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "":
        return str(Path(uri))
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        # Iceberg writes locations as they are, other writers percent-encode them.
        return parts.path if Path(parts.path).exists() else unquote(parts.path)
    raise Misconfigured(
        f"the DuckDB engine reads files of this machine and of S3, and {uri} is elsewhere: use --engine local or emr"
    )


def within(slices: Iterable[Slice]) -> str:
    """The slices as a condition on a record, as pyiceberg and SQL write it."""
    ranges = (
        f"(kafka_partition = {s.partition} and kafka_offset >= {s.from_offset} and kafka_offset < {s.until_offset})"
        for s in slices
    )
    return f"({' or '.join(ranges)})"


def missing_offsets(database: DuckDBPyConnection, records: str, s: Slice) -> list[Slice]:
    """The ranges of the slice's offsets without a row in ``records``, which is a table, or a call that reads one."""
    found = database.execute(f"""
        with bounds as (
            select kafka_offset as o from {records} where {within([s])}
            union all select {s.from_offset - 1}
            union all select {s.until_offset}
        ),
        steps as (select o, lead(o) over (order by o) as following from bounds)
        select o + 1, following from steps where following > o + 1 order by o""").fetchall()
    return [Slice(partition=s.partition, from_offset=first, until_offset=until) for first, until in found]


def _times(file: DataFile, schema: Schema) -> dict[str, tuple[datetime, datetime]]:
    from pyiceberg.conversions import from_bytes
    from pyiceberg.types import TimestamptzType
    from pyiceberg.utils.datetime import micros_to_timestamptz

    lower, upper = file.lower_bounds or {}, file.upper_bounds or {}
    found = {}
    for field in schema.fields:
        if isinstance(field.field_type, TimestamptzType) and field.field_id in lower and field.field_id in upper:
            earliest = int(from_bytes(field.field_type, lower[field.field_id]))
            latest = int(from_bytes(field.field_type, upper[field.field_id]))
            found[field.name] = (micros_to_timestamptz(earliest), micros_to_timestamptz(latest))
    return found


def _away(error: Exception) -> InsightsError:
    return LakeUnreadable(
        f"the lake can't be read: {type(error).__name__}: {error}. Check that Postgres is up, and the lake's"
        " disk or bucket is there"
    )
