"""Receives shops' webhooks: ``POST /hooks/woocommerce/<shop>``.

| answer | when |
|---|---|
| 200 | what the delivery says is on the log, or it is WooCommerce's ping, or of a kind that we don't read |
| 202 | the shop's history is still being read: the reading of changes that follows it will bring the order |
| 401 | the signature is not this shop's, or there is no such shop |
| 413 | the body is longer than a dead letter can be |
| 503 | Kafka did not acknowledge it within a second |

Whatever is not signed is counted, and nothing else is done with it. A delivery that is sent again, by the shop or by
anyone who recorded it, is published once: the same order has the same event.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web

from producers.connect.connections import Connection
from producers.connect.intake import Intake
from producers.connect.reader import Reader
from producers.connect.writer import Writer
from schemas import catalogue
from schemas.errors import BrokerUnavailable

MOST_BYTES: Final = catalogue.event("ops.dead_letter").max_bytes
ANSWER_SECONDS: Final = 1.0
PING: Final = re.compile(rb"webhook_id=\d+")
NOBODY: Final = "no such shop"


class Receiver:
    """Answers deliveries. ``reader`` gives a connected shop's reader, or None."""

    def __init__(self, writer: Writer, reader: Callable[[str], tuple[Connection, Reader] | None]) -> None:
        self._writer = writer
        self._reader = reader
        self.answers: Counter[int] = Counter()

    def application(self) -> web.Application:
        """The receiver's routes, and ``/health`` with the count of answers."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._counted])
        app.router.add_post("/hooks/woocommerce/{shop}", self._woocommerce)
        app.router.add_get("/health", self._health)
        return app

    @web.middleware
    async def _counted(self, request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        if request.path == "/health":
            return await handler(request)  # type: ignore[misc,no-any-return]
        try:
            response: web.StreamResponse = await handler(request)  # type: ignore[misc]
        except web.HTTPException as refusal:
            self.answers[refusal.status] += 1
            raise
        self.answers[response.status] += 1
        return response

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"answers": {str(status): n for status, n in sorted(self.answers.items())}})

    async def _woocommerce(self, request: web.Request) -> web.Response:
        body = await request.read()  # raises HTTPRequestEntityTooLarge
        found = self._reader(request.match_info["shop"])
        signature = request.headers.get("X-WC-Webhook-Signature", "")
        if found is not None and not signature and PING.fullmatch(body):
            return web.Response(text="pong")
        secret = found[0].credentials.webhook_secret if found else NOBODY
        if not is_signed(body, signature, secret) or found is None:
            return web.Response(status=401)
        connection, reader = found
        if request.headers.get("X-WC-Webhook-Topic", "").partition(".")[0] != "order":
            return web.Response(text="not an order")
        if not reader.is_live:
            return web.Response(status=202)
        return await self._publish(connection, reader, body)

    async def _publish(self, connection: Connection, reader: Reader, body: bytes) -> web.Response:
        try:
            has_refunds = await asyncio.wait_for(self._writer.write(partial(_take, connection, body)), ANSWER_SECONDS)
        except (BrokerUnavailable, TimeoutError):
            return web.Response(status=503)
        if has_refunds:
            reader.want_refunds()
        return web.Response(text="published")


def _take(connection: Connection, body: bytes, intake: Intake) -> bool:
    """Whether refunds are wanted after it."""
    intake.take(connection, body)
    return intake.memory.has_wanted(connection.name)


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """Whether this is the base64 of the body's HMAC-SHA256 under the secret; takes as long whatever it is."""
    expected = base64.b64encode(hmac.digest(secret.encode(), body, "sha256"))
    return hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
