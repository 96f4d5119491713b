"""Webhooks over real HTTP: what is answered, when it is on the log, and what is done with what nobody signed."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from producers.connect.hearing import is_signed
from producers.connect.receiver import MOST_BYTES
from producers.publisher import Publisher
from producers.shop.occurrences import ORDER_PLACED
from schemas.catalogue import Event
from schemas.kafka import Kafka
from tests.producers.connect.conftest import Published, connection_of, following
from tests.shops.woocommerce import WooCommerce

DAY = timedelta(days=1)
PING = b"webhook_id=7"


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:12]}"


def test_a_signature_is_of_the_bytes_and_the_secret() -> None:
    body, secret = b"what do ya want for nothing?", "Jefe"  # RFC 4231, test case 2
    said = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    right = base64.b64encode(said).decode()
    assert is_signed(body, right, secret)
    assert not is_signed(body, right, "jefe")
    assert not is_signed(body + b" ", right, secret)
    assert not is_signed(body, "", secret)
    assert not is_signed(body, "ü", secret)


def test_a_delivery_is_answered_when_it_is_on_the_log(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            order = shop.place()
            delivery = shop.delivery(order, "order.created")
            assert await followed.deliver(delivery.body, delivery.headers) == 202  # its history is not read yet
            assert published.orders() == []
            await followed.reader.catch_up()
            assert len(published.orders()) == 1
            another = shop.delivery(shop.place())
            assert await followed.deliver(another.body, another.headers) == 200
            assert len(published.orders()) == 2
            assert await followed.deliver(another.body, another.headers) == 200
            assert len(published.orders()) == 2

    asyncio.run(run())


def test_a_refund_is_read_as_soon_as_a_delivery_names_it(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        order = shop.place()
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            reading = asyncio.create_task(followed.reader.run())
            while not followed.reader.is_live:
                await asyncio.sleep(0.01)
            shop.refund(order)
            assert await followed.deliver(shop.delivery(order).body) == 200
            deadline = time.monotonic() + 20
            while not published.refunds():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            reading.cancel()

    asyncio.run(run())
    assert len(published.refunds()) == 1


def test_what_is_not_signed_is_counted_and_nothing_else(
    shop: WooCommerce, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            await followed.reader.catch_up()
            body, headers = shop.delivery(shop.place())[1:]
            right = {**headers}
            forged = {**headers, "X-WC-Webhook-Signature": "A" * 44}
            unsigned = {key: value for key, value in headers.items() if key != "X-WC-Webhook-Signature"}
            answers = [
                await followed.deliver(body, forged),
                await followed.deliver(body, unsigned),
                await followed.deliver(body + b" ", right),
                await followed.deliver(body, right, to="another-shop"),
                await followed.deliver(PING, unsigned, to="another-shop"),
            ]
            assert answers == [401] * 5
            assert followed.receiver.answers == {401: 5}
            assert await followed.deliver(PING, unsigned) == 200
            assert await followed.deliver(b"x" * (MOST_BYTES + 1), right) == 413
            coupon = b'{"id": 3, "code": "summer"}'
            assert await followed.deliver(coupon, shop.signed(coupon, "coupon.updated")) == 200
            async with followed.session.get(f"{followed.url}/health") as response:
                assert await response.json() == {"answers": {"200": 2, "401": 5, "413": 1}}

    asyncio.run(run())
    assert (published.orders(), published.letters()) == ([], [])


class Ids:
    """A registry that knows every contract."""

    def register(self, event: Event) -> int:
        return 1


def test_a_delivery_that_kafka_does_not_take_is_answered_within_a_second(shop: WooCommerce, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = Kafka(f"127.0.0.1:{nobody.getsockname()[1]}")
    publisher = Publisher(away, Ids(), client_id="test-away", settings={"log_level": 0})
    publisher.open((ORDER_PLACED,))

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, "bikes", shop.now - DAY), shop) as followed:
            followed.reader.is_live = True
            began = time.monotonic()
            bodies = [shop.delivery(shop.place()).body for _ in range(3)]
            answers = await asyncio.gather(*(followed.deliver(body) for body in bodies))
            assert answers == [503] * 3
            assert time.monotonic() - began < 1.5
            assert followed.receiver.answers == {503: 3}

    asyncio.run(run())
