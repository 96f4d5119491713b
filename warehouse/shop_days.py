"""The days of all shops together, and of each, as Postgres knows them: functions that marts and dashboards use."""

from __future__ import annotations

from collections.abc import Mapping

from aggregates.catalogue import date_of_sales, shops_clock
from aggregates.render import of_each_shop, shop_time
from aggregates.zones import Zone
from warehouse.postgres import Connection

SHOP_TIME = """
create or replace function ops.shop_time(moment timestamptz) returns timestamp
language sql immutable parallel safe as $$ select {time} $$;
create or replace function ops.shop_zone() returns text
language sql immutable parallel safe as $$ select '{name}' $$;
create or replace function ops.sales_by() returns text
language sql immutable parallel safe as $$ select '{sales_by}' $$;
comment on function ops.shop_time(timestamptz) is 'What the clock of all shops together shows at a time.';
comment on function ops.shop_zone() is 'The time zone of all shops together.';
comment on function ops.sales_by is 'Whether sales count by order date or by payment date.'
"""


def make_shop_time(connection: Connection) -> None:
    """``ops.shop_time(moment)``: what the shop's clock shows. Marts and dashboards know the shop's days by it.

    ``ops.sales_by()`` says by which date an order counts in what readers see.
    """
    clock = shops_clock()
    zone = clock.zone
    statements = SHOP_TIME.format(
        time=shop_time(zone, "moment"), name=zone.name if zone else "UTC", sales_by=date_of_sales(clock)
    )
    connection.execute(statements.encode())
    if connection.execute("select to_regprocedure('ops.shop_time(timestamptz, text)')").fetchone() == (None,):
        make_times_of_shops(connection, {})


TIMES_OF_SHOPS = """
create or replace function ops.shop_time(moment timestamptz, shop text) returns timestamp
language sql immutable parallel safe as $${time}$$;
create or replace function ops.shop_zone(shop text) returns text
language sql immutable parallel safe as $${name}$$;
comment on function ops.shop_time(timestamptz, text) is 'What the clock of one shop shows at a time.';
comment on function ops.shop_zone(text) is 'The time zone of one shop.'
"""


FUNCTIONS_OF_SHOPS = ("shop_time(timestamptz, text)", "shop_zone(text)")


def make_times_of_shops(connection: Connection, zones: Mapping[str, Zone | None]) -> None:
    """``ops.shop_time(moment, shop)``: what the clock of one shop shows. One not named here has that of all together.

    Two at once take turns.
    """
    time, name = of_each_shop(zones)
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended('insights.shop_time', 0))")
        known = "select prosrc from pg_proc where oid = to_regprocedure(%s)"
        there = [connection.execute(known, (f"ops.{each}",)).fetchone() for each in FUNCTIONS_OF_SHOPS]
        if there != [(time,), (name,)]:
            connection.execute(TIMES_OF_SHOPS.format(time=time, name=name).encode())
