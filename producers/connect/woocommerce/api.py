"""Reads a WooCommerce shop's REST API v3: orders by a time, an order's refunds, and what the shop is.

A list is read by time, never by page number: each request asks for what comes after the last time seen, less the orders
that were seen of that second. So nothing is missed when orders are added, changed or deleted while it is read.

Requests go one after the other. One that fails for a while is tried again with growing pauses, or when the shop says.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
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
from producers.connect.woocommerce.orders import items_of
from schemas.errors import Misconfigured

PAGE: Final = 100  # the most that the API takes
FIELD: Final[Mapping[By, str]] = {"date": "date_created_gmt", "modified": "date_modified_gmt"}
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

    async def named(self, order_ids: list[str]) -> list[bytes]:
        """These orders as they are now; of one that is gone ``{"id": …}``. Raises ShopAway or ShopRefuses."""
        found: list[bytes] = []
        for at in range(0, len(order_ids), PAGE):
            asked = order_ids[at : at + PAGE]
            query = {"include": ",".join(asked), "per_page": str(PAGE), "status": "any"}
            orders, _, bodies = await self._get_list("/wp-json/wc/v3/orders", query)
            gone = set(asked) - {str(_id_of(order)) for order in orders}
            found += bodies + [json.dumps({"id": int(order_id)}).encode() for order_id in sorted(gone)]
        return found

    async def order(self, order_id: str) -> bytes | None:
        """One order, be it in the trash; None when there is none (any more). Raises ShopAway or ShopRefuses."""
        try:
            found, _, body = await self._answer(f"/wp-json/wc/v3/orders/{order_id}", {})
        except _Gone:
            return None
        if not isinstance(found, dict):
            raise ShopAway(f"{self._url} answered with something that is no order, asked for order {order_id}")
        return body

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
                f"{self._url} does not accept the consumer key and secret ({status}). Are both of them whole, of this"
                " shop, and with the permission to read? WooCommerce > Settings > Advanced > REST API makes new ones"
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


def _number(headers: Mapping[str, str], name: str) -> int:
    """What a header counts; 0 when it does not say."""
    said = headers.get(name, "")
    return int(said) if said.isdecimal() else 0


def _id_of(order: Any) -> int:
    found = order.get("id") if isinstance(order, dict) else None
    return found if isinstance(found, int) else 0
