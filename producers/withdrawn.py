"""An event that withdraws an order or a refund. Only its identity and its time are used."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

NOTHING: Final = Decimal("0.00")
LINE: Final = {  # an order has at least one
    "product_id": "unknown",
    "category": "uncategorized",
    "brand": None,
    "quantity": 1,
    "unit_price": NOTHING,
    "discount_amount": NOTHING,
}


HEAD: Final = ("order_id", "customer_id", "region", "currency")
CHARGED: Final = ("charged_currency", "charged_rate", "charged_rate_source", "charged_rate_on")


def head_of(record: Mapping[str, Any]) -> dict[str, str]:
    """What has to be remembered of an order's or a refund's event: whose it is, and by which rate it was converted."""
    charged = {name: str(record[name]) for name in CHARGED if record.get(name) is not None}
    return {name: record[name] for name in HEAD} | charged


def whose(head: Mapping[str, str]) -> dict[str, str]:
    """The fields of an event that a head has."""
    return {name: head[name] for name in HEAD}


def order(head: Mapping[str, str]) -> dict[str, Any]:
    """An order's event but for its envelope and version."""
    return {
        **whose(head),
        "channel": "web",
        "session_id": None,
        "lines": [LINE],
        "shipping_amount": NOTHING,
        "tax_amount": NOTHING,
        "is_cancelled": True,
    }


def refund(head: Mapping[str, str], refund_id: str) -> dict[str, Any]:
    """A refund's event but for its envelope and version."""
    return {
        **whose(head),
        "refund_id": refund_id,
        "lines": [],
        "amount": NOTHING,
        "reason": "other",
        "is_deleted": True,
    }
