"""Orders in any currencies: kept as charged, in the shop's to the cent; those without a rate wait and are mended."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

import aiohttp
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.connect.asking import Pause
from producers.connect.intake import Intake
from producers.connect.memory import FILE, Memory, progress
from producers.connect.platforms import api_of
from producers.connect.reader import Reader
from producers.publisher import Publisher
from producers.rates import book
from producers.rates.book import Known
from producers.rates.ecb import Rate
from producers.runner import Options, Run, Stop
from producers.sources import source
from producers.writer import Writer
from schemas.catalogue import Event
from schemas.codec import Encoder
from tests.producers.connect.conftest import connection_of, standing
from tests.shops.central_bank import CentralBank
from tests.shops.woocommerce import WooCommerce
from tests.shops.woocommerce_orders import Order

DAY = timedelta(days=1)
DECIMALS = {"EUR": 2, "USD": 2, "GBP": 2, "JPY": 0, "KRW": 0, "KWD": 3}


@dataclass
class Kept:
    """A publisher without a broker, which refuses what the contract refuses."""

    records: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    letters: list[str] = field(default_factory=list)

    def check(self, event: Event, record: Mapping[str, Any]) -> None:
        Encoder(event, 1, "EUR").encode(record)

    def publish(self, event: Event, record: Mapping[str, Any]) -> None:
        Encoder(event, 1, "EUR").encode(record)
        self.records[event.name].append(dict(record))

    def dead_letter(self, _event: Event, _value: bytes, *, error: Exception, **_known: object) -> None:
        self.letters.append(str(error))

    def flush(self, _deadline_seconds: float = 0) -> None:
        pass

    @property
    def orders(self) -> list[dict[str, Any]]:
        return standing(self.records["sales.order_placed"])

    @property
    def refunds(self) -> list[dict[str, Any]]:
        return standing(self.records["sales.order_refunded"])


async def at_once(_seconds: float) -> None:
    """A pause that does not last."""


def read(shop: WooCommerce, folder: Path, kept: Kept, *, rounds: int = 1, pause: Pause = at_once) -> None:
    """Catch up with the shop, so many times."""

    async def run() -> None:
        connection = connection_of(shop, "bikes", shop.now - 40 * DAY)
        this = Run(
            source=source("connections"),
            options=Options(state=folder),
            publisher=cast(Publisher, kept),
            stop=Stop(),
            log=structlog.get_logger(),
            clock=shop.now.timestamp,
        )
        writer = Writer(lambda: Intake(this, Memory(folder / FILE, "EUR")))
        writing = asyncio.create_task(writer.run())
        async with aiohttp.ClientSession() as session:
            api = api_of(connection, session, pause=at_once)
            reader = Reader(connection, api, writer, folder=folder, every_seconds=3600, log=this.log, pause=pause)
            for _ in range(rounds):
                await reader.catch_up()
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing

    with shop.serving():
        asyncio.run(run())


def publish_rates(folder: Path, bank: CentralBank, since: date, until: date) -> None:
    rates = [Rate(day, code, rate) for day, codes in bank.rates.items() for code, rate in codes.items()]
    book.add(folder, rates, Known(since, until))


def worth(order: Order, units: int, bank: CentralBank) -> Decimal:
    """An amount of an order in euros, in plain Python."""
    exact = Fraction(units, 10 ** DECIMALS[order.currency])
    if order.currency != "EUR":
        on = max(day for day in bank.rates if day < order.created.date())
        exact /= Fraction(bank.rates[on][order.currency])
    return Decimal(round(exact * 100)) / 100


def shop_of(seed: int, orders: int) -> tuple[WooCommerce, CentralBank]:
    shop, chance = WooCommerce(seed=seed), Random(seed)
    bank = CentralBank(shop.now.date() - 60 * DAY, shop.now.date() - DAY, seed=seed)
    for _ in range(orders):
        at = shop.now - timedelta(minutes=chance.randint(0, 30 * 24 * 60))
        order = shop.place(at=at, currency=chance.choice(list(DECIMALS)))
        if chance.random() < 0.3:
            shop.refund(
                order, at=min(shop.now, at + timedelta(hours=chance.randint(0, 99))), whole=chance.random() < 0.5
            )
    return shop, bank


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), orders=st.integers(1, 25))
def test_any_orders_in_any_currencies_come_to_what_plain_python_says(seed: int, orders: int) -> None:
    shop, bank = shop_of(seed, orders)
    kept = Kept()
    with TemporaryDirectory() as folder:
        publish_rates(Path(folder), bank, min(bank.rates), shop.now.date())
        read(shop, Path(folder), kept, rounds=2)
    assert kept.letters == []
    by_id = {record["order_id"]: record for record in kept.orders}
    assert by_id.keys() == {f"bikes-{order.id}" for order in shop.orders.values()}
    for order in shop.orders.values():
        record, digits = by_id[f"bikes-{order.id}"], DECIMALS[order.currency]
        assert record["currency"] == "EUR"
        assert record["total_amount"] == worth(order, order.total, bank)
        lines = sum(line["quantity"] * line["unit_price"] - line["discount_amount"] for line in record["lines"])
        assert lines + record["shipping_amount"] + record["tax_amount"] == record["total_amount"]
        assert sum(each["amount"] for each in record["discounts"]) == sum(
            line["discount_amount"] for line in record["lines"]
        )
        if order.currency == "EUR":
            assert record.get("charged_currency") is None
            continue
        on = max(day for day in bank.rates if day < order.created.date())
        assert (record["charged_currency"], record["charged_rate_source"]) == (order.currency, "ecb")
        assert (record["charged_rate"], record["charged_rate_on"]) == (bank.rates[on][order.currency], on)
        charged = [record[f"charged_{name}_amount"] for name in ("total", "shipping", "tax")]
        assert charged == [Decimal(units).scaleb(-digits) for units in (order.total, order.shipping, order.tax)]
    back = {record["refund_id"]: record for record in kept.refunds}
    for order in shop.orders.values():
        for refund in order.refunds:
            record = back[f"bikes-{refund.id}"]
            assert record["amount"] == worth(order, refund.amount, bank)  # by the order's rate
            if order.currency != "EUR":
                assert record["charged_amount"] == Decimal(refund.amount).scaleb(-DECIMALS[order.currency])
            if refund.amount == order.total:
                assert record["amount"] == by_id[f"bikes-{order.id}"]["total_amount"]


def test_an_order_without_a_known_rate_is_a_dead_letter_that_the_next_reading_mends(tmp_path: Path) -> None:
    shop, bank = shop_of(1, 0)
    euros, dollars = shop.place(at=shop.now - 2 * DAY), shop.place(at=shop.now - DAY, currency="USD")
    refund = shop.refund(dollars, whole=True)
    kept, pauses = Kept(), list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    read(shop, tmp_path, kept, rounds=2, pause=pause)
    assert [record["order_id"] for record in kept.orders] == [f"bikes-{euros.id}"]
    (letter,) = kept.letters
    assert f"the ECB's rates before {dollars.created.date()} are not known yet" in letter
    assert sum(pauses) == 60
    assert book.wanted(tmp_path) == dollars.created.date() - 7 * DAY
    assert progress(tmp_path, "bikes").refused == 1
    publish_rates(tmp_path, bank, min(bank.rates), shop.now.date())
    read(shop, tmp_path, kept)
    assert {record["order_id"] for record in kept.orders} == {f"bikes-{order.id}" for order in (euros, dollars)}
    (paid_back,) = kept.refunds
    assert paid_back["amount"] == worth(dollars, refund.amount, bank)
    assert len(kept.letters) == 1
    assert progress(tmp_path, "bikes").refused == 0


def test_a_history_waits_for_the_rates_of_its_orders_so_that_none_comes_late(tmp_path: Path) -> None:
    shop, bank = shop_of(2, 0)
    for hours in range(30, 0, -1):
        shop.place(at=shop.now - timedelta(hours=hours), currency="USD" if hours % 3 else "EUR")
    kept = Kept()

    async def pause(_seconds: float) -> None:
        if book.known(tmp_path) is None:
            publish_rates(tmp_path, bank, min(bank.rates), shop.now.date())

    read(shop, tmp_path, kept, pause=pause)
    times = [record["occurred_at"] for record in kept.records["sales.order_placed"]]
    assert (len(times), times, kept.letters) == (30, sorted(times), [])


def test_a_currency_of_which_nobody_publishes_a_rate_is_a_dead_letter_and_not_read_again(tmp_path: Path) -> None:
    shop, bank = shop_of(3, 0)
    shop.place(at=shop.now - DAY, currency="BHD")
    publish_rates(tmp_path, bank, min(bank.rates), shop.now.date())
    kept = Kept()
    read(shop, tmp_path, kept, rounds=2)
    assert kept.orders == []
    (letter,) = kept.letters
    assert "published no rate between them" in letter
