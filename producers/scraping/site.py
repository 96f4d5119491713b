"""Reads a shop's site politely: robots.txt, sitemaps, a rate limit, conditional requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp
from protego import Protego
from w3lib.encoding import html_to_unicode

from producers.scraping.structured import joined
from schemas.errors import Retryable

USER_AGENT: Final = "InsightsHubCatalog"
TIMEOUT_SECONDS: Final = 20.0
LARGEST_PAGE_BYTES: Final = 4_000_000
PAGE_LANGUAGE: Final = re.compile(rb"""<html[^>]{0,200}\blang\s*=\s*["']?([a-z]{2})""", re.IGNORECASE)
TOO_MANY_REQUESTS: Final = 429
# What browsers assume of a page that names no encoding, by its language.
ENCODINGS: Final = {"ja": "cp932", "zh": "gb18030", "ko": "cp949", "ru": "cp1251", "uk": "cp1251", "bg": "cp1251"} | {
    **dict.fromkeys(("cs", "hu", "pl", "sk", "sl", "hr"), "cp1250"),
    **{"el": "cp1253", "tr": "cp1254", "he": "cp1255", "ar": "cp1256", "vi": "cp1258", "th": "cp874"},
}


class FetchFailed(Retryable):
    """The site did not give the page; the next round asks again. ``status`` is the site's answer, if it gave one."""

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer. ``body`` is None when nothing has changed since ``etag``."""

    url: str
    body: bytes | None
    etag: str | None
    content_type: str | None = None

    @property
    def text(self) -> str:
        """The page as a browser reads it: by its byte order mark, the server's header, its own meta tag, else guessed.

        https://html.spec.whatwg.org/multipage/parsing.html#determining-the-character-encoding
        """
        return html_to_unicode(self.content_type, self.body or b"", auto_detect_fun=_guessed)[1]


def _guessed(body: bytes) -> str:
    """The encoding of a page that names none: UTF-8 when it is that, else what browsers assume for its language."""
    try:
        body.decode()
    except UnicodeDecodeError:
        language = PAGE_LANGUAGE.search(body[:4096])
        return ENCODINGS.get(language[1].decode().lower() if language else "", "cp1252")
    return "utf-8"


class Fetch(Protocol):
    """Gets one address. Raises FetchFailed for anything but 200 and 304."""

    async def __call__(self, url: str, etag: str | None = None, most_bytes: int = LARGEST_PAGE_BYTES) -> Fetched:
        """Get ``url``, unless its ETag is still ``etag``."""
        ...


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

    async def __call__(self, url: str, etag: str | None = None, most_bytes: int = LARGEST_PAGE_BYTES) -> Fetched:
        """Wait for a turn, then get ``url``. Raises FetchFailed."""
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
                    problem = f"{url}: the site returned {response.status} {response.reason}"
                    raise FetchFailed(problem, status=response.status)
                return Fetched(
                    url=url,
                    body=await _body(response, url, most_bytes),
                    etag=response.headers.get("ETag"),
                    content_type=response.headers.get("Content-Type"),
                )
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise FetchFailed(f"{url}: {error or type(error).__name__}") from error


async def _body(response: aiohttp.ClientResponse, url: str, most_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > most_bytes:
            raise FetchFailed(f"{url}: is larger than {most_bytes:,} bytes")
    return bytes(body)


class Rules:
    """What robots.txt allows us. A site without the file allows all."""

    def __init__(self, text: str, base: str = "") -> None:
        self._base = base
        self._robots = Protego.parse(text.removeprefix("\ufeff"))  # before the first rule, it would hide all of them

    def allows(self, url: str) -> bool:
        """True when the address may be fetched."""
        try:
            return bool(self._robots.can_fetch(url, USER_AGENT))
        except ValueError:  # it is no address
            return False

    @property
    def crawl_delay_seconds(self) -> float:
        """Least time between two requests; 0 when the site sets none."""
        return float(self._robots.crawl_delay(USER_AGENT) or 0.0)

    @property
    def sitemaps(self) -> list[str]:
        """Addresses of the sitemaps that the file names; what is no address is left out."""
        found = (joined(self._base, named) for named in self._robots.sitemaps)
        return [url for url in found if url]


async def rules_of(base: str, fetch: Fetch) -> Rules:
    """The rules of the site at ``base``. A 404 allows all. Raises FetchFailed when the site can't be asked."""
    try:
        body = (await fetch(urljoin(base, "/robots.txt"))).body or b""
        return Rules(body.decode("utf-8-sig", errors="replace"), base)
    except FetchFailed as error:
        # RFC 9309: a missing file allows everything, an unreachable one forbids everything.
        if error.status and 400 <= error.status < 500 and error.status != TOO_MANY_REQUESTS:
            return Rules("", base)
        raise
