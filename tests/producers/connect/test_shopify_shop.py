"""A connected Shopify shop against a real Kafka: every order once, to the cent, whatever becomes of its deliveries."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.connect.memory import progress
from producers.publisher import Publisher
from producers.shop.occurrences import FEE_CHARGED, ORDER_CANCELLED, ORDER_PLACED, ORDER_REFUNDED
from tests.producers.connect.conftest import (
    Published,
    days_of,
    following,
    payments_in_refunds,
    shopify_connection,
    standing,
    times_of_payment,
)
from tests.shops.serving import Delivery
from tests.shops.shopify import Shopify

DAY = timedelta(days=1)


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def shopify() -> Iterator[Shopify]:
    with Shopify().serving() as serving:
        yield serving


def live(shop: Shopify, random: Random, steps: int) -> list[Delivery]:
    """Some hours of the shop: orders are placed, paid, edited, sent, taken back, cancelled and deleted."""
    deliveries: list[Delivery] = []
    for _ in range(steps):
        shop.now += timedelta(seconds=random.choice([0, 0, 1, 60, 3000]))
        orders, step = list(shop.orders.values()), random.random()
        topic = "orders/updated"
        if step < 0.45 or not orders:
            order, topic = shop.place(), "orders/create"
        else:
            order = random.choice(orders)
            if step < 0.55:
                shop.pay(order)
            elif step < 0.65:
                shop.send(order)
            elif step < 0.75:
                shop.edit(order)
                topic = "orders/edited"
            elif step < 0.88:
                shop.refund(order, whole=random.random() < 0.3)
                topic = "refunds/create"
            elif step < 0.95 or len(order.agreements) > 1:
                shop.cancel(order)
            else:
                shop.delete(order)
                topic = "orders/delete"
        deliveries.append(shop.delivery(order, topic))
    return deliveries


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), past=st.integers(0, 30), steps=st.integers(1, 40))
def test_any_order_of_deliveries_doubled_and_with_gaps_ends_in_the_shops_own_totals(
    seed: int, past: int, steps: int, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    random, name = Random(seed), f"shop-{uuid.uuid4().hex[:12]}"  # an example is a shop that nobody has seen
    shop = Shopify(seed=seed)
    shop.now -= 2 * DAY
    published = Published(log_of, name, tmp_path / name)

    async def run() -> None:
        connection = shopify_connection(shop, name, shop.now - DAY)
        async with following(publisher, tmp_path / name, connection, shop) as followed:
            await followed.reader.catch_up()
            there = set(shop.orders)
            said = live(shop, random, steps)
            deleted = {each.order_id for each in said} | there - set(shop.orders)
            sent = shop.as_they_arrive(said, dropped=0.2)
            # A deleted order is in no list any more: its webhook is the only one who says so.
            sent += [shop.delivery_of(order_id) for order_id in deleted - set(shop.orders)]
            for delivery in sent:
                assert await followed.deliver(delivery.body, delivery.headers) == 200
                if random.random() < 0.1:
                    await followed.reader.read_wanted()
            shop.faults = random.sample(["429", "500", "cut", "503", "throttled", "internal"], 3)
            await followed.reader.catch_up()

    (tmp_path / name).mkdir()
    with shop.serving():
        live(shop, random, past)
        asyncio.run(run())
    orders, refunds = published.orders(), published.refunds()
    assert days_of(orders, refunds) == shop.days()
    assert payments_in_refunds(refunds).items() <= times_of_payment(orders).items()
    assert {order["order_id"] for order in standing(orders)} == {f"{name}-{order.id}" for order in shop.counted()}
    assert len({record["event_id"] for record in orders + refunds}) == len(orders + refunds)
    assert published.fees() == shop.fees()
    assert published.cancelled().keys() == shop.cancelled()
    assert published.letters() == []
    done = progress(tmp_path / name, name)
    assert (done.orders, done.refused) == (len(standing(orders)), 0)


def test_history_comes_in_the_order_of_time_so_that_none_of_it_is_late(
    shopify: Shopify, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    begin = shopify.now - 300 * DAY
    placed = [shopify.place(at=begin + timedelta(hours=29 * i), is_test=False) for i in range(200)]
    shopify.place(at=begin - DAY)  # before the day from which orders are wanted
    for order in placed[::7]:
        when = min(shopify.now, order.created + timedelta(days=shopify.random.randint(1, 60)))
        shopify.refund(order, at=when)
    for order in placed[1::3]:
        order.paid = min(shopify.now, order.created + timedelta(days=shopify.random.randint(1, 60)))
    for order in placed[2::7]:
        order.cancelled = min(shopify.now, order.created + timedelta(days=shopify.random.randint(1, 60)))
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, shopify_connection(shopify, name, begin), shopify) as followed:
            await followed.reader.catch_up()

    asyncio.run(run())
    assert len(published.orders()) == sum(order.is_counted for order in placed)
    assert published.fees() == shopify.fees()
    assert published.cancelled().keys() == shopify.cancelled()
    for event in (ORDER_PLACED, ORDER_REFUNDED, FEE_CHARGED, ORDER_CANCELLED):
        for times in published.times_by_partition(event).values():
            assert times == sorted(times)


def test_what_cannot_be_read_is_a_dead_letter_with_its_bytes_and_the_reader_goes_on(
    shopify: Shopify, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shopify.place(is_test=False, lines=2)
    spoilt = shopify.place(is_test=False, spoilt={"taxesIncluded": True, "processedAt": "yesterday"})
    shopify.place(is_test=False, currency="USD")
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        connection = shopify_connection(shopify, name, shopify.now - DAY)
        async with following(publisher, tmp_path, connection, shopify) as followed:
            await followed.reader.catch_up()
            await followed.reader.catch_up()
            for body in (b"not JSON", b'{"id": "all"}'):
                assert await followed.deliver(body, shopify.signed(body)) == 200
            edited = b'{"order_edit": [7]}'
            assert await followed.deliver(edited, shopify.signed(edited, "orders/edited")) == 200
            assert await followed.deliver(*shopify.delivery(shopify.place(is_test=False, lines=1))[1:]) == 200
            await followed.reader.read_wanted()

    asyncio.run(run())
    letters = dict(published.letters())
    assert any(body == b"not JSON" for body in letters.values())
    assert any(body == b'{"id": "all"}' for body in letters.values())
    (said,) = [body for reason, body in letters.items() if reason.startswith("processedAt is 'yesterday'")]
    assert json.loads(said)["id"] == f"gid://shopify/Order/{spoilt.id}"
    assert any(body == b'{"order_edit": [7]}' for body in letters.values())
    assert len(letters) == 5
    assert any("USD" in reason for reason in letters)


def test_a_delivery_is_taken_when_it_is_signed_for_this_shop(
    shopify: Shopify, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        connection = shopify_connection(shopify, name, shopify.now - DAY)
        async with following(publisher, tmp_path, connection, shopify) as followed:
            body, headers = shopify.delivery(shopify.place(is_test=False, lines=1), "orders/create")[1:]
            assert await followed.deliver(body, headers) == 202  # its history is not read yet
            await followed.reader.catch_up()
            body, headers = shopify.delivery(shopify.place(is_test=False, lines=1), "orders/create")[1:]
            forged = {**headers, "X-Shopify-Hmac-SHA256": "A" * 44}
            unsigned = {key: value for key, value in headers.items() if "Hmac" not in key}
            foreign = {**headers, "X-Shopify-Shop-Domain": "chains.myshopify.com"}
            for wrong in (forged, unsigned, foreign):
                assert await followed.deliver(body, wrong) == 401
            assert await followed.deliver(body + b" ", headers) == 401
            assert await followed.deliver(body, headers, to="another-shop") == 401
            assert await followed.deliver(b"{}", shopify.signed(b"{}", "collections/update")) == 200
            asked = shopify.asked["Named"]
            for _ in range(5):
                assert await followed.deliver(body, headers) == 200
            await followed.reader.read_wanted()
            assert shopify.asked["Named"] == asked + 1  # named five times, read once

    asyncio.run(run())
    assert len(published.orders()) == sum(order.is_counted for order in shopify.orders.values())
    assert published.letters() == []
