"""Checks a day: recomputes everything of it and compares that with what readers see. A schedule calls this."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from aggregates.catalogue import aggregate, shops_clock
from aggregates.windows import end_of, floored
from aggregates.zones import Zone
from replay import run_history
from replay.context import Context, Say
from replay.plan_file import Stretch
from replay.planning import NothingToDo, Wish, everything, make_plan
from replay.promote import prune
from replay.run import ComputeEngine, OnEvent, run
from replay.run_history import Run, Status
from replay.verify import verify
from schemas.errors import Misconfigured
from warehouse.versions import seen_version

YESTERDAY = "yesterday"
MOMENT = timedelta(milliseconds=1)


def day_of(text: str, now: datetime, zone: Zone | None) -> Stretch:
    """From the beginning to the end of ``yesterday``, or of a date such as ``2026-11-08``, by the shop's clock.

    Raises Misconfigured for anything else, and for a day that is not over.
    """
    today = floored(now, "day", zone)
    if text == YESTERDAY:
        return Stretch(since=floored(today - MOMENT, "day", zone), until=today)
    try:
        noon = datetime.combine(date.fromisoformat(text), time(12), UTC)
    except ValueError as error:
        raise Misconfigured(f"{text!r} is no day: write {YESTERDAY}, or a date as 2026-11-08") from error
    within = noon - zone.offset(noon) if zone else noon
    found = Stretch(since=floored(within, "day", zone), until=end_of(within, "day", zone))
    if found.until is None or found.until > today:
        raise Misconfigured(f"{text} is not over yet: name a day before today, or {YESTERDAY}")
    return found


def check_day(
    context: Context, text: str, now: datetime, engine: ComputeEngine, *, by: str, say: Say, on_event: OnEvent
) -> Run:
    """The run's record, with the certificate. Changes no live table. Blocks.

    A run that is equal is pruned at once; one that differs is kept, to be looked at. What earlier checks left that
    were cut short goes: this one has a plan of its own. Raises Misconfigured for a text
    that is no day, NothingToDo when no aggregate is live as it is defined, and what the three steps raise.
    """
    day = day_of(text, now, shops_clock().zone)
    names, by = _live(context, say), f"{by} (check-day)"
    _forget_cut_short(context, by)
    plan = make_plan(context, Wish(names=names, scope="windows", since=day.since, until=day.until))
    computed = run(context, plan, engine, by=by, say=say, on_event=on_event)
    found = verify(context, computed.run, say=say)
    return found if found.status is Status.DIFFERS else prune(context, found.run)


def _forget_cut_short(context: Context, by: str) -> None:
    """Raises ReplayBusy when one of them still runs."""
    with context.postgres() as connection:
        runs = [r for r in run_history.newest(connection, 50) if r.requested_by == by]
    for earlier in runs:
        if earlier.status in (Status.RUNNING, Status.FAILED, Status.COMPUTED):
            prune(context, earlier.run)


def _live(context: Context, say: Say) -> tuple[str, ...]:
    """Those that readers see as they are defined. Another version would differ by its definition."""
    with context.postgres() as connection:
        names = tuple(n for n in everything() if seen_version(connection, n) == aggregate(n).version)
    if others := [name for name in everything() if name not in names]:
        say(f"left out, because readers see another version than the one in aggregates/, or none: {', '.join(others)}")
    if not names:
        raise NothingToDo("readers see no aggregate as it is defined in aggregates/: there is nothing to check")
    return names
