"""What an event's contract refuses is a dead letter, and holds up nothing else: the real intake and reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from producers.connect.intake import Intake
from producers.connect.resources import STOCK_MOVED
from producers.persons.keys import PersonKeys
from producers.shop.identifiers import envelope
from producers.shop.occurrences import FEE_CHARGED
from schemas.binary import since_epoch
from schemas.errors import PoisonEvent
from tests.producers.connect.conftest import Followed, Published, connected, following
from tests.producers.connect.kept import Kept
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce

HOUR = timedelta(hours=1)


class Following:
    """Follows a shop, of which ``published`` has what it comes to."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.kept = Kept(lambda: self.now)
        self.published = Published(self.kept.log_of, "bikes", folder)
        self._folder = folder

    def __call__(self, shop: WooCommerce | Shopify, *steps: Callable[[Followed], Awaitable[Any]]) -> None:
        """Take the steps, one after the other."""
        self.now = self.now or shop.now.timestamp()
        self.kept.poll()  # looks at the clock, which a test may have set back

        async def run() -> None:
            connection = connected(shop, "bikes")
            async with following(self.kept, self._folder, connection, shop, lambda: self.now) as followed:
                for step in steps:
                    await step(followed)

        asyncio.run(run())

    def letters_of(self, customer: str) -> int:
        """How many dead letters are somebody's."""
        with closing(PersonKeys(self._folder)) as keys:
            return len(keys.letters_of([customer]))


@pytest.fixture
def follow(tmp_path: Path) -> Following:
    return Following(tmp_path)


async def catch_up(followed: Followed) -> None:
    await followed.reader.catch_up()


def test_a_cancellation_ahead_of_the_clock_is_a_dead_letter_and_published_when_its_time_has_come(
    shop: WooCommerce, follow: Following
) -> None:
    ahead = shop.place(status="pending")
    shop.change(ahead, at=shop.now + 2 * HOUR, status="cancelled")
    good = shop.place()
    follow(shop, catch_up)
    follow.now += 60
    follow(shop, catch_up)
    published = follow.published
    ((reason, body),) = published.letters()
    assert "ahead of this machine's clock" in reason
    assert json.loads(body)["id"] == ahead.id
    assert published.cancelled() == {}
    assert [record["order_id"] for record in published.orders()] == [f"bikes-{good.id}"]
    follow.now += (3 * HOUR).total_seconds()
    shop.change(ahead, at=shop.now + 2 * HOUR)
    follow(shop, catch_up)
    assert published.cancelled() == {ahead.id: ahead.modified}


def test_a_change_ahead_of_the_clock_hides_no_other(shop: WooCommerce, follow: Following) -> None:
    shop.change(shop.place(), at=shop.now + timedelta(days=400))
    order = shop.place()
    follow(shop, catch_up, catch_up)
    follow.now += HOUR.total_seconds()
    shop.now += HOUR
    shop.change(order, status="cancelled")
    late = shop.place()
    follow(shop, catch_up)
    assert follow.published.cancelled().keys() == {order.id}
    assert f"bikes-{late.id}" in [record["order_id"] for record in follow.published.orders()]


def test_what_cannot_be_taken_back_stands_and_is_taken_back_when_the_clock_is_right(
    shop: WooCommerce, follow: Following
) -> None:
    order = shop.place()
    refund = shop.refund(order)
    follow(shop, catch_up)
    right = follow.now
    follow.now -= (3 * HOUR).total_seconds()
    shop.now += timedelta(minutes=1)
    shop.change(order, status="cancelled")
    follow(shop, catch_up)
    assert [record["is_cancelled"] for record in follow.published.orders()] == [None]
    assert [record["refund_id"] for record in follow.published.refunds()] == [f"bikes-{refund.id}"]
    follow.now = right
    follow(shop, catch_up)
    assert [record["is_cancelled"] for record in follow.published.orders()] == [None, True]
    assert [record["is_deleted"] for record in follow.published.refunds()] == [None, True]


def test_a_refund_that_is_refused_is_read_again_and_published_once_it_is_right(
    shop: WooCommerce, follow: Following
) -> None:
    order = shop.place()
    refund = shop.refund(order, at=shop.now + 2 * HOUR)
    follow(shop, catch_up)
    ((reason, body),) = follow.published.letters()
    assert "ahead of this machine's clock" in reason
    assert json.loads(body)["id"] == refund.id
    assert follow.published.refunds() == []
    follow.now += (2 * HOUR).total_seconds()
    follow(shop, catch_up)
    assert [record["refund_id"] for record in follow.published.refunds()] == [f"bikes-{refund.id}"]


def test_a_refused_fee_holds_up_no_other_fee_of_its_order(shop: WooCommerce, follow: Following) -> None:
    meta = [{"key": key, "value": "0.50"} for key in ("_stripe_fee", "_wcpay_transaction_fee")]
    order = shop.place(spoilt={"meta_data": meta})

    async def while_one_is_refused(followed: Followed) -> None:
        real = follow.kept.check

        def check(event: Any, record: dict[str, Any]) -> None:
            real(event, {**record, "amount": "much"} if record["provider"] == "stripe" else record)

        follow.kept.check = check  # type: ignore[method-assign]
        await followed.reader.catch_up()

    follow(shop, while_one_is_refused)
    assert follow.published.fees() == {order.id: 50}
    assert [json.loads(body)["id"] for _, body in follow.published.letters()] == [order.id]
    shop.now += timedelta(minutes=1)
    shop.change(order)
    follow(shop, catch_up)
    fee_ids = [record["fee_id"] for record in follow.kept.records(FEE_CHARGED.topic)]
    assert fee_ids == [f"bikes-{order.id}-{who}" for who in ("woopayments", "stripe")]


def test_the_letter_of_a_fee_is_its_customers_also_when_the_order_does_not_count(
    shop: WooCommerce, follow: Following
) -> None:
    shop.place(status="pending", spoilt={"customer_id": 4711, "meta_data": [{"key": "_stripe_fee", "value": "free"}]})
    follow(shop, catch_up)
    assert len(follow.published.letters()) == 1
    assert follow.letters_of("bikes-4711") == 1


@pytest.mark.parametrize(
    "meta",
    [
        [{"key": "_stripe_fee", "value": "1e999999"}],
        [{"key": "_stripe_fee", "value": {"of": "much"}}],
        ["_stripe_fee"],
        "none",
    ],
)
def test_a_woocommerce_fee_that_cannot_be_read_does_not_hold_up_its_order(
    meta: Any, shop: WooCommerce, follow: Following
) -> None:
    order = shop.place(spoilt={"meta_data": meta})
    follow(shop, catch_up)
    assert [record["order_id"] for record in follow.published.orders()] == [f"bikes-{order.id}"]
    assert follow.published.fees() == {}
    ((reason, body),) = follow.published.letters()
    assert reason.startswith("meta_data")
    assert json.loads(body)["id"] == order.id


@pytest.mark.parametrize(("meta", "fee"), [({"3": {"key": "_stripe_fee", "value": "0.59"}}, 59), (None, None)])
def test_what_php_makes_of_a_list_that_a_plugin_filtered_is_read(
    meta: Any, fee: int | None, shop: WooCommerce, follow: Following
) -> None:
    order = shop.place(spoilt={"meta_data": meta})
    follow(shop, catch_up)
    assert len(follow.published.orders()) == 1
    assert follow.published.fees() == ({order.id: fee} if fee else {})
    assert follow.published.letters() == []


@pytest.mark.parametrize(
    "fee",
    [
        {"id": "gid://shopify/TransactionFee/x", "amount": {"amount": "0.5", "currencyCode": "EUR"}},
        {"id": "gid://shopify/TransactionFee/7", "amount": None},
        {"id": "gid://shopify/TransactionFee/7", "amount": {"amount": "1e999999", "currencyCode": "EUR"}},
        "free",
    ],
)
def test_a_shopify_fee_that_cannot_be_read_holds_up_neither_its_order_nor_other_fees(
    fee: Any, follow: Following
) -> None:
    with Shopify().serving() as shop:
        order = shop.place(is_test=False, lines=2)
        good = {"id": "gid://shopify/TransactionFee/8", "amount": {"amount": "0.59", "currencyCode": "EUR"}}
        money = {"shopMoney": {"amount": "10.00", "currencyCode": "EUR"}}
        charge = {"kind": "SALE", "status": "SUCCESS", "processedAt": "2026-11-03T10:00:00Z"}
        order.spoilt = {"transactions": [{**charge, "amountSet": money, "fees": [fee, good]}]}
        follow(shop, catch_up)
    assert [record["order_id"] for record in follow.published.orders()] == [f"bikes-{order.id}"]
    assert follow.published.fees() == {order.id: 59}
    ((reason, _),) = follow.published.letters()
    assert reason.startswith("transactions[0].fees[0]")


@pytest.mark.parametrize(
    ("meta", "cost"),
    [
        ({"2": {"key": "_wc_cog_cost", "value": "7.50"}}, ["7.50"]),
        ([{"key": "_wc_cog_cost", "value": "1e999999"}], []),
        (None, []),
        ("none", []),
    ],
)
def test_a_cost_that_cannot_be_read_does_not_hold_up_its_product(
    meta: Any, cost: list[str], shop: WooCommerce, follow: Following
) -> None:
    product = shop.offer(variations=0)
    product.spoilt = {"cost_of_goods_sold": None, "meta_data": meta}
    follow(shop, catch_up)
    assert len(follow.published.observations()) == 1
    assert [str(record["unit_cost"]) for record in follow.published.costs()] == cost
    assert follow.published.letters() == []


@pytest.mark.parametrize("field", ["date_created_gmt", "date_modified_gmt", "date_paid_gmt"])
@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_time_of_a_year_that_there_is_not_is_a_dead_letter(
    field: str, time: str, shop: WooCommerce, follow: Following
) -> None:
    good, bad = shop.place(), shop.place()
    bad.spoilt = {"status": "cancelled", field: time}
    follow(shop, catch_up)
    assert [record["order_id"] for record in follow.published.orders()] == [f"bikes-{good.id}"]
    ((reason, _),) = follow.published.letters()
    assert reason.startswith(f"{field} is ")


def test_a_number_with_an_exponent_that_there_is_not_is_a_dead_letter(shop: WooCommerce, follow: Following) -> None:
    body = b'{"id": 7, "total": 1e9999999999999999999}'
    follow(shop, catch_up, lambda followed: followed.take(body))
    ((_, said),) = follow.published.letters()
    assert said == body


def test_a_stored_event_that_is_refused_by_now_is_a_dead_letter_and_those_after_it_are_published(
    shop: WooCommerce, follow: Following
) -> None:
    def store(intake: Intake) -> None:
        memory = intake.memory.resources
        intake.memory._begin()
        memory._database.execute("insert into unsent (value) values (?)", (b"\0\0\0\0\1\xff",))
        for at in (shop.now + 3 * HOUR, shop.now):
            record = {**envelope("bikes", f"stock:{at}", since_epoch(at)), "product_id": "BELL", "delta": 1}
            record |= {"reason": "adjustment", "warehouse": "bikes", "order_id": None}
            memory.keep("bikes", "products", "7", "[]", [(STOCK_MOVED, record)], is_gone=False)

    async def twice(followed: Followed) -> None:
        await followed.writer.write(store)
        await followed.writer.write(lambda intake: None)

    follow(shop, twice)
    assert [record["occurred_at"] for record in follow.published.moves()] == [shop.now]
    letters = follow.published.letters()
    assert "ahead of this machine's clock" in letters[0][0]
    assert json.loads(letters[0][1])["product_id"] == "BELL"
    unreadable = [each for each in follow.kept.messages("ops.dead_letter.v1") if b"schema 1" in str(each.said).encode()]
    assert len(unreadable) == 1


def test_one_answer_that_cannot_be_taken_holds_up_no_other(
    shop: WooCommerce, follow: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = shop.place(), shop.place()
    real = Intake._charge

    def charge(self: Intake, connection: Any, state: Any, body: bytes, **more: Any) -> None:
        if state.order_id == str(bad.id):
            raise PoisonEvent("nobody expected this")
        real(self, connection, state, body, **more)

    monkeypatch.setattr(Intake, "_charge", charge)
    follow(shop, catch_up)
    assert follow.published.fees().keys() == {good.id} & shop.fees().keys()
    ((reason, body),) = follow.published.letters()
    assert (reason, json.loads(body)["id"]) == ("nobody expected this", bad.id)
