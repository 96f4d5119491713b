"""What a product page says, as a record of the contract ``catalog.product_observed``. Pure.

JSON-LD (schema.org's Product, Offer, BreadcrumbList) first, since it is made to be read by machines; the profile's
selectors for what it lacks. https://schema.org/Product, https://developers.google.com/search/docs/appearance/structured-data/product
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

from producers.scraping.price import parse_price
from producers.scraping.profiles import WOOCOMMERCE, Profile
from schemas.binary import UNSTORABLE
from schemas.errors import PoisonEvent

Record = dict[str, Any]
AVAILABILITY: Final = {
    "instock": "in_stock",
    "instoreonly": "in_stock",
    "onlineonly": "in_stock",
    "limitedavailability": "in_stock",
    "outofstock": "out_of_stock",
    "soldout": "out_of_stock",
    "preorder": "preorder",
    "presale": "preorder",
    "backorder": "preorder",
    "discontinued": "discontinued",
}
LONGEST_DESCRIPTION: Final = 20_000


class UnreadablePage(PoisonEvent):
    """A page that names no product, or leaves out what every product has. The text says which page and what."""


def _unreadable(url: str, problem: str) -> UnreadablePage:
    return UnreadablePage(f"{url}: {problem}; check the page profile against the page")


def parse_product(html: str, url: str, seen_at: datetime, profile: Profile = WOOCOMMERCE) -> Record:
    """All fields of the contract that the page itself tells.

    The scraper adds ``event_id``, ``source`` and ``previous_price``. ``seen_at`` becomes ``occurred_at``. Raises
    UnreadablePage when there is no id, name, price or currency.
    """
    page = _Page(html, url, profile)
    price, currency = page.price()
    record: Record = {
        "shop": urlsplit(url).netloc,
        "product_id": page.needed("product id", page.product_id()),
        "sku": page.linked("sku") or page.text(profile.sku),
        "name": page.needed("name", page.linked("name") or page.text(profile.name_of)),
        "brand": page.linked("brand") or page.text(profile.brand),
        "category_path": page.category_path(),
        "price": price,
        "list_price": page.list_price(price),
        "currency": page.needed("currency", currency),
        "availability": page.availability(),
        "stock_quantity": page.stock_quantity(),
        "image_urls": page.image_urls(),
        "description": page.description()[:LONGEST_DESCRIPTION],
        "specs": page.specs(),
        "url": page.canonical(),
    }
    record = {name: _storable(value) for name, value in record.items()}
    return record | {"occurred_at": seen_at, "trace": None, "content_hash": content_hash(record)}


def _storable(value: Any) -> Any:
    """The value with U+FFFD for what no text of an event may have; JSON-LD can spell it."""
    match value:
        case str():
            return UNSTORABLE.sub("\ufffd", value)
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(name): _storable(item) for name, item in value.items()}
    return value


def content_hash(record: Mapping[str, Any]) -> str:
    """SHA-256 of what was read, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()


class _Page:
    """One parsed page and the answers it gives."""

    def __init__(self, html: str, url: str, profile: Profile) -> None:
        self._soup = BeautifulSoup(html, "html.parser")
        self._url = url
        self._profile = profile
        things = list(self._linked_data())
        self._product = _first_of(things, "Product") or {}
        self._crumbs = _first_of(things, "BreadcrumbList") or {}
        self._offer = _offer(self._product)

    def _linked_data(self) -> Iterator[dict[str, Any]]:
        for script in self._soup.find_all("script", type="application/ld+json"):
            try:
                # Real shops put line breaks into strings: not strict.
                yield from _things(json.loads(script.get_text(), strict=False))
            except ValueError:
                continue  # a broken block hides nothing of the others, nor of the page itself

    def needed(self, what: str, value: str | None) -> str:
        """``value``, or UnreadablePage when the page does not tell it."""
        if not value:
            raise _unreadable(self._url, f"the page tells no {what}")
        return value

    def linked(self, name: str) -> str | None:
        """A text of the JSON-LD product; of a thing with a name, its name."""
        value = self._product.get(name)
        if isinstance(value, dict):
            value = value.get("name")
        return _clean(str(value)) or None if isinstance(value, str | int | float) else None

    def text(self, selector: str) -> str | None:
        """Text of the first element that fits, without surplus white space."""
        found = self._soup.select_one(selector)
        return (_clean(found.get_text(" ")) or None) if found else None

    def product_id(self) -> str | None:
        """The shop's own id: JSON-LD's productID, the page's form, and only then the SKU."""
        if told := self.linked("productID"):
            return told
        for selector in self._profile.product_id:
            if found := self._soup.select_one(selector):
                value = found.get("value") or str(found.get("id")).removeprefix("product-")
                return str(value)
        return self.linked("sku") or self.text(self._profile.sku)

    def price(self) -> tuple[Decimal, str | None]:
        """Asking price and currency. Raises UnreadablePage when neither JSON-LD nor the page has one."""
        told = _price_of(self._offer)
        try:
            if told is not None:
                return parse_price(told)[0], self._offer_currency()
            amount, currency = parse_price(self.needed("price", self.text(self._profile.price)))
        except ValueError as error:
            raise _unreadable(self._url, f"the price can't be read: {error}") from error
        return amount, self._offer_currency() or currency

    def _offer_currency(self) -> str | None:
        told = self._offer.get("priceCurrency") or _specification(self._offer).get("priceCurrency")
        return str(told) if told else None

    def list_price(self, price: Decimal) -> Decimal | None:
        """The struck-out price, when it is above the asking price."""
        text = self.text(self._profile.list_price)
        try:
            listed = parse_price(text)[0] if text else None
        except ValueError:
            return None
        return listed if listed is not None and listed > price else None

    def category_path(self) -> list[str]:
        """From the widest to the narrowest, without the shop's front page and the product itself."""
        items = [i for i in _listed(self._crumbs.get("itemListElement")) if isinstance(i, dict)]
        items.sort(key=lambda item: int(item.get("position", 0)))
        names = [_crumb_name(item) for item in items][1:-1]
        if not names:
            names = [_clean(a.get_text(" ")) for a in self._soup.select(self._profile.breadcrumbs)][1:]
        return [name for name in names if name]

    def availability(self) -> str:
        """A symbol of the contract's enum."""
        told = str(self._offer.get("availability", "")).rsplit("/", 1)[-1].lower()
        if told in AVAILABILITY:
            return AVAILABILITY[told]
        stock = self._soup.select_one(self._profile.stock)
        classes = stock.get_attribute_list("class") if stock else []
        return "out_of_stock" if "out-of-stock" in classes else "in_stock" if "in-stock" in classes else "unknown"

    def stock_quantity(self) -> int | None:
        """Units, when the page gives a number; 0 when it says there is none."""
        text = self.text(self._profile.stock) or ""
        if number := re.search(r"\d[\d.,]*", text):
            return int(re.sub(r"\D", "", number[0]))
        return 0 if self.availability() == "out_of_stock" else None

    def image_urls(self) -> list[str]:
        """Absolute addresses, the main one first, each once."""
        told = [i.get("url") if isinstance(i, dict) else i for i in _listed(self._product.get("image"))]
        shown = [str(a["href"]) for a in self._soup.select(self._profile.images)]
        return list(dict.fromkeys(urljoin(self._url, str(url)) for url in [*told, *shown] if url))

    def description(self) -> str:
        """Plain text."""
        told = self.linked("description")
        return _clean(BeautifulSoup(told, "html.parser").get_text(" ")) if told else self._described()

    def _described(self) -> str:
        return self.text(self._profile.description) or ""

    def specs(self) -> dict[str, str]:
        """The specification table, then JSON-LD's additional properties that it lacks."""
        found: dict[str, str] = {}
        for row in self._soup.select(self._profile.specs_rows):
            name, value = row.find("th"), row.find("td")
            if isinstance(name, Tag) and isinstance(value, Tag):
                found[_clean(name.get_text(" "))] = _clean(value.get_text(" "))
        for extra in _listed(self._product.get("additionalProperty")):
            if isinstance(extra, dict) and extra.get("name"):
                found.setdefault(_clean(str(extra["name"])), _clean(str(extra.get("value", ""))))
        return {name: value for name, value in found.items() if name}

    def canonical(self) -> str:
        """The page's canonical address when it is on the same host, else the one it was read at."""
        link = self._soup.select_one("link[rel=canonical][href]")
        told = urljoin(self._url, str(link["href"])) if link else self._url
        return told if urlsplit(told).netloc == urlsplit(self._url).netloc else self._url


def _clean(text: str) -> str:
    return " ".join(text.split())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _things(document: Any) -> Iterator[dict[str, Any]]:
    for thing in _listed(document):
        if isinstance(thing, dict):
            yield thing
            yield from _things(thing.get("@graph"))


def _first_of(things: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return next((thing for thing in things if kind in _listed(thing.get("@type"))), None)


def _offer(product: Mapping[str, Any]) -> dict[str, Any]:
    offers = [offer for offer in _listed(product.get("offers")) if isinstance(offer, dict)]
    return offers[0] if offers else {}


def _specification(offer: Mapping[str, Any]) -> dict[str, Any]:
    found = [s for s in _listed(offer.get("priceSpecification")) if isinstance(s, dict)]
    return found[0] if found else {}


def _price_of(offer: Mapping[str, Any]) -> str | None:
    told = offer.get("price", offer.get("lowPrice", _specification(offer).get("price")))
    return None if told in (None, "") else str(told)


def _crumb_name(item: Mapping[str, Any]) -> str:
    inner = item.get("item")
    name = item.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return _clean(str(name or ""))
