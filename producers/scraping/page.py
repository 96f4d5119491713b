"""A product page as a record of the contract ``catalog.product_observed``. Pure.

Structured data (schema.org's Product, Offer, BreadcrumbList) first, since it is made to be read by machines: JSON-LD,
then microdata, then OpenGraph, then the data from which a script draws the page. The profile's selectors for what it
lacks. https://schema.org/Product, https://developers.google.com/search/docs/appearance/structured-data/product
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.exceptions import ParserRejectedMarkup

from producers.scraping.embedded import next_data, woocommerce_variations
from producers.scraping.offers import Variant, offered, together, variants_of, with_currency
from producers.scraping.price import parse_price
from producers.scraping.profiles import WOOCOMMERCE, Profile
from producers.scraping.structured import Structured, Thing, joined, listed
from schemas.binary import UNSTORABLE
from schemas.errors import PoisonEvent

Record = dict[str, Any]
LONGEST_DESCRIPTION: Final = 20_000
# What is nested without end takes the parser a time that grows with its square.
MOST_TAGS: Final = 60_000
MOST_DECLARATIONS: Final = 5_000
MOST_UNCLOSED: Final = 1_000
LONGEST_REASON: Final = 2_000
PRODUCTS: Final = frozenset(
    {"Product", "ProductGroup", "IndividualProduct", "ProductModel", "SomeProducts", "Book", "Car"}
)
MOST_UNITS: Final = 2**31 - 1


class UnreadablePage(PoisonEvent):
    """A page without a product, or without what every product has. The message names the page and what is missing.

    ``lacks`` is the field that can't be read, for example ``price``.
    """

    def __init__(self, problem: str, lacks: str = "product") -> None:
        super().__init__(problem)
        self.lacks = lacks


class OtherPage(Exception):
    """A page that says of itself that it is no product's: a category, a text. The message says by what."""


def unreadable(url: str, problem: str, lacks: str = "product") -> UnreadablePage:
    """The error for a page at ``url``, its text cut to LONGEST_REASON."""
    return UnreadablePage(f"{url}: {problem}"[:LONGEST_REASON], lacks)


def parse_product(html: str, url: str, seen_at: datetime, profile: Profile = WOOCOMMERCE) -> Record:
    """All fields of the contract that are on the page.

    The scraper adds ``event_id``, ``source`` and ``previous_price``. ``seen_at`` becomes ``occurred_at``. Raises
    UnreadablePage when there is no id, name, price or currency, or one that can't be read, OtherPage when the page is
    no product's by its own account, and nothing else.
    """
    refuse_slow(html, url)
    try:
        record = {name: _storable(value) for name, value in _read(html, url, profile).items()}
    except RecursionError as error:
        raise unreadable(url, "the page is nested too deep to be read") from error
    except ParserRejectedMarkup as error:
        raise unreadable(url, f"the page is no HTML that can be read: {str(error).splitlines()[-1].strip()}") from error
    return record | {"occurred_at": seen_at, "trace": None, "content_hash": content_hash(record)}


def refuse_slow(html: str, url: str) -> None:
    """Raises UnreadablePage for what would take the parser minutes."""
    if html.count("<") > MOST_TAGS or html.count("<!") > MOST_DECLARATIONS:
        raise unreadable(url, f"the page has more than {MOST_TAGS:,} tags, or {MOST_DECLARATIONS:,} comments")
    if max(part.count("<") for part in html.split(">")) > MOST_UNCLOSED:
        raise unreadable(url, f"the page has more than {MOST_UNCLOSED:,} tags that are not closed")


def _read(html: str, url: str, profile: Profile) -> Record:
    page = _Page(html, url, profile)
    page.refuse_other()
    one, variants = page.offer()
    return {
        "shop": urlsplit(url).netloc,
        "product_id": page.needed("product id", page.product_id()),
        "sku": page.linked("sku") or page.text(profile.sku),
        "name": page.needed("name", page.linked("name") or page.text(profile.name_of)),
        "brand": page.linked("brand") or page.text(profile.brand),
        "category_path": page.category_path(),
        "price": one.price,
        "list_price": one.list_price,
        "currency": page.needed("currency", one.currency),
        "availability": one.availability,
        "stock_quantity": page.stock_quantity(one.availability),
        "image_urls": page.image_urls(),
        "description": page.description()[:LONGEST_DESCRIPTION],
        "specs": page.specs(),
        "url": page.canonical(),
        "variants": [asdict(v) for v in variants] if len(variants) > 1 else None,
    }


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
        self._data = Structured(self._soup, url)
        self._url = url
        self._profile = profile
        html_tag = self._soup.select_one("html[lang]")
        self._locale = str(html_tag["lang"]).strip() if html_tag else ""
        layers = (self._data.json_ld, self._data.microdata, self._data.open_graph, next_data(self._soup))
        self._products = [found for layer in layers if (found := self._own(layer))]
        crumbs = [t for t in (*layers[0], *layers[1]) if "BreadcrumbList" in t["@type"]]
        self._crumbs: Thing = crumbs[0] if crumbs else {}

    def needed(self, what: str, value: str | None) -> str:
        """``value``, or UnreadablePage when it is not on the page."""
        if not value:
            raise self._lacks(f"the page has no {what}", what)
        return value

    def _lacks(self, problem: str, field: str) -> UnreadablePage:
        hint = f"check the page against the profile {self._profile.name}"
        return unreadable(self._url, f"{problem}; {self._data.summary()}; {hint}", field)

    def refuse_other(self) -> None:
        """Raises OtherPage when the page says that it is no product's: it may list products, and have prices."""
        if found := self._soup.select_one(self._profile.other_page):
            mark = f"{found.name} {found.get('id') or ''} {' '.join(found.get_attribute_list('class')[:6])}"
            raise OtherPage(f"{self._url}: is no product's page by its <{_clean(mark)[:200]}>")

    def _own(self, things: list[Thing]) -> Thing | None:
        """The page's own product among all that it mentions: by address, else by the page's heading."""
        products = [t for t in things if PRODUCTS.intersection(t["@type"])]
        if here := [t for t in products if self._is_here(t)]:
            return together(here)
        titled = (t for t in products if self._titles(t))
        rest = (t for t in products if not self._names_a_page(t))
        return next(titled, None) or next(rest, None)

    # Called for each product on the page, and a list may have thousands.
    @cached_property
    def _heading(self) -> str:
        return (self.text(self._profile.name_of) or self.text("h1") or "").casefold()

    @cached_property
    def _addresses(self) -> set[str]:
        return {_last_part(self._url), _last_part(self.canonical())} - {""}

    def _is_here(self, product: Thing) -> bool:
        main = product.get("mainEntityOfPage")
        given = (product.get("url"), product.get("@id"), main.get("@id") if isinstance(main, dict) else main)
        return any(isinstance(t, str) and _last_part(joined(self._url, t) or "") in self._addresses for t in given)

    def _names_a_page(self, product: Thing) -> bool:
        given = product.get("url")
        return isinstance(given, str) and bool(_last_part(joined(self._url, given) or ""))

    def _titles(self, product: Thing) -> bool:
        name = product.get("name")
        return isinstance(name, str) and self._heading != "" and _clean(name).casefold() == self._heading

    def linked(self, name: str) -> str | None:
        """A text of the structured product; of a thing with a name, its name."""
        for product in self._products:
            for value in listed(self._data.resolved(product.get(name))):
                value = value.get("name") if isinstance(value, dict) else value
                if isinstance(value, str | int | float | Decimal) and (text := _clean(str(value))):
                    return text
        return None

    def text(self, selector: str) -> str | None:
        """Text of the first element that fits, without surplus white space; of a picture, what stands for it."""
        return _shown_text(self._soup.select_one(selector))

    def product_id(self) -> str | None:
        """The shop's own id: productID, the page's form, the group's id, the SKU; else the end of its address."""
        if given := self.linked("productID"):
            return given
        for selector in self._profile.product_id:
            if found := self._soup.select_one(selector):
                value = found.get("value") or found.get("data-product-id")
                return str(value or str(found.get("id")).removeprefix("product-"))
        given = self.linked("productGroupID") or self.linked("sku") or self.text(self._profile.sku)
        return given or _last_part(self.canonical())

    def offer(self) -> tuple[Variant, list[Variant]]:
        """What the product is sold from, and all its variants. Raises UnreadablePage when there is no price to read."""
        try:
            chosen = woocommerce_variations(self._soup)
            for product in [chosen, *self._products] if chosen else self._products:
                variants = variants_of(product, self._data, self._locale)
                if one := offered(variants):
                    return self._completed(one), with_currency(variants, one.currency or self._shown_currency())
            return self._shown(), []
        except ValueError as error:
            raise self._lacks(f"the price can't be read: {error}", "price") from error

    def _completed(self, given: Variant) -> Variant:
        """With what the page shows and the offer leaves out."""
        before = self._struck_out()
        return Variant(
            sku=given.sku,
            name=given.name,
            price=given.price,
            list_price=given.list_price
            or (before if before and given.price is not None and before > given.price else None),
            currency=given.currency or self._shown_currency(),
            availability=self._shown_availability() if given.availability == "unknown" else given.availability,
            url=given.url,
        )

    def _shown(self) -> Variant:
        price, currency = parse_price(self.needed("price", self.text(self._profile.price)), self._locale)
        shown = Variant(
            sku=None, name=None, price=price, list_price=None, currency=currency, availability="unknown", url=None
        )
        return self._completed(shown)

    def _shown_currency(self) -> str | None:
        try:
            return parse_price(self.text(self._profile.price) or "", self._locale)[1]
        except ValueError:
            return None

    def _struck_out(self) -> Decimal | None:
        text = self.text(self._profile.list_price)
        try:
            return parse_price(text, self._locale)[0] if text else None
        except ValueError:
            return None

    def _shown_availability(self) -> str:
        if self._soup.select_one(self._profile.out_of_stock):
            return "out_of_stock"
        return "in_stock" if self._soup.select_one(self._profile.in_stock) else "unknown"

    def category_path(self) -> list[str]:
        """From the widest to the narrowest, without the shop's front page and the product itself."""
        items = [i for i in listed(self._crumbs.get("itemListElement")) if isinstance(i, dict)]
        names = [_crumb_name(item) for item in sorted(items, key=_position)][1:-1]
        if not names:
            names = [_clean(a.get_text(" ")) for a in self._soup.select(self._profile.breadcrumbs)][1:]
        return [name for name in names if name]

    def stock_quantity(self, availability: str) -> int | None:
        """Units, when the page gives a number that can be one; 0 when it is marked as sold out."""
        text = self.text(self._profile.stock) or ""
        if number := re.search(r"[0-9][0-9.,]{0,12}", text):
            units = int(re.sub(r"[.,]", "", number[0]))
            return units if units <= MOST_UNITS else None
        return 0 if availability == "out_of_stock" else None

    def image_urls(self) -> list[str]:
        """Absolute addresses, the main one first, each once."""
        images = [image for product in self._products[:1] for image in listed(product.get("image"))]
        given = [i.get("url") if isinstance(i, dict) else i for i in map(self._data.resolved, images)]
        shown = [str(tag.get("href") or tag.get("src") or "") for tag in self._soup.select(self._profile.images)]
        found = (joined(self._url, url) for url in [*given, *shown] if isinstance(url, str) and url)
        return list(dict.fromkeys(url for url in found if url))

    def description(self) -> str:
        """Plain text."""
        given = self.linked("description")
        return _clean(BeautifulSoup(given, "html.parser").get_text(" ")) if given else self._described()

    def _described(self) -> str:
        return self.text(self._profile.description) or ""

    def specs(self) -> dict[str, str]:
        """The specification table, then the structured product's additional properties that it lacks."""
        found: dict[str, str] = {}
        for row in self._soup.select(self._profile.specs_rows):
            name, value = (row, row.find_next_sibling("dd")) if row.name == "dt" else (row.find("th"), row.find("td"))
            if isinstance(name, Tag) and isinstance(value, Tag):
                found[_clean(name.get_text(" "))] = _clean(value.get_text(" "))
        extras = [extra for product in self._products[:1] for extra in listed(product.get("additionalProperty"))]
        for extra in extras:
            if isinstance(extra, dict) and extra.get("name"):
                found.setdefault(_clean(str(extra["name"])), _clean(str(extra.get("value", ""))))
        return {name: value for name, value in found.items() if name}

    def canonical(self) -> str:
        """The page's canonical address when it is one on the same host, else the one it was read at."""
        link = self._soup.select_one("link[rel=canonical][href]")
        given = joined(self._url, str(link["href"])) if link else None
        return given if given and _host(given) == _host(self._url) else self._url


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _last_part(url: str) -> str:
    """The last part of the path: a shop may have a page below several categories."""
    try:
        return urlsplit(url).path.rstrip("/").rpartition("/")[2]
    except ValueError:
        return ""


def _shown_text(found: Tag | None) -> str | None:
    if found is None:
        return None
    return _clean(found.get_text(" ")) or _clean(str(found.get("alt") or found.get("content") or "")) or None


def _clean(text: str) -> str:
    return " ".join(text.split())


def _position(item: Thing) -> float:
    """What is not a number is taken as it comes, behind those that are."""
    given = item.get("position")
    number = re.match(r"\s*(\d{1,6})", str(given), re.ASCII) if not isinstance(given, dict | list) else None
    return int(number[1]) if number else float("inf")


def _crumb_name(item: Thing) -> str:
    inner = item.get("item")
    name = item.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return _clean(str(name or ""))
