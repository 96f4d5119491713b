"""The time zones of the shops' own days. All shops together are counted in days of the data folder's zone."""

from __future__ import annotations

from aggregates.catalogue import shops_clock
from aggregates.zones import Zone, zone
from insights.settings import Settings
from producers.connect.zones import zones
from schemas.errors import Misconfigured
from warehouse.postgres import Connection
from warehouse.shop_days import make_times_of_shops


def zones_of_shops(settings: Settings) -> dict[str, Zone | None]:
    """By shop the zone of its own days, None for UTC.

    Shops of which no zone is known, or one that is newer than the database of zones, are left out: their days are those
    of all shops together.
    """
    found: dict[str, Zone | None] = {}
    for shop, known in zones(settings.producers_dir).items():
        try:
            found |= {shop: zone(known.name)} if known.name else {}
        except Misconfigured:  # made since the database of time zones was
            continue
    return found


def zone_of(settings: Settings, shop: str) -> Zone | None:
    """The zone of a shop's days, None for UTC."""
    return zones_of_shops(settings).get(shop, shops_clock().zone)


def shown_zones(settings: Settings) -> dict[str, str]:
    """By shop that says a zone, or for which one was chosen, the name of the zone in effect."""
    known, of_all = zones_of_shops(settings), shops_clock().zone
    named = [shop for shop, said in zones(settings.producers_dir).items() if said.name]
    return {shop: found.name if (found := known.get(shop, of_all)) else "UTC" for shop in named}


def unknown_zone(settings: Settings, shop: str) -> str:
    """The name of the shop's zone where no such zone is known here, so that another is used; else empty."""
    known = zones(settings.producers_dir).get(shop)
    return known.name if known and shop not in zones_of_shops(settings) else ""


def unknown_zone_note(settings: Settings, shop: str) -> str:
    """A sentence about it, with the zone in effect; empty where the shop's own is."""
    name, used = unknown_zone(settings, shop), zone_of(settings, shop)
    if not name:
        return ""
    return (
        f"The time zone of {shop}, {name}, is not known here: its days are in {used.name if used else 'UTC'}, as those"
        f" of all shops. `insights connect zone {shop} ZONE` chooses one that is."
    )


def publish(postgres: Connection, settings: Settings) -> dict[str, Zone | None]:
    """Have Postgres know the days of each shop: ``ops.shop_time(moment, shop)``, ``ops.shop_zone(shop)``.

    Returns the zones by which it now goes.
    """
    found = zones_of_shops(settings)
    make_times_of_shops(postgres, found)
    return found
