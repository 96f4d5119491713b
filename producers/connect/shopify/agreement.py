"""What a Shopify shop sold, by its API's answer alone: nothing here is used where orders become events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from producers.connect.agreement import NAMELESS, NOTHING, DayOf, Said, Sold, utc_day


def said_of(body: bytes, day_of: DayOf = utc_day, *, by_payment: bool = False) -> Said:
    """What an order of the API says: its measures, if the shop's own reports have sales of it; by payment, if paid."""
    order = json.loads(body)
    order_id = str(order.get("id")).rpartition("/")[2] if isinstance(order, dict) else NAMELESS
    try:
        changed_at = datetime.fromisoformat(order["updatedAt"])
        placed = datetime.fromisoformat(order["processedAt"])
        at = _counted_at(order, placed, by_payment=by_payment)
        return Said(order_id, None if order["test"] or at is None else _sold(order, day_of(at)), changed_at, placed)
    except (KeyError, TypeError, ValueError, InvalidOperation, AttributeError) as error:
        return Said(order_id, None, unread=f"{type(error).__name__}: {error}"[:200])


def _counted_at(order: Mapping[str, Any], placed: datetime, *, by_payment: bool) -> datetime | None:
    """When it was placed, or, by payment, when the last of it was charged if that is later; None if it is not paid."""
    if not by_payment:
        return placed
    if order["displayFinancialStatus"] not in ("PAID", "PARTIALLY_REFUNDED", "REFUNDED"):
        return None
    charges = [each for each in order["transactions"] if each["kind"] in ("SALE", "CAPTURE")]
    times = [datetime.fromisoformat(each["processedAt"]) for each in charges if each["status"] == "SUCCESS"]
    return max([placed, *times])


def _sold(order: Mapping[str, Any], day: date) -> Sold | None:
    """None of an order of nothing but gift cards and tips."""
    sales, shipping, taxes, refunds, goods = NOTHING, NOTHING, NOTHING, NOTHING, 0
    for agreement in order["agreements"]:
        for sale in agreement["sales"]:
            if sale["lineType"] == "GIFT_CARD":
                continue
            total, tax = (Decimal(sale[name]["shopMoney"]["amount"]) for name in ("totalAmount", "totalTaxAmount"))
            if sale["actionType"] == "RETURN" or total < 0:
                refunds -= NOTHING if sale["lineType"] == "TIP" else total
                continue
            taxes += tax
            if sale["lineType"] in ("PRODUCT", "ADJUSTMENT"):
                sales += total - tax
                goods += 1
            elif sale["lineType"] == "SHIPPING":
                shipping += total - tax
    if not goods:
        return None
    return Sold(day, sales, shipping, taxes, refunds)
