"""Where the pages of a shop software show what structured data leaves out. A new one is an entry here, in PROFILES.

The selectors are those of the software's own theme: WooCommerce's Storefront, Shopify's Dawn, PrestaShop's Classic,
Magento's Luma. docs/sources.md says what each was tried on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

# Where WooCommerce, Shopify and others have their product pages: behind a language or a collection, or not.
PRODUCT_PATH: Final = (
    r"^(?:/[a-z]{2}(?:[-_][a-z]{2})?)?(?:/collections/[^/]+)?"
    r"/(?:products?|produkte?|produits?|productos?|prodott[oi]|items?|p)/[^/]+/?$"
)
HEAD_CHARACTERS: Final = 300_000  # of a page, in which the marks of its software are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """CSS selectors for one kind of shop.

    Attributes:
        name: as in ``--profile``.
        marks: a pattern that is in its pages' HTML, and in no other software's.
        hosts: shops that are known to be of this kind; they need no mark.
        product_path: a pattern that product pages' paths match.
        listing_path: a pattern of the paths of pages that list products, for a shop without a sitemap.
        product_id: elements whose ``value`` or ``data-product-id`` is the id, or whose ``id`` is ``product-<id>``.
        in_stock: an element that says so by being there; likewise ``out_of_stock``.
        stock: an element whose text has the number of units, when it has one.
        specs_rows: rows with a ``th`` and a ``td``, or ``dt`` elements, each with its ``dd`` behind it.
        other_page: an element that only pages have which are no product's.
    """

    name: str
    marks: str
    product_path: str
    listing_path: str
    product_id: tuple[str, ...]
    name_of: str
    price: str
    list_price: str
    stock: str
    in_stock: str
    out_of_stock: str
    sku: str
    brand: str
    breadcrumbs: str
    specs_rows: str
    images: str
    description: str
    other_page: str
    hosts: tuple[str, ...] = ()


WOOCOMMERCE: Final = Profile(
    name="woocommerce",
    marks=r"""class=["'][^"']*\bwoocommerce\b|/plugins/woocommerce/|content=["']WooCommerce""",
    product_path=PRODUCT_PATH,
    listing_path=r"^/(?:shop|product-category|produkt-kategorie|categorie-produit)(?:/|$)",
    product_id=("[name=add-to-cart][value]", "div.product[id^=product-]"),
    name_of="h1.product_title",
    price="div.summary p.price ins .amount, div.summary p.price > .amount",
    list_price="div.summary p.price del .amount",
    stock="div.summary p.stock",
    in_stock="div.summary p.stock.in-stock",
    out_of_stock="div.summary p.stock.out-of-stock",
    sku=".product_meta .sku",
    brand=".product_meta .brand, .product_meta .posted_in [href*='/brand/']",
    breadcrumbs=".woocommerce-breadcrumb a",
    specs_rows="table.woocommerce-product-attributes tr",
    images=".woocommerce-product-gallery__image a[href]",
    description=".woocommerce-Tabs-panel--description",
    other_page="body.tax-product_cat, body.tax-product_tag, body.post-type-archive-product, body.woocommerce-cart",
)
SHOPIFY: Final = Profile(
    name="shopify",
    marks=r"cdn\.shopify\.com|Shopify\.theme|/cdn/shop/",
    product_path=PRODUCT_PATH,
    listing_path=r"^(?:/[a-z]{2}(?:-[a-z]{2})?)?/collections/[^/]+/?$",
    product_id=("[name=product-id][value]", "form[action*='/cart/add'] [name=product_id][value]"),
    name_of=".product__title h1, h1.product__title, h1.product-single__title, h1",
    price=".product .price--on-sale .price-item--sale, .product .price:not(.price--on-sale) .price-item--regular",
    list_price=".product .price--on-sale .price__sale s.price-item--regular",
    stock=".product .product__inventory",
    in_stock="[name=add]:not([disabled])",
    out_of_stock=".product .price--sold-out, [name=add][disabled]",
    sku=".product__sku, .product-single__sku",
    brand=".product__text.caption-with-letter-spacing, .product__vendor, .product-single__vendor",
    breadcrumbs="nav.breadcrumbs a, nav.breadcrumb a",
    specs_rows=".product__description table tr, .product__accordion table tr",
    images=".product__media a[href], .product-single__photo a[href]",
    description=".product__description, .product-single__description",
    other_page="body.template-collection, body.template-page, body.template-blog, body.template-article",
)
PRESTASHOP: Final = Profile(
    name="prestashop",
    marks=r"""content=["']PrestaShop|var prestashop\s*=|/themes/classic/assets/|data-module-name=["']ps_""",
    product_path=r"^/(?:[a-z]{2}/)?(?:[^/]+/)*[0-9]+(?:-[0-9]+)?-[^/]+\.html$",
    listing_path=r"^/(?:[a-z]{2}/)?[0-9]+-[^/.]+$",
    product_id=("[name=id_product][value]", "#product_page_product_id"),
    name_of="h1.h1, h1[itemprop=name], #main h1",
    price=".product-prices .current-price-value, .product-prices .current-price .price, .current-price [itemprop]",
    list_price=".product-prices .product-discount .regular-price",
    stock=".product-quantities [data-stock], .product-quantities span",
    in_stock="#product-availability .product-available, #product-availability .product-last-items",
    out_of_stock="#product-availability .product-unavailable",
    sku=".product-reference [itemprop=sku], .product-reference span",
    brand=".product-manufacturer img[alt], .product-manufacturer span a",
    breadcrumbs="nav.breadcrumb li a",
    specs_rows=".product-features dl.data-sheet dt",
    images=".images-container .product-cover img[src], .images-container [data-image-large-src]",
    description=".product-description",
    other_page="body#category, body#cms, body#index, body#manufacturer, body#supplier, body#search",
)
MAGENTO: Final = Profile(
    name="magento",
    marks=r"data-mage-init|text/x-magento-init|/static/version[0-9]+/frontend/|Magento_",
    product_path=r"^/(?:[^/]+/)*[^/]+\.html$",
    listing_path=r"^/(?:[^/]+/)*[^/]+\.html$",
    product_id=("#product_addtocart_form [name=product][value]", ".product-info-main .price-box[data-product-id]"),
    name_of="h1.page-title .base, h1.page-title",
    price=".product-info-main [data-price-type=finalPrice]",
    list_price=".product-info-main [data-price-type=oldPrice]",
    stock=".product-info-main .availability.only",
    in_stock=".product-info-main .stock.available",
    out_of_stock=".product-info-main .stock.unavailable",
    sku=".product.attribute.sku .value",
    brand=".product-info-main .product.attribute.manufacturer .value, .additional-attributes td[data-th=Manufacturer]",
    breadcrumbs=".breadcrumbs li a",
    specs_rows="#product-attribute-specs-table tr, table.additional-attributes tr",
    images=".product.media .gallery-placeholder img[src]",
    description=".product.attribute.description .value",
    other_page="body.catalog-category-view, body.cms-page-view, body.cms-index-index, body.catalogsearch-result-index",
)
# Could not be reached: nothing of it was verified. It is assumed to be like WooCommerce.
PANDAPODIUM: Final = replace(WOOCOMMERCE, name="pandapodium", hosts=("pandapodium.cc", "www.pandapodium.cc"))

# PandaPodium's marks are WooCommerce's, so it comes after it and is found by its host.
PROFILES: Final = (WOOCOMMERCE, SHOPIFY, PRESTASHOP, MAGENTO, PANDAPODIUM)
NAMES: Final = tuple(profile.name for profile in PROFILES)


def named(name: str) -> Profile:
    """The profile of this name. Raises KeyError for another."""
    return {profile.name: profile for profile in PROFILES}[name]


def profile_of(html: str, url: str) -> Profile | None:
    """The profile of the shop software that a page is made by; None when no mark of any is on it."""
    host = urlsplit(url).hostname
    for profile in PROFILES:
        if host in profile.hosts:
            return profile
    head = html[:HEAD_CHARACTERS]
    return next((profile for profile in PROFILES if re.search(profile.marks, head, re.IGNORECASE)), None)
