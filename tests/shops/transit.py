"""A stand-in for a transit agency's GTFS-Realtime feed of vehicles' positions: made up, and it misbehaves when told."""

from __future__ import annotations

import gzip
import random
from hashlib import sha256
from typing import Literal

from aiohttp import web
from google.transit.gtfs_realtime_pb2 import FeedEntity, FeedMessage

from tests.shops.serving import StandIn

Fault = Literal["429", "500", "cut", "page", "random", "packed bomb"]
START: int = 1_770_000_000


class Transit(StandIn):
    """``vehicles`` is where each one is; ``drive`` moves some of them. ``feed`` is the message."""

    def __init__(self, count: int = 20, *, seed: int = 1, at: int = START) -> None:
        self.random = random.Random(seed)
        self.at = at
        self.faults: list[Fault] = []
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.body: bytes | None = None  # the message, if it is not the feed's
        self.feed = FeedMessage()
        self.feed.header.gtfs_realtime_version = "2.0"
        self.feed.header.timestamp = self.at
        for number in range(count):
            self.add(f"bus-{number}", route=f"R{number % 3}")

    def add(self, name: str, *, route: str = "R0", at: int | None = None) -> FeedEntity:
        """A vehicle, with all that is published."""
        entity = self.feed.entity.add()
        entity.id = f"entity-{name}"
        vehicle = entity.vehicle
        vehicle.vehicle.id = name
        vehicle.trip.trip_id = f"trip-{name}"
        vehicle.trip.route_id = route
        vehicle.position.latitude = 52.5 + self.random.random() / 10
        vehicle.position.longitude = 13.4 + self.random.random() / 10
        vehicle.position.bearing = 90
        vehicle.position.speed = 7.5
        vehicle.timestamp = self.at if at is None else at
        return entity

    def drive(self, moved: int, seconds: int = 15) -> list[str]:
        """Time passes, and so many vehicles report anew. Returns which."""
        self.at += seconds
        self.feed.header.timestamp = self.at
        chosen = self.random.sample(list(self.feed.entity), moved)
        for entity in chosen:
            entity.vehicle.position.latitude += 0.001
            entity.vehicle.timestamp = self.at
        return [entity.vehicle.vehicle.id for entity in chosen]

    @property
    def address(self) -> str:
        return f"{self.url}/positions.pb"

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/positions.pb", self._feed)
        return app

    async def _feed(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        response = self._answer(request)
        self.statuses.append(response.status)
        return response

    def _answer(self, request: web.Request) -> web.Response:
        fault = self.faults.pop(0) if self.faults else None
        body = self.feed.SerializePartialToString() if self.body is None else self.body
        if fault in ("429", "500"):
            return web.Response(status=int(fault), headers={"Retry-After": "120"})
        if fault == "page":
            return web.Response(text="<html>The feed has moved</html>", content_type="text/html")
        if fault == "cut":
            return web.Response(body=body[: len(body) // 2])
        if fault == "random":
            return web.Response(body=self.random.randbytes(5_000))
        if fault == "packed bomb":
            bomb = gzip.compress(bytes(200_000_000), 1)
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
        etag = f'"{sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, headers={"ETag": etag}, content_type="application/x-protobuf")
