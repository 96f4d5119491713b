"""A site that misbehaves is asked politely, safely, and never for ever."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from producers.scraping import addresses
from producers.scraping.fetching import NOTHING, Fetched, FetchFailed, HttpFetch, Pace, SiteAway, Validators
from producers.scraping.site import rules_of

NOW = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
Handler = Callable[[web.Request], Any]


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def site(serving_of: Any) -> Any:
    """Serves whatever a handler answers; gives the address."""
    return serving_of


def get(
    url: str,
    *,
    clock: Clock | None = None,
    held: Validators = NOTHING,
    most_bytes: int = 100_000,
    may_reach: Callable[[Any], bool] = addresses.public_or_private,
    resolver: AbstractResolver | None = None,
    **more: Any,
) -> Fetched:
    async def go() -> Fetched:
        time = clock or Clock()
        async with addresses.session(may_reach, resolver) as session:
            pace = Pace(0.0, time, time.sleep)
            fetch = HttpFetch(session, pace, chance=lambda: 0.0, now=lambda: NOW, **more)
            return await fetch(url, held, most_bytes)

    return asyncio.run(go())


def refusal(url: str, **more: Any) -> str:
    with pytest.raises(FetchFailed) as refused:
        get(url, **more)
    return str(refused.value)


def answers(*given: web.Response, asked: list[web.Request]) -> Handler:
    """Each answer once, the last one again and again."""

    async def handler(request: web.Request) -> web.Response:
        asked.append(request)
        one = given[min(len(asked), len(given)) - 1]
        return web.Response(status=one.status, text=one.text, headers=one.headers)

    return handler


def test_a_busy_site_is_asked_again_when_it_wants_to_be(site: Any) -> None:
    asked: list[web.Request] = []
    clock = Clock()
    busy = web.Response(status=429, headers={"Retry-After": "7"})
    later = web.Response(status=503, headers={"Retry-After": "Wed, 04 Mar 2026 10:30:11 GMT"})
    base = site(answers(busy, later, web.Response(text="here"), asked=asked))
    assert get(f"{base}/a", clock=clock, tries=3).body == b"here"
    assert (len(asked), clock.now) == (3, 18.0)


def test_waits_without_a_wish_double_and_end(site: Any) -> None:
    asked: list[web.Request] = []
    clock = Clock()
    base = site(answers(web.Response(status=502), asked=asked))
    assert "returned 502" in refusal(f"{base}/a", clock=clock, tries=4)
    assert (len(asked), clock.now) == (4, 1.0 + 2.0 + 4.0)


def test_a_site_that_wants_to_be_left_alone_for_long_is(site: Any) -> None:
    asked: list[web.Request] = []
    clock = Clock()
    base = site(answers(web.Response(status=429, headers={"Retry-After": "3600"}), asked=asked))
    with pytest.raises(SiteAway) as refused:
        get(f"{base}/a", clock=clock, tries=3)
    assert (len(asked), clock.now, refused.value.after_seconds) == (1, 0.0, 3600.0)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_answer_that_stays_the_same_is_not_asked_for_again(site: Any, status: int) -> None:
    asked: list[web.Request] = []
    base = site(answers(web.Response(status=status), asked=asked))
    assert f"returned {status}" in refusal(f"{base}/a", tries=3)
    assert len(asked) == 1


def test_a_request_says_who_asks_and_what_is_held(site: Any) -> None:
    asked: list[web.Request] = []
    base = site(answers(web.Response(status=304), asked=asked))
    held = Validators('"v1"', "Tue, 03 Mar 2026 10:00:00 GMT")
    assert get(f"{base}/a", held=held, contact="shop@example.org").body is None
    (request,) = asked
    assert request.headers["User-Agent"] == "InsightsHubCatalog/1.0 (+shop@example.org)"
    assert request.headers["If-None-Match"] == '"v1"'
    assert request.headers["If-Modified-Since"] == "Tue, 03 Mar 2026 10:00:00 GMT"


def test_a_304_to_a_request_that_held_nothing_is_no_page(site: Any) -> None:
    assert "returned 304" in refusal(site(answers(web.Response(status=304), asked=[])))


def redirecting(to: Callable[[web.Request], str]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/end":
            return web.Response(text="end")
        return web.Response(status=302, headers={"Location": to(request)})

    return handler


def test_what_a_page_held_is_not_sent_to_where_it_leads(site: Any) -> None:
    asked: list[web.Request] = []
    away = web.Response(status=302, headers={"Location": "/end"})
    base = site(answers(away, web.Response(text="end", headers={"ETag": '"v1"'}), asked=asked))
    found = get(f"{base}/a", held=Validators('"v1"'))
    assert ["If-None-Match" in request.headers for request in asked] == [True, False]
    assert (found.body, found.validators) == (b"end", NOTHING)


def test_five_redirects_are_followed_and_a_loop_is_not(site: Any) -> None:
    def next_of(request: web.Request) -> str:
        step = int(request.path.strip("/") or 0)
        return "/end" if step == 5 else f"/{step + 1}"

    base = site(redirecting(next_of))
    found = get(f"{base}/1")
    assert (found.at, found.body) == (f"{base}/end", b"end")
    assert "more than 5 times" in refusal(f"{base}/0")
    assert "more than 5 times" in refusal(site(redirecting(lambda request: request.path)))


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://169.254.169.254/latest/meta-data/", "another site, http://169.254.169.254"),
        ("http://127.0.0.1:1/", "another site"),
        ("http://user:secret@127.0.0.1:PORT/end", "another site"),
        ("http://localhost:PORT/end", "another site"),
        ("ftp://127.0.0.1:PORT/end", "another site"),
        ("file:///etc/passwd", "another site, file://"),
        ("//other.example/", "another site, http://other.example"),
        ("http://[bad", "no address"),
        ("http://127.0.0.1:99999999/", "no address"),
        ("/secret", "robots.txt forbids"),
    ],
)
def test_a_redirect_leads_nowhere_else(site: Any, location: str, problem: str) -> None:
    base = site(redirecting(lambda request: location.replace("PORT", str(request.url.port))))
    assert problem in refusal(f"{base}/a", allows=lambda url: not url.endswith("/secret"))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254"],
)
def test_an_address_inside_a_network_is_never_connected_to(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        refused = refusal(f"http://{host}:{server.getsockname()[1]}/", may_reach=addresses.public)
        assert re.search("is inside a network|is no address", refused)
        with pytest.raises(BlockingIOError):
            server.accept()


PAGE = b"<h1>Bell</h1>" * 100


@pytest.mark.parametrize(
    ("encoding", "body", "problem"),
    [
        ("gzip", gzip.compress(PAGE), ""),
        ("deflate", zlib.compress(PAGE), ""),
        ("deflate", zlib.compress(PAGE)[2:-4], ""),
        ("identity", PAGE, ""),
        ("gzip", gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:]), ""),
        ("gzip", gzip.compress(PAGE) + b"\0\0", ""),
        ("gzip", gzip.compress(PAGE) * 2_000, "is larger than 100,000 bytes"),
        ("gzip", gzip.compress(b"") * 2_000, "has more than 1,000 parts"),
        ("gzip", gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:])[:-9], "its gzip ends early"),
        ("gzip", gzip.compress(PAGE)[:-9], "its gzip ends early"),
        ("gzip", b"not packed", "its gzip is broken"),
        ("deflate", b"\x00not packed", "its deflate is broken"),
        ("br", b"\x0b", "is packed as br"),
        ("gzip", gzip.compress(bytes(50_000_000)), "is larger than 100,000 bytes"),
        ("", bytes(100_001), "is larger than 100,000 bytes"),
    ],
)
def test_a_body_is_unpacked_whole_or_refused(site: Any, encoding: str, body: bytes, problem: str) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding} if encoding else {})

    url = f"{site(handler)}/a"
    if problem:
        assert problem in refusal(url)
    else:
        assert get(url).body == PAGE


def test_a_body_that_is_cut_off_is_no_page(site: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"<h1>Be")
        assert request.transport
        request.transport.close()
        return response

    assert "not completed" in refusal(f"{site(handler)}/a")


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (429, None), (500, None), (503, None)])
def test_robots_that_are_missing_allow_all_and_robots_that_fail_stop(
    site: Any, status: int, allowed: bool | None
) -> None:
    base = site(answers(web.Response(status=status), asked=[]))

    async def go() -> bool:
        clock = Clock()
        async with addresses.session(addresses.public_or_private) as session:
            rules = await rules_of(base, HttpFetch(session, Pace(0.0, clock, clock.sleep), tries=2))
            return rules.allows(f"{base}/any")

    if allowed is None:
        with pytest.raises(FetchFailed, match=str(status)):
            asyncio.run(go())
    else:
        assert asyncio.run(go()) is allowed


ENDLESS = """
import asyncio, resource, sys
from producers.scraping import addresses
from producers.scraping.fetching import LARGEST_PAGE_BYTES, FetchFailed, HttpFetch, Pace
from producers.scraping.sitemaps import LARGEST_SITEMAP_BYTES

async def main():
    async with addresses.session(addresses.public_or_private) as session:
        fetch = HttpFetch(session, Pace(0.0, lambda: 1.0))
        async def one(path, most):
            try:
                await fetch(sys.argv[1] + path, most_bytes=most)
            except FetchFailed as error:
                return str(error)
        await one("/small", LARGEST_PAGE_BYTES)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for path in ("/plain", "/packed"):
            print(await one(path, LARGEST_PAGE_BYTES))
        print(await one("/plain", LARGEST_SITEMAP_BYTES))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


def test_an_endless_answer_costs_less_than_fifty_megabytes_of_memory(site: Any) -> None:
    head = zlib.compressobj(9, zlib.DEFLATED, 31)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/small":
            return web.Response(text="small")
        is_packed = request.path == "/packed"
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if is_packed else {})
        await response.prepare(request)
        piece = head.compress(bytes(100_000_000)) + head.flush(zlib.Z_SYNC_FLUSH) if is_packed else bytes(1 << 20)
        while True:  # until the other side hangs up
            await response.write(piece)

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ENDLESS, site(handler)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    plain, bomb, sitemap, kilobytes = done.stdout.splitlines()
    assert "is larger than 4,000,000 bytes" in plain
    assert "is larger than 4,000,000 bytes" in bomb
    assert "is larger than 40,000,000 bytes" in sitemap
    print(f"endless answers cost {kilobytes} kB")
    assert int(kilobytes) < 50_000
