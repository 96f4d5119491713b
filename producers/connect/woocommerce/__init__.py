"""WooCommerce: its REST API v3, its webhooks, and what its orders, products and customers are here.

It must not know any other platform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from producers.connect.connections import Connection
from producers.connect.hearing import Heard, Kind, Wished
from producers.connect.orders import id_of, object_of
from producers.connect.woocommerce.agreement import said_of
from producers.connect.woocommerce.api import Api as opened
from producers.connect.woocommerce.customers import read_customer
from producers.connect.woocommerce.orders import customer_of, read_order, read_refund
from producers.connect.woocommerce.products import read_product

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

SIGNATURE: Final = "X-WC-Webhook-Signature"
SAYS_AS_CHARGED: Final = True
PING: Final = re.compile(rb"webhook_id=\d+")


def is_ping(body: bytes) -> bool:
    """Whether this is what a new webhook sends without a signature, to see that somebody is there."""
    return PING.fullmatch(body) is not None


def hear(headers: Mapping[str, str], body: bytes, connection: Connection) -> Heard:
    """What a signed delivery says: an order as it then was, or which product or customer something became of.

    Raises BadOrder when one of these has no number.
    """
    topic = headers.get("X-WC-Webhook-Topic", "")
    of = topic.partition(".")[0]
    if of == "customer":
        number = id_of(object_of(body), "id")
        wished = (Wished("erase", topic, number),) if topic == "customer.deleted" else ()
        return Heard(Kind.RESOURCE, number, "customers", wished)
    if of == "product":
        said = object_of(body)  # of a variation, what belongs to the product is read with it
        return Heard(Kind.RESOURCE, id_of(said, "parent_id" if said.get("parent_id") else "id"))
    return Heard(Kind.ORDER if of == "order" else Kind.OTHER)
