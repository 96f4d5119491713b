import asyncio
import gzip
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from producers import catalog
from producers.scraping import addresses, rounds
from producers.scraping.fetching import Fetched, FetchFailed, HttpFetch, Pace
from producers.scraping.memory import Memory
from producers.scraping.rounds import DEAD_HEAD_BYTES, RoundCounts, Scraper
from producers.scraping.site import Rules
from producers.scraping.sitemaps import BadSitemap, read_sitemap
from schemas import catalogue
from schemas.codec import Encoder

PRODUCT_OBSERVED = catalogue.event("catalog.product_observed")
PRODUCT = """<html><body><div id="product-{id}" class="product"><div class="summary">
<h1 class="product_title">Bell {id}</h1><p class="price"><span class="amount">{price} €</span></p>
</div></div></body></html>"""


def hurried() -> Pace:
    """A pace on a clock that waiting moves at once."""
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    return Pace(0.0, lambda: now[0], sleep)


def scrape(
    base: str,
    memory: Memory,
    moment: Any,
    product_path: str | None = None,
    scraper: Scraper | None = None,
) -> RoundCounts:
    """One round over a site by real HTTP, by a scraper that is new or was there in the round before."""

    async def go() -> RoundCounts:
        counts = [RoundCounts()]
        async with addresses.session(addresses.public_or_private) as session:
            fetch = HttpFetch(session, hurried(), tries=3)
            log = structlog.get_logger()
            new = Scraper(source="catalog", memory=memory, fetch=fetch, now=moment, log=log, product_path=product_path)
            if scraper is not None:
                scraper.fetch = fetch
            counts += [so_far async for so_far in (scraper or new).round(base)]
        return counts[-1]

    return asyncio.run(go())


def drain(memory: Memory) -> list[dict[str, Any]]:
    """What would be published now, encoded once to be sure that it could be."""
    records = memory.unsent()
    for record in records:
        Encoder(PRODUCT_OBSERVED, 1).encode(record)
    memory.sent([r["event_id"] for r in records], [letter.url for letter in memory.letters()])
    return records


def small_site(prices: dict[str, str], **more: str | bytes | None) -> dict[str, str | bytes | None]:
    urls = "".join(f"<url><loc>BASE/product/{name}/</loc></url>" for name in prices)
    pages: dict[str, str | bytes | None] = {
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
    assert "has no price" in letter.reason
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
        await pace.turn()
        await pace.turn()
        went_out.append(now[0])
        now[0] += 60
        pace.slow_down_to(0.1)
        for _ in range(2):
            await pace.turn()
            went_out.append(now[0])

    asyncio.run(go())
    assert went_out == [100.0, 100.5, 101.0, 103.5, 163.5, 164.0]


SITEMAP = "<urlset><url><loc>BASE/products/a</loc></url></urlset>"
GZIPPED = gzip.compress(b"<urlset><url><loc>/products/a</loc></url></urlset>", mtime=0)


@pytest.mark.parametrize(
    "files",
    [
        {"/robots.txt": "Sitemap: /sm.xml", "/sm.xml": SITEMAP},
        {"/sitemap.xml": SITEMAP},
        {"/sitemap_index.xml": SITEMAP},
        {"/sitemap.xml": GZIPPED},
        {"/sitemap.xml": "\n" + SITEMAP},
        {"/sitemap.xml": "BASE/products/a\nBASE/about\n"},
        {
            "/sitemap.xml": "<sitemapindex><sitemap><loc>BASE/1.xml.gz</loc></sitemap></sitemapindex>",
            "/1.xml.gz": SITEMAP,
        },
    ],
)
def test_a_sitemap_is_found_and_read_wherever_and_however_it_is(
    site_of: Any, moment: Any, memory: Memory, files: dict[str, str | bytes]
) -> None:
    site = site_of({**files, "/products/a": PRODUCT.format(id="a", price="10")})
    assert scrape(site.base, memory, moment).observed == 1


@pytest.mark.parametrize("broken", [None, b"\x1f\x8bnot gzip", GZIPPED[:-9], "<urlset><url>", "<html></html>"])
def test_a_broken_sitemap_is_one_warning_and_the_others_are_read(
    site_of: Any, moment: Any, memory: Memory, broken: str | bytes | None
) -> None:
    pages = small_site({"a": "10"})
    pages["/robots.txt"] = "Sitemap: /index.xml"
    names = "".join(f"<sitemap><loc>BASE/{name}.xml</loc></sitemap>" for name in ("gone", "broken", "products"))
    pages |= {"/index.xml": f"<sitemapindex>{names}</sitemapindex>", "/broken.xml": broken}
    site = site_of(pages)
    scraper = Scraper(source="catalog", memory=memory, fetch=None, now=moment, log=structlog.get_logger())  # type: ignore[arg-type]
    with capture_logs() as first:
        assert scrape(site.base, memory, moment, scraper=scraper).pages == 1
    assert [line["problem"].partition(": ")[0] for line in first] == [
        f"{site.base}/gone.xml",
        f"{site.base}/broken.xml",
    ]
    with capture_logs() as second:
        assert scrape(site.base, memory, moment, scraper=scraper).pages == 1
    assert second == []


def test_a_site_whose_only_sitemap_is_broken_is_not_asked_again_at_once(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    site = site_of({"/robots.txt": "Sitemap: /sm.xml", "/sm.xml": b"\x1f\x8bnot gzip"})
    with pytest.raises(BadSitemap, match=r"no sitemap of .* can be read: .*its gzip is broken.*name one in its robots"):
        scrape(site.base, memory, moment)
    with pytest.raises(FetchFailed, match="can be read"):
        scrape(site_of({"/robots.txt": "Sitemap: /sm.xml", "/sm.xml": None}).base, memory, moment)


@pytest.mark.parametrize(
    ("sitemap", "problem"),
    [
        (
            "<urlset><url><loc>BASE/shop/bell</loc></url></urlset>",
            "name 1 addresses, but no .*/shop/bell; give the pattern",
        ),
        ("<urlset/>", "list no pages"),
    ],
)
def test_a_round_that_reads_nothing_is_reported_with_what_to_do(
    site_of: Any, moment: Any, memory: Memory, sitemap: str, problem: str
) -> None:
    with capture_logs() as logs:
        assert scrape(site_of({"/sitemap.xml": sitemap}).base, memory, moment).pages == 0
    (line,) = logs
    assert re.search(problem, line["problem"])


def test_rules_behind_a_byte_order_mark_are_kept(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"open": "10", "secret-bell": "99"})
    pages["/robots.txt"] = (
        "\ufeffUser-agent: *\nDisallow: /product/secret\nCrawl-delay: 7\nSitemap: BASE/products.xml\n"
    )
    site = site_of(pages)
    assert scrape(site.base, memory, moment).pages == 1
    assert "/product/secret-bell/" not in site.asked
    assert Rules("\ufeffUser-agent: *\nCrawl-delay: 7").crawl_delay_seconds == 7


def test_a_page_that_nobody_foresaw_is_a_dead_letter_and_the_round_goes_on(
    site_of: Any, moment: Any, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = rounds.parse_product

    def defective(html: str, url: str, *more: Any) -> dict[str, Any]:
        return read(html, url, *more) if "/b/" in url else {}["defect"]

    monkeypatch.setattr(rounds, "parse_product", defective)
    counts = scrape(site_of(small_site({"a": "10", "b": "20"})).base, memory, moment)
    assert (counts.observed, counts.unreadable) == (1, 1)
    assert "KeyError" in memory.letters()[0].reason


def test_prices_of_two_currencies_are_never_compared(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10"})
    site = site_of(pages)
    for number, sign in ((100, "$"), (92, "€"), (100, "$"), (92, "€"), (95, "$")):
        pages["/product/a/"] = PRODUCT.format(id="a", price=number).replace("€", sign)
        scrape(site.base, memory, moment)
    found = [(r["currency"], r["previous_price"], r["price"]) for r in drain(memory)]
    assert found == [("USD", None, 100), ("EUR", None, 92), ("USD", 100, 100), ("EUR", 92, 92), ("USD", 100, 95)]


class Refusing:
    """What the source publishes with, for as much of it as sending uses; every event is encoded, and none goes out."""

    def __init__(self) -> None:
        self.letters: list[tuple[bytes, Exception]] = []
        self.publisher = self
        self.log = structlog.get_logger()

    def publish(self, event: Any, record: dict[str, Any]) -> None:
        Encoder(event, 1).encode(record)

    def dead_letter(self, event: Any, body: bytes, *, error: Exception, **more: Any) -> None:
        self.letters.append((body, error))

    def flush(self) -> None:
        return None


def test_an_event_past_its_limit_is_a_dead_letter_once_and_the_memory_does_not_take_it_as_sent(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({"a": "10", "b": "20"})
    rows = "".join(f"<tr><th>n{n}</th><td>{'x' * 1_000}</td></tr>" for n in range(700))
    pages["/product/a/"] = PRODUCT.format(id="a", price="10") + (
        f"<table class='woocommerce-product-attributes'>{rows}</table>"
    )
    site, this = site_of(pages), Refusing()
    for _ in range(2):
        scrape(site.base, memory, moment)
        catalog.send(this, memory)  # type: ignore[arg-type]
    ((body, error),) = this.letters
    assert len(body) == DEAD_HEAD_BYTES
    assert "its topic takes 524,288" in str(error)
    assert memory.unsent() == []
    assert memory.known(f"{site.base.removeprefix('http://')}", "a") is None
    pages["/product/a/"] = PRODUCT.format(id="a", price="10")
    assert scrape(site.base, memory, moment).observed == 1


XML = SITEMAP.replace("BASE", "https://shop.example").encode()


@pytest.mark.fuzz(inputs=15_000)
@given(
    body=st.binary(max_size=60)
    | st.builds(
        lambda at, cut, put: XML[:at] + put + XML[at + cut :],
        st.integers(0, len(XML)),
        st.integers(0, 9),
        st.binary(max_size=6) | st.sampled_from([b"<!DOCTYPE a>", b"<loc>http://[bad</loc>", b"<?xml encoding='x'?>"]),
    ),
    packed=st.booleans(),
    cut=st.integers(0, 12),
)
def test_any_sitemap_is_addresses_or_refused(body: bytes, packed: bool, cut: int) -> None:
    body = gzip.compress(body)[: -cut or None] if packed else body
    try:
        kind, found = read_sitemap(Fetched(url="https://shop.example/sitemap.xml", body=body))
    except BadSitemap as refused:
        assert "sitemap" in str(refused)  # noqa: PT017
        return
    assert kind in ("urlset", "sitemapindex")
    assert all(isinstance(url, str) for url in found)


LINES = [
    "User-agent: *",
    "Disallow: /",
    "Allow: /product",
    "Crawl-delay: x",
    "Crawl-delay: -1e999",
    "Sitemap: //[bad",
    "\ufeff",
]


@pytest.mark.fuzz(inputs=20_000)
@given(lines=st.lists(st.sampled_from(LINES) | st.text(max_size=12), max_size=8), url=st.text(max_size=12))
def test_any_robots_is_rules(lines: list[str], url: str) -> None:
    rules = Rules("\n".join(lines), "https://shop.example")
    assert rules.allows(f"https://shop.example/{url}") in (True, False)
    assert rules.crawl_delay_seconds >= 0
    assert all(isinstance(named, str) for named in rules.sitemaps)
