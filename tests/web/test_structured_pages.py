"""Pages as shops serve them: each has one right reading, or one reason for which it is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given
from hypothesis import strategies as st

from producers.scraping.fetching import Fetched
from producers.scraping.page import UnreadablePage, parse_product
from producers.scraping.price import structured_currency, structured_price

URL = "https://shop.example/product/bell/"
AT = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
OFFER = {"@type": "Offer", "price": "19.990", "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}
PRODUCT: dict[str, Any] = {
    "@context": "https://schema.org",
    "@type": "Product",
    "productID": "B1",
    "name": "Bell",
    "offers": OFFER,
}
GOOD = json.dumps(PRODUCT)


def page(*blocks: Any, body: str = "") -> str:
    texts = (block if isinstance(block, str) else json.dumps(block) for block in blocks)
    scripts = "\n".join(f'<script type="application/ld+json">{text}</script>' for text in texts)
    return f"<html><head>{scripts}</head><body>{body}</body></html>"


def read(html: str, url: str = URL) -> dict[str, Any]:
    return parse_product(html, url, AT)


def offering(*offers: Any, **more: Any) -> dict[str, Any]:
    """The record of a page whose product has these offers."""
    return read(page(PRODUCT | {"offers": list(offers)} | more))


@pytest.mark.parametrize(
    ("told", "price"),
    [
        ("19.990", "19.99"),
        (19.99, "19.99"),
        ("19,99", "19.99"),
        (",89", "0.89"),
        (".89", "0.89"),
        ("1,234.56", "1234.56"),
        ("1.234,56 €", "1234.56"),
        ("EUR 5", "5.00"),
        ("1.234.567", "1234567.00"),
        ("0", "0.00"),
        ("12.340", "12.34"),
        ("1 234.50", "1234.50"),
    ],
)
def test_the_decimal_sign_of_a_structured_price_is_the_point(told: Any, price: str) -> None:
    assert structured_price(told) == Decimal(price)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("12.345", "not in whole cents"),
        ("-5.00", "is negative"),
        ("-5,00 €", "is negative"),
        ("1,234", "thousands"),
        ("on request", "not a number"),
        (True, "not a number"),
        (float("nan"), "not a number"),
        ([1, 2], "not a number"),
        ("1e9", "not a number"),
        ("99999999999", "too long"),
    ],
)
def test_an_ambiguous_structured_price_is_refused_with_the_reason(told: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        structured_price(told)


@pytest.mark.parametrize(
    ("told", "locale", "code"),
    [
        ("€", "", "EUR"),
        ("eur", "", "EUR"),
        ("£", "", "GBP"),
        ("¥", "ja-JP", "JPY"),
        ("¥", "zh-CN", "CNY"),
        ("zł", "", "PLN"),
        ("$", "en-CA", "CAD"),
        ("kr", "sv", "SEK"),
    ],
)
def test_a_currency_is_a_code_of_iso_4217(told: str, locale: str, code: str) -> None:
    assert structured_currency(told, locale) == code


@pytest.mark.parametrize("told", ["¥", "kr", "Taler", "XXQ", ""])
def test_a_currency_that_is_several_or_none_refuses_the_page(told: str) -> None:
    with pytest.raises(UnreadablePage, match="not an ISO 4217 currency|has no currency"):
        offering(OFFER | {"priceCurrency": told})


@pytest.mark.parametrize(
    "block",
    [
        GOOD[:-1] + ",}",
        GOOD + ";",
        f"/* ours */ {GOOD} // end\n",
        f"<!-- {GOOD} -->",
        f"//<![CDATA[\n{GOOD}\n//]]>",
        f"<![CDATA[{GOOD}]]>",
        f"/*<![CDATA[*/{GOOD}/*]]>*/",
        f"\ufeff{GOOD}",
        GOOD.replace("Bell", "Bell\n"),
        GOOD.replace("https://schema.org", "http://schema.org/"),
        GOOD.replace('"Product"', '"http://schema.org/Product"'),
        GOOD.replace('"Product"', '["schema:Product", "Thing"]'),
        f"[{GOOD}]",
        json.dumps({"@graph": [PRODUCT]}),
        json.dumps({"@type": "ItemPage", "mainEntity": PRODUCT}),
    ],
)
def test_json_ld_is_read_as_shops_write_it(block: str) -> None:
    record = read(page(block))
    assert (record["price"], record["currency"], record["product_id"]) == (Decimal("19.99"), "EUR", "B1")


def test_microdata_is_read() -> None:
    record = read(
        page(
            body='<div itemscope itemtype="http://schema.org/Product"><h1 itemprop="name">Bell</h1>'
            '<meta itemprop="sku" content="S1"><div itemprop="offers" itemscope itemtype="https://schema.org/Offer">'
            '<span itemprop="price" content="19.990">19,99</span><meta itemprop="priceCurrency" content="EUR">'
            '<link itemprop="availability" href="http://schema.org/OutOfStock"></div></div>'
        )
    )
    assert (record["name"], record["product_id"], record["price"]) == ("Bell", "S1", Decimal("19.99"))
    assert record["availability"] == "out_of_stock"


def test_a_page_of_many_products_is_searched_as_often_as_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list may have thousands of them, and each search goes through the whole page."""
    item = '<div itemscope itemtype="https://schema.org/Product"><span itemprop="name">Horn</span></div>'
    searched: list[str] = []
    search = BeautifulSoup.select_one

    def counted(self: BeautifulSoup, selector: str) -> Tag | None:
        searched.append(selector)
        return search(self, selector)

    monkeypatch.setattr(BeautifulSoup, "select_one", counted)
    assert read(page(PRODUCT, body=item * 2))["name"] == "Bell"
    few = len(searched)
    searched.clear()
    assert read(page(PRODUCT, body=item * 50))["name"] == "Bell"
    assert len(searched) == few


def test_open_graph_is_read() -> None:
    metas = {"og:title": "Bell", "product:price:amount": "19.99", "product:price:currency": "EUR"}
    tags = "".join(f'<meta property="{name}" content="{value}">' for name, value in metas.items())
    record = read(f"<html><head>{tags}<meta property='product:availability' content='in stock'></head></html>")
    assert (record["name"], record["product_id"], record["price"]) == ("Bell", "bell", Decimal("19.99"))
    assert record["availability"] == "in_stock"


def test_the_lowest_price_that_is_in_stock_is_the_products_and_every_variant_is_kept() -> None:
    sold_out = OFFER | {"price": "50", "sku": "S", "availability": "http://schema.org/OutOfStock"}
    record = offering(sold_out, OFFER | {"price": "45", "sku": "M"}, OFFER | {"price": "40", "sku": "L"})
    assert (record["price"], record["availability"]) == (Decimal("40.00"), "in_stock")
    found = [(v["sku"], v["price"], v["availability"]) for v in record["variants"]]
    assert found == [("S", 50, "out_of_stock"), ("M", 45, "in_stock"), ("L", 40, "in_stock")]


def test_a_product_group_has_its_variants() -> None:
    variants = [{"@type": "Product", "sku": s, "offers": OFFER | {"price": p}} for s, p in (("S", "50"), ("M", "40"))]
    group = {"@type": "ProductGroup", "name": "Bell", "productGroupID": "G1", "hasVariant": variants}
    record = read(page(group))
    assert (record["product_id"], record["price"]) == ("G1", Decimal("40.00"))
    assert [v["sku"] for v in record["variants"]] == ["S", "M"]


def test_offers_within_an_aggregate_offer_are_read() -> None:
    inner = [{"@type": "Offer", "price": "50"}, {"@type": "Offer", "price": "40"}]
    record = offering({"@type": "AggregateOffer", "priceCurrency": "EUR", "offers": inner})
    assert (record["price"], record["currency"], len(record["variants"])) == (Decimal("40.00"), "EUR", 2)


def test_a_list_price_is_not_the_asking_price() -> None:
    before = {"@type": "UnitPriceSpecification", "priceType": "https://schema.org/ListPrice", "price": 100}
    now = {"@type": "UnitPriceSpecification", "price": 80, "priceCurrency": "EUR"}
    record = offering({"@type": "Offer", "priceSpecification": [before, now]})
    assert (record["price"], record["list_price"]) == (Decimal("80.00"), Decimal("100.00"))


@pytest.mark.parametrize(
    ("told", "symbol"),
    [
        ("https://schema.org/InStock/", "in_stock"),
        ("schema:OutOfStock", "out_of_stock"),
        (["http://schema.org/InStock"], "in_stock"),
        ("Sold Out", "out_of_stock"),
        ({"@id": "https://schema.org/PreOrder"}, "preorder"),
        (7, "unknown"),
    ],
)
def test_availability_is_read_however_it_is_written(told: Any, symbol: str) -> None:
    assert offering(OFFER | {"availability": told})["availability"] == symbol


@pytest.mark.parametrize(
    ("own", "body"),
    [
        ({"url": URL}, ""),
        ({"@id": URL + "#product"}, ""),
        ({}, "<h1>Bell</h1>"),
        ({"mainEntityOfPage": {"@id": URL}}, ""),
    ],
)
def test_the_pages_own_product_wins_over_one_that_stands_before_it(own: dict[str, Any], body: str) -> None:
    related = PRODUCT | {"name": "Lamp", "url": "/product/lamp/", "productID": "L", "offers": OFFER | {"price": "5"}}
    assert read(page(related, PRODUCT | own, body=body))["product_id"] == "B1"


@pytest.mark.parametrize(
    "html",
    [
        page(
            PRODUCT,
            {
                "@type": "BreadcrumbList",
                "itemListElement": [{"position": p, "name": "A"} for p in ("1st", None, [], 1)],
            },
        ),
        page(PRODUCT | {"image": "http://[bad"}),
        page(PRODUCT | {"url": "http://[bad"}),
        page(PRODUCT, body='<link rel="canonical" href="http://[bad">'),
        page(PRODUCT, '{"a":' * 3000 + "1" + "}" * 3000),
    ],
)
def test_what_is_odd_about_a_page_hides_nothing_else(html: str) -> None:
    assert read(html)["price"] == Decimal("19.99")


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        (page('{"a":' * 3000 + "1" + "}" * 3000), "nested"),
        (page(GOOD.replace(', "name"', ' "name"')), "line 1, column 1[0-9]{2}: Expecting ',' delimiter"),
        (page(GOOD.replace(', "name"', '\n "name"')), "line 2, column 2: Expecting ',' delimiter"),
        ("<title>Sorry</title>", "no price; it has the title 'Sorry'"),
        (page({"@type": "WebPage"}), "JSON-LD of WebPage"),
        ("", "no structured data and no title"),
    ],
)
def test_a_page_without_a_price_is_refused_with_place_or_with_what_it_has_instead(html: str, reason: str) -> None:
    with pytest.raises(UnreadablePage, match=reason):
        read(html)


def test_a_line_and_column_are_those_of_the_page() -> None:
    html = "<html>\n\n" + page(GOOD.replace(', "name"', ' "name"'))
    with pytest.raises(UnreadablePage) as refused:
        read(html)
    place = html.splitlines()[2].index(' "name"') + 2
    assert f"line 3, column {place}:" in str(refused.value)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<p>Müsli</p>".encode("cp1252"), "text/html; charset=windows-1252"),
        ('<meta charset="iso-8859-1"><p>Müsli</p>'.encode("cp1252"), "text/html"),
        ("<p>Müsli</p>".encode("cp1252"), None),
        ("<p>Müsli</p>".encode(), None),
        ("\ufeff<p>Müsli</p>".encode(), "text/html; charset=cp1252"),
    ],
)
def test_a_page_is_read_in_its_encoding(body: bytes, content_type: str | None) -> None:
    assert "<p>Müsli</p>" in Fetched(url=URL, body=body, content_type=content_type).text


@pytest.mark.parametrize("head", ['<html lang="ja">', '<html><meta charset="shift_jis">'])
def test_a_page_in_shift_jis_is_read(head: str) -> None:
    body = f"{head}<p>自転車</p>".encode("cp932")
    assert "自転車" in Fetched(url=URL, body=body).text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(
        ["Product", "Offer", URL, "http://[bad", "19.99", "-1", "EUR", "¥", "#o", "https://schema.org/InStock/"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "@type",
                    "@id",
                    "@graph",
                    "@value",
                    "offers",
                    "price",
                    "priceCurrency",
                    "hasVariant",
                    "url",
                    "name",
                    "availability",
                    "priceSpecification",
                    "priceType",
                    "itemListElement",
                    "position",
                    "image",
                    "additionalProperty",
                    "mainEntityOfPage",
                    "lowPrice",
                    "eligibleQuantity",
                    "productID",
                    "brand",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=6,
        )
    ),
    max_leaves=10,
)


def _counted_or_refused(html: str) -> None:
    try:
        record = read(html)
    except UnreadablePage:
        return
    assert record["price"] >= 0
    assert record["price"].as_tuple().exponent == -2


@pytest.mark.fuzz(inputs=6_000)
@given(
    product=st.dictionaries(st.sampled_from(sorted(PRODUCT) + ["hasVariant", "image", "url", "@id"]), JSON), other=JSON
)
def test_any_json_ld_is_an_observation_or_refused(product: dict[str, Any], other: Any) -> None:
    _counted_or_refused(page(PRODUCT | product, other))


@pytest.mark.fuzz(inputs=15_000)
@given(
    at=st.integers(0, len(GOOD)), cut=st.integers(0, 5), text=st.text(max_size=5) | st.sampled_from(list('{}[]",:;/*<'))
)
def test_json_ld_that_was_damaged_is_an_observation_or_refused(at: int, cut: int, text: str) -> None:
    _counted_or_refused(page(GOOD[:at] + text + GOOD[at + cut :]))


PIECES = [
    "<div itemscope itemtype='http://schema.org/Product'>",
    "<b itemprop=offers itemscope>",
    "<b itemprop='price'>",
    "5,00 €",
    "</div>",
    "</b>",
    "<h1>",
    "<meta property='og:price:amount' content=5>",
    "<link rel=canonical href='//[x'>",
    "<html lang>",
    "<script type='application/ld+json'>",
    "</script>",
    "<!--",
    "-->",
    "<p class=price>",
    "<![CDATA[",
    "<input name=add-to-cart value>",
]


@pytest.mark.fuzz(inputs=6_000)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=20), body=st.binary(max_size=40))
def test_any_page_is_an_observation_or_refused(pieces: list[str], body: bytes) -> None:
    whole = "".join(pieces).encode(errors="replace") + body
    _counted_or_refused(Fetched(url=URL, body=whole, content_type="text/html").text)
