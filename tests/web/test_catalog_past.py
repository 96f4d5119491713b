"""The past of the demo shop's pages, against the pages themselves."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from producers import runner
from producers.catalog import publish_past
from producers.demo_shop.pages import Pages, product_path
from producers.demo_shop.past import observations
from producers.demo_shop.shelf import Shelf, imagined_stock
from producers.runner import Options
from producers.scraping.memory import Memory
from producers.scraping.page import parse_product
from producers.sources import source
from schemas import catalogue
from schemas.codec import Encoder
from schemas.errors import Misconfigured
from tests.web.test_catalog_source import drain, scrape

SEED, BASE, LENGTH = 7, "http://127.0.0.1:19300", timedelta(days=8)
STOCK = {"stock_quantity", "availability", "content_hash", "occurred_at", "trace"}


def past(moment: Any, base: str = BASE) -> list[dict[str, Any]]:
    return observations(SEED, "EUR", base, moment() - LENGTH, moment(), "catalog")


def test_at_any_time_the_newest_observation_equals_the_page(moment: Any) -> None:
    shelf = Shelf(SEED, imagined_stock)
    pages, found, chance = Pages(shelf, BASE), past(moment), random.Random(1)
    for product in chance.sample(shelf.products, 12):
        own = [record for record in found if record["product_id"] == product.product_id]
        for _ in range(6):
            # A round is five minutes: before its end a change may not have been seen.
            at = moment() - chance.random() * LENGTH
            before = at - timedelta(minutes=5)
            article = shelf.article(product, at)
            if shelf.article(product, before).offer[:2] != article.offer[:2] or before < moment() - LENGTH:
                continue
            seen = max((r for r in own if r["occurred_at"] <= at), key=lambda r: r["occurred_at"])
            read = parse_product(pages.product(article, []), BASE + product_path(article), at)
            assert {n: v for n, v in read.items() if n not in STOCK} == {n: seen[n] for n in read if n not in STOCK}


def test_each_observation_fits_the_contract_and_knows_the_price_before_it(moment: Any) -> None:
    encode = Encoder(catalogue.event("catalog.product_observed"), 1).encode
    before: dict[str, Any] = {}
    found = past(moment)
    assert len({record["event_id"] for record in found}) == len(found) > 1000
    assert found == sorted(found, key=lambda record: (record["occurred_at"], record["product_id"]))
    for record in found:
        assert encode(record)
        assert record["previous_price"] == before.get(record["product_id"])
        before[record["product_id"]] = record["price"]
    assert len(before) == 300
    assert past(moment) == found


def test_a_round_after_the_past_goes_on_from_its_prices(shop: Any, moment: Any, memory: Memory) -> None:
    found = past(moment, shop.base)
    memory.published(found)
    last = {record["product_id"]: record["price"] for record in found}
    moment.advance(timedelta(hours=7))
    scrape(shop.base, memory, moment, r"/product/.*-p003\d/$")
    records = drain(memory)
    assert {record["product_id"]: record["previous_price"] for record in records} == {
        record["product_id"]: last[record["product_id"]] for record in records
    }
    assert any(record["price"] != record["previous_price"] for record in records)


def test_only_the_demo_shop_has_a_past(memory: Memory, tmp_path: Path) -> None:
    this = runner.Run(
        source=source("catalog"),
        options=Options(state=tmp_path),
        publisher=None,
        stop=None,
        log=None,  # type: ignore[arg-type]
    )
    with pytest.raises(Misconfigured, match="what the pages of https://shop.example said before now is not known"):
        publish_past(this, memory, "https://shop.example")
