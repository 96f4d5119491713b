"""A site's sitemaps: the pages that it lists. https://www.sitemaps.org/protocol.html"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from producers.scraping.fetching import Fetch, Fetched, FetchFailed
from producers.scraping.site import Rules
from producers.scraping.structured import joined
from producers.scraping.unpack import GZIP, BadBody, Unpacker
from schemas.errors import InsightsError
from schemas.plural import counted

MOST_SITEMAPS: Final = 200
LARGEST_SITEMAP_BYTES: Final = 40_000_000  # unpacked; the protocol allows 50 MiB, but only 50,000 addresses
LONGEST_ADDRESS: Final = 2_048
# Where a sitemap is when robots.txt names none.
USUAL_PLACES: Final = ("/sitemap.xml", "/sitemap_index.xml", "/wp-sitemap.xml", "/sitemap.xml.gz")


class BadSitemap(InsightsError):
    """What the site gave is no sitemap, or names no page: asking again at once would change nothing."""


@dataclass(slots=True)
class Sitemaps:
    """What one round finds in a site's sitemaps. ``warn`` is called with what could not be read; the rest is read."""

    base: str
    rules: Rules
    product_path: str
    fetch: Fetch
    warn: Callable[[str], None]
    addresses: int = 0
    example: str = ""
    read: int = 0
    failures: list[FetchFailed | BadSitemap] = field(default_factory=list)

    async def products(self) -> AsyncIterator[str]:
        """Addresses of product pages, each once; only this host's, and only allowed ones.

        Raises the first FetchFailed, else BadSitemap, when the site has no sitemap that can be read.
        """
        wanted, seen = re.compile(self.product_path), set[str]()
        async for url in self._locations():
            self.addresses += 1
            path = _path(url, self.base)
            if path is None or not wanted.match(path):
                self.example = self.example or url
            elif url not in seen and self.rules.allows(url):
                seen.add(url)
                yield url
        if not self.read:
            raise self._nothing_read()
        if not seen:
            self.warn(self._no_products())

    def _nothing_read(self) -> Exception:
        failed = [f for f in self.failures if isinstance(f, FetchFailed)]
        away = [f for f in failed if f.is_passing or f.status is None or f.status >= 500]
        given = (
            "; ".join(str(f) for f in self.failures) or "robots.txt allows none of its sitemaps, or all are elsewhere"
        )
        problem = f"no sitemap of {self.base} can be read: {given}; name one in its robots.txt, as Sitemap: ADDRESS"
        if not away:
            return BadSitemap(problem)
        return FetchFailed(problem, is_passing=True, after_seconds=max(f.after_seconds for f in away))

    def _no_products(self) -> str:
        if not self.addresses:
            return f"the sitemaps of {self.base} list no pages; is the shop published?"
        return (
            f"the sitemaps of {self.base} name {self.addresses:,} addresses, but no readable one is a product page:"
            f" their paths don't match {self.product_path}"
            + (f", for example {self.example[:200]}" if self.example else "")
            + "; give the pattern of its product pages with --product-path"
        )

    async def _locations(self) -> AsyncIterator[str]:
        named = self.rules.sitemaps
        waiting, asked = list(named) or [urljoin(self.base, place) for place in USUAL_PLACES], set[str]()
        while waiting and len(asked) < MOST_SITEMAPS:
            url = waiting.pop(0)
            if url in asked:
                continue
            if _path(url, self.base) is None or not self.rules.allows(url):
                self.warn(f"{url[:200]}: this sitemap is ignored: it is on another host, or robots.txt forbids it")
                continue
            asked.add(url)
            try:
                kind, found = read_sitemap(await self.fetch(url, most_bytes=LARGEST_SITEMAP_BYTES))
            except (FetchFailed, BadSitemap) as error:
                self.failures.append(error)
                if named or self.read:
                    self.warn(str(error))
                continue
            self.read += 1
            if not named and self.read == 1:
                waiting = []  # of the usual places, the first that there is
            if kind == "sitemapindex":
                waiting += found
                continue
            for location in found:
                yield location
        if waiting:
            self.warn(
                f"{counted(len(waiting), 'sitemap')} of {self.base} not read: more than {MOST_SITEMAPS} are listed"
            )


def read_sitemap(fetched: Fetched) -> tuple[str, list[str]]:
    """``sitemapindex`` or ``urlset``, and the absolute addresses in it. Raises BadSitemap for anything else.

    XML or a text with an address a line, packed with gzip or not, whatever the file is called.
    """
    body = _unpacked(fetched).lstrip()
    if re.match(rb"(?:\xef\xbb\xbf)?https?://", body):
        return "urlset", _addresses(fetched.url, body.decode("utf-8-sig", errors="replace").splitlines())
    try:
        kind, given = _entries(body)
    except DefusedXmlException as error:
        problem = "is not a sitemap: it declares entities or a document type, which no sitemap has"
        raise BadSitemap(f"{fetched.url}: {problem}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadSitemap(f"{fetched.url}: is not a sitemap: {error}") from error
    if kind not in ("sitemapindex", "urlset"):
        raise BadSitemap(f"{fetched.url}: is not a sitemap: it is a {kind[:40]}")
    return kind, _addresses(fetched.url, given)


def _entries(body: bytes) -> tuple[str, list[str]]:
    """The kind of the file, and the address of each entry. The entries are let go one by one: a tree is large."""
    found: list[str] = []
    path: list[ElementTree.Element] = []
    root = ""
    for event, node in iterparse(BytesIO(body), events=("start", "end"), forbid_dtd=True):
        if event == "start":
            path.append(node)
            root = root or _local(node)
            continue
        path.pop()
        if len(path) == 1:
            found += [inner.text or "" for inner in node if _local(inner) == "loc"]
            path[0].clear()
    return root, found


def _unpacked(fetched: Fetched) -> bytes:
    body = fetched.body or b""
    if not body.startswith(GZIP):
        return body
    unpack = Unpacker("gzip")
    try:
        unpacked = unpack(body, LARGEST_SITEMAP_BYTES + 1)
    except BadBody as error:
        raise BadSitemap(f"{fetched.url}: is not a sitemap: {error}") from error
    if len(unpacked) > LARGEST_SITEMAP_BYTES:
        raise BadSitemap(f"{fetched.url}: unpacks to more than {LARGEST_SITEMAP_BYTES:,} bytes")
    if not unpack.is_whole:
        raise BadSitemap(f"{fetched.url}: is not a sitemap: its gzip ends early")
    return unpacked


def _addresses(base: str, given: list[str]) -> list[str]:
    found = (joined(base, text) for text in given if text.strip() and len(text) <= LONGEST_ADDRESS)
    return [url for url in found if url]


def _path(url: str, base: str) -> str | None:
    """The path of an address of the same host; None for any other."""
    try:
        parts = urlsplit(url)
        return parts.path if parts.netloc == urlsplit(base).netloc and parts.scheme in ("http", "https") else None
    except ValueError:
        return None


def _local(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]
