"""Reads one connected shop by its API: its history, then at intervals what changed, and refunds as they are wanted.

What there is beside orders is read after them (resource_reader.py): it is of now, and would make the history late.

Changes are read from a while before the newest one seen: a change may show up a little after its time. Where the
reading is, is kept with what was read, so that a kill costs one page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from producers.connect import rereads
from producers.connect.asking import Api, Pause, ShopAway, ShopRefuses, since_1970
from producers.connect.connections import Connection
from producers.connect.intake import Intake, RateAwaited
from producers.connect.memory import Named, Position, Wanted
from producers.connect.rereads import Request
from producers.connect.resource_reader import ResourceReader
from producers.writer import Writer
from schemas.binary import since_epoch
from schemas.errors import Misconfigured, Retryable

OVERLAP: Final = timedelta(minutes=5)
NAMED: Final = 100  # orders that are read together
RATES_SECONDS: Final = 60.0  # that a history waits for the rates of its orders
LOOK_SECONDS: Final = 1.0
SUBSCRIBE_SECONDS: Final = 86_400.0
AGAIN_SECONDS: Final = 60.0  # after a shop or Kafka was away
T = TypeVar("T")


class Reader:
    """One shop's. ``is_live`` from when its history is on the log: until then, what its webhooks say waits for it."""

    def __init__(
        self,
        connection: Connection,
        api: Api,
        writer: Writer[Intake],
        *,
        folder: Path,
        every_seconds: float,
        log: structlog.stdlib.BoundLogger,
        clock: Callable[[], float] = time.time,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._api = api
        self._writer = writer
        self._folder = folder
        self._every = every_seconds
        self._clock = clock
        self._pause = pause
        self._log = log.bind(shop=connection.name)
        self._wanted = asyncio.Event()
        self._unanswered: set[str] = set()  # orders about which alone the shop does not answer, until the next reading
        self._resources = ResourceReader(
            connection, api, writer, clock=clock, meanwhile=self._read_wanted_orders, log=self._log
        )
        self._subscribe_at = 0.0
        self.is_live = False

    async def run(self) -> None:
        """Read until cancelled. A shop or a Kafka that is away is tried again."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                if loop.time() >= due:
                    await self.catch_up()
                    due = loop.time() + self._every
                else:
                    await self.read_wanted()
            except (Retryable, ShopRefuses, Misconfigured) as error:
                self._log.warning("not read; trying again", problem=str(error), seconds=AGAIN_SECONDS)
                due = min(due, loop.time()) + AGAIN_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), max(0.0, due - loop.time()))

    def want(self) -> None:
        """Read the requested orders and refunds soon: those that webhooks or a person named."""
        self._wanted.set()

    async def catch_up(self) -> None:
        """Read what is missing of the history, then what changed.

        Raises ShopAway, ShopRefuses, BrokerUnavailable or DeliveryFailed; what was read until then is kept.
        """
        self._unanswered.clear()
        position = await self._position()
        if not position.is_history_done:
            position = await self._read_history(position)
        self.is_live = True
        await self._read_changes(position)
        await self.read_wanted()
        await self._resources.catch_up()
        await self._keep_subscribed()

    async def _keep_subscribed(self) -> None:
        """Once a day: a later release, or a new right of the app, may bring topics. Without them the shop is read."""
        if self._connection.hooks is None or self._clock() < self._subscribe_at:
            return
        self._subscribe_at = self._clock() + SUBSCRIBE_SECONDS
        try:
            if topics := await self._api.subscribe(self._connection.hooks):
                self._log.info("more webhooks", topics=topics)
        except (Retryable, ShopRefuses, Misconfigured) as error:
            self._log.warning("no more webhooks; trying again in a day", problem=str(error))

    async def read_wanted(self) -> None:
        """Read the orders that webhooks named, the refunds of every order that has new ones, what somebody wants
        read again, and the products that webhooks named. Raises as ``catch_up``.
        """
        await self._read_wanted_orders()
        if self.is_live:
            await self._resources.read_named()

    async def _read_wanted_orders(self) -> None:
        self._wanted.clear()
        await self._writer.write(lambda intake: intake.name_awaiting(self._connection))
        while named := await self._writer.write(lambda intake: intake.memory.named(self._connection.name, NAMED)):
            bodies = await self._api.named([each.order_id for each in named])
            await self._writer.write(partial(_named, self._connection, named, bodies))
        await self.read_refunds()
        await self.read_again()

    async def read_refunds(self) -> None:
        """Read the refunds of every order that has new ones. Raises as ``catch_up``."""
        wanted = await self._writer.write(lambda intake: intake.memory.wanted(self._connection.name))
        read: list[tuple[Wanted, list[bytes]]] = []
        for each in wanted:
            if each.order_id in self._unanswered:
                continue
            refunds = await self._of_one(each.order_id, self._api.refunds(each.order_id))
            if refunds is not None:
                read.append((each, refunds))
        if not read:
            return
        await self._writer.write(lambda intake: intake.take_refunds(self._connection, read))
        self._log.info("refunds read", orders=len(read))

    async def read_again(self) -> None:
        """Read the orders that somebody asked for (rereads.py), once the history is read. Raises as ``catch_up``."""
        if not self.is_live:
            return
        name = self._connection.name
        done = await self._writer.write(lambda intake: intake.memory.read_again(name))
        requests = rereads.asked(self._folder, name, done)
        for request in requests:
            answer = await self._of_one(request.doubt.order_id, self._whole(request.doubt.order_id))
            if answer is None:
                await self._writer.write(partial(_left, self._connection, request))
            else:
                await self._writer.write(partial(_taken_again, self._connection, request, *answer))
        if requests:
            self._log.info("read again", orders=len(requests))

    async def _whole(self, order_id: str) -> tuple[bytes | None, list[bytes]]:
        body = await self._api.order(order_id)
        return body, await self._api.refunds(order_id) if body is not None else []

    async def _of_one(self, order_id: str, asked: Awaitable[T]) -> T | None:
        """What the shop answers about an order; None when it fails over this one alone, so that others don't wait.

        Raises ShopAway when it does not answer anything else either.
        """
        try:
            return await asked
        except ShopAway as error:
            await self._api.newest_change()
            self._unanswered.add(order_id)
            self._log.warning(
                "the shop fails on this order, but answers other requests: it is skipped until the next reading",
                order=order_id,
                problem=str(error),
            )
            return None

    async def _position(self) -> Position:
        return await self._writer.write(lambda intake: intake.memory.position(self._connection.name))

    async def _read_history(self, position: Position) -> Position:
        """Orders by the time of placing, from where it was left, so that none comes late; then their refunds."""
        since = self._connection.since - timedelta(seconds=1)
        if position.changes_ms is None:
            newest = await self._api.newest_change()
            position = position._replace(changes_ms=self._by_now(newest or since))
        after = since if position.history_ms is None else since_1970(position.history_ms) - timedelta(seconds=1)
        orders, patience = 0, RATES_SECONDS
        async for page in self._api.orders(by="date", after=after):
            position = position._replace(history_ms=since_epoch(page.until))
            patience = await self._take_with_rates(page.bodies, position, patience)
            orders += len(page.bodies)
        await self.read_refunds()
        position = position._replace(is_history_done=True)
        await self._take_page([], position)
        self._log.info("history read", orders=orders)
        return position

    async def _read_changes(self, position: Position) -> None:
        assert position.changes_ms is not None
        newest, orders = self._by_now(since_1970(position.changes_ms)), 0
        async for page in self._api.orders(by="modified", after=since_1970(max(newest, 0)) - OVERLAP):
            newest = max(newest, self._by_now(page.until))
            await self._take_page(page.bodies, position._replace(changes_ms=newest))
            orders += len(page.bodies)
        self._log.info("changes read", orders=orders)

    def _by_now(self, at: datetime) -> int:
        """A time of changing, or now: one ahead of the clock would hide all changes until then."""
        return min(since_epoch(at), int(self._clock() * 1000))

    async def _take_with_rates(self, bodies: list[bytes], position: Position, patience: float) -> float:
        """Take a page of the history, as soon as the rates of its orders are known: what waits would come late.

        Returns what is left of ``patience``, in seconds; without any, an order without its rate is a dead letter.
        """
        while patience > 0:
            try:
                await self._writer.write(partial(_taken_patiently, self._connection, bodies, position))
            except RateAwaited as missing:
                self._log.info("waiting for rates", problem=str(missing), seconds=patience)
                await self._pause(LOOK_SECONDS)
                patience -= LOOK_SECONDS
            else:
                return patience
        await self._take_page(bodies, position)
        return 0.0

    async def _take_page(self, bodies: list[bytes], position: Position) -> None:
        await self._writer.write(partial(_taken, self._connection, bodies, position))


def _named(connection: Connection, named: list[Named], bodies: list[bytes], intake: Intake) -> None:
    intake.take_named(connection, named, bodies)


def _taken(connection: Connection, bodies: list[bytes], position: Position, intake: Intake) -> None:
    intake.take_page(connection, bodies, position)


def _taken_patiently(connection: Connection, bodies: list[bytes], position: Position, intake: Intake) -> None:
    intake.take_page(connection, bodies, position, has_patience=True)


def _left(connection: Connection, request: Request, intake: Intake) -> None:
    intake.memory.note_read_again(connection.name, request.number)


def _taken_again(
    connection: Connection, request: Request, body: bytes | None, refunds: list[bytes], intake: Intake
) -> None:
    intake.take_again(connection, request, body, refunds)
