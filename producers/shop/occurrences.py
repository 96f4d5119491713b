"""Events in the shop as values: occurrences, and what they schedule for later."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas import catalogue
from schemas.catalogue import Event

ORDER_PLACED = catalogue.event("sales.order_placed")
ORDER_REFUNDED = catalogue.event("sales.order_refunded")
ORDER_CANCELLED = catalogue.event("sales.order_cancelled")
CUSTOMER_CHANGED = catalogue.event("customers.customer_changed")
INTERACTION = catalogue.event("web.interaction")
STOCK_MOVED = catalogue.event("inventory.stock_moved")
COST_STATED = catalogue.event("finance.cost_stated")
FEE_CHARGED = catalogue.event("finance.fee_charged")
SPEND_STATED = catalogue.event("marketing.spend_stated")

MINUTE_MS = 60_000


class Scheduled(NamedTuple):
    """Something that will happen: ``payload`` is plain JSON, for it may have to be written down until then."""

    due_ms: int
    kind: str
    payload: dict[str, Any]

    @property
    def minute(self) -> int:
        return self.due_ms // MINUTE_MS


class Occurrence(NamedTuple):
    """One event and its time in milliseconds since 1970. They sort by time, then by id; ids are unique."""

    at_ms: int
    event_id: str
    event: Event
    record: dict[str, Any]
    sets_off: Scheduled | None = None
