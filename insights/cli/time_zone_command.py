"""``insights time-zone`` and ``insights sales-by``: the time zone of the shop's days, and the date of its sales."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from insights.cli import runtime
from insights.cli.replay_commands import EngineName
from insights.settings import Settings, load_settings
from schemas.plural import counted

DateName = Literal["order-date", "payment-date"]

Name = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="IANA name, for example Europe/Berlin. Without a name: show the current one."),
]


def time_zone(name: Name = None, engine: EngineName = "duckdb") -> None:
    """Show the time zone that days are counted in, or choose another one.

    After you choose one, the whole history is recomputed by the new days,
    alongside the live tables, and shown once it is complete. A certificate
    proves that the live job's results agree. Late events stay pending until
    then.

    Example: insights time-zone Europe/Berlin
    """
    from aggregates.zones import zone
    from insights.shops_clock import clock_of
    from insights.time_zone import choose

    settings = load_settings()
    if name is None:
        found = clock_of(settings.home).zone
        runtime.say(f"Days are in {found.name if found else 'UTC'}.")
        return
    _change(settings, lambda: choose(settings, zone(name)), "Days", f"in {name}", engine)


SalesBy = Annotated[
    DateName | None,
    typer.Argument(
        metavar="DATE",
        help="order-date: an order counts when it is placed; payment-date: when it is paid. Without one: show which.",
    ),
]


def sales_by(date: SalesBy = None, engine: EngineName = "duckdb") -> None:
    """Show by which date sales count, or choose the other: when an order is placed, or paid.

    By payment date an order that is not paid counts nowhere, nor do its
    refunds. Other refunds keep their own date. After you choose, the whole history of orders is counted
    again, alongside the live tables, and shown once it is complete. A
    certificate proves that the live job counts by the new date. Late events
    wait until then.

    Example: insights sales-by payment-date
    """
    from insights.time_zone import choose_date

    settings = load_settings()
    if date is None:
        _show_date(settings)
        return
    by_payment = date == "payment-date"
    words = date.replace("-", " ")
    has_counted = _change(
        settings, lambda: choose_date(settings, by_payment=by_payment), "Sales", f"by {words}", engine
    )
    _show_undated(settings)
    if has_counted:
        _show_unpaid_refunds(settings)


def _show_date(settings: Settings) -> None:
    from aggregates.catalogue import date_of_sales
    from insights.shops_clock import clock_of
    from insights.time_zone import uncounted_sources

    clock = clock_of(settings.home)
    runtime.say(f"Sales are by {date_of_sales(clock)}.")
    _show_undated(settings)
    if uncounted := uncounted_sources(settings):
        runtime.say(
            f"Orders of {', '.join(uncounted)} count nowhere, because they don't say when they were paid."
            " `insights sales-by payment-date`, given again, counts them by order date.",
            style="yellow",
        )
    _show_unpaid_refunds(settings)


def _show_unpaid_refunds(settings: Settings) -> None:
    from insights.time_zone import unpaid_refunds

    if silent := unpaid_refunds(settings):
        listed = ", ".join(f"{name} ({number:,})" for name, number in silent.items())
        runtime.say(
            f"Refunds of {listed} count nowhere, because they don't say when their order was paid, as the orders do."
            " Those of an earlier release say it once their file is imported again, or the connected shop read again.",
            style="yellow",
        )


def _show_undated(settings: Settings) -> None:
    from insights.shops_clock import clock_of

    payment = clock_of(settings.home).payment
    if payment and payment.undated:
        runtime.say(f"Orders of {', '.join(payment.undated)} count by order date: they never say when they were paid.")


def _change(
    settings: Settings, choose: Callable[[], bool], what: Literal["Days", "Sales"], how: str, engine: EngineName
) -> bool:
    """Chooses, counts everything again by it, and says what proves it; whether there was anything. Blocks."""
    from insights.engines import engine_of
    from insights.time_zone import Change, recount
    from insights.wiring import replay_context

    began = time.monotonic()
    if not choose():
        runtime.say(f"{what} will be {how} from the first event on.", style="bold green")
        return False
    change: Change = "another time zone" if what == "Days" else "another date of sales"
    by, context = getpass.getuser(), replay_context(settings)
    proof = recount(context, engine_of(settings, engine, runtime.say), change=change, by=by, say=runtime.say)
    _build_marts()
    rows = counted(sum(one["rows"] for one in (proof.certificate or {})["aggregates"]), "row")
    runtime.say(
        f"{what} are {how}: {proof.run} proves {rows} of {counted(len(proof.aggregates), 'table')} equal to"
        f" the live jobs' results, in every cell. It took {time.monotonic() - began:.0f} s.",
        style="bold green",
    )
    return True


def _build_marts() -> None:
    from insights.dbt_run import DbtBusy, build

    settings = load_settings()
    runtime.say("building the marts anew")
    try:
        build(settings, None, full_refresh=False, say=lambda line: None)
    except DbtBusy:
        runtime.say("another build of the marts is running; the next one has what is new")
