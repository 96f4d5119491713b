"""What a shop's site allows: its robots.txt. https://www.rfc-editor.org/rfc/rfc9309"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from protego import Protego

from producers.scraping.fetching import ROBOT, Fetch, FetchFailed
from producers.scraping.structured import joined
from schemas.errors import Misconfigured

TOO_MANY_REQUESTS: Final = 429
LONGEST_DELAY_SECONDS: Final = 3_600.0


def shop_address(url: str) -> SplitResult:
    """The parts of a ``--url``. Raises Misconfigured when it is no address, or has a name or password in it."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise Misconfigured(f"--url {url!r} is no address; write it as https://shop.example")
    if "@" in parts.netloc:
        raise Misconfigured("--url has a user name or a password, which every event would show; leave them out")
    return parts


class Rules:
    """What robots.txt allows us. A site without the file allows all."""

    def __init__(self, text: str, base: str = "") -> None:
        self._base = base
        self._robots = Protego.parse(text.removeprefix("\ufeff"))  # before the first rule, it would hide all of them

    def allows(self, url: str) -> bool:
        """True when the address may be fetched."""
        try:
            return bool(self._robots.can_fetch(url, ROBOT))
        except ValueError:  # it is no address
            return False

    @property
    def crawl_delay_seconds(self) -> float:
        """Least time between two requests; 0 when the site sets none, an hour at most."""
        given = float(self._robots.crawl_delay(ROBOT) or 0.0)
        return min(given, LONGEST_DELAY_SECONDS) if given > 0 else 0.0

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
