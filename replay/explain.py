"""The exact events behind one row of an aggregate, and their result."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from operator import or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from aggregates.catalogue import Aggregate, aggregate
from aggregates.windows import end_of, floored
from replay import archive, late_events
from replay.affected_rows import Cells, arrow_schema, counting, from_log
from replay.compare import comparable, measures, name_of
from replay.context import Context
from replay.log import slices
from replay.order_states import with_states
from schemas import catalogue
from schemas.catalogue import Event
from schemas.errors import Misconfigured

Place = tuple[str, int]
"""(event name, row of its table)."""


BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """One event that counts in a row: its place in the log, and its contents."""

    topic: str
    partition: int
    offset: int
    record: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A row's key, what readers see, the result of its events, and these events. A side is None without a row."""

    aggregate: str
    key: dict[str, Any]
    live: dict[str, Any] | None
    computed: dict[str, Any] | None
    events: tuple[Behind, ...]

    @property
    def adds_up(self) -> bool:
        """Do the events found give the row that readers see?"""
        return self.live == self.computed


def explain(context: Context, name: str, text: str) -> Explanation:
    """What is behind the row whose key is ``text``, values with commas in the key's order. Blocks.

    Raises Misconfigured when the text is not such a key, Retryable when a server is away.
    """
    a = aggregate(name)
    key = parse_key(a, text)
    records = Cells(_candidates(context, a, key))
    places = [(event, row) for event, table in records.tables.items() for row in range(table.num_rows)]
    counted = _narrowed(records, a, key, places)
    chosen = _picked(records, counted)
    with context.postgres() as connection:
        a = comparable(connection, a, a.sink)
    return Explanation(
        aggregate=name,
        key=key,
        live=_live(context, a, key),
        computed=_row(chosen, a, key),
        events=tuple(_behind(chosen)),
    )


def parse_key(a: Aggregate, text: str) -> dict[str, Any]:
    """Key column to value. A value with a comma in it goes in double quotes. Raises Misconfigured."""
    try:
        (values,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise Misconfigured(f"{text!r} is not a row's key: {error}") from error
    if len(values) != len(a.key):
        raise Misconfigured(
            f"a row of {a.name} is named by {len(a.key)} values, {', '.join(a.key)}, and {text!r} has {len(values)}"
        )
    key = {name: _typed(a, name, value.strip()) for name, value in zip(a.key, values, strict=True)}
    if not a.is_fact and floored(key["window_start"], a.window, a.zone) != key["window_start"]:
        raise Misconfigured(
            f"no window of {a.name} starts at {key['window_start']:%Y-%m-%d %H:%M:%S}; the one around it starts at"
            f" {floored(key['window_start'], a.window):%Y-%m-%d %H:%M}"
        )
    return key


def _typed(a: Aggregate, name: str, value: str) -> Any:
    try:
        match a.columns[name].type:
            case "timestamp":
                found = datetime.fromisoformat(value)
                return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
            case "date":
                return date.fromisoformat(value)
            case "int" | "count":
                return int(value)
            case "boolean":
                return BOOLEANS[value.lower()]
    except (ValueError, KeyError) as error:
        raise Misconfigured(f"{name} of {a.name} is a {a.columns[name].type}, and {value!r} is not one") from error
    return value


def _candidates(context: Context, a: Aggregate, key: Mapping[str, Any]) -> dict[str, pa.Table]:
    """Records that could count in the row, by event: of its window, or with its id, and not late."""
    waiting = late_events.pending(context, {name: _ends(context, catalogue.event(name)) for name in a.inputs})
    dead = late_events.dead(context)
    found = {}
    for name in a.inputs:
        event = catalogue.event(name)
        out = {(t.partition, t.offset) for t in waiting if t.event.name == name} | dead.places[name]
        found[name] = counting(event, _without(_records(context, a, event, key), out))
    return found


def _ends(context: Context, event: Event) -> dict[int, int]:
    return {n: extent.end for n, extent in context.log.extents(event).items()}


def _records(context: Context, a: Aggregate, event: Event, key: Mapping[str, Any]) -> pa.Table:
    extents = context.log.extents(event)
    with context.lake() as catalog:
        archived = archive.ends(catalog, event, extents)
        if a.is_fact:
            kept = archive.with_text(catalog, event, "event_id", key["event_id"])
        else:
            start = key["window_start"]
            until = end_of(start, a.window, a.zone)
            parts = [archive.between(catalog, event, time, start, until) for time in _times_of(a, event)]
            kept = pa.concat_tables([part for part in parts if part is not None]) if parts[0] is not None else None
    tail = slices({n: (max(archived[n], extent.begin), extent.end) for n, extent in extents.items()})
    schema = arrow_schema(event)
    tail_records = from_log(context, event, tail)
    fresh = _matching(tail_records, a, event, key)
    found = pa.concat_tables([*([kept.cast(schema)] if kept is not None else []), fresh.cast(schema)])
    if event.versions and a.time_of(event.name) in event.versions.of and not a.is_fact:
        return found  # all states of a thing have one time: they are in its window
    return with_states(context, event, found, tail_records)


def _times_of(a: Aggregate, event: Event) -> list[str]:
    """The fields of which one says when the event counts."""
    return sorted({a.time, a.time_of(event.name)})


def _matching(records: pa.Table, a: Aggregate, event: Event, key: Mapping[str, Any]) -> pa.Table:
    if a.is_fact:
        return records.filter(pc.field("event_id") == key["event_id"])
    start = key["window_start"]
    least, most = pa.scalar(start), pa.scalar(end_of(start, a.window, a.zone))
    moments = [pc.field(time) for time in _times_of(a, event)]
    return records.filter(reduce(or_, [(moment >= least) & (moment < most) for moment in moments]))


def _without(records: pa.Table, places: set[tuple[int, int]]) -> pa.Table:
    """Without those places, and of each event_id the first record alone."""
    order = records.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])
    columns = (order.column(name).to_pylist() for name in ("kafka_partition", "kafka_offset", "event_id"))
    kept, seen = [], set()
    for row, (partition, offset, event_id) in enumerate(zip(*columns, strict=True)):
        if (partition, offset) not in places and event_id not in seen:
            seen.add(event_id)
            kept.append(row)
    return order.take(pa.array(kept, pa.int64()))


def _narrowed(records: Cells, a: Aggregate, key: Mapping[str, Any], places: Sequence[Place]) -> list[Place]:
    """Those records that count in the row: half of those in question after the other, down to single ones."""
    if not places or _row(_picked(records, places), a, key) is None:
        return []
    if len(places) == 1:
        return list(places)
    half = len(places) // 2
    return [*_narrowed(records, a, key, places[:half]), *_narrowed(records, a, key, places[half:])]


def _picked(records: Cells, places: Sequence[Place]) -> Cells:
    rows: dict[str, list[int]] = {name: [] for name in records.tables}
    for name, row in places:
        rows[name].append(row)
    return Cells({name: table.take(pa.array(rows[name], pa.int64())) for name, table in records.tables.items()})


def _row(records: Cells, a: Aggregate, key: Mapping[str, Any]) -> dict[str, Any] | None:
    for row in records.rows(a):
        if all(row[name] == value for name, value in key.items()):
            return {name: row[name] for name in measures(a)}
    return None


def _live(context: Context, a: Aggregate, key: Mapping[str, Any]) -> dict[str, Any] | None:
    columns = sql.SQL(", ").join(map(sql.Identifier, measures(a)))
    condition = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in key)
    with context.postgres() as connection:
        row = connection.execute(
            sql.SQL("select {} from {} where {}").format(columns, name_of(a.sink), condition), list(key.values())
        ).fetchone()
    return dict(zip(measures(a), row, strict=True)) if row else None


def _behind(records: Cells) -> list[Behind]:
    found = []
    for name, table in records.tables.items():
        event = catalogue.event(name)
        own = [field["name"] for field in event.avro_schema["fields"]]
        for row in table.to_pylist():
            found.append(
                Behind(
                    topic=event.topic,
                    partition=row["kafka_partition"],
                    offset=row["kafka_offset"],
                    record={field: row[field] for field in own},
                )
            )
    return sorted(found, key=lambda behind: (behind.record["occurred_at"], behind.partition, behind.offset))
