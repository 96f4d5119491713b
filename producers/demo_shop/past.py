"""The history of the demo shop's pages: what a scraper that had read them all along would have published.

There is an observation when a product is first seen, whenever its price changed, and in the last hours. Pure: the same
times have the same observations with the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from producers.demo_shop.pages import Pages, product_path
from producers.demo_shop.shelf import Shelf
from producers.scraping.page import content_hash, parse_product
from producers.shop.assortment import Product, may_change_at, minute_of
from producers.shop.identifiers import event_id, tail_prefix
from producers.shop.seeded_random import mixed
from schemas.binary import EPOCH, since_epoch

ROUND_SECONDS: Final = 300
LAST_LOOK: Final = timedelta(hours=6)
ADDED: Final = frozenset({"occurred_at", "trace", "content_hash"})  # to what the page has

Record = dict[str, Any]


def observations(seed: int, currency: str, base: str, since: datetime, until: datetime, source: str) -> list[Record]:
    """Observations of all products from ``since`` to ``until``, by time. ``base`` is the shop's address."""
    shelf = Shelf(seed, lambda _product, _at: 1, currency)
    pages = Pages(shelf, base)
    found = [
        record
        for product in shelf.products
        for record in _of_one(shelf, _as_on_its_page(shelf, pages, base, product, since), product, since, until)
    ]
    found.sort(key=lambda record: (record["occurred_at"], record["product_id"]))
    return [record | {"source": source} for record in found]


def _as_on_its_page(shelf: Shelf, pages: Pages, base: str, product: Product, at: datetime) -> Record:
    """A product's page as the scraper would have read it. The number in stock is no longer known."""
    article = shelf.article(product, at)
    url = base + product_path(article)
    read = parse_product(pages.product(replace(article, stock=1), []), url, at)
    return {name: value for name, value in read.items() if name not in ADDED} | {"stock_quantity": None}


def _of_one(shelf: Shelf, page: Record, product: Product, since: datetime, until: datetime) -> Iterator[Record]:
    into_round = timedelta(seconds=mixed(product.price_seed, 6) % ROUND_SECONDS)
    last = max(since, until - LAST_LOOK)
    moves = may_change_at(product, minute_of(since), minute_of(until - into_round))
    times = sorted({since, last, *(EPOCH + timedelta(minutes=minute) + into_round for minute in moves)})
    before: tuple[Any, Any] | None = None
    for at in times:
        article = shelf.article(product, at)
        offer = (article.price, article.list_price)
        if offer != before or at == last:
            yield _observation(page, at, offer, before[0] if before else None)
            before = offer


def _observation(page: Record, at: datetime, offer: tuple[Any, Any], previous_price: Any) -> Record:
    read = page | {"price": offer[0], "list_price": offer[1]}
    at_ms = since_epoch(at)
    number = int(page["product_id"].removeprefix("P"))
    return {
        **read,
        "event_id": event_id(at_ms, tail_prefix(mixed(number, at_ms, 51)), 0),
        "occurred_at": EPOCH + timedelta(milliseconds=at_ms),
        "trace": None,
        "content_hash": content_hash(read),
        "previous_price": previous_price,
    }
