"""A Shopify product in whole cents, and as the GraphQL Admin API (2026-10) answers with it. The shapes are the
vendor's; the values are made up.
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

LOCATIONS = ("Depot", "Shop in town", "Fair", "Lent out")


@dataclass
class Variant:
    """``stock`` is by location; None: not tracked."""

    id: int
    title: str
    sku: str
    price: int
    compare: int
    stock: dict[str, int] | None

    @property
    def cost(self) -> int | None:
        """What the shop pays for one, in cents; for some nobody says it."""
        return self.price * 2 // 5 if self.id % 4 else None


@dataclass
class Product:
    id: int
    title: str
    modified: datetime
    variants: list[Variant] = field(default_factory=list)
    status: str = "ACTIVE"
    spoilt: dict[str, Any] = field(default_factory=dict)  # what its JSON says instead

    def named(self, variant: Variant) -> str:
        """As the lines of orders have it."""
        return variant.sku or (self.title if variant.title == "Default Title" else f"{self.title} - {variant.title}")


def product_json(product: Product, asked: dict[str, Any]) -> dict[str, Any]:
    """A product with the first of its variants."""
    return {
        "id": f"gid://shopify/Product/{product.id}",
        "title": product.title,
        "vendor": "Acme",
        "productType": "Parts" if product.id % 2 else "",
        "status": product.status,
        "updatedAt": product.modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "handle": f"p{product.id}",
        "onlineStoreUrl": f"https://bikes.example/products/p{product.id}" if product.status == "ACTIVE" else None,
        "description": f"A {product.title}",
        "category": {"fullName": "Sporting Goods > Cycling"} if product.id % 3 else None,
        "featuredMedia": {"preview": {"image": {"url": f"https://cdn.example/{product.id}.jpg"}}},
        "variants": variants_json(product, 0, asked),
        **product.spoilt,
    }


def variants_json(product: Product, start: int, asked: dict[str, Any]) -> dict[str, Any]:
    nodes = [_variant_json(each, asked) for each in product.variants[start : start + asked["variants"]]]
    return {"nodes": nodes, "pageInfo": _page_info(start + len(nodes), len(product.variants))}


def levels_json(variant: Variant, start: int, count: int) -> dict[str, Any]:
    held = list((variant.stock or {}).items())
    nodes = [
        {
            "location": {"id": f"gid://shopify/Location/{LOCATIONS.index(name)}", "name": name},
            "quantities": [{"quantity": quantity}],
        }
        for name, quantity in held[start : start + count]
    ]
    return {"nodes": nodes, "pageInfo": _page_info(start + len(nodes), len(held))}


def _variant_json(variant: Variant, asked: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": f"gid://shopify/ProductVariant/{variant.id}",
        "title": variant.title,
        "sku": variant.sku or None,
        "price": f"{variant.price / 100:.2f}",
        "compareAtPrice": f"{variant.compare / 100:.2f}" if variant.compare else None,
        "availableForSale": variant.stock is None or sum(variant.stock.values()) > 0,
    }
    if asked["stock"]:
        found["inventoryItem"] = {
            "id": f"gid://shopify/InventoryItem/{variant.id}",
            "tracked": variant.stock is not None,
            "unitCost": None if variant.cost is None else {"amount": f"{variant.cost / 100}"},
            "inventoryLevels": levels_json(variant, 0, asked["levels"]),
        }
    return found


def _page_info(until: int, of: int) -> dict[str, Any]:
    return {"hasNextPage": until < of, "endCursor": f"at-{until - 1}"}


class Catalog:
    """What a stand-in has and answers of its products."""

    random: random.Random
    now: datetime
    products: dict[int, Product]
    before_list: Callable[[], None] | None
    _lock: threading.RLock

    def _number(self) -> int:
        raise NotImplementedError

    def _listed(self, those: list[Any], column: str, since: datetime, asked: dict[str, Any]) -> tuple[list[Any], Any]:
        raise NotImplementedError

    def offer(self, *, variants: int | None = None) -> Product:
        """A new product, drawn by chance: one or several variants, at some locations, or not tracked."""
        with self._lock:
            product = Product(number := self._number(), f"Product {number}", self.now)
            count = variants or self.random.choice([1, 1, 2, 3, 12])
            for i in range(count):
                product.variants.append(self._variant("Default Title" if count == 1 else f"size {i}"))
            self.products[product.id] = product
            return product

    def alter(self, product: Product) -> Product:
        """A price, a stock, a name or a status changes, or a variant comes or goes."""
        with self._lock:
            chance, one = self.random, self.random.choice(product.variants)
            what = chance.choice(["price", "stock", "stock", "stock", "title", "status", "sku", "variant"])
            if what == "price":
                one.price = chance.choice([one.price, 1000 + chance.randint(0, 900)])
            elif what == "stock":
                one.stock = self._variant("").stock
            elif what == "title":
                product.title += " new"
            elif what == "status":
                product.status = chance.choice(["ACTIVE", "ARCHIVED", "DRAFT", "UNLISTED"])
            elif what == "sku":
                one.sku = chance.choice(["", f"SKU-{self._number()}"])
            elif len(product.variants) > 1:
                product.variants.pop(0)
            product.modified = max(product.modified, self.now)
            return product

    def withdraw(self, product: Product) -> None:
        with self._lock:
            del self.products[product.id]

    def levels(self) -> dict[tuple[str, str], int]:
        """How many there are by product id and location, where there are any or less than none."""
        found: Counter[tuple[str, str]] = Counter()
        for product in self.products.values():
            for one in product.variants:
                for location, level in (one.stock or {}).items():
                    found[product.named(one), location] += level
        return {key: level for key, level in found.items() if level}

    def prices(self) -> dict[str, int]:
        """What can be bought, and its price in cents."""
        on_sale = [each for each in self.products.values() if each.status in ("ACTIVE", "UNLISTED")]
        return {product.named(one): one.price for product in on_sale for one in product.variants}

    def costs(self) -> dict[str, int]:
        """What a unit of what can be bought costs the shop, where it says so, in cents."""
        on_sale = [each for each in self.products.values() if each.status in ("ACTIVE", "UNLISTED")]
        said = {product.named(one): one.cost for product in on_sale for one in product.variants}
        return {product_id: cost for product_id, cost in said.items() if cost is not None}

    def _products(self, asked: dict[str, Any]) -> Any:
        if self.before_list is not None:
            self.before_list()
        match = re.fullmatch(r"updated_at:>='(.*)'", asked["query"])
        assert match is not None
        page, info = self._listed(list(self.products.values()), "modified", datetime.fromisoformat(match[1]), asked)
        return {"products": {"nodes": [product_json(each, asked) for each in page], "pageInfo": info}}

    def _namedproducts(self, asked: dict[str, Any]) -> Any:
        numbers = [int(each.rpartition("/")[2]) for each in asked["ids"]]
        found = [self.products.get(number) for number in numbers]
        return {"nodes": [product_json(each, asked) if each else None for each in found]}

    def _productsofitems(self, asked: dict[str, Any]) -> Any:
        numbers = [int(each.rpartition("/")[2]) for each in asked["ids"]]
        owner = {one.id: product for product in self.products.values() for one in product.variants}
        nodes = [{"product": {"id": f"gid://shopify/Product/{owner[n].id}"}} if n in owner else None for n in numbers]
        return {"nodes": [{"variants": {"nodes": [node]}} if node else None for node in nodes]}

    def _morevariants(self, asked: dict[str, Any]) -> Any:
        product = self.products.get(int(asked["id"].rpartition("/")[2]))
        start = int(asked["after"].partition("-")[2]) + 1
        return {"product": {"variants": variants_json(product, start, asked)} if product else None}

    def _morelevels(self, asked: dict[str, Any]) -> Any:
        number, start = int(asked["id"].rpartition("/")[2]), int(asked["after"].partition("-")[2]) + 1
        items = [one for product in self.products.values() for one in product.variants if one.id == number]
        page = [levels_json(one, start, asked["levels"]) for one in items]
        return {"inventoryItem": {"inventoryLevels": page[0]} if page else None}

    def _variant(self, title: str) -> Variant:
        chance, number = self.random, self._number()
        places = chance.sample(LOCATIONS, chance.choice([1, 1, 2, 4]))
        stock = {place: chance.randint(-2, 30) for place in places} if chance.random() < 0.8 else None
        sku = chance.choice(["", f"SKU-{number}", f"SKU-{number}"])
        price = 500 + 37 * chance.randint(1, 60)
        return Variant(number, title, sku, price, chance.choice([0, price * 2]), stock)
