"""Reads a WooCommerce shop's REST API v3: orders by a time, an order's refunds, and what the shop is.

A list is read by time, never by page number: each request asks for what comes after the last time seen, less the orders
that were seen of that second. So nothing is missed when orders are added, changed or deleted while it is read.

Requests go one after the other. One that fails for a while is tried again with growing pauses, or when the shop says.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp

from producers.connect.connections import Credentials
from producers.connect.woocommerce import items_of
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import InsightsError, Misconfigured, Retryable
from schemas.plural import counted

PAGE: Final = 100  # the most that the API takes
ATTEMPTS: Final = 6
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 300.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
SECOND: Final = timedelta(seconds=1)
By = Literal["date", "modified"]
FIELD: Final[Mapping[By, str]] = {"date": "date_created_gmt", "modified": "date_modified_gmt"}
AFTER: Final[Mapping[By, str]] = {"date": "after", "modified": "modified_after"}


class ShopAway(Retryable):
    """The shop did not answer as it should, several times."""


class ShopRefuses(InsightsError):
    """The shop does not let us in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a shop is: its title, its currency, and how many orders it has."""

    title: str
    currency: str
    orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some orders as the API wrote them, and the time up to which a list is read with them."""

    bodies: list[bytes]
    until: datetime


def address(text: str) -> str:
    """A shop's address, without a slash at its end. Raises Misconfigured when it is none, or not encrypted."""
    url = (text if "://" in text else f"https://{text}").strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise Misconfigured(f"{text!r} is not the address of a shop; write it as https://bikes.example")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise Misconfigured(f"{url} is not encrypted, and the shop's secret would be readable on the way: use https://")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Api:
    """One shop's API. ``pause`` waits for so many seconds."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        credentials: Credentials,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._url = url
        said = f"{credentials.consumer_key}:{credentials.consumer_secret}".encode()
        self._key = {"Authorization": f"Basic {base64.b64encode(said).decode()}"}
        self._attempts = attempts
        self._pause = pause

    async def about(self) -> About:
        """Raises Misconfigured when there is no WooCommerce at the address, ShopRefuses, or ShopAway."""
        index, _, _ = await self._answer("/wp-json/", {}, is_open=True)
        spaces = index.get("namespaces", []) if isinstance(index, dict) else []
        if "wc/v3" not in spaces:
            raise Misconfigured(
                f"{self._url} is not a WooCommerce shop with its REST API v3 on; is it the shop's own address, with the"
                " folder that it is in, if any?"
            )
        currency, _, _ = await self._answer("/wp-json/wc/v3/settings/general/woocommerce_currency", {})
        _, headers, _ = await self._get_list("/wp-json/wc/v3/orders", {"per_page": "1"})
        return About(
            title=str(index.get("name") or self._url),
            currency=str(currency.get("value") if isinstance(currency, dict) else currency),
            orders=_number(headers, "X-WP-Total"),
        )

    async def newest_change(self) -> datetime | None:
        """When an order was changed last, by the shop's clock; None of a shop without orders. Raises as ``orders``."""
        query = {"orderby": "modified", "order": "desc", "per_page": "1"}
        found, _, _ = await self._get_list("/wp-json/wc/v3/orders", query)
        return _time_of(found[0], "modified") if found else None

    async def orders(self, *, by: By, after: datetime) -> AsyncIterator[Page]:
        """All orders placed, or changed, after a time, in that order; one may come twice.

        Raises ShopAway or ShopRefuses.
        """
        seen: set[int] = set()
        while True:
            query = {"orderby": by, "order": "asc", "per_page": str(PAGE), "dates_are_gmt": "true"}
            query[AFTER[by]] = after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            if seen:
                query["exclude"] = ",".join(map(str, sorted(seen)))
            found, headers, bodies = await self._get_list("/wp-json/wc/v3/orders", query)
            if not found:
                return
            last = max((at for order in found if (at := _time_of(order, by))), default=after)
            yield Page(bodies=bodies, until=last)
            if _is_last(1, headers, found):
                return
            if last - SECOND > after:
                after, seen = last - SECOND, {_id_of(order) for order in found if _time_of(order, by) in (last, None)}
            elif more := {_id_of(order) for order in found} - seen:
                seen |= more
            else:
                raise ShopAway(f"{self._url} gives the same orders again and again")

    async def refunds(self, order_id: str) -> list[bytes]:
        """All refunds of an order; none when there is no such order any more. Raises ShopAway or ShopRefuses."""
        path, found = f"/wp-json/wc/v3/orders/{order_id}/refunds", []
        page = 1
        while True:
            query = {"per_page": str(PAGE), "page": str(page), "orderby": "id", "order": "asc"}
            try:
                items, headers, bodies = await self._get_list(path, query)
            except _Gone:
                return []
            found += bodies
            if _is_last(page, headers, items):
                return found
            page += 1

    async def _get_list(self, path: str, query: Mapping[str, str]) -> tuple[list[Any], Mapping[str, str], list[bytes]]:
        found, headers, body = await self._answer(path, query)
        if not isinstance(found, list):
            raise ShopAway(f"{self._url}{path} answered with something that is no list")
        return found, headers, items_of(body)

    async def _answer(
        self, path: str, query: Mapping[str, str], *, is_open: bool = False
    ) -> tuple[Any, Mapping[str, str], bytes]:
        """What the shop answers, as JSON and as it came. ``is_open``: without the key."""
        problem = ""
        for attempt in range(self._attempts):
            wait = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
            try:
                async with self._session.get(
                    self._url + path,
                    params=dict(query),
                    headers={} if is_open else self._key,
                    timeout=TIMEOUT,
                    allow_redirects=False,
                ) as response:
                    body = await response.read()
                    if response.status == 200:
                        return json.loads(body), response.headers, body
                    self._raise_refusal(response, path)
                    problem = f"it answered {response.status}"
                    wait = _retry_after(response.headers.get("Retry-After")) or wait
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt + 1 < self._attempts:
                await self._pause(wait)
        tried = counted(self._attempts, "time")
        raise ShopAway(f"{self._url}{path} did not answer as it should ({problem}); tried {tried}")

    def _raise_refusal(self, response: aiohttp.ClientResponse, path: str) -> None:
        status = response.status
        if status in (401, 403):
            raise ShopRefuses(
                f"{self._url} does not accept the consumer key and secret ({status}). Are both of them whole, of this"
                " shop, and with the permission to read? WooCommerce > Settings > Advanced > REST API makes new ones"
            )
        if 300 <= status < 400:
            raise Misconfigured(
                f"{self._url} leads to {response.headers.get('Location', 'another address')}; connect that address"
            )
        if status == 404 and path == "/wp-json/":
            raise Misconfigured(f"{self._url} is not a WooCommerce shop: it has no {path}")
        if status in (404, 410):
            raise _Gone(f"{self._url}{path} is not there")
        if status < 500 and status != 429:
            raise ShopRefuses(f"{self._url}{path} answered {status}")


class _Gone(ShopRefuses):
    """What was asked for is not there."""


def _time_of(order: Any, by: By) -> datetime | None:
    """None of an order that has none: it is refused when it is taken, and the list is read by the others."""
    try:
        return datetime.fromisoformat(order.get(FIELD[by]) or order.get(FIELD["date"])).replace(tzinfo=UTC)
    except (AttributeError, TypeError, ValueError):
        return None


def _is_last(page: int, headers: Mapping[str, str], found: list[Any]) -> bool:
    """Whether no page follows, by the header; by the page's length where something on the way took the header off."""
    return page >= _number(headers, "X-WP-TotalPages") if "X-WP-TotalPages" in headers else len(found) < PAGE


def _number(headers: Mapping[str, str], name: str) -> int:
    """What a header counts; 0 when it does not say."""
    said = headers.get(name, "")
    return int(said) if said.isdecimal() else 0


def _id_of(order: Any) -> int:
    found = order.get("id") if isinstance(order, dict) else None
    return found if isinstance(found, int) else 0


def _retry_after(said: str | None) -> float | None:
    """How long to wait, in seconds, as the header says: a number, or a time."""
    if not said:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS) or None


def since_1970(ms: int) -> datetime:
    """The time of so many milliseconds."""
    return EPOCH + ms * MILLISECOND
