import json
import urllib.request
from decimal import Decimal
from typing import Any

import pytest

from producers.demo_shop.shelf import specs
from producers.scraping.page import UnreadablePage, parse_product
from producers.scraping.site import Rules
from schemas import catalogue
from schemas.codec import Encoder


def _get(url: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)  # noqa: S310 own server


def _page(article: Any, base: str) -> tuple[str, str]:
    url = f"{base}/product/{article.slug}/"
    return _get(url).read().decode(), url


def _without_linked_data(html: str) -> str:
    head, _, rest = html.partition('<script type="application/ld+json">')
    return head + rest.partition("</script>")[2]


def test_every_product_page_reads_as_the_product_it_shows(shop: Any, moment: Any) -> None:
    articles = shop.shelf.articles(moment())
    assert len(articles) == 300
    for article in articles[::12]:
        html, url = _page(article, shop.base)
        record = parse_product(html, url, moment())
        assert record["product_id"] == article.product.product_id
        assert record["name"] == article.product.name
        assert record["brand"] == article.product.brand
        assert record["sku"] == article.product.sku
        assert (record["price"], record["list_price"]) == (article.price, article.list_price)
        assert record["currency"] == "EUR"
        assert record["category_path"] == list(article.product.category_path)
        assert record["stock_quantity"] == article.stock
        assert record["availability"] == ("in_stock" if article.stock else "out_of_stock")
        assert record["specs"] == specs(article.product)
        assert len(record["image_urls"]) == 3
        assert record["url"] == url


def test_what_is_read_fits_the_contract(shop: Any, moment: Any) -> None:
    html, url = _page(shop.shelf.articles(moment())[0], shop.base)
    record = parse_product(html, url, moment()) | {"event_id": "x", "source": "catalog", "previous_price": None}
    assert Encoder(catalogue.event("catalog.product_observed"), 1).encode(record)


def test_the_page_itself_has_the_same_as_its_json_ld(shop: Any, moment: Any) -> None:
    for article in shop.shelf.articles(moment())[::30]:
        html, url = _page(article, shop.base)
        told, shown = parse_product(html, url, moment()), parse_product(_without_linked_data(html), url, moment())
        assert {**shown, "description": "", "content_hash": ""} == {**told, "description": "", "content_hash": ""}


def test_the_hash_changes_with_what_is_read_and_not_with_the_time(shop: Any, moment: Any) -> None:
    html, url = _page(shop.shelf.articles(moment())[0], shop.base)
    first = parse_product(html, url, moment())
    moment.advance(moment.now - moment.now.replace(hour=0))
    assert parse_product(html, url, moment())["content_hash"] == first["content_hash"]
    other = parse_product(html.replace(f'"{first["price"]}"', '"1.00"'), url, moment())
    assert other["price"] == Decimal("1.00")
    assert other["content_hash"] != first["content_hash"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('<p class="price">', '<p class="gone">', "has no price"),
        ('<h1 class="product_title entry-title">', "<h1>", "has no name"),
        ("€", "", "has no currency"),
    ],
)
def test_a_page_that_lacks_what_every_product_has_is_refused_with_the_reason(
    shop: Any, moment: Any, old: str, new: str, problem: str
) -> None:
    html, url = _page(shop.shelf.articles(moment())[0], shop.base)
    with pytest.raises(UnreadablePage, match=problem):
        parse_product(_without_linked_data(html).replace(old, new), url, moment())


def test_broken_json_ld_does_not_hide_the_page(shop: Any, moment: Any) -> None:
    html, url = _page(shop.shelf.articles(moment())[0], shop.base)
    broken = html.replace('{"@context"', "{@context")
    assert parse_product(broken, url, moment())["price"] == parse_product(html, url, moment())["price"]


def test_an_unchanged_page_answers_304_and_a_changed_one_does_not(shop: Any, moment: Any) -> None:
    url = f"{shop.base}/product/{shop.shelf.articles(moment())[0].slug}/"
    first = _get(url)
    assert first.headers["Last-Modified"] == "Wed, 04 Mar 2026 10:30:00 GMT"
    with pytest.raises(urllib.error.HTTPError, match="304"):
        _get(url, **{"If-None-Match": first.headers["ETag"]})
    moment.now = moment.now.replace(year=2027)
    assert _get(url, **{"If-None-Match": first.headers["ETag"]}).status == 200


def test_an_unknown_address_is_a_404_with_a_page(shop: Any) -> None:
    for path in ("/product/nothing/", "/product-category/bikes/page/99/", "/images/P9999-0.svg", "/nowhere"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(shop.base + path)
        assert refused.value.code == 404
        assert "rolled away" in refused.value.read().decode()


def test_categories_page_through_all_their_products(shop: Any) -> None:
    found = [_get(f"{shop.base}/product-category/bikes/{page}").read().decode() for page in ("", "page/2/")]
    assert [html.count('class="product type-product') for html in found] == [24, 4]


def test_robots_of_the_shop_keeps_carts_out(shop: Any) -> None:
    rules = Rules(_get(f"{shop.base}/robots.txt").read().decode())
    assert not rules.allows(f"{shop.base}/cart/?add-to-cart=P0001")
    assert rules.allows(f"{shop.base}/product-category/bikes/")
    assert rules.sitemaps == [f"{shop.base}/sitemap_index.xml"]


def test_what_no_text_of_an_event_may_have_is_read_as_the_replacement_character(shop: Any, moment: Any) -> None:
    article = shop.shelf.articles(moment())[0]
    html, url = _page(article, shop.base)
    number = json.dumps(article.product.product_id)
    assert number in html
    html = html.replace(number, '"p\\u0000\\ud800\\ud83d\\ude8d"')
    record = parse_product(html, url, moment()) | {"event_id": "x", "source": "catalog", "previous_price": None}
    assert record["product_id"] == "p\ufffd\ufffd🚍"
    assert Encoder(catalogue.event("catalog.product_observed"), 1).encode(record)
