"""A connected shop without a process of its own: the real intake, reader and receiver, in the test's event loop."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from producers.connect.agreement import Said, Sold
from producers.connect.connections import Connection, Credentials
from producers.connect.intake import Intake
from producers.connect.memory import FILE, Memory
from producers.connect.platforms import api_of
from producers.connect.reader import Reader
from producers.connect.receiver import Receiver
from producers.connect.resources import CUSTOMER_CHANGED, PRODUCT_OBSERVED, STOCK_MOVED
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.shop.occurrences import COST_STATED, FEE_CHARGED, ORDER_CANCELLED, ORDER_PLACED, ORDER_REFUNDED
from producers.sources import source
from producers.writer import Writer
from schemas import catalogue
from schemas.catalogue import Event
from schemas.registry import Registry
from tests.producers.sealed import unsealed
from tests.shops.serving import Day
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce

VOID = ("is_cancelled", "is_deleted", "is_withdrawn")
LETTERS = catalogue.event("ops.dead_letter")
EVENTS = (
    ORDER_PLACED,
    ORDER_REFUNDED,
    PRODUCT_OBSERVED,
    STOCK_MOVED,
    CUSTOMER_CHANGED,
    COST_STATED,
    FEE_CHARGED,
    ORDER_CANCELLED,
)


async def at_once(seconds: float) -> None:
    """A pause that does not last."""


def connection_of(shop: WooCommerce, name: str, since: datetime) -> Connection:
    credentials = Credentials(key=shop.consumer_key, secret=shop.consumer_secret, webhook_secret=shop.webhook_secret)
    return Connection(
        name=name, platform="woocommerce", url=shop.url, since=since, credentials=credentials, guest_key=b"g" * 32
    )


def shopify_connection(shop: Shopify, name: str, since: datetime) -> Connection:
    credentials = Credentials(key=shop.client_id, secret=shop.client_secret, webhook_secret=shop.client_secret)
    return Connection(
        name=name, platform="shopify", url=shop.url, since=since, credentials=credentials, guest_key=b"g" * 32
    )


def connected(shop: WooCommerce | Shopify, name: str) -> Connection:
    """A connection of either, since yesterday."""
    since = shop.now - timedelta(days=1)
    return shopify_connection(shop, name, since) if isinstance(shop, Shopify) else connection_of(shop, name, since)


@dataclass
class Followed:
    """A shop that is followed: what a test may ask of it."""

    shop: WooCommerce | Shopify
    connection: Connection
    writer: Writer[Intake]
    reader: Reader
    receiver: Receiver
    url: str
    session: aiohttp.ClientSession

    async def deliver(self, body: bytes, headers: dict[str, str] | None = None, to: str = "") -> int:
        """Post a webhook; the answer's status."""
        url = f"{self.url}/hooks/{self.connection.platform}/{to or self.connection.name}"
        async with self.session.post(url, data=io.BytesIO(body), headers=headers or self.shop.signed(body)) as response:
            return response.status

    async def take(self, body: bytes) -> None:
        """Take a delivery as the receiver does, without HTTP."""
        await self.writer.write(lambda intake: intake.take(self.connection, body))


@asynccontextmanager
async def following(
    publisher: Publisher,
    folder: Path,
    connection: Connection,
    shop: WooCommerce | Shopify,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Any]:
    """The parts of one connected shop, from here until it is left. The reader reads when the test says."""
    this = Run(
        source=source("connections"),
        options=Options(state=folder),
        publisher=publisher,
        stop=Stop(),
        log=structlog.get_logger(),
        clock=clock,
    )
    writer = Writer(lambda: Intake(this, Memory(folder / FILE)))
    writing = asyncio.create_task(writer.run())
    async with aiohttp.ClientSession() as session:
        api = api_of(connection, session, pause=at_once)
        reader = Reader(connection, api, writer, folder=folder, every_seconds=3600, log=this.log, clock=clock)
        receiver = Receiver(writer, lambda name: (connection, reader) if name == connection.name else None)
        server = web.AppRunner(receiver.application(), access_log=None, shutdown_timeout=0.2)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{server.addresses[0][1]}"
        try:
            yield Followed(shop, connection, writer, reader, receiver, url, session)
        finally:
            await server.cleanup()
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing


@pytest.fixture(scope="session")
def publisher(stack: Any) -> Publisher:
    made = Publisher(stack.kafka, Registry(stack.registry_url), client_id="test-connections", currency="EUR")
    made.open(EVENTS)
    return made


@pytest.fixture
def shop() -> Iterator[WooCommerce]:
    with WooCommerce().serving() as serving:
        yield serving


class Published:
    """What came onto the log of one shop since this was made."""

    def __init__(self, log_of: Callable[..., Any], name: str, folder: Path = Path()) -> None:
        self._folder = folder
        self._log = log_of(*EVENTS, LETTERS)
        self._name = name

    def orders(self) -> list[dict[str, Any]]:
        return [record for record in self._log.records(ORDER_PLACED.topic) if record["source"] == self._name]

    def refunds(self) -> list[dict[str, Any]]:
        return [record for record in self._log.records(ORDER_REFUNDED.topic) if record["source"] == self._name]

    def observations(self) -> list[dict[str, Any]]:
        """Each once, in the order of their time."""
        return self._once(PRODUCT_OBSERVED)

    def moves(self) -> list[dict[str, Any]]:
        """Each once, in the order of their time."""
        return self._once(STOCK_MOVED)

    def customers(self) -> list[dict[str, Any]]:
        """Each once, in the order of their time."""
        return self._once(CUSTOMER_CHANGED)

    def costs(self) -> list[dict[str, Any]]:
        """Each once, in the order of their time."""
        return self._once(COST_STATED)

    def fees(self) -> dict[int, int]:
        """What providers keep of an order in cents, by its number, as it stands."""
        found = standing(self._once(FEE_CHARGED))
        return {int(each["order_id"].rpartition("-")[2]): _cents(each["amount"]) for each in found}

    def cancelled(self) -> dict[int, datetime]:
        """Since when an order is cancelled, by its number."""
        found = standing(self._once(ORDER_CANCELLED))
        return {int(each["order_id"].rpartition("-")[2]): each["occurred_at"] for each in found}

    def _once(self, event: Event) -> list[dict[str, Any]]:
        records = {r["event_id"]: r for r in self._log.records(event.topic) if r["source"] == self._name}
        return sorted(records.values(), key=lambda record: record["occurred_at"])

    def times_by_partition(self, event: Event) -> dict[int, list[datetime]]:
        """When each partition's events were, in the order of the log."""
        found: dict[int, list[datetime]] = defaultdict(list)
        records = zip(self._log.messages(event.topic), self._log.records(event.topic), strict=True)
        for message, record in records:
            if record["source"] == self._name:
                found[message.partition()].append(record["occurred_at"])
        return found

    def letters(self) -> list[tuple[str, bytes]]:
        """Each dead letter's reason, and its bytes, unsealed."""
        found = []
        for message in self._log.messages(LETTERS.topic):
            headers = {name.removeprefix("__connect.errors."): value.decode() for name, value in message.headers()}
            if headers.get("shop") == self._name:
                letter = unsealed(self._folder, message)
                found.append((letter.headers["exception.message"], letter.original))
        return found


def standing(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each order's or refund's states the newest, without those that were taken back."""
    newest: dict[tuple[str, datetime], dict[str, Any]] = {}
    for record in sorted(states, key=lambda record: record["version"]):
        newest[_thing(record), record["occurred_at"]] = record
    return [
        record
        for record in newest.values()
        if not record.get("is_cancelled", record.get("is_deleted", record.get("is_withdrawn")))
    ]


def times_of_payment(orders: list[dict[str, Any]]) -> dict[str, datetime | None]:
    """By order that counts, when it was paid."""
    return {order["order_id"]: order["paid_at"] for order in standing(orders)}


def payments_in_refunds(refunds: list[dict[str, Any]]) -> dict[str, datetime | None]:
    """By order with refunds that count, when these say that it was paid: all the same."""
    found = {refund["order_id"]: refund["order_paid_at"] for refund in standing(refunds)}
    assert all(found[refund["order_id"]] == refund["order_paid_at"] for refund in standing(refunds))
    return found


def _thing(record: dict[str, Any]) -> str:
    return str(record.get("fee_id") or record.get("refund_id") or record["order_id"])


def sold_by_payment(record: Mapping[str, Any] | None, said: Said) -> Sold | None:
    """What a shop says is sold of an order, by payment: nothing of an unpaid one, else on the day of our event's."""
    assert said.unread == ""
    assert (said.sold is None) == (record is None or record["paid_at"] is None)
    if record and said.sold:
        assert said.sold.day == max(record["paid_at"], record["occurred_at"]).date()
        return said.sold
    return None


def days_of(orders: list[dict[str, Any]], refunds: list[dict[str, Any]]) -> dict[str, Day]:
    """The sums by day, UTC, of records as the log has them."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for record in standing(orders):
        day = sums[record["occurred_at"].strftime("%Y-%m-%d")]
        day["orders"] += 1
        day["shipping"] += _cents(record["shipping_amount"])
        day["tax"] += _cents(record["tax_amount"])
        for line in record["lines"]:
            day["units"] += line["quantity"]
            day["gross"] += _cents(line["quantity"] * line["unit_price"])
            day["discount"] += _cents(line["discount_amount"])
    for record in standing(refunds):
        day = sums[record["occurred_at"].strftime("%Y-%m-%d")]
        day["refunds"] += 1
        day["refunded"] += _cents(record["amount"])
    return {day: Day(**counts) for day, counts in sums.items()}


def _cents(amount: Decimal) -> int:
    return int(amount * 100)


def changed(body: bytes, **fields: Any) -> bytes:
    """An order's JSON with other values."""
    return json.dumps({**json.loads(body), **fields}).encode()
