"""Reads a connected shop's products and customers by its API: all once a day, in between what changed or was named.

A reading of all finds what no change tells: a product that was deleted is known here and is not listed there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from producers.connect.asking import Api, ShopRefuses, since_1970
from producers.connect.connections import Connection
from producers.connect.intake import Intake
from producers.connect.resource_memory import NamedResource, ResourcePosition
from producers.connect.resources import RESOURCES, Resource
from producers.writer import Writer
from schemas.binary import EPOCH, since_epoch

OVERLAP: Final = timedelta(minutes=5)
SWEEP_MS: Final = timedelta(days=1) // timedelta(milliseconds=1)
NAMED: Final = 50  # that are read together
TOGETHER: Final = 20  # that are written together, so that an order's webhook does not wait for a whole page


class ResourceReader:
    """One shop's. ``meanwhile`` is awaited between two pages, so that nothing waits for a long list."""

    def __init__(
        self,
        connection: Connection,
        api: Api,
        writer: Writer[Intake],
        *,
        clock: Callable[[], float],
        meanwhile: Callable[[], Awaitable[None]],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._connection = connection
        self._api = api
        self._writer = writer
        self._clock = clock
        self._meanwhile = meanwhile
        self._log = log

    async def catch_up(self) -> None:
        """Read what changed, or all when that is due. Raises ShopAway, BrokerUnavailable or DeliveryFailed.

        What the shop does not let us read is noted, with the reason, and the rest is read.
        """
        for resource in RESOURCES:
            position = await self._position(resource)
            try:
                position = await self._read(resource, position)
                await self._read_named(resource)
            except ShopRefuses as refusal:
                if position.problem != str(refusal):
                    self._log.warning("not read", what=resource, problem=str(refusal))
                position = await self._position(resource)
                await self._take(resource, [], position._replace(problem=str(refusal)))

    async def read_named(self) -> None:
        """Read what webhooks named. Raises as ``catch_up``."""
        for resource in RESOURCES:
            try:
                await self._read_named(resource)
            except ShopRefuses as refusal:
                self._log.warning("not read", what=resource, problem=str(refusal))

    async def _read_named(self, resource: Resource) -> None:
        name = self._connection.name
        while named := await self._writer.write(lambda intake: intake.memory.resources.named(name, resource, NAMED)):
            try:
                bodies = await self._api.described(resource, [each.number for each in named])
            except ShopRefuses:
                # Else they would be refused for ever: what becomes of them is found when all are read.
                await self._writer.write(partial(_named, self._connection, resource, named, []))
                raise
            await self._writer.write(partial(_named, self._connection, resource, named, bodies))
            await self._meanwhile()

    async def _read(self, resource: Resource, position: ResourcePosition) -> ResourcePosition:
        now_ms = int(self._clock() * 1000)
        is_due = position.swept_ms is None or now_ms - position.swept_ms >= SWEEP_MS
        if position.sweep_ms is None and is_due:
            position = position._replace(sweep=position.sweep + 1, sweep_ms=0, swept_ms=now_ms)
        is_sweep = position.sweep_ms is not None
        newest = position.changes_ms or 0
        read_ms = (position.sweep_ms or 0) if is_sweep else newest
        after = None if is_sweep and not read_ms else max(since_1970(read_ms) - OVERLAP, EPOCH)
        count = 0
        async for page in self._api.changed(resource, after=after):
            until = since_epoch(page.until)
            before = position
            position = position._replace(changes_ms=max(newest, until), sweep_ms=until if is_sweep else None)
            for at in range(0, len(page.bodies), TOGETHER):
                some = page.bodies[at : at + TOGETHER]
                is_last = at + TOGETHER >= len(page.bodies)
                await self._take(resource, some, position if is_last else before)
            newest, count = max(newest, until), count + len(page.bodies)
            await self._meanwhile()
        position = position._replace(sweep_ms=None, problem=await self._api.lacks(resource), changes_ms=newest)
        await self._writer.write(partial(_finished, self._connection, resource, position, is_sweep=is_sweep))
        self._log.info("read", what=resource, count=count, all=is_sweep)
        return position

    async def _position(self, resource: Resource) -> ResourcePosition:
        name = self._connection.name
        return await self._writer.write(lambda intake: intake.memory.resources.position(name, resource))

    async def _take(self, resource: Resource, bodies: list[bytes], position: ResourcePosition) -> None:
        await self._writer.write(partial(_taken, self._connection, resource, bodies, position))


def _taken(
    connection: Connection, resource: Resource, bodies: list[bytes], position: ResourcePosition, intake: Intake
) -> None:
    intake.resources.take_page(connection, resource, bodies, position)


def _named(
    connection: Connection, resource: Resource, named: list[NamedResource], bodies: list[bytes], intake: Intake
) -> None:
    intake.resources.take_named(connection, resource, named, bodies)


def _finished(
    connection: Connection, resource: Resource, position: ResourcePosition, intake: Intake, *, is_sweep: bool
) -> None:
    intake.memory.resources.move(connection.name, resource, position)
    if is_sweep:
        intake.memory.resources.name_unseen(connection.name, resource, position.sweep)
