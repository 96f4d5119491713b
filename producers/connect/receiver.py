"""Receives shops' webhooks: ``POST /hooks/<platform>/<shop>``.

| answer | when |
|---|---|
| 200 | what it says is on the log; or the order or product that it names is noted, and read from the shop at once |
| 200 | what it asks about a person is noted (persons/requests.py); a customer that was deleted is read as well |
| 200 | it is a ping, or of a kind that we don't read |
| 202 | the shop's history is still being read: the reading of changes that follows it will bring the order |
| 401 | the signature is not this shop's, or there is no such shop |
| 413 | the body is longer than a dead letter can be |
| 503 | Kafka did not acknowledge it within a second |

Whatever is not signed is counted, and nothing else is done with it. A delivery that is sent again, by the shop or by
anyone who recorded it, is published once: the same order has the same event.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web

from producers.connect.connections import Connection
from producers.connect.hearing import Heard, Kind, is_signed
from producers.connect.intake import Intake
from producers.connect.orders import BadOrder
from producers.connect.platforms import PLATFORMS
from producers.connect.reader import Reader
from producers.metrics import ANSWERS
from producers.writer import Writer
from schemas import catalogue
from schemas.errors import BrokerUnavailable

MOST_BYTES: Final = catalogue.event("ops.dead_letter").max_bytes
ANSWER_SECONDS: Final = 1.0
NOBODY: Final = "no such shop"


class Receiver:
    """Answers deliveries. ``reader`` gives a connected shop's reader, or None."""

    def __init__(self, writer: Writer[Intake], reader: Callable[[str], tuple[Connection, Reader] | None]) -> None:
        self._writer = writer
        self._reader = reader
        self.answers: Counter[int] = Counter()

    def application(self) -> web.Application:
        """The receiver's routes, and ``/health`` with the count of answers."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._counted])
        app.router.add_post("/hooks/{platform}/{shop}", self._delivery)
        app.router.add_get("/health", self._health)
        return app

    @web.middleware
    async def _counted(self, request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        if request.path == "/health":
            return await handler(request)  # type: ignore[misc,no-any-return]
        try:
            response: web.StreamResponse = await handler(request)  # type: ignore[misc]
        except web.HTTPException as refusal:
            self._count(refusal.status)
            raise
        self._count(response.status)
        return response

    def _count(self, status: int) -> None:
        self.answers[status] += 1
        ANSWERS.labels("connections", str(status)).inc()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"answers": {str(status): n for status, n in sorted(self.answers.items())}})

    async def _delivery(self, request: web.Request) -> web.Response:
        body = await request.read()  # raises HTTPRequestEntityTooLarge
        name, platform = request.match_info["platform"], PLATFORMS.get(request.match_info["platform"])
        found = self._reader(request.match_info["shop"])
        if platform is None or (found is not None and found[0].platform != name):
            found = None
        signature = request.headers.get(platform.SIGNATURE, "") if platform else ""
        if platform is not None and found is not None and not signature and platform.is_ping(body):
            return web.Response(text="pong")
        secret = found[0].credentials.webhook_secret if found else NOBODY
        if not is_signed(body, signature, secret) or found is None or platform is None:
            return web.Response(status=401)
        connection, reader = found
        try:
            heard = platform.hear(request.headers, body, connection)
        except BadOrder as bad:
            return await self._write(reader, partial(_refuse, connection, body, bad))
        if heard.kind is Kind.FOREIGN:
            return web.Response(status=401)
        if heard.wished:
            noted = await self._write(reader, partial(_note, connection, heard))
            if heard.kind is Kind.PERSON or noted.status != 200:
                return noted
        if heard.kind is Kind.OTHER:
            return web.Response(text="not read")
        if not reader.is_live:
            return web.Response(status=202)
        return await self._write(reader, partial(_take, connection, body, heard))

    async def _write(self, reader: Reader, work: Callable[[Intake], bool]) -> web.Response:
        try:
            is_more_wanted = await asyncio.wait_for(self._writer.write(work), ANSWER_SECONDS)
        except (BrokerUnavailable, TimeoutError):
            return web.Response(status=503)
        if is_more_wanted:
            reader.want()
        return web.Response(text="taken")


def _take(connection: Connection, body: bytes, heard: Heard, intake: Intake) -> bool:
    """Whether something is to be read after it."""
    if heard.kind is Kind.NAMED:
        intake.memory.name(connection.name, heard.number)
        return True
    if heard.kind is Kind.RESOURCE:
        intake.memory.resources.name(connection.name, heard.resource, [heard.number])
        return True
    intake.take(connection, body)
    return intake.memory.has_wanted(connection.name)


def _note(connection: Connection, heard: Heard, intake: Intake) -> bool:
    """Requests about persons are noted at once, also while the history is read."""
    for wished in heard.wished:
        intake.note_request(connection, wished)
    return False


def _refuse(connection: Connection, body: bytes, bad: BadOrder, intake: Intake) -> bool:
    """What is signed and can't be read is a dead letter."""
    intake.refuse(connection, body, bad)
    return False
