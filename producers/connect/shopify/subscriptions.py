"""What Shopify sends by itself: the app's webhook subscriptions in one shop. They are kept there, and nowhere here."""

from __future__ import annotations

from typing import Final

from producers.connect.asking import ShopRefuses
from producers.connect.shopify import queries
from producers.connect.shopify.resource_reading import Ask, granted, lacking

TOPICS: Final = {
    **{f"ORDERS_{what}": "id" for what in ("CREATE", "UPDATED", "CANCELLED", "PAID", "FULFILLED", "DELETE")},
    "ORDERS_EDITED": "order_edit",
    "REFUNDS_CREATE": "order_id",
}
CUSTOMER_TOPICS: Final = {f"CUSTOMERS_{what}": "id" for what in ("CREATE", "UPDATE", "DELETE")}
PRODUCT_TOPICS: Final = {f"PRODUCTS_{what}": "id" for what in ("CREATE", "UPDATE", "DELETE")}
STOCK_TOPICS: Final = {"INVENTORY_LEVELS_UPDATE": "inventory_item_id", "INVENTORY_ITEMS_UPDATE": "id"}


class Subscriptions:
    """Of one shop. ``ask`` gives a query's data; each method raises what it raises, and ShopRefuses."""

    def __init__(self, url: str, ask: Ask) -> None:
        self._url = url
        self._ask = ask

    async def add(self, uri: str) -> list[str]:
        """Have everything that the app may read sent to this address: the topics that were not."""
        there = (await self._ask(queries.HOOKS, {}))["webhookSubscriptions"]["nodes"]
        has = {each["topic"] for each in there if each["uri"] == uri}
        wanted = topics_of(granted(await self._ask(queries.RIGHTS, {})))
        missing = [topic for topic in wanted if topic not in has]
        for topic in missing:
            said = await self._ask(queries.HOOK, {"topic": topic, "uri": uri, "fields": [wanted[topic]]})
            if problems := said["webhookSubscriptionCreate"]["userErrors"]:
                raise ShopRefuses(f"{self._url} sends no webhooks to {uri}: {problems[0]['message']}")
        return missing

    async def keep(self, name: str) -> list[str]:
        """The same for each address to which webhooks of the connection of this name go already."""
        return [topic for uri in await self._sent(name) for topic in await self.add(uri)]

    async def delete(self, name: str) -> int:
        """Delete the webhooks of the connection of this name: how many.

        None is deleted when they go to several addresses: another installation may have a connection of that name.
        """
        sent = await self._sent(name)
        if len(sent) > 1:
            raise ShopRefuses(f"its webhooks go to several addresses, {' and '.join(sorted(sent))}")
        ours = [hook_id for hook_ids in sent.values() for hook_id in hook_ids]
        for hook_id in ours:
            said = await self._ask(queries.UNHOOK, {"id": hook_id})
            if problems := said["webhookSubscriptionDelete"]["userErrors"]:
                raise ShopRefuses(f"{self._url} keeps a webhook: {problems[0]['message']}")
        return len(ours)

    async def _sent(self, name: str) -> dict[str, list[str]]:
        """By address, the ids of the subscriptions to a receiver's connection of this name."""
        found: dict[str, list[str]] = {}
        for each in (await self._ask(queries.HOOKS, {}))["webhookSubscriptions"]["nodes"]:
            if str(each["uri"]).endswith(f"/hooks/shopify/{name}"):
                found.setdefault(each["uri"], []).append(each["id"])
        return found


def topics_of(scopes: frozenset[str]) -> dict[str, str]:
    """What the app may hear of, each with the field that has the number."""
    if "read_products" not in scopes:
        return {**TOPICS, **CUSTOMER_TOPICS}
    of_stock = {} if lacking(scopes) else STOCK_TOPICS
    return {**TOPICS, **CUSTOMER_TOPICS, **PRODUCT_TOPICS, **of_stock}
