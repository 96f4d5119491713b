"""A connected shop's products and stock against a real Kafka: what is on the log is what the shop has, always."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.connect.memory import progress
from producers.connect.resources import known_product
from producers.publisher import Publisher
from tests.producers.connect.conftest import Published, connected, connection_of, following
from tests.shops.serving import Delivery
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce

DAY = timedelta(days=1)


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:12]}"


def levels_of(moves: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """How many there are by product and warehouse, as the marts add them up."""
    found: Counter[tuple[str, str]] = Counter()
    for move in moves:
        found[move["product_id"], move["warehouse"]] += move["delta"]
    return {where: level for where, level in found.items() if level}


def levels_there(shop: WooCommerce | Shopify, name: str) -> dict[tuple[str, str], int]:
    """The same, as the shop has it."""
    if isinstance(shop, Shopify):
        return {(product_id, f"{name} {place}"): level for (product_id, place), level in shop.levels().items()}
    return {(product_id, name): level for product_id, level in shop.levels().items()}


def prices_of(observations: list[dict[str, Any]]) -> dict[str, int]:
    """The newest price in cents of each product that is not discontinued."""
    newest = {each["product_id"]: each for each in observations}
    return {i: int(each["price"] * 100) for i, each in newest.items() if each["availability"] != "discontinued"}


def costs_of(statements: list[dict[str, Any]]) -> dict[str, int]:
    """The cost in cents of each product that was stated last."""
    return {each["product_id"]: int(each["unit_cost"] * 100) for each in statements}


def check_prices_follow_each_other(observations: list[dict[str, Any]]) -> None:
    last: dict[str, Decimal] = {}
    for each in observations:
        assert each["previous_price"] == last.get(each["product_id"])
        last[each["product_id"]] = each["price"]


def live(shop: WooCommerce | Shopify, random: Random, steps: int) -> list[Delivery]:
    """Some hours of the shop: products come, change and go; each is a delivery."""
    deliveries: list[Delivery] = []
    for _ in range(steps):
        shop.now += timedelta(seconds=random.choice([0, 0, 1, 60, 3000]))
        products = list(shop.products.values())
        step = random.random()
        if step < 0.4 or not products:
            deliveries.append(delivery_of(shop, "create", shop.offer()))
        elif step < 0.9:
            deliveries.append(delivery_of(shop, "update", shop.alter(random.choice(products))))
        else:
            shop.withdraw(product := random.choice(products))
            deliveries.append(delivery_of(shop, "delete", product))
    return deliveries


def delivery_of(shop: WooCommerce | Shopify, what: str, product: Any) -> Delivery:
    topic = f"products/{what}" if isinstance(shop, Shopify) else f"product.{what}d"
    return shop.product_delivery(product, topic)


@pytest.mark.parametrize("platform", [WooCommerce, Shopify])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), past=st.integers(0, 20), steps=st.integers(1, 30))
def test_any_deliveries_with_gaps_end_in_the_shops_own_prices_and_levels(
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
    published = Published(log_of, name)
    clock = [shop.now.timestamp()]

    async def run() -> None:
        connection = connected(shop, name)
        async with following(publisher, tmp_path / name, connection, shop, lambda: clock[0]) as followed:
            await followed.reader.catch_up()
            for delivery in shop.as_they_arrive(live(shop, random, steps), dropped=0.3):
                clock[0] += random.choice([0, 1, 600])
                assert await followed.deliver(delivery.body, delivery.headers) == 200
                if random.random() < 0.2:
                    await followed.reader.read_wanted()
            if random.random() < 0.5:
                await followed.reader.catch_up()
            clock[0] += DAY.total_seconds()  # by then all are read again, and what was deleted unheard is found
            shop.faults = random.sample(["429", "500", "cut", "503"], 2)
            await followed.reader.catch_up()

    (tmp_path / name).mkdir()
    with shop.serving():
        live(shop, random, past)
        asyncio.run(run())
    observations, moves = published.observations(), published.moves()
    assert levels_of(moves) == levels_there(shop, name)
    assert prices_of(observations) == shop.prices()
    assert shop.costs().items() <= costs_of(published.costs()).items()  # what is not on sale had one, too
    check_prices_follow_each_other(observations)
    assert published.letters() == []
    assert progress(tmp_path / name, name).resources["products"] == (len(shop.products), "")


def test_an_unchanged_product_is_observed_once_a_day_and_its_stock_does_not_move(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    product = shop.offer(variations=0)
    product.own.stock, product.own.sku = 7, "BELL"
    published, clock = Published(log_of, name), [shop.now.timestamp() - 3 * DAY.total_seconds()]

    async def run() -> None:
        async with following(
            publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop, lambda: clock[0]
        ) as followed:
            for _ in range(49):  # two days by the hour
                await followed.reader.catch_up()
                clock[0] += 3600

    asyncio.run(run())
    first, *later = published.observations()
    assert len(later) == 2
    assert {(each["product_id"], each["price"], each["stock_quantity"]) for each in later} == {
        ("BELL", first["price"], 7)
    }
    assert (first["previous_price"], later[0]["previous_price"]) == (None, first["price"])
    assert [(move["product_id"], move["delta"], move["reason"]) for move in published.moves()] == [
        ("BELL", 7, "adjustment")
    ]


def test_a_kill_between_publishing_and_remembering_moves_nothing_twice(
    shop: WooCommerce,
    name: str,
    publisher: Publisher,
    log_of: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from producers.connect.resource_memory import ResourceMemory

    for _ in range(8):
        shop.offer()
    published = Published(log_of, name)

    async def killed() -> None:
        def kill(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(ResourceMemory, "sent", kill)
            async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
                await followed.reader.catch_up()

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            for product in shop.products.values():
                shop.alter(product)
            await followed.reader.catch_up()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(killed())
    assert published.moves()  # the kill came after they were on the log
    asyncio.run(run())
    assert levels_of(published.moves()) == levels_there(shop, name)
    assert prices_of(published.observations()) == shop.prices()


def test_what_cant_be_read_is_a_dead_letter_once_and_the_rest_is_read(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    good, bad = shop.offer(variations=0), shop.offer(variations=0)
    bad.spoilt = {"price": "9.999", "regular_price": "9.999"}
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            await followed.reader.catch_up()
            await followed.reader.catch_up()

    asyncio.run(run())
    ((reason, body),) = published.letters()
    assert reason == "price is 9.999, which has parts of a cent"
    assert json.loads(body)["id"] == bad.id
    assert {each["name"] for each in published.observations()} == {good.name}


def test_products_that_may_not_be_read_leave_the_orders_alone_and_say_so(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop.place()
    shop.offer()
    shop.is_closed_to = "/products"
    published = Published(log_of, name)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            await followed.reader.catch_up()
            count, problem = progress(tmp_path, name).resources["products"]
            assert count == 0
            assert "does not accept the consumer key" in problem
            shop.is_closed_to = ""
            await followed.reader.catch_up()

    asyncio.run(run())
    assert len(published.orders()) == 1
    assert progress(tmp_path, name).resources["products"] == (1, "")


def test_a_thousand_products_of_one_second_are_all_read(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    for _ in range(1000):
        shop.offer(variations=0)
    published = Published(log_of, name)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            await followed.reader.catch_up()

    asyncio.run(run())
    assert prices_of(published.observations()) == shop.prices()
    assert shop.asked["/wp-json/wc/v3/products"] <= 12


def test_without_a_scope_the_rest_is_read_and_what_to_do_is_said(
    name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop = Shopify()
    shop.place()
    product = shop.offer(variants=1)
    product.variants[0].stock = {"Depot": 4}
    published = Published(log_of, name)

    async def problem(followed: Any, *scopes: str) -> str:
        shop.scopes = ["read_orders", "read_customers", *scopes]
        await followed.reader.catch_up()
        return progress(tmp_path, name).resources["products"][1]

    async def run() -> None:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            said = await problem(followed)
            assert said.startswith("the app may not read products or stock: it has no scope read_products. Add it")
            assert published.observations() == []
            said = await problem(followed, "read_products", "read_locations")
            assert said.startswith("the app may not read stock: it has no scope read_inventory. Add it")
            assert (len(published.observations()), published.moves()) == (1, [])
            shop.alter(product)
            assert await problem(followed, "read_products", "read_inventory", "read_locations") == ""

    with shop.serving():
        asyncio.run(run())
    assert len(published.orders()) == len(shop.counted())
    assert levels_of(published.moves()) == levels_there(shop, name)


def test_products_that_cost_too_much_together_are_asked_for_in_shorter_lists(
    name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop = Shopify()
    shop.product_cost = 400
    for _ in range(30):
        shop.offer(variants=2)
    published = Published(log_of, name)

    async def run() -> None:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            await followed.reader.catch_up()

    with shop.serving():
        asyncio.run(run())
    assert prices_of(published.observations()) == shop.prices()


@pytest.mark.parametrize("topic", ["inventory_levels/update", "inventory_items/update"])
def test_a_level_that_changes_at_shopify_is_on_the_log_as_soon_as_a_delivery_names_the_item(
    topic: str, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop = Shopify()
    product = shop.offer(variants=2)
    product.variants[0].stock = {"Depot": 4}
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            await followed.reader.catch_up()
            product.variants[0].stock = {"Depot": 1}  # and the product's time of changing stays
            for item in (product.variants[0].id, product.variants[1].id, 77):  # the last one is of nothing
                delivery = shop.item_delivery(item, topic)
                assert await followed.deliver(delivery.body, delivery.headers) == 200
            await followed.reader.read_wanted()

    with shop.serving():
        asyncio.run(run())
    assert levels_of(published.moves()) == levels_there(shop, name)
    assert shop.asked["NamedProducts"] == 1
    assert published.letters() == []


def test_items_whose_products_cost_too_much_together_are_asked_for_in_shorter_lists(
    name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop = Shopify()
    shop.item_cost = 400
    products = [shop.offer(variants=2) for _ in range(6)]
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            await followed.reader.catch_up()
            for product in products:
                product.variants[0].stock = {"Depot": 77}
                assert await followed.deliver(*shop.item_delivery(product.variants[0].id)[1:]) == 200
            await followed.reader.read_wanted()

    with shop.serving():
        asyncio.run(run())
    assert levels_of(published.moves()) == levels_there(shop, name)


def test_what_a_shop_refuses_to_describe_is_named_no_more_and_found_when_all_is_read(
    name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop = Shopify()
    shop.now -= 2 * DAY
    product = shop.offer(variants=2)
    published, clock = Published(log_of, name, tmp_path), [shop.now.timestamp()]

    async def run() -> None:
        async with following(publisher, tmp_path, connected(shop, name), shop, lambda: clock[0]) as followed:
            await followed.reader.catch_up()
            shop.item_cost = 10_000
            product.variants[0].stock = {"Depot": 77}  # and the product's time of changing stays
            assert await followed.deliver(*shop.item_delivery(product.variants[0].id)[1:]) == 200
            await followed.reader.read_wanted()
            asked = shop.asked["ProductsOfItems"]
            await followed.reader.read_wanted()
            assert shop.asked["ProductsOfItems"] == asked
            clock[0] += DAY.total_seconds()
            await followed.reader.catch_up()

    with shop.serving():
        asyncio.run(run())
    assert levels_of(published.moves()) == levels_there(shop, name)


def test_what_an_earlier_version_remembered_of_a_product_is_read() -> None:
    known = known_product(json.dumps((3, 7, {}, [("BELL", "shop", 2)])))
    assert (known.version, known.levels, dict(known.costs)) == (3, {("BELL", "shop"): 2}, {})
    assert known_product(known.written()) == known
