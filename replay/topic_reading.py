"""What a replay reads of a topic: the lake up to the offset where the log begins, and the log from there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pyiceberg.catalog import Catalog

from aggregates.catalogue import Aggregate
from replay import archive, late_events
from replay.context import Context
from replay.log import Extent
from replay.plan_file import PlannedPartition, PlannedTopic
from schemas import catalogue
from schemas.catalogue import Event
from schemas.errors import InsightsError, Misconfigured, PoisonEvent
from schemas.plural import counted
from spark.task import Slice


class OffsetsGone(InsightsError):
    """Neither log nor lake has some of the records that a replay must read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """An event and what of it stands on the log, by partition: found once, for the whole plan."""

    event: Event
    extents: Mapping[int, Extent]


def topics_of(
    context: Context, wanted: Iterable[Aggregate], ends: Mapping[str, Mapping[int, int]] | None
) -> dict[str, Topic]:
    """What these aggregates read, by the event's name, up to where it is to end."""
    found = {name: catalogue.event(name) for name in sorted({name for a in wanted for name in a.inputs})}
    extents = {name: context.log.extents(event) for name, event in found.items()}
    return {name: Topic(event=e, extents=_ending(e, extents[name], ends)) for name, e in found.items()}


def is_held(context: Context, topic: Topic, dead: late_events.Dead, since: datetime | None) -> bool:
    """Has the lake all that the log no longer has, of what was published since then?"""
    unreadable = dead.unreadable[topic.event.name]
    with context.lake() as catalog:
        slices = _read_since(context, catalog, topic, since).slices("lake")
        return not archive.coverage(catalog, topic.event, late_events.without(slices, unreadable)).missing


def planned_topic(
    context: Context,
    catalog: Catalog,
    of: Topic,
    since: datetime | None,
    unreadable: Collection[archive.Place],
) -> PlannedTopic:
    """All of it that was published since then, but what the live job can't read.

    Raises OffsetsGone for what neither log nor lake has, or the lake has twice.
    """
    event = of.event
    topic = _read_since(context, catalog, of, since)
    from_lake = archive.coverage(catalog, event, late_events.without(topic.slices("lake"), unreadable))
    if from_lake.missing or from_lake.doubled:
        raise _gone(event, from_lake, since)
    both = late_events.without([*topic.slices("lake"), *topic.slices("log")], unreadable)
    known = archive.coverage(catalog, event, both)
    in_log = sum(piece.records for piece in topic.slices("log"))
    must_look = event.cleanup == "compact" or known.without_id > 0
    fresh = late_events.without(topic.slices("log"), unreadable) if must_look else known.missing
    ids = {*known.schema_ids, *_ids_only_in_log(context, event, fresh)}
    return topic.model_copy(
        update={
            "records": from_lake.records + in_log,
            "lake_bytes": from_lake.bytes,
            "schema_ids": tuple(sorted(ids)),
        }
    )


def _read_since(context: Context, catalog: Catalog, topic: Topic, since: datetime | None) -> PlannedTopic:
    """The offsets of all that was published since then, where lake and log meet; nothing is known of it yet."""
    event, extents = topic.event, topic.extents
    if event.cleanup == "compact":
        # What compaction takes from the log has been counted, and the lake still has it.
        there = archive.ends(catalog, event, extents)
        extents = {n: replace(e, begin=max(e.begin, min(there[n], e.end))) for n, e in extents.items()}
    firsts = _firsts(context, catalog, event, extents, since) if since else dict.fromkeys(extents, 0)
    partitions = {n: _partition(extent, firsts[n]) for n, extent in extents.items()}
    return PlannedTopic(event=event.name, records=0, lake_bytes=0, schema_ids=(), partitions=partitions)


def _ending(
    event: Event, extents: Mapping[int, Extent], ends: Mapping[str, Mapping[int, int]] | None
) -> dict[int, Extent]:
    """The extents, cut at the ends that were asked for. Raises Misconfigured for one that the log has not reached."""
    if ends is None:
        return dict(extents)
    asked = ends.get(event.topic)
    if asked is None or set(asked) != set(extents):
        raise Misconfigured(
            f"--offsets does not say where to end in {event.topic}, whose partitions are {', '.join(map(str, extents))}"
        )
    for n, end in asked.items():
        if not 0 <= end <= extents[n].end:
            raise Misconfigured(
                f"--offsets ends {event.topic} partition {n} at {end:,}; the log ends at {extents[n].end:,}"
            )
    return {n: Extent(begin=e.begin, end=asked.get(n, 0)) for n, e in extents.items()}


def _firsts(
    context: Context, catalog: Catalog, event: Event, extents: Mapping[int, Extent], since: datetime
) -> dict[int, int]:
    """By partition, the first offset to read: the log's own answer, where it reaches so far back, or the lake's."""
    kept = context.log.first_since(event, since)
    if all(kept[n] > extent.begin or extent.begin == 0 for n, extent in extents.items()):
        return {n: kept[n] for n in extents}
    archived, lake = archive.first_since(catalog, event, since), archive.extents(catalog, event)
    return {
        n: kept[n]
        if kept[n] > extent.begin or extent.begin == 0
        else min(kept[n], _in_lake(archived.get(n), lake.get(n)))
        for n, extent in extents.items()
    }


def _in_lake(first: int | None, held: tuple[int, int] | None) -> int:
    """Where to begin, by the lake. What is before or after its records is unknown to it, and may be needed."""
    if held is None or first == held[0]:
        return 0
    return held[1] if first is None else first


def _partition(extent: Extent, first: int) -> PlannedPartition:
    from_lake = (first, min(extent.begin, extent.end)) if first < extent.begin else None
    from_log = (max(first, extent.begin), extent.end)
    if from_log[1] > from_log[0]:
        return PlannedPartition(lake=from_lake, log=from_log)
    # Nothing to read is known to end somewhere as well.
    return PlannedPartition(lake=from_lake, log=None if from_lake else (extent.end, extent.end))


def _gone(event: Event, found: archive.Coverage, since: datetime | None) -> OffsetsGone:
    if found.doubled:
        return OffsetsGone(
            f"the lake has {counted(found.doubled, 'record')} of {event.topic} more than once: its contents can't be"
            " trusted. `insights flink submit --from-beginning` rebuilds it from the log"
        )
    back_to = f" Windows from {since:%Y-%m-%d %H:%M} on need them." if since else ""
    return OffsetsGone(
        "neither the log nor the lake has these records any more:"
        f" {archive.named({event.topic: found.missing})}.{back_to} Nothing was planned; choose a later --from"
    )


def _ids_only_in_log(context: Context, event: Event, missing: Sequence[Slice]) -> set[int]:
    """Schema ids of records that are not in the lake yet: those of the last few seconds, as a rule."""
    found = {int.from_bytes(r.value[1:5], "big") for r in context.log.records(event, missing) if r.value[:1] == b"\0"}
    return {number for number in found if _is_registered(context, number)}


def _is_registered(context: Context, number: int) -> bool:
    try:
        context.registry.schema_text(number)
    except PoisonEvent:
        return False
    return True
