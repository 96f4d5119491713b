"""A round over a shop: every product page is looked at once, and what is to be published goes to the memory.

What was seen is kept in blocks of pages. Before a block is kept, the round's pages are judged (drift.py): when too many
lost their price or name, the block is dropped and the round ends.

A page has its product or not, and a product is there, missing since a time, or gone. An answer moves them:

- a product, or 304: the page has it, and it is there. Another one than before: the first is missing.
- 404, 410, or led away to what is no product's page: the page has none, and its product is missing.
- a page that says it is no product's: likewise, but the page counts as lost for drift.
- a page that can't be read: the page has none and is lost; whether the product is still there is not known.
- any other failure, and what was not asked for: the page stays as it is; likewise not known.

What is not known ends a time of being missing. A product that is missing at the end of a round, since an earlier one,
is gone. Pages that the shop lists no more count for drift only when it lists none.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from producers.scraping import feed
from producers.scraping.drift import Drift, Drifted
from producers.scraping.fetching import Fetch, Fetched, FetchFailed, HttpFetch, SiteAway
from producers.scraping.listings import Listings
from producers.scraping.memory import Broken, Memory
from producers.scraping.page import OtherPage, UnreadablePage, content_hash, parse_product, unreadable
from producers.scraping.profiles import NAMES, WOOCOMMERCE, Profile, named, profile_of
from producers.scraping.site import Rules, rules_of
from producers.scraping.sitemaps import BadSitemap, Sitemaps
from producers.shop.identifiers import event_id, tail_prefix
from schemas.plural import counted

SNAPSHOT_EVERY: Final = timedelta(days=1)
BLOCK_PAGES: Final = 25
LARGEST_BLOCK: Final = 500  # pages that wait for others to be judged by
DEAD_HEAD_BYTES: Final = 65_536
LONG_DELAY_SECONDS: Final = 10.0
MOST_GONE_SHARE: Final = 0.3
FEWEST_GONE: Final = 5  # so many may always be
ENVELOPE: Final = ("event_id", "occurred_at", "source", "trace", "previous_price", "content_hash")
DOUBTFUL_FOR: Final = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class RoundCounts:
    """Results of one round. Each page is one of ``unchanged`` to ``failed``; ``gone`` are products."""

    pages: int = 0
    unchanged: int = 0
    observed: int = 0
    unreadable: int = 0
    others: int = 0
    missing: int = 0
    failed: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a page gave: a record, a problem, or neither when nothing has changed."""

    url: str
    at: datetime
    fetched: Fetched | None = None
    record: Mapping[str, Any] | None = None
    problem: UnreadablePage | OtherPage | FetchFailed | None = None


Looks = AsyncGenerator[Look, None]


class LedAway(OtherPage):
    """The address leads to a page that is no product's, as the front page: the product's own is gone."""


@dataclass(slots=True, kw_only=True)
class Scraper:
    """Reads pages and stores the observations to publish in the memory. ``now`` is the clock of event times.

    Attributes:
        profile: of the shop's software; None looks for its marks on the front page.
        product_path: a pattern of product pages' paths, instead of the profile's.
        at_once: how many pages are asked for at the same time; all keep one pace.
    """

    source: str
    memory: Memory
    fetch: Fetch
    now: Callable[[], datetime]
    log: structlog.stdlib.BoundLogger
    profile: Profile | None = None
    product_path: str | None = None
    at_once: int = 1
    _in_use: Profile = WOOCOMMERCE
    _said: set[str] = field(default_factory=set)  # in the last round
    _saying: set[str] = field(default_factory=set)  # in this one

    async def round(self, base: str) -> AsyncGenerator[RoundCounts, None]:
        """Look at every product page once; gives the counts so far after each. ``base`` may be a Shopify feed's.

        Raises FetchFailed or SiteAway when the site can't be asked, BadSitemap or BadFeed when it lists nothing that
        can be read, and Drifted when its pages can't be read as they could before.
        """
        base, is_feed = base.removesuffix(feed.PATH), base.endswith(feed.PATH)
        self._said, self._saying = self._saying, set()
        began, counts, listed = self.now(), RoundCounts(), set[str]()
        shop = urlsplit(base).netloc
        judged = Drift(is_new=not self.memory.has_products_of(shop))
        rules = await self._rules(base)
        front = await self._front(base, rules, is_needed=is_feed or not (self.profile or self.memory.profile(shop)))
        if is_feed:
            looks = self._feed(base, rules, feed.currency_of(front), listed)
        else:
            self._use(profile_of(front, base), shop)
            looks = self._looks(self._listed(base, rules, listed))
        async for _ in self._kept(looks, judged, counts):
            yield counts
        unlisted = self.memory.unlisted(shop, listed)
        if is_feed:
            for url in unlisted:
                self.memory.missing(url, began)
        else:
            judged = Drift(is_new=False, most_lost_share=1.0) if listed else judged
            async for _ in self._kept(self._looks(self._allowed(unlisted, rules)), judged, counts):
                yield counts
        self.memory.recovered(shop)
        counts.gone = self._vanished(shop, began)
        yield counts
        if counts.pages and counts.failed == counts.pages:
            self.warn(f"none of the {counts.pages:,} product pages of {base} could be read; the log says why for each")

    def warn(self, problem: str, what: str = "round incomplete") -> None:
        """Log what kept a round from reading everything: once, until a round succeeds."""
        self._saying.add(problem)
        if problem not in self._said:
            self.log.warning(what, problem=problem)

    def given_up(self, problem: str) -> None:
        """Log, once, that a round ended early."""
        self.warn(problem, "round given up")

    async def _rules(self, base: str) -> Rules:
        if isinstance(self.fetch, HttpFetch):
            self.fetch.allows, self.fetch.in_a_row = lambda _url: True, 0  # what the round before found may be old
        rules = await rules_of(base, self.fetch)
        if rules.crawl_delay_seconds >= LONG_DELAY_SECONDS:
            delay = f"{rules.crawl_delay_seconds:,g} seconds between two requests"
            self.warn(f"the robots.txt of {base} asks for {delay}", "round slow")
        if isinstance(self.fetch, HttpFetch):
            self.fetch.pace.slow_down_to(rules.crawl_delay_seconds)
            self.fetch.allows = rules.allows
        return rules

    async def _front(self, base: str, rules: Rules, *, is_needed: bool) -> str:
        """The shop's front page, which tells its software and currency; nothing when there is none to be read.

        Raises FetchFailed when it may be there later and nothing else tells.
        """
        try:
            return (await self.fetch(f"{base}/")).text if rules.allows(f"{base}/") else ""
        except FetchFailed as error:
            if error.is_passing and is_needed:
                raise
            return ""

    def _use(self, found: Profile | None, shop: str) -> None:
        """The profile asked for, else the one found, else that of the last round in which one was."""
        known = self.memory.profile(shop)
        profile = self.profile or found or (named(known) if known in NAMES else WOOCOMMERCE)
        if self.profile or found:
            self.memory.keep_profile(shop, profile.name)
        self._in_use = replace(profile, product_path=self.product_path) if self.product_path else profile

    async def _listed(self, base: str, rules: Rules, listed: set[str]) -> AsyncIterator[str]:
        """The product pages of the shop's sitemaps; without one, of its lists."""
        profile = self._in_use
        try:
            async for url in Sitemaps(base, rules, profile.product_path, self.fetch, self.warn).products():
                listed.add(url)
                yield url
        except BadSitemap:
            async for url in Listings(base, rules, profile, self.fetch, self.warn).products():
                listed.add(url)
                yield url
            if not listed:
                raise

    async def _allowed(self, urls: list[str], rules: Rules) -> AsyncIterator[str]:
        """Those that may be asked for, by the shop and by our own pattern. What became of the others is not known."""
        for url in urls:
            if rules.allows(url) and re.match(self._in_use.product_path, urlsplit(url).path):
                yield url
            else:
                self.memory.doubtful(url)

    async def _looks(self, urls: AsyncIterator[str]) -> Looks:
        """A look at each page, ``at_once`` at the same time."""
        running = set[asyncio.Task[Look]]()
        try:
            async for url in urls:
                running.add(asyncio.create_task(self._look(url)))
                while len(running) >= self.at_once:
                    yield await _first(running)
            while running:
                yield await _first(running)
        finally:
            for task in running:
                task.cancel()

    async def _look(self, url: str) -> Look:
        now = self.now()
        try:
            fetched = await self.fetch(url, self.memory.validators(url, not_before=now - SNAPSHOT_EVERY))
        except FetchFailed as error:
            return Look(url=url, at=now, problem=error)
        if fetched.body is None:
            return Look(url=url, at=now, fetched=fetched)
        return self._parsed(fetched, now)

    async def _feed(self, base: str, rules: Rules, currency: str | None, listed: set[str]) -> Looks:
        for number in range(1, feed.MOST_PAGES + 1):
            url = base + feed.PAGE_OF.format(number)
            if not rules.allows(url):
                raise feed.BadFeed(f"{url}: robots.txt forbids it; {feed.INSTEAD}")
            body = (await self.fetch(url, most_bytes=feed.LARGEST_BYTES)).body or b""
            fresh = {feed.address_of(p, base): p for p in feed.products(body, url)}
            if not fresh.keys() - listed:
                return
            for address, product in fresh.items():
                listed.add(address)
                page = feed.page_of(product, address, currency).encode()
                yield self._parsed(Fetched(url=address, body=page, content_type="text/html; charset=utf-8"), self.now())

    def _parsed(self, whole: Fetched, now: datetime) -> Look:
        url, fetched = whole.url, replace(whole, body=(whole.body or b"")[:DEAD_HEAD_BYTES])  # blocks are kept
        try:
            record = parse_product(whole.text, whole.at or url, now, self._in_use)
        except (UnreadablePage, OtherPage) as error:
            problem = LedAway(str(error)) if self._is_led_away(whole, error) else error
            return Look(url=url, at=now, fetched=fetched, problem=problem)
        except Exception as error:  # a defect of ours ends no round: the page is kept, and others are read
            self.log.exception("page not read for a defect of the scraper", url=url)
            defect = f"the scraper failed on it ({type(error).__name__}: {error}); report this"
            return Look(url=url, at=now, fetched=fetched, problem=unreadable(url, defect))
        return Look(url=url, at=now, fetched=fetched, record=record)

    def _is_led_away(self, fetched: Fetched, error: Exception) -> bool:
        before, path = (urlsplit(url).path.rstrip("/") for url in (fetched.url, fetched.at or fetched.url))
        is_product = isinstance(error, UnreadablePage) and re.match(self._in_use.product_path, path)
        return path != before and not is_product

    async def _kept(self, looks: Looks, judged: Drift, counts: RoundCounts) -> AsyncGenerator[None, None]:
        """Keep the looks, block by block, and give one turn for each. Raises Drifted instead of keeping a block."""
        block: list[Look] = []
        try:
            async with aclosing(looks):
                async for look in looks:
                    counts.pages += 1
                    block.append(look)
                    _judge(judged, look, had_product=self.memory.had_product(look.url))
                    is_full = len(block) >= LARGEST_BLOCK
                    if len(block) % BLOCK_PAGES == 0 and self._keep(block, judged, counts, is_last=is_full):
                        block = []
                    yield
        except (FetchFailed, SiteAway, BadSitemap, feed.BadFeed):
            self._keep(block, judged, counts, is_last=True)
            raise
        self._keep(block, judged, counts, is_last=True)

    def _keep(self, block: list[Look], judged: Drift, counts: RoundCounts, *, is_last: bool = False) -> bool:
        """Keep a block of looks, when they can be trusted; returns whether."""
        try:
            if not judged.judge(is_last=is_last):
                return False
        except Drifted as drift:
            lost = [look for look in block if isinstance(look.problem, UnreadablePage | OtherPage)]
            example = next((look for look in lost if look.url == drift.url), lost[0])
            self.memory.drifted(urlsplit(example.url).netloc, _broken(example, str(drift)))
            raise
        for look in block:
            self._keep_one(look, counts)
        return True

    def _keep_one(self, look: Look, counts: RoundCounts) -> None:
        match look.problem:
            case FetchFailed(status=404 | 410) | LedAway():
                counts.missing += 1
                self.memory.missing(look.url, look.at)
            case FetchFailed() as error:
                counts.failed += 1
                self.memory.doubtful(look.url)
                self.log.warning("page not read", problem=str(error))
            case OtherPage():
                counts.others += 1
                self.memory.missing(look.url, look.at)
            case UnreadablePage() as error:
                counts.unreadable += 1
                self.log.warning("page not understood", problem=str(error))
                self.memory.broke(_broken(look, str(error)))
            case _:
                self._keep_product(look, counts)

    def _keep_product(self, look: Look, counts: RoundCounts) -> None:
        observation = self._observation(look.record) if look.record else None
        counts.observed += observation is not None
        counts.unchanged += observation is None
        if look.record is None:
            self.memory.unchanged(look.url)
        elif look.fetched:
            self.memory.looked(look.url, look.fetched.validators, look.at, look.record, observation)

    def _observation(self, seen: Mapping[str, Any]) -> dict[str, Any] | None:
        """The event to publish, or None when nothing changed since the last one of these 24 hours."""
        known = self.memory.known(seen["shop"], seen["product_id"])
        at: datetime = seen["occurred_at"]
        is_same = known and not known.is_gone and known.content_hash == seen["content_hash"]
        if known and is_same and at - known.published_at < SNAPSHOT_EVERY:
            return None
        return self._enveloped(seen, at)

    def _enveloped(self, seen: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return {
            **seen,
            "event_id": event_id(micros, tail_prefix(secrets.randbits(58)), 0),
            "source": self.source,
            "previous_price": self.memory.price(seen["shop"], seen["product_id"], seen["currency"]),
        }

    def _vanished(self, shop: str, began: datetime) -> int:
        """Keep an observation for each product that the shop no longer has; returns how many.

        A product is gone when its page was missing in an earlier round and still is. Where many are missing at once,
        which may be a mistake of the shop's, after a day.
        """
        gone, live = self.memory.vanished(shop, began), self.memory.live(shop)
        if len(gone) > max(FEWEST_GONE, MOST_GONE_SHARE * live):
            self.warn(
                f"{shop} no longer has a page for {len(gone):,} of {counted(live, 'product')}, for example for"
                f" {gone[0]['url']}; each is published as discontinued once it has been missing for a day"
            )
            gone = self.memory.vanished(shop, began - DOUBTFUL_FOR)
        now = self.now()
        for last in gone:
            self.memory.gone(self._enveloped(discontinued(last, now), now), now)
        return len(gone)


def discontinued(last: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The last observation of a product as one of now, when the shop no longer has it."""
    read = {name: value for name, value in last.items() if name not in ENVELOPE}
    variants = [{**v, "availability": "discontinued"} for v in last.get("variants") or ()] or None
    read |= {"availability": "discontinued", "stock_quantity": None, "variants": variants}
    return read | {"occurred_at": now, "trace": None, "content_hash": content_hash(read)}


def _broken(look: Look, reason: str) -> Broken:
    return Broken(url=look.url, body=(look.fetched.body if look.fetched else None) or b"", reason=reason)


def _judge(judged: Drift, look: Look, *, had_product: bool) -> None:
    if look.problem is None:
        judged.readable(had_product=had_product)
    elif isinstance(look.problem, UnreadablePage):
        judged.lost(look.url, look.problem.lacks, had_product=had_product)
    elif isinstance(look.problem, OtherPage) and not isinstance(look.problem, LedAway) and had_product:
        judged.lost(look.url, "product", had_product=True)


async def _first(running: set[asyncio.Task[Look]]) -> Look:
    """The result of one that is done, which is taken out."""
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    task = done.pop()
    running.discard(task)
    return task.result()
