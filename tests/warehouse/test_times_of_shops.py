"""What Postgres knows of each shop's own days."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from aggregates.zones import zone
from warehouse.shop_days import make_times_of_shops
from warehouse.tables import make_postgres_tables


def test_a_zone_of_another_name_and_the_same_hours_is_known_by_its_name(new_database: Callable[[], str]) -> None:
    there = "select ops.shop_zone('bikes'), ops.shop_time(timestamptz '2026-07-01 12:00+00', 'bikes')::text"
    with psycopg.connect(new_database(), autocommit=True) as connection:
        make_postgres_tables(connection)
        for name in ("Europe/Berlin", "Arctic/Longyearbyen", "Europe/Berlin"):
            make_times_of_shops(connection, {"bikes": zone(name)})
            assert connection.execute(there).fetchone() == (name, "2026-07-01 14:00:00")
