"""A year of a shop, until now, in a Postgres of its own: what the benches of marts and pages are over.

Every 2,000,000 order lines are 800,000 orders of 160,000 customers, 5,600,000 interactions in 1,600,000 sessions, and
1,000 products that were looked at each week.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from insights.settings import Settings
from tests.replay.own_postgres import own_postgres
from warehouse.tables import make_postgres_tables

LINES_AN_ORDER = 2.5
STARTED = datetime.now(UTC) - timedelta(days=365)
# Of each order: its place in the year decides when it was, a hash of its number everything else.
ORDERS = """
create unlogged table orders as
select
    n, %(started)s + n * interval '1 day' * (365.0 / %(orders)s) as at, 'O' || n as order_id,
    'C' || (abs(hashint4(n)) %% greatest(%(orders)s / 5, 1)) as customer_id, 'R' || abs(hashint4(n + 1)) %% 5 as region
from generate_series(%(first)s::int, %(last)s::int) as n
"""
FILL = (
    """
insert into versions.order_lines_v1
select
    'e' || n, line, at, order_id, customer_id, region, 'EUR', 'web', 'S' || n,
    'P' || abs(hashint4(n * 7 + line)) % 1000, 'category ' || abs(hashint4(n * 7 + line)) % 1000 % 12, null,
    1 + n % 3, 10 + n % 90, n % 10, (1 + n % 3) * (10 + n % 90) - n % 10
from orders cross join generate_series(1, 1 + n % 4) as line
""",
    """
insert into versions.refunds_v3
select
    'r' || n, at + interval '3 days', 'R' || n, order_id, customer_id, region, 'EUR', 10 + n % 24 / 12 * 4.90,
    'damaged'
from orders where n % 12 = 0
""",
    """
insert into versions.refund_lines_v1
select
    'r' || n, 1, at + interval '3 days', 'R' || n, order_id, customer_id, region, 'EUR',
    'P' || abs(hashint4(n * 7 + 1)) % 1000, 'category ' || abs(hashint4(n * 7 + 1)) % 1000 % 12, 1, 10, 'damaged'
from orders where n % 12 = 0
""",
    """
insert into versions.interactions_v1
select
    'i' || n || step, at - interval '10 minutes' + position * interval '1 minute', 'S' || n,
    at - interval '10 minutes', step, customer_id,
    case when step in ('product_view', 'add_to_cart') then 'P' || abs(hashint4(n * 7 + 1)) % 1000 end, null, '/', null,
    case when n % 3 = 0 then 'spring' end, region
from orders
cross join unnest(array['page_view', 'product_view', 'add_to_cart', 'checkout', 'purchase'])
    with ordinality as steps (step, position)
""",
    """
insert into versions.interactions_v1
select
    'b' || n || step, at + position * interval '1 minute', 'B' || n, at, step, null,
    case when step = 'product_view' then 'P' || n % 1000 end, null, '/', null, null, region
from orders cross join unnest(array['page_view', 'product_view']) with ordinality as steps (step, position)
""",
    """
insert into versions.customer_orders_per_day_v1
select date_trunc('day', occurred_at), customer_id, count(distinct order_id), sum(quantity), sum(sales_amount),
    min(occurred_at), max(occurred_at)
from versions.order_lines_v1 where occurred_at >= (select date_trunc('day', min(at)) from orders) group by 1, 2
on conflict (window_start, customer_id) do update set orders = excluded.orders, sales_amount = excluded.sales_amount
""",
    """
insert into versions.sales_per_minute_v1 (
    window_start, region, category, orders, units, gross_amount, discount_amount, sales_amount
)
select date_trunc('minute', occurred_at), region, category, count(distinct order_id), sum(quantity),
    sum(sales_amount + discount_amount), sum(discount_amount), sum(sales_amount)
from versions.order_lines_v1 where occurred_at >= (select date_trunc('minute', min(at)) from orders) group by 1, 2, 3
on conflict (window_start, region, category) do nothing
""",
    """
insert into versions.sales_per_day_v1
select date_trunc('day', occurred_at), region, category, count(distinct order_id), count(*) filter (where line = 1),
    sum(quantity), sum(sales_amount + discount_amount), sum(discount_amount), sum(sales_amount)
from versions.order_lines_v1 where occurred_at >= (select date_trunc('day', min(at)) from orders) group by 1, 2, 3
on conflict (window_start, region, category) do update set
    orders = excluded.orders, orders_once = excluded.orders_once, units = excluded.units,
    gross_amount = excluded.gross_amount, discount_amount = excluded.discount_amount,
    sales_amount = excluded.sales_amount
""",
    """
insert into versions.refunded_goods_per_day_v1 (window_start, region, category, refunds, units, goods_amount)
select date_trunc('day', occurred_at), region, category, count(*), sum(quantity), sum(amount)
from versions.refund_lines_v1 group by 1, 2, 3 on conflict (window_start, region, category) do nothing
""",
    """
insert into versions.refunds_per_day_v1 (window_start, region, refunds, goods_amount, other_amount, refund_amount)
select date_trunc('day', occurred_at), region, count(*), sum(lines.amount), sum(refunds.amount - lines.amount),
    sum(refunds.amount)
from versions.refunds_v3 as refunds join versions.refund_lines_v1 as lines using (event_id, occurred_at, region)
group by 1, 2 on conflict (window_start, region) do nothing
""",
    """
insert into versions.sessions_v1 (
    window_start, session_id, user_id, region, campaign, started_at, ended_at, page_views, product_views, carts,
    checkouts, purchases
)
select date_trunc('day', at - interval '10 minutes'), 'S' || n, customer_id, region,
    case when n % 3 = 0 then 'spring' end, at - interval '10 minutes', at - interval '5 minutes', 1, 1, 1, 1, 1
from orders
union all
select date_trunc('day', at), 'B' || n, null, region, null, at, at + interval '2 minutes', 1, 1, 0, 0, 0 from orders
""",
    """
insert into versions.product_activity_per_hour_v1 (window_start, product_id, views, carts, units, sales_amount)
select date_trunc('hour', at), 'P' || n % 1000, count(*), count(*), count(*), sum(n % 90) from orders group by 1, 2
on conflict (window_start, product_id) do nothing
""",
    """
insert into versions.stock_moves_per_hour_v1
    (window_start, product_id, warehouse, sold, restocked, adjusted, net_change)
select date_trunc('hour', at), 'P' || n % 1000, 'main', count(*), 0, 0, -count(*) from orders group by 1, 2
on conflict (window_start, product_id, warehouse) do nothing
""",
)
LOOKS = """
insert into versions.product_observations_v1
select
    'l' || n || '-' || week, %(started)s + week * interval '7 days', 'shop.test', 'P' || n, null,
    'Product ' || n, null, 'category ' || n %% 12, 10 + (n + week) %% 3, null, null, 'EUR', 'in_stock', 5,
    'https://shop.test/' || n, 'x'
from generate_series(0, 999) as n cross join generate_series(0, 51) as week
"""


def trade(dsn: str, orders: int, first: int, last: int) -> None:
    """Orders of these numbers with all that follows from them; what is a day old is final then."""
    with psycopg.connect(dsn) as connection:
        connection.execute("drop table if exists orders")
        # A statement that makes a table takes no parameters: they are written into it.
        at = {"orders": orders, "first": first, "last": last, "started": STARTED}
        psycopg.ClientCursor(connection).execute(ORDERS, at)
        for statement in FILL:
            connection.execute(statement)
        connection.execute(
            "insert into ops.finality select aggregate, (select max(at) from orders) - interval '24 hours'"
            " - case when aggregate = 'sessions' then interval '24 hours' else interval '0' end,"
            " (select max(at) from orders), 1, now() from ops.versions"
            " on conflict (aggregate) do update set final_until = excluded.final_until"
        )
        connection.execute("drop table orders")
        connection.commit()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum (analyze)")


@contextmanager
def year(folder: Path, lines: int) -> Iterator[Settings]:
    """Settings of a stack whose Postgres runs until this is left, with all tables, and about so many order lines."""
    with own_postgres(folder / "postgres") as dsn:
        settings = Settings(home=folder / "home", postgres_port=psycopg.conninfo.conninfo_to_dict(dsn)["port"])
        with psycopg.connect(dsn) as connection:
            make_postgres_tables(connection)
            connection.execute(LOOKS, {"started": STARTED})
        trade(dsn, orders_of(lines), 0, orders_of(lines) - 1)
        yield settings


def orders_of(lines: int) -> int:
    return int(lines / LINES_AN_ORDER)
