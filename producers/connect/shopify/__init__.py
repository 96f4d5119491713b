"""Shopify: its GraphQL Admin API, its webhooks, and what its orders, products and customers are here.

It must not know any other platform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from producers.connect.connections import Connection
from producers.connect.hearing import Heard, Kind
from producers.connect.orders import id_of, object_of
from producers.connect.resources import RESOURCES
from producers.connect.shopify.agreement import said_of
from producers.connect.shopify.api import Api as opened
from producers.connect.shopify.customers import read_customer
from producers.connect.shopify.orders import customer_of, read_order, read_refund
from producers.connect.shopify.products import read_product
from producers.connect.shopify.resource_reading import ITEM

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
TOPIC: Final = re.compile(r"(orders|refunds|products|customers|inventory_items|inventory_levels)/\w+")
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
    for resource in RESOURCES:
        if topic.startswith(f"{resource}/"):
            return Heard(Kind.RESOURCE, id_of(said, "id"), resource)
    if (field := OF_AN_ITEM.get(topic.partition("/")[0])) is not None:
        return Heard(Kind.RESOURCE, f"{ITEM}{id_of(said, field)}")  # of which product is asked when it is read
    if topic == "orders/edited":
        said = said["order_edit"] if isinstance(said.get("order_edit"), dict) else {}
    return Heard(Kind.NAMED, id_of(said, "order_id" if topic in OF_AN_ORDER else "id"))
