"""``insights time-zone``: the time zone of the shop's days."""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from insights.cli import runtime
from insights.cli.replay_commands import EngineName
from insights.settings import load_settings
from schemas.plural import counted

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
    from insights.engines import engine_of
    from insights.shops_clock import clock_of
    from insights.time_zone import choose, recount
    from insights.wiring import replay_context

    settings = load_settings()
    if name is None:
        found = clock_of(settings.home).zone
        runtime.say(f"Days are in {found.name if found else 'UTC'}.")
        return
    began = time.monotonic()
    if not choose(settings, zone(name)):
        runtime.say(f"Days will be in {name}, from the first event on.", style="bold green")
        return
    by = getpass.getuser()
    proof = recount(replay_context(settings), engine_of(settings, engine, runtime.say), by=by, say=runtime.say)
    _build_marts()
    rows = counted(sum(one["rows"] for one in (proof.certificate or {})["aggregates"]), "row")
    runtime.say(
        f"Days are in {name}: {proof.run} proves {rows} of {counted(len(proof.aggregates), 'table')} equal to"
        f" the live jobs' results, in every cell. It took {time.monotonic() - began:.0f} s.",
        style="bold green",
    )


def _build_marts() -> None:
    from insights.dbt_run import DbtBusy, build

    settings = load_settings()
    runtime.say("building the marts with the new days")
    try:
        build(settings, None, full_refresh=False, say=lambda line: None)
    except DbtBusy:
        runtime.say("another build of the marts is running; the next one has the new days")
