"""A shop's time zone, or the date by which its sales count, is changed: what depends on it becomes a new version.

That is computed again from all of history, shown in one transaction, and proven equal to what its live job counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, get_args

from aggregates.catalogue import Aggregate, ShopsClock, aggregate, aggregates, date_of_sales
from aggregates.catalogue import shops_clock as current_clock
from aggregates.zones import Zone
from flink import handover, live_job
from insights import shops_clock
from insights.new_versions import computed, hand_over
from insights.settings import Settings
from producers.connect import connections
from replay import archive
from replay.promote import prune
from replay.run_history import Status
from replay.verify import verify
from schemas import catalogue
from schemas.errors import InsightsError
from schemas.plural import counted
from schemas.versions import ByPayment
from warehouse.postgres import Connection
from warehouse.shop_days import make_shop_time
from warehouse.versions import seen_versions

if TYPE_CHECKING:
    from replay.context import Context, Say
    from replay.run import ComputeEngine
    from replay.run_history import Run

PLACED: Final = "sales.order_placed"
REFUNDED: Final = "sales.order_refunded"
Change = Literal["another time zone", "another date of sales"]
"""What a person changed; a run's reason begins with it."""


class NotEqual(InsightsError):
    """What the live job counts by the new days is not what a replay computes."""


def choose(settings: Settings, zone: Zone | None) -> bool:
    """From now on days are this zone's, once all is computed again; whether there is anything to compute.

    A data folder that no live job has counted in yet has nothing: its first days are this zone's.
    """
    clock = shops_clock.clock_of(settings.home)
    if not _has_counted(settings):
        shops_clock.keep(settings.home, replace(clock, zone=zone))
        return False
    if clock.zone != zone:
        shops_clock.keep(settings.home, shops_clock.changed(clock, zone))
    return True


def choose_date(settings: Settings, *, by_payment: bool) -> bool:
    """From now on sales count by payment date or by order date, once all is computed again; whether there is anything.

    By payment, orders of ``undated_sources`` count by order date. Blocks while those are looked for.
    """
    clock = shops_clock.clock_of(settings.home)
    if not _has_counted(settings):
        shops_clock.keep(settings.home, replace(clock, payment=ByPayment() if by_payment else None))
        return False
    rule = ByPayment(undated=undated_sources(settings)) if by_payment else None
    if clock.payment != rule:
        shops_clock.keep(settings.home, shops_clock.counting(clock, rule))
    return True


def undated_sources(settings: Settings) -> tuple[str, ...]:
    """The sources with orders or refunds in the lake that have not said of any when the order was paid.

    A connected shop says so. Blocks while two columns of the lake's orders and refunds are read. Raises Retryable when
    the lake is away.
    """
    said: Counter[str] = Counter()
    for times in _payments_said(settings).values():
        said.update(times)
    return tuple(sorted(name for name, times in said.items() if not times))


def uncounted_sources(settings: Settings) -> tuple[str, ...]:
    """The sources whose orders count nowhere by payment date, because they do not say of any when it was paid.

    None by order date. Blocks and raises as ``undated_sources``.
    """
    rule = shops_clock.clock_of(settings.home).payment
    return tuple(name for name in undated_sources(settings) if name not in rule.undated) if rule else ()


def behind_in_date(settings: Settings) -> list[str]:
    """Names of what an update counts by payment date, and the live jobs do not yet."""
    from insights.wiring import deployment

    return live_job.behind_in_date(live_job.kept_jobs(deployment(settings)), aggregates())


def unpaid_refunds(settings: Settings) -> dict[str, int]:
    """By source, how many refunds count nowhere by payment date, because they don't say when their order was paid.

    Their orders say it. None by order date. Blocks while columns of the lake's orders and refunds are read. Raises
    Retryable when the lake is away.
    """
    from insights.wiring import replay_context

    rule = shops_clock.clock_of(settings.home).payment
    if rule is None:
        return {}
    with replay_context(settings).lake() as lake:
        found = archive.refunds_without_payment(lake, catalogue.event(PLACED), catalogue.event(REFUNDED))
    return {name: number for name, number in sorted(found.items()) if name not in rule.undated}


def _payments_said(settings: Settings) -> dict[str, dict[str, int]]:
    """By event that counts by payment and by source, how often it says when the order was paid; no connected shop."""
    from insights.wiring import replay_context

    connected = set(connections.names(settings.producers_dir))
    found: dict[str, dict[str, int]] = {}
    with replay_context(settings).lake() as lake:
        for event in catalogue.events():
            if event.versions and event.versions.paid:
                said = archive.values_by_source(lake, event, event.versions.paid)
                found[event.name] = {name: times for name, times in said.items() if name not in connected}
    return found


def _has_counted(settings: Settings) -> bool:
    from insights.wiring import deployment

    return live_job.kept(deployment(settings)) is not None


def recount(context: Context, engine: ComputeEngine, *, change: Change, by: str, say: Say) -> Run:
    """Brings everything to the chosen zone and date of sales, and returns the run that proves it.

    ``change`` is what of the two is another: it is kept with the run, and what both are now.

    Blocks. What was done before it was killed is not done again. Raises NotEqual when the proof fails, and what the
    steps of a replay raise; then readers see each table by the old days or by the new ones, never a mixture.
    """
    names = [a.name for a in aggregates() if _goes_by_clock(a)]
    if waiting := _waiting(context, names):
        how = by_what(current_clock())
        say(f"recomputing the history of {counted(len(waiting), 'table')} by {how}: {', '.join(waiting)}")
        hand_over(context, waiting, engine, reason=f"{change}: by {how}", by=by, say=say)
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


def by_what(clock: ShopsClock) -> str:
    """What is counted by, in words: ``order date, in days of Europe/Berlin``."""
    return f"{date_of_sales(clock)}, in days of {clock.zone.name if clock.zone else 'UTC'}"


def _goes_by_clock(a: Aggregate) -> bool:
    clock = current_clock()
    by_zone = a.window == "day" or (a.window == "hour" and clock.changed_hours > 0)
    return by_zone or (a.has_orders and clock.changed_payment > 0)


def _waiting(context: Context, names: Iterable[str]) -> list[str]:
    with context.postgres() as connection:
        seen = seen_versions(connection)
    return [name for name in names if seen.get(name) != aggregate(name).version]


def _retire(context: Context, names: Iterable[str]) -> None:
    """The versions before are no longer written, and their tables go. A job that writes others starts again, once."""
    for a in handover.retire_unseen(context.deployment, names):
        handover.drop_version(context.deployment, a, a.version)
    with context.postgres() as connection:
        runs = runs_of_changes(connection)
    for name in runs:
        prune(context, name)


def runs_of_changes(connection: Connection) -> list[str]:
    """The promoted runs of changes of the zone or the date of sales, the earliest first."""
    rows = connection.execute(
        "select run from ops.replays where status = 'promoted' and reason ^@ any(%s) order by promoted_at",
        (list(get_args(Change)),),
    )
    return [str(run) for (run,) in rows]
