"""From rows as they stand now to events: what is new in a row, and what a row that is gone withdraws.

A row has the key that its resource calls primary. It is published when it is new or says something else than before.
Its event's id, and its version, are made of its key, the time of its reading and what is known of it, so rows that are
taken again after a kill make the same events.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from producers import withdrawn
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.pipelines import values
from producers.pipelines.memory import Known, Memory, Place
from producers.runner import Run
from producers.shop.identifiers import digest_of, envelope
from schemas.binary import EPOCH, MILLISECOND, since_epoch
from schemas.catalogue import Event, event
from schemas.errors import ContractBroken, PoisonEvent
from schemas.quoted import without_texts

ORDER_PLACED: Final = event("sales.order_placed")
ORDER_REFUNDED: Final = event("sales.order_refunded")
PRODUCT_OBSERVED: Final = event("catalog.product_observed")
CUSTOMER_CHANGED: Final = event("customers.customer_changed")
STOCK_MOVED: Final = event("inventory.stock_moved")
EVENTS: Final = (ORDER_PLACED, ORDER_REFUNDED, PRODUCT_OBSERVED, CUSTOMER_CHANGED, STOCK_MOVED)
READ_NOW: Final = (PRODUCT_OBSERVED, CUSTOMER_CHANGED)  # whose time is that of the reading where a row has none
LAST: Final = 1 << 62  # after every row of a reading
MANY_GONE, MANY_GONE_SHARE = 5, Decimal("0.3")
DOUBTED_MS: Final = timedelta(days=1) // MILLISECOND
LETTERS_SAID: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A resource's rows as events.

    Attributes:
        name: of the resource's table.
        event: what a row of it is.
        key: the columns of its primary key.
        deleted: columns that say that the row is gone, when they are true, or neither null nor false.
        is_whole: every reading reads all rows: one that is missing is gone.
    """

    name: str
    event: Event
    key: tuple[str, ...]
    deleted: tuple[str, ...] = ()
    is_whole: bool = False


@dataclass(slots=True)
class Tally:
    """What became of a reading's rows, by word: published, unchanged, withdrawn, refused, undeletable, doubted."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)


class Intake:
    """Publishes what is new in rows. Of one thread only. ``name`` is the source of the events."""

    def __init__(self, this: Run, name: str, memory: Memory, keys: PersonKeys) -> None:
        self._this = this
        self._name = name
        self._memory = memory
        self._keys = keys
        self._letters = Letters(this.publisher, keys, this.clock)
        self.tally = Tally()

    def take(self, table: Table, rows: Iterable[tuple[str, Place]]) -> None:
        """Publish rows as ``values.written`` wrote them. Blocks until Kafka has all of them.

        Raises DeliveryFailed or BrokerUnavailable: then nothing is noted, and the rows have to be taken again.
        """
        try:
            for text, place in rows:
                self._take(table, text, place)
            self._this.publisher.flush()
        except BaseException:
            self._memory.forget()
            raise
        self._memory.commit()

    def withdraw_unseen(self, table: Table, read_ms: int) -> None:
        """All of the resource's rows were read from ``read_ms`` on: what was not among them is gone.

        When that is much of what there was, only what has been missing for a day is. Raises as ``take``.
        """
        unseen, there = self._memory.unseen(table.name, read_ms), self._memory.count(table.name)
        if len(unseen) > MANY_GONE and len(unseen) > MANY_GONE_SHARE * there:
            sure = self._memory.unseen(table.name, read_ms - DOUBTED_MS)
            if doubted := len(unseen) - len(sure):
                self.tally.counts["doubted"] += doubted
                self._this.log.warning(
                    "many rows are missing: they are withdrawn if they still are a day after they were last read",
                    resource=table.name,
                    missing=doubted,
                    known=there,
                )
            unseen = sure
        for key in unseen:
            known = self._memory.known(table.name, key)
            assert known is not None
            self._withdraw(table, key, known, Place(read_ms, LAST))
        self._this.publisher.flush()
        self._memory.commit()

    def _take(self, table: Table, text: str, place: Place) -> None:
        key = ""
        try:
            row = values.read(text)
            self._note_columns(table, row)
            key = self._key(table, row)
            known = self._memory.known(table.name, key)
            if known is not None and known.place >= place:
                return  # taken before a kill
            if any(row.get(column) not in (None, False, 0) for column in table.deleted):
                if known is not None and not known.is_gone:
                    self._withdraw(table, key, known, place)
                return
            self._publish(table, key, row, known, place)
        except PoisonEvent as error:
            self._refuse(table, text, error)

    def _key(self, table: Table, row: values.Row) -> str:
        """A digest of the row's primary key, under the source's own key where a person may be named by it.

        Raises PoisonEvent without one.
        """
        for column in table.key:
            if row.get(column) is None:
                raise PoisonEvent(f"the row has no {column}, which is its primary key")
        digest = _digest(json.dumps([str(row[column]) for column in table.key]))
        return digest if table.event is STOCK_MOVED else self._keys.pseudonym(self._name, digest)

    def _note_columns(self, table: Table, row: values.Row) -> None:
        names, before = set(row), self._memory.columns(table.name)
        if names == before:
            return
        if before is not None and len(row) > len({*table.key, *table.deleted}):  # more than the name of a deleted row
            added, gone = sorted(names - before), sorted(before - names)
            self._this.log.warning("the columns have changed", resource=table.name, added=added, gone=gone)
        elif before is not None:
            return
        self._memory.note_columns(table.name, names)

    def _publish(self, table: Table, key: str, row: values.Row, known: Known | None, place: Place) -> None:
        record = self._record(table, row, known)
        digest = digest_of(sorted(record.items()))
        if table.event is PRODUCT_OBSERVED:
            record = {**record, **_of_product(record, digest, known)}
        at_ms = since_epoch(record["occurred_at"]) if record["occurred_at"] else place.read_ms
        if known is not None and not known.is_gone and known.digest == digest:
            self._memory.note(table.name, key, known._replace(place=place))
            self.tally.counts["unchanged"] += 1
            return
        if known is not None and table.event is STOCK_MOVED:
            raise PoisonEvent(
                "this stock movement was published before and is different now: it counts as it was; enter another"
                " movement that corrects it"
            )
        version = _next(known, place)
        is_moved = known is not None and not known.is_gone and table.event.versions and known.at_ms != at_ms
        record |= self._envelope(table, key, version + bool(is_moved), at_ms)
        if known is not None and is_moved:  # all states of an order have one time
            self._this.publisher.check(table.event, record)
            self._withdraw(table, key, known, place)
            version += 1
        self._this.publish(table.event, record)
        self._memory.note(table.name, key, Known(digest, version, at_ms, place, False, self._head(table, record)))
        self.tally.counts["published"] += 1

    def _record(self, table: Table, row: values.Row, known: Known | None) -> dict[str, Any]:
        """The row's record, without its envelope: its time is None when the row has none and needs none."""
        is_read_now = table.event in READ_NOW and row.get("occurred_at") is None
        said = {**row, "occurred_at": EPOCH.isoformat()} if is_read_now else dict(row)
        if table.event is PRODUCT_OBSERVED:
            said.setdefault("content_hash", "")
        record = values.record_of(table.event, said)
        if is_read_now:
            record["occurred_at"] = None
        if "customer_id" in record:
            record["customer_id"] = self._customer(record["customer_id"], known)
        return record

    def _customer(self, said: str, known: Known | None) -> str:
        """Who this is. What was an erased customer's stays theirs."""
        before = known.head.get("customer_id", "") if known else ""
        return before if self._keys.erased_ms(before) is not None else self._keys.customer(self._name, said)

    def _envelope(self, table: Table, key: str, version: int, at_ms: int) -> dict[str, Any]:
        named = f"{table.name}:{key}" if table.event is STOCK_MOVED else f"{table.name}:{key}:{version}"
        by = {table.event.versions.by: version} if table.event.versions else {}
        return {**envelope(self._name, named, at_ms), **by}

    def _head(self, table: Table, record: Mapping[str, Any]) -> dict[str, Any]:
        if table.event is ORDER_PLACED:
            return dict(withdrawn.head_of(record))
        if table.event is ORDER_REFUNDED:
            return {**withdrawn.head_of(record), "refund_id": record["refund_id"]}
        if table.event is PRODUCT_OBSERVED:
            return {"row": values.written(record)}
        return {"customer_id": record["customer_id"]} if "customer_id" in record else {}

    def _withdraw(self, table: Table, key: str, known: Known, place: Place) -> None:
        """Publish that the row is gone, if its contract can say that."""
        version, at_ms = _next(known, place), known.at_ms
        if table.event is ORDER_PLACED:
            record = withdrawn.order(known.head)
        elif table.event is ORDER_REFUNDED:
            record = withdrawn.refund(known.head, known.head["refund_id"])
        elif table.event is PRODUCT_OBSERVED:
            at_ms = place.read_ms
            record = values.record_of(table.event, values.read(known.head["row"]))
            record |= {"availability": "discontinued", "stock_quantity": None}
        else:
            self.tally.counts["undeletable"] += 1
            self._memory.note(table.name, key, known._replace(place=place, is_gone=True))
            return
        self._this.publish(table.event, {**record, **self._envelope(table, key, version, at_ms)})
        self._memory.note(table.name, key, known._replace(version=version, place=place, is_gone=True))
        self.tally.counts["withdrawn"] += 1

    def _refuse(self, table: Table, text: str, error: PoisonEvent) -> None:
        """A dead letter, once for what the row says."""
        self.tally.counts["refused"] += 1
        reason = without_texts(str(error))
        if reason not in self.tally.reasons and len(self.tally.reasons) < LETTERS_SAID:
            self.tally.reasons.append(reason)
        if self._memory.is_refused(table.name, self._keys.pseudonym(self._name, _digest(text)).encode()):
            return
        column = error.field if isinstance(error, ContractBroken) else ""
        self._letters.send(
            table.event,
            text.encode("utf-8", "replace"),
            error=error,
            origin={"pipeline": self._name, "resource": table.name, "column": column},
            whose=self._whose(text),
        )
        self._this.published += 1

    def _whose(self, text: str) -> str | None:
        said = values.read(text).get("customer_id")
        return self._keys.customer(self._name, str(said)) if isinstance(said, str | int) else None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _of_product(record: Mapping[str, Any], digest: bytes, known: Known | None) -> dict[str, Any]:
    """What a product's row need not say: a name of its content, and its price before, in the same currency."""
    last = values.read(known.head["row"]) if known else {}
    is_same = last.get("currency") == record["currency"]
    before = Decimal(last["price"]) if is_same else None
    return {
        "content_hash": record["content_hash"] or digest.hex(),
        "previous_price": before if record["previous_price"] is None else record["previous_price"],
    }


def _next(known: Known | None, place: Place) -> int:
    """The version of a row's next state."""
    return max(place.read_ms, known.version + 1 if known else 0)
