"""Reads a WooCommerce shop's REST API v3: orders and products by a time, an order's refunds, and what the shop is.

A list is read by time, never by page number: each request asks for what comes after the last time seen, less what
was seen of that second. So nothing is missed when something is added, changed or deleted while it is read.

Requests go one after the other. One that fails for a while is tried again with growing pauses, or when the shop says.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import aiohttp

from producers.connect.asking import (
    ATTEMPTS,
    SECOND,
    About,
    Asker,
    By,
    Page,
    Pause,
    ShopAway,
    ShopRefuses,
    raise_if_away,
)
from producers.connect.connections import Credentials
from producers.connect.orders import deleted_id
from producers.connect.resources import Resource
from producers.connect.woocommerce.orders import items_of
from schemas.binary import EPOCH
from schemas.errors import Misconfigured

PAGE: Final = 100  # the most that the API takes
MOST_EXCLUDED: Final = (
    300  # in an address, which may not be too long: what more there is of one second is read by pages
)
FIELD: Final[Mapping[By, str]] = {"date": "date_created_gmt", "modified": "date_modified_gmt"}
ROOT: Final = "/wp-json/wc/v3"
MOST_HOURS: Final = 14  # from UTC, of any clock
# Of customers what is needed, and not who they are.
CUSTOMERS: Final = {"role": "all", "_fields": "id,date_created_gmt,shipping.country,billing.country"}
AFTER: Final[Mapping[By, str]] = {"date": "after", "modified": "modified_after"}


class Api:
    """One shop's API. ``pause`` waits for so many seconds."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        credentials: Credentials,
        *,
        attempts: int = ATTEMPTS,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._asker = Asker(session, url, attempts=attempts, pause=pause)
        self._url = url
        said = f"{credentials.key}:{credentials.secret}".encode()
        self._key = {"Authorization": f"Basic {base64.b64encode(said).decode()}"}

    async def about(self) -> About:
        """Raises Misconfigured when there is no WooCommerce at the address, ShopRefuses, or ShopAway."""
        index, _, _ = await self._answer("/wp-json/", {}, is_open=True)
        spaces = index.get("namespaces", []) if isinstance(index, dict) else []
        if "wc/v3" not in spaces:
            raise Misconfigured(
                f"{self._url} is not a WooCommerce shop with its REST API v3 on; is it the shop's own address, with the"
                " folder that it is in, if any?"
            )
        currency = await self._currency()
        _, headers, _ = await self._get_list(f"{ROOT}/orders", {"per_page": "1"})
        return About(
            title=str(index.get("name") or self._url),
            currency=currency,
            orders=_number(headers, "X-WP-Total"),
            time_zone=_zone_of(index),
        )

    async def newest_change(self) -> datetime | None:
        """When an order was changed last, by the shop's clock; None of a shop without orders. Raises as ``orders``."""
        query = {"orderby": "modified", "order": "desc", "per_page": "1"}
        found, _, _ = await self._get_list(f"{ROOT}/orders", query)
        return _time_of(found[0], "modified") if found else None

    async def orders(self, *, by: By, after: datetime) -> AsyncIterator[Page]:
        """All orders placed, or changed, after a time, in that order; one may come twice.

        Raises ShopAway or ShopRefuses.
        """
        async for page in self._by_time(f"{ROOT}/orders", by, after):
            yield page

    async def changed(self, resource: Resource, *, after: datetime | None) -> AsyncIterator[Page]:
        """All products changed after a time, in that order, each with its variations; one may come twice.

        ``after`` None: all. Of customers the API does not tell which changed. Raises ShopAway or ShopRefuses.
        """
        if resource == "customers":
            if after is None:
                async for bodies in self._pages(f"{ROOT}/customers", CUSTOMERS):
                    yield Page(bodies=bodies, until=EPOCH)
            return
        currency = await self._currency()
        async for page in self._by_time(f"{ROOT}/products", "modified", after or EPOCH):
            yield replace(page, bodies=[await self._whole(body, currency) for body in page.bodies])

    async def described(self, resource: Resource, numbers: list[str]) -> list[bytes]:
        """These as they are now; of one that is gone ``{"id": …}``. Raises ShopAway or ShopRefuses."""
        if resource == "customers":
            return await self._included(f"{ROOT}/customers", numbers, CUSTOMERS)
        currency = await self._currency()
        return [await self._whole(body, currency) for body in await self._included(f"{ROOT}/products", numbers)]

    async def lacks(self, resource: Resource) -> str:
        """Nothing: who may read orders here may read all."""
        return ""

    async def subscribe(self, uri: str) -> list[str]:
        """Nothing: a key that only reads can make no webhook."""
        return []

    async def unsubscribe(self, uri: str) -> int:
        """Nothing: a key that only reads can delete no webhook."""
        return 0

    async def _currency(self) -> str:
        said, _, _ = await self._answer(f"{ROOT}/settings/general/woocommerce_currency", {})
        return str(said.get("value") if isinstance(said, dict) else said)

    async def _whole(self, body: bytes, currency: str) -> bytes:
        """A product's JSON with the currency, and its variations in place of their numbers."""
        product = json.loads(body)
        if deleted_id(body) or not isinstance(product, dict):
            return body
        variations: list[Any] = []
        if product.get("variations"):
            bodies = await self._all(f"{ROOT}/products/{_id_of(product)}/variations")
            variations = [json.loads(each) for each in bodies]
        return json.dumps({**product, "currency": currency, "variations": variations}).encode()

    async def _by_time(self, path: str, by: By, after: datetime) -> AsyncIterator[Page]:
        seen: set[int] = set()
        before: set[int] = set()
        page = 1
        while True:
            query = {"page": str(page), "orderby": by, "order": "asc", "per_page": str(PAGE), "dates_are_gmt": "true"}
            query[AFTER[by]] = after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            if seen:
                query["exclude"] = ",".join(map(str, sorted(seen)))
            found, headers, bodies = await self._get_list(path, query)
            if not found:
                return
            last = max((at for order in found if (at := _time_of(order, by))), default=after)
            yield Page(bodies=bodies, until=last)
            if _is_last(page, headers, found):
                return
            ids = {_id_of(each) for each in found}
            if last - SECOND > after:
                page, after, seen = (
                    1,
                    last - SECOND,
                    {_id_of(order) for order in found if _time_of(order, by) in (last, None)},
                )
            elif ids <= seen or ids == before:
                raise ShopAway(f"{self._url} gives the same again and again")
            elif len(seen | ids) > MOST_EXCLUDED:
                page += 1
            else:
                page, seen = 1, seen | ids
            before = ids

    async def named(self, order_ids: list[str]) -> list[bytes]:
        """These orders as they are now; of one that is gone ``{"id": …}``. Raises ShopAway or ShopRefuses."""
        return await self._included(f"{ROOT}/orders", order_ids)

    async def _included(
        self, path: str, numbers: list[str], query: Mapping[str, str] = MappingProxyType({"status": "any"})
    ) -> list[bytes]:
        found: list[bytes] = []
        for at in range(0, len(numbers), PAGE):
            asked = numbers[at : at + PAGE]
            some = {**query, "include": ",".join(asked), "per_page": str(PAGE)}
            items, _, bodies = await self._get_list(path, some)
            gone = set(asked) - {str(_id_of(item)) for item in items}
            found += bodies + [json.dumps({"id": int(number)}).encode() for number in sorted(gone)]
        return found

    async def order(self, order_id: str) -> bytes | None:
        """One order, be it in the trash; None when there is none (any more). Raises ShopAway or ShopRefuses."""
        try:
            found, _, body = await self._answer(f"{ROOT}/orders/{order_id}", {})
        except _Gone:
            return None
        if not isinstance(found, dict):
            raise ShopAway(f"{self._url} answered with something that is no order, asked for order {order_id}")
        return body

    async def refunds(self, order_id: str) -> list[bytes]:
        """All refunds of an order; none when there is no such order any more. Raises ShopAway or ShopRefuses."""
        return await self._all(f"{ROOT}/orders/{order_id}/refunds")

    async def _all(self, path: str) -> list[bytes]:
        """A list of what belongs to something, page by page; empty when that is not there any more."""
        return [body async for bodies in self._pages(path, {}) for body in bodies]

    async def _pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[bytes]]:
        page = 1
        while True:
            paged = {**query, "per_page": str(PAGE), "page": str(page), "orderby": "id", "order": "asc"}
            try:
                items, headers, bodies = await self._get_list(path, paged)
            except _Gone:
                return
            yield bodies
            if _is_last(page, headers, items):
                return
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

        def judge(response: aiohttp.ClientResponse, body: bytes) -> tuple[Any, Mapping[str, str], bytes]:
            if response.status != 200:
                raise_if_away(response, self._url)
                self._raise_refusal(response, path)
            return json.loads(body), response.headers, body

        headers = {} if is_open else self._key
        return await self._asker.ask("GET", path, judge, params=dict(query), headers=headers)

    def _raise_refusal(self, response: aiohttp.ClientResponse, path: str) -> None:
        status = response.status
        if status in (401, 403):
            raise ShopRefuses(
                f"{self._url} does not accept the consumer key and secret ({status}). Are both complete, from this"
                " shop, and with read permission? WooCommerce > Settings > Advanced > REST API creates new ones"
            )
        if status == 404 and path == "/wp-json/":
            raise Misconfigured(f"{self._url} is not a WooCommerce shop: it has no {path}")
        if status in (404, 410):
            raise _Gone(f"{self._url}{path} is not there")
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


def _zone_of(index: Mapping[str, Any]) -> str:
    """A shop whose clock is set to hours from UTC has no zone's name. There is one for whole hours; else ``+05:45``.

    Empty where it says neither.
    """
    if name := str(index.get("timezone_string") or ""):
        return name
    try:
        hours = Decimal(str(index["gmt_offset"]))
        if abs(hours) > MOST_HOURS:
            return ""
    except (KeyError, ArithmeticError):  # NaN is a number, and can't be compared
        return ""
    if hours % 1:
        minutes = int(abs(hours) * 60)
        return f"{'-' if hours < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
    return f"Etc/GMT{-int(hours):+d}" if hours else "Etc/UTC"


def _number(headers: Mapping[str, str], name: str) -> int:
    """What a header counts; 0 when it does not say."""
    said = headers.get(name, "")
    return int(said) if said.isdecimal() else 0


def _id_of(order: Any) -> int:
    found = order.get("id") if isinstance(order, dict) else None
    return found if isinstance(found, int) else 0
