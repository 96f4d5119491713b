"""What a site sends besides its pages' content (encodings, headers, rules, wishes) ends no process and is obeyed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from producers.retry_after import retry_after
from producers.scraping import feed
from producers.scraping.fetching import Fetched, FetchFailed, SiteAway, validators
from producers.scraping.memory import Memory
from producers.scraping.site import Rules
from producers.scraping.sitemaps import BadSitemap
from tests.web.test_catalog_source import PRODUCT, drain, scrape, small_site
from tests.web.test_rounds import LUMA, MINUTES, delisted

PAGE = PRODUCT.format(id="a", price="10")
CODECS = ["hex", "idna", "punycode", "undefined", "unicode_escape", "raw-unicode-escape", "rot13", "utf-7", "no-such"]


@pytest.mark.parametrize("name", CODECS)
def test_a_page_that_names_no_encoding_of_texts_is_read_as_if_it_named_none(name: str) -> None:
    page = f"<meta charset={name}>{PAGE}".encode()
    for body, content_type in ((page, "text/html"), (PAGE.encode(), f"text/html; charset={name}")):
        assert Fetched(url="u", body=body, content_type=content_type).text.endswith(PAGE)


@given(name=st.from_regex(r"[\w-]{1,20}", fullmatch=True), body=st.binary(max_size=200))
def test_any_bytes_under_any_encodings_name_are_a_text(name: str, body: bytes) -> None:
    Fetched(url="u", body=f"<meta charset={name}>".encode() + body, content_type=f"text/html; charset={name}").text  # noqa: B018


@pytest.fixture
def latin_site() -> Iterator[Any]:
    """A shop of two pages whose answers have these headers, of any bytes; gives its address."""
    servers = []

    def serve(status: int, headers: dict[str, str]) -> str:
        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_page = self.path.startswith("/product/")
                body = PAGE if is_page else f"<urlset><url><loc>{base}/product/a/</loc></url></urlset>"
                self.send_response(404 if self.path == "/robots.txt" else status if is_page else 200)
                for name, value in headers.items() if is_page else ():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_args: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Answering))
        base = f"http://127.0.0.1:{servers[-1].server_port}"
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return base

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"ETag": '"\xff"', "Last-Modified": "\xfe"}),
        (200, {"Content-Type": "text/html; charset=hex"}),
        (200, {"Content-Type": "\xff"}),
        (503, {"Retry-After": "Wed, 04 Mar 99999999999 10:30:11 GMT"}),
        (302, {"Location": "/\xff"}),
        (302, {"Location": "http://\xff/"}),
    ],
)
def test_no_header_ends_a_round(
    moment: Any, memory: Memory, latin_site: Any, status: int, headers: dict[str, str]
) -> None:
    base = latin_site(status, headers)
    for _ in range(2):
        moment.advance(MINUTES)
        counts = scrape(base, memory, moment)
        assert (counts.pages, counts.failed) == (1, int(status != 200))
    assert len(drain(memory)) == int(status == 200)


@given(header=st.sampled_from(["ETag", "Last-Modified", "Retry-After", "Content-Type"]), text=st.text(max_size=40))
def test_any_header_is_a_page_or_a_failure(header: str, text: str) -> None:
    """Headers come as texts whose half characters stand for bytes."""
    given = text.encode("utf-8", "replace").decode("ascii", "surrogateescape")
    if header == "Retry-After":
        assert retry_after(given, datetime(2026, 3, 4, tzinfo=UTC)) >= 0
    elif header == "Content-Type":
        assert Fetched(url="u", body=b"x", content_type=given).text == "x"
    else:
        held = validators({header: given})
        assert all(value.isascii() for value in held.headers.values())


NESTED: Any = [[]]


@pytest.mark.parametrize(
    "product",
    [
        {"handle": "\ud800", "title": "\ud800", "variants": [{"price": "\ud800"}]},
        {"handle": NESTED, "title": NESTED, "variants": NESTED, "images": NESTED},
        {"id": 10**400, "variants": [{"id": 10**400, "price": 10**400}]},
        {"id": True, "product_type": {}, "variants": [{"price": float("nan"), "available": []}]},
    ],
)
def test_no_product_of_a_list_ends_a_round(serving_of: Any, moment: Any, memory: Memory, product: Any) -> None:
    listed = json.dumps({"products": [product, {"id": 7, "title": "Bell", "variants": [{"price": "9.00"}]}]})
    pages = {"/products.json": listed, "/": 'Shopify.currency = {"active":"EUR"}'}
    counts = scrape(f"{serving_of(answering(pages))}/products.json", memory, moment)
    assert (counts.pages, counts.observed, counts.unreadable) == (2, 1, 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["id", "handle", "title", "vendor", "body_html", "images", "variants", "product_type", "options"]


@given(product=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=6))
def test_any_product_of_a_list_has_an_address_and_a_page(product: dict[str, Any]) -> None:
    url = feed.address_of(product, "https://shop.example")
    assert url.isascii()
    assert feed.page_of(product, url, "EUR").isascii()


def answering(pages: dict[str, str | int], *, asked: list[str] | None = None, after: str = "") -> Any:
    """A handler of paths: a text, or a status; the last with ``after`` as Retry-After."""

    async def answer(request: web.Request) -> web.Response:
        if asked is not None:
            asked.append(request.path)
        found = pages.get(request.path, 404)
        if request.query.get("page", "1") != "1":
            found = '{"products": []}'
        if isinstance(found, int):
            return web.Response(status=found, headers={"Retry-After": after} if after else {})
        return web.Response(text=found.replace("BASE", f"http://{request.host}"), content_type="text/html")

    return answer


def test_a_known_page_that_robots_txt_now_forbids_is_not_asked_for_and_not_gone(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    pages = small_site({"a": "10", "b": "20", "c": "30"})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    delisted(pages, "b", "c")
    pages["/robots.txt"] = str(pages["/robots.txt"]) + "Disallow: /product/b\n"
    asked = len(site.asked)
    for _ in range(3):
        moment.advance(MINUTES)
        assert scrape(site.base, memory, moment).gone == 0
        assert scrape(site.base, memory, moment, "/product/a/").pages == 1
    assert "/product/b/" not in site.asked[asked:]
    assert site.asked[asked:].count("/product/c/") == 3


def test_lists_and_the_front_page_are_not_asked_for_against_robots_txt(
    site_of: Any, moment: Any, memory: Memory
) -> None:
    site = site_of({"/robots.txt": "User-agent: *\nDisallow: /"})
    with pytest.raises(BadSitemap):
        scrape(site.base, memory, moment)
    assert site.asked == ["/robots.txt"]


@pytest.mark.parametrize("path", ["/", "/products.xml", "/product/b/"])
def test_a_site_that_wants_to_be_left_alone_for_an_hour_is_asked_for_nothing_more(
    serving_of: Any, moment: Any, memory: Memory, path: str
) -> None:
    asked: list[str] = []
    pages: Any = small_site({"a": "10", "b": "20", "c": "30"}) | {"/": "shop", path: 429}
    with pytest.raises(SiteAway) as away:
        scrape(serving_of(answering(pages, asked=asked, after="3600")), memory, moment)
    assert away.value.after_seconds == 3600
    assert (asked[-1], asked.count(path)) == (path, 1)


def test_a_sitemap_that_is_asked_for_too_often_is_not_replaced_by_the_shops_lists(
    serving_of: Any, moment: Any, memory: Memory
) -> None:
    asked: list[str] = []
    pages: Any = small_site({"a": "10"}) | {"/": "shop", "/products.xml": 429}
    with pytest.raises(FetchFailed) as failed:
        scrape(serving_of(answering(pages, asked=asked, after="20")), memory, moment)
    assert (failed.value.after_seconds, asked.count("/")) == (20, 1)


def test_a_site_that_lets_us_in_no_more_is_not_asked_for_every_page(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({f"p{n:02}": "10" for n in range(40)})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    pages.update({path: 403 for path in pages if path.startswith("/product/")})
    with pytest.raises(SiteAway, match="25 pages in a row"):
        scrape(site.base, memory, moment)
    assert not any(record["availability"] == "discontinued" for record in drain(memory))


def test_what_a_shop_is_made_by_is_kept_over_a_restart(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = {
        "/": LUMA.format(id="0", price="0"),
        "/sitemap.xml": "<urlset><url><loc>BASE/bell.html</loc></url></urlset>",
        "/bell.html": LUMA.format(id="41", price="19.90"),
    }
    site = site_of(pages)
    scrape(site.base, memory, moment)
    pages |= {"/": None, "/bell.html": LUMA.format(id="41", price="20.90")}
    moment.advance(MINUTES)
    assert scrape(site.base, memory, moment).observed == 1
    assert [(r["product_id"], r["price"]) for r in drain(memory)] == [
        ("41", Decimal("19.90")),
        ("41", Decimal("20.90")),
    ]


@pytest.mark.parametrize("path", ["", "/products.json"])
def test_without_a_front_page_a_shop_of_which_nothing_is_known_is_not_read(
    site_of: Any, moment: Any, memory: Memory, path: str
) -> None:
    listed = '{"products": [{"id": 7, "title": "Bell", "variants": [{"price": "9.00"}]}]}'
    site = site_of(small_site({"a": "10"}) | {"/": None, "/products.json": listed})
    with pytest.raises(FetchFailed, match="500"):
        scrape(f"{site.base}{path}", memory, moment)
    assert drain(memory) == []
    assert memory.letters() == []


def test_a_page_that_was_missing_once_and_then_fails_is_not_gone(site_of: Any, moment: Any, memory: Memory) -> None:
    pages = small_site({"a": "10", "b": "20"})
    site = site_of(pages)
    scrape(site.base, memory, moment)
    drain(memory)
    for answer in (404, 503, 404, "<h1>Closed for repairs</h1>", 404, 403):
        pages["/product/b/"] = answer
        moment.advance(MINUTES)
        assert scrape(site.base, memory, moment).gone == 0
    pages["/product/b/"] = 404
    for gone in (0, 1):
        moment.advance(MINUTES)
        assert scrape(site.base, memory, moment).gone == gone


@pytest.mark.parametrize(("given", "seconds"), [("0.5", 0.5), ("86400", 3600), ("inf", 0), ("nan", 0), ("-1", 0)])
def test_a_crawl_delay_is_an_hour_at_most(given: str, seconds: float) -> None:
    assert Rules(f"User-agent: *\nCrawl-delay: {given}").crawl_delay_seconds == seconds
