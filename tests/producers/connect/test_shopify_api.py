"""Reading a Shopify shop's GraphQL API, against the stand-in over real HTTP: nothing is missed; it has pauses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from producers.connect.asking import By, ShopAway, ShopRefuses
from producers.connect.connections import Credentials
from producers.connect.shopify import queries
from producers.connect.shopify.api import Api, address
from producers.connect.shopify.subscriptions import CUSTOMER_TOPICS, PRODUCT_TOPICS, STOCK_TOPICS, TOPICS
from schemas.errors import Misconfigured
from tests.shops.shopify import Shopify

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)


@pytest.fixture
def shop() -> Iterator[Shopify]:
    with Shopify(now=NOW).serving() as serving:
        yield serving


class Pauses:
    """Remembers how long it was asked to wait, and does not; meanwhile the shop has new points."""

    def __init__(self, shop: Shopify) -> None:
        self.shop = shop
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.shop.points += 100 * seconds


def asked(
    shop: Shopify, question: Callable[[Api], Awaitable[Any]], pauses: Pauses | None = None, *, secret: str = ""
) -> Any:
    keys = Credentials(key=shop.client_id, secret=secret or shop.client_secret, webhook_secret=shop.client_secret)

    async def ask() -> Any:
        async with aiohttp.ClientSession() as session:
            return await question(Api(session, shop.url, keys, pause=pauses or Pauses(shop)))

    return asyncio.run(ask())


def numbers(bodies: list[bytes]) -> list[int]:
    return [int(json.loads(body)["id"].rpartition("/")[2]) for body in bodies]


def ids(shop: Shopify, by: By = "date", after: datetime = LONG_AGO, pauses: Pauses | None = None) -> list[int]:
    async def read(api: Api) -> list[int]:
        return [number async for page in api.orders(by=by, after=after) for number in numbers(page.bodies)]

    found: list[int] = asked(shop, read, pauses)
    return found


def test_it_says_what_the_shop_is_and_how_far_back_its_orders_can_be_read(shop: Shopify) -> None:
    shop.place()
    about = asked(shop, lambda api: api.about())
    assert (about.title, about.currency, about.orders, about.days) == ("Bikes & more", "EUR", 1, None)
    assert about.time_zone == "Europe/Berlin"
    shop.scopes.remove("read_all_orders")
    assert asked(shop, lambda api: api.about()).days == 60
    shop.scopes.remove("read_customers")
    with pytest.raises(ShopRefuses, match="it has no read_customers"):
        asked(shop, lambda api: api.about())


def test_orders_come_in_the_order_of_their_time_whatever_their_number(shop: Shopify) -> None:
    placed = [shop.place(at=NOW - timedelta(minutes=7 * (i * 37 % 130))) for i in range(130)]
    by_time = [order.id for order in sorted(placed, key=lambda order: (order.created, order.id))]
    assert ids(shop) == by_time
    assert ids(shop, after=NOW - timedelta(minutes=14)) == by_time[-3:]
    assert shop.asked["token"] == 2  # one for each reading


def test_a_list_that_is_longer_than_shopify_pages_through_is_read_from_its_last_time(
    shop: Shopify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.connect.shopify.api.MOST_OF_A_LIST", 40)
    placed = {shop.place(at=NOW - timedelta(minutes=i // 60)).id for i in range(150)}
    assert set(ids(shop)) == placed


def test_a_list_that_shifts_while_it_is_read_loses_nothing(shop: Shopify) -> None:
    placed = [shop.place(at=NOW - timedelta(minutes=200 - i)) for i in range(200)]
    steps = iter(range(1, 100))

    def shift() -> None:
        for order in placed[:3]:
            shop.delete(order)
        for order in placed[3:6]:
            shop.change(order, at=NOW + timedelta(minutes=next(steps)))
        del placed[:6]

    shop.before_list = shift
    found = set(ids(shop, by="modified"))
    assert set(shop.orders) <= found


def test_an_order_loses_none_of_its_lines_and_agreements_however_many_there_are(shop: Shopify) -> None:
    order = shop.place(lines=130)
    for _ in range(11):
        shop.edit(order)
    assert len(order.agreements) > queries.AGREEMENTS
    (body,) = asked(shop, lambda api: api.named([str(order.id)]))
    found = json.loads(body)["agreements"]
    assert [each["id"].rpartition("/")[2] for each in found] == [str(each.id) for each in order.agreements]
    assert [len(each["sales"]) for each in found] == [len(each.sold) + len(each.back) for each in order.agreements]


def test_a_page_that_costs_too_much_is_asked_for_half_as_long(shop: Shopify) -> None:
    placed = {shop.place(at=NOW - timedelta(minutes=i)).id for i in range(40)}
    shop.order_cost = 150
    assert set(ids(shop)) == placed
    assert shop.asked["Orders"] == 2 + 7  # 25 and 12 at a time cost too much, 6 do not
    shop.order_cost = 2000
    with pytest.raises(ShopRefuses, match="refuses a request for a single order"):
        ids(shop)


def test_it_waits_for_points_and_goes_on(shop: Shopify) -> None:
    placed = {shop.place(at=NOW - timedelta(minutes=i)).id for i in range(90)}
    shop.points, pauses = 1000.0, Pauses(shop)
    assert set(ids(shop, pauses=pauses)) == placed
    assert shop.points >= 0
    assert sum(pauses.seconds) == pytest.approx((4 * 760 - 1000) / 100, abs=0.5)
    assert shop.asked["Orders"] == 4  # none was refused


def test_a_request_that_fails_is_tried_again(shop: Shopify) -> None:
    placed = {shop.place(at=NOW - timedelta(minutes=i)).id for i in range(60)}
    shop.faults = ["429", "500", "cut", "throttled", "internal"]
    pauses = Pauses(shop)
    assert set(ids(shop, pauses=pauses)) == placed
    assert pauses.seconds[:3] == [1.0, 2.0, 4.0]  # the first is what Retry-After said
    shop.faults = ["500"] * 6
    with pytest.raises(ShopAway, match=r"\(it answered 500\); tried 6 times"):
        ids(shop)


def test_a_token_that_is_taken_back_is_asked_for_again(shop: Shopify) -> None:
    async def read(api: Api) -> Any:
        await api.about()
        shop.tokens.clear()
        return await api.about()

    assert asked(shop, read).title == "Bikes & more"
    assert shop.asked["token"] == 2


def test_a_token_of_an_app_of_the_shops_own_is_used_as_it_is(shop: Shopify) -> None:
    shop.client_id = "shpat_" + "1" * 32
    shop.tokens.add(shop.client_id)
    assert asked(shop, lambda api: api.about()).title == "Bikes & more"
    assert shop.asked["token"] == 0
    shop.tokens.clear()
    with pytest.raises(ShopRefuses, match="denies the app access"):
        asked(shop, lambda api: api.about())


def test_wrong_credentials_say_what_to_do_and_are_in_no_message(shop: Shopify) -> None:
    with pytest.raises(ShopRefuses, match="does not accept the client ID and secret") as refused:
        asked(shop, lambda api: api.about(), secret="shpss_wrong")
    assert "shpss_wrong" not in str(refused.value)
    assert shop.client_id not in str(refused.value)


def test_a_plan_that_hides_addresses_hides_no_order(shop: Shopify) -> None:
    order = shop.place()
    shop.hides_addresses = True
    assert ids(shop) == [order.id]
    shop.scopes.remove("read_orders")
    with pytest.raises(ShopRefuses, match="needs the scope read_orders"):
        ids(shop)


def test_what_was_taken_back_is_read_of_an_order_and_nothing_of_one_that_is_gone(shop: Shopify) -> None:
    order = shop.place(lines=3)
    made = [shop.refund(order), shop.refund(order, whole=True)]
    found = asked(shop, lambda api: api.refunds(str(order.id)))
    wanted = [f"gid://shopify/SalesAgreement/{one.id}" for one in made if one]
    assert [json.loads(body)["id"] for body in found] == wanted
    shop.delete(order)
    assert asked(shop, lambda api: api.named([str(order.id)])) == [b'{"id": %d}' % order.id]
    assert asked(shop, lambda api: api.refunds(str(order.id))) == []


def test_webhooks_are_subscribed_to_once(shop: Shopify) -> None:
    for _ in range(2):
        asked(shop, lambda api: api.subscribe("https://hooks.example/hooks/shopify/bikes"))
    topics = {**TOPICS, **PRODUCT_TOPICS, **CUSTOMER_TOPICS, **STOCK_TOPICS}
    assert {hook["topic"]: hook["fields"] for hook in shop.hooks} == {topic: [name] for topic, name in topics.items()}
    assert len(shop.hooks) == len(topics)
    with pytest.raises(ShopRefuses, match="http:// is not supported"):
        asked(shop, lambda api: api.subscribe("http://hooks.example"))


def test_a_topic_that_lacks_is_subscribed_to_at_one_address_and_nowhere_else(shop: Shopify) -> None:
    for name in ("bikes", "e-bikes"):
        asked(shop, lambda api, to=f"https://hooks.example/hooks/shopify/{name}": api.subscribe(to))
    lost = next(iter(CUSTOMER_TOPICS))
    shop.hooks = [hook for hook in shop.hooks if hook["topic"] != lost]
    ours = "https://hooks.example/hooks/shopify/bikes"
    assert asked(shop, lambda api: api.subscribe(ours)) == [lost]
    assert asked(shop, lambda api: api.subscribe(ours)) == []
    assert [hook["uri"] for hook in shop.hooks if hook["topic"] == lost] == [
        "https://hooks.example/hooks/shopify/bikes"
    ]


def test_who_disconnects_a_shop_deletes_its_webhooks_and_nobody_elses(shop: Shopify) -> None:
    ours, staging = (f"https://{host}.example/hooks/shopify/bikes" for host in ("hooks", "staging"))
    for uri in (ours, staging):
        asked(shop, lambda api, to=uri: api.subscribe(to))
    number = len(shop.hooks) // 2
    assert asked(shop, lambda api: api.unsubscribe(staging)) == number
    assert {hook["uri"] for hook in shop.hooks} == {ours}
    assert asked(shop, lambda api: api.unsubscribe(staging)) == 0
    assert asked(shop, lambda api: api.unsubscribe(ours)) == number


@pytest.mark.parametrize(
    ("scopes", "topics"),
    [((), {}), (("read_products",), PRODUCT_TOPICS), (("read_products", "read_inventory"), PRODUCT_TOPICS)],
)
def test_an_app_subscribes_to_what_it_may_read(shop: Shopify, scopes: tuple[str, ...], topics: dict[str, str]) -> None:
    shop.scopes = ["read_orders", "read_customers", *scopes]
    asked(shop, lambda api: api.subscribe("https://hooks.example/hooks/shopify/bikes"))
    assert {hook["topic"] for hook in shop.hooks} == {*TOPICS, *CUSTOMER_TOPICS, *topics}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("bikes", "https://bikes.myshopify.com"),
        ("bikes.myshopify.com/", "https://bikes.myshopify.com"),
        ("https://bikes.myshopify.com/admin", "https://bikes.myshopify.com"),
        ("https://admin.shopify.com/store/bikes/orders", "https://bikes.myshopify.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_a_shops_address_is_known_by_each_of_its_names(text: str, url: str) -> None:
    assert address(text) == url


@pytest.mark.parametrize("text", ["https://www.bikes.example", "", ".myshopify.com", "https://admin.shopify.com/"])
def test_an_address_where_no_api_is_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"ends with \.myshopify\.com"):
        address(text)


def test_queries_are_whole() -> None:
    names = {name for name, value in vars(queries).items() if name.isupper() and isinstance(value, str)}
    for name in sorted(names - {"VERSION"}):
        if name.startswith("_"):
            continue
        text = getattr(queries, name)
        assert text.count("{") == text.count("}")
        used = {word.removeprefix("...") for word in text.split() if word.startswith("...") and len(word) > 3}
        assert used == {line.split()[1] for line in text.splitlines() if line.startswith("fragment")}
