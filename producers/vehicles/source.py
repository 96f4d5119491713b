"""The ``vehicles`` source: polls GTFS-Realtime feeds, and publishes each position that is new, until it is stopped.

What a poll gave is kept, with the ids of its events, before it is published, and removed when Kafka has it. A source
that is killed in between publishes the same events again, which count once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any, Final

from producers.runner import Run
from producers.scraping import addresses
from producers.scraping.fetching import Fetch, FetchFailed, HttpFetch, Pace, SiteAway, Validators
from producers.shop.identifiers import digest_of, envelope
from producers.vehicles import positions
from producers.vehicles.feeds import Feed, feeds
from producers.vehicles.memory import Memory, Report
from producers.vehicles.positions import OLDER, Doubtful, Found, Position, UnreadableFeed
from producers.waiting import idle
from schemas import catalogue
from schemas.errors import PoisonEvent

VEHICLE_MOVED: Final = catalogue.event("public.vehicle_moved")
ROBOT: Final = "InsightsHubVehicles"
POLL_SECONDS: Final = 15.0  # agencies renew theirs every 10 to 30
SECONDS_APART: Final = 1.0
LARGEST_BYTES: Final = 8_000_000
DEAD_HEAD_BYTES: Final = 16_384
MESSAGE: Final = "message"  # what a reason is about: the whole, or
ENTITIES: Final = "entities"
LONGEST_WAIT_SECONDS: Final = 600.0
MOST_PATIENCE_SECONDS: Final = 3_600.0  # what a site may ask for


def run(this: Run) -> None:
    """Publish the positions of ``options.feeds`` until stopped. Raises Misconfigured for no feed, or what is none.

    Raises DeliveryFailed or BrokerUnavailable. A feed that is away is asked for again, and stops no other.
    """
    asyncio.run(_follow(this, feeds(this.options.feeds)))


async def _follow(this: Run, chosen: list[Feed]) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(this.stop.fileno(), stopped.set)
    memory = Memory(this.options.state / "vehicles.sqlite")
    reach = addresses.public_or_private if this.options.private else addresses.public
    try:
        send(this, memory)  # what a killed run left behind
        async with addresses.session(reach) as session, asyncio.TaskGroup() as group:
            for feed in chosen:
                pace = Pace(SECONDS_APART, loop.time)
                fetch = HttpFetch(session, pace, contact=this.options.contact or "", robot=ROBOT)
                group.create_task(_polls(FeedReader(this, memory, feed, fetch), partial(idle, this, stopped)))
    except ExceptionGroup as group_of_errors:
        raise group_of_errors.exceptions[0] from group_of_errors
    finally:
        memory.close()


async def _polls(reader: FeedReader, idle: Callable[[float], Awaitable[None]]) -> None:
    this, failures = reader.this, 0
    every = this.options.every.total_seconds() if this.options.every else POLL_SECONDS
    while not this.stop.requested:
        began, wanted = time.monotonic(), 0.0
        try:
            await reader.poll()
            failures = 0
        except (FetchFailed, SiteAway) as error:
            failures, wanted = failures + 1, error.after_seconds
            problem = reader.feed.without_address(str(error))
            this.log.warning("feed away", feed=reader.feed.name, problem=problem)
        await idle(wait_seconds(every, failures, wanted) - (time.monotonic() - began))


def wait_seconds(every: float, failures: int, wanted: float, chance: float | None = None) -> float:
    """Seconds from one poll to the next: ever longer while polls fail, and by chance up to half less then."""
    if not failures:
        return every
    drawn = Random().random() if chance is None else chance  # noqa: S311 not a secret
    longest = max(every, LONGEST_WAIT_SECONDS)
    seconds = min(every * 2.0 ** min(failures, 16), longest) * (1 - drawn / 2)
    return max(seconds, min(wanted, MOST_PATIENCE_SECONDS))


def send(this: Run, memory: Memory) -> None:
    """Publish what the memory has, and remove it once Kafka has it. Blocks until acknowledged."""
    records, place = memory.unsent()
    for record in records:
        try:
            this.publish(VEHICLE_MOVED, record)
        except PoisonEvent as error:  # the clock may have been set back since it was read
            this.publisher.dead_letter(
                VEHICLE_MOVED,
                json.dumps(record, default=str).encode()[:DEAD_HEAD_BYTES],
                key=record["vehicle_id"].encode(),
                error=error,
                stage="VALUE_CONVERTER",
            )
    this.publisher.flush()
    memory.sent(place)


class FeedReader:
    """Polls one feed."""

    def __init__(self, this: Run, memory: Memory, feed: Feed, fetch: Fetch) -> None:
        self.this = this
        self.feed = feed
        self._memory = memory
        self._fetch = fetch

    async def poll(self) -> None:
        """Get the message, unless it is still the same, and publish what is new in it. Blocks until acknowledged.

        Raises FetchFailed or SiteAway when the site does not give it.
        """
        got = await self._fetch(self.feed.url, self._memory.validators(self.feed.name), LARGEST_BYTES)
        if got.body is None:
            self.this.log.info("feed unchanged", feed=self.feed.name)
            return
        try:
            found = await asyncio.to_thread(positions.read, got.body, self.this.clock())
        except UnreadableFeed as error:
            self.this.log.warning("feed unreadable", feed=self.feed.name, problem=str(error), detail=error.detail)
            # Known until a message can be read: one that is cut off anywhere fails in more ways than one.
            before = self._memory.told(self.feed.name, MESSAGE)
            self._bury(MESSAGE, dict.fromkeys(before, b"") | {str(error): got.body}, UnreadableFeed, error.detail)
            return
        self._bury(MESSAGE, {}, UnreadableFeed)
        self._bury(ENTITIES, found.examples, Doubtful)
        self._take(found, got.validators)

    def _take(self, found: Found, validators: Validators) -> None:
        known, counts = self._memory.reports(self.feed.name), found.left_out
        reports: dict[str, Report] = {}
        records: list[dict[str, Any]] = []
        for position in found.positions:
            before, said = known.get(position.vehicle), _report(position)
            if before == said:
                counts["unchanged"] += 1
            elif before and said.own_time and before.own_time and said.own_time < before.own_time:
                counts[OLDER] += 1
                said = before
            else:
                records.append(_record(self.this.source.name, self.feed, position, said))
            reports[position.vehicle] = said
        self._memory.polled(self.feed.name, validators, reports, records, self.this.clock())
        send(self.this, self._memory)
        self.this.log.info("feed read", feed=self.feed.name, published=len(records), **{"left_out": dict(counts)})

    def _bury(self, part: str, examples: dict[str, bytes], kind: type[PoisonEvent], detail: str = "") -> None:
        """A dead letter for each reason that is not told yet: a feed repeats its faults. Blocks until acknowledged.

        What is not among the examples is told again when it comes again.
        """
        told = self._memory.told(self.feed.name, part)
        if told == examples.keys():
            return
        for reason in sorted(examples.keys() - told):
            self.this.publisher.dead_letter(
                VEHICLE_MOVED,
                examples[reason][:DEAD_HEAD_BYTES],
                key=self.feed.name.encode(),
                error=kind(f"{self.feed.name}: {reason}"),
                stage="VALUE_CONVERTER",
                origin={"feed": self.feed.name} | ({"detail": detail} if detail else {}),
            )
        self.this.publisher.flush()
        self._memory.tell(self.feed.name, part, examples)


def _report(position: Position) -> Report:
    """What is new about it. The message's own time is not: it is another in each."""
    said = (
        position.latitude,
        position.longitude,
        position.bearing,
        position.speed,
        position.trip_id,
        position.route_id,
    )
    own_time = position.at if position.is_own_time else None
    return Report(digest=digest_of((*said, own_time)), own_time=own_time)


def _record(source: str, feed: Feed, position: Position, said: Report) -> dict[str, Any]:
    vehicle = f"{feed.name}:{position.vehicle}"
    return {
        **envelope(source, f"{vehicle}:{said.digest.hex()}", position.at * 1000),
        "vehicle_id": vehicle,
        "feed": feed.name,
        "trip_id": position.trip_id,
        "route_id": position.route_id,
        "latitude": position.latitude,
        "longitude": position.longitude,
        "bearing": position.bearing,
        "speed": position.speed,
    }
