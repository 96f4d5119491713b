"""The ``catalog`` source: reads every product page of a shop, round after round, and publishes what it sees.

An observation is published when a product is first seen, whenever anything on its page changes, and at least once a
day, so that a day's observations include every product; once more, as discontinued, when the shop no longer has it.
``previous_price`` is the price of this source's previous observation in the same currency.

An unreadable page is a dead letter, once for each content. A page that the site does not return is logged, counted and
requested again in the next round. docs/sources.md says how a shop is read.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from producers import state
from producers.runner import Run
from producers.scraping import addresses, profiles
from producers.scraping.drift import Drifted
from producers.scraping.feed import BadFeed
from producers.scraping.fetching import TRIES, FetchFailed, HttpFetch, Pace, SiteAway
from producers.scraping.memory import Memory
from producers.scraping.page import UnreadablePage
from producers.scraping.rounds import BLOCK_PAGES, DEAD_HEAD_BYTES, RoundCounts, Scraper
from producers.scraping.site import shop_address
from producers.scraping.sitemaps import BadSitemap
from producers.waiting import idle, until
from schemas import catalogue
from schemas.errors import InsightsError, Misconfigured, PoisonEvent, Retryable

PRODUCT_OBSERVED = catalogue.event("catalog.product_observed")
DEFAULT_URL: Final = "http://127.0.0.1:19300"
REQUESTS_A_SECOND: Final = 10.0
ROUND_EVERY: Final = timedelta(minutes=5)
HERE: Final = ("127.0.0.1", "localhost")
RETRY_SECONDS: Final = 15.0  # after a round that the site did not allow: it may just be starting
LONGEST_RETRY_SECONDS: Final = 3_600.0


def send(this: Run, memory: Memory) -> None:
    """Publish the observations in the memory, and remove them once Kafka has them. Blocks until acknowledged.

    One process at a time: what another one with the same memory publishes is not published twice.
    """
    with memory.alone():
        _send(this, memory)


def _send(this: Run, memory: Memory) -> None:
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


class ShopBusy(Retryable):
    """Another process reads the same shop, with the same memory."""


class RoundCut(Retryable):
    """The only round was stopped before its end."""


def run(this: Run) -> None:
    """Scrape ``options.url`` (the demo shop by default) until stopped, at ``options.rate`` requests a second.

    With ``options.once`` it is one round, and the verdict is what it was given up for. Raises ShopBusy when another
    process reads the same shop with the same memory: both would take a price that changed for their own to publish.
    """
    base = shop_address(this.options.url or DEFAULT_URL).geturl().rstrip("/")
    shop = urlsplit(base).netloc
    busy = ShopBusy(
        f"another process reads {shop} with the memory in {this.options.state}. Wait until it ends, or stop it:"
        " `insights status` shows whether it is the stack's `catalog`"
    )
    with state.alone(this.options.state / f"catalog-{shop}.lock", busy):
        asyncio.run(_rounds(this, base))


async def _rounds(this: Run, base: str) -> None:
    every = this.options.every or ROUND_EVERY
    memory = Memory(this.options.state / "catalog.sqlite")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(this.stop.fileno(), stopped.set)
    try:
        async with addresses.session(_reach(this.options.url, private=this.options.private)) as session:
            pace = Pace(1 / (this.options.rate or REQUESTS_A_SECOND), time.monotonic, partial(_sleep, stopped))
            fetch = HttpFetch(session, pace, contact=this.options.contact or "", tries=TRIES)
            scraper = _scraper(this, memory, fetch)
            send(this, memory)  # what a killed run left behind
            if this.options.history and memory.is_new():
                publish_past(this, memory, base)
            away = 0
            while not this.stop.requested:
                began = time.monotonic()
                wait, away = await _round(this, scraper, base, every, away)
                if this.options.once:
                    return
                await idle(this, stopped, wait - (time.monotonic() - began))
    finally:
        memory.close()


def _reach(url: str | None, *, private: bool) -> Callable[[addresses.Address], bool]:
    """Which addresses may be read; the demo shop, which is read without a URL, is on this machine."""
    return addresses.public_or_private if private or url is None else addresses.public


def _scraper(this: Run, memory: Memory, fetch: HttpFetch) -> Scraper:
    options = this.options
    return Scraper(
        source=this.source.name,
        memory=memory,
        fetch=fetch,
        now=_now,
        log=this.log,
        profile=profiles.named(options.profile) if options.profile else None,
        product_path=options.product_path,
        at_once=options.at_once,
    )


def _now() -> datetime:
    # Whole milliseconds, as the contract keeps them.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


async def _round(this: Run, scraper: Scraper, base: str, every: timedelta, away: int) -> tuple[float, int]:
    """One round and its log line. ``away`` counts the rounds before it in which the site was away.

    Returns seconds from its start to the next one's, and the new count.
    """
    counts, sent = RoundCounts(), 0
    try:
        async with aclosing(scraper.round(base)) as looks:
            async for counts in looks:
                if counts.pages - sent >= BLOCK_PAGES:
                    send(this, scraper.memory)
                    sent = counts.pages
                if this.stop.requested:
                    if this.options.once:
                        this.verdict = RoundCut("the round was stopped before its end; the next one reads the rest")
                    break
    except (FetchFailed, SiteAway) as error:
        if not this.stop.requested:
            _give_up(this, scraper, error)
        return _retry_seconds(away, every, error.after_seconds), away + 1
    except (BadSitemap, BadFeed, Drifted) as error:
        _give_up(this, scraper, error)
        return every.total_seconds(), 0
    finally:
        send(this, scraper.memory)
    this.log.info("round done", **{name: getattr(counts, name) for name in RoundCounts.__slots__})
    return every.total_seconds(), 0


def _give_up(this: Run, scraper: Scraper, error: InsightsError) -> None:
    scraper.given_up(str(error))
    if this.options.once:
        this.verdict = error


def _retry_seconds(away: int, every: timedelta, wanted: float) -> float:
    """When to ask a site again that was away: soon at first, then ever later, and not all scrapers at once."""
    longest = max(every.total_seconds(), LONGEST_RETRY_SECONDS)
    seconds = min(min(every.total_seconds(), RETRY_SECONDS) * 2.0 ** min(away, 16), longest)
    return max(seconds * (1 - Random().random() / 2), min(wanted, 24 * LONGEST_RETRY_SECONDS))  # noqa: S311


async def _sleep(stopped: asyncio.Event, seconds: float) -> None:
    """Wait for so long. Raises FetchFailed at a stop, for what would have been asked for then."""
    await until(stopped, seconds)
    if stopped.is_set():
        raise FetchFailed("the scraper was asked to stop")
