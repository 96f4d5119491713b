"""A Shopify product with its variants, as our units and their stock. Pure: bytes in, values out.

**Units.** Each variant is one. Its id is what an order's line has: the SKU, or its name there, which is made of the
product's title and the variant's.

**Stock** is what is *available* of a variant at each location, which is a warehouse here: what was ordered and not yet
sent is not in it. A variant whose quantity the shop does not track has none.

**Cost** is the inventory item's ``unitCost``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from producers.connect.fees import rounded
from producers.connect.orders import (
    CENT,
    BadOrder,
    Json,
    Shop,
    cents_of,
    list_of,
    object_of,
    of_order,
    shown,
    text_of,
    units_of,
)
from producers.connect.resources import Product, Unit, plain
from producers.connect.shopify.ids import number_of

PUBLIC: Final = frozenset(("ACTIVE", "UNLISTED"))  # the latter by its link
ONLY_ONE: Final = "Default Title"  # what the variant of a product without variants is called


def read_product(body: bytes, shop: Shop) -> Product:
    """Raises BadOrder naming the field."""
    product = object_of(body)
    number = number_of(product, "id")
    with of_order(number):
        units, levels = [], dict[tuple[str, str], int]()
        is_known = True
        for i, variant in enumerate(list_of(product, "variants")):
            where = f"variants[{i}]."
            held = _levels(variant, where)
            units.append(_unit(product, variant, where, None if held is None else sum(held.values())))
            is_known = is_known and "inventoryItem" in variant
            for place, level in (held or {}).items():
                key = (units[-1].product_id, f"{shop.name} {place}")
                levels[key] = levels.get(key, 0) + level
        return Product(number, units, levels if is_known else None)


def _unit(product: Json, variant: Json, where: str, stock: int | None) -> Unit:
    price = cents_of(variant, f"{where}price", "price")
    whole = cents_of(variant, f"{where}compareAtPrice", "compareAtPrice") if variant.get("compareAtPrice") else price
    if price < 0:
        raise BadOrder(f"{where}price is {price * CENT}, which is below zero")
    title = text_of(product, "title")
    option = str(variant.get("title") or ONLY_ONE)
    name = title if option == ONLY_ONE else f"{title} - {option}"
    sku = str(variant.get("sku") or "") or None
    return Unit(
        product_id=sku or name,
        sku=sku,
        name=name,
        brand=str(product.get("vendor") or "") or None,
        category_path=_categories(product),
        price=CENT * price,
        list_price=CENT * whole if whole > price else None,
        currency=text_of(product, "currency"),
        availability="in_stock" if variant.get("availableForSale") else "out_of_stock",
        stock_quantity=stock,
        image_urls=_images(product),
        description=plain(str(product.get("description") or "")),
        url=str(product.get("onlineStoreUrl") or ""),
        is_public=text_of(product, "status") in PUBLIC,
        cost=_cost(variant),
    )


def _cost(variant: Json) -> Decimal | None:
    """The item's cost, to the cent; None when there is none, the app may not see it, or it is less than that."""
    item = variant.get("inventoryItem")
    money = item.get("unitCost") if isinstance(item, dict) else None
    said = money.get("amount") if isinstance(money, dict) else None
    cents = rounded(said)
    if cents is None or cents < 0:
        return None
    return CENT * cents if cents or not Decimal(str(said)) else None


def _levels(variant: Json, where: str) -> dict[str, int] | None:
    """How many are at which location; None when that is not tracked, or not known."""
    item = variant.get("inventoryItem")
    if not isinstance(item, dict) or not item.get("tracked"):
        return None
    found: dict[str, int] = {}
    for i, level in enumerate(list_of(item, "inventoryLevels")):
        at = f"{where}inventoryItem.inventoryLevels[{i}]"
        location = level.get("location")
        if not isinstance(location, dict):
            raise BadOrder(f"{at}.location is {shown(location)}, and should be a location")
        name = text_of(location, f"{at}.location.name", "name")
        quantities = list_of(level, "quantities")
        found[name] = found.get(name, 0) + sum(units_of(each, f"{at}.quantities", "quantity") for each in quantities)
    return found


def _categories(product: Json) -> list[str]:
    """The shop's own type of product; without one, the category of Shopify's taxonomy."""
    if product.get("productType"):
        return [str(product["productType"])]
    category = product.get("category")
    full = category.get("fullName") if isinstance(category, dict) else None
    return str(full).split(" > ") if full else ["uncategorized"]


def _images(product: Json) -> list[str]:
    found: Any = product.get("featuredMedia")
    for name in ("preview", "image", "url"):
        found = found.get(name) if isinstance(found, dict) else None
    return [str(found)] if found else []
