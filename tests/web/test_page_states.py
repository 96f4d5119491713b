"""What an answer makes of a page and its product: lost, missing, gone, or still there; and when an alarm ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from producers.scraping import rounds
from producers.scraping.drift import MARK, Drifted
from producers.scraping.memory import Memory
from tests.web.test_catalog_source import PRODUCT, drain, scrape, small_site
from tests.web.test_rounds import LUMA, MINUTES, delisted, linked

FRONT = "<html><body class='woocommerce'><h1>Welcome</h1></body></html>"
NAMES = [f"p{n}" for n in range(12)]


def test_delisted_pages_that_lead_to_the_front_page_vanish_and_stop_nothing(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages: dict[str, Any] = {**small_site(dict.fromkeys(NAMES, "10")), "/": FRONT}
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    pages.update({f"/product/{name}/": ("/",) for name in NAMES[:3]})
    delisted(pages, *NAMES[:2])
    found = []
    for _ in range(3):
        moment.advance(MINUTES)
        counts = scrape(site.base, memory, moment)
        found.append((counts.missing, counts.unreadable, counts.gone))
    assert found == [(3, 0, 0), (3, 0, 3), (1, 0, 0)]
    assert memory.letters() == []


def test_pages_that_the_shop_lists_no_more_are_no_sign_of_a_new_design(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages: dict[str, Any] = small_site(dict.fromkeys(NAMES, "10"))
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    pages.update({f"/product/{name}/": "<h1>Sold out</h1>" for name in NAMES[:6]})
    delisted(pages, *NAMES[:6])
    assert scrape(site.base, memory, moment).unreadable == 6
    pages["/products.xml"] = "<urlset></urlset>"
    pages.update({f"/product/{name}/": "<h1>New</h1>" for name in NAMES[6:]})
    with pytest.raises(Drifted, match="6 of 6 pages"):
        scrape(site.base, memory, moment)


def test_products_whose_pages_become_categories_are_judged_once(site_of: Any, moment: Any, memory: Memory) -> None:
    names = [f"p{n:02}" for n in range(40)]
    locations = "".join(f"<url><loc>BASE/{name}.html</loc></url>" for name in names)
    pages: dict[str, Any] = {"/": LUMA.format(id="0", price="0"), "/sitemap.xml": f"<urlset>{locations}</urlset>"}
    pages |= {f"/{name}.html": LUMA.format(id=name, price="10") for name in names}
    site = site_of(pages)
    scrape(site.base, memory, moment)
    for changed in (names[:5], names[5:10]):
        pages.update({f"/{name}.html": "<body class='catalog-category-view'></body>" for name in changed})
        moment.advance(MINUTES)
        scrape(site.base, memory, moment)
    moment.advance(MINUTES)
    assert scrape(site.base, memory, moment).others == 10


def test_each_new_design_is_an_alarm_and_its_end_is_published(site_of: Any, moment: Any, memory: Memory) -> None:
    pages: dict[str, Any] = small_site(dict.fromkeys(NAMES, "10"))
    site, good = site_of(pages), dict(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    for heading in ("New", "Newer"):
        pages.update({f"/product/{name}/": f"<h1>{heading}</h1>" for name in NAMES})
        moment.advance(MINUTES)
        with pytest.raises(Drifted):
            scrape(site.base, memory, moment)
        assert [MARK in letter.reason for letter in memory.letters()] == [True]
        drain(memory)
        pages.update(good)
        published = []
        for _ in range(3):
            moment.advance(MINUTES)
            scrape(site.base, memory, moment)
            published.append(len(drain(memory)))
        assert published == [0, 1, 0]


def test_many_pages_without_a_product_do_not_wait_for_ever_to_be_judged(
    site_of: Any, moment: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LARGEST_BLOCK", 50)
    pages: dict[str, Any] = small_site({f"p{n:03}": "10" for n in range(20)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    pages.update(small_site({f"p{n:03}": "10" for n in range(200)}))
    pages.update({f"/product/p{n:03}/": "<h1>Sorry</h1>" for n in (*range(10), *range(20, 200))})
    asked = len(site.asked)
    with pytest.raises(Drifted, match="10 of 20 pages"):
        scrape(site.base, memory, moment)
    assert sum("/product/" in path for path in site.asked[asked:]) <= 51


def test_a_list_made_to_be_slow_is_left_out(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = {
        "/": linked("/product-category/slow/", "/product-category/parts/"),
        "/product-category/slow/": "<a href='/product/b/'>" + "<p" * 200_000,
        "/product-category/parts/": linked("/product/a/"),
        "/product/a/": PRODUCT.format(id="a", price="10"),
        "/product/b/": PRODUCT.format(id="b", price="10"),
    }
    scrape(site_of(pages).base, memory, moment)
    assert [r["product_id"] for r in drain(memory)] == ["a"]


def tagged(price: list[str], asked: list[Any]) -> Any:
    """A shop of one product whose address leads to another path, or not; each page has the same ETag."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/sitemap.xml":
            name = "moved" if "moved" in price else "a"
            return web.Response(text=f"<urlset><url><loc>http://{request.host}/product/{name}/</loc></url></urlset>")
        if request.path == "/product/moved/":
            raise web.HTTPFound("/product/a/")
        if request.path != "/product/a/":
            raise web.HTTPNotFound
        asked.append(request.headers.get("If-None-Match"))
        if request.headers.get("If-None-Match") == '"1"':
            raise web.HTTPNotModified
        return web.Response(
            text=PRODUCT.format(id="a", price=price[0]), content_type="text/html", headers={"ETag": '"1"'}
        )

    return answer


@pytest.mark.parametrize("way", ["", "moved"])
def test_what_a_page_held_is_sent_to_this_page_alone(serving_of: Any, moment: Any, memory: Memory, way: str) -> None:
    asked: list[Any] = []
    base = serving_of(tagged(["10", way], asked))
    for _ in range(2):
        moment.advance(MINUTES)
        scrape(base, memory, moment)
    assert asked == [None, None if way else '"1"']


def test_a_product_is_published_each_day_though_its_page_was_read_meanwhile(
    serving_of: Any, moment: Any, memory: Memory
) -> None:
    asked: list[Any] = []
    base = serving_of(tagged(["10"], asked))
    scrape(base, memory, moment)
    assert len(drain(memory)) == 1
    memory.keep_profile(base.removeprefix("http://"), "woocommerce")  # the page is read in full once more
    for hours, published in ((23, 0), (1, 1)):
        moment.advance(timedelta(hours=hours))
        scrape(base, memory, moment)
        assert len(drain(memory)) == published
