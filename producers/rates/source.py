"""The ``rates`` source: publishes the European Central Bank's rates, from the day on from which somebody wants them.

The bank is not asked before an order in another currency was seen. From then on one small file is fetched each working
day, after 16:00 in Frankfurt, and a longer one where days are missing. What is published is remembered after Kafka has
it; a rate that is published again, after a kill, has the same id.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Final

from producers.rates import book, ecb
from producers.rates.book import Known
from producers.rates.ecb import BASE, RECENT, BadRates, File, Rate
from producers.runner import Run
from producers.scraping import addresses
from producers.scraping.fetching import NOTHING, Fetch, FetchFailed, HttpFetch, Pace, SiteAway, Validators
from producers.shop.identifiers import envelope
from producers.waiting import until
from schemas import catalogue
from schemas.binary import since_epoch

RATE_PUBLISHED: Final = catalogue.event("finance.rate_published")
LOOK_SECONDS: Final = 1.0
SECONDS_APART: Final = 1.0
FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=1)  # so often at most a file is asked for that has nothing new
LARGEST_BYTES: Final = 64 << 20
ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


def run(this: Run) -> None:
    """Publish rates until told to stop; those since ``history`` or ``start``, and those that somebody wants.

    Raises DeliveryFailed or BrokerUnavailable. A bank that is away, or gives no rates, is asked again later.
    """
    options = this.options
    book.begin(options.state)
    if options.start or options.history:
        since = options.start or datetime.fromtimestamp(this.clock(), UTC) - options.history
        book.want(options.state, since.date())
    asyncio.run(_follow(this))


async def _follow(this: Run) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(this.stop.fileno(), stopped.set)
    async with addresses.session(lambda _address: True) as session:  # copies of the files may be anywhere
        rates = Rates(this, HttpFetch(session, Pace(SECONDS_APART, loop.time)))
        while not this.stop.requested:
            await rates.look()
            await until(stopped, LOOK_SECONDS)


class Rates:
    """Fetches and publishes what is missing, when it should be out."""

    def __init__(self, this: Run, fetch: Fetch) -> None:
        self._this = this
        self._fetch = fetch
        self._url = (this.options.url or ecb.URL).rstrip("/")
        self._held: dict[File, Validators] = {}
        self._pause = FIRST_PAUSE
        self._not_before = ALWAYS

    async def look(self) -> None:
        """Once round. Blocks until what was fetched is on the log. Raises DeliveryFailed or BrokerUnavailable."""
        now = datetime.fromtimestamp(self._this.clock(), UTC)
        missing = self._missing(now)
        if missing is None or now < self._not_before:
            return
        file, since = missing
        try:
            got = await self._fetch(f"{self._url}/{file}", self._held.get(file, NOTHING), LARGEST_BYTES)
            self._publish(file, since, ecb.read(got.body) if got.body is not None else [], now)
            self._held[file] = got.validators
        except (FetchFailed, SiteAway, BadRates) as error:
            self._this.log.warning("no rates", file=file, problem=str(error))
        if self._missing(now) is None:
            self._pause, self._not_before = FIRST_PAUSE, ALWAYS
        else:
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _missing(self, now: datetime) -> tuple[File, date] | None:
        folder = self._this.options.state
        wanted = book.wanted(folder)
        return None if wanted is None else ecb.missing(wanted, book.known(folder), now)

    def _publish(self, file: File, since: date, rates: list[Rate], now: datetime) -> None:
        """Publish those that are missing. None at all: the file has nothing new since it was fetched last."""
        folder = self._this.options.state
        known = book.known(folder)
        newest = max([rate.day for rate in rates[-1:]] + ([known.until] if known else []), default=None)
        if newest is None:
            return
        if file == RECENT and rates and ecb.working_days(since, rates[0].day) > ecb.MOST_HOLIDAYS + 1:
            raise BadRates(f"it begins on {rates[0].day}, and should have the last 90 days")
        until = ecb.known_until(newest, now)
        new = [r for r in rates if r.day >= since and not (known and known.since <= r.day <= known.until)]
        for rate in new:
            self._this.publish(RATE_PUBLISHED, _record(self._this.source.name, rate))
        self._this.publisher.flush()
        book.add(folder, new, Known(min(since, known.since) if known else since, until))
        self._this.log.info("rates published", file=file, rates=len(new), until=str(until))


def _record(source: str, rate: Rate) -> dict[str, object]:
    at_ms = since_epoch(ecb.published_at(rate.day))
    return {
        **envelope(source, f"rate:{rate.day}:{rate.currency}", at_ms),
        "day": rate.day,
        "base_currency": BASE,
        "currency": rate.currency,
        "rate": rate.rate,
    }
