"""Results of reading an order file: events to publish, rejected rows, and orders that correctly count nowhere."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from producers.order_file.rows import Head, Line
from producers.order_file.table import Record
from producers.shop.identifiers import digest_of
from producers.shop.occurrences import ORDER_PLACED, ORDER_REFUNDED
from schemas.catalogue import Event

ORDER: Final = "order"
REFUND: Final = "refund"
EVENTS: Final[dict[str, Event]] = {ORDER: ORDER_PLACED, REFUND: ORDER_REFUNDED}


class Step(NamedTuple):
    """One event to publish. Steps sort into the order of publishing: by time, then by where they stand.

    ``lines`` have the order's discount in them. ``amount`` is what a refund pays back in all, in cents. Of two states
    of an order or refund the one with the higher ``version`` counts; what has no id has no states, and no version.
    """

    at_ms: int
    line: int
    kind: str
    order_id: str
    digest: bytes
    head: Head
    lines: tuple[Line, ...]
    rows: tuple[Record, ...]
    amount: int = 0
    version: int | None = None

    @property
    def key(self) -> str:
        """What it is remembered by, within its source."""
        return f"{self.kind}:{self.order_id}"

    @property
    def state(self) -> bytes:
        """A digest of all that its event says: what it counts, when its order was paid, and when that was sent."""
        head = self.head
        life = (
            (head.paid_at_ms,) if self.kind == REFUND else (head.paid_at_ms, head.fulfilled_at_ms, head.discount_code)
        )
        if not any(life):
            return self.digest
        return digest_of((self.digest, life))

    def refused(self, reason: str) -> Refusal:
        """Its rows, which are right by themselves, as ones that are not counted."""
        return Refusal(
            self.line, "", "", reason, self.rows, self.order_id, self.rows[0].sheet, customer_id=self.head.customer_id
        )


class Withdrawal(NamedTuple):
    """What was published and does not count any more, as an event to publish. It has the time of what it takes back."""

    at_ms: int
    line: int
    kind: str
    order_id: str
    version: int
    head: dict[str, str]

    @property
    def key(self) -> str:
        """What the order or the refund is remembered by."""
        return f"{self.kind}:{self.order_id}"


class Refusal(NamedTuple):
    """Rows that are not counted, and why. ``line`` is the one that is wrong; the others are of the same order."""

    line: int
    column: str
    value: str
    reason: str
    rows: tuple[Record, ...]
    order_id: str = ""
    sheet: str = ""
    number: int = 1
    customer_id: str = ""


class Skip(NamedTuple):
    """Rows that are rightly counted nowhere: an order that was voided before it was paid, an item of one that was
    cancelled, or a line about the export itself.
    """

    what: Literal["order", "item", "note"]
    order_id: str
    reason: str
    rows: tuple[Record, ...]

    @property
    def key(self) -> str:
        """What an order would be remembered by if it had been one."""
        return f"{ORDER}:{self.order_id}"
