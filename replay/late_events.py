"""Late events for a replay: those that are in no number, and those that a restatement has counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aggregates.catalogue import aggregate, aggregates, touched_by
from aggregates.windows import end_of
from replay import archive
from replay.archive import Place
from replay.context import Context
from replay.order_states import counted_times
from schemas import catalogue
from schemas.catalogue import Event
from schemas.versions import ByPayment
from spark.task import Slice
from warehouse.sinks import NOT_RESTATED

PENDING = f"""
select l.topic, l.kafka_partition, l.kafka_offset, l.occurred_at
from ops.late_events as l
where {NOT_RESTATED}
order by l.topic, l.kafka_partition, l.kafka_offset
"""  # noqa: S608 a constant

DEAD = "select topic, kafka_partition, kafka_offset, is_unreadable from ops.dead_records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A late event that does not count, and by aggregate the times that decide in which windows it would.

    That is one, but where an order counts by payment: there it is one of each of its states, and that of the order.
    """

    event: Event
    partition: int
    offset: int
    occurred_at: datetime
    moments: dict[str, tuple[datetime, ...]]


def pending(context: Context, ends: Mapping[str, Mapping[int, int]]) -> list[Touched]:
    """Late events of these topics that are in no number, up to the ends given by event name and partition."""
    by_topic = {catalogue.event(name).topic: catalogue.event(name) for name in ends}
    found: dict[str, dict[Place, datetime]] = {name: {} for name in ends}
    with context.postgres() as connection:
        for topic, partition, offset, occurred_at in connection.execute(PENDING).fetchall():
            event = by_topic.get(topic)
            if event and offset < ends[event.name].get(partition, 0):
                found[event.name][partition, offset] = occurred_at
    return [t for name, places in found.items() if places for t in _touched(context, catalogue.event(name), places)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Records on the log that no number counts, by event name; the unreadable ones are not in the lake either."""

    places: Mapping[str, set[Place]]
    unreadable: Mapping[str, set[Place]]


def dead(context: Context) -> Dead:
    """What the live job has found to be dead."""
    by_topic = {e.topic: e.name for e in catalogue.events()}
    places: dict[str, set[Place]] = {name: set() for name in by_topic.values()}
    unreadable: dict[str, set[Place]] = {name: set() for name in by_topic.values()}
    with context.postgres() as connection:
        for topic, partition, offset, is_unreadable in connection.execute(DEAD).fetchall():
            if topic in by_topic:
                places[by_topic[topic]].add((partition, offset))
                if is_unreadable:
                    unreadable[by_topic[topic]].add((partition, offset))
    return Dead(places=places, unreadable=unreadable)


def without(pieces: Iterable[Slice], places: Iterable[Place]) -> tuple[Slice, ...]:
    """The slices with those places cut out of them."""
    cuts: dict[int, list[int]] = {}
    for partition, offset in sorted(places):
        cuts.setdefault(partition, []).append(offset)
    found = []
    for piece in pieces:
        start = piece.from_offset
        for offset in cuts.get(piece.partition, ()):
            if start <= offset < piece.until_offset:
                found.append(Slice(partition=piece.partition, from_offset=start, until_offset=offset))
                start = offset + 1
        found.append(Slice(partition=piece.partition, from_offset=start, until_offset=piece.until_offset))
    return tuple(s for s in found if s.records > 0)


def _touched(context: Context, event: Event, places: Mapping[Place, datetime]) -> Iterator[Touched]:
    """With the times that decide for each aggregate; where these aren't the event's own, the lake knows them."""
    readers = [aggregate(name) for name in touched_by(event, aggregates())]
    asked = {(a.time_of(event.name), a.rule_of(event.name)) for a in readers}
    found = {each: _times(context, event, places, *each) for each in asked}
    of = {a.name: found[a.time_of(event.name), a.rule_of(event.name)] for a in readers}
    for place, occurred_at in places.items():
        moments = {name: times[place] for name, times in of.items() if place in times}
        yield Touched(event=event, partition=place[0], offset=place[1], occurred_at=occurred_at, moments=moments)


def _times(
    context: Context, event: Event, places: Mapping[Place, datetime], column: str, rule: ByPayment | None
) -> dict[Place, tuple[datetime, ...]]:
    if rule is None and column == "occurred_at":
        return {place: (at,) for place, at in places.items()}
    with context.lake() as catalog:
        known = archive.times(catalog, event, places, "occurred_at" if rule else column)
    if rule is None or not known:
        return {place: (at,) for place, at in known.items()}
    counted = counted_times(context, event, rule, set(known))
    return {place: tuple(sorted({at, *counted[place]})) for place, at in known.items()}


def ripe(touched: Iterable[Touched], final: Mapping[str, datetime]) -> list[Touched]:
    """Those whose every window is final: an event must be counted in all of them at once."""
    return [t for t in touched if all(_is_final(name, t, final) for name in touched_by(t.event, aggregates()))]


def _is_final(name: str, touched: Touched, final: Mapping[str, datetime]) -> bool:
    if name not in final or name not in touched.moments:
        return False
    a = aggregate(name)
    return all(end_of(at, a.window, a.zone) <= final[name] for at in touched.moments[name])


def write_places(places: Iterable[Place], path: Path) -> None:
    """A Parquet file of (partition, offset), for an engine to leave out."""
    listed = sorted(places)
    table = pa.table(
        {
            "partition": pa.array([partition for partition, _ in listed], pa.int32()),
            "offset": pa.array([offset for _, offset in listed], pa.int64()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def read_places(path: Path) -> set[Place]:
    """What ``write_places`` wrote."""
    table = pq.read_table(path)
    return set(zip(table.column("partition").to_pylist(), table.column("offset").to_pylist(), strict=True))
