"""Late events that no restatement can count. They are listed, and do not hold back the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from aggregates.catalogue import aggregate, aggregates, touched_by
from aggregates.windows import floored, later
from replay.archive import Place
from replay.late_events import Touched
from replay.plan_file import LeftOut
from schemas.catalogue import MOST_AHEAD
from schemas.plural import counted

Holds = Callable[[str, datetime | None], bool]
"""Whether log and lake still have all records of an event that were published since a time; None is the beginning."""
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Late events that can count, and those that can't."""

    kept: tuple[Touched, ...]
    left_out: tuple[LeftOut, ...]


def not_over(touched: Iterable[Touched], now: datetime) -> Iterator[LeftOut]:
    """Events that count in a future window. Only ``occurred_at`` was compared with the clock before."""
    for t in touched:
        newest = {name: max(moments) for name, moments in t.moments.items()}
        ahead = {name: at for name, at in newest.items() if at > later(now, MOST_AHEAD)}
        for name, at in list(ahead.items())[:1]:
            column = aggregate(name).time_of(t.event.name)
            yield _left_out(
                t, f"its {column} is {at:%Y-%m-%d %H:%M:%S}, which is in the future, and {name} counts by it"
            )


def lost(touched: Iterable[Touched], is_lost: Callable[[Place], bool]) -> Iterator[LeftOut]:
    """Those whose own record no longer exists anywhere."""
    for t in touched:
        if is_lost((t.partition, t.offset)):
            yield _left_out(t, "the event itself is no longer in the log or the lake")


def without_unreachable(touched: Sequence[Touched], holds: Holds) -> Sorted:
    """Those whose windows can be recomputed: from all that was published since, of every topic that counts there."""
    needs = {id(t): published_since(t) for t in touched}
    names = {name for need in needs.values() for name in need}
    reaches = {name: _reach(name, (need[name] for need in needs.values() if name in need), holds) for name in names}
    kept, left_out = [], []
    for t in touched:
        beyond = [name for name, since in needs[id(t)].items() if not reaches[name](since)]
        if beyond:
            left_out.append(_left_out(t, _why_unreachable(beyond)))
        else:
            kept.append(t)
    return Sorted(kept=tuple(kept), left_out=tuple(left_out))


def _why_unreachable(names: Iterable[str]) -> str:
    return (
        "the windows that it counts in can't be recomputed, because neither log nor lake has everything published"
        f" of {' and '.join(sorted(names))} since then"
    )


def published_since(t: Touched) -> dict[str, datetime | None]:
    """By event that counts in the same windows, the earliest publication that may count there; None if unknown."""
    found: dict[str, datetime | None] = {}
    for name in touched_by(t.event, aggregates()):
        a = aggregate(name)
        for read in a.inputs:
            by_time = a.time_of(read) == "occurred_at" and name in t.moments
            since = later(floored(min(t.moments[name]), a.window, a.zone), -MOST_AHEAD) if by_time else None
            known = found.get(read, since)
            found[read] = None if known is None or since is None else min(known, since)
    return found


def _reach(name: str, moments: Iterable[datetime | None], holds: Holds) -> Callable[[datetime | None], bool]:
    """Whether a time is not before what is still there, found with few questions: what holds then holds later too."""
    order = sorted(set(moments), key=_beginning_first)
    first = bisect_left(order, True, key=lambda since: holds(name, since))
    there = set(order[first:])
    return lambda since: since in there


def _beginning_first(since: datetime | None) -> tuple[bool, float]:
    return (since is not None, since.timestamp() if since else 0.0)


def _left_out(t: Touched, reason: str) -> LeftOut:
    return LeftOut(
        topic=t.event.topic, partition=t.partition, offset=t.offset, occurred_at=t.occurred_at, reason=reason
    )


def in_words(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """A line for people on each, up to a number of them; how many there are stands first."""
    if left_out:
        stay = "stays" if len(left_out) == 1 else "stay"
        yield f"{counted(len(left_out), 'late event')} can't be counted, and {stay} in ops.late_events:"
        yield from (f"  {one}" for one in left_out[:SHOWN])
        if len(left_out) > SHOWN:
            yield f"  and {len(left_out) - SHOWN:,} more"


def places(left_out: Iterable[LeftOut]) -> Mapping[str, set[Place]]:
    """By topic, where they stand."""
    found: dict[str, set[Place]] = {}
    for one in left_out:
        found.setdefault(one.topic, set()).add((one.partition, one.offset))
    return found
