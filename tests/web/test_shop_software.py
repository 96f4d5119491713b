"""Pages as the themes of four shop softwares have them, without structured data: the profiles' selectors read them."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from producers.scraping import feed
from producers.scraping.page import OtherPage, UnreadablePage, parse_product
from producers.scraping.profiles import (
    MAGENTO,
    NAMES,
    PANDAPODIUM,
    PRESTASHOP,
    PROFILES,
    SHOPIFY,
    WOOCOMMERCE,
    Profile,
    named,
)
from producers.scraping.profiles import profile_of as found

AT = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
WOO = """<html lang="de"><head><meta name="generator" content="WooCommerce 9.4.1"></head>
<body class="single-product woocommerce woocommerce-page">
<nav class="woocommerce-breadcrumb"><a href="/">Start</a> / <a href="/product-category/parts/">Parts</a> / Bell</nav>
<div id="product-41" class="product type-product instock"><div class="woocommerce-product-gallery">
<div class="woocommerce-product-gallery__image"><a href="/uploads/bell.jpg"><img src="/uploads/bell-600.jpg"></a>
</div></div>
<div class="summary entry-summary"><h1 class="product_title entry-title">Bell</h1>
<p class="price"><del><span class="woocommerce-Price-amount amount">24,90 €</span></del>
<ins><span class="woocommerce-Price-amount amount">19,90 €</span></ins></p><p class="stock in-stock">12 vorrätig</p>
<form class="cart"><button name="add-to-cart" value="41">In den Warenkorb</button></form>
<div class="product_meta"><span class="sku_wrapper">SKU: <span class="sku">B-41</span></span></div></div>
<div class="woocommerce-Tabs-panel--description"><p>It rings.</p></div>
<table class="woocommerce-product-attributes"><tr><th>Colour</th><td><p>Red</p></td></tr></table></div></body></html>"""
DAWN = """<html lang="en"><head><link rel="preconnect" href="https://cdn.shopify.com"></head>
<body class="template-product"><nav class="breadcrumbs"><a href="/">Home</a><a href="/collections/parts">Parts</a></nav>
<section class="product"><div class="product__media"><a href="//cdn.shopify.com/s/files/1/bell.jpg"></a></div>
<p class="product__text inline-richtext caption-with-letter-spacing">Ringo</p>
<div class="product__title"><h1>Bell</h1></div>
<div class="price price--on-sale"><div class="price__regular">
<span class="price-item price-item--regular">€24.90</span></div>
<div class="price__sale"><s class="price-item price-item--regular">€24.90</s>
<span class="price-item price-item--sale">€19.90</span></div></div>
<p class="product__sku">B-41</p><form action="/cart/add"><input type="hidden" name="product-id" value="41">
<button type="submit" name="add">Add to cart</button></form>
<div class="product__description"><p>It rings.</p><table><tr><th>Colour</th><td>Red</td></tr></table></div></section>
</body></html>"""
CLASSIC = """<html lang="en"><head><meta name="generator" content="PrestaShop"></head>
<body id="product" class="lang-en">
<nav class="breadcrumb"><ol><li><a href="/"><span>Home</span></a></li><li><a href="/3-parts"><span>Parts</span></a></li>
<li><span>Bell</span></li></ol></nav><section id="main"><div class="images-container"><div class="product-cover">
<img src="/41-large_default/bell.jpg"></div></div><h1 class="h1">Bell</h1>
<div class="product-prices"><div class="product-discount"><span class="regular-price">€24.90</span></div>
<div class="product-price h5 has-discount"><div class="current-price">
<span class="current-price-value" content="19.9">€19.90</span><span class="discount">Save 20%</span></div></div></div>
<div class="product-actions"><form><input type="hidden" name="id_product" value="41" id="product_page_product_id">
<span id="product-availability"><i class="material-icons rtl-no-flip product-available">&#xE5CA;</i></span></form></div>
<div class="product-description"><p>It rings.</p></div>
<div id="product-details"><div class="product-manufacturer"><a href="/brand/2-ringo"><img src="/m/2.jpg" alt="Ringo">
</a></div>
<div class="product-reference"><label class="label">Reference </label><span>B-41</span></div>
<div class="product-quantities"><label class="label">In stock</label><span data-stock="12">12 Items</span></div>
<section class="product-features"><dl class="data-sheet"><dt class="name">Colour</dt><dd class="value">Red</dd></dl>
</section></div></section></body></html>"""
LUMA = """<html lang="en"><head>
<script src="/static/version1700000000/frontend/Magento/luma/en_US/requirejs/require.js">
</script></head><body class="catalog-product-view product-bell page-layout-1column" data-container="body">
<div class="breadcrumbs"><ul class="items"><li class="item home"><a href="/">Home</a></li>
<li class="item category4"><a href="/parts.html">Parts</a></li><li class="item product"><strong>Bell</strong></li>
</ul></div>
<div class="product-info-main"><h1 class="page-title"><span class="base">Bell</span></h1>
<div class="product-info-price"><div class="price-box price-final_price" data-role="priceBox" data-product-id="41">
<span class="special-price"><span class="price-container"><span class="price-label">Special Price</span>
<span id="product-price-41" data-price-amount="19.9" data-price-type="finalPrice" class="price-wrapper">
<span class="price">€19.90</span></span></span></span>
<span class="old-price"><span class="price-container"><span class="price-label">Regular Price</span>
<span data-price-amount="24.9" data-price-type="oldPrice" class="price-wrapper"><span class="price">€24.90</span></span>
</span></span></div><div class="stock available" title="Availability"><span>In stock</span></div>
<div class="availability only">Only <strong>12</strong> left</div>
<div class="product attribute sku"><strong class="type">SKU</strong><div class="value">B-41</div></div></div>
<form id="product_addtocart_form"><input type="hidden" name="product" value="41"></form></div>
<div class="product media"><div class="gallery-placeholder"><img src="/media/bell.jpg"></div></div>
<div class="product attribute description"><div class="value"><p>It rings.</p></div></div>
<div class="additional-attributes-wrapper">
<table class="data table additional-attributes" id="product-attribute-specs-table">
<tr><th class="col label">Colour</th><td class="col data" data-th="Colour">Red</td></tr>
<tr><th class="col label">Manufacturer</th><td class="col data" data-th="Manufacturer">Ringo</td></tr></table></div>
</body></html>"""
SHOPS = [
    pytest.param(WOO, "/product/bell/", WOOCOMMERCE, {"brand": None}, id="woocommerce"),
    pytest.param(DAWN, "/products/bell", SHOPIFY, {"stock_quantity": None, "brand": "Ringo"}, id="shopify"),
    pytest.param(CLASSIC, "/en/parts/41-bell.html", PRESTASHOP, {"brand": "Ringo"}, id="prestashop"),
    pytest.param(
        LUMA,
        "/parts/bell.html",
        MAGENTO,
        {"brand": "Ringo", "specs": {"Colour": "Red", "Manufacturer": "Ringo"}},
        id="magento",
    ),
]


@pytest.mark.parametrize(("text", "path", "profile", "differs"), SHOPS)
def test_a_page_without_structured_data_is_read_by_its_softwares_profile(
    text: str, path: str, profile: Profile, differs: dict[str, Any]
) -> None:
    url = f"https://shop.example{path}"
    assert found(text, url) == profile
    record = parse_product(text, url, AT, profile)
    expected = {
        "product_id": "41",
        "sku": "B-41",
        "name": "Bell",
        "category_path": ["Parts"],
        "price": Decimal("19.90"),
        "list_price": Decimal("24.90"),
        "currency": "EUR",
        "availability": "in_stock",
        "stock_quantity": 12,
        "specs": {"Colour": "Red"},
        "url": url,
    } | differs
    assert {name: record[name] for name in expected} == expected
    assert record["description"].startswith("It rings.")
    assert len(record["image_urls"]) == 1


@pytest.mark.parametrize(("text", "path", "profile", "differs"), SHOPS)
def test_a_shops_own_marks_name_it_and_no_other(text: str, path: str, profile: Profile, differs: Any) -> None:
    marked = {p.name for p in PROFILES if re.search(p.marks, text, re.IGNORECASE)} - {PANDAPODIUM.name}
    assert marked == {profile.name}
    assert re.match(profile.product_path, path)


@pytest.mark.parametrize(
    ("text", "sold_out"),
    [
        (WOO.replace("stock in-stock", "stock out-of-stock").replace("12 vorrätig", "Nicht vorrätig"), WOOCOMMERCE),
        (DAWN.replace("price--on-sale", "price--on-sale price--sold-out"), SHOPIFY),
        (CLASSIC.replace("product-available", "product-unavailable").replace("12 Items", "None"), PRESTASHOP),
        (LUMA.replace("stock available", "stock unavailable").replace("<strong>12</strong>", ""), MAGENTO),
    ],
)
def test_a_product_that_is_sold_out_says_so(text: str, sold_out: Profile) -> None:
    record = parse_product(text, "https://shop.example/products/bell", AT, sold_out)
    assert (record["availability"], record["stock_quantity"]) == ("out_of_stock", 0)


@pytest.mark.parametrize(
    ("profile", "body"),
    [
        (WOOCOMMERCE, "class='archive tax-product_cat woocommerce'"),
        (SHOPIFY, "class='template-collection'"),
        (PRESTASHOP, "id='category'"),
        (MAGENTO, "class='page-with-filter catalog-category-view'"),
    ],
)
def test_a_page_that_lists_products_is_no_product(profile: Profile, body: str) -> None:
    thing = {"@type": "Product", "name": "Bell", "offers": {"price": "1", "priceCurrency": "EUR"}}
    text = f"<body {body}><script type='application/ld+json'>{json.dumps(thing)}</script></body>"
    with pytest.raises(OtherPage, match="no product's page by its <body"):
        parse_product(text, "https://shop.example/parts.html", AT, profile)


def test_profiles_are_found_by_name_and_pandapodium_by_its_host() -> None:
    assert [named(name).name for name in NAMES] == list(NAMES)
    assert found(WOO, "https://pandapodium.cc/product/bell/") == PANDAPODIUM
    assert found("<html></html>", "https://shop.example/") is None


VARIATIONS = [
    {
        "variation_id": n,
        "sku": f"B-41-{n}",
        "attributes": {"attribute_pa_colour": colour, "attribute_size": ""},
        "display_price": price,
        "display_regular_price": 24.9,
        "is_in_stock": has,
    }
    for n, colour, price, has in ((1, "red", 19.9, True), (2, "blue", 24.9, True), (3, "green", 17.5, False))
]


def test_the_variants_of_woocommerces_form_are_the_products() -> None:
    given = html.escape(json.dumps(VARIATIONS))
    aggregate = {"@type": "AggregateOffer", "lowPrice": "17.50", "highPrice": "24.90", "priceCurrency": "EUR"}
    thing = {"@type": "Product", "name": "Bell", "sku": 41, "offers": [aggregate]}
    block = f"<script type='application/ld+json'>{json.dumps(thing)}</script>"
    form = f'<form class="variations_form cart" data-product_variations="{given}">'
    record = parse_product(WOO.replace('<form class="cart">', block + form), "https://shop.example/product/bell/", AT)
    assert (record["price"], record["list_price"], record["currency"]) == (Decimal("19.90"), Decimal("24.90"), "EUR")
    assert [(v["name"], v["sku"], v["price"], v["availability"]) for v in record["variants"]] == [
        ("red", "B-41-1", Decimal("19.90"), "in_stock"),
        ("blue", "B-41-2", Decimal("24.90"), "in_stock"),
        ("green", "B-41-3", Decimal("17.50"), "out_of_stock"),
    ]
    many = parse_product(
        WOO.replace('<form class="cart">', block + form.replace(given, "false")), "https://s.example/", AT
    )
    assert (many["price"], many["variants"]) == (Decimal("17.50"), None)


NODE = {
    "id": "gid://shopify/Product/41",
    "title": "Bell",
    "handle": "bell",
    "vendor": "Ringo",
    "description": "It rings.",
    "images": {"edges": [{"node": {"url": "https://cdn.example/bell.jpg"}}]},
    "variants": {
        "edges": [
            {
                "node": {
                    "title": title,
                    "sku": sku,
                    "availableForSale": has,
                    "price": {"amount": price, "currencyCode": "EUR"},
                    "compareAtPrice": {"amount": "24.9", "currencyCode": "EUR"},
                }
            }
            for title, sku, has, price in (("Red", "B-41", True, "19.9"), ("Blue", "B-42", False, "18.9"))
        ]
    },
}
OTHER = NODE | {"title": "Horn", "handle": "horn", "id": "gid://shopify/Product/42"}


def script_drawn(product: Any, *more: Any) -> str:
    data = {"props": {"pageProps": {"related": list(more), "product": product}}, "page": "/products/[handle]"}
    text = json.dumps(data)
    return f'<body><div id="__next"></div><script id="__NEXT_DATA__" type="application/json">{text}</script></body>'


def test_a_page_that_a_script_draws_is_read_from_its_data() -> None:
    record = parse_product(script_drawn(NODE, OTHER), "https://shop.example/products/bell", AT, SHOPIFY)
    assert (record["product_id"], record["name"], record["brand"]) == ("41", "Bell", "Ringo")
    assert (record["price"], record["list_price"], record["currency"]) == (Decimal("19.90"), Decimal("24.90"), "EUR")
    assert [(v["name"], v["sku"], v["availability"]) for v in record["variants"]] == [
        ("Red", "B-41", "in_stock"),
        ("Blue", "B-42", "out_of_stock"),
    ]
    assert record["image_urls"] == ["https://cdn.example/bell.jpg"]


@pytest.mark.parametrize(
    ("product", "price"),
    [
        ({"name": "Bell", "slug": "bell", "price": 19.9, "currency": "EUR", "inStock": True}, "19.90"),
        (
            {"name": "Bell", "slug": "bell", "price": {"centAmount": 1990, "fractionDigits": 2, "currencyCode": "EUR"}},
            "19.90",
        ),
        (
            {
                "name": "Bell",
                "slug": "bell",
                "priceRange": {"minVariantPrice": {"amount": "19.9", "currencyCode": "EUR"}},
            },
            "19.90",
        ),
    ],
)
def test_prices_are_read_in_the_words_of_several_storefronts(product: Any, price: str) -> None:
    record = parse_product(script_drawn(product), "https://shop.example/p/bell", AT)
    assert (record["price"], record["currency"]) == (Decimal(price), "EUR")


def test_a_script_drawn_page_of_another_product_is_not_taken_for_this_one() -> None:
    with pytest.raises(UnreadablePage, match="no price"):
        parse_product(script_drawn(None, OTHER), "https://shop.example/products/bell", AT, SHOPIFY)


LISTED = {
    "id": 41,
    "title": "Bell",
    "handle": "bell",
    "vendor": "Ringo",
    "product_type": "Parts",
    "body_html": "<p>It </script> rings.</p>",
    "images": [{"src": "https://cdn.shopify.com/bell.jpg"}],
    "variants": [
        {"id": 1, "title": "Red", "sku": "B-41", "price": "19.90", "compare_at_price": "24.90", "available": True},
        {"id": 2, "title": "Blue", "sku": None, "price": "18.90", "compare_at_price": None, "available": False},
    ],
}


def test_a_product_of_shopifys_list_is_read_like_any_page() -> None:
    url = feed.address_of(LISTED, "https://shop.example")
    record = parse_product(feed.page_of(LISTED, url, "EUR"), url, AT, SHOPIFY)
    assert url == "https://shop.example/products/bell"
    assert (record["product_id"], record["name"], record["brand"]) == ("41", "Bell", "Ringo")
    assert (record["price"], record["list_price"], record["currency"]) == (Decimal("19.90"), Decimal("24.90"), "EUR")
    assert record["category_path"] == ["Parts"]
    assert record["description"] == "It rings."
    assert [(v["name"], v["sku"], v["availability"], v["url"]) for v in record["variants"]] == [
        ("Red", "B-41", "in_stock", f"{url}?variant=1"),
        ("Blue", None, "out_of_stock", f"{url}?variant=2"),
    ]


def test_a_list_without_its_currency_is_refused_and_the_front_page_has_it() -> None:
    url = feed.address_of(LISTED, "https://shop.example")
    with pytest.raises(UnreadablePage, match="no currency"):
        parse_product(feed.page_of(LISTED, url, None), url, AT, SHOPIFY)
    assert feed.currency_of('<script>Shopify.currency = {"active":"EUR","rate":"1.0"};</script>') == "EUR"
    assert feed.currency_of("<html></html>") is None


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"products": 1}', b"[" * 100_000])
def test_what_is_no_list_of_products_is_refused(body: bytes) -> None:
    with pytest.raises(feed.BadFeed, match="read the shop's pages instead"):
        feed.products(body, "https://shop.example/products.json")
