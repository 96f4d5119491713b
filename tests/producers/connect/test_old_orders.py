"""An app without the scope for old orders is told of them what it is told of deleted ones: none of them is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from producers.connect import rereads
from producers.connect.memory import FILE
from producers.connect.orders import missing_of
from producers.connect.rereads import Doubt
from tests.producers.connect.conftest import Published, following, shopify_connection, standing
from tests.producers.connect.kept import Kept
from tests.shops.shopify import Shopify
from tests.shops.shopify_orders import Order

DAY = timedelta(days=1)
NAME = "bikes"


@pytest.fixture
def shopify() -> Iterator[Shopify]:
    with Shopify(now=datetime.now(UTC).replace(microsecond=0) - 70 * DAY).serving() as serving:
        serving.scopes.remove("read_all_orders")
        yield serving


@pytest.fixture
def old(shopify: Shopify, tmp_path: Path) -> tuple[Order, Kept]:
    """An order with a refund that was read when it could be, 70 days ago; and the log."""
    log, order = Kept(), shopify.place(lines=2, is_test=False)
    shopify.refund(order)
    read(shopify, log, tmp_path)
    shopify.now += 70 * DAY
    return order, log


def read(shop: Shopify, log: Kept, folder: Path, then: Callable[[], object] = lambda: None) -> None:
    """Read the shop, and again after that."""

    async def run() -> None:
        connection = shopify_connection(shop, NAME, shop.now - 90 * DAY)
        async with following(log, folder, connection, shop, lambda: shop.now.timestamp()) as followed:
            await followed.reader.catch_up()
            then()
            await followed.reader.catch_up()

    asyncio.run(run())


def standing_orders(log: Kept, folder: Path) -> set[str]:
    published = Published(log.log_of, NAME, folder)
    assert {each["order_id"] for each in standing(published.refunds())} <= {
        each["order_id"] for each in standing(published.orders())
    }
    return {each["order_id"] for each in standing(published.orders())}


def test_an_update_that_reads_refunds_again_takes_no_old_order_back(
    shopify: Shopify, tmp_path: Path, old: tuple[Order, Kept]
) -> None:
    order, log = old
    with closing(sqlite3.connect(tmp_path / FILE)) as memory:
        memory.execute("alter table order_states drop column paid_ms")
        memory.commit()
    read(shopify, log, tmp_path)
    published = Published(log.log_of, NAME, tmp_path)
    assert standing_orders(log, tmp_path) == {f"{NAME}-{order.id}"}
    assert len(standing(published.refunds())) == 1
    assert published.letters() == []


@pytest.mark.parametrize(("wants_order", "wants_refunds"), [(True, True), (True, False), (False, True)])
def test_an_old_order_that_is_to_be_read_again_stays_as_it_was(
    wants_order: bool, wants_refunds: bool, shopify: Shopify, tmp_path: Path, old: tuple[Order, Kept]
) -> None:
    order, log = old
    number = rereads.ask(tmp_path, NAME, [Doubt(str(order.id), wants_order, wants_refunds)])
    read(shopify, log, tmp_path)
    assert rereads.read_until(tmp_path, NAME) == number
    published = Published(log.log_of, NAME, tmp_path)
    assert (len(published.orders()), len(published.refunds())) == (1, 1)
    shopify.scopes.append("read_all_orders")
    read(shopify, log, tmp_path)
    assert (len(published.orders()), len(published.refunds())) == (1, 1)


def test_a_recent_order_that_is_deleted_is_taken_back_without_the_scope_and_an_old_one_with_it(
    shopify: Shopify, tmp_path: Path, old: tuple[Order, Kept]
) -> None:
    order, log = old
    recent = shopify.place(lines=1, is_test=False, at=shopify.now - 50 * DAY)

    def delete() -> None:
        shopify.delete(recent)
        shopify.delete(order)
        rereads.ask(tmp_path, NAME, [Doubt(str(each.id), True, True) for each in (order, recent)])

    read(shopify, log, tmp_path, delete)
    assert standing_orders(log, tmp_path) == {f"{NAME}-{order.id}"}
    assert len(Published(log.log_of, NAME, tmp_path).orders()) == 3
    shopify.scopes.append("read_all_orders")
    rereads.ask(tmp_path, NAME, [Doubt(str(order.id), True, True)])
    read(shopify, log, tmp_path)
    assert standing_orders(log, tmp_path) == set()


def test_a_body_is_of_a_missing_order_only_when_it_says_nothing_else() -> None:
    assert missing_of(b'{"id": 7}') == ("7", None)
    assert missing_of(b'{"id": 7, "days": 60}') == ("7", 60)
    assert [missing_of(body) for body in (b"{", b"[7]", b"{}", b'{"days": 60}', b'{"id": 7, "total": "1"}')] == [
        None
    ] * 5
