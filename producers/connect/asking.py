"""Asks a shop's API over HTTP: one request after the other, one that fails for a while again with growing pauses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp

from producers.connect.resources import Resource
from producers.retry_after import retry_after
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import InsightsError, Misconfigured, Retryable
from schemas.plural import counted

ATTEMPTS: Final = 6
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 300.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
SECOND: Final = timedelta(seconds=1)
By = Literal["date", "modified"]
Pause = Callable[[float], Awaitable[None]]
T = TypeVar("T")


class ShopAway(Retryable):
    """The shop did not answer as it should, several times."""


class ShopRefuses(InsightsError):
    """The shop does not let us in."""


class Again(Exception):
    """The shop wants a retry, after this many seconds if it says when."""

    def __init__(self, problem: str, wait_seconds: float | None = None) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a shop is: its title, its currency, and how many orders it has.

    ``days`` is of how many days its API gives orders; None when it gives all. ``lacks`` is what of products can't be
    read for want of rights, and what to do; empty when all can. ``time_zone`` is the IANA name of the zone of its
    days; empty where its days are of none.
    """

    title: str
    currency: str
    orders: int
    days: int | None = None
    lacks: str = ""
    time_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some orders or products as the API wrote them, and the time up to which a list is read with them."""

    bodies: list[bytes]
    until: datetime


class Api(Protocol):
    """What a shop's API is asked. Each method raises ShopAway or ShopRefuses."""

    async def about(self) -> About:
        """What the shop is. Raises Misconfigured, too, when there is no such shop at the address."""

    async def newest_change(self) -> datetime | None:
        """When an order was changed last, by the shop's clock; None of a shop without orders."""

    def orders(self, *, by: By, after: datetime) -> AsyncIterator[Page]:
        """All orders placed, or changed, after a time, in the order of that time; an order may occur twice."""

    async def named(self, order_ids: list[str]) -> list[bytes]:
        """These orders in their current state, in any sequence; ``{"id": …}`` for a deleted one.

        ``{"id": …, "days": …}`` is one that is deleted, or older than the days of which the app may read orders.
        """

    async def order(self, order_id: str) -> bytes | None:
        """One order, asked for by itself, be it in the trash; None when the shop says that there is none.

        One that is deleted or too old to be read is as in ``named``.
        """

    async def refunds(self, order_id: str) -> list[bytes]:
        """All refunds of an order; none when there is no such order any more."""

    def changed(self, resource: Resource, *, after: datetime | None) -> AsyncIterator[Page]:
        """All products or customers changed after a time, in that order, each whole; one may come twice.

        ``after`` None: all there are. Of customers, an API may not tell which changed: then only these come.
        """

    async def described(self, resource: Resource, numbers: list[str]) -> list[bytes]:
        """These resources in their current state, in any sequence; ``{"id": …}`` for a deleted one."""

    async def lacks(self, resource: Resource) -> str:
        """What can't be read because of missing permissions, and what to do; empty if everything can."""

    async def subscribe(self, uri: str) -> list[str]:
        """Have a shop send this address the webhooks that it does not yet: their topics.

        None where a shop's owner makes them.
        """

    async def unsubscribe(self, uri: str) -> int:
        """Have the shop send this address no more webhooks: how many it deleted; none where its owner makes them."""


class Asker:
    """Sends requests to one shop, at ``url``. ``pause`` waits for this many seconds."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, attempts: int, pause: Pause) -> None:
        self._session = session
        self.url = url
        self.pause = pause
        self._attempts = attempts

    async def ask(
        self, method: str, path: str, judge: Callable[[aiohttp.ClientResponse, bytes], T], **request: Any
    ) -> T:
        """What ``judge`` makes of the answer: a result, an error, or Again. Raises ShopAway when it stays away."""
        problem = ""
        for attempt in range(self._attempts):
            wait: float | None = None
            try:
                async with self._session.request(
                    method, self.url + path, timeout=TIMEOUT, allow_redirects=False, **request
                ) as response:
                    return judge(response, await response.read())
            except Again as again:
                problem, wait = str(again), again.wait_seconds
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt + 1 < self._attempts:
                await self.pause(wait or min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS))
        tried = counted(self._attempts, "time")
        raise ShopAway(f"{self.url}{path} gave an unexpected response ({problem}); tried {tried}")


def raise_if_away(response: aiohttp.ClientResponse, url: str) -> None:
    """Raises Again when the shop is busy or broken, and Misconfigured when it is somewhere else."""
    status = response.status
    if 300 <= status < 400:
        elsewhere = response.headers.get("Location", "another address")
        raise Misconfigured(f"{url} redirects to {elsewhere}; connect that address")
    if status >= 500 or status == 429:
        wanted = retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        raise Again(f"it answered {status}", min(wanted, LONGEST_PAUSE_SECONDS) or None)


def address(text: str) -> str:
    """A shop's address, without a slash at its end. Raises Misconfigured when it is none, or not encrypted."""
    url = (text if "://" in text else f"https://{text}").strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise Misconfigured(f"{text!r} is not the address of a shop; write it as https://bikes.example")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise Misconfigured(f"{url} is not encrypted, and the shop's secret would be readable in transit: use https://")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def since_1970(ms: int) -> datetime:
    """The time of so many milliseconds."""
    return EPOCH + ms * MILLISECOND
