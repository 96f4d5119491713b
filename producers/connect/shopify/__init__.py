"""Shopify: its GraphQL Admin API, its webhooks, and what its orders, products and customers are here.

It must not know any other platform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from producers.connect.connections import Connection
from producers.connect.hearing import Heard, Kind, Wished
from producers.connect.orders import BadOrder, Json, id_of, object_of
from producers.connect.resources import RESOURCES
from producers.connect.shopify.agreement import said_of
from producers.connect.shopify.api import Api as opened
from producers.connect.shopify.customers import read_customer
from producers.connect.shopify.orders import customer_of, read_order, read_refund
from producers.connect.shopify.products import read_product
from producers.connect.shopify.resource_reading import ITEM
from producers.persons.requests import Wish

__all__ = [
    "SAYS_AS_CHARGED",
    "SIGNATURE",
    "customer_of",
    "hear",
    "is_ping",
    "opened",
    "read_customer",
    "read_order",
    "read_product",
    "read_refund",
    "said_of",
]

SIGNATURE: Final = "X-Shopify-Hmac-SHA256"
SAYS_AS_CHARGED: Final = False
TOPIC: Final = re.compile(r"(orders|refunds|products|customers|inventory_items|inventory_levels|shop)/\w+")
COMPLIANCE: Final[Mapping[str, Wish]] = {  # what Shopify's privacy webhooks ask for
    "customers/redact": "erase",
    "customers/data_request": "export",
    "shop/redact": "remove",
}
OF_AN_ORDER: Final = ("orders/edited", "refunds/create")  # what they are of has a number of its own
OF_AN_ITEM: Final = {"inventory_items": "id", "inventory_levels": "inventory_item_id"}


def is_ping(body: bytes) -> bool:
    """Shopify signs all that it sends."""
    return False


def hear(headers: Mapping[str, str], body: bytes, connection: Connection) -> Heard:
    """What a signed delivery says: of which order, product or customer. Raises BadOrder when it has no number.

    The app's secret signs for every shop that the app is in, so a delivery says of which one it is.
    """
    if headers.get("X-Shopify-Shop-Domain", "").casefold() != urlsplit(connection.url).netloc.casefold():
        return Heard(Kind.FOREIGN)
    topic = headers.get("X-Shopify-Topic", "")
    if TOPIC.fullmatch(topic) is None:
        return Heard(Kind.OTHER)
    said = object_of(body)
    if topic in COMPLIANCE:
        return Heard(Kind.PERSON, wished=_wished(topic, said))
    for resource in RESOURCES:
        if topic.startswith(f"{resource}/"):
            number = id_of(said, "id")
            wished = (Wished("erase", topic, number),) if topic == "customers/delete" else ()
            return Heard(Kind.RESOURCE, number, resource, wished)
    if (field := OF_AN_ITEM.get(topic.partition("/")[0])) is not None:
        return Heard(Kind.RESOURCE, f"{ITEM}{id_of(said, field)}")  # of which product is asked when it is read
    if topic == "orders/edited":
        said = said["order_edit"] if isinstance(said.get("order_edit"), dict) else {}
    return Heard(Kind.NAMED, id_of(said, "order_id" if topic in OF_AN_ORDER else "id"))


def _wished(topic: str, said: Json) -> tuple[Wished, ...]:
    """What is asked about whom: the customer, or of one without a number those whom the orders are of."""
    wish, customer = COMPLIANCE[topic], said.get("customer")
    if wish == "remove":
        return (Wished(wish, topic),)
    if isinstance(customer, dict) and customer.get("id") is not None:
        return (Wished(wish, topic, id_of(customer, "customer.id", "id")),)
    orders = said.get("orders_to_redact") or said.get("orders_requested") or []
    found = [str(order) for order in orders if isinstance(order, int)] if isinstance(orders, list) else []
    if not found:
        raise BadOrder(f"{topic} has neither a customer's number nor orders")
    return tuple(Wished(wish, topic, f"guest-of-{order}") for order in found)
