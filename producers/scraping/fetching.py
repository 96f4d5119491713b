"""Asks a site for a page, politely and safely.

One pace for a site, however many ask at once; after an answer that says *later*, all wait. Redirects are followed by
hand, so that each is checked. A site that wants to be left alone is (SiteAway). Which network addresses may be reached
is the session's matter (addresses.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from w3lib.encoding import html_body_declared_encoding, html_to_unicode, http_content_type_encoding

from producers.retry_after import retry_after
from producers.scraping import unpack
from producers.scraping.addresses import INSIDE
from schemas.errors import Retryable

ROBOT: Final = "InsightsHubCatalog"
CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 10.0
LARGEST_PAGE_BYTES: Final = 4_000_000
SLOWEST_BYTES_A_SECOND: Final = 200_000  # of a page as large as is allowed
MOST_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
TRIES: Final = 3
BACK_OFF_SECONDS: Final = 1.0  # the first; twice as long each time, and by chance up to half less
MOST_PATIENCE_SECONDS: Final = 30.0  # a site that wants to be left alone for longer is
MOST_FAILURES: Final = 5  # in a row, each after all tries: the site is away
REFUSALS: Final = frozenset({401, 403})
MOST_REFUSALS: Final = 25  # in a row: the site lets us in no more
PORTS: Final = {"http": 80, "https": 443}
PAGE_LANGUAGE: Final = re.compile(rb"""<html[^>]{0,200}\blang\s*=\s*["']?([a-z]{2})""", re.IGNORECASE)
# Names that Python knows and no browser does; some take a time that grows with the square of the text.
NO_PAGES: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
# What browsers assume of a page that names no encoding, by its language.
ENCODINGS: Final = {"ja": "cp932", "zh": "gb18030", "ko": "cp949", "ru": "cp1251", "uk": "cp1251", "bg": "cp1251"} | {
    **dict.fromkeys(("cs", "hu", "pl", "sk", "sl", "hr"), "cp1250"),
    **{"el": "cp1253", "tr": "cp1254", "he": "cp1255", "ar": "cp1256", "vi": "cp1258", "th": "cp874"},
}


class SiteAway(Retryable):
    """The site is to be asked for nothing more now. ``after_seconds`` is how long it wants to be left alone."""

    def __init__(self, problem: str, after_seconds: float = 0.0) -> None:
        super().__init__(problem)
        self.after_seconds = after_seconds


class FetchFailed(Retryable):
    """The site did not give the page; the next round asks again.

    Attributes:
        status: the site's answer, if it gave one.
        is_passing: asking again soon may help.
        after_seconds: how long the site wants to be left alone.
    """

    def __init__(
        self, problem: str, status: int | None = None, *, is_passing: bool = False, after_seconds: float = 0.0
    ) -> None:
        super().__init__(problem.encode(errors="backslashreplace").decode())  # a header may have half characters
        self.status = status
        self.is_passing = is_passing
        self.after_seconds = after_seconds


class Validators(NamedTuple):
    """What a site gave to ask whether a page has changed since. https://www.rfc-editor.org/rfc/rfc9110#section-13"""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request for the page, should it be another one."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value}


NOTHING: Final = Validators()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer. ``body`` is None when nothing has changed since; ``at`` is where redirects led, else ``url``."""

    url: str
    body: bytes | None
    at: str = ""
    validators: Validators = NOTHING
    content_type: str | None = None

    @property
    def text(self) -> str:
        """The page as a browser reads it: by the server's header, its byte order mark, its own meta tag, else guessed.

        https://html.spec.whatwg.org/multipage/parsing.html#determining-the-character-encoding
        """
        body = self.body or b""
        named = http_content_type_encoding(self.content_type) or html_body_declared_encoding(body)
        try:
            if named not in NO_PAGES:
                return html_to_unicode(self.content_type, body, auto_detect_fun=_guessed)[1]
        except (LookupError, UnicodeError):  # the name of something else than an encoding of texts, such as hex
            pass
        return body.decode(_guessed(body), errors="replace")


def _guessed(body: bytes) -> str:
    """The encoding of a page that names none: UTF-8 when it is that, else what browsers assume for its language."""
    try:
        body.decode()
    except UnicodeDecodeError:
        language = PAGE_LANGUAGE.search(body[:4096])
        return ENCODINGS.get(language[1].decode().lower() if language else "", "cp1252")
    return "utf-8"


class Fetch(Protocol):
    """Gets one address. Raises FetchFailed for anything but 200 and 304, and SiteAway."""

    async def __call__(self, url: str, held: Validators = NOTHING, most_bytes: int = LARGEST_PAGE_BYTES) -> Fetched:
        """Get ``url``, unless it is still what ``held`` says."""
        ...


class Pace:
    """Lets requests through one after the other, at least ``seconds`` apart."""

    def __init__(
        self, seconds: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._least = self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def slow_down_to(self, seconds: float) -> None:
        """Keep requests so far apart from now on, if that is slower than the pace of the start."""
        self._seconds = max(self._least, seconds)

    def hold(self, seconds: float) -> None:
        """Let no request through for so long."""
        self._next = max(self._next, self._clock() + seconds)

    async def turn(self) -> None:
        """Returns when the next request may go out."""
        while (wait := self._next - self._clock()) > 0:  # another may have had the turn meanwhile
            await self._sleep(wait)
        self._next = self._clock() + self._seconds


@dataclass(slots=True)
class HttpFetch:
    """Fetch over one aiohttp session, at a pace.

    Attributes:
        session: one of ``addresses.session``.
        pace: of all requests.
        contact: address of who asks, for the site's people; part of the User-Agent, with
        robot: the name of what asks.
        tries: how often a page is asked for when the site is busy or away.
        allows: whether an address may be asked for, by the site's rules; also where a redirect leads.
        in_a_row: how many answers were failures, since the last that was none.
        chance: between 0 and 1, for back-off.
        now: the wall clock, for a ``Retry-After`` that is a date.
    """

    session: aiohttp.ClientSession
    pace: Pace
    contact: str = ""
    robot: str = ROBOT
    tries: int = 1
    allows: Callable[[str], bool] = lambda _url: True
    in_a_row: int = 0
    chance: Callable[[], float] = field(default_factory=lambda: Random().random)  # noqa: S311 not a secret
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def __call__(self, url: str, held: Validators = NOTHING, most_bytes: int = LARGEST_PAGE_BYTES) -> Fetched:
        """Wait for a turn, then get ``url``. Raises FetchFailed and SiteAway."""
        try:
            found = await self._tried(url, held, most_bytes)
        except FetchFailed as error:
            self._judge(error)
            raise
        self.in_a_row = 0
        return found

    def _judge(self, error: FetchFailed) -> None:
        """Raises SiteAway when the site gives no other page either."""
        if not error.is_passing and error.status not in REFUSALS:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row >= (MOST_FAILURES if error.is_passing else MOST_REFUSALS):
            problem = f"{self.in_a_row} pages in a row could not be read, the last because of: {error}"
            raise SiteAway(problem, error.after_seconds) from error

    async def _tried(self, url: str, held: Validators, most_bytes: int) -> Fetched:
        for tried in range(1, self.tries + 1):
            try:
                return await self._followed(url, held, most_bytes)
            except FetchFailed as error:
                wait = max(error.after_seconds, BACK_OFF_SECONDS * 2 ** (tried - 1) * (1 - self.chance() / 2))
                if error.is_passing and wait > MOST_PATIENCE_SECONDS:
                    raise SiteAway(str(error), error.after_seconds) from error
                if not error.is_passing or tried == self.tries:
                    raise
                self.pace.hold(wait)
        raise AssertionError("unreachable: at least one try")

    async def _followed(self, url: str, held: Validators, most_bytes: int) -> Fetched:
        at = url
        for _ in range(MOST_REDIRECTS + 1):
            found = await self._asked(url, at, held if _is_same_page(url, at) else NOTHING, most_bytes)
            if isinstance(found, Fetched):
                return found
            at = self._checked(url, at, found)
        raise FetchFailed(f"{url}: leads on more than {MOST_REDIRECTS} times; the last was to {at[:200]}")

    async def _asked(self, url: str, at: str, held: Validators, most_bytes: int) -> Fetched | str:
        """The answer, or where it redirects to."""
        if not self.allows(at):
            where = "" if at == url else f"leads to {at[:200]}, which "
            raise FetchFailed(f"{url}: {where}robots.txt forbids")
        await self.pace.turn()
        robot = f"{self.robot}/1.0 (+{self.contact})" if self.contact else f"{self.robot}/1.0"
        headers = {"User-Agent": robot, "Accept-Encoding": unpack.ACCEPTED, **held.headers}
        seconds = max(20.0, most_bytes / SLOWEST_BYTES_A_SECOND)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        try:
            async with self.session.get(at, headers=headers, timeout=timeout, allow_redirects=False) as response:
                if response.status in REDIRECTS and "Location" in response.headers:
                    return response.headers["Location"]
                return await self._answer(response, url, at, held, most_bytes)
        except unpack.BadBody as error:
            raise FetchFailed(f"{url}: {error}") from error
        except aiohttp.InvalidURL as error:
            raise FetchFailed(f"{url}: {at[:200]} is no address") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = getattr(error, "os_error", error)
            if INSIDE in str(reason):  # of several addresses, one may be another network's
                raise FetchFailed(f"{url}: {getattr(reason, 'strerror', None) or reason}") from error
            raise FetchFailed(f"{url}: {error or type(error).__name__}", is_passing=True) from error

    async def _answer(
        self, response: aiohttp.ClientResponse, url: str, at: str, held: Validators, most_bytes: int
    ) -> Fetched:
        if response.status == 304 and held != NOTHING:
            return Fetched(url=url, at=at, body=None, validators=held)
        if response.status != 200:
            raise FetchFailed(
                f"{url}: the site returned {response.status} {response.reason}",
                status=response.status,
                is_passing=response.status in PASSING,
                after_seconds=retry_after(response.headers.get("Retry-After", ""), self.now()),
            )
        chunks, encoding = response.content.iter_chunked(65_536), response.headers.get("Content-Encoding", "")
        return Fetched(
            url=url,
            at=at,
            body=await unpack.unpacked(chunks, encoding, most_bytes),
            validators=validators(response.headers) if _is_same_page(url, at) else NOTHING,
            content_type=response.headers.get("Content-Type"),
        )

    def _checked(self, url: str, at: str, location: str) -> str:
        """Where a redirect leads, when it may be followed there: on the same site, and never to a lesser scheme."""
        try:
            location.encode()  # it may have bytes that are no text
            to = urljoin(at, location.strip())
            parts, before = urlsplit(to), urlsplit(at)
            same = is_same_site(parts, before)
        except ValueError as error:
            raise FetchFailed(f"{url}: leads to {location[:200]!r}, which is no address") from error
        if not same:
            other = f"{parts.scheme}://{parts.netloc}"[:200]
            raise FetchFailed(
                f"{url}: leads to another site, {other}; if that is the right one, give its address instead"
            )
        return to


def is_same_site(to: SplitResult, before: SplitResult) -> bool:
    """The same host and port, or the same host's encrypted site. Raises ValueError for a port that is none."""
    if to.scheme not in PORTS or to.username is not None or to.hostname != before.hostname:
        return False
    ports = (before.port or PORTS.get(before.scheme), to.port or PORTS[to.scheme])
    return (to.scheme == before.scheme and ports[0] == ports[1]) or (before.scheme == "http" and ports == (80, 443))


def _is_same_page(url: str, at: str) -> bool:
    """Whether a redirect led to the same address, with encryption at most."""
    return url.partition("://")[2] == at.partition("://")[2]


def validators(headers: Mapping[str, str]) -> Validators:
    """What can be sent back: a header may have bytes that are no text."""
    given = (headers.get("ETag"), headers.get("Last-Modified"))
    return Validators(*(text if text and text.isascii() else None for text in given))
