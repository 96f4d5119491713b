"""Follows every connected shop: its webhooks, its history, and what changed. Connections come and go while it runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

import aiohttp
from aiohttp import web

from producers import state
from producers.connect import connections, rereads
from producers.connect.connections import Connection, Connections
from producers.connect.intake import Intake
from producers.connect.memory import FILE, Memory
from producers.connect.platforms import api_of
from producers.connect.reader import Reader
from producers.connect.receiver import Receiver
from producers.rates import book
from producers.rates.book import Known
from producers.runner import Run
from producers.writer import Writer
from schemas.errors import InsightsError, Misconfigured

EVERY: Final = timedelta(hours=1)
LOOK_SECONDS: Final = 1.0
CHECKPOINT_SECONDS: Final = 1.0


def run(this: Run) -> None:
    """Follow the shops until told to stop. Raises DeliveryFailed, and Misconfigured when the port is taken."""
    asyncio.run(_Follower(this).run())


class _Follower:
    def __init__(self, this: Run) -> None:
        self._this = this
        self._readers: dict[str, tuple[Connection, Reader, asyncio.Task[None]]] = {}
        self._there: dict[str, bytes] = {}  # the connections of the last look
        self._asked: dict[str, int] = {}  # by shop, up to which order somebody wants it read again
        self._known: Known | None = None  # of which days the rates were known at the last look
        self._writer = Writer(lambda: Intake(this, Memory(this.options.state / FILE, this.options.currency)))

    async def run(self) -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._this.stop.fileno(), stopped.set)
        writing = asyncio.create_task(self._writer.run())
        checkpoints = asyncio.create_task(self._checkpoints())
        receiver = Receiver(self._writer, self._reader_of)
        server = web.AppRunner(receiver.application(), access_log=None, shutdown_timeout=2.0)
        try:
            await self._serve(server)
            async with aiohttp.ClientSession() as session:
                while not self._this.stop.requested:
                    self._look(session)
                    self._raise_failures(writing, checkpoints)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stopped.wait(), LOOK_SECONDS)
        finally:
            await server.cleanup()
            for _, _, task in self._readers.values():
                task.cancel()
            await asyncio.gather(*(task for _, _, task in self._readers.values()), return_exceptions=True)
            for task in (checkpoints, writing):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _serve(self, server: web.AppRunner) -> None:
        port = self._this.options.hooks_port
        if port is None:
            return
        await server.setup()
        try:
            await web.TCPSite(server, self._this.options.listen, port).start()
        except OSError as error:
            raise Misconfigured(f"port {port} for the shops' webhooks is not available: {error}") from error
        self._this.log.info("webhooks", port=port)

    def _reader_of(self, name: str) -> tuple[Connection, Reader] | None:
        found = self._readers.get(name)
        return found[:2] if found else None

    def _look(self, session: aiohttp.ClientSession) -> None:
        """Begin with the shops that were connected since, and leave those that are no more."""
        folder = self._this.options.state
        before, self._there = self._there, connections.sealed(folder)
        for gone, _ in before.items() - self._there.items():
            if gone in self._readers:
                _, _, task = self._readers.pop(gone)
                task.cancel()
                self._this.log.info("disconnected", shop=gone)
        for name, _ in sorted(self._there.items() - before.items()):
            try:
                self._follow(Connections(folder).get(name), session)
            except Misconfigured as error:
                self._this.log.error("can't be followed", shop=name, problem=str(error))
        before_known, self._known = self._known, book.known(folder)
        if before_known != self._known:
            for _, reader, _ in self._readers.values():
                reader.want()  # orders that waited for a rate
        before_asked, self._asked = self._asked, rereads.newest(folder)
        for name, _ in self._asked.items() - before_asked.items():
            if name in self._readers:
                self._readers[name][1].want()

    def _follow(self, connection: Connection, session: aiohttp.ClientSession) -> None:
        every = (self._this.options.every or EVERY).total_seconds()
        api = api_of(connection, session)
        reader = Reader(
            connection,
            api,
            self._writer,
            folder=self._this.options.state,
            every_seconds=every,
            log=self._this.log,
            clock=self._this.clock,
        )
        self._readers[connection.name] = (connection, reader, asyncio.create_task(reader.run()))
        self._this.log.info("connected", shop=connection.name, url=connection.url)

    async def _checkpoints(self) -> None:
        """So that no answer waits for the disk."""
        path = self._this.options.state / FILE
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            if path.exists():
                await asyncio.to_thread(state.checkpoint, path)

    def _raise_failures(self, *tasks: asyncio.Task[None]) -> None:
        """A defect or a Kafka that refuses events must end the process, which then starts from what it remembers."""
        for task in (*tasks, *(task for _, _, task in self._readers.values())):
            if task.done() and not task.cancelled():
                error = task.exception()
                raise error if error is not None else InsightsError("the reading of a shop ended by itself")
