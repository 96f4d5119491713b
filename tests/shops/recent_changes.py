"""A stand-in for Wikimedia's stream of recent changes: server-sent events of the published shape, made up.

A position is a time, and six changes share each: who goes on with the newest position as it is, goes on behind that
moment, and misses the rest of it. The server misbehaves when told.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from contextlib import suppress
from typing import Any, Literal

from aiohttp import web

from tests.shops.serving import StandIn

# What a connection does, before it does as it should: a status, a page instead of a stream, an end after a few
# changes, a cut within a line, silence, a line without an end, a line of nonsense.
Fault = Literal["429", "500", "page", "end", "cut", "stall", "endless", "nonsense", "no positions"]
BEGAN_MS = 1_770_000_000_000
PIECE = 7


class RecentChanges(StandIn):
    """``changes`` is all that ever happens; ``after`` says how many a faulty connection gives before it fails."""

    def __init__(self, count: int, *, seed: int = 1, after: int = 150) -> None:
        self.random = random.Random(seed)
        self.changes = [self.change(number) for number in range(count)]
        self.faults: list[Fault] = []
        self.after = after
        self.retry_ms = 1
        self.pause_seconds = 0.0  # between two changes
        self.asked: list[dict[str, str]] = []  # the headers of each request
        self.told_all = threading.Event()  # a connection without a fault gave everything up to the end

    @property
    def stream(self) -> str:
        return f"{self.url}/v2/stream/recentchange"

    @property
    def edits(self) -> list[dict[str, Any]]:
        return [c for c in self.changes if c["type"] in ("edit", "new") and c["meta"]["domain"] != "canary"]

    def change(self, number: int) -> dict[str, Any]:
        """A change; six share a moment. One in ten is no edit, and one in twenty a canary."""
        chance = self.random.random()
        kind = (
            self.random.choice(["log", "categorize"]) if chance < 0.1 else self.random.choice(["edit", "edit", "new"])
        )
        host = "canary" if chance > 0.95 else self.random.choice(["de.wikipedia.org", "www.wikidata.org"])
        at_ms = BEGAN_MS + number // 6 * 2_000
        change: dict[str, Any] = {
            "$schema": "/mediawiki/recentchange/1.0.0",
            "meta": {
                "uri": f"https://{host}/wiki/Page_{number % 50}",
                "id": f"{self.random.getrandbits(128):032x}",
                "dt": "2026-11-30T00:00:00Z",
                "domain": host,
                "stream": "mediawiki.recentchange",
            },
            "at_ms": at_ms,
            "id": number,
            "type": kind,
            "namespace": 0,
            "title": f"Page {number % 50} – ä\u2028",
            "comment": "made up",
            "timestamp": at_ms // 1000,
            "user": f"Editor {number % 9}",
            "bot": number % 3 == 0,
            "wiki": "dewiki" if host.startswith("de") else "wikidatawiki",
            "server_name": host,
        }
        if kind in ("edit", "new"):
            change |= {"minor": number % 4 == 0, "length": {"old": number % 70, "new": 35}}
            change |= {"revision": {"old": number, "new": 10_000 + number}}
            change |= {"notify_url": f"https://{host}/w/index.php?diff={10_000 + number}"}
        if kind == "new":
            change["length"] = {"new": 35}
        return change

    def message(self, change: dict[str, Any]) -> bytes:
        told = {name: value for name, value in change.items() if name != "at_ms"}
        position = [
            {"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": change["at_ms"]},
            {"topic": "codfw.mediawiki.recentchange", "partition": 0, "offset": -1},
        ]
        text = f"event: message\nid: {json.dumps(position)}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"
        return text.encode()

    def since(self, position: str | None) -> int:
        """Where a connection begins: at the first change after the time."""
        if position is None:
            return 0
        at_ms = json.loads(position)[0]["timestamp"]
        return next((n for n, c in enumerate(self.changes) if c["at_ms"] > at_ms), len(self.changes))

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2/stream/recentchange", self._stream)
        return app

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.headers))
        fault = self.faults.pop(0) if self.faults else None
        if fault in ("429", "500"):
            return web.Response(status=int(fault), headers={"Retry-After": "0"})
        if fault == "page":
            return web.Response(text="<html>We are away</html>", content_type="text/html")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(f":ok\n\nretry: {self.retry_ms}\n\n".encode())
        begin = self.since(request.headers.get("Last-Event-ID"))
        told = self.changes[begin:] if fault is None else self.changes[begin : begin + self.after]
        for change in told:
            message = self.message(change)
            await asyncio.sleep(self.pause_seconds)
            if fault == "no positions":
                message = message.replace(b'[{"topic"', b'{"topic"')
            if self.random.random() < 0.05:  # in pieces that end anywhere
                for at in range(0, len(message), PIECE):
                    await response.write(message[at : at + PIECE])
            else:
                await response.write(message)
        with suppress(ConnectionError):  # the source may have been killed meanwhile
            await self._fail(response, request, fault, begin)
        return response

    async def _fail(self, response: web.StreamResponse, request: web.Request, fault: Fault | None, begin: int) -> None:
        if fault == "cut" and begin + self.after < len(self.changes):
            message = self.message(self.changes[begin + self.after])
            await response.write(message[: len(message) // 2])
            assert request.transport is not None
            request.transport.close()
        elif fault == "stall":
            await asyncio.sleep(30)
        elif fault == "endless":
            while True:
                await response.write(b"data: " + b"x" * 65_536)
                await asyncio.sleep(0)
        elif fault == "nonsense":
            await response.write(b"data: {\n\ndata: 1\n\n\xff\xfe: \x00\ndata\n\nid: \x00\ndata: {}\n\n")
        elif fault is None:
            self.told_all.set()
