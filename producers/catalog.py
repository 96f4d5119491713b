"""The ``catalog`` source: looks at every product page of a shop, round after round, and publishes what it sees.

An observation is published at a product's first sight, whenever anything on its page changed, and at least once a
day, so that a day's observations hold every product. ``previous_price`` is the price of this source's last look.
What a page can't be read for goes to the dead letters, once for each content; a page that the site does not give is
logged, counted and asked for again in the next round.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp

from producers.runner import Run
from producers.scraping.memory import Memory
from producers.scraping.page import UnreadablePage, parse_product
from producers.scraping.profiles import WOOCOMMERCE, Profile
from producers.scraping.site import Fetch, Fetched, FetchFailed, HttpFetch, Pace, product_urls, rules_of
from producers.shop.identifiers import event_id, tail_prefix
from schemas import catalogue
from schemas.errors import ContractBroken, EventTooLarge

PRODUCT_OBSERVED = catalogue.event("catalog.product_observed")
DEFAULT_URL: Final = "http://127.0.0.1:19300"
REQUESTS_A_SECOND: Final = 10.0
ROUND_EVERY: Final = timedelta(minutes=5)
SNAPSHOT_EVERY: Final = timedelta(days=1)
SEND_EVERY: Final = 25
DEAD_HEAD_BYTES: Final = 65_536


@dataclass(slots=True, kw_only=True)
class RoundCounts:
    """What came of one round."""

    pages: int = 0
    unchanged: int = 0
    observed: int = 0
    unreadable: int = 0
    failed: int = 0


@dataclass(slots=True, kw_only=True)
class Scraper:
    """Looks at pages and publishes. ``now`` is the clock of event times."""

    run: Run
    memory: Memory
    fetch: Fetch
    now: Callable[[], datetime]
    profile: Profile = WOOCOMMERCE
    counts: RoundCounts = field(default_factory=RoundCounts)

    async def round(self, base: str) -> RoundCounts:
        """Look at every product page once, or until a stop is wished for. Raises FetchFailed without a sitemap."""
        self.counts = RoundCounts()
        rules = await rules_of(base, self.fetch)
        if isinstance(self.fetch, HttpFetch):
            self.fetch.pace.seconds = max(self.fetch.pace.seconds, rules.crawl_delay_seconds)
        async for url in product_urls(base, rules, self.profile.product_path, self.fetch):
            await self.look(url)
            if self.counts.pages % SEND_EVERY == 0:
                self.send()
            if self.run.stop.requested:
                break
        self.send()
        return self.counts

    async def look(self, url: str) -> None:
        """Read one page and keep what is to be published. A page that fails is counted and left for the next round."""
        self.counts.pages += 1
        now = self.now()
        try:
            fetched = await self.fetch(url, self.memory.etag(url, not_before=now - SNAPSHOT_EVERY))
        except FetchFailed as error:
            self.counts.failed += 1
            self.run.log.warning("page not read", problem=str(error))
            return
        if fetched.body is None:
            self.counts.unchanged += 1
            return
        try:
            seen = parse_product(fetched.text, url, now, self.profile)
        except UnreadablePage as error:
            self._bury(fetched, error)
            return
        self.memory.looked(url, fetched.etag, now, self._observation(seen))

    def _observation(self, seen: Mapping[str, Any]) -> dict[str, Any] | None:
        """The event to publish, or None when nothing changed since the last one of these 24 hours."""
        known = self.memory.known(seen["shop"], seen["product_id"])
        at: datetime = seen["occurred_at"]
        if known and known.content_hash == seen["content_hash"] and at - known.published_at < SNAPSHOT_EVERY:
            self.counts.unchanged += 1
            return None
        self.counts.observed += 1
        micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return {
            **seen,
            "event_id": event_id(micros, tail_prefix(secrets.randbits(58)), 0),
            "source": self.run.source.name,
            "previous_price": known.price if known else None,
        }

    def _bury(self, fetched: Fetched, error: UnreadablePage) -> None:
        self.counts.unreadable += 1
        self.run.log.warning("page not understood", problem=str(error))
        body = fetched.body or b""
        if self.memory.broke(fetched.url, hashlib.sha256(body).hexdigest()):
            head, key = body[:DEAD_HEAD_BYTES], fetched.url.encode()
            origin = {"url": fetched.url}
            self.run.publisher.dead_letter(
                PRODUCT_OBSERVED, head, key=key, error=error, stage="VALUE_CONVERTER", origin=origin
            )

    def send(self) -> None:
        """Publish what is kept and forget it once Kafka has it. Blocks until acknowledged."""
        unsent = self.memory.unsent()
        for record in unsent:
            try:
                self.run.publish(PRODUCT_OBSERVED, record)
            except (ContractBroken, EventTooLarge) as error:
                self.run.log.error("observation refused", problem=str(error), url=record["url"])
        self.run.publisher.flush()
        self.memory.sent(record["event_id"] for record in unsent)


def run(this: Run) -> None:
    """Scrape ``options.url`` (the demo shop by default) until stopped, at ``options.rate`` requests a second."""
    asyncio.run(_rounds(this))


async def _rounds(this: Run) -> None:
    base = (this.options.url or DEFAULT_URL).rstrip("/")
    every = this.options.every or ROUND_EVERY
    pace = Pace(1 / (this.options.rate or REQUESTS_A_SECOND), time.monotonic)
    memory = Memory(this.options.state / "catalog.sqlite")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(this.stop.fileno(), stopped.set)
    try:
        async with aiohttp.ClientSession() as session:
            scraper = Scraper(run=this, memory=memory, fetch=HttpFetch(session, pace), now=_now)
            while not this.stop.requested:
                began = time.monotonic()
                wait = await _round(scraper, base, every)
                await _idle(this, stopped, wait - (time.monotonic() - began))
    finally:
        memory.close()


def _now() -> datetime:
    # Whole milliseconds, as the contract keeps them.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


async def _round(scraper: Scraper, base: str, every: timedelta) -> float:
    """One round and its log line. Returns seconds from its start to the next one's."""
    log = scraper.run.log
    try:
        counts = await scraper.round(base)
    except FetchFailed as error:
        log.warning("round given up", problem=str(error))
        return min(every.total_seconds(), 15.0)  # the shop may just be starting
    log.info("round done", **{name: getattr(counts, name) for name in RoundCounts.__slots__})
    return every.total_seconds()


async def _idle(this: Run, stopped: asyncio.Event, seconds: float) -> None:
    """Wait for the next round, or for a stop; serve the Kafka client meanwhile."""
    until = time.monotonic() + seconds
    while not this.stop.requested and (left := until - time.monotonic()) > 0:
        this.publisher.poll()
        try:
            await asyncio.wait_for(stopped.wait(), min(left, 5.0))
        except TimeoutError:
            continue
