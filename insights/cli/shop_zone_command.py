"""``insights connect zone``: the time zone of one shop's own days."""

from __future__ import annotations

from typing import Annotated

import typer

from insights.cli import agree_command, runtime
from insights.settings import Settings, load_settings

AUTO = "auto"
Shop = Annotated[str, typer.Argument(metavar="NAME", help="The shop's name in `insights connect list`.")]
ZoneName = Annotated[
    str | None,
    typer.Argument(
        metavar="ZONE",
        help="IANA name, for example Europe/Berlin; auto: the zone that the shop says. Without one: show which.",
    ),
]


def zone(name: Shop, zone: ZoneName = None) -> None:
    """Show the time zone of a shop's own days, or choose another than the shop says.

    The shop's own daily totals, and its comparison, are in these days. Those
    over all shops are in the days of `insights time-zone`.

    Example: insights connect zone bikes Europe/Berlin
    """
    from aggregates.zones import zone as zone_named
    from insights.shop_zones import unknown_zone_note, zone_of
    from producers.connect.zones import ShopZone, choose, zones

    settings = load_settings()
    folder = settings.producers_dir
    check_is_known(settings, name)
    if zone is not None:
        if zone != AUTO:
            zone_named(zone)
        choose(folder, name, None if zone == AUTO else zone)
        follow(settings)
    if note := unknown_zone_note(settings, name):
        runtime.say(note, style="yellow")
        return
    found, known = zone_of(settings, name), zones(folder).get(name, ShopZone())
    why = (
        "chosen here" if known.chosen else "as the shop says" if known.said else "as those of all shops: it names none"
    )
    runtime.say(f"Days of {name} are in {found.name if found else 'UTC'}, {why}.")


def check_is_known(settings: Settings, name: str) -> None:
    """Raises Misconfigured for a shop that never was connected."""
    from producers.connect.connections import Connections, names
    from producers.connect.zones import zones

    if name not in names(settings.producers_dir) and name not in zones(settings.producers_dir):
        Connections(settings.producers_dir).get(name)


def follow(settings: Settings) -> None:
    """Have the tables of a running stack know it; others do when it starts."""
    from insights.stack.states import supervisor_process

    if supervisor_process(settings) is None:
        return
    agree_command.note_shops(settings)
    runtime.say(
        "The next build of the marts has it: `insights dbt build` does that now. `insights agree` compares again."
    )
