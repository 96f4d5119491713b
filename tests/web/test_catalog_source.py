import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from producers.catalog import RoundCounts, Scraper
from producers.scraping.memory import Memory
from producers.scraping.profiles import WOOCOMMERCE
from producers.scraping.site import FetchFailed, HttpFetch, Pace
from schemas import catalogue
from schemas.codec import Encoder

PRODUCT_OBSERVED = catalogue.event("catalog.product_observed")
PRODUCT = """<html><body><div id="product-{id}" class="product"><div class="summary">
<h1 class="product_title">Bell {id}</h1><p class="price"><span class="amount">{price} €</span></p>
</div></div></body></html>"""


async def _no_wait(_seconds: float) -> None:
    return None


def scrape(base: str, memory: Memory, moment: Any, product_path: str = WOOCOMMERCE.product_path) -> RoundCounts:
    """One round over a site by real HTTP."""
    profile = replace(WOOCOMMERCE, product_path=product_path)

    async def go() -> RoundCounts:
        counts = [RoundCounts()]
        async with aiohttp.ClientSession() as session:
            fetch = HttpFetch(session, Pace(0.0, lambda: 0.0, _no_wait))
            log = structlog.get_logger()
            scraper = Scraper(source="catalog", memory=memory, fetch=fetch, now=moment, log=log, profile=profile)
            counts += [so_far async for so_far in scraper.round(base)]
        return counts[-1]

    return asyncio.run(go())


def drain(memory: Memory) -> list[dict[str, Any]]:
    """What would be published now, encoded once to be sure that it could be."""
    records = memory.unsent()
    for record in records:
        Encoder(PRODUCT_OBSERVED, 1).encode(record)
    memory.sent([r["event_id"] for r in records], [letter.url for letter in memory.letters()])
    return records


def small_site(prices: dict[str, str], **more: str | None) -> dict[str, str | None]:
    urls = "".join(f"<url><loc>BASE/product/{name}/</loc></url>" for name in prices)
    pages: dict[str, str | None] = {
        "/robots.txt": "User-agent: *\nDisallow: /product/secret\nSitemap: BASE/products.xml\n",
        "/products.xml": f"<urlset>{urls}</urlset>",
    }
    pages |= {f"/product/{name}/": PRODUCT.format(id=name, price=price) for name, price in prices.items()}
    return pages | more


def test_a_first_round_observes_every_product_of_the_shop(shop: Any, moment: Any, memory: Memory) -> None:
    counts = scrape(shop.base, memory, moment)
    assert (counts.pages, counts.observed, counts.failed, counts.unreadable) == (300, 300, 0, 0)
    records = drain(memory)
    assert {r["product_id"] for r in records} == {p.product_id for p in shop.shelf.products}
    assert {r["previous_price"] for r in records} == {None}
    assert len({r["event_id"] for r in records}) == 300


def test_a_price_change_in_the_shop_is_observed_with_the_price_before(shop: Any, moment: Any, memory: Memory) -> None:
    some = r"/product/.*-p003\d/$"
    scrape(shop.base, memory, moment, some)
    before = {r["product_id"]: r["price"] for r in drain(memory)}
    assert scrape(shop.base, memory, moment, some).observed == 0
    moment.advance(timedelta(hours=23))
    scrape(shop.base, memory, moment, some)
    after = {r["product_id"]: r for r in drain(memory)}
    now = {a.product.product_id: a.price for a in shop.shelf.articles(moment())}
    changed = {product_id for product_id, price in before.items() if price != now[product_id]}
    assert changed
    assert changed <= set(after)
    for record in after.values():
        assert record["price"] == now[record["product_id"]]
        assert record["previous_price"] == before[record["product_id"]]


def test_an_unchanged_product_is_published_again_after_a_day(site_of: Any, moment: Any, memory: Memory) -> None:
    site = site_of(small_site({"a": "10"}))
    for hours, expected in ((0, 1), (23, 0), (1, 1), (1, 0)):
        moment.advance(timedelta(hours=hours))
        assert scrape(site.base, memory, moment).observed == expected
    assert [r["previous_price"] and str(r["previous_price"]) for r in drain(memory)] == [None, "10.00"]


def test_what_robots_forbids_is_never_asked_for(site_of: Any, moment: Any, memory: Memory) -> None:
    site = site_of(small_site({"open": "10", "secret-bell": "99"}))
    assert scrape(site.base, memory, moment).pages == 1
    assert "/product/secret-bell/" not in site.asked
    assert "/product/open/" in site.asked


def test_other_hosts_in_a_sitemap_are_left_alone(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "1"})
    pages["/products.xml"] = (
        "<urlset><url><loc>http://127.0.0.1:9/product/x/</loc></url><url><loc>BASE/about/</loc></url></urlset>"
    )
    assert scrape(site_of(pages).base, memory, moment).pages == 0


def test_a_page_that_fails_is_counted_and_read_in_the_next_round(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10", "b": "20"}, **{"/product/b/": None})
    site = site_of(pages)
    counts = scrape(site.base, memory, moment)
    assert (counts.observed, counts.failed) == (1, 1)
    pages["/product/b/"] = PRODUCT.format(id="b", price="20")
    assert scrape(site.base, memory, moment).observed == 1
    assert [r["product_id"] for r in drain(memory)] == ["a", "b"]


def test_an_unreadable_page_is_a_dead_letter_once_for_each_content(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10"}, **{"/product/a/": "<h1>Sorry</h1>"})
    site = site_of(pages)
    assert scrape(site.base, memory, moment).unreadable == 1
    (letter,) = memory.letters()
    assert letter.body == b"<h1>Sorry</h1>"
    assert "tells no price" in letter.reason
    drain(memory)
    scrape(site.base, memory, moment)
    assert memory.letters() == []
    pages["/product/a/"] = "<h1>Still sorry</h1>"
    scrape(site.base, memory, moment)
    assert len(memory.letters()) == 1


def test_a_site_without_robots_is_read_and_one_that_fails_is_not(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10"})
    pages["/sitemap_index.xml"] = "<sitemapindex><sitemap><loc>BASE/products.xml</loc></sitemap></sitemapindex>"
    del pages["/robots.txt"]
    site = site_of(pages)
    assert scrape(site.base, memory, moment).observed == 1
    pages["/robots.txt"] = None
    with pytest.raises(FetchFailed, match="500"):
        scrape(site.base, memory, moment)


def test_a_scraper_killed_before_kafka_answered_still_has_its_observations(
    site_of: Any, moment: Any, tmp_path: Path
) -> None:
    site = site_of(small_site({"a": "10"}))
    killed = Memory(tmp_path / "catalog.sqlite")
    scrape(site.base, killed, moment)
    (before,) = killed.unsent()
    killed.close()
    reopened = Memory(tmp_path / "catalog.sqlite")
    assert reopened.unsent() == [before]
    assert scrape(site.base, reopened, moment).observed == 0
    reopened.close()


def test_requests_keep_the_pace_that_is_the_slower_of_ours_and_the_sites() -> None:
    now = [100.0]
    went_out: list[float] = []

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    async def go() -> None:
        pace = Pace(0.5, lambda: now[0], sleep)
        for _ in range(3):
            await pace.turn()
            went_out.append(now[0])
        pace.slow_down_to(2.0)
        pace.slow_down_to(0.1)
        await pace.turn()
        await pace.turn()
        went_out.append(now[0])
        now[0] += 60
        await pace.turn()
        went_out.append(now[0])

    asyncio.run(go())
    assert went_out == [100.0, 100.5, 101.0, 103.5, 163.5]
