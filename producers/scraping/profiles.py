"""Where the pages of a shop software show what JSON-LD leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Where WooCommerce, Shopify and others have their product pages: behind a language or a collection, or not.
PRODUCT_PATH: Final = (
    r"^(?:/[a-z]{2}(?:[-_][a-z]{2})?)?(?:/collections/[^/]+)?"
    r"/(?:products?|produkte?|produits?|productos?|prodott[oi]|items?|p)/[^/]+/?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """CSS selectors for one kind of shop. ``product_path`` is a pattern that product pages' paths match.

    ``product_id`` selects an element whose ``value`` is the id, else an element whose ``id`` is ``product-<id>``.
    """

    name: str
    product_path: str
    product_id: tuple[str, ...]
    name_of: str
    price: str
    list_price: str
    stock: str
    sku: str
    brand: str
    breadcrumbs: str
    specs_rows: str
    images: str
    description: str


WOOCOMMERCE = Profile(
    name="woocommerce",
    product_path=PRODUCT_PATH,
    product_id=("[name=add-to-cart][value]", "div.product[id^=product-]"),
    name_of="h1.product_title",
    price="div.summary p.price ins .amount, div.summary p.price > .amount",
    list_price="div.summary p.price del .amount",
    stock="div.summary p.stock",
    sku=".product_meta .sku",
    brand=".product_meta .brand",
    breadcrumbs=".woocommerce-breadcrumb a",
    specs_rows="table.woocommerce-product-attributes tr",
    images=".woocommerce-product-gallery__image a[href]",
    description=".woocommerce-Tabs-panel--description",
)
