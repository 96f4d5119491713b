"""A small shop's facts in Postgres, drawn by chance, the aggregates that follow, and what changes both."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
from psycopg.types.json import Jsonb

from aggregates.catalogue import aggregate, aggregates
from warehouse.postgres import Connection

FIRST_DAY = datetime(2026, 1, 30, tzinfo=UTC)
DAY = timedelta(days=1)
PRODUCTS = {f"P{n}": category for n, category in enumerate(["Bags", "Bikes", "Tools", "Bags", "Lights"])}
REGIONS = ("north", "south")
# The aggregates that follow from facts, as the live job would count them.
DERIVED = {
    "customer_orders_per_day": """
        select date_trunc('day', occurred_at), customer_id, count(distinct order_id), sum(quantity), sum(sales_amount),
            min(occurred_at), max(occurred_at)
        from events.order_lines group by 1, 2
    """,
    "sessions": """
        select date_trunc('day', session_started_at), session_id, max(user_id), min(region), min(campaign),
            min(session_started_at), max(occurred_at),
            count(*) filter (where interaction = 'page_view'), count(*) filter (where interaction = 'product_view'),
            count(*) filter (where interaction = 'add_to_cart'), count(*) filter (where interaction = 'checkout'),
            count(*) filter (where interaction = 'purchase')
        from events.interactions where occurred_at < session_started_at + interval '24 hours' group by 1, 2
    """,
    "product_activity_per_hour": """
        select date_trunc('hour', at), product_id, sum(views), sum(carts), sum(units), sum(sales_amount) from (
            select occurred_at as at, product_id, (interaction = 'product_view')::int as views,
                (interaction = 'add_to_cart')::int as carts, 0 as units, 0 as sales_amount
            from events.interactions where product_id is not null
            union all
            select occurred_at, product_id, 0, 0, quantity, sales_amount from events.order_lines
        ) as activity group by 1, 2
    """,
    "refunded_goods_per_day": """
        select date_trunc('day', occurred_at), region, category, count(distinct refund_id), sum(quantity), sum(amount)
        from events.refund_lines group by 1, 2, 3
    """,
    "refunds_per_day": """
        select date_trunc('day', occurred_at), region, count(*), sum(goods), sum(amount) - sum(goods), sum(amount)
        from events.refunds
        join (select event_id, sum(amount) as goods from events.refund_lines group by 1) as lines using (event_id)
        group by 1, 2
    """,
}


@dataclass
class Shop:
    """A shop that is written to one database. The same seed makes the same shop and the same changes."""

    dsn: str
    rng: random.Random
    number: int = 0
    promoted: list[str] = field(default_factory=list)

    def trade(self, since: datetime, until: datetime, visits: int) -> None:
        """So many visits more within the time, with what came of them; then the aggregates as they are now."""
        with psycopg.connect(self.dsn) as connection:
            for _ in range(visits):
                self._visit(connection, since + (until - since) * self.rng.random())
            derive(connection)

    def lose(self, since: datetime, until: datetime) -> None:
        """All that was in the time is gone."""
        with psycopg.connect(self.dsn) as connection:
            of_orders = ("orders", "order_discounts", "order_lines", "refunds", "refund_lines", "payment_fees")
            for name in (*of_orders, "interactions"):
                connection.execute(
                    f"delete from {aggregate(name).table} where occurred_at >= %s and occurred_at < %s", (since, until)
                )
            connection.execute(
                "delete from versions.stock_moves_per_hour_v1 where window_start >= %s and window_start < %s",
                (since, until),
            )
            derive(connection)

    def final_until(self, moment: datetime) -> None:
        """Windows that end by then are final now; those of sessions a day before."""
        with psycopg.connect(self.dsn) as connection:
            for a in aggregates():
                connection.execute(
                    "insert into ops.finality values (%s, %s, %s, 1, now()) on conflict (aggregate) do update"
                    " set final_until = excluded.final_until",
                    (a.name, moment - timedelta(hours=a.overrun_hours), moment + DAY),
                )

    def note_replay(self, since: datetime | None, until: datetime | None, changed_rows: int = 1) -> str:
        """A replay of these windows was promoted, and changed so many rows of everything."""
        self.number += 1
        run = f"r{self.number}"
        names = [a.name for a in aggregates()]
        window = {"since": since and since.isoformat(), "until": until and until.isoformat()}
        plan = {"aggregates": [{"name": name, "windows": [window]} for name in names]}
        changes = {name: {"rows_added": changed_rows, "rows_removed": changed_rows} for name in names}
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "insert into ops.replays (run, status, scope, aggregates, engine, plan, plan_digest, requested_by,"
                " records, promoted_at, changes) values (%s, 'promoted', 'windows', %s, 'duckdb', %s, '', 'x', 1,"
                " now(), %s)",
                (run, list(names), Jsonb(plan), Jsonb(changes)),
            )
        return run

    def note_rollback(self, run: str) -> None:
        """A replay was rolled back."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "update ops.replays set status = 'rolled back', rolled_back_at = clock_timestamp() where run = %s",
                (run,),
            )

    def state_cost(self, product: str, valid_from: datetime, stated_at: datetime) -> None:
        """What a product costs from a time on, learned at another."""
        self.number += 1
        unit_cost = Decimal(self.rng.randrange(100, 5_000)) / 100
        row = (f"cost{self.number}", stated_at, "made", product, valid_from, unit_cost, "EUR", self.rng.random() < 0.1)
        with psycopg.connect(self.dsn) as connection:
            insert(connection, "product_costs", row)

    def _visit(self, connection: Connection, at: datetime) -> None:
        self.number += 1
        session, region = f"S{self.number}", self.rng.choice(REGIONS)
        customer = f"C{self.rng.randrange(12)}" if self.rng.random() < 0.8 else None
        campaign = self.rng.choice([None, "spring", "mail"])
        steps = ["page_view", "product_view", "add_to_cart", "checkout", "purchase"]
        depth = 5 if customer and self.rng.random() < 0.5 else self.rng.randrange(1, 5)
        for number, interaction in enumerate(steps[:depth]):
            # Some go on after midnight.
            moment = at + timedelta(minutes=number * self.rng.choice([1, 90]))
            product = self.rng.choice(list(PRODUCTS)) if interaction in ("product_view", "add_to_cart") else None
            insert(
                connection,
                "interactions",
                (
                    f"{session}-{number}",
                    moment,
                    session,
                    at,
                    interaction,
                    customer,
                    product,
                    None,
                    "/",
                    None,
                    campaign,
                    region,
                ),
            )
        if depth == 5 and customer:
            self._order(connection, at + timedelta(minutes=10), customer, region, session)

    def _order(self, connection: Connection, at: datetime, customer: str, region: str, session: str) -> None:
        order = f"O{self.number}"
        beside = (Decimal("4.90"), Decimal(self.number % 7), None, None, None, None)
        yen = ("JPY", Decimal(self.number), Decimal(0), Decimal(0), Decimal("158.23"), "ecb", at.date())
        charged = yen if self.number % 5 == 0 else (None,) * len(yen)
        placed = (f"e{order}", at, "made", order, customer, region, "EUR", "web")
        insert(connection, "orders", (*placed, *beside, *charged, None, at, None, None, at))
        insert(
            connection, "payment_fees", (f"f{order}", at, "made", f"F{order}", order, "card", Decimal("0.35"), "EUR")
        )
        taken_off = ("SPRING" if self.number % 2 else None, "Spring sale", Decimal("0.50"))
        insert(connection, "order_discounts", (f"e{order}", 1, at, order, region, "EUR", *taken_off))
        for line in range(1, self.rng.randrange(2, 4)):
            product, quantity = self.rng.choice(list(PRODUCTS)), self.rng.randrange(1, 4)
            price, discount = Decimal(self.rng.randrange(100, 9_999)) / 100, Decimal(self.rng.randrange(0, 90)) / 100
            insert(
                connection,
                "order_lines",
                (
                    f"e{order}",
                    line,
                    at,
                    order,
                    customer,
                    region,
                    "EUR",
                    "web",
                    session,
                    product,
                    PRODUCTS[product],
                    None,
                    quantity,
                    price,
                    discount,
                    quantity * price - discount,
                ),
            )
            if self.rng.random() < 0.2:
                # With the shipping, 4.90, which no line holds.
                head = (at + timedelta(hours=30), f"R{order}-{line}", order, customer, region, "EUR")
                event_id, paid = f"r{order}-{line}", (price + Decimal("4.90"), Decimal("4.90"), None, "damaged")
                insert(connection, "refunds", (event_id, *head, *paid, *[None] * 5, "made"))
                returned = (product, PRODUCTS[product], 1, price, "damaged")
                insert(connection, "refund_lines", (event_id, 1, *head, *returned))
            hour = at.replace(minute=0, second=0, microsecond=0)
            connection.execute(
                "insert into versions.stock_moves_per_hour_v1 (window_start, product_id, warehouse, sold, restocked,"
                " adjusted, net_change) values (%s, %s, 'main', %s, 0, 0, %s)"
                " on conflict (window_start, product_id, warehouse) do update set"
                " sold = stock_moves_per_hour_v1.sold + excluded.sold,"
                " net_change = stock_moves_per_hour_v1.net_change + excluded.net_change",
                (hour, product, quantity, -quantity),
            )


def insert(connection: Connection, name: str, row: Sequence[object]) -> None:
    """A row of a fact, in the order of its columns."""
    marks = ", ".join(["%s"] * len(row))
    connection.execute(
        f"insert into {aggregate(name).table} ({', '.join(aggregate(name).columns)}) values ({marks})", row
    )


def derive(connection: Connection) -> None:
    """The aggregates, recounted from the facts."""
    for name, query in DERIVED.items():
        a = aggregate(name)
        connection.execute(f"delete from {a.table}")
        connection.execute(f"insert into {a.table} ({', '.join(a.columns)}) {query}")


def opened(dsn: str, seed: int) -> Shop:
    """A shop with ten days of trade, of which readers see version 1, and nothing is final yet."""
    shop = Shop(dsn=dsn, rng=random.Random(seed))
    with psycopg.connect(dsn) as connection:
        for number in range(6):
            insert(
                connection,
                "customers",
                (f"c{number}", FIRST_DAY + number * DAY, f"C{number}", "north", FIRST_DAY.date(), "30-39", None, None),
            )
        for number, (product, category) in enumerate(PRODUCTS.items()):
            insert(
                connection,
                "product_observations",
                (
                    f"p{number}",
                    FIRST_DAY,
                    "shop.test",
                    product,
                    None,
                    f"A {category}",
                    None,
                    category,
                    Decimal("9.99"),
                    None,
                    None,
                    "EUR",
                    "InStock",
                    5,
                    "https://shop.test/",
                    "x",
                ),
            )
        spent = (FIRST_DAY + DAY, "made", "ads", "spring", FIRST_DAY.date(), Decimal("7.00"), "EUR", None, 9)
        insert(connection, "ad_spend", ("s1", *spent))
    for number, product in enumerate(list(PRODUCTS)[:4]):
        shop.state_cost(product, FIRST_DAY, FIRST_DAY + number * 3 * DAY)
    shop.trade(FIRST_DAY, FIRST_DAY + 10 * DAY, visits=120)
    return shop
