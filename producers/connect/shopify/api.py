"""Reads a Shopify shop by its GraphQL Admin API: orders by a time, each complete, and what the shop is; and what there
is beside orders (resource_reading.py).

A list is read from a time on, by cursors that stand for a time and a number and not for a place: an order that changes
meanwhile moves to the end, and is read there. An order's sales are read to the last, however many there are.

Requests go one after the other. Each costs points, of which the shop has so many a second: before there are enough for
another one we wait. A page that costs more than one request may is asked for again, half as long.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from producers.connect import asking
from producers.connect.asking import (
    ATTEMPTS,
    About,
    Again,
    Asker,
    By,
    Page,
    Pause,
    ShopAway,
    ShopRefuses,
    is_loopback,
    raise_if_away,
)
from producers.connect.connections import Credentials
from producers.connect.orders import deleted_id
from producers.connect.resources import Resource
from producers.connect.shopify import queries
from producers.connect.shopify.orders import returns_of
from producers.connect.shopify.resource_reading import ResourceReading, TooCostly, granted, lacking
from producers.connect.shopify.subscriptions import Subscriptions
from schemas.binary import EPOCH
from schemas.errors import Misconfigured

PAGE: Final = 25
MOST_OF_A_LIST: Final = 20_000  # of the 25,000 items that the API pages through at most
DAYS_WITHOUT_SCOPE: Final = 60
MARGIN_SECONDS: Final = 0.1
EARLY_SECONDS: Final = 300.0  # a token is renewed before it ends
OWN_TOKEN: Final = "shpat_"  # noqa: S105 - what a token of an app made in the shop's administration begins with
HOST: Final = ".myshopify.com"
FIELD: Final[Mapping[By, str]] = {"date": "processedAt", "modified": "updatedAt"}
FILTER: Final[Mapping[By, str]] = {"date": "processed_at", "modified": "updated_at"}
SORT: Final[Mapping[By, str]] = {"date": "PROCESSED_AT", "modified": "UPDATED_AT"}
MAKE_NEW: Final = "Its client ID and secret are in the Dev Dashboard (dev.shopify.com), under Settings of the app"
Json = Any


def address(text: str) -> str:
    """A shop's own address, https://bikes.myshopify.com, from that, its name, or its administration's address.

    Raises Misconfigured for another one: the API is there only.
    """
    said = text.strip().rstrip("/")
    parts = urlsplit(said if "://" in said else f"https://{said}")
    if parts.hostname and is_loopback(parts.hostname):
        return asking.address(said)
    host, path = parts.hostname or "", parts.path.strip("/").split("/")
    if host == "admin.shopify.com" and len(path) > 1 and path[0] == "store":
        host = path[1] + HOST
    elif host and "." not in host:
        host += HOST
    if not host.endswith(HOST) or host == HOST:
        raise Misconfigured(
            f"{text!r} is not a shop's own address at Shopify, which ends with {HOST}: Settings > Domains in the shop"
            " shows it"
        )
    return f"https://{host}"


class Api:
    """One shop's API. ``pause`` waits for so many seconds; ``clock`` gives seconds."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        credentials: Credentials,
        *,
        attempts: int = ATTEMPTS,
        pause: Pause = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asker = Asker(session, url, attempts=attempts, pause=pause)
        self._url = url
        self._credentials = credentials
        self._clock = clock
        self._token = credentials.key if credentials.key.startswith(OWN_TOKEN) else ""
        self._token_until = float("inf") if self._token else 0.0
        self._ready_at = 0.0
        self._page = PAGE
        self._resources = ResourceReading(url, self._answer)
        self._subscriptions = Subscriptions(url, self._answer)

    async def about(self) -> About:
        """Raises Misconfigured when there is no shop at the address, ShopRefuses, or ShopAway."""
        said = await self._answer(queries.ABOUT, {})
        scopes = granted(said)
        if missing := {"read_orders", "read_customers"} - scopes:
            raise ShopRefuses(
                f"the app may not read what is needed: it has no {' and no '.join(sorted(missing))}. Add that to the"
                " scopes of a new version of the app in the Dev Dashboard, release it, and install it again"
            )
        return About(
            title=said["shop"]["name"],
            currency=said["shop"]["currencyCode"],
            orders=said["ordersCount"]["count"],
            days=days_of(scopes),
            lacks=lacking(scopes),
            time_zone=str(said["shop"]["ianaTimezone"]),
        )

    async def newest_change(self) -> datetime | None:
        """When an order was changed last, by the shop's clock; None of a shop without orders. Raises as ``orders``."""
        found = (await self._answer(queries.NEWEST, {}))["orders"]["nodes"]
        return _time_of(found[0], "modified") if found else None

    async def orders(self, *, by: By, after: datetime) -> AsyncIterator[Page]:
        """All orders placed, or changed, after a time, in that order; one may come twice.

        Raises ShopAway or ShopRefuses.
        """
        cursor, seen = None, 0
        while True:
            since = after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            variables = {"after": cursor, "query": f"{FILTER[by]}:>='{since}'", "sort": SORT[by]}
            found = (await self._listed(variables))["orders"]
            orders = [await self._whole(order) for order in found["nodes"]]
            last = max((at for order in found["nodes"] if (at := _time_of(order, by))), default=after)
            if orders:
                yield Page(bodies=orders, until=last)
            if not found["pageInfo"]["hasNextPage"]:
                return
            cursor, seen = found["pageInfo"]["endCursor"], seen + len(orders)
            if seen >= MOST_OF_A_LIST and last > after:
                after, cursor, seen = last, None, 0

    async def named(self, order_ids: list[str]) -> list[bytes]:
        """These orders as they are now; of one that is gone ``{"id": …}``. Raises ShopAway or ShopRefuses.

        An app without the scope for old orders is told of them what it is told of deleted ones: ``{"id": …, "days":
        60}`` says so, and the one who knows the order's time must judge.
        """
        found: list[bytes] = []
        at = 0
        while at < len(order_ids):
            asked = order_ids[at : at + self._page]
            variables = {"ids": [f"gid://shopify/Order/{order_id}" for order_id in asked], **_sizes()}
            try:
                nodes = (await self._answer(queries.NAMED, variables))["nodes"]
            except TooCostly:
                self._shrink()
                continue
            days = None if all(nodes) else days_of(granted(await self._answer(queries.RIGHTS, {})))
            for order_id, order in zip(asked, nodes, strict=True):
                found.append(await self._whole(order) if order else _missing(order_id, days))
            at += len(asked)
        return found

    async def order(self, order_id: str) -> bytes | None:
        """One order; None when there is none (any more); else as ``named``. Raises ShopAway or ShopRefuses."""
        (body,) = await self.named([order_id])
        return None if deleted_id(body) else body

    async def refunds(self, order_id: str) -> list[bytes]:
        """Each agreement of an order by which something was taken back; none when there is no such order any more.

        Raises ShopAway or ShopRefuses.
        """
        (body,) = await self.named([order_id])
        order = json.loads(body)
        return [json.dumps(each).encode() for each in order.get("agreements", []) if returns_of(each)]

    def changed(self, resource: Resource, *, after: datetime | None) -> AsyncIterator[Page]:
        """All that changed after a time, or at all, in that order; one may come twice. Raises as ``orders``."""
        return self._resources.changed(resource, after or EPOCH)

    async def described(self, resource: Resource, numbers: list[str]) -> list[bytes]:
        """These as they are now; of one that is gone ``{"id": …}``. Raises as ``orders``."""
        return await self._resources.described(resource, numbers)

    async def lacks(self, resource: Resource) -> str:
        """Which scopes the app lacks for them, and what to do; empty when none. Raises as ``orders``."""
        return await self._resources.lacks(resource)

    async def subscribe(self, uri: str) -> list[str]:
        """Have Shopify send there what becomes of what we read: the topics that are new. Raises as ``orders``."""
        return await self._subscriptions.add(uri)

    async def unsubscribe(self, uri: str) -> int:
        """Have Shopify send no more webhooks there: how many were deleted. Raises as ``orders``."""
        return await self._subscriptions.delete(uri)

    async def _listed(self, variables: Mapping[str, Any]) -> Json:
        while True:
            try:
                return await self._answer(queries.ORDERS, {**variables, "first": self._page, **_sizes()})
            except TooCostly:
                self._shrink()

    def _shrink(self) -> None:
        if self._page == 1:
            raise ShopRefuses(f"{self._url} refuses a request for a single order as too costly")
        self._page = max(1, self._page // 2)

    async def _whole(self, order: Json) -> bytes:
        """An order's JSON with all its agreements and their sales in plain lists."""
        agreements: list[Json] = []
        page, before = order["agreements"], None
        while True:
            for edge in page["edges"]:
                agreement = edge["node"]
                sales = agreement["sales"]
                nodes = list(sales["nodes"])
                while sales["pageInfo"]["hasNextPage"]:
                    sales = await self._more_sales(order, before, sales["pageInfo"]["endCursor"])
                    nodes += sales["nodes"]
                agreements.append({**agreement, "sales": nodes})
                before = edge["cursor"]
            if not page["pageInfo"]["hasNextPage"]:
                return json.dumps({**order, "agreements": agreements}).encode()
            variables = {"id": order["id"], "after": page["pageInfo"]["endCursor"], **_sizes()}
            page = (await self._rest(order, queries.MORE, variables))["agreements"]

    async def _more_sales(self, order: Json, agreement: str | None, after: str) -> Json:
        variables = {"id": order["id"], "agreement": agreement, "after": after, "sales": queries.SALES}
        nodes = (await self._rest(order, queries.MORE_SALES, variables))["agreements"]["nodes"]
        return nodes[0]["sales"]

    async def _rest(self, order: Json, query: str, variables: Mapping[str, Any]) -> Json:
        """More of an order; of one that changed meanwhile, what is now there: the change is read as well, later."""
        found = (await self._answer(query, variables))["order"]
        if found is None:
            raise ShopAway(f"order {order['id']} of {self._url} was deleted while it was read")
        return found

    async def _answer(self, query: str, variables: Mapping[str, Any]) -> Json:
        """The data that answer a query. Raises TooCostly as well."""
        if (wait := self._ready_at - self._clock()) > 0:
            await self._asker.pause(wait)
        for is_last in (False, True):
            token = await self._valid_token()
            try:
                said = await self._asker.ask(
                    "POST",
                    f"/admin/api/{queries.VERSION}/graphql.json",
                    self._judged,
                    json={"query": query, "variables": dict(variables)},
                    headers={"X-Shopify-Access-Token": token},
                )
            except _NotLetIn:
                if is_last or self._token_until == float("inf"):
                    raise
                self._token_until = 0.0  # it was taken back before its time
                continue
            self._ready_at = self._clock() + _seconds_until(said)
            return said["data"]
        raise AssertionError("unreachable")

    def _judged(self, response: aiohttp.ClientResponse, body: bytes) -> Json:
        raise_if_away(response, self._url)
        if response.status in (401, 403):
            raise _NotLetIn(f"{self._url} denies the app access ({response.status}). {MAKE_NEW}")
        if response.status == 404:
            raise Misconfigured(f"{self._url} is not a Shopify shop: it has no Admin API of {queries.VERSION}")
        if response.status != 200:
            raise ShopRefuses(f"{self._url} answered {response.status}: is the shop paused or closed?")
        said = json.loads(body)
        errors = said.get("errors") if isinstance(said, dict) else "it is not a JSON object"
        if not errors:
            return said
        codes = {each.get("extensions", {}).get("code") for each in errors} if isinstance(errors, list) else set()
        if "THROTTLED" in codes:
            raise Again("it is throttled", _seconds_until(said))
        if "MAX_COST_EXCEEDED" in codes:
            raise TooCostly("a request costs too much")
        if codes == {"ACCESS_DENIED"}:
            # A plan may keep addresses from apps: then they are null, and everything else is there.
            if said.get("data") and all(value is not None for value in said["data"].values()):
                return said
            raise ShopRefuses(
                f"{self._url} does not let the app read this: it needs the scope read_orders, and for other data"
                " the scopes in docs/connect.md"
            )
        if codes and codes <= {"INTERNAL_SERVER_ERROR", "TIMEOUT"}:
            raise Again("it had an internal error")
        raise ShopRefuses(f"{self._url} refused a query: {_said_of(errors)}")

    async def _valid_token(self) -> str:
        """An access token, which Shopify gives for a day for the app's ID and secret."""
        if self._clock() < self._token_until:
            return self._token
        asked = self._clock()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._credentials.key,
            "client_secret": self._credentials.secret,
        }
        said = await self._asker.ask("POST", "/admin/oauth/access_token", self._granted, data=form)
        self._token = said["access_token"]
        self._token_until = asked + said["expires_in"] - EARLY_SECONDS
        return self._token

    def _granted(self, response: aiohttp.ClientResponse, body: bytes) -> Json:
        raise_if_away(response, self._url)
        if response.status == 404:
            raise Misconfigured(f"{self._url} is not a Shopify shop")
        if response.status != 200:
            raise ShopRefuses(
                f"{self._url} does not accept the client ID and secret ({response.status}). Are both complete, is"
                f" the app installed in this shop, and does it belong to the shop's organization? {MAKE_NEW}"
            )
        said = json.loads(body)
        if not isinstance(said.get("access_token"), str) or not isinstance(said.get("expires_in"), int):
            raise Again("it gave no token")
        return said


class _NotLetIn(ShopRefuses):
    """The token is not accepted."""


def _sizes() -> dict[str, int]:
    return {"agreements": queries.AGREEMENTS, "sales": queries.SALES}


def days_of(scopes: frozenset[str]) -> int | None:
    """Of how many days an app with these scopes may read orders; None: of all."""
    return None if "read_all_orders" in scopes else DAYS_WITHOUT_SCOPE


def _missing(order_id: str, days: int | None) -> bytes:
    return json.dumps({"id": int(order_id), **({} if days is None else {"days": days})}).encode()


def _time_of(order: Json, by: By) -> datetime | None:
    try:
        return datetime.fromisoformat(order[FIELD[by]])
    except (KeyError, TypeError, ValueError):
        return None


def _seconds_until(said: Json) -> float:
    """How long until there are points for a query like this one."""
    try:
        cost = said["extensions"]["cost"]
        status = cost["throttleStatus"]
        missing = cost["requestedQueryCost"] - status["currentlyAvailable"]
        return missing / status["restoreRate"] + MARGIN_SECONDS if missing > 0 else 0.0
    except (KeyError, TypeError, ZeroDivisionError):
        return 0.0


def _said_of(errors: Json) -> str:
    first = errors[0] if isinstance(errors, list) and errors else errors
    return str(first.get("message", first) if isinstance(first, dict) else first)[:200]
