"""The shop as a source: publishes its history as fast as Kafka accepts it, then each event when its time comes.

One process may publish all of the shop's topics or some of them; with the same seed, rate and start, several processes
publish one coherent shop together.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from producers.runner import Options, Run
from producers.shop.assortment import minute_of
from producers.shop.customer_keys import KeyStore
from producers.shop.occurrences import CUSTOMER_CHANGED, MINUTE_MS, Occurrence
from producers.shop.shop_state import Cursor, ShopState
from producers.shop.simulation import Minute, Simulation, reopened
from producers.shop.visits import Seal, Shop
from schemas.errors import Misconfigured

DEFAULT_RATE: Final = 0.3
COMMIT_SECONDS: Final = 1.0
LOOK_AT_CLOCK_EVERY: Final = 256
LONGEST_ABSENCE: Final = timedelta(hours=12)


def run(this: Run) -> None:
    """Publish the shop's events until asked to stop. ``rate`` is the whole shop's, whichever topics are published.

    Raises Misconfigured when the state folder holds the cursor of another shop.
    """
    options = this.options
    shop = Shop(seed=options.seed, rate=options.rate or DEFAULT_RATE, currency=options.currency)
    shop_state = ShopState(
        options.state / f"{this.source.name}.sqlite", {"seed": str(shop.seed), "rate": f"{shop.rate:g}"}
    )
    keys = KeyStore(options.state / "keys.sqlite")
    try:
        seal = keys.seal if CUSTOMER_CHANGED.name in this.source.events else _unread
        simulation, cursor = _opened(this, shop, seal, shop_state)
        Feed(this, shop_state, simulation, cursor).go()
    finally:
        keys.close()
        shop_state.close()


def _unread(_number: int, _field: str, _text: str) -> bytes | None:
    return None  # a process that does not publish customers needs none of their keys


def _opened(this: Run, shop: Shop, seal: Seal, shop_state: ShopState) -> tuple[Simulation, Cursor]:
    """The simulation, at the written cursor or at a beginning, and the cursor."""
    options, log = this.options, this.log
    now_ms = int(this.clock() * 1000)
    cursor = shop_state.cursor()
    if cursor is None:
        origin = _origin(options, now_ms)
        cursor = Cursor(origin=origin, minute=origin, done=0, customers_from=0, written_ms=now_ms)
        shop_state.restart(cursor, ())
    elif options.start is not None and cursor.origin != minute_of(options.start):
        raise Misconfigured(
            f"{shop_state.path} holds the cursor of a shop that started {_moment(cursor.origin)}, and this run starts"
            f" {options.start.isoformat()}; use the same --start, or another --state folder"
        )
    simulation = Simulation(
        shop,
        seal,
        origin=cursor.origin,
        minute=cursor.minute,
        scheduled=shop_state.scheduled(),
        levels=shop_state.levels(),
        customers_from=cursor.customers_from,
    )
    away = timedelta(milliseconds=now_ms - cursor.written_ms)
    if options.start is None and away > max(options.history, LONGEST_ABSENCE):
        origin = _origin(options, now_ms)
        log.warning(
            "skipped_ahead",
            cursor=_moment(cursor.minute),
            to=_moment(origin),
            away_hours=round(away / timedelta(hours=1), 1),
        )
        simulation = reopened(simulation, seal, origin)
        cursor = Cursor(
            origin=origin, minute=origin, done=0, customers_from=simulation.customers_from, written_ms=now_ms
        )
        shop_state.restart(cursor, simulation.pending)
    log.info("opened", origin=_moment(cursor.origin), cursor=_moment(cursor.minute), done=cursor.done)
    return simulation, cursor


def _origin(options: Options, now_ms: int) -> int:
    if options.start is not None:
        return minute_of(options.start)
    return (now_ms - options.history // timedelta(milliseconds=1)) // MINUTE_MS


def _moment(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60).astimezone().isoformat()


class Feed:
    """Hands a simulation's events to the publisher when their time comes, and moves the cursor behind them."""

    def __init__(self, this: Run, shop_state: ShopState, simulation: Simulation, cursor: Cursor) -> None:
        self._this = this
        self._shop_state = shop_state
        self._simulation = simulation
        self._cursor = cursor
        self._events = frozenset(this.source.events)
        self._over: list[Minute] = []
        self._moved = False
        self._committed_at = time.monotonic()
        self._now_ms = 0
        self._live = False
        self._minute = cursor.minute
        # Drawn ahead in a thread, so that a busy shop's next minute does not hold up this one's events.
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="next-minute")
        self._next: Future[Minute] | None = None

    def go(self) -> None:
        """Returns when asked to stop; then everything published is acknowledged and the cursor is behind it."""
        stop = self._this.stop
        done = self._cursor.done
        try:
            while not stop.requested:
                minute = self._next_minute()
                wanted = [o for o in minute.occurrences if o.event.name in self._events]
                done = self._publish(wanted, done)
                if done < len(wanted):
                    self._reached(minute.minute, done)
                    break
                self._over.append(minute)
                done = 0
                self._reached(minute.minute + 1, 0)
        finally:
            self._ahead.shutdown(cancel_futures=True)
        self._commit()

    def _next_minute(self) -> Minute:
        minute = self._next.result() if self._next else self._simulation.advance()
        live = self._this.clock() * 1000 < (minute.minute + 1) * MINUTE_MS
        self._next = self._ahead.submit(self._simulation.advance) if live else None
        if live and not self._live:
            self._live = True
            self._this.log.info("live", published=self._this.published)
        self._minute = minute.minute
        return minute

    def _publish(self, wanted: list[Occurrence], done: int) -> int:
        """Publish from the ``done``-th on. Returns how many are published when it is over or asked to stop."""
        this, count = self._this, self._shop_state.answer_key.count
        for index in range(done, len(wanted)):
            occurrence = wanted[index]
            if occurrence.at_ms > self._now_ms and self._wait(occurrence.at_ms, index):
                return index
            this.publish(occurrence.event, occurrence.record)
            count(occurrence.event, occurrence.at_ms, occurrence.record)
            if this.stop.requested:
                return index + 1
            if index % LOOK_AT_CLOCK_EVERY == 0:
                self._commit_in_time(index + 1)
        return len(wanted)

    def _wait(self, at_ms: int, index: int) -> bool:
        """Until a time; commits meanwhile. True when asked to stop."""
        this = self._this
        while True:
            self._now_ms = int(this.clock() * 1000)
            if at_ms <= self._now_ms:
                return this.stop.requested
            self._commit_in_time(index)
            if this.stop.wait(min((at_ms - self._now_ms) / 1000, COMMIT_SECONDS)):
                return True
            this.publisher.poll()

    def _commit_in_time(self, done: int) -> None:
        if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self._reached(self._minute, done)
            self._commit()

    def _reached(self, minute: int, done: int) -> None:
        cursor = self._cursor
        if (minute, done) != (cursor.minute, cursor.done):
            self._cursor = replace(cursor, minute=minute, done=done)
            self._moved = True

    def _commit(self) -> None:
        self._committed_at = time.monotonic()
        if self._moved:
            self._this.publisher.flush()
            self._cursor = replace(self._cursor, written_ms=int(self._this.clock() * 1000))
            self._shop_state.commit(self._cursor, self._over)
            self._over.clear()
            self._moved = False
