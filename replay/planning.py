"""Making a plan: what a replay will read, recompute and touch. Changes nothing.

The end of what is read is frozen in it: offsets, one for each partition. Windows that were final before those were
taken have all their events within them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pyiceberg.catalog import Catalog

from aggregates.catalogue import Aggregate, Window, aggregate, aggregates, touched_by
from aggregates.windows import end_of, floored, later
from replay import archive, late_events
from replay.context import Context
from replay.downstream import downstream
from replay.estimate import estimate
from replay.late_events import Touched
from replay.left_out import in_words, lost, not_over, places, without_unreachable
from replay.log import Extent
from replay.plan_file import (
    LeftOut,
    PlannedAggregate,
    PlannedPartition,
    PlannedTopic,
    ReplayPlan,
    Scope,
    Stretch,
)
from schemas import catalogue
from schemas.catalogue import MOST_AHEAD, Event
from schemas.errors import InsightsError, Misconfigured, PoisonEvent
from schemas.plural import counted
from spark.task import Slice
from warehouse.versions import seen_version


class OffsetsGone(InsightsError):
    """Neither log nor lake has some of the records that a replay must read."""


class NothingToDo(InsightsError):
    """There is nothing that such a plan would recompute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody asks to be replayed. Times UTC, at edges of the windows."""

    names: tuple[str, ...]
    scope: Scope
    since: datetime | None = None
    until: datetime | None = None
    ends: dict[str, dict[int, int]] | None = None


def check_current(plan: ReplayPlan) -> None:
    """Raises Misconfigured when an aggregate is no longer defined as it was when the plan was made."""
    for planned in plan.aggregates:
        a = aggregate(planned.name)
        if (a.version, a.fingerprint) != (planned.version, planned.fingerprint):
            raise Misconfigured(
                f"{planned.name} is defined otherwise now than when this plan was made: make a new plan, or take the"
                " change back"
            )


def make_plan(context: Context, wish: Wish) -> ReplayPlan:
    """A plan for the wish. Reads Kafka, the lake and Postgres; changes nothing. Blocks.

    Raises OffsetsGone naming what neither log nor lake has, NothingToDo, Misconfigured for times within a window, and
    Retryable when a server is away.
    """
    wanted = [aggregate(name) for name in wish.names]
    for a in wanted:
        check_edges(a, wish)
    if wish.scope == "late":
        _check_late(context, wish)
    final = final_until(context)
    # Finality first, offsets after it: what is final has all its events before these offsets.
    extents = {
        name: context.log.extents(catalogue.event(name)) for name in sorted({n for a in wanted for n in a.inputs})
    }
    extents = {name: _ending(catalogue.event(name), found, wish.ends) for name, found in extents.items()}
    touched = late_events.pending(
        context, {name: {n: e.end for n, e in found.items()} for name, found in extents.items()}
    )
    if wish.scope == "late":
        return _of_late_events(context, wanted, final, extents, touched)
    if wish.ends is not None:
        # What was final when the log ended there is not known.
        final = {}
    planned = [_planned(a, (Stretch(since=wish.since, until=wish.until),), final.get(a.name)) for a in wanted]
    return _assembled(context, wish.scope, planned, extents, waiting=len(touched))


def _of_late_events(
    context: Context,
    wanted: Sequence[Aggregate],
    final: Mapping[str, datetime],
    extents: Mapping[str, Mapping[int, Extent]],
    touched: Sequence[Touched],
) -> ReplayPlan:
    """A plan of all late events that can count. One that can't is named in it, and holds no other back."""
    left_out = [*_lost(context, extents, touched), *not_over(touched, datetime.now(UTC))]
    chosen = late_events.ripe(_others(touched, left_out), final)
    try:
        return _counting(context, wanted, final, extents, touched, chosen, left_out)
    except OffsetsGone:
        dead = late_events.dead(context)
        found = without_unreachable(chosen, lambda name, since: _is_held(context, extents, dead, name, since))
        if not found.left_out:
            raise
        return _counting(context, wanted, final, extents, touched, found.kept, [*left_out, *found.left_out])


def _counting(
    context: Context,
    wanted: Sequence[Aggregate],
    final: Mapping[str, datetime],
    extents: Mapping[str, Mapping[int, Extent]],
    touched: Sequence[Touched],
    chosen: Sequence[Touched],
    left_out: Sequence[LeftOut],
) -> ReplayPlan:
    if not chosen:
        raise NothingToDo("\n".join([_why_nothing(_others(touched, left_out), final), *in_words(left_out)]))
    reached = {name for t in chosen for name in touched_by(t.event, aggregates())}
    planned = [_planned(a, _windows(a, chosen), final.get(a.name)) for a in wanted if a.name in reached]
    plan = _assembled(context, "late", planned, extents, waiting=len(touched) - len(chosen))
    return plan.model_copy(update={"late_events": len(chosen), "left_out": tuple(left_out)})


def _others(touched: Sequence[Touched], left_out: Iterable[LeftOut]) -> list[Touched]:
    out = places(left_out)
    return [t for t in touched if (t.partition, t.offset) not in out.get(t.event.topic, ())]


def _lost(
    context: Context, extents: Mapping[str, Mapping[int, Extent]], touched: Sequence[Touched]
) -> Iterator[LeftOut]:
    """Late events that retention has taken from the log and the lake does not have. The lake gets those of the log."""
    for name in sorted({t.event.name for t in touched}):
        here = [t for t in touched if t.event.name == name]
        old = {(t.partition, t.offset) for t in here if t.offset < extents[name][t.partition].begin}
        if old:
            with context.lake() as catalog:
                there = archive.times(catalog, catalogue.event(name), old, "kafka_timestamp")
            yield from lost(here, (old - there.keys()).__contains__)


def _is_held(
    context: Context,
    extents: Mapping[str, Mapping[int, Extent]],
    dead: late_events.Dead,
    name: str,
    since: datetime | None,
) -> bool:
    event, unreadable = catalogue.event(name), dead.unreadable[name]
    with context.lake() as catalog:
        reading = _read_since(context, catalog, event, extents[name], since)
        return not archive.coverage(catalog, event, late_events.without(reading.slices("lake"), unreadable)).missing


def _assembled(
    context: Context,
    scope: Scope,
    planned: Sequence[PlannedAggregate],
    extents: Mapping[str, Mapping[int, Extent]],
    *,
    waiting: int,
) -> ReplayPlan:
    names = sorted({name for p in planned for name in aggregate(p.name).inputs})
    unreadable = late_events.dead(context).unreadable
    with context.lake() as catalog:
        topics = {
            catalogue.event(name).topic: _topic(
                context, catalog, catalogue.event(name), extents[name], planned, unreadable[name]
            )
            for name in names
        }
    readers = downstream([p.table for p in planned], {path: path.read_text() for path in context.texts})
    return ReplayPlan(
        made_at=datetime.now(UTC),
        scope=scope,
        aggregates=tuple(planned),
        topics=topics,
        late_events=0,
        waiting_events=waiting,
        dashboards=tuple(path.stem for path in readers if path.suffix == ".yaml"),
        models=tuple(path.stem for path in readers if path.suffix == ".sql"),
        estimate=estimate(context, sum(topic.records for topic in topics.values())),
    )


def _check_late(context: Context, wish: Wish) -> None:
    """Late events come to count everywhere at once, as far as all is final now, in the versions that readers see."""
    if wish.ends is not None:
        raise Misconfigured("--late goes by what is final now, and takes no --offsets")
    with context.postgres() as connection:
        for name in wish.names:
            seen = seen_version(connection, name)
            if seen is not None and seen != aggregate(name).version:
                raise NothingToDo(
                    f"version {aggregate(name).version} of {name} is in aggregates/, and readers see version {seen}:"
                    " late events wait until it is promoted, or the folder is what it was"
                )


def check_edges(a: Aggregate, wish: Wish) -> None:
    """Raises Misconfigured when a time lies within a window: half of one can't be recomputed."""
    for moment in (wish.since, wish.until):
        if moment is not None and a.window and floored(moment, a.window) != moment:
            raise Misconfigured(
                f"{moment:%Y-%m-%d %H:%M:%S} is within a window of {a.name}, whose windows are a {a.window} each: name"
                f" a time at which one starts, for example {floored(moment, a.window):%Y-%m-%d %H:%M}"
            )
    if wish.since and wish.until and wish.since >= wish.until:
        raise Misconfigured(f"--from {wish.since:%Y-%m-%d %H:%M} is not before --to {wish.until:%Y-%m-%d %H:%M}")


def final_until(context: Context) -> dict[str, datetime]:
    """By aggregate, up to when its windows are final now."""
    with context.postgres() as connection:
        return dict(connection.execute("select aggregate, final_until from ops.finality").fetchall())


def _why_nothing(touched: Sequence[Touched], final: Mapping[str, datetime]) -> str:
    if not touched:
        return "no late event waits that could count: there is nothing to restate"
    wait = f"{counted(len(touched), 'late event')} {'waits' if len(touched) == 1 else 'wait'}"
    unknown = {name for t in touched for name in touched_by(t.event, aggregates()) if name not in final}
    if unknown and final:
        return (
            f"{wait}, and of {', '.join(sorted(unknown))} nothing is final: either no live job"
            " computes it, which `insights status` says with what to do, or the job has just begun"
        )
    return (
        f"{wait}, and {'it' if len(touched) == 1 else 'each of them'} touches a window that is not final yet;"
        " `insights status` shows how far windows are final"
    )


def _windows(a: Aggregate, chosen: Sequence[Touched]) -> tuple[Stretch, ...]:
    return merged(sorted({floored(t.moments[a.name], a.window) for t in chosen if a.name in t.moments}), a.window)


def _planned(a: Aggregate, windows: tuple[Stretch, ...], final: datetime | None) -> PlannedAggregate:
    return PlannedAggregate(
        name=a.name,
        version=a.version,
        fingerprint=a.fingerprint,
        table=a.sink,
        # A fact has no window; its line between replays and the live job is a minute's edge.
        final_until=floored(final, a.window or "minute") if final else None,
        windows=windows,
    )


def merged(starts: Iterable[datetime], window: Window | None) -> tuple[Stretch, ...]:
    """The windows that start then, those less than a day apart as one stretch. All between two final ones are final."""
    found: list[Stretch] = []
    for start in starts:
        last = found[-1].until if found else None
        if last is not None and start - last < timedelta(days=1):
            found[-1] = Stretch(since=found[-1].since, until=end_of(start, window))
        else:
            found.append(Stretch(since=start, until=end_of(start, window)))
    return tuple(found)


def _topic(
    context: Context,
    catalog: Catalog,
    event: Event,
    extents: Mapping[int, Extent],
    planned: Sequence[PlannedAggregate],
    unreadable: Collection[archive.Place],
) -> PlannedTopic:
    readers = [(aggregate(p.name), p) for p in planned if event.name in aggregate(p.name).inputs]
    since = _published_since(readers)
    topic = _read_since(context, catalog, event, extents, since)
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


def _read_since(
    context: Context, catalog: Catalog, event: Event, extents: Mapping[int, Extent], since: datetime | None
) -> PlannedTopic:
    """The offsets of all that was published since then, where lake and log meet; nothing is known of it yet."""
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


def _published_since(readers: Sequence[tuple[Aggregate, PlannedAggregate]]) -> datetime | None:
    """No event of the windows was published before this. None when nothing says so: all must be read."""
    least: list[datetime] = []
    for a, planned in readers:
        # An event is published at its own time or later, less what clocks may differ by. No other time of it is bound.
        if a.time != "occurred_at" or any(stretch.since is None for stretch in planned.windows):
            return None
        least += [later(stretch.since, -MOST_AHEAD) for stretch in planned.windows if stretch.since]
    return min(least)


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
    """Where the lake says to begin. It knows of nothing before what it holds, nor after it: that may be needed."""
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
            f"the lake has {counted(found.doubled, 'record')} of {event.topic} more than once: what it holds can't be"
            " trusted. `insights flink submit --from-beginning` makes it anew from the log"
        )
    back_to = f" Windows from {since:%Y-%m-%d %H:%M} on need them." if since else ""
    return OffsetsGone(
        "the log no longer has these records and the lake has not either:"
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


def everything() -> tuple[str, ...]:
    """Names of all aggregates and facts."""
    return tuple(a.name for a in aggregates())
