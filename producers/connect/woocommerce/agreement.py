"""What a WooCommerce shop sold, by its API's answer alone: nothing here is used where orders become events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from producers.connect.agreement import NAMELESS, NOTHING, DayOf, Said, Sold, utc_day
from producers.connect.woocommerce.orders import NOT_COUNTED


def said_of(body: bytes, day_of: DayOf = utc_day, *, by_payment: bool = False) -> Said:
    """What an order of the API says: its measures, if the shop's own reports count it; by payment, once it is paid."""
    order = json.loads(body, parse_float=Decimal)
    order_id = str(order.get("id")) if isinstance(order, dict) else NAMELESS
    try:
        changed_at = _utc(order.get("date_modified_gmt") or order["date_created_gmt"])
        counts = order["status"] not in NOT_COUNTED and (order["date_paid_gmt"] or not by_payment)
        if not counts:
            return Said(order_id, None, changed_at)
        sold = _sold(order, day_of, by_payment=by_payment)
        return Said(order_id, sold, changed_at, placed_at=_utc(order["date_created_gmt"]))
    except KeyError as missing:
        return Said(order_id, None, unread=f"it has no {missing}")
    except (TypeError, ValueError, InvalidOperation, AttributeError) as error:
        return Said(order_id, None, unread=f"{type(error).__name__}: {error}"[:200])


def _sold(order: Mapping[str, Any], day_of: DayOf, *, by_payment: bool) -> Sold:
    total, tax, shipping = (Decimal(order[name]) for name in ("total", "total_tax", "shipping_total"))
    paid_back = sum((abs(Decimal(refund["total"])) for refund in order.get("refunds", ())), NOTHING)
    placed = _utc(order["date_created_gmt"])
    day = day_of(max(placed, _utc(order["date_paid_gmt"])) if by_payment else placed)
    return Sold(day, total - tax - shipping, shipping, tax, paid_back, order["currency"])


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
