"""A shop that sends webhooks is subscribed once a day to what it does not send yet; the reading never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from producers.connect.shopify.subscriptions import CUSTOMER_TOPICS
from tests.producers.connect.conftest import Published, following, shopify_connection
from tests.producers.connect.kept import Kept
from tests.shops.shopify import Shopify

NAME = "bikes"
URI = f"https://hooks.example/hooks/shopify/{NAME}"
LOST = next(iter(CUSTOMER_TOPICS))


class Clock:
    """Stands still until it is told."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def read(shop: Shopify, log: Kept, folder: Path, clock: Clock, *steps: Callable[[], None]) -> None:
    """Read the shop, and again after each step."""

    async def run() -> None:
        connection = shopify_connection(shop, NAME, shop.now - timedelta(days=1))
        async with following(log, folder, connection, shop, clock) as followed:
            await followed.reader.catch_up()
            for step in steps:
                step()
                await followed.reader.catch_up()

    asyncio.run(run())


def sent(shop: Shopify) -> set[str]:
    return {hook["topic"] for hook in shop.hooks if hook["uri"] == URI}


@pytest.mark.parametrize("refuses", [False, True])
def test_a_topic_that_lacks_is_subscribed_to_within_a_day_and_asked_for_no_more_often(
    refuses: bool, tmp_path: Path
) -> None:
    log = Kept()
    with Shopify().serving() as shop:
        clock = Clock(shop.now.timestamp())
        address = URI.replace("https", "http") if refuses else URI  # which Shopify accepts no more
        shop.hooks = [{"id": "gid://shopify/WebhookSubscription/1", "topic": "ORDERS_UPDATED", "uri": address}]
        orders = [shop.place(is_test=False, lines=1)]
        asked: list[int] = []

        def an_hour_later() -> None:
            asked.append(shop.asked["Hooks"])
            clock.at += 3600
            orders.append(shop.place(is_test=False, lines=1))

        def a_day_later() -> None:
            asked.append(shop.asked["Hooks"])
            clock.at += 86_400
            shop.hooks = [hook for hook in shop.hooks if hook["topic"] != LOST]

        read(shop, log, tmp_path, clock, an_hour_later, a_day_later)
        assert asked == [2, 2]
        assert shop.asked["Hooks"] == 4
        assert (LOST in sent(shop)) is not refuses
        assert len(sent(shop)) == (0 if refuses else len({hook["topic"] for hook in shop.hooks}))
    assert {each["order_id"] for each in Published(log.log_of, NAME, tmp_path).orders()} == {
        f"{NAME}-{order.id}" for order in orders if order.is_counted
    }


def test_a_shop_that_sends_no_webhooks_is_asked_to_send_none(tmp_path: Path) -> None:
    with Shopify().serving() as shop:
        read(shop, Kept(), tmp_path, Clock(shop.now.timestamp()))
        assert shop.hooks == []
