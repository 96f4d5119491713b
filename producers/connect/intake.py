"""From what a shop says of its orders to events: each once, in whatever order and however often it is said.

What is published goes by the memory, and a copy that slips through (after a kill) has the same event id. What can't be
counted is a dead letter with the bytes as they came, once for each reason: JSON that is no order, or one that its
contract refuses.

An order that was counted and has changed is published again with a higher version, and one that no longer counts is
taken back by such an event, with its refunds, as is a refund that the shop has deleted. When it becomes known that an
order is paid, or is not, its refunds are read and published again: each says when its order was paid.

A state that is older than one seen says nothing new. Of two of one second, which is as fine as the shop tells the time,
the one that counts is taken; and what the shop says when it is asked is the newer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from producers.connect.cancellations import news_of_cancellation
from producers.connect.connections import Connection
from producers.connect.fees import Record, news_of_fees
from producers.connect.hearing import Wished
from producers.connect.memory import UNKNOWN, Known, KnownRefund, Memory, Named, Position, Wanted
from producers.connect.orders import (
    NO_FEES,
    VOID,
    BadOrder,
    Missing,
    OrderState,
    Refund,
    deleted_body,
    deleted_refund,
    missing_of,
    paid_ms_of,
    stamped,
    stamped_refund,
    taken_back,
)
from producers.connect.platforms import platform_of
from producers.connect.rereads import Request
from producers.connect.resource_intake import ResourceIntake
from producers.persons import requests
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.rates import book
from producers.rates.exchange import Exchange
from producers.runner import Run
from producers.shop.occurrences import FEE_CHARGED, ORDER_CANCELLED, ORDER_PLACED, ORDER_REFUNDED
from producers.withdrawn import head_of
from schemas.catalogue import Event
from schemas.errors import PoisonEvent, Retryable
from schemas.quoted import without_texts

COMMIT_SECONDS: Final = 0.9
OF_OWN_TIME: Final = (FEE_CHARGED, ORDER_CANCELLED)


class RateAwaited(Retryable):
    """An order in another currency has no rate yet, and its history can wait for it."""


class Intake:
    """Publishes, and updates the memory. For one thread only."""

    def __init__(self, this: Run, memory: Memory) -> None:
        self._this = this
        self.memory = memory
        self._keys = PersonKeys(this.options.state)
        self._letters = Letters(this.publisher, self._keys, this.clock)
        self._exchange = Exchange(this.options.state, this.options.currency)
        self.resources = ResourceIntake(this, memory, self._refuse, self._keys.called)

    def take(self, connection: Connection, body: bytes, *, is_answer: bool = False, has_patience: bool = False) -> None:
        """Queue what an order's JSON asks for. Nothing is sure to be on the log before ``commit``.

        ``is_answer`` says that the shop was asked for it just now. Raises DeliveryFailed when Kafka refused an earlier
        event, and with ``has_patience`` RateAwaited for an order whose rate is not known yet; else that is a dead
        letter, and the order is read again when the rate is known.
        """
        shop, name = connection.shop._replace(exchange=self._exchange), connection.name
        if missing := missing_of(body):
            order_id = missing.order_id
            known = self.memory.order(name, order_id)
            if self._is_unreadable(missing, known):
                return
            if known is not None and known.digest != VOID:
                self._take_back(connection, order_id, known, known.modified_ms, body)
            if known is not None:
                self._follow_beside(connection, _gone(order_id, known), body, is_answer=True)
            return
        try:
            state = platform_of(connection).read_order(body, shop)
        except BadOrder as bad:
            if bad.awaited is not None and has_patience:
                raise RateAwaited(str(bad)) from None
            if bad.awaited is not None:
                self.memory.await_rate(name, bad.order_id, bad.awaited)
            self.refuse(connection, body, bad)
            return
        known = self.memory.order(name, state.order_id)
        state = self._named(connection, state, known)
        if state.created_ms < connection.since_ms:
            # Not wanted; when it was moved there, it is not wanted any more.
            if known is not None and known.digest != VOID and _is_newer(state, known, is_answer=is_answer):
                self._take_back(connection, state.order_id, known, state.modified_ms, body)
            return
        if known is None or _is_newer(state, known, is_answer=is_answer):
            known = self._follow(connection, state, known, body, is_answer=is_answer)
            if known is not None:
                self._follow_beside(connection, state, body, is_answer=is_answer)
        if known is None or known.digest == VOID or state.record is None:
            return
        if state.refund_ids - known.sure_refund_ids:
            self.memory.want_refunds(name, state.order_id, head_of(state.record))

    def name_awaiting(self, connection: Connection) -> None:
        """Have the orders read again whose rates became known since they were refused."""
        if (known := book.known(self._this.options.state)) is not None:
            self.memory.name_awaiting(connection.name, known.until + timedelta(days=1))

    def take_named(self, connection: Connection, named: Sequence[Named], bodies: Iterable[bytes]) -> None:
        """The same for orders that webhooks named, which are read with these."""
        for body in bodies:
            self._take_or_refuse(connection, body)
        for each in named:
            self.memory.read(connection.name, each)

    def refuse(self, connection: Connection, body: bytes, bad: PoisonEvent) -> None:
        """Send an invalid order to the dead letters, unless it was sent for the same reason before."""
        order_id = bad.order_id if isinstance(bad, BadOrder) else ""
        what = f"order:{order_id}" if order_id else f"bytes:{hashlib.sha256(body).hexdigest()}"
        self._refuse(connection.origin, what, body, bad, whose=self._whose(connection, body))

    def note_request(self, connection: Connection, wished: Wished) -> None:
        """Note what a shop asks about a person, on disk at once, and say so."""
        who = f"{connection.name}-{wished.number}" if wished.number else connection.name
        folder, at_ms = self._this.options.state, int(self._this.clock() * 1000)
        if requests.ask(folder, wished.wish, who, wished.said_by, at_ms):
            self._this.log.warning(
                "a request about a person: `insights privacy requests`", shop=connection.name, said=wished.said_by
            )

    def take_page(
        self, connection: Connection, bodies: Iterable[bytes], position: Position, *, has_patience: bool = False
    ) -> None:
        """The same of a page of orders, with which the shop is read as far as this. Raises as ``take`` does."""
        for body in bodies:
            self._take_or_refuse(connection, body, has_patience=has_patience)
        self.memory.move(connection.name, position)
        if position.is_history_done:
            self.memory.resources.release(connection.name)

    def take_again(
        self, connection: Connection, request: Request, body: bytes | None, refunds: Sequence[bytes] = ()
    ) -> None:
        """Queue what the shop says now of an order that was asked for; ``body`` None: it is gone. Raises as ``take``.

        What is doubted is published again, although nothing may have changed. ``refunds`` are all of the order's.
        """
        shop, doubt = connection.name, request.doubt
        known = self.memory.order(shop, doubt.order_id)
        missing = missing_of(body) if body is not None else None
        if missing and self._is_unreadable(missing, known):
            self.memory.note_read_again(shop, request.number)
            return
        body = None if missing else body
        self.memory.doubt(shop, doubt.order_id, order=doubt.order, refunds=doubt.refunds)
        if body is not None:
            self._take_or_refuse(connection, body)
            after = self.memory.order(shop, doubt.order_id)
            if known is not None and after is not None and after.digest == UNKNOWN:
                self.memory.keep(shop, doubt.order_id, known)  # it was refused: what is on the log stands
            wanted = next((each for each in self.memory.wanted(shop) if each.order_id == doubt.order_id), None)
            if wanted is not None:
                self.take_refunds(connection, [(wanted, refunds)])
        elif known is not None and known.version and (doubt.order or known.digest != VOID):
            self._take_back(connection, doubt.order_id, known, known.modified_ms, deleted_body(doubt.order_id))
        if body is None and known is not None:
            self._follow_beside(connection, _gone(doubt.order_id, known), deleted_body(doubt.order_id), is_answer=True)
        self.memory.note_read_again(shop, request.number)

    def take_refunds(self, connection: Connection, read: Sequence[tuple[Wanted, Sequence[bytes]]]) -> None:
        """Queue the refunds of orders, in the order of their time. Raises as ``take`` does."""
        read_refund = platform_of(connection).read_refund
        found: list[tuple[Refund, str, bytes]] = []
        for wanted, bodies in read:
            for body in bodies:
                try:
                    refund = read_refund(body, wanted.order_id, wanted.head, connection.shop)
                    found.append((refund, wanted.order_id, body))
                except BadOrder as bad:
                    what = f"refund of {wanted.order_id}:{hashlib.sha256(body).hexdigest()}"
                    self._refuse(connection.origin, what, body, bad, ORDER_REFUNDED, whose=wanted.head["customer_id"])
            self.memory.done(connection.name, wanted)
        for refund, order_id, body in sorted(found, key=lambda each: (each[0].at_ms, each[0].refund_id)):
            self._refund(connection, refund, order_id, body)

    def commit(self, deadline_seconds: float = COMMIT_SECONDS) -> None:
        """Blocks until all that was taken is on the log, and remembers it.

        Raises BrokerUnavailable when it is not by the deadline (a later call may bring it) and DeliveryFailed.
        """
        self._this.publisher.flush(deadline_seconds)
        self.memory.commit()
        self.resources.send(deadline_seconds)

    def close(self) -> None:
        """Close the memory."""
        self.memory.close()

    def _take_or_refuse(self, connection: Connection, body: bytes, *, has_patience: bool = False) -> None:
        """Take an answer. Whatever is wrong with one does not hold up the others. Raises as ``take`` does."""
        try:
            self.take(connection, body, is_answer=True, has_patience=has_patience)
        except PoisonEvent as error:
            self.refuse(connection, body, error)

    def _is_unreadable(self, missing: Missing, known: Known | None) -> bool:
        """Whether an order may be in the shop although that says nothing of it: what is known of it stands then."""
        if known is None or missing.is_gone(known.created_ms, int(self._this.clock() * 1000)):
            return False
        self._this.log.info(
            "the app may not read this order: it stays as it was last read", order=missing.order_id, days=missing.days
        )
        return True

    def _publish_or_refuse(
        self, connection: Connection, event: Event, record: Record, what: str, body: bytes, whose: str | None = None
    ) -> bool:
        """Publish an event; one that is refused is a dead letter with these bytes. Returns whether it is published.

        ``whose`` the letter is, is read from the bytes when it is not given. What has another time than its order
        waits for the end of the history, which is read by the time of orders: else much of it would be late.
        """
        try:
            if event in OF_OWN_TIME and not self.memory.position(connection.name).is_history_done:
                self._this.publisher.check(event, record)
                self.memory.resources.set_aside(connection.name, event, record)
            else:
                self._this.publish(event, record)
        except PoisonEvent as error:
            self._refuse(connection.origin, what, body, error, event, whose=whose or self._whose(connection, body))
            return False
        return True

    def _follow(
        self, connection: Connection, state: OrderState, known: Known | None, body: bytes, *, is_answer: bool
    ) -> Known | None:
        """Publish a newer state of an order when it changes what counts. None when the order's first one is refused."""
        known = known or Known(state.modified_ms, 0, VOID, {}, state.created_ms, {})
        if known.digest != VOID and state.record is None:
            known = self._take_back(connection, state.order_id, known, state.modified_ms, body)
        elif known.digest != VOID and state.created_ms != known.created_ms:
            # All states of an order have one time: one that was moved to another day is taken back there.
            known = self._void(connection, state.order_id, known, state.modified_ms, body)
        is_at_one_time = known.digest == VOID or state.created_ms == known.created_ms
        if state.record is not None and state.digest != known.digest and is_at_one_time:
            version = known.next_version(state.modified_ms)
            record = stamped(state.record, connection.shop, state.order_id, version, state.digest)
            what, whose = f"order:{state.order_id}", record["customer_id"]
            if self._publish_or_refuse(connection, ORDER_PLACED, record, what, body, whose):
                known = known._replace(
                    version=version, digest=state.digest, head=head_of(state.record), created_ms=state.created_ms
                )
            elif not known.version:
                return None
        if state.record is not None and state.digest == known.digest:
            known = known._replace(paid_ms=paid_ms_of(state.record))
        # Refunds are read as they are by now, so a delivery that took long may have fewer.
        for gone in sorted(known.refund_ids - state.refund_ids) if is_answer else ():
            known = self._delete_refund(connection, known, gone, body)
        known = known._replace(modified_ms=state.modified_ms)
        self.memory.keep(connection.name, state.order_id, known)
        return known

    def _follow_beside(self, connection: Connection, state: OrderState, body: bytes, *, is_answer: bool) -> None:
        """Publish what is new beside an order: its payment fees, and whether it is cancelled."""
        self._charge(connection, state, body, is_answer=is_answer)
        self._cancel(connection, state, body)

    def _charge(self, connection: Connection, state: OrderState, body: bytes, *, is_answer: bool) -> None:
        """Publish what is new of an order's payment fees. One that waits for a rate is read again with its order."""
        name, before = connection.name, self.memory.fees(connection.name, state.order_id)
        if not before and state.fees == NO_FEES:
            return
        whose = (state.record or {}).get("customer_id") or None
        if state.fees.awaited is not None:
            self.memory.await_rate(name, state.order_id, state.fees.awaited)
        if state.fees.problem:
            problem, of_whom = BadOrder(state.fees.problem), whose or self._whose(connection, body)
            self._refuse(connection.origin, f"fees:{state.order_id}", body, problem, FEE_CHARGED, whose=of_whom)
        news = news_of_fees(
            connection.shop,
            state.order_id,
            self._exchange.own,
            state.fees,
            before,
            modified_ms=state.modified_ms,
            is_answer=is_answer,
        )
        published = {
            fee_id: fee
            for record, fee_id, fee in news
            if self._publish_or_refuse(connection, FEE_CHARGED, record, f"fee:{fee_id}", body, whose)
        }
        if published:
            self.memory.keep_fees(name, state.order_id, before | published)

    def _cancel(self, connection: Connection, state: OrderState, body: bytes) -> None:
        """Publish that an order is cancelled, or is no more, when that is news."""
        before = self.memory.cancellation(connection.name, state.order_id)
        what, whose = f"cancellation:{state.order_id}", (state.record or {}).get("customer_id") or None
        for record, after in news_of_cancellation(connection.shop, state, before):
            if not self._publish_or_refuse(connection, ORDER_CANCELLED, record, what, body, whose):
                return  # a second one would stand beside the first
            self.memory.keep_cancellation(connection.name, state.order_id, after)

    def _take_back(self, connection: Connection, order_id: str, known: Known, modified_ms: int, body: bytes) -> Known:
        """Publish that an order no longer counts, nor do its refunds. They are read again when it counts again."""
        known = self._void(connection, order_id, known, modified_ms, body)
        for refund_id in sorted(known.refund_ids) if known.digest == VOID else ():
            known = self._delete_refund(connection, known, refund_id, body)
        self.memory.keep(connection.name, order_id, known)
        return known

    def _void(self, connection: Connection, order_id: str, known: Known, modified_ms: int, body: bytes) -> Known:
        """Publish that an order no longer counts. When that is refused it stays what it is."""
        version, whose = known.next_version(modified_ms), known.head.get("customer_id")
        record = taken_back(connection.shop, order_id, version, known.head, known.created_ms)
        if not self._publish_or_refuse(connection, ORDER_PLACED, record, f"order:{order_id}", body, whose):
            return known
        return known._replace(version=version, digest=VOID, modified_ms=modified_ms)

    def _delete_refund(self, connection: Connection, known: Known, refund_id: str, body: bytes) -> Known:
        """Publish that a refund no longer counts. When that is refused it stays what it is."""
        version, whose = known.refunds[refund_id].version + 1, known.head.get("customer_id")
        at_ms = known.refunds[refund_id].at_ms
        record = deleted_refund(connection.shop, refund_id, version, known.head, at_ms)
        if not self._publish_or_refuse(connection, ORDER_REFUNDED, record, f"refund:{refund_id}", body, whose):
            return known
        return known.with_refund(refund_id, KnownRefund(at_ms, version, is_deleted=True))

    def _refund(self, connection: Connection, refund: Refund, order_id: str, body: bytes) -> None:
        known = self.memory.order(connection.name, order_id)
        if known is None or known.digest == VOID or refund.refund_id in known.sure_refund_ids:
            return
        before = known.refunds.get(refund.refund_id)
        version = before.version + 1 if before else 1
        record = stamped_refund(refund.record, connection.shop, refund.refund_id, version, known.paid_ms)
        what, whose = f"refund:{refund.refund_id}", known.head.get("customer_id")
        if self._publish_or_refuse(connection, ORDER_REFUNDED, record, what, body, whose):
            kept = KnownRefund(refund.at_ms, version, paid_ms=known.paid_ms)
            self.memory.keep(connection.name, order_id, known.with_refund(refund.refund_id, kept))

    def _refuse(
        self,
        origin: Mapping[str, str],
        what: str,
        body: bytes,
        error: PoisonEvent,
        meant_for: Event = ORDER_PLACED,
        *,
        whose: str | None,
    ) -> None:
        """Send the bytes to the dead letters, sealed, unless they were for the same reason before."""
        reason, shop = without_texts(str(error)), origin["shop"]
        if not self.memory.refuse(shop, what, reason):
            return
        self._letters.send(meant_for, body, error=error, origin={**origin, "what": what}, whose=whose)
        self._this.log.warning("not counted, a dead letter", shop=shop, what=what, problem=reason)

    def _whose(self, connection: Connection, body: bytes) -> str | None:
        """Whose order this is that can't be read; None when nobody can say."""
        whose = platform_of(connection).customer_of(body, connection.shop)
        return None if whose is None else self._keys.called(whose)

    def _named(self, connection: Connection, state: OrderState, known: Known | None) -> OrderState:
        """With the customer as the log has them: an erased one's orders stay theirs, new ones are somebody new's."""
        if state.record is None:
            return state
        before = known.head.get("customer_id", "") if known else ""
        who = before if self._keys.erased_ms(before) is not None else ""
        who = who or self._keys.called(state.record["customer_id"])
        return state._replace(record={**state.record, "customer_id": who})


def _gone(order_id: str, known: Known) -> OrderState:
    """An order that the shop has no more: nobody keeps anything of it."""
    return OrderState(order_id, known.created_ms, known.modified_ms, "deleted", None, VOID, frozenset())


def _is_newer(state: OrderState, known: Known, *, is_answer: bool) -> bool:
    """Does this state come after what is known? The shop tells the time to the second."""
    if state.modified_ms != known.modified_ms:
        return state.modified_ms > known.modified_ms
    return is_answer or (known.version == 0 and state.record is not None)
