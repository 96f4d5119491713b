"""The data that a page holds for its own script, as schema.org's things. Pure.

The ``__NEXT_DATA__`` of Next.js, from which a page is drawn, and the variants in WooCommerce's form.

The shape of the first is each shop's own. What is read: an object with a name or title, and a price or variants with
one, in the words that Shopify's, commercetools' and similar storefront APIs use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from bs4 import BeautifulSoup

from producers.scraping.structured import Thing, listed

MOST_NODES: Final = 200_000
MOST_PRODUCTS: Final = 2_000
MOST_CENTS_DIGITS: Final = 4
NAMES: Final = ("name", "title", "productName")
PLACES: Final = ("handle", "slug", "url", "urlKey", "url_key", "href", "canonicalUrl")
IDS: Final = ("productId", "productID", "legacyResourceId", "id", "entityId")
PRICES: Final = ("salePrice", "sale_price", "finalPrice", "currentPrice", "price", "minPrice")
BEFORE: Final = ("compareAtPrice", "compare_at_price", "listPrice", "regularPrice", "originalPrice", "oldPrice")
CURRENCIES: Final = ("currencyCode", "currency", "priceCurrency", "currencyIsoCode")
AMOUNTS: Final = ("amount", "value", "price")
HAS: Final = ("availableForSale", "available", "inStock", "in_stock", "isInStock", "isAvailable")


def next_data(soup: BeautifulSoup) -> list[Thing]:
    """The products in the page's ``__NEXT_DATA__``, without those that are only parts of another."""
    script = soup.find("script", id="__NEXT_DATA__")
    if script is None:
        return []
    try:
        data = json.loads(script.get_text(), parse_float=Decimal)
    except (ValueError, RecursionError):
        return []
    return list(_products(data))


def woocommerce_variations(soup: BeautifulSoup) -> Thing | None:
    """The variants in WooCommerce's form for choosing one, whose JSON-LD has only the lowest and the highest price.

    A shop leaves them out of the page when there are many (30 unless it says otherwise).
    """
    form = soup.select_one("form.variations_form[data-product_variations]")
    try:
        given = json.loads(str(form["data-product_variations"]), parse_float=Decimal) if form else None
    except (ValueError, RecursionError):
        return None
    offers = [_variation(each) for each in listed(given)[:MOST_PRODUCTS] if isinstance(each, dict)]
    offers = [offer for offer in offers if offer["price"] not in (None, "")]
    return {"@type": ["Product"], "offers": offers} if offers else None


def _variation(node: Mapping[str, Any]) -> Thing:
    chosen = node.get("attributes")
    words = [str(value) for value in chosen.values() if value] if isinstance(chosen, dict) else []
    has = node.get("is_in_stock")
    return {
        "@type": ["Offer"],
        "price": node.get("display_price"),
        "priceSpecification": [{"priceType": "ListPrice", "price": node.get("display_regular_price")}],
        "availability": ("InStock" if has else "OutOfStock") if isinstance(has, bool) else "",
        "sku": _first(node, ("sku",), str | int),
        "name": " / ".join(words) or None,
    }


def _products(data: Any) -> Iterator[Thing]:
    waiting, seen, found = [data], 0, 0
    while waiting and seen < MOST_NODES and found < MOST_PRODUCTS:
        node = waiting.pop()
        seen += 1
        if isinstance(node, dict):
            if thing := _product(node):
                found += 1
                yield thing
            else:
                waiting += reversed(node.values())
        elif isinstance(node, list):
            waiting += reversed(node)


def _product(node: Mapping[str, Any]) -> Thing | None:
    name = _first(node, NAMES, str)
    inner = [v for v in _nodes(node.get("variants")) if isinstance(v, dict)]
    offers = [o for o in (_offer(v, node) for v in inner) if o] or [o for o in [_offer(node, {})] if o]
    if not name or not offers:
        return None
    brand = node.get("brand") or node.get("vendor") or node.get("manufacturer")
    thing: Thing = {"@type": ["Product"], "name": name, "offers": offers, "brand": brand}
    given = {
        "productID": _plain_id(_first(node, IDS, str | int)),
        "sku": _first(node, ("sku",), str | int),
        "url": _first(node, PLACES, str),
        "description": _first(node, ("descriptionHtml", "description", "body_html", "shortDescription"), str),
        "image": [_address(image) for image in _nodes(node.get("images")) or listed(node.get("featuredImage"))],
    }
    return thing | {key: value for key, value in given.items() if value}


def _offer(node: Mapping[str, Any], product: Mapping[str, Any]) -> Thing | None:
    """What is asked for the product or a variant, or None without a price."""
    price, currency = _money(_first(node, PRICES, object))
    for side in ("minVariantPrice", "min", "minimum"):
        span = node.get("priceRange") or node.get("price_range")
        if price is None and isinstance(span, dict):
            price, currency = _money(span.get(side))
    if price is None:
        return None
    before, _ = _money(_first(node, BEFORE, object))
    code = currency or _first(node, CURRENCIES, str) or _first(product, CURRENCIES, str)
    offer: Thing = {"@type": ["Offer"], "price": price, "availability": _availability(node)}
    if code:
        offer["priceCurrency"] = code
    if before is not None:
        offer["priceSpecification"] = [{"priceType": "ListPrice", "price": before}]
    if product:
        offer |= {"sku": _first(node, ("sku",), str | int), "name": _first(node, NAMES, str)}
    return offer


def _money(given: Any) -> tuple[Any, str | None]:
    """An amount, as it is written, and its currency."""
    if not isinstance(given, dict):
        return (given if isinstance(given, str | int | Decimal) and not isinstance(given, bool) else None), None
    code = _first(given, CURRENCIES, str)
    cents, digits = given.get("centAmount"), given.get("fractionDigits", 2)
    if isinstance(cents, int) and isinstance(digits, int) and 0 <= digits <= MOST_CENTS_DIGITS:
        return str(Decimal(cents).scaleb(-digits)) if abs(cents) < 10**15 else None, code
    return _money(_first(given, AMOUNTS, str | int | Decimal))[0], code


def _availability(node: Mapping[str, Any]) -> str:
    given = _first(node, HAS, bool)
    if given is None:
        return str(_first(node, ("availability", "stockStatus"), str) or "")
    return "InStock" if given else "OutOfStock"


def _nodes(given: Any) -> list[Any]:
    """A list, be it as it is or a connection of GraphQL."""
    if isinstance(given, dict):
        inner = given.get("nodes") or given.get("edges")
        given = [e.get("node", e) if isinstance(e, dict) else e for e in inner] if isinstance(inner, list) else []
    return given[:MOST_PRODUCTS] if isinstance(given, list) else []


def _address(image: Any) -> Any:
    return (image.get("url") or image.get("src")) if isinstance(image, dict) else image


def _plain_id(given: Any) -> str:
    """Without the name of its kind: gid://shopify/Product/123 is 123."""
    return "" if given is None else str(given).rpartition("/")[2]


def _first(node: Mapping[str, Any], names: Iterable[str], kind: Any) -> Any:
    found = (node[name] for name in names if node.get(name) is not None)
    return next((value for value in found if isinstance(value, kind)), None)
