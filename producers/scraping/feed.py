"""Shopify's list of a shop's products as JSON, for shops whose pages hold nothing before a script has run. Pure.

``/products.json?limit=250&page=1`` and on, until a page is empty. Its prices have no currency: the shop's front page
has one. Each product is written as the page that would show it, so that it is read by the same rules as any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urljoin

from schemas.errors import InsightsError

PATH: Final = "/products.json"
PAGE_OF: Final = PATH + "?limit=250&page={}"
LARGEST_BYTES: Final = 32_000_000
MOST_PAGES: Final = 400
CURRENCY: Final = re.compile(r"""Shopify\.currency\s*=\s*\{\s*["']active["']\s*:\s*["']([A-Z]{3})["']""")
INSTEAD: Final = f"read the shop's pages instead: --url without {PATH}"
ONLY_ONE: Final = "Default Title"


class BadFeed(InsightsError):
    """The site gave something else than a list of products."""


def products(body: bytes, url: str) -> list[dict[str, Any]]:
    """The products on one page of the list; none on the page after the last. Raises BadFeed."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFeed(f"{url}: is no JSON: {str(error)[:200]}; {INSTEAD}") from error
    found = given.get("products") if isinstance(given, dict) else None
    if not isinstance(found, list):
        raise BadFeed(f"{url}: has no list of products; {INSTEAD}")
    return [product for product in found if isinstance(product, dict)]


def currency_of(html: str) -> str | None:
    """The currency that a page of a Shopify shop says its prices are in."""
    found = CURRENCY.search(html)
    return found[1] if found else None


def address_of(product: Mapping[str, Any], base: str) -> str:
    """The product's page."""
    given = (product.get("handle"), product.get("id"))
    handle = next((str(name) for name in given if name and isinstance(name, str | int)), "")
    return urljoin(base, f"/products/{quote(handle, safe='', errors='replace')}")


def page_of(product: Mapping[str, Any], url: str, currency: str | None) -> str:
    """The product as a page that has it as JSON-LD."""
    variants = [v for v in _listed(product.get("variants")) if isinstance(v, dict)]
    images = [i.get("src") for i in _listed(product.get("images")) if isinstance(i, dict)]
    thing = {
        "@type": "Product",
        "productID": _text(product.get("id")),
        "url": url,
        "name": product.get("title"),
        "brand": product.get("vendor"),
        "description": product.get("body_html"),
        "image": images,
        "offers": list(_offers(variants, url, currency)),
    }
    kinds = [product["product_type"]] if product.get("product_type") else []
    crumbs = [{"position": at, "name": name} for at, name in enumerate(["", *kinds, product.get("title")], 1)]
    data = [thing, {"@type": "BreadcrumbList", "itemListElement": crumbs}]
    text = json.dumps(data, default=str).replace("</", "<\\/")
    return f'<script type="application/ld+json">{text}</script>'


def _offers(variants: list[dict[str, Any]], url: str, currency: str | None) -> Iterator[dict[str, Any]]:
    for variant in variants:
        title, before = variant.get("title"), variant.get("compare_at_price")
        offer = {
            "price": variant.get("price"),
            "priceCurrency": variant.get("price_currency") or currency,
            "availability": {"True": "InStock", "False": "OutOfStock"}.get(str(variant.get("available")), ""),
            "sku": variant.get("sku"),
            "name": None if title == ONLY_ONE else title,
            "url": f"{url}?variant={variant['id']}" if isinstance(variant.get("id"), int) else url,
        }
        if before not in (None, ""):
            offer["priceSpecification"] = [{"priceType": "ListPrice", "price": before}]
        yield offer


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _text(given: Any) -> str | None:
    return None if given is None else str(given)
