"""Makes late events count: plan, run, verify and promote in one go. What a schedule calls."""

from __future__ import annotations

from replay import records
from replay.left_out import in_words
from replay.plan import NothingToDo, Wish, everything, make_plan
from replay.planned import ReplayPlan
from replay.promote import NotProven, promote, prune, tidy
from replay.records import Run, Status
from replay.run import ComputeEngine, Heard, run
from replay.site import Say, Site
from replay.verify import verify
from schemas.plural import counted

REASON = "late events counted"


def restate_late(site: Site, engine: ComputeEngine, *, by: str, say: Say, heard: Heard) -> Run | None:
    """The promoted run, or None when no late event can count yet. Says which ones never can. Blocks.

    Raises NotProven, and swaps nothing in, unless the certificate proves both: without the late events every cell
    equals live, with them only their cells change. Raises what the four steps raise.
    """
    try:
        plan = make_plan(site, Wish(names=everything(), scope="late"))
    except NothingToDo as nothing:
        say(str(nothing))
        return None
    for line in in_words(plan.left_out):
        say(line)
    forget_failed(site)
    return carry_out(site, plan, engine, by=by, say=say, heard=heard)


def carry_out(site: Site, plan: ReplayPlan, engine: ComputeEngine, *, by: str, say: Say, heard: Heard) -> Run:
    """Runs, verifies and promotes a plan of late events."""
    come = "comes" if plan.late_events == 1 else "come"
    say(f"{counted(plan.late_events, 'late event')} {come} to count, in {', '.join(a.name for a in plan.aggregates)}")
    done = run(site, plan, engine, by=by, say=say, heard=heard)
    proven = verify(site, done.run, say=say)
    if proven.status is not Status.VERIFIED:
        raise NotProven(
            f"{done.run} can't be swapped in: what it computed differs from what is live, or more than the late events'"
            f" cells would change. `insights replay show {done.run}` shows where; nothing was changed"
        )
    promoted = promote(site, done.run, reason=REASON, by=by, say=say)
    tidy(site, done.run)
    return promoted


def forget_failed(site: Site) -> None:
    """Removes what earlier runs of late events left that came to nothing."""
    with site.postgres() as connection:
        records.set_up(connection)
        runs = [r for r in records.newest(connection, 50) if r.scope == "late"]
    for earlier in runs:
        if earlier.status in (Status.FAILED, Status.DIFFERS):
            prune(site, earlier.run)
