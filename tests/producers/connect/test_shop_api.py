"""Reading a shop's REST API, against the stand-in over real HTTP: nothing is missed, and it is asked politely."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from aggregates.zones import names
from aggregates.zones import zone as zone_named
from producers.connect.asking import By, ShopAway, ShopRefuses, address
from producers.connect.connections import Credentials
from producers.connect.woocommerce.api import Api
from schemas.errors import Misconfigured
from tests.shops.woocommerce import WooCommerce

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)


@pytest.fixture
def shop() -> Iterator[WooCommerce]:
    with WooCommerce(now=NOW).serving() as serving:
        yield serving


def credentials(shop: WooCommerce) -> Credentials:
    return Credentials(key=shop.consumer_key, secret=shop.consumer_secret, webhook_secret=shop.webhook_secret)


class Pauses:
    """Remembers how long it was asked to wait, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def asked(shop: WooCommerce, question: Callable[[Api], Awaitable[Any]], pauses: Pauses | None = None) -> Any:
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session:
            return await question(Api(session, shop.url, credentials(shop), pause=pauses or Pauses()))

    return asyncio.run(ask())


def ids(shop: WooCommerce, by: By = "date", after: datetime = LONG_AGO, pauses: Pauses | None = None) -> list[int]:
    async def read(api: Api) -> list[int]:
        return [json.loads(body)["id"] async for page in api.orders(by=by, after=after) for body in page.bodies]

    found: list[int] = asked(shop, read, pauses)
    return found


def test_it_says_what_the_shop_is(shop: WooCommerce) -> None:
    for _ in range(3):
        shop.place()
    about = asked(shop, lambda api: api.about())
    assert (about.title, about.currency, about.orders) == ("Bikes & more", "EUR", 3)


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ({"gmt_offset": "1", "timezone_string": "Europe/Berlin"}, "Europe/Berlin"),
        ({"gmt_offset": "2", "timezone_string": ""}, "Etc/GMT-2"),
        ({"gmt_offset": -11, "timezone_string": ""}, "Etc/GMT+11"),
        ({"gmt_offset": "0", "timezone_string": ""}, "Etc/UTC"),
        ({"gmt_offset": "5.75", "timezone_string": ""}, "+05:45"),
        ({"gmt_offset": "-3.5", "timezone_string": ""}, "-03:30"),
        *(
            ({"gmt_offset": said}, "")
            for said in ("noon", "NaN", "sNaN", "Infinity", "-Infinity", "1e999999", "15", None)
        ),
        ({}, ""),
    ],
)
def test_its_days_are_of_the_zone_that_its_software_is_set_to(
    shop: WooCommerce, said: dict[str, Any], zone: str
) -> None:
    shop.time_zone = said
    found = asked(shop, lambda api: api.about()).time_zone
    assert found == zone
    assert not found or found in names() or zone_named(found)


def test_orders_come_in_the_order_of_their_time_whatever_their_number(shop: WooCommerce) -> None:
    placed = [shop.place(at=NOW - timedelta(minutes=7 * (i * 37 % 250))) for i in range(250)]
    by_time = [order.id for order in sorted(placed, key=lambda order: (order.created, order.id))]
    assert list(dict.fromkeys(ids(shop))) == by_time
    assert ids(shop, after=NOW - timedelta(minutes=21)) == by_time[-3:]
    assert sum(shop.asked.values()) == 4  # three pages, and one


def test_more_orders_of_one_second_than_a_page_holds_are_all_read(shop: WooCommerce) -> None:
    placed = {shop.place(at=NOW - timedelta(hours=i // 330)).id for i in range(450)}
    assert set(ids(shop)) == placed
    assert set(ids(shop, by="modified")) == placed


def test_a_list_that_shifts_while_it_is_read_loses_nothing(shop: WooCommerce) -> None:
    placed = [shop.place(at=NOW - timedelta(minutes=300 - i)) for i in range(300)]

    def shift() -> None:
        """Earlier orders go, and others move to the end: by page numbers, as many would be passed over."""
        for order in placed[:5]:
            shop.trash(order)
        for order in placed[5:8]:
            shop.change(order, at=NOW + timedelta(minutes=len(shop.requests)))
        del placed[:8]

    shop.before_list = shift
    found = set(ids(shop, by="modified"))
    assert set(shop.orders) - shop.trashed <= found


def test_a_request_that_fails_is_tried_again_when_the_shop_says(shop: WooCommerce) -> None:
    placed = {shop.place(at=NOW - timedelta(minutes=i)).id for i in range(120)}
    shop.faults = ["429", "500", "cut", "503"]
    pauses = Pauses()
    assert set(ids(shop, pauses=pauses)) == placed
    assert pauses.seconds == [1.0, 2.0, 4.0, 8.0]  # the first is what Retry-After said


def test_a_shop_that_stays_away_is_named_with_what_it_last_said(shop: WooCommerce) -> None:
    shop.faults = ["500"] * 6
    with pytest.raises(ShopAway, match=r"/wp-json/wc/v3/orders gave .* \(it answered 500\); tried 6 times"):
        ids(shop)


def test_all_refunds_of_an_order_are_read_and_none_of_one_that_is_gone(shop: WooCommerce) -> None:
    order = shop.place()
    made = [str(shop.refund(order).id) for _ in range(2)]
    found = asked(shop, lambda api: api.refunds(str(order.id)))
    assert [str(json.loads(body)["id"]) for body in found] == made
    shop.trash(order)
    assert asked(shop, lambda api: api.refunds(str(order.id))) == []


def test_orders_are_read_by_their_number_and_one_that_is_gone_says_so(shop: WooCommerce) -> None:
    placed = [shop.place() for _ in range(103)]
    shop.trash(placed[50])
    found = asked(shop, lambda api: api.named([str(order.id) for order in placed[1:]]))
    assert {json.loads(body)["id"] for body in found} == {order.id for order in placed[1:]}
    assert [body for body in found if len(body) < 30] == [b'{"id": %d}' % placed[50].id]


def test_a_wrong_key_says_what_to_do(shop: WooCommerce) -> None:
    shop.consumer_secret, right = "cs_" + "0" * 40, shop.consumer_secret
    wrong = credentials(shop)
    shop.consumer_secret = right

    async def look() -> Any:
        async with aiohttp.ClientSession() as session:
            return await Api(session, shop.url, wrong).about()

    with pytest.raises(ShopRefuses, match="does not accept the consumer key and secret") as refused:
        asyncio.run(look())
    assert right not in str(refused.value)
    assert wrong.secret not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://bikes.example", "is not encrypted"),
        ("ftp://bikes.example", "is not the address of a shop"),
        ("https://", "is not the address of a shop"),
        ("https://key:secret@bikes.example", "is not the address of a shop"),
    ],
)
def test_an_address_that_can_be_no_shops_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason):
        address(text)


def test_an_address_is_encrypted_unless_it_is_this_machine() -> None:
    said = ["bikes.example/", "https://bikes.example/shop", "http://127.0.0.1:8080", "http://localhost"]
    assert [address(text) for text in said] == [
        "https://bikes.example",
        "https://bikes.example/shop",
        "http://127.0.0.1:8080",
        "http://localhost",
    ]


def test_what_is_no_woocommerce_shop_is_said_so() -> None:
    async def look() -> None:
        runner = aiohttp.web.AppRunner(aiohttp.web.Application())
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                keys = Credentials(key="ck_", secret="cs_", webhook_secret="")
                await Api(session, url, keys).about()
        finally:
            await runner.cleanup()

    with pytest.raises(Misconfigured, match="is not a WooCommerce shop"):
        asyncio.run(look())
