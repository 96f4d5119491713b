"""A shop's site, politely: robots.txt, sitemaps, a pace, conditional requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import aiohttp
from protego import Protego

from schemas.errors import Retryable

USER_AGENT: Final = "InsightsHubCatalog"
TIMEOUT_SECONDS: Final = 20.0
LARGEST_PAGE_BYTES: Final = 4_000_000
MOST_SITEMAPS: Final = 200


class FetchFailed(Retryable):
    """The site did not give the page; the next round asks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer. ``body`` is None when the site says that nothing changed since ``etag``."""

    url: str
    body: bytes | None
    etag: str | None

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return (self.body or b"").decode("utf-8", errors="replace")


class Fetch(Protocol):
    """Gets one address. Raises FetchFailed for anything but 200 and 304."""

    async def __call__(self, url: str, etag: str | None = None) -> Fetched: ...


class Pace:
    """Lets requests through one after the other, at least ``seconds`` apart."""

    def __init__(
        self, seconds: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def slow_down_to(self, seconds: float) -> None:
        """Keep requests at least so far apart, or farther."""
        self._seconds = max(self._seconds, seconds)

    async def turn(self) -> None:
        """Returns when the next request may go out."""
        wait = self._next - self._clock()
        if wait > 0:
            await self._sleep(wait)
        self._next = max(self._clock(), self._next) + self._seconds


class HttpFetch:
    """Fetch over one aiohttp session, at a pace."""

    def __init__(self, session: aiohttp.ClientSession, pace: Pace) -> None:
        self._session = session
        self.pace = pace

    async def __call__(self, url: str, etag: str | None = None) -> Fetched:
        await self.pace.turn()
        headers = {"User-Agent": USER_AGENT} | ({"If-None-Match": etag} if etag else {})
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with self._session.get(url, headers=headers, timeout=timeout) as response:
                if response.url.host != urlsplit(url).hostname:
                    raise FetchFailed(f"{url}: leads to another host, {response.url.host}")
                if response.status == 304:
                    return Fetched(url=url, body=None, etag=etag)
                if response.status != 200:
                    raise FetchFailed(f"{url}: the site answers {response.status} {response.reason}")
                return Fetched(url=url, body=await _body(response, url), etag=response.headers.get("ETag"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FetchFailed(f"{url}: {error or type(error).__name__}") from error


async def _body(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > LARGEST_PAGE_BYTES:
            raise FetchFailed(f"{url}: is larger than {LARGEST_PAGE_BYTES:,} bytes")
    return bytes(body)


class Rules:
    """What robots.txt allows us. A site without the file allows all."""

    def __init__(self, text: str) -> None:
        self._robots = Protego.parse(text)

    def allows(self, url: str) -> bool:
        """True when the address may be fetched."""
        return bool(self._robots.can_fetch(url, USER_AGENT))

    @property
    def crawl_delay_seconds(self) -> float:
        """Least time between two requests; 0 when the site asks for none."""
        return float(self._robots.crawl_delay(USER_AGENT) or 0.0)

    @property
    def sitemaps(self) -> list[str]:
        """Addresses of the sitemaps that the file names."""
        return list(self._robots.sitemaps)


async def rules_of(base: str, fetch: Fetch) -> Rules:
    """The rules of the site at ``base``. A 404 allows all. Raises FetchFailed when the site can't be asked."""
    try:
        return Rules((await fetch(urljoin(base, "/robots.txt"))).text)
    except FetchFailed as error:
        # RFC 9309: a missing file allows everything, an unreachable one forbids everything.
        if re.search(r"answers 4\d\d", str(error)):
            return Rules("")
        raise


async def product_urls(base: str, rules: Rules, product_path: str, fetch: Fetch) -> AsyncIterator[str]:
    """Addresses of product pages from the site's sitemaps, each once; only this host's, and only allowed ones.

    Raises FetchFailed when the site has no sitemap that can be read.
    """
    host, wanted = urlsplit(base).netloc, re.compile(product_path)
    seen: set[str] = set()
    async for url in _locations(rules.sitemaps or [urljoin(base, "/sitemap_index.xml")], host, rules, fetch):
        parts = urlsplit(url)
        if parts.netloc == host and wanted.match(parts.path) and url not in seen and rules.allows(url):
            seen.add(url)
            yield url


async def _locations(start: list[str], host: str, rules: Rules, fetch: Fetch) -> AsyncIterator[str]:
    waiting, done = list(start), 0
    while waiting and done < MOST_SITEMAPS:
        url = waiting.pop(0)
        if urlsplit(url).netloc != host or not rules.allows(url):
            continue
        done += 1
        kind, found = read_sitemap(await fetch(url))
        if kind == "sitemapindex":
            waiting += found
        else:
            for location in found:
                yield location


def read_sitemap(fetched: Fetched) -> tuple[str, list[str]]:
    """``sitemapindex`` or ``urlset``, and the addresses in it. Raises FetchFailed for anything else."""
    body = fetched.body or b""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise FetchFailed(f"{fetched.url}: is not a sitemap: it declares entities, which no sitemap has")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 no entities, so none to expand
    except ElementTree.ParseError as error:
        raise FetchFailed(f"{fetched.url}: is not a sitemap: {error}") from error
    kind = _local(root)
    if kind not in ("sitemapindex", "urlset"):
        raise FetchFailed(f"{fetched.url}: is not a sitemap: it is a {kind}")
    entries = (node for entry in root for node in entry if _local(node) == "loc")
    return kind, [(node.text or "").strip() for node in entries]


def _local(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]
