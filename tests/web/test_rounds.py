"""What a round does when products vanish, pages change their design, or a shop has no sitemap."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from producers.scraping.drift import MARK, Drifted
from producers.scraping.fetching import NOTHING, SiteAway
from producers.scraping.memory import Memory
from producers.scraping.rounds import Scraper
from tests.web.test_catalog_source import PRODUCT, drain, scrape, small_site

MINUTES = timedelta(minutes=5)


def scraper_of(memory: Memory, moment: Any, **more: Any) -> Scraper:
    return Scraper(source="catalog", memory=memory, fetch=None, now=moment, log=structlog.get_logger(), **more)  # type: ignore[arg-type]


def delisted(pages: dict[str, Any], *names: str) -> None:
    """Taken out of the sitemap; the page itself stays."""
    for name in names:
        pages["/products.xml"] = pages["/products.xml"].replace(f"<url><loc>BASE/product/{name}/</loc></url>", "")


def test_a_product_that_vanishes_is_published_as_discontinued_once(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10", "b": "20"})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    del pages["/product/b/"]
    delisted(pages, "b")
    counts = []
    for _ in range(4):
        moment.advance(MINUTES)
        counts.append(scrape(site.base, memory, moment))
    assert [(c.missing, c.gone) for c in counts] == [(1, 0), (1, 1), (0, 0), (0, 0)]
    (gone,) = drain(memory)
    assert (gone["product_id"], gone["availability"], gone["stock_quantity"]) == ("b", "discontinued", None)
    assert (gone["price"], gone["previous_price"], gone["name"]) == (20, 20, "Bell b")


def test_a_shop_given_without_encryption_is_known_by_its_host(memory: Memory, moment: Any) -> None:
    seen = {"shop": "shop.example", "product_id": "a", "price": 1, "currency": "EUR", "content_hash": "h"}
    memory.looked(
        "https://shop.example/product/a/", NOTHING, moment(), seen, seen | {"event_id": "e", "occurred_at": moment()}
    )
    assert memory.has_products_of("shop.example")
    assert memory.unlisted("shop.example", []) == ["https://shop.example/product/a/"]


def test_a_product_that_comes_back_is_observed_again(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10", "b": "20"})
    site, page = site_of(pages), pages["/product/b/"]
    for there in (True, False, False, True, True):
        moment.advance(MINUTES)
        pages["/product/b/"] = page
        if not there:
            del pages["/product/b/"]
        scrape(site.base, memory, moment)
    found = [r["availability"] for r in drain(memory) if r["product_id"] == "b"]
    assert found == ["unknown", "discontinued", "unknown"]


def test_a_page_that_is_away_for_one_round_is_not_gone(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10", "b": "20"})
    site, page = site_of(pages), pages["/product/b/"]
    for there in (True, False, True, False, True):
        moment.advance(MINUTES)
        pages["/product/b/"] = page
        if not there:
            del pages["/product/b/"]
        assert scrape(site.base, memory, moment).gone == 0


def test_a_product_that_is_only_taken_out_of_the_sitemap_is_still_read(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({"a": "10", "b": "20"})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    delisted(pages, "b")
    pages["/product/b/"] = PRODUCT.format(id="b", price="21")
    moment.advance(MINUTES)
    assert scrape(site.base, memory, moment).observed == 1
    moment.advance(MINUTES)
    assert scrape(site.base, memory, moment).gone == 0


def test_many_products_that_vanish_at_once_are_doubted_for_a_day(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({f"p{n}": "10" for n in range(10)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    for n in range(8):
        del pages[f"/product/p{n}/"]
    with capture_logs() as logs:
        for _ in range(3):
            moment.advance(timedelta(hours=7))
            assert scrape(site.base, memory, moment).gone == 0
    assert "for 8 of 10 products" in logs[0]["problem"] + logs[-1]["problem"]
    moment.advance(timedelta(hours=11))
    assert scrape(site.base, memory, moment).gone == 8
    assert [r["product_id"] for r in drain(memory) if r["availability"] == "discontinued"] == [
        f"p{n}" for n in range(8)
    ]


def test_an_outage_makes_no_product_vanish_and_ends_the_round(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({f"p{n}": "10" for n in range(10)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    pages.update({path: None for path in pages if path.startswith("/product/")})
    for _ in range(3):
        moment.advance(MINUTES)
        asked = len(site.asked)
        with pytest.raises(SiteAway, match="5 pages in a row"):
            scrape(site.base, memory, moment)
        assert sum(path.startswith("/product/") for path in site.asked[asked:]) == 5 * 3
    assert drain(memory) == []


def test_a_page_that_now_shows_another_product_makes_the_first_one_vanish(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({"a": "10"})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    pages["/product/a/"] = PRODUCT.format(id="z", price="30")
    gone = []
    for _ in range(3):
        moment.advance(MINUTES)
        gone.append(scrape(site.base, memory, moment).gone)
    assert gone == [0, 1, 0]
    assert [(r["product_id"], r["availability"]) for r in drain(memory)] == [
        ("a", "unknown"),
        ("z", "unknown"),
        ("a", "discontinued"),
    ]


def test_a_new_design_stops_publishing_and_the_alarm_names_field_and_page(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({f"p{n}": "10" for n in range(12)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    pages.update({f"/product/p{n}/": PRODUCT.format(id=f"p{n}", price="99") for n in range(12)})
    for n in range(6):
        pages[f"/product/p{n}/"] = str(pages[f"/product/p{n}/"]).replace('class="price"', 'class="cost"')
    letters = []
    for _ in range(3):
        moment.advance(MINUTES)
        with pytest.raises(Drifted, match=r"6 of 12 pages .* 6 lack the price") as drifted:
            scrape(site.base, memory, moment)
        assert memory.unsent() == []
        letters += memory.letters()
        drain(memory)
        assert "/product/p" in drifted.value.url
    assert [MARK in letter.reason for letter in letters] == [True]
    assert b"cost" in letters[0].body
    pages.update({f"/product/p{n}/": PRODUCT.format(id=f"p{n}", price="99") for n in range(12)})
    assert scrape(site.base, memory, moment).observed == 12


def test_a_few_pages_that_cannot_be_read_stop_nothing(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({f"p{n}": "10" for n in range(30)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    for n in range(6):
        pages[f"/product/p{n}/"] = "<h1>Sorry</h1>"
    moment.advance(MINUTES)
    counts = scrape(site.base, memory, moment)
    assert (counts.unreadable, counts.unchanged) == (6, 24)
    assert len(memory.letters()) == 6


def test_broken_pages_side_by_side_are_judged_by_the_pages_after_them(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({f"p{n:03}": "10" for n in range(120)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    pages.update({f"/product/p{n:03}/": PRODUCT.format(id=f"p{n:03}", price="11") for n in range(120)})
    pages.update({f"/product/p{n:03}/": "<h1>Sorry</h1>" for n in range(20)})
    counts = scrape(site.base, memory, moment)
    assert (counts.unreadable, counts.observed) == (20, 100)
    pages.update({f"/product/p{n:03}/": "<h1>Sorry</h1>" for n in range(20, 45)})
    with pytest.raises(Drifted, match="25 of 100 pages"):
        scrape(site.base, memory, moment)


def test_a_shop_of_which_nothing_can_be_read_is_one_dead_letter(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({f"p{n}": "10" for n in range(30)})
    pages.update({path: "<h1>Bell</h1>" for path in pages if path.startswith("/product/")})
    with pytest.raises(Drifted, match="30 of 30 pages that were read"):
        scrape(site_of(pages).base, memory, moment)
    assert len(memory.letters()) == 1


def test_a_state_file_of_the_version_before_is_read_on(site_of: Any, moment: Any, tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    old = sqlite3.connect(path)
    old.executescript(
        "create table products (shop text, product_id text, price text not null, content_hash text not null,"
        " published_at real not null, primary key (shop, product_id)) without rowid;"
        "create table pages (url text primary key, etag text, read_at real not null) without rowid;"
    )
    site = site_of(pages := small_site({"a": "10", "b": "20"}))
    shop = site.base.removeprefix("http://")
    at = moment().timestamp()
    for name in ("a", "b"):
        old.execute("insert into products values (?, ?, '9.00', 'x', ?)", (shop, name, at))
        old.execute("insert into pages values (?, 'old', ?)", (f"{site.base}/product/{name}/", at))
    old.commit()
    old.close()
    memory = Memory(path)
    del pages["/product/b/"]
    assert scrape(site.base, memory, moment).observed == 1
    assert [(r["product_id"], r["previous_price"]) for r in drain(memory)] == [("a", 9)]
    moment.advance(MINUTES)
    assert scrape(site.base, memory, moment).gone == 0  # what it said is not known
    memory.close()


def linked(*paths: str, menu: str = "") -> str:
    links = "".join(f'<a href="{path}">x</a>' for path in paths)
    return f"<html><nav>{menu}</nav>{links}</html>"


def test_a_shop_without_a_sitemap_is_read_from_its_lists(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = {
        "/robots.txt": "User-agent: *\nDisallow: /product/secret",
        "/": linked("/product-category/parts/", "/about/", "https://other.example/product/x/"),
        "/product-category/parts/": linked(
            "/product/a/",
            "/product/a/#reviews",
            "/product/secret-b/",
            "?orderby=price",
            "/product-category/parts/page/2/",
        ),
        "/product-category/parts/page/2/": linked(
            "/product/b/?utm=1", "/product-category/parts/", "http://[bad", "/product-category/broken/"
        ),
        "/product-category/broken/": "<a href='/product/a/'>x</a><![C[ x",
        **{f"/product/{name}/": PRODUCT.format(id=name, price="10") for name in ("a", "b", "secret-b")},
    }
    site = site_of(pages)
    assert scrape(site.base, memory, moment).observed == 2
    assert {r["product_id"] for r in drain(memory)} == {"a", "b"}
    assert "/product/secret-b/" not in site.asked


LUMA = (
    '<html><script src="/static/version1/frontend/Magento/luma/x.js"></script><body class="catalog-product-view">'
    '<div class="product-info-main"><h1 class="page-title">Bell</h1><div class="price-box" data-product-id="{id}">'
    '<span data-price-type="finalPrice">€{price}</span></div></div></body></html>'
)


def test_a_shops_software_is_found_and_its_lists_are_left_out(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = {
        "/": LUMA.format(id="0", price="0"),
        "/sitemap.xml": "<urlset><url><loc>BASE/parts.html</loc></url><url><loc>BASE/bell.html</loc></url></urlset>",
        "/parts.html": "<body class='catalog-category-view'></body>",
        "/bell.html": LUMA.format(id="41", price="19.90"),
    }
    counts = scrape(site_of(pages).base, memory, moment)
    assert (counts.observed, counts.others, counts.unreadable) == (1, 1, 0)
    assert [r["product_id"] for r in drain(memory)] == ["41"]


def listed(*prices: str) -> str:
    return json.dumps(
        {
            "products": [
                {"id": n, "title": f"Bell {n}", "handle": f"bell-{n}", "variants": [{"price": price}]}
                for n, price in enumerate(prices)
            ]
        }
    )


def test_a_shopify_list_is_read_to_its_end_and_a_product_that_left_it_is_gone(
    moment: Any, memory: Memory, serving_of: Any
) -> None:
    prices = ["10.00", "11.00", "12.00"]

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/products.json":
            at = int(request.query["page"]) - 1
            return web.Response(text=listed(*prices) if at == 0 else listed())
        if request.path == "/":
            return web.Response(text='Shopify.currency = {"active":"EUR","rate":"1.0"};', content_type="text/html")
        raise web.HTTPNotFound

    feed = f"{serving_of(answer)}/products.json"
    assert scrape(feed, memory, moment).observed == 3
    prices[1] = "11.50"
    moment.advance(MINUTES)
    assert scrape(feed, memory, moment).observed == 1
    prices.pop()
    gone = []
    for _ in range(3):
        moment.advance(MINUTES)
        gone.append(scrape(feed, memory, moment).gone)
    assert gone == [0, 1, 0]
    found = [(r["product_id"], str(r["price"]), r["availability"]) for r in drain(memory)]
    assert found[3:] == [("1", "11.50", "unknown"), ("2", "12.00", "discontinued")]


def test_one_after_the_other_or_several_at_once_a_round_sees_the_same(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({f"p{n:02}": "10" for n in range(40)})
    site = site_of(pages)
    assert scrape(site.base, memory, moment, scraper=scraper_of(memory, moment, at_once=4)).observed == 40
    assert len(drain(memory)) == 40
