"""Making a plan: what a replay will read, recompute and touch. Changes nothing.

The end of what is read is frozen in it: offsets, one for each partition. Windows that were final before those were
taken have all their events within them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from aggregates.catalogue import Aggregate, Window, aggregate, aggregates
from flink.plan import touched_by
from flink.postgres import Connection
from flink.versions import seen_version
from replay import archive, late
from replay.downstream import downstream
from replay.late import Touched
from replay.log import Extent
from replay.planned import Estimate, PlannedAggregate, PlannedPartition, PlannedTopic, ReplayPlan, Scope, Stretch
from replay.site import Site
from replay.windows import LENGTH, floored
from schemas import catalogue
from schemas.catalogue import MOST_AHEAD, Event
from schemas.errors import InsightsError, Misconfigured, PoisonEvent
from schemas.words import counted
from spark.task import Slice

# Before a run was measured here: records a second, and seconds until the first is read.
FIRST_GUESS = {"local": (60_000.0, 12.0), "duckdb": (200_000.0, 1.0)}
RATE = """
select percentile_cont(0.5) within group (order by records / greatest(compute_seconds - %s, 0.5))
from (
    select records, compute_seconds from ops.replays
    where engine = %s and computed_at is not null and records >= 10000
    order by created_at desc limit 10
) as newest
"""
# EMR Serverless, us-east-1, x86, November 2026: US dollars an hour, for a vCPU and for a GB of memory.
EMR_VCPU_HOUR, EMR_GB_HOUR = 0.052624, 0.0057785
EMR_VCPUS, EMR_GB = 12, 48


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


def make_plan(site: Site, wish: Wish) -> ReplayPlan:
    """A plan for the wish. Reads Kafka, the lake and Postgres; changes nothing. Blocks.

    Raises OffsetsGone naming what neither log nor lake has, NothingToDo, Misconfigured for times within a window, and
    Retryable when a server is away.
    """
    wanted = [aggregate(name) for name in wish.names]
    for a in wanted:
        check_edges(a, wish)
    if wish.scope == "late":
        _check_late(site, wish)
    final = final_until(site)
    # Finality first, offsets after it: what is final has all its events before these offsets.
    extents = {name: site.log.extents(catalogue.event(name)) for name in sorted({n for a in wanted for n in a.inputs})}
    extents = {name: _ending(catalogue.event(name), found, wish.ends) for name, found in extents.items()}
    touched = late.pending(site, {name: {n: e.end for n, e in found.items()} for name, found in extents.items()})
    chosen: list[Touched] = []
    if wish.scope == "late":
        chosen = late.ripe(touched, final)
        reached = {name for t in chosen for name in touched_by(t.event, aggregates())}
        wanted = [a for a in wanted if a.name in reached]
        if not chosen:
            raise NothingToDo(_why_nothing(touched, final))
    if wish.ends is not None:
        # What was final when the log ended there is not known.
        final = {}
    planned = [_planned(a, wish, final.get(a.name), chosen) for a in wanted]
    names = sorted({name for a in wanted for name in a.inputs})
    topics = {
        catalogue.event(name).topic: _topic(site, catalogue.event(name), extents[name], planned) for name in names
    }
    records = sum(topic.records for topic in topics.values())
    readers = downstream([p.table for p in planned], {path: path.read_text() for path in site.texts})
    return ReplayPlan(
        made_at=datetime.now(UTC),
        scope=wish.scope,
        aggregates=tuple(planned),
        topics=topics,
        late_events=len(chosen),
        waiting_events=len(touched) - len(chosen),
        dashboards=tuple(path.stem for path in readers if path.suffix == ".yaml"),
        models=tuple(path.stem for path in readers if path.suffix == ".sql"),
        estimate=_estimate(site, records),
    )


def _check_late(site: Site, wish: Wish) -> None:
    """Late events come to count everywhere at once, as far as all is final now, in the versions that readers see."""
    if wish.ends is not None:
        raise Misconfigured("--late goes by what is final now, and takes no --offsets")
    with site.postgres() as connection:
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


def final_until(site: Site) -> dict[str, datetime]:
    """By aggregate, up to when its windows are final now."""
    with site.postgres() as connection:
        return dict(connection.execute("select aggregate, final_until from ops.finality").fetchall())


def _why_nothing(touched: Sequence[Touched], final: Mapping[str, datetime]) -> str:
    if not touched:
        return "no event is late that does not count yet: there is nothing to restate"
    unknown = {name for t in touched for name in touched_by(t.event, aggregates()) if name not in final}
    if unknown and final:
        return (
            f"{len(touched):,} late events wait, and of {', '.join(sorted(unknown))} nothing is final: either no live"
            " job computes it, which `insights status` says with what to do, or the job has just begun"
        )
    return (
        f"{len(touched):,} late events wait, and each of them touches a window that is not final yet; `insights status`"
        " shows how far windows are final"
    )


def _planned(a: Aggregate, wish: Wish, final: datetime | None, chosen: Sequence[Touched]) -> PlannedAggregate:
    if wish.scope == "late":
        windows = merged(
            sorted({floored(t.moments[a.name], a.window) for t in chosen if a.name in t.moments}), a.window
        )
    else:
        windows = (Stretch(since=wish.since, until=wish.until),)
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
            found[-1] = Stretch(since=found[-1].since, until=start + LENGTH[window])
        else:
            found.append(Stretch(since=start, until=start + LENGTH[window]))
    return tuple(found)


def _topic(
    site: Site, event: Event, extents: Mapping[int, Extent], planned: Sequence[PlannedAggregate]
) -> PlannedTopic:
    readers = [(aggregate(p.name), p) for p in planned if event.name in aggregate(p.name).inputs]
    since, unreadable = _published_since(readers), late.dead(site).unreadable[event.name]
    with site.lake() as catalog:
        if event.cleanup == "compact":
            # What compaction takes from the log has been counted, and the lake still has it.
            there = archive.ends(catalog, event, extents)
            extents = {n: replace(e, begin=max(e.begin, min(there[n], e.end))) for n, e in extents.items()}
        archived = archive.first_since(catalog, event, since) if since else {}
        kept = site.log.first_since(event, since) if since else {}
        partitions = {
            n: _partition(extent, _first(since, extent, archived.get(n), kept.get(n))) for n, extent in extents.items()
        }
        topic = PlannedTopic(event=event.name, records=0, lake_bytes=0, schema_ids=(), partitions=partitions)
        from_lake = archive.coverage(catalog, event, late.without(topic.slices("lake"), unreadable))
        if from_lake.missing or from_lake.doubled:
            raise _gone(event, from_lake, since)
        both = late.without([*topic.slices("lake"), *topic.slices("log")], unreadable)
        known = archive.coverage(catalog, event, both)
    in_log = sum(piece.records for piece in topic.slices("log"))
    must_look = event.cleanup == "compact" or known.without_id > 0
    fresh = late.without(topic.slices("log"), unreadable) if must_look else known.missing
    ids = {*known.schema_ids, *_ids_only_in_log(site, event, fresh)}
    return topic.model_copy(
        update={
            "records": from_lake.records + in_log,
            "lake_bytes": from_lake.bytes,
            "schema_ids": tuple(sorted(ids)),
        }
    )


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
        least += [stretch.since - MOST_AHEAD for stretch in planned.windows if stretch.since]
    return min(least)


def _first(since: datetime | None, extent: Extent, archived: int | None, kept: int | None) -> int:
    """The first offset to read: the log's own answer, or the lake's when the log no longer reaches so far back."""
    if since is None:
        return 0
    in_log = extent.end if kept is None else kept
    if in_log > extent.begin:
        return in_log
    return min(in_log, extent.begin if archived is None else archived)


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


def _ids_only_in_log(site: Site, event: Event, missing: Sequence[Slice]) -> set[int]:
    """Schema ids of records that are not in the lake yet: those of the last few seconds, as a rule."""
    found = {int.from_bytes(r.value[1:5], "big") for r in site.log.records(event, missing) if r.value[:1] == b"\0"}
    return {number for number in found if _is_registered(site, number)}


def _is_registered(site: Site, number: int) -> bool:
    try:
        site.registry.schema_text(number)
    except PoisonEvent:
        return False
    return True


def _estimate(site: Site, records: int) -> Estimate:
    with site.postgres() as connection:
        seconds = {name: _seconds(connection, name, records) for name in ("local", "duckdb")}
    hours = max(seconds["local"], 60.0) / 3600
    return Estimate(
        spark_seconds=round(seconds["local"], 1),
        duckdb_seconds=round(seconds["duckdb"], 1),
        emr_usd=round(hours * (EMR_VCPUS * EMR_VCPU_HOUR + EMR_GB * EMR_GB_HOUR), 4),
    )


def _seconds(connection: Connection, engine: str, records: int) -> float:
    """By the median rate of the engine's last runs here; a guess before there were any."""
    rate, start = FIRST_GUESS[engine]
    there = connection.execute("select to_regclass('ops.replays')").fetchone()
    if there and there[0]:
        row = connection.execute(RATE, (start, engine)).fetchone()
        rate = float(row[0]) if row and row[0] else rate
    return start + records / rate


def everything() -> tuple[str, ...]:
    """Names of all aggregates and facts."""
    return tuple(a.name for a in aggregates())
