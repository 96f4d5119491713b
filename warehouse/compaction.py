"""Compacts the small files of a lake table while the live job keeps appending.

Files are added and removed in one commit of the table, so a reader sees either the old ones or the new ones. If another
commit came first, the commit is repeated on the new state, with the files that are already written.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, pyarrow_to_schema, write_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import FileScanTask, Table, WriteTask
from pyiceberg.types import TimestamptzType

from schemas.binary import EPOCH, EPOCH_DAY
from schemas.errors import InsightsError, Retryable
from schemas.plural import counted

# A file is full at this size on disk, or with so many rows: what is read of a table at once is bounded by both, and by
# what it takes in memory, however well it was compressed.
TARGET_BYTES = 64 * 1024 * 1024
TARGET_ROWS = 400_000
MEMORY_BYTES = 256 * 1024 * 1024
# Of a day that is not over, fewer small files are left for the next run: it would read the others again for them.
FEWEST_OF_TODAY = 20
ATTEMPTS = 20
PLACE = ("kafka_partition", "kafka_offset")
SUMMARY = {"insights.maintenance": "compaction"}


class LakeDamaged(InsightsError):
    """Files of the lake hold other rows than its metadata states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallFile:
    """A data file that is at most half full. ``first_at`` is the publication of its first record."""

    file: DataFile
    day: date
    first_at: datetime

    @property
    def fill(self) -> float:
        """1 is full."""
        return fill(self.file)


def fill(file: DataFile) -> float:
    """How full a file is; 1 is full."""
    return max(file.file_size_in_bytes / TARGET_BYTES, file.record_count / TARGET_ROWS)


def plan(table: Table, today: date) -> list[list[DataFile]]:
    """Groups of files of one day, oldest first, each to become one file. What was compacted once is in none."""
    small = sorted(_small_files(table), key=lambda s: (s.day, s.first_at, s.file.file_path))
    groups: list[list[DataFile]] = []
    for day, of_day in groupby(small, key=lambda s: s.day):
        files = list(of_day)
        if len(files) >= (2 if day < today else FEWEST_OF_TODAY):
            groups += packed(files)
    return groups


def packed(files: Sequence[SmallFile]) -> list[list[DataFile]]:
    """As many at a time, in their order, as fill one file. Each is at most half full, so all but the last come out more
    than half full and are small no more: the next run leaves them alone.
    """
    groups: list[list[DataFile]] = []
    room = 0.0
    for small in files:
        if small.fill > room:
            groups.append([])
            room = 1.0
        groups[-1].append(small.file)
        room -= small.fill
    return [group for group in groups if len(group) > 1]


def _small_files(table: Table) -> Iterator[SmallFile]:
    at, microseconds = table.schema().find_field("kafka_timestamp").field_id, TimestamptzType()
    for task in table.scan().plan_files():
        file = task.file
        # The job only appends, and the table's partitioning does not change; what is not so is left as it is.
        if fill(file) > 0.5 or task.delete_files or file.spec_id != table.spec().spec_id:
            continue
        first_us: Any = from_bytes(microseconds, file.lower_bounds[at])
        yield SmallFile(file=file, day=day_of(file), first_at=EPOCH + timedelta(microseconds=first_us))


def day_of(file: DataFile) -> date:
    """The day that a file of a table in days is of."""
    value = file.partition[0]
    return value if isinstance(value, date) else EPOCH_DAY + timedelta(days=value)


def compact(catalog: Catalog, identifier: tuple[str, ...], group: Sequence[DataFile]) -> int:
    """The rows of these files in fewer, sorted by their place in the log; how many files fewer. Blocks.

    Raises Retryable when others' commits came first again and again, LakeDamaged when the files hold other rows than
    they should; then the table is as it was.
    """
    table = catalog.load_table(identifier)
    written = _write(table, group)
    wanted, found = sum(f.record_count for f in group), sum(f.record_count for f in written)
    if wanted != found:
        _remove(table, written)
        raise LakeDamaged(
            f"{'.'.join(identifier)}: {len(group)} files should hold {counted(wanted, 'row')}, but {found:,} were read;"
            f" the first file is {group[0].file_path}. Nothing was changed"
        )
    if len(written) >= len(group):
        # So large in memory that they can't be one.
        _remove(table, written)
        return 0
    _exchange(catalog, identifier, group, written)
    return len(group) - len(written)


def _write(table: Table, group: Sequence[DataFile]) -> list[DataFile]:
    day = day_of(group[0])
    return [write(table, rows.sort_by([(name, "ascending") for name in PLACE]), day) for rows in _read(table, group)]


def write(table: Table, rows: pa.Table, day: date) -> DataFile:
    """A data file with these rows of one day, in their order. It is in the table when it is committed."""
    (field,) = table.spec().fields
    key = PartitionKey(
        [PartitionFieldValue(field, (day - EPOCH_DAY).days)], partition_spec=table.spec(), schema=table.schema()
    )
    task = WriteTask(
        write_uuid=uuid.uuid4(),
        task_id=0,
        schema=pyarrow_to_schema(rows.schema, name_mapping=table.name_mapping() or table.schema().name_mapping),
        record_batches=rows.to_batches(),
        partition_key=key,
    )
    (file,) = write_file(table.io, table.metadata, iter([task]))
    return file


def _read(table: Table, group: Sequence[DataFile]) -> Iterator[pa.Table]:
    """Their rows, in as few tables as memory allows. Columns that a file is too old for are null."""
    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    held: list[pa.Table] = []
    for file in group:
        rows = scan.to_table([FileScanTask(file)])
        if held and sum(t.nbytes for t in held) + rows.nbytes > MEMORY_BYTES:
            yield pa.concat_tables(held)
            held = []
        held.append(rows)
    yield pa.concat_tables(held)


def _exchange(catalog: Catalog, identifier: tuple[str, ...], old: Sequence[DataFile], new: Sequence[DataFile]) -> None:
    for attempt in range(ATTEMPTS):
        table = catalog.load_table(identifier)
        try:
            with table.transaction() as transaction, transaction.update_snapshot(SUMMARY).overwrite() as change:
                for file in old:
                    change.delete_data_file(file)
                for file in new:
                    change.append_data_file(file)
            return
        except (CommitFailedException, ValidationException):
            # Both mean that nothing was committed. The other writer has committed, and we look again.
            time.sleep(random.uniform(0, 0.2 * (attempt + 1)))  # noqa: S311 only to be out of step
    _remove(table, new)
    raise Retryable(
        f"{'.'.join(identifier)}: {ATTEMPTS} times another commit came first; nothing was changed,"
        " the next run tries again"
    )


def _remove(table: Table, files: Sequence[DataFile]) -> None:
    for file in files:
        table.io.delete(file.file_path)
