"""A WooCommerce product in whole cents, and as the REST API v3 (wc/v3) writes it with its variations. The shapes are
the vendor's; the values are made up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass
class Variation:
    """``stock`` None: not managed. ``is_shared``: the stock is the product's."""

    id: int
    sku: str
    price: int
    regular: int
    stock: int | None
    option: str = ""
    is_shared: bool = False

    @property
    def cost(self) -> int | None:
        """What the shop pays for one, in cents; for some nobody says it."""
        return self.price * 2 // 5 or None if self.id % 4 else None


@dataclass
class Product:
    """Without variations it is sold itself, as ``own`` says."""

    own: Variation
    name: str
    modified: datetime
    variations: list[Variation] = field(default_factory=list)
    status: str = "publish"
    category: str = "Parts"
    spoilt: dict[str, Any] = field(default_factory=dict)  # what its JSON says instead

    @property
    def id(self) -> int:
        return self.own.id

    @property
    def created(self) -> datetime:
        return self.modified

    @property
    def sold(self) -> list[Variation]:
        return self.variations or [self.own]


def product_json(product: Product) -> dict[str, Any]:
    """A product as the API lists it: its variations by their numbers."""
    return {
        **_item(product.own, product),
        "name": product.name,
        "slug": product.name.lower().replace(" ", "-"),
        "type": "variable" if product.variations else "simple",
        "status": product.status,
        "description": "<p>Long.</p>",
        "short_description": f"<p>A &amp; <b>{product.name}</b></p>\n",
        "categories": [{"id": 9, "name": product.category, "slug": "parts"}],
        "brands": [{"id": 4, "name": "Acme", "slug": "acme"}],
        "images": [{"id": 1, "src": f"https://shop.example/{product.id}.jpg"}],
        "attributes": [{"id": 1, "name": "Size", "options": [each.option for each in product.variations]}],
        "variations": [each.id for each in product.variations],
        **product.spoilt,
    }


def variation_json(variation: Variation, product: Product) -> dict[str, Any]:
    """A variation as the list of them has it: without SKU of its own it says the product's."""
    return {
        **_item(variation, product),
        "sku": variation.sku or product.own.sku,
        "status": "publish",
        "image": None,
        "attributes": [{"id": 1, "name": "Size", "option": variation.option}],
    }


def product_id(variation: Variation, product: Product) -> str:
    """As the lines of orders have it."""
    return variation.sku or product.own.sku or str(variation.id)


def _item(item: Variation, product: Product) -> dict[str, Any]:
    stock = product.own.stock if item.is_shared else item.stock
    modified = product.modified.strftime("%Y-%m-%dT%H:%M:%S")
    return {
        "id": item.id,
        "permalink": f"https://shop.example/?p={item.id}",
        "date_created_gmt": "2024-01-01T00:00:00",
        "date_modified_gmt": modified,
        "sku": item.sku,
        "price": f"{item.price / 100:.2f}" if item.price else "",
        "regular_price": f"{item.regular / 100:.2f}" if item.price else "",
        "sale_price": f"{item.price / 100:.2f}" if item.price < item.regular else "",
        "manage_stock": "parent" if item.is_shared else stock is not None,
        "stock_quantity": stock,
        "stock_status": "instock" if stock is None or stock > 0 else "outofstock",
        "backorders": "no",
        **_cost(item),
    }


def _cost(item: Variation) -> dict[str, Any]:
    """As the core writes it, or as a plugin does in a shop that has it from before."""
    cost = item.cost or 0
    if item.id % 2:
        return {"meta_data": [{"id": 1, "key": "_wc_cog_cost", "value": f"{cost / 100:.4f}" if cost else ""}]}
    values = [{"defined_value": cost / 100 if cost else None, "effective_value": cost / 100}]
    return {"cost_of_goods_sold": {"values": values, "total_value": cost / 100}, "meta_data": []}
