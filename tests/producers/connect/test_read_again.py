"""Orders that somebody wants read again are published as the shop has them now, and one that is gone is taken back."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from insights.agreement.compare import api_of
from insights.agreement.repair import doubts as doubts_of
from insights.letters.redrive import Servers, Wish, redrive
from insights.settings import Settings
from producers.connect import rereads
from producers.connect.agreement import Agreement, ShopSide, Sold, compared
from producers.connect.memory import FILE, Memory
from producers.connect.rereads import Doubt
from producers.connect.woocommerce import said_of
from producers.publisher import Publisher
from producers.redrive.event import Anybody
from reconciliation import dead_letters
from reconciliation.redrives import Redrive
from tests.producers.connect.conftest import Published, connection_of, days_of, following, standing
from tests.shops.woocommerce import WooCommerce
from tests.shops.woocommerce_orders import Order

DAY = timedelta(days=1)


def doubts(*orders: Any, order: bool = True, refunds: bool = True) -> list[Doubt]:
    return [Doubt(str(each.id), order, refunds) for each in orders]


def test_requests_are_read_in_their_order_and_tidied_away_when_they_are_done(tmp_path: Path) -> None:
    assert (rereads.asked(tmp_path, "bikes", 0), rereads.newest(tmp_path)) == ([], {})
    first = rereads.ask(tmp_path, "bikes", [Doubt("7", True, False), Doubt("8", False, True)])
    other = rereads.ask(tmp_path, "chains", [Doubt("7", True, True)])
    assert [each.doubt.order_id for each in rereads.asked(tmp_path, "bikes", 0)] == ["7", "8"]
    assert rereads.newest(tmp_path) == {"bikes": first, "chains": other}
    assert (rereads.waiting(tmp_path, "bikes"), rereads.waiting(tmp_path, "chains")) == (frozenset(), {"7"})
    memory = Memory(tmp_path / FILE)
    memory.note_read_again("bikes", first)
    assert rereads.read_until(tmp_path, "bikes") == 0  # nothing is sure before it is committed
    memory.commit()
    memory.close()
    assert (rereads.read_until(tmp_path, "bikes"), rereads.read_until(tmp_path, "chains")) == (first, 0)
    last = rereads.ask(tmp_path, "bikes", [Doubt("9", True, True)])
    assert [each.number for each in rereads.asked(tmp_path, "bikes", 0)] == [last]
    assert rereads.waiting(tmp_path, "bikes") == {"9"}
    assert last > other


def test_what_no_delivery_said_is_published_and_what_is_gone_is_taken_back(
    shop: WooCommerce, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    name = f"shop-{uuid.uuid4().hex[:12]}"
    edited, trashed, deleted, refunded, same, lost = (shop.place() for _ in range(6))
    shop.refund(same)
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        connection = connection_of(shop, name, shop.now - DAY)
        async with following(publisher, tmp_path, connection, shop) as followed:
            await followed.reader.catch_up()
            edited.fee += 100  # and nothing says that these were changed
            shop.trash(trashed)
            shop.delete(deleted)
            shop.refund(refunded)
            asked = doubts(edited, trashed, deleted) + doubts(refunded, order=False) + doubts(same, lost)
            number = rereads.ask(tmp_path, name, [*asked, Doubt("999999", True, True)])
            shop.faults = ["429", "500", "cut"]
            await followed.reader.read_again()
            assert rereads.read_until(tmp_path, name) == number
            await followed.reader.read_again()
            await followed.reader.catch_up()

    asyncio.run(run())
    orders, refunds = published.orders(), published.refunds()
    once = {record["event_id"]: record for record in refunds}
    assert days_of(orders, list(once.values())) == shop.days()
    gone = {f"{name}-{order.id}" for order in (trashed, deleted)}
    assert gone.isdisjoint(record["order_id"] for record in standing(orders))
    # One whose state was doubted has a new version, though it is the same; one whose refunds were has none.
    states = Counter(record["order_id"].removeprefix(f"{name}-") for record in orders)
    assert [states[str(order.id)] for order in (edited, trashed, deleted, refunded, same, lost)] == [2, 2, 2, 1, 2, 2]
    assert len({record["event_id"] for record in orders}) == len(orders)
    assert published.letters() == []


def test_an_order_over_which_the_shop_fails_each_time_holds_up_no_other_and_is_read_when_it_answers(
    shop: WooCommerce, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    name = f"shop-{uuid.uuid4().hex[:12]}"
    failing, well = shop.place(), shop.place()
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            await followed.reader.catch_up()
            for order in (failing, well):
                shop.refund(order)
            shop.failing = {failing.id}
            await followed.reader.catch_up()
            number = rereads.ask(tmp_path, name, doubts(failing, well))
            await followed.reader.read_again()
            assert rereads.read_until(tmp_path, name) == number
            asked = shop.asked[f"/wp-json/wc/v3/orders/{failing.id}/refunds"]
            await followed.reader.read_wanted()
            assert shop.asked[f"/wp-json/wc/v3/orders/{failing.id}/refunds"] == asked, "once until the next reading"
            assert {record["order_id"] for record in published.refunds()} == {f"{name}-{well.id}"}
            shop.failing = set()
            await followed.reader.catch_up()

    asyncio.run(run())
    once = {record["event_id"]: record for record in published.refunds()}
    assert days_of(published.orders(), list(once.values())) == shop.days()


def test_an_old_delivery_says_nothing_new_of_an_order_that_was_read_again_or_could_not_be(
    shop: WooCommerce, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    name = f"shop-{uuid.uuid4().hex[:12]}"
    order, edited = shop.place(), shop.place()
    published = Published(log_of, name, tmp_path)

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            old = [shop.delivery(each).body for each in (order, edited)]
            shop.now += timedelta(minutes=1)
            edited.fee += 100
            shop.change(edited)
            await followed.reader.catch_up()
            shop.delete(order)
            edited.spoilt = {"total": "much"}
            for _ in range(2):
                rereads.ask(tmp_path, name, doubts(order, edited))
                await followed.reader.read_again()
                for body in old:
                    await followed.take(body)

    asyncio.run(run())
    (stands,) = standing(published.orders())
    assert [line["unit_price"] for line in stands["lines"] if line["category"] == "fees"] == [Decimal(edited.fee) / 100]
    assert len(published.letters()) == 1


def test_a_thousand_disagreements_are_repaired_but_those_that_the_log_can_not_take(
    shop: WooCommerce, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    name, chance = f"shop-{uuid.uuid4().hex[:12]}", Random(11)
    placed = [shop.place(at=shop.now - timedelta(minutes=20 * n)) for n in range(1_500)]
    published = Published(log_of, name, tmp_path)
    connection = connection_of(shop, name, shop.now - 60 * DAY)
    lost: set[str] = set()  # events that came onto the log, and are in no table

    def tables() -> dict[str, Sold]:
        refunds = standing(published.refunds())
        kept = [record for record in published.orders() if record["event_id"] not in lost]
        return {
            record["order_id"].removeprefix(f"{name}-"): Sold(
                record["occurred_at"].date(),
                sum(each["quantity"] * each["unit_price"] - each["discount_amount"] for each in record["lines"]),
                record["shipping_amount"],
                record["tax_amount"],
                sum((r["amount"] for r in refunds if r["order_id"] == record["order_id"]), Decimal(0)),
            )
            for record in standing(kept)
        }

    async def both() -> Agreement:
        side = ShopSide(connection.since, "EUR")
        async with api_of(connection) as api:
            async for page in api.orders(by="date", after=connection.since):
                side.take(map(said_of, page.bodies))
        return compared(side, tables())

    async def run() -> tuple[Agreement, Agreement, Agreement]:
        async with following(publisher, tmp_path, connection, shop) as followed:
            await followed.reader.catch_up()
            first = await both()
            wrong = chance.sample(placed, 1_000)
            for n, order in enumerate(wrong):
                disagree(shop, order, n % 7)
            at = {f"{name}-{order.id}" for order in wrong[::7]}
            lost.update(record["event_id"] for record in published.orders() if record["order_id"] in at)
            before = await both()
            rereads.ask(tmp_path, name, doubts_of(before))
            await followed.reader.read_again()
            return first, before, await both()

    first, before, after = asyncio.run(run())
    assert (first.result, first.orders) == ("equal", 1_500)
    assert len(before.differences) == 1_000
    spoilt = {str(order.id) for order in shop.orders.values() if order.spoilt}
    assert {one.order_id for one in after.differences} == spoilt
    assert len(spoilt) == 142
    assert len(published.letters()) == 142


def disagree(shop: WooCommerce, order: Order, how: int) -> None:
    """Something happens of which no delivery arrives. The first kind is for the caller: its event is lost."""
    match how:
        case 1:
            order.fee += 100
        case 2:
            shop.refund(order)
        case 3:
            shop.trash(order)
        case 4:
            shop.delete(order)
        case 5:
            shop.change(order, status="cancelled")
        case 6:
            order.spoilt = {"line_items": []}
            order.fee += 100


def test_a_dead_letter_is_redriven_by_having_its_order_read_again_once_the_shop_has_it_right(
    shop: WooCommerce, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path, stack: Settings
) -> None:
    name = f"shop-{uuid.uuid4().hex[:12]}"
    wrong = shop.place(spoilt={"total": "much"})
    published, rows = Published(log_of, name, tmp_path), list[Redrive]()
    servers = Servers(
        publisher=publisher,
        persons=Anybody(),
        done={},
        note=rows.extend,
        ask=lambda of, doubted: rereads.ask(tmp_path, of, doubted),
        waiting=lambda of: rereads.waiting(tmp_path, of),
        shops=frozenset({name}),
        avro=lambda topic, value: None,
    )

    async def run() -> None:
        async with following(publisher, tmp_path, connection_of(shop, name, shop.now - DAY), shop) as followed:
            await followed.reader.catch_up()
            letters = dead_letters.every(stack.kafka, "sales.order_placed")
            wish = Wish(where=f"headers.shop == '{name}'", by="anna")
            (outcome,) = redrive(letters, wish, servers)
            assert outcome.what == "asked"
            assert published.orders() == []
            wrong.spoilt = {}
            await followed.reader.read_again()

    asyncio.run(run())
    assert [record["order_id"] for record in published.orders()] == [f"{name}-{wrong.id}"]
    assert [row.state for row in rows] == ["asked"]
