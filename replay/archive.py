"""The lake by offsets: which records of the log it has, each once, and their properties.

Only the columns of a record's position in the log are read, and only from the files whose offsets matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import EqualTo
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.table import Table

from replay.lake_files import missing_offsets, within
from schemas.binary import EPOCH
from schemas.catalogue import Event
from schemas.errors import Retryable
from schemas.versions import newest
from spark.task import Slice
from warehouse.tables import NAMESPACE

LISTED = 5
Place = tuple[int, int]
"""(partition, offset)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the lake has of some slices. ``bytes`` are those of the files that must be opened for them.

    ``without_id`` are records that have their schema's id in their bytes alone.
    """

    records: int
    doubled: int
    bytes: int
    schema_ids: tuple[int, ...]
    missing: tuple[Slice, ...]
    without_id: int = 0


def table(catalog: Catalog, event: Event) -> Table | None:
    """The event's table, or None when there is none."""
    try:
        return catalog.load_table(f"{NAMESPACE}.{event.table}")
    except NoSuchTableError:
        return None


def coverage(catalog: Catalog, event: Event, pieces: Iterable[Slice]) -> Coverage:
    """What is there of the slices, and which offsets are missing. A compacted topic may have holes."""
    wanted = tuple(piece for piece in pieces if piece.records > 0)
    source = table(catalog, event)
    if source is None or not wanted:
        return Coverage(records=0, doubled=0, bytes=0, schema_ids=(), missing=wanted if source is None else ())
    scan = source.scan(row_filter=within(wanted), selected_fields=("kafka_partition", "kafka_offset", "schema_id"))
    files = list(scan.plan_files())  # once: to find them takes as long as to read them
    size = sum(task.file.file_size_in_bytes for task in files)
    with duckdb.connect() as connection:
        reader = ArrowScan(source.metadata, source.io, scan.projection(), scan.row_filter)
        columns = schema_to_pyarrow(scan.projection(), include_field_ids=False)
        rows = pa.RecordBatchReader.from_batches(columns, reader.to_record_batches(files)).cast(columns)
        connection.register("arrived", rows)
        connection.execute(
            "create table places as select kafka_partition, kafka_offset, count(*) as n,"
            " min(schema_id) as low, max(schema_id) as high from arrived group by all"
        )
        there, doubled = connection.execute("select count(*), coalesce(sum(n - 1), 0) from places").fetchall()[0]
        ids = connection.execute(
            "select distinct id from (select low as id from places union all select high from places)"
            " where id is not null order by id"
        ).fetchall()
        (without_id,) = connection.execute("select count(*) from places where low is null").fetchall()[0]
        may_have_holes = event.cleanup == "compact"
        missing = () if may_have_holes else tuple(s for w in wanted for s in missing_offsets(connection, "places", w))
    return Coverage(
        records=int(there),
        doubled=int(doubled),
        bytes=size,
        schema_ids=tuple(i for (i,) in ids),
        missing=missing,
        without_id=int(without_id),
    )


def first_since(catalog: Catalog, event: Event, moment: datetime) -> dict[int, int]:
    """By partition, the lake's first offset published at ``moment`` or later; partitions without one are left out."""
    return _by_partition(catalog, event, "min(kafka_offset)", f"kafka_timestamp >= '{moment.isoformat()}'")


def ends(catalog: Catalog, event: Event, partitions: Iterable[int]) -> dict[int, int]:
    """By partition, the offset after the last one in the lake; 0 for a partition without any."""
    return dict.fromkeys(partitions, 0) | _by_partition(catalog, event, "max(kafka_offset) + 1")


def behind(catalog: Catalog, event: Event, pieces: Iterable[Slice]) -> tuple[Slice, ...]:
    """The part of the slices past the lake's end. Right for a compacted topic too: its newest record is kept."""
    wanted = [piece for piece in pieces if piece.records > 0]
    there = ends(catalog, event, {piece.partition for piece in wanted})
    return tuple(
        Slice(partition=s.partition, from_offset=max(there[s.partition], s.from_offset), until_offset=s.until_offset)
        for s in wanted
        if there[s.partition] < s.until_offset
    )


def extents(catalog: Catalog, event: Event) -> dict[int, tuple[int, int]]:
    """By partition, the first offset in the lake and the one after the last; without partitions that have none."""
    found = _by_partition(catalog, event, "[min(kafka_offset), max(kafka_offset) + 1]")
    return {n: (first, end) for n, (first, end) in found.items()}


def _by_partition(catalog: Catalog, event: Event, wanted: str, condition: str | None = None) -> dict[int, Any]:
    """By partition, an expression over the offsets that the lake holds."""
    source = table(catalog, event)
    if source is None:
        return {}
    scan = source.scan(selected_fields=("kafka_partition", "kafka_offset"))
    if condition:
        scan = scan.filter(condition)
    with duckdb.connect() as connection:
        connection.register("arrived", scan.to_arrow_batch_reader())
        return dict(connection.execute(f"select kafka_partition, {wanted} from arrived group by all").fetchall())


def times(catalog: Catalog, event: Event, places: Iterable[Place], column: str) -> dict[Place, datetime]:
    """A time of the records at these positions, without records that are not in the lake."""
    source, wanted = table(catalog, event), set(places)
    if source is None or not wanted:
        return {}
    least, most = min(offset for _, offset in wanted), max(offset for _, offset in wanted)
    fields = ("kafka_partition", "kafka_offset", column)
    near = f"kafka_offset >= {least} and kafka_offset <= {most}"
    scan = source.scan(row_filter=near, selected_fields=fields)
    found: dict[Place, datetime] = {}
    for batch in scan.to_arrow_batch_reader():
        rows = zip(*(batch.column(name).to_pylist() for name in fields), strict=True)
        found |= {(p, o): at for p, o, at in rows if (p, o) in wanted}
    return found


def rows(catalog: Catalog, event: Event, places: Collection[Place]) -> pa.Table:
    """The whole records at these places, at least one. Raises Retryable when the lake does not hold them all yet."""
    source = table(catalog, event)
    least, most = min(offset for _, offset in places), max(offset for _, offset in places)
    wanted = pa.table(
        {"p": pa.array([p for p, _ in places], pa.int32()), "o": pa.array([o for _, o in places], pa.int64())}
    )
    with duckdb.connect() as connection:
        if source is None:
            raise Retryable(f"the lake has no table for {event.topic}; `insights up` creates it")
        scan = source.scan(row_filter=f"kafka_offset >= {least} and kafka_offset <= {most}")
        connection.register("arrived", scan.to_arrow_batch_reader())
        connection.register("wanted", wanted)
        picked: pa.Table = connection.sql(
            "select a.* from arrived as a join wanted as w on a.kafka_partition = w.p and a.kafka_offset = w.o"
        ).to_arrow_table()
    if picked.num_rows != len(places):
        raise Retryable(
            f"the lake has {picked.num_rows:,} of the {len(places):,} late records of {event.topic} counted by now: it"
            " gets the others with the live job's next checkpoint; try again then"
        )
    return picked


def between(catalog: Catalog, event: Event, column: str, since: datetime, until: datetime) -> pa.Table | None:
    """The whole records with a time from ``since`` on and before ``until``; None when there is no table."""
    source = table(catalog, event)
    if source is None:
        return None
    inside = f"{column} >= '{since.isoformat()}' and {column} < '{until.isoformat()}'"
    return source.scan(row_filter=inside).to_arrow()


def with_text(catalog: Catalog, event: Event, column: str, value: str) -> pa.Table | None:
    """The whole records with this text in a column; None when there is no table."""
    source = table(catalog, event)
    return source.scan(row_filter=EqualTo(term=column, value=value)).to_arrow() if source is not None else None


def values_by_source(catalog: Catalog, event: Event, column: str) -> dict[str, int]:
    """By source of the event's records, how many of them have a value in this column; an older lake may lack it."""
    source = table(catalog, event)
    if source is None:
        return {}
    there = ("source", column) if column in source.schema().column_names else ("source",)
    with duckdb.connect() as connection:
        connection.register("arrived", source.scan(selected_fields=there).to_arrow_batch_reader())
        counted = f"count({column})" if column in there else "0"
        return dict(connection.execute(f"select source, {counted} from arrived group by source").fetchall())


def refunds_without_payment(catalog: Catalog, orders: Event, refunds: Event) -> dict[str, int]:
    """By source, the refunds that count nowhere by payment date although the newest state of their order is paid.

    One without a version is none of them: it counts by its own date. Blocks while some columns of all refunds are read,
    and where one does not say when its order was paid, of all orders.
    """
    with duckdb.connect() as connection:
        _register_newest(connection, catalog, refunds, "refunds")
        connection.execute(
            "create table silent as select source, order_id from refunds where paid is null and version is not null"
        )
        if not connection.execute("select 1 from silent limit 1").fetchall():
            return {}
        _register_newest(connection, catalog, orders, "orders")
        return dict(
            connection.execute(
                "select source, count(*) from silent"
                " semi join (select source, order_id from orders where paid is not null) using (source, order_id)"
                " group by source"
            ).fetchall()
        )


def _register_newest(connection: duckdb.DuckDBPyConnection, catalog: Catalog, event: Event, name: str) -> None:
    """A table of the records that count: their source, order_id and version, and when their order was ``paid``."""
    versions, source = event.versions, table(catalog, event)
    assert versions is not None
    assert versions.paid is not None
    if source is None:
        connection.execute(f"create table {name} (source text, order_id text, version bigint, paid timestamptz)")
        return
    wanted = dict.fromkeys((*versions.of, "source", "order_id", "event_id", versions.by, versions.void, versions.paid))
    has = set(source.schema().column_names)  # an older lake may lack some
    connection.register("arrived", source.scan(selected_fields=tuple(n for n in wanted if n in has)).to_arrow())
    lacking = "".join(f", null as {each}" for each in wanted if each not in has)
    counts = newest(
        f"(select *{lacking} from arrived)", ("source", "order_id", versions.by, versions.paid), versions, str
    )
    connection.execute(f"create table {name} as select * rename ({versions.paid} as paid) from ({counts})")
    connection.unregister("arrived")


def quantiles(catalog: Catalog, event: Event, column: str, pieces: int) -> list[datetime]:
    """Times that cut the table's records into about as many pieces, going by what is known of its files alone."""
    source = table(catalog, event)
    if source is None:
        return []
    number = source.schema().find_field(column).field_id
    files = [task.file for task in source.scan().plan_files()]
    spans = sorted((_micros(f.lower_bounds[number]), f.record_count) for f in files if number in f.lower_bounds)
    total = sum(records for _, records in spans)
    found: list[datetime] = []
    passed = 0
    for earliest, records in spans:
        if passed * pieces >= total * (len(found) + 1):
            found.append(EPOCH + timedelta(microseconds=earliest))
        passed += records
    return found


def _micros(bound: bytes) -> int:
    """A time as Iceberg keeps it in a file's bounds (Iceberg's table spec, appendix D)."""
    return int.from_bytes(bound, "little", signed=True)


def named(pieces: Mapping[str, Iterable[Slice]]) -> str:
    """Slices by topic in words: ``sales.order_placed.v1 partition 0: 12 to 40``. At most a few of each topic."""
    words = []
    for topic, found in pieces.items():
        listed = sorted(found, key=lambda piece: (piece.partition, piece.from_offset))
        ranges = [f"partition {p.partition}: {p.from_offset:,} to {p.until_offset - 1:,}" for p in listed[:LISTED]]
        more = f" and {len(listed) - LISTED:,} more ranges" if len(listed) > LISTED else ""
        words.append(f"{topic} {'; '.join(ranges)}{more}")
    return "; ".join(words)
