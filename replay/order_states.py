"""The states of things, as the lake has them: an order's, of which the newest counts."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from replay import archive
from replay.archive import Place
from replay.context import Context
from schemas.binary import MILLISECOND
from schemas.catalogue import Event
from schemas.versions import ByPayment, paid_at

quoted = '"{}"'.format


def with_states(context: Context, e: Event, records: pa.Table, fresh: pa.Table | None = None) -> pa.Table:
    """The records, and all other states of the things that they are states of: from the lake, and of ``fresh``."""
    versions = e.versions
    if versions is None:
        return records
    states = records.filter(pc.field(versions.by).is_valid())
    if not states.num_rows:
        return records
    times = pc.min_max(states["occurred_at"]).as_py()
    with context.lake() as catalog:
        kept = archive.between(catalog, e, "occurred_at", times["min"], times["max"] + MILLISECOND)
    others = [part.cast(records.schema) for part in (kept, fresh) if part is not None]
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("others", pa.concat_tables([records.slice(0, 0), *others]))
        connection.register("states", states.select(versions.of))
        same: pa.Table = connection.sql(
            f"select * from others semi join states using ({', '.join(map(quoted, versions.of))})"
        ).to_arrow_table()
    return pa.concat_tables([records, same.cast(records.schema)])


def counted_times(context: Context, e: Event, rule: ByPayment, places: set[Place]) -> dict[Place, set[datetime]]:
    """When the orders of the records at these places count by payment, in any of their states; all are in the lake."""
    with context.lake() as catalog:
        found = archive.rows(catalog, e, places)
    assert e.versions is not None
    of, by = ", ".join(map(quoted, e.versions.of)), quoted(e.versions.by)
    at = paid_at(e.versions, rule, quoted)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("records", found)
        connection.register("states", with_states(context, e, found))
        rows: pa.Table = connection.sql(
            f"select kafka_partition, kafka_offset, {at} as counted_at from records where {by} is null union all"
            " select r.kafka_partition, r.kafka_offset, s.counted_at from records as r"
            f" join (select {of}, {at} as counted_at from states where {by} is not null) as s using ({of})"
            f" where r.{by} is not null"
        ).to_arrow_table()
    times: dict[Place, set[datetime]] = {place: set() for place in places}
    for row in rows.to_pylist():
        if row["counted_at"] is not None:
            times[row["kafka_partition"], row["kafka_offset"]].add(row["counted_at"])
    return times
