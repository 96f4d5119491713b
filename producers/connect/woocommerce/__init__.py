"""WooCommerce: its REST API v3, its webhooks, and what its orders are here.

It must not know any other platform.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from producers.connect.connections import Connection
from producers.connect.hearing import Heard, Kind
from producers.connect.woocommerce.agreement import said_of
from producers.connect.woocommerce.api import Api as opened
from producers.connect.woocommerce.orders import customer_of, read_order, read_refund

__all__ = ["SIGNATURE", "customer_of", "hear", "is_ping", "opened", "read_order", "read_refund", "said_of"]

SIGNATURE: Final = "X-WC-Webhook-Signature"
PING: Final = re.compile(rb"webhook_id=\d+")


def is_ping(body: bytes) -> bool:
    """Whether this is what a new webhook sends without a signature, to see that somebody is there."""
    return PING.fullmatch(body) is not None


def hear(headers: Mapping[str, str], body: bytes, connection: Connection) -> Heard:
    """What a signed delivery says: its body is the order as it then was."""
    is_order = headers.get("X-WC-Webhook-Topic", "").partition(".")[0] == "order"
    return Heard(Kind.ORDER if is_order else Kind.OTHER)
