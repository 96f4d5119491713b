"""A refund says when its order was paid, whenever that becomes known: by payment date it counts nowhere without it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from producers.connect.memory import FILE
from tests.producers.connect.conftest import Published, following, shopify_connection
from tests.producers.connect.kept import Kept
from tests.shops.shopify import Shopify

MINUTE = timedelta(minutes=1)
NAME = "bikes"


@pytest.fixture
def shopify() -> Iterator[Shopify]:
    with Shopify().serving() as serving:
        yield serving


def said(log: Kept, folder: Path) -> list[list[tuple[int, datetime | None]]]:
    """By refund, in the order of their time, the version and time of payment of each of its states."""
    states: dict[str, list[tuple[int, datetime | None]]] = {}
    records = Published(log.log_of, NAME, folder).refunds()
    assert len({record["event_id"] for record in records}) == len(records)
    for record in sorted(records, key=lambda each: each["occurred_at"]):
        states.setdefault(record["refund_id"], []).append((record["version"], record["order_paid_at"]))
    return list(states.values())


def read(shop: Shopify, log: Kept, folder: Path, *steps: Any) -> None:
    """Read the shop, and again after each step."""

    async def run() -> None:
        connection = shopify_connection(shop, NAME, shop.now - 90 * 24 * 60 * MINUTE)
        async with following(log, folder, connection, shop) as followed:
            await followed.reader.catch_up()
            for step in steps:
                shop.now += MINUTE
                step()
                await followed.reader.catch_up()

    asyncio.run(run())


def test_a_refund_is_published_again_when_its_order_is_paid_and_when_it_is_no_longer(
    shopify: Shopify, tmp_path: Path
) -> None:
    order, log = shopify.place(lines=3, is_test=False), Kept()

    def unpay() -> None:
        order.paid = None
        shopify.change(order)

    read(
        shopify,
        log,
        tmp_path,
        lambda: shopify.refund(order),
        lambda: shopify.send(order),  # says nothing new of the refund
        lambda: shopify.pay(order),
        lambda: shopify.edit(order),
        unpay,
    )
    paid_at = shopify.now - 2 * MINUTE
    of_return, of_edit = said(log, tmp_path)
    assert of_return == [(1, None), (2, paid_at), (3, None)]
    assert of_edit == [(1, paid_at), (2, None)]


def test_refunds_of_an_earlier_release_are_read_again_once_and_say_when_their_orders_were_paid(
    shopify: Shopify, tmp_path: Path
) -> None:
    order, log = shopify.place(lines=2, is_test=False), Kept()
    shopify.pay(order)
    shopify.refund(order)
    shopify.place(is_test=False)
    read(shopify, log, tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as memory:
        memory.execute(
            "update order_states set refunds = json_remove(refunds, '$.' || key || '[4]')"
            " from (select key from order_states, json_each(refunds)) where refunds <> '{}'"
        )
        memory.execute("alter table order_states drop column paid_ms")
        memory.commit()
    before = len(Published(log.log_of, NAME, tmp_path).orders())
    for _ in range(2):
        read(shopify, log, tmp_path)
    assert said(log, tmp_path) == [[(1, order.paid), (2, order.paid)]]
    assert len(Published(log.log_of, NAME, tmp_path).orders()) == before


def test_refunds_that_waited_to_be_read_at_an_update_say_when_their_orders_were_paid(
    shopify: Shopify, tmp_path: Path
) -> None:
    shopify.now -= 20 * MINUTE
    order = shopify.place(lines=2, is_test=False)
    shopify.pay(order)
    shopify.refund(order)
    shopify.now += 20 * MINUTE
    shopify.place(is_test=False)  # the changes are read from here
    read(shopify, Kept(), tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as memory:
        memory.execute("insert into wanted select shop, order_id, head, 1 from order_states where refunds <> '{}'")
        memory.execute("update order_states set refunds = '{}'")
        memory.execute("alter table order_states drop column paid_ms")
        memory.commit()
    log = Kept()
    read(shopify, log, tmp_path)
    assert said(log, tmp_path) == [[(1, order.paid)]]
