"""The ``catalog`` source: reads every product page of a shop, round after round, and publishes what it sees.

An observation is published when a product is first seen, whenever anything on its page changes, and at least once a
day, so that a day's observations include every product. ``previous_price`` is the price of this source's previous
observation in the same currency.

An unreadable page is a dead letter, once for each content. A page that the site does not return is logged, counted and
requested again in the next round.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from producers.runner import Run
from producers.scraping.memory import Broken, Memory
from producers.scraping.page import UnreadablePage, parse_product, unreadable
from producers.scraping.profiles import WOOCOMMERCE, Profile
from producers.scraping.site import Fetch, Fetched, FetchFailed, HttpFetch, Pace, rules_of
from producers.scraping.sitemaps import BadSitemap, Sitemaps
from producers.shop.identifiers import event_id, tail_prefix
from schemas import catalogue
from schemas.errors import Misconfigured, PoisonEvent

PRODUCT_OBSERVED = catalogue.event("catalog.product_observed")
DEFAULT_URL: Final = "http://127.0.0.1:19300"
REQUESTS_A_SECOND: Final = 10.0
ROUND_EVERY: Final = timedelta(minutes=5)
SNAPSHOT_EVERY: Final = timedelta(days=1)
SEND_EVERY: Final = 25
DEAD_HEAD_BYTES: Final = 65_536
HERE: Final = ("127.0.0.1", "localhost")
RETRY_SECONDS: Final = 15.0  # after a round that the site did not allow: it may just be starting


@dataclass(slots=True, kw_only=True)
class RoundCounts:
    """Results of one round."""

    pages: int = 0
    unchanged: int = 0
    observed: int = 0
    unreadable: int = 0
    failed: int = 0


@dataclass(slots=True, kw_only=True)
class Scraper:
    """Reads pages and stores the observations to publish in the memory. ``now`` is the clock of event times."""

    source: str
    memory: Memory
    fetch: Fetch
    now: Callable[[], datetime]
    log: structlog.stdlib.BoundLogger
    profile: Profile = WOOCOMMERCE
    _said: set[str] = field(default_factory=set)  # in the last round
    _saying: set[str] = field(default_factory=set)  # in this one

    async def round(self, base: str) -> AsyncIterator[RoundCounts]:
        """Look at every product page once; gives the counts so far after each.

        Raises FetchFailed when the site can't be asked, BadSitemap when it has no sitemap that can be read.
        """
        counts = RoundCounts()
        self._said, self._saying = self._saying, set()
        rules = await rules_of(base, self.fetch)
        if isinstance(self.fetch, HttpFetch):
            self.fetch.pace.slow_down_to(rules.crawl_delay_seconds)
        sitemaps = Sitemaps(base, rules, self.profile.product_path, self.fetch, self.warn)
        async for url in sitemaps.products():
            counts.pages += 1
            await self._look(url, counts)
            yield counts
        if counts.pages and counts.failed == counts.pages:
            self.warn(f"none of the {counts.pages:,} product pages of {base} could be read; the log says why for each")

    def warn(self, problem: str) -> None:
        """Log what kept a round from reading everything: once, until a round succeeds."""
        self._saying.add(problem)
        if problem not in self._said:
            self.log.warning("round incomplete", problem=problem)

    def given_up(self, problem: str) -> None:
        """Log, once, that a round read nothing."""
        self._saying.add(problem)
        if problem not in self._said:
            self.log.warning("round given up", problem=problem)

    async def _look(self, url: str, counts: RoundCounts) -> None:
        now = self.now()
        try:
            fetched = await self.fetch(url, self.memory.etag(url, not_before=now - SNAPSHOT_EVERY))
        except FetchFailed as error:
            counts.failed += 1
            self.log.warning("page not read", problem=str(error))
            return
        if fetched.body is None:
            counts.unchanged += 1
            return
        try:
            seen = parse_product(fetched.text, url, now, self.profile)
        except UnreadablePage as error:
            self._broke(fetched, error, counts)
            return
        except Exception as error:  # a defect of ours ends no round: the page is kept, and others are read
            self.log.exception("page not read for a defect of the scraper", url=url)
            kind = type(error).__name__
            self._broke(fetched, unreadable(url, f"the scraper failed on it ({kind}: {error}); report this"), counts)
            return
        observation = self._observation(seen)
        if observation:
            counts.observed += 1
        else:
            counts.unchanged += 1
        self.memory.looked(url, fetched.etag, now, observation)

    def _broke(self, fetched: Fetched, error: UnreadablePage, counts: RoundCounts) -> None:
        counts.unreadable += 1
        self.log.warning("page not understood", problem=str(error))
        self.memory.broke(Broken(url=fetched.url, body=(fetched.body or b"")[:DEAD_HEAD_BYTES], reason=str(error)))

    def _observation(self, seen: Mapping[str, Any]) -> dict[str, Any] | None:
        """The event to publish, or None when nothing changed since the last one of these 24 hours."""
        known = self.memory.known(seen["shop"], seen["product_id"])
        at: datetime = seen["occurred_at"]
        if known and known.content_hash == seen["content_hash"] and at - known.published_at < SNAPSHOT_EVERY:
            return None
        micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return {
            **seen,
            "event_id": event_id(micros, tail_prefix(secrets.randbits(58)), 0),
            "source": self.source,
            "previous_price": self.memory.price(seen["shop"], seen["product_id"], seen["currency"]),
        }


def send(this: Run, memory: Memory) -> None:
    """Publish the observations in the memory, and remove them once Kafka has them. Blocks until acknowledged."""
    observations = memory.unsent()
    for record in observations:
        try:
            this.publish(PRODUCT_OBSERVED, record)
        except PoisonEvent as error:
            this.log.error("observation refused", problem=str(error), url=record["url"])
            memory.refused(record, _evidence(record), f"{record['url']}: {error}")
    letters = memory.letters()
    for letter in letters:
        this.publisher.dead_letter(
            PRODUCT_OBSERVED,
            letter.body,
            key=letter.url.encode(),
            error=UnreadablePage(letter.reason),
            stage="VALUE_CONVERTER",
            origin={"url": letter.url},
        )
    this.publisher.flush()
    memory.sent([record["event_id"] for record in observations], [letter.url for letter in letters])


def publish_past(this: Run, memory: Memory, base: str) -> None:
    """Publish what would have been seen of the demo shop in ``options.history`` until now. Blocks until acknowledged.

    Raises Misconfigured for another shop: only the demo shop's past pages are known.
    """
    from producers.demo_shop.past import observations

    if urlsplit(base).hostname not in HERE:
        raise Misconfigured(
            f"--history is for the demo shop: what the pages of {base} said before now is not known. Leave it out"
        )
    options, until = this.options, _now()
    past = observations(options.seed, options.currency, base, until - options.history, until, this.source.name)
    for record in past:
        this.publish(PRODUCT_OBSERVED, record)
    this.publisher.flush()
    memory.published(past)
    this.log.info("past published", observations=len(past))


def _evidence(record: Mapping[str, Any]) -> bytes:
    """The head of an observation that was refused; equal for equal content, so that it is a dead letter once."""
    content = {"content_hash": record["content_hash"], **record}
    kept = {name: value for name, value in content.items() if name not in ("event_id", "occurred_at", "previous_price")}
    return json.dumps(kept, default=str, ensure_ascii=False).encode(errors="replace")[:DEAD_HEAD_BYTES]


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
            fetch = HttpFetch(session, pace)
            profile = replace(WOOCOMMERCE, product_path=this.options.product_path or WOOCOMMERCE.product_path)
            scraper = Scraper(
                source=this.source.name, memory=memory, fetch=fetch, now=_now, log=this.log, profile=profile
            )
            send(this, memory)  # what a killed run left behind
            if this.options.history and memory.is_new():
                publish_past(this, memory, base)
            while not this.stop.requested:
                began = time.monotonic()
                wait = await _round(this, scraper, base, every)
                await _idle(this, stopped, wait - (time.monotonic() - began))
    finally:
        memory.close()


def _now() -> datetime:
    # Whole milliseconds, as the contract keeps them.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


async def _round(this: Run, scraper: Scraper, base: str, every: timedelta) -> float:
    """One round and its log line. Returns seconds from its start to the next one's."""
    counts = RoundCounts()
    try:
        async for counts in scraper.round(base):
            if counts.pages % SEND_EVERY == 0:
                send(this, scraper.memory)
            if this.stop.requested:
                break
    except FetchFailed as error:
        scraper.given_up(str(error))
        return min(every.total_seconds(), RETRY_SECONDS)
    except BadSitemap as error:
        scraper.given_up(str(error))
        return every.total_seconds()
    finally:
        send(this, scraper.memory)
    this.log.info("round done", **{name: getattr(counts, name) for name in RoundCounts.__slots__})
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
