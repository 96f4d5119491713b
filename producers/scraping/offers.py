"""What a product costs, from schema.org's offers: the asking price, the price before, and every variant. Pure.

https://schema.org/Offer, AggregateOffer, ProductGroup, PriceSpecification and priceType.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from producers.scraping.price import structured_currency, structured_price
from producers.scraping.structured import Structured, Thing, bare, joined, listed

AVAILABILITY: Final = {
    "instock": "in_stock",
    "instoreonly": "in_stock",
    "onlineonly": "in_stock",
    "limitedavailability": "in_stock",
    "availablefororder": "in_stock",
    "outofstock": "out_of_stock",
    "oos": "out_of_stock",
    "soldout": "out_of_stock",
    "preorder": "preorder",
    "presale": "preorder",
    "backorder": "preorder",
    "madetoorder": "preorder",
    "discontinued": "discontinued",
}
# Which of several variants a shopper would be offered.
BEST_FIRST: Final = ("in_stock", "preorder", "unknown", "out_of_stock", "discontinued")
BEFORE: Final = frozenset({"listprice", "strikethroughprice", "regularprice", "msrp", "srp"})
ASKING: Final = frozenset({"", "saleprice"})
# Prices of something else: of shipping, or for some buyers.
OTHER_KINDS: Final = frozenset({"DeliveryChargeSpecification", "PaymentChargeSpecification"})
OTHER_TERMS: Final = ("validForMemberTier", "referenceQuantity")
MOST_VARIANTS: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One thing that can be bought: a size or colour, or the product itself when it has no variants."""

    sku: str | None
    name: str | None
    price: Decimal | None
    list_price: Decimal | None
    currency: str | None
    availability: str
    url: str | None


def variants_of(product: Thing, page: Structured, locale: str) -> list[Variant]:
    """Every variant that the product's data has, in its order. Raises ValueError for a price that can't be read."""
    inner = [v for v in map(page.resolved, _few(product.get("hasVariant"))) if isinstance(v, dict)]
    found = (v for one in inner for v in _variants(one, product, page, locale)) if inner else None
    return list(dict.fromkeys(islice(found or _variants(product, {}, page, locale), MOST_VARIANTS)))


def offered(variants: list[Variant]) -> Variant | None:
    """The one whose price the product is sold from: the cheapest that can be had; None when none has a price.

    Prices of several currencies can't be compared: those in another one than the first has are left out.
    """
    priced = [v for v in variants if v.price is not None]
    same = [v for v in priced if v.currency == priced[0].currency]
    return min(same, key=lambda v: (BEST_FIRST.index(v.availability), v.price), default=None)


def availability_of(given: Any) -> str:
    """A symbol of the contract's enum: of a list, the best."""
    found = {_availability(one) for one in listed(given)} or {"unknown"}
    return min(found, key=BEST_FIRST.index)


def _availability(given: Any) -> str:
    name = given.get("@id", given.get("name", "")) if isinstance(given, dict) else given
    word = bare(name).rpartition("/")[2].rpartition(":")[2].lower()
    return AVAILABILITY.get(word.replace(" ", "").replace("_", "").replace("-", ""), "unknown")


def _variants(product: Thing, group: Thing, page: Structured, locale: str) -> Iterator[Variant]:
    """``group`` is what the variant belongs to: properties that the variant lacks are taken from there."""
    about = {n: product.get(n) or group.get(n) for n in ("sku", "name", "url")}
    given = product.get("offers") if product.get("offers") is not None else group.get("offers")
    for offer in map(page.resolved, _few(given)):
        if isinstance(offer, dict):
            yield from _offers(offer, about, page, locale)


def _offers(offer: Thing, about: Thing, page: Structured, locale: str) -> Iterator[Variant]:
    inner = [o for o in map(page.resolved, _few(offer.get("offers"))) if isinstance(o, dict)]
    shared = {n: offer[n] for n in ("priceCurrency", "availability") if n in offer}
    for one in [{**shared, **o} for o in inner] or [offer]:
        yield _variant(one, about, page, locale)


def _variant(offer: Thing, about: Thing, page: Structured, locale: str) -> Variant:
    item = page.resolved(offer.get("itemOffered"))
    given = {n: offer.get(n) or (item.get(n) if isinstance(item, dict) else None) or about[n] for n in about}
    price, before, currency = _prices(offer, locale)
    return Variant(
        sku=_text(given["sku"]),
        name=_text(given["name"]),
        price=price,
        list_price=before if before is not None and price is not None and before > price else None,
        currency=currency,
        availability=availability_of(offer.get("availability")),
        url=joined(page.url, given["url"]) if isinstance(given["url"], str) else None,
    )


def _prices(offer: Thing, locale: str) -> tuple[Decimal | None, Decimal | None, str | None]:
    """Asking price, price before and currency of one offer."""
    specified = [s for s in listed(offer.get("priceSpecification")) if isinstance(s, dict) and _of_the_product(s)]
    asking = next((s for s in _by_kind(specified, ASKING)), None)
    before = next((s for s in _by_kind(specified, BEFORE)), None)
    given = next((t for t in (offer.get("price"), offer.get("lowPrice")) if t not in (None, "")), None)
    if given is None:
        asking, before = (asking, before) if asking else (before, None)
        given = asking["price"] if asking else None
    code = offer.get("priceCurrency") or next((s["priceCurrency"] for s in specified if s.get("priceCurrency")), None)
    price = None if given is None else structured_price(_one(given))
    currency = None if code is None else structured_currency(_one(code), locale)
    return price, None if before is None else structured_price(_one(before["price"])), currency


def _of_the_product(specification: Thing) -> bool:
    if specification.get("price") in (None, "") or OTHER_KINDS.intersection(listed(specification.get("@type"))):
        return False
    quantity = specification.get("eligibleQuantity")
    least = quantity.get("minValue", quantity.get("value", 1)) if isinstance(quantity, dict) else 1
    return str(least) in ("0", "1", "1.0") and not any(specification.get(term) for term in OTHER_TERMS)


def _by_kind(specified: list[Thing], kinds: frozenset[str]) -> list[Thing]:
    """Of these kinds; a sale price before one without a kind."""
    of_these = [s for s in specified if _kind(s) in kinds]
    return sorted(of_these, key=lambda s: _kind(s) != "saleprice")


def _kind(specification: Thing) -> str:
    return bare(specification.get("priceType") or "").rpartition("/")[2].lower()


def _one(given: Any) -> Any:
    """The one value of a list of one."""
    return given[0] if isinstance(given, list) and len(given) == 1 else given


def _few(given: Any) -> list[Any]:
    return listed(given)[:MOST_VARIANTS]


def _text(given: Any) -> str | None:
    given = _one(given)
    return " ".join(str(given).split()) or None if isinstance(given, str | int | float | Decimal) else None


def together(products: list[Thing]) -> Thing:
    """One product of several things that are variants of it."""
    return products[0] if len(products) == 1 else {**products[0], "hasVariant": products}


def with_currency(variants: list[Variant], currency: str | None) -> list[Variant]:
    """The same, where an offer names no currency with the page's."""
    return [v if v.currency else replace(v, currency=currency) for v in variants]
