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


def publish(postgres: Connection, settings: Settings) -> None:
    """Have Postgres know the days of each shop: ``ops.shop_time(moment, shop)``, ``ops.shop_zone(shop)``."""
    make_times_of_shops(postgres, zones_of_shops(settings))
