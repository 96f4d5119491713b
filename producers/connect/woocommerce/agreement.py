"""What a WooCommerce shop sold, by its API's answer alone: nothing here is used where orders become events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from producers.connect.agreement import NOTHING, Sold
from producers.connect.woocommerce.orders import NOT_COUNTED


def sold_in_shop(bodies: Iterable[bytes]) -> tuple[dict[str, Sold], list[str]]:
    """By id the orders that the shop's own reports count, and the ids of those that could not be read."""
    found: dict[str, Sold] = {}
    unread: list[str] = []
    for body in bodies:
        order = json.loads(body, parse_float=Decimal)
        order_id = str(order.get("id")) if isinstance(order, dict) else "?"
        try:
            if order["status"] not in NOT_COUNTED:
                found[order_id] = _sold(order)
            else:
                found.pop(order_id, None)  # it came twice, and was changed in between
        except (KeyError, TypeError, ValueError, InvalidOperation, AttributeError):
            unread.append(order_id)
    return found, unread


def _sold(order: Mapping[str, Any]) -> Sold:
    total, tax, shipping = (Decimal(order[name]) for name in ("total", "total_tax", "shipping_total"))
    placed = datetime.fromisoformat(order["date_created_gmt"]).replace(tzinfo=UTC)
    paid_back = sum((abs(Decimal(refund["total"])) for refund in order.get("refunds", ())), NOTHING)
    return Sold(placed.date(), total - tax - shipping, paid_back)
