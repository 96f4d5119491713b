"""A connected shop's customers against a real Kafka: as the shop has them, and never who they are."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.connect.memory import progress
from producers.publisher import Publisher
from tests.producers.connect.conftest import Published, connected, following
from tests.shops.serving import Delivery
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce

DAY = timedelta(days=1)


def live(shop: WooCommerce | Shopify, random: Random, steps: int) -> list[Delivery]:
    """Some hours of the shop: accounts are made, and move; each is a delivery."""
    deliveries: list[Delivery] = []
    for _ in range(steps):
        shop.now += timedelta(seconds=random.choice([0, 0, 1, 60, 3000]))
        if random.random() < 0.5 or not shop.customers:
            deliveries.append(shop.customer_delivery(shop.register(), "create"))
        else:
            deliveries.append(shop.customer_delivery(shop.move(random.choice(list(shop.customers.values())))))
    return deliveries


def newest(records: list[dict[str, Any]]) -> dict[str, tuple[str, date]]:
    return {each["customer_id"]: (each["region"], each["signup_date"]) for each in records}


@pytest.mark.parametrize("platform", [WooCommerce, Shopify])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), past=st.integers(0, 20), steps=st.integers(1, 30))
def test_any_deliveries_with_gaps_end_in_the_shops_own_customers(
    platform: type[WooCommerce] | type[Shopify],
    seed: int,
    past: int,
    steps: int,
    publisher: Publisher,
    log_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    random, name = Random(seed), f"shop-{uuid.uuid4().hex[:12]}"  # an example is a shop that nobody has seen
    shop = platform(seed=seed)
    shop.now -= 2 * DAY
    published, clock = Published(log_of, name), [shop.now.timestamp()]

    async def run() -> None:
        async with following(publisher, tmp_path / name, connected(shop, name), shop, lambda: clock[0]) as followed:
            await followed.reader.catch_up()
            for delivery in shop.as_they_arrive(live(shop, random, steps), dropped=0.3):
                assert await followed.deliver(delivery.body, delivery.headers) == 200
                if random.random() < 0.2:
                    await followed.reader.read_wanted()
            clock[0] += DAY.total_seconds()
            shop.faults = random.sample(["429", "500", "cut", "503"], 2)
            await followed.reader.catch_up()

    (tmp_path / name).mkdir()
    with shop.serving():
        live(shop, random, past)
        asyncio.run(run())
    records = published.customers()
    assert newest(records) == {
        f"{name}-{each.id}": (each.country or "unknown", each.created.date()) for each in shop.customers.values()
    }
    assert {(each["name_encrypted"], each["email_encrypted"]) for each in records} <= {(None, None)}
    assert progress(tmp_path / name, name).resources["customers"] == (len(shop.customers), "")
    written = b"".join(path.read_bytes() for path in (tmp_path / name).iterdir())
    assert b"erpetua" not in written
    assert b"nmistakable" not in written


def test_a_customer_has_the_id_that_their_orders_have_and_an_unchanged_one_is_said_once(
    shop: WooCommerce, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    name = f"shop-{uuid.uuid4().hex[:12]}"
    customer = shop.register()
    shop.place(customer_id=customer.id)
    published, clock = Published(log_of, name), [(shop.now - 3 * DAY).timestamp()]

    async def run() -> None:
        async with following(publisher, tmp_path, connected(shop, name), shop, lambda: clock[0]) as followed:
            for _ in range(3):
                await followed.reader.catch_up()
                clock[0] += DAY.total_seconds()

    asyncio.run(run())
    ((order,), (record,)) = published.orders(), published.customers()
    assert order["customer_id"] == record["customer_id"]
