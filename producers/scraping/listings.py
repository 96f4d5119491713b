"""The product pages of a shop without a sitemap: found on its front page and on the pages that list products.

Follows links to categories and to their next pages. A link with anything else behind its question mark than a page's
number is left alone: filters and sort orders would be without end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urldefrag, urlsplit, urlunsplit

from bs4 import BeautifulSoup, Tag
from bs4.exceptions import ParserRejectedMarkup

from producers.scraping.fetching import Fetch, FetchFailed, is_same_site
from producers.scraping.page import UnreadablePage, refuse_slow
from producers.scraping.profiles import Profile
from producers.scraping.site import Rules
from producers.scraping.structured import joined

MOST_LISTINGS: Final = 1_000
MOST_LINKS: Final = 20_000  # of one page
PAGE_NUMBERS: Final = frozenset({"page", "p", "paged", "product-page"})


@dataclass(slots=True)
class Listings:
    """Walks through a shop's lists. ``warn`` is called with what could not be read; the rest is read."""

    base: str
    rules: Rules
    profile: Profile
    fetch: Fetch
    warn: Callable[[str], None]

    async def products(self) -> AsyncIterator[str]:
        """Addresses of product pages, each once; only this site's, and only allowed ones."""
        waiting, known, given, asked = deque([f"{self.base}/"]), {f"{self.base}/"}, set[str](), 0
        while waiting and asked < MOST_LISTINGS:
            url, asked = waiting.popleft(), asked + 1
            try:
                fetched = await self.fetch(url)
                text, at = fetched.text, fetched.at or url
                refuse_slow(text, at)
                links = list(self._links(text, at))
            except (FetchFailed, UnreadablePage, ParserRejectedMarkup, RecursionError) as error:
                self.warn(f"{url}: can't be read for its links: {error}")
                continue
            for link, is_list in links:
                if is_list and link not in known:
                    known.add(link)
                    waiting.append(link)
                elif not is_list and link not in given:
                    given.add(link)
                    yield link
        if waiting:
            self.warn(f"{self.base}: it has more than {MOST_LISTINGS:,} pages that list products; the rest is not read")

    def _links(self, html: str, at: str) -> Iterator[tuple[str, bool]]:
        """Links to products, and to lists of them (True)."""
        product, listing = re.compile(self.profile.product_path), re.compile(self.profile.listing_path)
        for tag in BeautifulSoup(html, "html.parser").select("a[href], link[rel=next][href]")[:MOST_LINKS]:
            parts = self._own(at, str(tag["href"]))
            if parts is None:
                continue
            asked = parse_qsl(parts.query, keep_blank_values=True)
            is_next = bool(asked) and all(name in PAGE_NUMBERS and value.isdigit() for name, value in asked)
            is_next = is_next or "next" in tag.get_attribute_list("rel")
            # Where lists and products look alike, the menu and page numbers tell them apart.
            is_list = listing.match(parts.path) and (is_next or not asked)
            if is_list and (is_next or not product.match(parts.path) or _is_in_menu(tag)):
                yield urlunsplit(parts), True
            if product.match(parts.path) and not is_next:
                yield urlunsplit(parts._replace(query="")), False

    def _own(self, at: str, href: str) -> SplitResult | None:
        """The address without its fragment, when it is this site's and allowed."""
        try:
            url = urldefrag(joined(at, href) or "").url
            parts = urlsplit(url)
            return parts if is_same_site(parts, urlsplit(self.base)) and self.rules.allows(url) else None
        except ValueError:
            return None


def _is_in_menu(tag: Tag) -> bool:
    return tag.find_parent("nav") is not None or tag.find_parent(class_="pages") is not None
