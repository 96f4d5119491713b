"""A WooCommerce product with its variations, as our units and their stock. Pure: bytes in, values out.

**Units.** Each variation of a product is one, and so is a product that has none. Its id is what an order's line has:
the SKU, or the number.

**Stock** is ``stock_quantity`` where the shop manages it. Variations that share their product's stock have none of
their own: it is the product's, under the product's id.

**Cost** is the core's ``cost_of_goods_sold`` (WooCommerce 10, where the shop has switched it on), or what the plugins
Cost of Goods write.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from producers.connect.fees import rounded
from producers.connect.orders import (
    CENT,
    BadOrder,
    Json,
    Shop,
    cents_of,
    id_of,
    list_of,
    object_of,
    of_order,
    text_of,
    units_of,
)
from producers.connect.resources import Product, Unit, plain
from producers.connect.woocommerce.fees import meta_of

AVAILABILITY: Final = {"instock": "in_stock", "outofstock": "out_of_stock", "onbackorder": "preorder"}
PUBLIC: Final = "publish"
COST_META: Final = ("_wc_cog_cost", "_alg_wc_cog_cost")  # of the plugins that had costs before the core
OF_OTHERS: Final = frozenset(("variable", "variable-subscription", "grouped"))  # nobody buys these themselves


def read_product(body: bytes, shop: Shop) -> Product:
    """Raises BadOrder naming the field."""
    product = object_of(body)
    number = id_of(product, "id")
    with of_order(number):
        parts = [(item, f"variations[{i}].") for i, item in enumerate(list_of(product, "variations"))]
        sold = parts if product.get("type") in OF_OTHERS else [(product, "")]
        units = [unit for item, where in sold if (unit := _unit(product, item, where)) is not None]
        return Product(number, units, _levels([*parts, (product, "")], shop))


def _unit(product: Json, item: Json, where: str) -> Unit | None:
    """What can be bought; None when it has no price."""
    if not item.get("price"):
        return None
    price = cents_of(item, f"{where}price", "price")
    whole = cents_of(item, f"{where}regular_price", "regular_price") if item.get("regular_price") else price
    if price < 0:
        raise BadOrder(f"{where}price is {price * CENT}, which is below zero")
    status = text_of(item, f"{where}status", "status") if "status" in item else PUBLIC
    return Unit(
        product_id=_product_id(item, where),
        sku=str(item.get("sku") or "") or None,
        name=_name(product, item),
        brand=_first(_names(product, "brands")),
        category_path=_names(product, "categories")[:1] or ["uncategorized"],
        price=CENT * price,
        list_price=CENT * whole if whole > price else None,
        currency=text_of(product, "currency"),
        availability=AVAILABILITY.get(str(item.get("stock_status")), "unknown"),
        stock_quantity=_quantity(item, where) if item.get("manage_stock") else None,
        image_urls=_images(item) or _images(product),
        description=plain(str(product.get("short_description") or product.get("description") or "")),
        url=str(item.get("permalink") or product.get("permalink") or ""),
        is_public=status == PUBLIC and product.get("status", PUBLIC) == PUBLIC,
        cost=_cost(item) or _cost(product),
    )


def _cost(item: Json) -> Decimal | None:
    """What one costs the shop, to the cent; None when nothing says so: none and zero are the same there.

    What can't be read says nothing: the product does not wait for it.
    """
    core = item.get("cost_of_goods_sold")
    said = [core.get("total_value")] if isinstance(core, dict) else []
    with suppress(BadOrder):
        said += [value for key, value in meta_of(item).items() if key in COST_META]
    return next((CENT * cents for each in said if (cents := rounded(each)) is not None and cents > 0), None)


def _levels(holders: Iterable[tuple[Json, str]], shop: Shop) -> dict[tuple[str, str], int]:
    """How many there are by product id: of several with one id, all of them."""
    found: dict[tuple[str, str], int] = {}
    for item, where in holders:
        if item.get("manage_stock") is True and (quantity := _quantity(item, where)) is not None:
            held = (_product_id(item, where), shop.name)
            found[held] = found.get(held, 0) + quantity
    return found


def _quantity(item: Json, where: str) -> int | None:
    return None if item.get("stock_quantity") is None else units_of(item, f"{where}stock_quantity", "stock_quantity")


def _product_id(item: Json, where: str) -> str:
    return str(item.get("sku") or "") or id_of(item, f"{where}id", "id")


def _name(product: Json, item: Json) -> str:
    """As its orders have it: the product's, and what makes the variation."""
    name = text_of(product, "name")
    options = [str(each["option"]) for each in list_of(item, "attributes") if each.get("option")]
    return f"{name} - {', '.join(options)}" if item is not product and options else name


def _names(product: Json, field: str) -> list[str]:
    return [str(each["name"]) for each in list_of(product, field) if each.get("name")]


def _images(item: Json) -> list[str]:
    single = item.get("image")
    listed: list[Any] = [single] if isinstance(single, dict) else []
    return [str(each["src"]) for each in (*listed, *list_of(item, "images")) if each.get("src")]


def _first(names: list[str]) -> str | None:
    return names[0] if names else None
