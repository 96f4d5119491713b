"""What a connected shop says that its products cost it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.connect.orders import Shop
from producers.connect.shopify.products import read_product as read_shopify_product
from producers.publisher import Publisher
from tests.producers.connect.conftest import Published, connection_of, following
from tests.shops.woocommerce import WooCommerce

DAY = timedelta(days=1)


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:12]}"


def test_the_first_cost_of_a_product_holds_from_the_beginning_and_a_later_one_from_when_it_is_read(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop.now -= DAY
    product = shop.offer(variations=0)
    product.own.sku = "BELL"
    unknown = shop.offer(variations=0)
    unknown.spoilt = {"cost_of_goods_sold": {"total_value": 0, "values": []}, "meta_data": []}
    published, since = Published(log_of, name), shop.now - 30 * DAY
    clock = [shop.now.timestamp()]

    async def run() -> None:
        connection = connection_of(shop, name, since)
        async with following(publisher, tmp_path, connection, shop, lambda: clock[0]) as followed:
            for cost in (7.125, 7.125, 8, 0, 8):  # without a cost the last one holds
                product.spoilt = {"cost_of_goods_sold": {"total_value": cost, "values": []}, "meta_data": []}
                shop.now += timedelta(hours=1)
                product.modified, clock[0] = shop.now, shop.now.timestamp()
                await followed.reader.catch_up()

    asyncio.run(run())
    first, second = published.costs()
    assert (first["product_id"], first["unit_cost"], first["valid_from"]) == ("BELL", Decimal("7.13"), since)
    assert (second["unit_cost"], second["valid_from"]) == (Decimal("8.00"), second["occurred_at"])
    assert second["occurred_at"] == first["occurred_at"] + timedelta(hours=2)


@pytest.mark.parametrize(
    ("said", "cost"), [("0.00", "0.00"), (0, "0.00"), ("0.004", None), ("0.005", "0.01"), ("1e999999", None)]
)
def test_a_shopify_cost_of_less_than_a_cent_is_unknown_and_not_nothing(said: Any, cost: str | None) -> None:
    item = {"tracked": False, "unitCost": {"amount": said}, "inventoryLevels": []}
    product = {"id": "gid://shopify/Product/7", "title": "Bell", "status": "ACTIVE", "currency": "EUR"}
    body = json.dumps({**product, "variants": [{"price": "9.00", "inventoryItem": item}]}).encode()
    (unit,) = read_shopify_product(body, Shop("bikes", b"g" * 32)).units
    assert (None if unit.cost is None else str(unit.cost)) == cost
