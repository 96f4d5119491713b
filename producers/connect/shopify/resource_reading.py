"""Reads a Shopify shop's products and customers by its GraphQL Admin API, by their time of changing: a product with all
its variants, and of each variant how many are at which location.

Without the scope ``read_inventory`` nothing is asked about stock, and everything else is read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from producers.connect.asking import Page, ShopAway, ShopRefuses
from producers.connect.resources import Resource
from producers.connect.shopify import queries

Json = Any
Ask = Callable[[str, Mapping[str, Any]], Awaitable[Json]]
PAGE: Final = 25
MOST_CUSTOMERS: Final = 200
MOST_ITEMS: Final = 50
TYPE: Final[Mapping[Resource, str]] = {"products": "Product", "customers": "Customer"}
LISTED: Final[Mapping[Resource, str]] = {"products": queries.PRODUCTS, "customers": queries.CUSTOMERS}
NAMED: Final[Mapping[Resource, str]] = {"products": queries.NAMED_PRODUCTS, "customers": queries.NAMED_CUSTOMERS}
MOST_OF_A_LIST: Final = 20_000  # of the 25,000 items that the API pages through at most
HOW: Final = (
    "Add it to the scopes of a new version of the app in the Dev Dashboard, release it, and install it again; the shop"
    " need not be connected again"
)
ITEM: Final = "item-"  # before the number of an inventory item, which stands for its product
STOCK_SCOPES: Final = ("read_inventory", "read_locations")


class TooCostly(Exception):
    """A request may not cost that much."""


def granted(said: Json) -> frozenset[str]:
    """The scopes that an answer lists; who may write may read."""
    handles = {each["handle"] for each in said["currentAppInstallation"]["accessScopes"]}
    return frozenset(handles | {each.replace("write_", "read_", 1) for each in handles})


def lacking(scopes: frozenset[str]) -> str:
    """Which scopes the app lacks for products and stock, what that means and what to do; empty when none."""
    if "read_products" not in scopes:
        return f"the app may not read products or stock: it has no scope read_products. {HOW}"
    missing = [scope for scope in STOCK_SCOPES if scope not in scopes]
    return f"the app may not read stock: it has no scope {' and no '.join(missing)}. {HOW}" if missing else ""


class ResourceReading:
    """Of one shop. ``ask`` gives a query's data, and raises TooCostly, ShopAway or ShopRefuses."""

    def __init__(self, url: str, ask: Ask) -> None:
        self._url = url
        self._ask = ask
        self._pages: dict[Resource, int] = {"products": PAGE, "customers": MOST_CUSTOMERS}
        self._items = MOST_ITEMS

    async def lacks(self, resource: Resource) -> str:
        """Which scopes the app lacks, see ``lacking``; without that for customers no shop is connected."""
        return lacking(granted(await self._ask(queries.RIGHTS, {}))) if resource == "products" else ""

    async def changed(self, resource: Resource, after: datetime) -> AsyncIterator[Page]:
        """All that changed after a time, in that order; one may come twice. Raises ShopAway or ShopRefuses."""
        rights = await self._rights(resource)
        cursor, seen = None, 0
        while True:
            since = after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            variables: Json = {"after": cursor, "query": f"updated_at:>='{since}'"}
            found = (await self._listed(resource, rights, variables))[resource]
            bodies = [await self._whole(each, rights) for each in found["nodes"]]
            last = max((datetime.fromisoformat(each["updatedAt"]) for each in found["nodes"]), default=after)
            if bodies:
                yield Page(bodies=bodies, until=last)
            if not found["pageInfo"]["hasNextPage"]:
                return
            cursor, seen = found["pageInfo"]["endCursor"], seen + len(bodies)
            if seen >= MOST_OF_A_LIST and last > after:
                after, cursor, seen = last, None, 0

    async def described(self, resource: Resource, numbers: list[str]) -> list[bytes]:
        """These as they are now; of one that is gone ``{"id": …}``. Raises ShopAway or ShopRefuses.

        A number that begins with ITEM stands for the product of that inventory item, if it has one.
        """
        rights = await self._rights(resource)
        numbers = await self._with_items(numbers)
        bodies: list[bytes] = []
        while left := numbers[len(bodies) :]:
            ids = [f"gid://shopify/{TYPE[resource]}/{number}" for number in left]
            nodes = (await self._listed(resource, rights, {}, ids))["nodes"]
            for number, found in zip(left, nodes, strict=False):
                gone = json.dumps({"id": int(number)}).encode()
                bodies.append(await self._whole(found, rights) if found else gone)
        return bodies

    async def _with_items(self, numbers: list[str]) -> list[str]:
        """The products' numbers, once each, those of inventory items' products among them."""
        items = [f"gid://shopify/InventoryItem/{number.removeprefix(ITEM)}" for number in numbers if ITEM in number]
        found: list[Json] = []
        while left := items[len(found) :]:
            found += (await self._of_items(left))["nodes"]
        products = [each["product"]["id"] for item in found if item for each in item["variants"]["nodes"]]
        named = [number for number in numbers if ITEM not in number]
        return list(dict.fromkeys([*named, *(str(product).rpartition("/")[2] for product in products)]))

    async def _of_items(self, items: Sequence[str]) -> Json:
        """The answer for as many of these as one request may ask for."""
        while True:
            try:
                return await self._ask(queries.PRODUCTS_OF_ITEMS, {"ids": items[: self._items]})
            except TooCostly:
                if self._items == 1:
                    raise ShopRefuses(
                        f"{self._url} refuses a request for the product of a single inventory item as too costly"
                    ) from None
                self._items = max(1, min(self._items, len(items)) // 2)

    async def _rights(self, resource: Resource) -> Json:
        """What is asked for with each product, and the shop's currency. Raises ShopRefuses."""
        if resource == "customers":
            return {}
        said = await self._ask(queries.RIGHTS, {})
        scopes = granted(said)
        if "read_products" not in scopes:
            raise ShopRefuses(lacking(scopes))
        return {"currency": said["shop"]["currencyCode"], "stock": not lacking(scopes)}

    async def _listed(
        self, resource: Resource, rights: Json, variables: Mapping[str, Any], ids: Sequence[str] | None = None
    ) -> Json:
        """The answer for as many as one request may ask for, of those with these ids if they are given."""
        query = (LISTED if ids is None else NAMED)[resource]
        while True:
            page = self._pages[resource]
            some = {"first": page} if ids is None else {"ids": ids[:page]}
            try:
                return await self._ask(query, {**variables, **some, **_sizes(rights)})
            except TooCostly:
                if page == 1:
                    raise ShopRefuses(
                        f"{self._url} refuses a request for a single one of its {resource} as too costly"
                    ) from None
                self._pages[resource] = max(1, page // 2)

    async def _whole(self, product: Json, rights: Json) -> bytes:
        """A product's JSON with all its variants and their levels in plain lists, and the currency; a customer's."""
        if not rights:
            return json.dumps(product).encode()
        page = product["variants"]
        variants: list[Json] = []
        while True:
            variants += [await self._with_levels(each) for each in page["nodes"]]
            if not page["pageInfo"]["hasNextPage"]:
                return json.dumps({**product, "variants": variants, "currency": rights["currency"]}).encode()
            variables = {"id": product["id"], "after": page["pageInfo"]["endCursor"], **_sizes(rights)}
            page = _there((await self._ask(queries.MORE_VARIANTS, variables))["product"], product)["variants"]

    async def _with_levels(self, variant: Json) -> Json:
        item = variant.get("inventoryItem")
        if item is None:
            return variant
        page = item["inventoryLevels"]
        levels = list(page["nodes"])
        while page["pageInfo"]["hasNextPage"]:
            variables = {"id": item["id"], "after": page["pageInfo"]["endCursor"], "levels": queries.LEVELS}
            page = _there((await self._ask(queries.MORE_LEVELS, variables))["inventoryItem"], variant)[
                "inventoryLevels"
            ]
            levels += page["nodes"]
        return {**variant, "inventoryItem": {**item, "inventoryLevels": levels}}


def _there(found: Json, of: Json) -> Json:
    if found is None:
        raise ShopAway(f"{of['id']} was deleted while it was read")
    return found


def _sizes(rights: Json) -> dict[str, Any]:
    return {"variants": queries.VARIANTS, "levels": queries.LEVELS, "stock": rights["stock"]} if rights else {}
