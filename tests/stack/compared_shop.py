"""A connected shop and its orders in the tables, as its history brings them, without the stack."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg

from insights.settings import Settings
from producers.connect.connections import Connection, Connections, Credentials
from producers.connect.memory import FILE, Memory, Position
from tests.shops.woocommerce import WooCommerce
from tests.shops.woocommerce_orders import Order


class Here(Settings):
    """Settings whose Postgres is the database of a test."""

    database: str = ""

    @property
    def postgres_dsn(self) -> str:
        return self.database


async def at_once(seconds: float) -> None:
    """A pause that does not last."""


def connected(here: Here, shop: WooCommerce, name: str, *, days: int = 90) -> Connection:
    opens = Credentials(key=shop.consumer_key, secret=shop.consumer_secret, webhook_secret="hook")
    return Connections(here.producers_dir).add(
        name=name, platform="woocommerce", url=shop.url, since=shop.now - timedelta(days=days), credentials=opens
    )


def history_is_read(here: Here, name: str) -> None:
    memory = Memory(here.producers_dir / FILE)
    memory.move(name, Position(0, True, 0))
    memory.commit()
    memory.close()


def count(postgres: psycopg.Connection[Any], name: str, order: Order) -> None:
    """An order of the shop in the tables, as it is now."""
    order_id, sale = f"{name}-{order.id}", Decimal(order.goods) / 100
    for view in ("orders", "order_lines", "refunds"):
        postgres.execute(f"delete from events.{view} where order_id = %s".encode(), (order_id,))  # noqa: S608
    charges = (Decimal(order.shipping) / 100, Decimal(order.tax) / 100)
    postgres.execute(
        "insert into events.orders (event_id, occurred_at, source, order_id, customer_id, region, currency,"
        " channel, shipping_amount, tax_amount) values (%s, %s, %s, %s, 'c', 'DE', 'EUR', 'web', %s, %s)",
        (order_id, order.created, name, order_id, *charges),
    )
    postgres.execute(
        "insert into events.order_lines (event_id, line, occurred_at, order_id, customer_id, region, currency,"
        " channel, product_id, category, quantity, unit_price, discount_amount, sales_amount)"
        " values (%s, 1, %s, %s, 'c', 'DE', 'EUR', 'web', 'p', 'b', 1, %s, 0, %s)",
        (order_id, order.created, order_id, sale, sale),
    )
    for refund in order.refunds:
        postgres.execute(
            "insert into events.refunds (event_id, occurred_at, refund_id, order_id, customer_id, region,"
            " currency, amount, reason) values (%s, %s, %s, %s, 'c', 'DE', 'EUR', %s, 'other')",
            (f"{name}-{refund.id}", refund.at, str(refund.id), order_id, Decimal(refund.amount) / 100),
        )
