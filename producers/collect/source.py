"""Runs the collector. Keys can be added and removed while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from producers.collect import keys
from producers.collect.collector import Collector
from producers.collect.intake import Intake
from producers.collect.keys import Key
from producers.runner import Run
from producers.writer import Writer
from schemas.errors import InsightsError, Misconfigured

LOOK_SECONDS: Final = 1.0


def run(this: Run) -> None:
    """Take events until told to stop. Raises DeliveryFailed, and Misconfigured without a port or when it is taken."""
    asyncio.run(_Serving(this).run())


def _quiet_about_requests() -> logging.Logger:
    """For what aiohttp says, but of requests that are no HTTP: it quotes them, and with them who sent them."""
    logger = logging.getLogger("producers.collect.http")
    logger.filters = [lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))]
    return logger


class _Serving:
    def __init__(self, this: Run) -> None:
        self._this = this
        self._keys: Mapping[str, Key] = {}

    async def run(self) -> None:
        this = self._this
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_reader(this.stop.fileno(), stopped.set)
        writer = Writer(lambda: Intake(this, keys.opened(this.options.state), lambda: int(this.clock() * 1000)))
        writing = asyncio.create_task(writer.run())
        collector = Collector(writer, lambda: self._keys)
        # The collector unpacks bodies itself: aiohttp knows no limit, and answers what can't be unpacked with 500.
        server = web.AppRunner(
            collector.application(),
            access_log=None,
            shutdown_timeout=2.0,
            auto_decompress=False,
            logger=_quiet_about_requests(),
        )
        try:
            self._look()
            await self._serve(server)
            while not this.stop.requested:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), LOOK_SECONDS)
                self._look()
                if writing.done():
                    raise writing.exception() or InsightsError("the collector's writer ended by itself")
        finally:
            await server.cleanup()
            writing.cancel()
            with suppress(asyncio.CancelledError, InsightsError):
                await writing

    def _look(self) -> None:
        self._keys = {each.key: each for each in keys.listed(self._this.options.state)}

    async def _serve(self, server: web.AppRunner) -> None:
        port = self._this.options.collect_port
        if port is None:
            raise Misconfigured("collect needs a port: give --collect-port PORT")
        await server.setup()
        try:
            await web.TCPSite(server, self._this.options.listen, port).start()
        except OSError as error:
            raise Misconfigured(f"port {port} for web events is not available: {error}") from error
        self._this.log.info("collecting", port=port, keys=len(self._keys))
