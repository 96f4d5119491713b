"""What Shopify sends by itself: the app's webhook subscriptions in one shop. What there is, is kept there;
here only to which address they go, with the connection.
"""

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

    async def delete(self, uri: str) -> int:
        """Delete what is sent to this address: how many. Another address may be another installation's."""
        there = (await self._ask(queries.HOOKS, {}))["webhookSubscriptions"]["nodes"]
        ours = [each["id"] for each in there if each["uri"] == uri]
        for hook_id in ours:
            said = await self._ask(queries.UNHOOK, {"id": hook_id})
            if problems := said["webhookSubscriptionDelete"]["userErrors"]:
                raise ShopRefuses(f"{self._url} keeps a webhook: {problems[0]['message']}")
        return len(ours)


def topics_of(scopes: frozenset[str]) -> dict[str, str]:
    """What the app may hear of, each with the field that has the number."""
    if "read_products" not in scopes:
        return {**TOPICS, **CUSTOMER_TOPICS}
    of_stock = {} if lacking(scopes) else STOCK_TOPICS
    return {**TOPICS, **CUSTOMER_TOPICS, **PRODUCT_TOPICS, **of_stock}
