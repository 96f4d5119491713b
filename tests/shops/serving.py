"""What the stand-ins of shops have in common: a real server on loopback, and deliveries as they really arrive."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from aiohttp import web


class Day(NamedTuple):
    """The truth about a day, UTC, in cents."""

    orders: int = 0
    units: int = 0
    gross: int = 0
    discount: int = 0
    shipping: int = 0
    tax: int = 0
    refunds: int = 0
    refunded: int = 0


class Delivery(NamedTuple):
    """A webhook's request."""

    order_id: int
    body: bytes
    headers: dict[str, str]


@dataclass
class Customer:
    """An account. The name and the address are what nobody may find anywhere."""

    id: int
    created: datetime
    modified: datetime
    country: str
    name: str = "Perpetua Unmistakable"
    email: str = "perpetua@unmistakable.example"


class StandIn:
    """A shop that serves, and whose webhooks come doubled, shuffled or never."""

    random: random.Random
    url: str

    now: datetime
    customers: dict[int, Customer]

    def _number(self) -> int:
        raise NotImplementedError

    def register(self) -> Customer:
        """A new account, which may have no address yet."""
        country = self.random.choice(["DE", "FR", "NL", ""])
        customer = Customer(self._number(), self.now - timedelta(days=self.random.randint(0, 400)), self.now, country)
        self.customers[customer.id] = customer
        return customer

    def move(self, customer: Customer) -> Customer:
        """To another country, perhaps."""
        customer.country = self.random.choice(["DE", "FR", "NL", ""])
        customer.modified = max(customer.modified, self.now)
        return customer

    def application(self) -> web.Application:
        raise NotImplementedError

    def as_they_arrive(
        self, deliveries: list[Delivery], *, doubled: float = 0.2, dropped: float = 0.05
    ) -> list[Delivery]:
        """The deliveries in any order, with these shares of them sent twice or never."""
        sent: list[Delivery] = []
        for delivery in deliveries:
            chance = self.random.random()
            sent += [] if chance < dropped else [delivery] * (2 if chance > 1 - doubled else 1)
        self.random.shuffle(sent)
        return sent

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """A real server on loopback from here until it is left, in a thread of its own."""
        loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        async def serve() -> None:
            runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.2)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            loop.close()
