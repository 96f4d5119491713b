"""A shop that sends webhooks is subscribed once a day to what it does not send yet; the reading never waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from producers.connect.connections import FILE, Connections, Credentials
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


def read(shop: Shopify, log: Kept, folder: Path, clock: Clock, hooks: str | None, *steps: Callable[[], None]) -> None:
    """Read the shop, and again after each step."""

    async def run() -> None:
        connection = replace(shopify_connection(shop, NAME, shop.now - timedelta(days=1)), hooks=hooks)
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

        read(shop, log, tmp_path, clock, address, an_hour_later, a_day_later)
        assert asked == [1, 1]
        assert shop.asked["Hooks"] == 2
        assert (LOST in sent(shop)) is not refuses
        assert len(sent(shop)) == (0 if refuses else len({hook["topic"] for hook in shop.hooks}))
    assert {each["order_id"] for each in Published(log.log_of, NAME, tmp_path).orders()} == {
        f"{NAME}-{order.id}" for order in orders if order.is_counted
    }


def test_a_shop_that_was_told_no_address_is_asked_to_send_nothing_to_another_ones(tmp_path: Path) -> None:
    with Shopify().serving() as shop:
        shop.hooks = [{"id": "gid://shopify/WebhookSubscription/1", "topic": "ORDERS_UPDATED", "uri": URI}]
        read(shop, Kept(), tmp_path, Clock(shop.now.timestamp()), None)
        assert len(shop.hooks) == 1


def test_where_webhooks_go_is_kept_with_a_connection_also_in_a_file_of_an_earlier_release(tmp_path: Path) -> None:
    kept, at = Connections(tmp_path), datetime(2026, 10, 1, tzinfo=UTC)
    opens = Credentials(key="id", secret="shpss_1", webhook_secret="shpss_1")  # noqa: S106
    for name, hooks in (("old", None), (NAME, URI)):
        kept.add(name=name, platform="shopify", url=URI, since=at, credentials=opens, hooks=hooks)
        if hooks is None:
            with closing(sqlite3.connect(tmp_path / FILE)) as database:
                database.execute("drop table hooks")
    assert [kept.get(name).hooks for name in ("old", NAME)] == [None, URI]
    kept.remove(NAME)
    kept.add(name=NAME, platform="shopify", url=URI, since=at, credentials=opens)
    assert kept.get(NAME).hooks is None
