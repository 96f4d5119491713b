"""Makes a plan: what a replay will read, recompute and affect. Changes nothing.

The plan fixes the end offset of each partition. Windows that were final before the offsets were taken have all their
events within them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aggregates.catalogue import Aggregate, Window, aggregate, aggregates, touched_by
from aggregates.windows import end_of, floored, later
from aggregates.zones import Zone
from flink.final_windows import known_final_until
from flink.live_job import COUNT_BY_DATE, behind_in_date, is_new, kept_jobs
from replay import archive, late_events
from replay.context import Context
from replay.downstream import downstream
from replay.estimate import estimate
from replay.late_events import Touched
from replay.left_out import in_words, lost, not_over, places, without_unreachable
from replay.plan_file import (
    LeftOut,
    PlannedAggregate,
    ReplayPlan,
    Scope,
    Stretch,
)
from replay.topic_reading import OffsetsGone, Topic, is_held, planned_topic, topics_of
from schemas.catalogue import MOST_AHEAD, Event
from schemas.errors import InsightsError, Misconfigured
from schemas.plural import counted
from warehouse.versions import seen_version


class NothingToDo(InsightsError):
    """There is nothing that such a plan would recompute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to replay. Times are UTC, at edges of the windows."""

    names: tuple[str, ...]
    scope: Scope
    since: datetime | None = None
    until: datetime | None = None
    ends: dict[str, dict[int, int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recomputed:
    """An aggregate as it is defined, and its part of a plan."""

    aggregate: Aggregate
    planned: PlannedAggregate


def check_current(plan: ReplayPlan) -> None:
    """Raises Misconfigured when an aggregate is no longer defined as it was when the plan was made."""
    for planned in plan.aggregates:
        a = aggregate(planned.name)
        if (a.version, a.fingerprint) != (planned.version, planned.fingerprint):
            raise Misconfigured(
                f"{planned.name} is defined differently now than when this plan was made: make a new plan, or revert"
                " the change"
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
        _check_late(context, wish, wanted)
    final = final_until(context)
    if wish.scope != "late":
        final |= _final_until_of_new(context, wanted, final)
    # Finality first, offsets after it: what is final has all its events before these offsets.
    topics = topics_of(context, wanted, wish.ends)
    touched = late_events.pending(
        context, {name: {n: e.end for n, e in topic.extents.items()} for name, topic in topics.items()}
    )
    if wish.scope == "late":
        return _of_late_events(context, wanted, final, topics, touched)
    if wish.ends is not None:
        # What was final when the log ended there is not known.
        final = {}
    recomputed = [_recomputed(a, (Stretch(since=wish.since, until=wish.until),), final.get(a.name)) for a in wanted]
    return _assembled(context, wish.scope, recomputed, topics, waiting=len(touched))


def _final_until_of_new(
    context: Context, wanted: Iterable[Aggregate], recorded: Mapping[str, datetime]
) -> dict[str, datetime]:
    """The same of those that no live job computes yet; late events wait for these."""
    new = [a for a in wanted if a.name not in recorded or is_new(context.deployment, a.name)]
    return {a.name: at for a in new if (at := known_final_until(context.deployment, a))}


def _of_late_events(
    context: Context,
    wanted: Sequence[Aggregate],
    final: Mapping[str, datetime],
    topics: Mapping[str, Topic],
    touched: Sequence[Touched],
) -> ReplayPlan:
    """A plan of all late events that can count. One that can't is named in it, and does not block the others."""
    left_out = [*_lost(context, topics, touched), *not_over(touched, datetime.now(UTC))]
    chosen = late_events.ripe(_others(touched, left_out), final)
    try:
        return _counting(context, wanted, final, topics, touched, chosen, left_out)
    except OffsetsGone:
        dead = late_events.dead(context)
        found = without_unreachable(chosen, lambda name, since: is_held(context, topics[name], dead, since))
        if not found.left_out:
            raise
        return _counting(context, wanted, final, topics, touched, found.kept, [*left_out, *found.left_out])


def _counting(
    context: Context,
    wanted: Sequence[Aggregate],
    final: Mapping[str, datetime],
    topics: Mapping[str, Topic],
    touched: Sequence[Touched],
    chosen: Sequence[Touched],
    left_out: Sequence[LeftOut],
) -> ReplayPlan:
    if not chosen:
        raise NothingToDo("\n".join([_why_nothing(_others(touched, left_out), final), *in_words(left_out)]))
    reached = {name for t in chosen for name in touched_by(t.event, aggregates())}
    recomputed = [_recomputed(a, _windows(a, chosen), final.get(a.name)) for a in wanted if a.name in reached]
    plan = _assembled(context, "late", recomputed, topics, waiting=len(touched) - len(chosen))
    return plan.model_copy(update={"late_events": len(chosen), "left_out": tuple(left_out)})


def _others(touched: Sequence[Touched], left_out: Iterable[LeftOut]) -> list[Touched]:
    out = places(left_out)
    return [t for t in touched if (t.partition, t.offset) not in out.get(t.event.topic, ())]


def _lost(context: Context, topics: Mapping[str, Topic], touched: Sequence[Touched]) -> Iterator[LeftOut]:
    """Late events that retention has taken from the log and the lake does not have. The lake gets those of the log."""
    for name in sorted({t.event.name for t in touched}):
        topic = topics[name]
        here = [t for t in touched if t.event.name == name]
        old = {(t.partition, t.offset) for t in here if t.offset < topic.extents[t.partition].begin}
        if old:
            with context.lake() as catalog:
                there = archive.times(catalog, topic.event, old, "kafka_timestamp")
            yield from lost(here, (old - there.keys()).__contains__)


def _assembled(
    context: Context,
    scope: Scope,
    recomputed: Sequence[_Recomputed],
    topics: Mapping[str, Topic],
    *,
    waiting: int,
) -> ReplayPlan:
    read = [topics[name] for name in sorted({name for r in recomputed for name in r.aggregate.inputs})]
    unreadable = late_events.dead(context).unreadable
    with context.lake() as catalog:
        planned = {
            topic.event.topic: planned_topic(
                context, catalog, topic, _published_since(topic.event, recomputed), unreadable[topic.event.name]
            )
            for topic in read
        }
    readers = downstream([r.planned.table for r in recomputed], {path: path.read_text() for path in context.texts})
    return ReplayPlan(
        made_at=datetime.now(UTC),
        scope=scope,
        aggregates=tuple(r.planned for r in recomputed),
        topics=planned,
        late_events=0,
        waiting_events=waiting,
        dashboards=tuple(path.stem for path in readers if path.suffix == ".yaml"),
        models=tuple(path.stem for path in readers if path.suffix == ".sql"),
        estimate=estimate(context, sum(topic.records for topic in planned.values())),
    )


def _check_late(context: Context, wish: Wish, wanted: Sequence[Aggregate]) -> None:
    """Late events, counted everywhere at once where all their windows are final, in the versions that readers see."""
    if wish.ends is not None:
        raise Misconfigured("--late uses what is final now, and takes no --offsets")
    if behind := behind_in_date(kept_jobs(context.deployment), wanted):
        raise Misconfigured(
            f"late events wait, because this release counts {', '.join(behind)} by the chosen date of sales too, and"
            f" the live tables do not: {COUNT_BY_DATE} counts them by it"
        )
    with context.postgres() as connection:
        for a in wanted:
            seen = seen_version(connection, a.name)
            if seen is None and not is_new(context.deployment, a.name):
                raise NothingToDo(
                    f"{a.name} was rolled back, and readers see no version of it: late events stay pending until it is"
                    " promoted again, or its run is pruned"
                )
            if seen is not None and seen != a.version:
                raise NothingToDo(
                    f"version {a.version} of {a.name} is in aggregates/, and readers see version {seen}:"
                    " late events stay pending until it is promoted, or the folder is restored"
                )


def check_edges(a: Aggregate, wish: Wish) -> None:
    """Raises Misconfigured when a time lies within a window: half of one can't be recomputed."""
    for moment in (wish.since, wish.until):
        if moment is not None and a.window and floored(moment, a.window, a.zone) != moment:
            raise Misconfigured(
                f"{moment:%Y-%m-%d %H:%M:%S} is within a window of {a.name}, whose windows are a {a.window} each: name"
                f" a time at which one starts, for example {floored(moment, a.window, a.zone):%Y-%m-%d %H:%M}"
            )
    if wish.since and wish.until and wish.since >= wish.until:
        raise Misconfigured(f"--from {wish.since:%Y-%m-%d %H:%M} is not before --to {wish.until:%Y-%m-%d %H:%M}")


def final_until(context: Context) -> dict[str, datetime]:
    """By aggregate, up to when its windows are final now."""
    with context.postgres() as connection:
        return dict(connection.execute("select aggregate, final_until from ops.finality").fetchall())


def _why_nothing(touched: Sequence[Touched], final: Mapping[str, datetime]) -> str:
    if not touched:
        return "no pending late event can be counted: there is nothing to restate"
    wait = f"{counted(len(touched), 'late event')} {'is pending' if len(touched) == 1 else 'are pending'}"
    unknown = {name for t in touched for name in touched_by(t.event, aggregates()) if name not in final}
    if unknown and final:
        return (
            f"{wait}, and of {', '.join(sorted(unknown))} nothing is final: either one of its topics has no event yet"
            " and follows the others within minutes, or no live job computes it, which `insights status` says with what"
            " to do, or the job has just begun"
        )
    return (
        f"{wait}, and {'it' if len(touched) == 1 else 'each of them'} touches a window that is not final yet;"
        " `insights status` shows how far windows are final"
    )


def _windows(a: Aggregate, chosen: Sequence[Touched]) -> tuple[Stretch, ...]:
    starts = {floored(at, a.window, a.zone) for t in chosen for at in t.moments.get(a.name, ())}
    return merged(sorted(starts), a.window, a.zone)


def _recomputed(a: Aggregate, windows: tuple[Stretch, ...], final: datetime | None) -> _Recomputed:
    planned = PlannedAggregate(
        name=a.name,
        version=a.version,
        fingerprint=a.fingerprint,
        table=a.sink,
        # A fact has no window; its line between replays and the live job is a minute's edge.
        final_until=floored(final, a.window or "minute", a.zone) if final else None,
        windows=windows,
    )
    return _Recomputed(aggregate=a, planned=planned)


def merged(starts: Iterable[datetime], window: Window | None, zone: Zone | None = None) -> tuple[Stretch, ...]:
    """The windows that start then, those less than a day apart as one stretch. All between two final ones are final."""
    found: list[Stretch] = []
    for start in starts:
        last = found[-1].until if found else None
        if last is not None and start - last < timedelta(days=1):
            found[-1] = Stretch(since=found[-1].since, until=end_of(start, window, zone))
        else:
            found.append(Stretch(since=start, until=end_of(start, window, zone)))
    return tuple(found)


def _published_since(event: Event, recomputed: Iterable[_Recomputed]) -> datetime | None:
    """No such event of the windows was published before this. None if unknown: then all must be read."""
    least: list[datetime] = []
    for reader in (r for r in recomputed if event.name in r.aggregate.inputs):
        windows = reader.planned.windows
        # An event is published at its own time or later, less what clocks may differ by. No other time of it is bound.
        if reader.aggregate.time_of(event.name) != "occurred_at" or any(stretch.since is None for stretch in windows):
            return None
        least += [later(stretch.since, -MOST_AHEAD) for stretch in windows if stretch.since]
    return min(least)


def everything() -> tuple[str, ...]:
    """Names of all aggregates and facts."""
    return tuple(a.name for a in aggregates())
