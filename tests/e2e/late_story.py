"""A customer of the shop with events that arrive days late: every mart must change when they are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.catalogue import Event, event
from tests.e2e.made_events import made
from tests.marts.oracle.history import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """``order`` is one of the shop's that counts, ``warehouse`` where its first line's goods lie."""

    order: Order
    warehouse: str
    at: datetime

    def in_time(self, now: datetime) -> tuple[Event, dict[str, Any]]:
        """A look at the product that was sold, of now."""
        return self._look(now, Decimal("12.00"))

    def late(self) -> Iterator[tuple[Event, dict[str, Any]]]:
        """Before that order: a visit that a campaign sent, an order, its fee and refund, a cost, ads, a look, stock."""
        order = self.order
        visit = made(event("web.interaction"), self.at)
        common = {"session_id": visit["session_id"], "session_started_at": self.at, "region": order.region}
        common |= {"user_id": order.customer_id, "campaign": "made-campaign"}
        for minutes, step in enumerate(("page_view", "product_view", "add_to_cart", "checkout")):
            product = self._product if step in ("product_view", "add_to_cart") else None
            this = made(event("web.interaction"), self.at + timedelta(minutes=minutes))
            yield event("web.interaction"), this | common | {"interaction": step, "product_id": product}
        bought = made(event("sales.order_placed"), self.at + timedelta(minutes=9))
        bought |= {"customer_id": order.customer_id, "region": order.region, "session_id": visit["session_id"]}
        bought["lines"] = [{**line, "product_id": self._product} for line in bought["lines"]]
        yield event("sales.order_placed"), bought
        refund = made(event("sales.order_refunded"), self.at + timedelta(hours=2))
        yield event("sales.order_refunded"), refund | {"order_id": bought["order_id"], "region": order.region}
        fee = made(event("finance.fee_charged"), self.at + timedelta(minutes=9))
        yield event("finance.fee_charged"), fee | {"order_id": bought["order_id"]}
        cost = made(event("finance.cost_stated"), self.at + timedelta(hours=1))
        yield event("finance.cost_stated"), cost | {"product_id": self._product, "valid_from": self.at}
        yield event("marketing.spend_stated"), made(event("marketing.spend_stated"), self.at)
        yield self._look(self.at, Decimal("10.00"))
        moved = made(event("inventory.stock_moved"), self.at)
        yield event("inventory.stock_moved"), moved | {"product_id": self._product, "warehouse": self.warehouse}
        yield event("customers.customer_changed"), made(event("customers.customer_changed"), self.at)

    @property
    def _product(self) -> str:
        return self.order.lines[0].product_id

    def _look(self, at: datetime, price: Decimal) -> tuple[Event, dict[str, Any]]:
        look = made(event("catalog.product_observed"), at)
        return event("catalog.product_observed"), look | {
            "product_id": self._product,
            "price": price,
            "previous_price": None,
        }
