"""Changes a shop's time zone: everything with days is recomputed as a new version, verified, and shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aggregates.catalogue import Aggregate, ShopsClock, aggregate, aggregates
from aggregates.catalogue import shops_clock as current_clock
from aggregates.zones import Zone
from flink import handover
from flink.live_job import kept
from insights import shops_clock
from insights.new_versions import computed, hand_over
from insights.settings import Settings
from replay.promote import prune
from replay.run_history import Status
from replay.verify import verify
from schemas.errors import InsightsError
from schemas.plural import counted
from warehouse.tables import make_shop_time
from warehouse.versions import seen_versions

if TYPE_CHECKING:
    from replay.context import Context, Say
    from replay.run import ComputeEngine
    from replay.run_history import Run

REASON = "another time zone"


class NotEqual(InsightsError):
    """What the live job counts by the new days is not what a replay computes."""


def choose(settings: Settings, zone: Zone | None) -> bool:
    """From now on days are this zone's, once all is computed again; whether there is anything to compute.

    A data folder that no live job has counted in yet has nothing: its first days are this zone's.
    """
    from insights.wiring import deployment

    clock = shops_clock.clock_of(settings.home)
    if kept(deployment(settings)) is None:
        shops_clock.keep(settings.home, ShopsClock(zone=zone))
        return False
    if clock.zone != zone:
        shops_clock.keep(settings.home, shops_clock.changed(clock, zone))
    return True


def recount(context: Context, engine: ComputeEngine, *, by: str, say: Say) -> Run:
    """Brings everything to the chosen zone, and returns the run that proves it.

    Blocks. What was done before it was killed is not done again. Raises NotEqual when the proof fails, and what the
    steps of a replay raise; then readers see each table by the old days or by the new ones, never a mixture.
    """
    names = [a.name for a in aggregates() if _goes_by_clock(a)]
    if waiting := _waiting(context, names):
        say(
            f"recomputing the history of {counted(len(waiting), 'table')} in the shop's time zone: {', '.join(waiting)}"
        )
        hand_over(context, waiting, engine, reason=REASON, by=by, say=say)
    with context.postgres() as connection:
        make_shop_time(connection)
    _retire(context, names)
    say("comparing the live jobs' results with another replay")
    proof = computed(context, names, engine, by=by, say=say)
    proven = verify(context, proof.run, say=say)
    if proven.status is not Status.VERIFIED:
        raise NotEqual(
            f"{proven.run} differs from the live tables: `insights replay show {proven.run}` shows where, and"
            " `insights replay explain` the events behind a row"
        )
    return prune(context, proven.run)


def _goes_by_clock(a: Aggregate) -> bool:
    return a.window == "day" or (a.window == "hour" and current_clock().changed_hours > 0)


def _waiting(context: Context, names: Iterable[str]) -> list[str]:
    with context.postgres() as connection:
        seen = seen_versions(connection)
    return [name for name in names if seen.get(name) != aggregate(name).version]


def _retire(context: Context, names: Iterable[str]) -> None:
    """The versions before are no longer written, and their tables go. A job that writes others starts again, once."""
    for a in handover.retire_unseen(context.deployment, names):
        handover.drop_version(context.deployment, a, a.version)
    with context.postgres() as connection:
        rows = connection.execute(
            "select run from ops.replays where status = 'promoted' and reason = %s order by promoted_at", (REASON,)
        ).fetchall()
    for (name,) in rows:
        prune(context, str(name))
