"""A lake of Iceberg files with its catalog in SQLite, for tests that need no server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.io.pyarrow import write_file
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table, WriteTask

from replay.context import Context
from replay.lake_files import open_catalog
from schemas.catalogue import Event
from warehouse.tables import NAMESPACE, create_lake_table

Row = Mapping[str, Any]


def properties(folder: Path) -> dict[str, str]:
    """What ``load_catalog`` needs, for a catalog in that folder."""
    return {
        "type": "sql",
        "uri": f"sqlite:///{folder}/catalog.db",
        "warehouse": (folder / "warehouse").as_uri(),
        "init_catalog_tables": "true",
    }


@dataclass(frozen=True, kw_only=True)
class OwnContext(Context):
    """A replay's context whose lake is in its folder; its log may be given."""

    @contextmanager
    def lake(self) -> Iterator[Catalog]:
        with open_catalog(properties(self.work_dir)) as catalog:
            yield catalog


def archive(folder: Path, e: Event, rows: Sequence[Row]) -> None:
    """Commits rows (of lake_columns) to the event's table as the live job does: a file for each day of publication."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog: Catalog = load_catalog("lake", **properties(folder))
    try:
        create_lake_table(catalog, e)
        table = catalog.load_table(f"{NAMESPACE}.{e.table}")
        _append(table, sorted(rows, key=lambda row: (_day(row), row["kafka_partition"], row["kafka_offset"])))
    finally:
        catalog.close()


def _day(row: Row) -> int:
    """Days since 1970, as the table is partitioned."""
    return int(row["kafka_timestamp"].timestamp()) // 86_400


def _append(table: Table, rows: Sequence[Row]) -> None:
    for day, of_day in groupby(rows, key=_day):
        append_file(table, day, pa.Table.from_pylist(list(of_day), schema=table.schema().as_arrow()))


def append_file(table: Table, day: int, rows: pa.Table) -> None:
    """Commits one file, of records that were published on that day (days since 1970)."""
    schema, (field,) = table.schema(), table.spec().fields
    key = PartitionKey(
        field_values=[PartitionFieldValue(field=field, value=day)], partition_spec=table.spec(), schema=schema
    )
    task = WriteTask(
        write_uuid=uuid.uuid4(), task_id=0, schema=schema, record_batches=rows.to_batches(), partition_key=key
    )
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for file in write_file(table.io, table.metadata, iter([task])):
            append.append_data_file(file)
