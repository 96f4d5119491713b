"""Receives web events: ``POST /v1/events?key=…``, and gives out the tracker that sends them.

| answer | when |
|---|---|
| 200 | what could be counted is on the log; ``refused`` names each event that could not, its field and the reason |
| 400 | it is no batch, or none of its events could be counted |
| 401 | there is no such key |
| 403 | it comes from a page whose origin the key does not have |
| 408, 413, 415 | the body did not come in time, is too long, or is neither JSON nor text |
| 429 | too many events of this key or address: again after ``Retry-After`` seconds |
| 503 | Kafka did not acknowledge it within a second: again later, nothing is counted twice |

What a browser of a bot sends is counted apart and not published. An address and a user agent are used while a request
is answered, and neither kept nor logged.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import math
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

from aiohttp import web
from crawleruseragents import is_crawler

from producers.collect.batch import BadBatch, Batch, read
from producers.collect.intake import Intake
from producers.collect.keys import Key
from producers.collect.limits import Buckets, Limit
from producers.metrics import ANSWERS
from producers.writer import Writer
from schemas.errors import BrokerUnavailable

T = TypeVar("T")
MOST_BYTES: Final = 256 * 1024  # after decompression
ANSWER_SECONDS: Final = 1.0
BODY_SECONDS: Final = 10.0
LONGEST_AGENT: Final = 512
OF_KEY: Final = Limit(per_second=20_000, burst=40_000)
OF_ADDRESS: Final = Limit(per_second=50, burst=2_000)
CONTENT_TYPES: Final = ("application/json", "text/plain")
TRACKER: Final = (Path(__file__).parent / "tracker.js").read_bytes()
TRACKER_TAG: Final = hashlib.sha256(TRACKER).hexdigest()[:24]
TRACKER_GZIP: Final = gzip.compress(TRACKER, 9, mtime=0)
TRACKER_HEADERS: Final = {
    "Content-Type": "text/javascript; charset=utf-8",
    "Cache-Control": "public, max-age=3600",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type, Content-Encoding",
    "Access-Control-Max-Age": "86400",
}


class Collector:
    """Answers requests. ``keys`` gives the keys that there are now, by the key itself."""

    def __init__(
        self,
        writer: Writer[Intake],
        keys: Callable[[], Mapping[str, Key]],
        *,
        of_key: Limit = OF_KEY,
        of_address: Limit = OF_ADDRESS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._keys = keys
        self._of_key = Buckets(of_key, clock)
        self._of_address = Buckets(of_address, clock)
        self.answers: Counter[int] = Counter()

    def application(self) -> web.Application:
        """The collector's routes, and ``/health`` with the count of answers."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._counted])
        app.router.add_post("/v1/events", self._events)
        app.router.add_options("/v1/events", self._preflight)
        app.router.add_get("/v1/tracker.js", self._tracker)
        app.router.add_get("/health", self._health)
        return app

    @web.middleware
    async def _counted(self, request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        if request.path != "/v1/events":
            return await handler(request)  # type: ignore[misc,no-any-return]
        try:
            response: web.StreamResponse = await handler(request)  # type: ignore[misc]
        except web.HTTPException as refusal:
            self._count(refusal.status)
            refusal.headers.update(self._cors(request))
            raise
        self._count(response.status)
        response.headers.update(self._cors(request))
        return response

    def _count(self, status: int) -> None:
        self.answers[status] += 1
        ANSWERS.labels("collect", str(status)).inc()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"answers": {str(status): n for status, n in sorted(self.answers.items())}})

    async def _tracker(self, request: web.Request) -> web.Response:
        if any(entry.value in (TRACKER_TAG, "*") for entry in request.if_none_match or ()):
            response = web.Response(status=304, headers=TRACKER_HEADERS)
        elif "gzip" in request.headers.get("Accept-Encoding", ""):
            response = web.Response(body=TRACKER_GZIP, headers={**TRACKER_HEADERS, "Content-Encoding": "gzip"})
        else:
            response = web.Response(body=TRACKER, headers=TRACKER_HEADERS)
        response.etag = TRACKER_TAG
        return response

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204 if self._cors(request) else 403, headers=PREFLIGHT)

    async def _events(self, request: web.Request) -> web.Response:
        key = self._keys().get(request.query.get("key", ""))
        if key is None:
            return _refused(401, "this key does not exist; `insights collect list` shows the keys")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in key.origins:
            return _refused(403, "this key is not for pages of this origin")
        if request.content_type not in CONTENT_TYPES:
            return _refused(415, "send application/json, or text/plain with JSON in it")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()  # raises HTTPRequestEntityTooLarge
            batch = read(unpacked(body, request.headers.get("Content-Encoding", "identity").lower()))
        except TimeoutError:
            return _refused(408, f"the body did not arrive within {BODY_SECONDS:g} s")
        except _TooLong:
            return _refused(413, f"the uncompressed body is longer than {MOST_BYTES} bytes")
        except BadBatch as bad:
            return _refused(400, bad.reason, field=bad.field)
        return await self._take(request, key, batch, is_browser=origin is not None)

    async def _take(self, request: web.Request, key: Key, batch: Batch, *, is_browser: bool) -> web.Response:
        if not is_browser and batch.visitor is None:
            return _refused(400, "is missing; requests that do not come from a page need it", field="visitor")
        # It listens on loopback alone, so who sets this header is the proxy in front of it.
        address = request.headers.get("X-Forwarded-For", request.remote or "").rpartition(",")[2].strip()
        wait = self._of_address.wait(address, batch.size) or self._of_key.wait(key.name, batch.size)
        if wait:
            headers = {"Retry-After": str(math.ceil(wait))}
            return _refused(429, "too many events of this key or address", headers=headers)
        agent = request.headers.get("User-Agent", "")[:LONGEST_AGENT]
        try:
            if is_browser and is_bot(agent):
                await self._write(lambda intake: intake.take_bots(key, batch.size))
                return web.json_response({"accepted": 0, "bot": batch.size, "refused": []})
            who = ("id", batch.visitor) if batch.visitor else ("from", address, agent)
            taken = await self._write(lambda intake: intake.take(key, who, batch))
        except (BrokerUnavailable, TimeoutError):
            return _refused(503, "Kafka did not acknowledge it in time; send it again", headers={"Retry-After": "1"})
        told = {"accepted": taken.accepted, "bot": 0, "refused": [each.told() for each in taken.refused]}
        return web.json_response(told, status=200 if taken.accepted else 400)

    async def _write(self, work: Callable[[Intake], T]) -> T:
        return await asyncio.wait_for(self._writer.write(work), ANSWER_SECONDS)

    def _cors(self, request: web.Request) -> dict[str, str]:
        """Nothing unless the key has the page's origin."""
        origin = request.headers.get("Origin")
        key = self._keys().get(request.query.get("key", ""))
        if origin is None or key is None or origin not in key.origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Retry-After",
            "Vary": "Origin",
        }


class _TooLong(Exception):
    """A body that swells up."""


def unpacked(body: bytes, encoding: str) -> bytes:
    """The body as it was before it was compressed; no more than MOST_BYTES are ever made. Raises BadBatch."""
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise BadBatch("", "Content-Encoding can be gzip or identity")
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        found = unpacking.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise BadBatch("", f"the body is not gzip: {error}") from None
    if len(found) > MOST_BYTES:
        raise _TooLong
    if not unpacking.eof:
        raise BadBatch("", "the body is gzip that was cut off")
    return found


@lru_cache(maxsize=4_096)
def is_bot(agent: str) -> bool:
    """Whether the user agent is one of crawler-user-agents, or is missing."""
    return not agent or bool(is_crawler(agent))


def _refused(status: int, reason: str, *, field: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    told = {"reason": reason, **({"field": field} if field else {})}
    return web.json_response(told, status=status, headers=headers)
