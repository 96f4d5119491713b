"""What shops ask about persons: noted once, on disk, whatever state the reading is in, and by nobody who can't sign."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from insights.cli.main import app
from producers.persons.requests import answer, ask, close, requests
from producers.publisher import Publisher
from tests.producers.connect.conftest import Published, connected, following
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce

EMAIL = "perpetua@unmistakable.example"
PERSON = {"id": 17, "email": EMAIL, "phone": "0151 1234567"}


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("is_live", [True, False])
def test_shopifys_privacy_webhooks_are_noted_once_and_nothing_else_of_the_person_is_kept(
    is_live: bool, name: str, publisher: Publisher, log_of: Callable[..., Any], tmp_path: Path
) -> None:
    shop, published = Shopify(), Published(log_of, name, tmp_path)

    async def run() -> list[int]:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            if is_live:
                await followed.reader.catch_up()
            asked = [
                shop.compliance_delivery("customers/redact", customer=PERSON, orders_to_redact=[1, 2]),
                shop.compliance_delivery("customers/redact", customer={"email": EMAIL}, orders_to_redact=[5, 6]),
                shop.compliance_delivery("customers/data_request", customer=PERSON, data_request={"id": 9}),
                shop.compliance_delivery("shop/redact"),
            ]
            return [await followed.deliver(each.body, each.headers) for each in [*asked, *asked]]

    with shop.serving():
        assert asyncio.run(run()) == [200] * 8
    assert [(each.wish, each.who, each.said_by) for each in requests(tmp_path)] == [
        ("erase", f"{name}-17", "customers/redact"),
        ("erase", f"{name}-guest-of-5", "customers/redact"),
        ("erase", f"{name}-guest-of-6", "customers/redact"),
        ("export", f"{name}-17", "customers/data_request"),
        ("remove", name, "shop/redact"),
    ]
    assert published.letters() == []
    assert not any(EMAIL.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_request_that_nobody_signed_or_of_another_shop_is_not_noted(
    name: str, publisher: Publisher, tmp_path: Path
) -> None:
    shop = Shopify()

    async def run() -> list[int]:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            right = shop.compliance_delivery("customers/redact", customer=PERSON, orders_to_redact=[])
            forged = {**right.headers, "X-Shopify-Hmac-SHA256": "A" * 44}
            foreign = {**right.headers, "X-Shopify-Shop-Domain": "other.myshopify.com"}
            return [await followed.deliver(right.body, headers) for headers in (forged, foreign)]

    with shop.serving():
        assert asyncio.run(run()) == [401, 401]
    assert requests(tmp_path) == []


@pytest.mark.parametrize("platform", [Shopify, WooCommerce])
def test_a_customers_account_that_is_deleted_in_the_shop_is_listed(
    platform: type[Shopify] | type[WooCommerce], name: str, publisher: Publisher, tmp_path: Path
) -> None:
    shop = platform()
    customer = shop.register()

    async def run() -> int:
        async with following(publisher, tmp_path, connected(shop, name), shop) as followed:
            await followed.reader.catch_up()
            del shop.customers[customer.id]
            delivery = shop.customer_delivery(customer, "delete")
            return await followed.deliver(delivery.body, delivery.headers)

    with shop.serving():
        assert asyncio.run(run()) == 200
    assert [(each.wish, each.who) for each in requests(tmp_path)] == [("erase", f"{name}-{customer.id}")]


def test_a_request_is_answered_once_and_may_be_made_again(tmp_path: Path) -> None:
    assert requests(tmp_path) == []
    assert ask(tmp_path, "erase", "bikes-17", "customers/redact", 1)
    assert not ask(tmp_path, "erase", "bikes-17", "customers/redact", 2)
    assert ask(tmp_path, "export", "bikes-17", "customers/data_request", 3)
    assert answer(tmp_path, "erase", {"bikes-17", "again-1"}, 4) == 1
    assert answer(tmp_path, "erase", {"bikes-17"}, 5) == 0
    assert ask(tmp_path, "erase", "bikes-17", "customers/redact", 6)
    (first, export, second) = requests(tmp_path)
    assert (first.answered_ms, export.answered_ms, second.answered_ms) == (4, None, None)
    assert [close(tmp_path, export.number, at_ms) for at_ms in (7, 8)] == [True, False]
    assert not close(tmp_path, 99, 8)


def test_the_command_lists_what_answers_each_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path))
    folder = tmp_path / "producers"
    folder.mkdir()

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["privacy", "requests", *words])

    assert "was asked anything about a person" in run().stdout
    at_ms = int(timedelta(days=20_000).total_seconds() * 1000)
    ask(folder, "erase", "bikes-17", "customers/redact", at_ms)
    ask(folder, "export", "bikes-18", "customers/data_request", at_ms)
    ask(folder, "remove", "bikes", "shop/redact", at_ms)
    said = run().stdout
    assert "insights privacy erase bikes-17" in said
    assert "insights privacy export bikes-18" in said
    assert "insights connect remove bikes" in said
    assert "2024-10-04 00:00" in said
    number = str(requests(folder)[1].number)
    assert run("--close", number).stdout.strip() == f"Request {number} is answered."
    assert "export bikes-18: answered" in run().stdout
    refused = run("--close", number)
    assert (refused.exit_code, f"there is no open request {number}" in " ".join(refused.stderr.split())) == (1, True)
