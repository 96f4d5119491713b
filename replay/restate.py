"""Counts late events: plan, run, verify and promote in one go. A schedule calls this."""

from __future__ import annotations

from replay import run_history
from replay.context import Context, Say
from replay.left_out import in_words
from replay.plan_file import ReplayPlan
from replay.planning import NothingToDo, Wish, everything, make_plan
from replay.promote import NotProven, promote, prune, tidy
from replay.run import ComputeEngine, OnEvent, run
from replay.run_history import Run, Status
from replay.verify import verify
from schemas.plural import counted

REASON = "late events counted"


def restate_late(context: Context, engine: ComputeEngine, *, by: str, say: Say, on_event: OnEvent) -> Run | None:
    """The promoted run, or None when no late event can count yet. Reports which ones never can. Blocks.

    Raises NotProven, and swaps nothing in, unless the certificate proves both: without the late events every cell
    equals live, with them only their cells change. Raises what the four steps raise.
    """
    try:
        plan = make_plan(context, Wish(names=everything(), scope="late"))
    except NothingToDo as nothing:
        say(str(nothing))
        return None
    for line in in_words(plan.left_out):
        say(line)
    forget_failed(context)
    return carry_out(context, plan, engine, by=by, say=say, on_event=on_event)


def carry_out(
    context: Context, plan: ReplayPlan, engine: ComputeEngine, *, by: str, say: Say, on_event: OnEvent
) -> Run:
    """Runs, verifies and promotes a plan of late events."""
    come = "comes" if plan.late_events == 1 else "come"
    say(f"{counted(plan.late_events, 'late event')} {come} counted, in {', '.join(a.name for a in plan.aggregates)}")
    done = run(context, plan, engine, by=by, say=say, on_event=on_event)
    proven = verify(context, done.run, say=say)
    if proven.status is not Status.VERIFIED:
        raise NotProven(
            f"{done.run} can't be promoted: it differs from the live tables, or more than the late events'"
            f" cells would change. `insights replay show {done.run}` shows where; nothing was changed"
        )
    promoted = promote(context, done.run, reason=REASON, by=by, say=say)
    tidy(context, done.run)
    return promoted


def forget_failed(context: Context) -> None:
    """Removes what failed runs of late events left."""
    with context.postgres() as connection:
        runs = [r for r in run_history.newest(connection, 50) if r.scope == "late"]
    for earlier in runs:
        if earlier.status in (Status.FAILED, Status.DIFFERS):
            prune(context, earlier.run)
