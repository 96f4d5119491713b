"""From what a shop says of its orders to events: each once, in whatever order and however often it is said.

What is published goes by the memory, and a copy that slips through (after a kill) has the same event id. What can't be
counted is a dead letter with the bytes as they came, once for each reason:

- JSON that is no order, or one that its contract refuses;
- a correction: an order or a refund that was counted, and that the shop has changed or taken back since. The first
  version still counts.

A state of an order that is no newer than one seen says nothing new, so it is passed over: of two of one second the one
that counts is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from producers.connect import woocommerce
from producers.connect.connections import Connection
from producers.connect.memory import Known, Memory, Position, Wanted
from producers.connect.woocommerce import VOID, BadOrder, OrderState, Refund, head_of
from producers.runner import Run
from producers.shop.occurrences import ORDER_PLACED, ORDER_REFUNDED
from schemas.catalogue import Event
from schemas.errors import PoisonEvent

COMMIT_SECONDS: Final = 0.9


class Correction(PoisonEvent):
    """The shop has changed what was counted before."""


class Intake:
    """Publishes, and remembers. Of one thread only."""

    def __init__(self, this: Run, memory: Memory) -> None:
        self._this = this
        self.memory = memory

    def take(self, connection: Connection, body: bytes) -> None:
        """Queue what an order's JSON asks for. Nothing is sure to be on the log before ``commit``.

        Raises DeliveryFailed when Kafka refused an earlier event.
        """
        shop, name = connection.shop, connection.name
        if order_id := woocommerce.deleted_id(body):
            known = self.memory.order(name, order_id)
            if known is not None and known.digest != VOID:
                self._refuse(
                    connection, f"order:{order_id}", body, Correction(_taken_back(name, order_id, "was deleted"))
                )
            return
        try:
            state = woocommerce.read_order(body, shop)
        except BadOrder as bad:
            what = f"order:{bad.order_id}" if bad.order_id else f"bytes:{hashlib.sha256(body).hexdigest()}"
            self._refuse(connection, what, body, bad)
            return
        if state.created_ms < connection.since_ms:
            return
        known = self.memory.order(name, state.order_id)
        if known is None or (known.digest == VOID and state.modified_ms >= known.modified_ms):
            known = self._place(connection, state, body)
        elif state.modified_ms > known.modified_ms and known.digest != VOID:
            known = self._compare(connection, state, known, body)
        if known is None or known.digest == VOID or state.record is None:
            return
        if state.refund_ids - known.refund_ids:
            self.memory.want_refunds(name, state.order_id, head_of(state.record))

    def take_page(self, connection: Connection, bodies: Iterable[bytes], position: Position) -> None:
        """The same of a page of orders, with which the shop is read as far as this."""
        for body in bodies:
            self.take(connection, body)
        self.memory.move(connection.name, position)

    def take_refunds(self, connection: Connection, read: Sequence[tuple[Wanted, Sequence[bytes]]]) -> None:
        """Queue the refunds of orders, in the order of their time. Raises as ``take`` does."""
        found: list[tuple[Refund, str, bytes]] = []
        for wanted, bodies in read:
            for body in bodies:
                try:
                    refund = woocommerce.read_refund(body, wanted.order_id, wanted.head, connection.shop)
                    found.append((refund, wanted.order_id, body))
                except BadOrder as bad:
                    what = f"refund of {wanted.order_id}:{hashlib.sha256(body).hexdigest()}"
                    self._refuse(connection, what, body, bad, ORDER_REFUNDED)
            self.memory.done(connection.name, wanted)
        for refund, order_id, body in sorted(found, key=lambda each: (each[0].at_ms, each[0].refund_id)):
            self._refund(connection, refund, order_id, body)

    def commit(self, deadline_seconds: float = COMMIT_SECONDS) -> None:
        """Blocks until all that was taken is on the log, and remembers it.

        Raises BrokerUnavailable when it is not by the deadline (a later call may bring it) and DeliveryFailed.
        """
        self._this.publisher.flush(deadline_seconds)
        self.memory.commit()

    def _place(self, connection: Connection, state: OrderState, body: bytes) -> Known | None:
        """Publish an order that counts; of one that does not, remember when that was so. None when it is refused."""
        if state.record is not None:
            try:
                self._this.publish(ORDER_PLACED, state.record)
            except PoisonEvent as error:
                self._refuse(connection, f"order:{state.order_id}", body, error)
                return None
        known = Known(state.modified_ms, state.digest, state.total, frozenset())
        self.memory.keep(connection.name, state.order_id, known)
        return known

    def _compare(self, connection: Connection, state: OrderState, known: Known, body: bytes) -> Known:
        """A newer state of an order that is counted. What was counted stays."""
        name, what = connection.name, f"order:{state.order_id}"
        if state.digest == VOID:
            self._refuse(
                connection,
                what,
                body,
                Correction(_taken_back(name, state.order_id, f"is {state.status} now")),
            )
        elif state.digest != known.digest:
            changed = (
                f"order {state.order_id} of {name} was counted with a total of {_money(known.total)} and was changed"
                f" since, to {_money(state.total)}: a correction is not counted on top of the first version"
            )
            self._refuse(connection, what, body, Correction(changed))
        for gone in sorted(known.refund_ids - state.refund_ids):
            text = f"refund {gone} of order {state.order_id} of {name} was counted and deleted since: it still counts"
            self._refuse(connection, f"refund:{gone}", body, Correction(text), ORDER_REFUNDED)
        known = known._replace(modified_ms=state.modified_ms)
        self.memory.keep(connection.name, state.order_id, known)
        return known

    def _refund(self, connection: Connection, refund: Refund, order_id: str, body: bytes) -> None:
        known = self.memory.order(connection.name, order_id)
        if known is None or refund.refund_id in known.refund_ids:
            return
        try:
            self._this.publish(ORDER_REFUNDED, refund.record)
        except PoisonEvent as error:
            self._refuse(connection, f"refund:{refund.refund_id}", body, error, ORDER_REFUNDED)
        # A refused one is known as well: else each look at its order would read it again.
        self.memory.keep(connection.name, order_id, known._replace(refund_ids=known.refund_ids | {refund.refund_id}))

    def _refuse(
        self, connection: Connection, what: str, body: bytes, error: PoisonEvent, meant_for: Event = ORDER_PLACED
    ) -> None:
        """Send the bytes to the dead letters, unless they were for the same reason before."""
        if not self.memory.refuse(connection.name, what, str(error)):
            return
        origin = {"shop": connection.name, "url": connection.url, "what": what}
        self._this.publisher.dead_letter(meant_for, body, key=None, error=error, stage="VALUE_CONVERTER", origin=origin)
        self._this.log.warning("not counted, a dead letter", shop=connection.name, what=what, problem=str(error))


def _taken_back(name: str, order_id: str, how: str) -> str:
    return f"order {order_id} of {name} was counted, and {how}: the first version still counts"


def _money(cents: int) -> str:
    return f"{Decimal(cents).scaleb(-2):,}"
