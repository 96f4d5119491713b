"""From rows as they stand now to events: what is new in a row, and what a row that is gone withdraws.

A row has the key that its resource calls primary. It is published when it is new or says something else than before.
Its event's id, and its version, are made of its key, the time of its reading and what is known of it, so rows that are
taken again after a kill make the same events.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from producers import withdrawn
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.pipelines import values
from producers.pipelines.memory import Known, Leaving, Memory, Place
from producers.runner import Run
from producers.shop.identifiers import digest_of, envelope
from schemas.binary import EPOCH, MILLISECOND, since_epoch
from schemas.catalogue import Event, event
from schemas.errors import ContractBroken, Interrupted, PoisonEvent
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
TOGETHER: Final = 500  # rows for which Kafka is waited for once
FALSE, TRUE = ("false", "f", "no", "n"), ("true", "t", "yes", "y")
ZERO, ONE = re.compile(r"0+(\.0*)?(e[+-]?\d+)?"), re.compile(r"0*1(\.0*)?")  # also in hexadecimal: a bit of MySQL's
ODD: Final = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)  # nobody's fault but the row's


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A resource's rows as events.

    Attributes:
        name: of the resource's table.
        event: what a row of it is.
        key: the columns of its primary key.
        deleted: columns that say that the row is gone, and whether they say so by true or false alone; else also by
            any value, such as a time.
        is_whole: every reading reads all rows: one that is missing is gone.
    """

    name: str
    event: Event
    key: tuple[str, ...]
    deleted: Mapping[str, bool] = field(default_factory=dict)
    is_whole: bool = False


@dataclass(slots=True)
class Tally:
    """What became of a reading's rows, by word: published, unchanged, withdrawn, refused, undeletable, doubted, gone.

    What is gone was deleted before it was published, or is still deleted.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)


class Row(NamedTuple):
    """A row as ``values.written`` wrote it; ``at_ms`` is when its reading began by the clock, in ms since 1970."""

    text: str
    place: Place
    at_ms: int


class Intake:
    """Publishes what is new in rows. Of one thread only. ``name`` is the source of the events."""

    def __init__(self, this: Run, name: str, memory: Memory, keys: PersonKeys) -> None:
        self._this = this
        self._name = name
        self._memory = memory
        self._keys = keys
        self._letters = Letters(this.publisher, keys, this.clock)
        self._columns: dict[str, set[str]] = {}
        self._twice: set[str] = set()
        self.tally = Tally()

    def take(self, table: Table, rows: Iterable[Row]) -> None:
        """Publish rows. Blocks until Kafka has all of them.

        Raises Interrupted once a stop is requested, when Kafka has those before. Raises DeliveryFailed or
        BrokerUnavailable: then nothing is noted, and the rows have to be taken again.
        """
        with self._together():
            for row in rows:
                if self._this.stop.requested:
                    break
                self._take(table, row)
            else:
                return
        raise Interrupted("asked to stop")

    def withdraw_unseen(self, table: Table, read_ms: int, at_ms: int) -> None:
        """All of the resource's rows were read from ``read_ms`` on: what was not among them is gone.

        When that is much of what there was, only what has been missing for a day is. Raises as ``take``.
        """
        unseen, there = self._memory.unseen(table.name, read_ms), self._memory.count(table.name)
        if unseen and self._memory.has_unknown(table.name, read_ms):
            self.tally.counts["doubted"] += len(unseen)
            self._this.log.warning(
                "nothing that is missing is withdrawn: a row was refused and has no key, so it may be any of them",
                resource=table.name,
                missing=len(unseen),
            )
            return
        self._memory.note_missing(table.name, unseen, at_ms)
        if len(unseen) > MANY_GONE and len(unseen) > MANY_GONE_SHARE * there:
            sure = self._memory.missing(table.name, at_ms - DOUBTED_MS)
            if doubted := len(unseen) - len(sure):
                self.tally.counts["doubted"] += doubted
                self._this.log.warning(
                    "many rows are missing: they are withdrawn if they still are in a day",
                    resource=table.name,
                    missing=doubted,
                    known=there,
                )
            unseen = sure
        self._memory.note_leaving(table.name, unseen, read_ms, at_ms)
        self._memory.commit()
        self.withdraw_leaving(table)

    def withdraw_doubted(self, table: Table, read_ms: int, at_ms: int) -> None:
        """Withdraw what has been missing for a day, where not every reading reads all. Raises as ``take``."""
        self._memory.note_leaving(table.name, self._memory.missing(table.name, at_ms - DOUBTED_MS), read_ms, at_ms)
        self._memory.commit()
        self.withdraw_leaving(table)

    def withdraw_leaving(self, table: Table) -> None:
        """Withdraw what was found to be gone, now or before a kill. Raises as ``take``."""
        while not self._this.stop.requested and (leaving := self._memory.leaving(table.name, TOGETHER)):
            with self._together():
                for each in leaving:
                    if not self._this.stop.requested:
                        self._leave(table, each)

    def end(self, tables: Iterable[Table]) -> None:
        """The reading is at its end: say where the columns are others than before."""
        for table in tables:
            names, before = self._columns.get(table.name, set()), self._memory.columns(table.name)
            if not names or names == before:
                continue
            if before is not None:
                added, gone = sorted(names - before), sorted(before - names)
                self._this.log.warning("the columns have changed", resource=table.name, added=added, gone=gone)
            self._memory.note_columns(table.name, names)
        self._memory.commit()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What is noted in it counts when Kafka has all of it."""
        try:
            yield
            self._this.publisher.flush()
        except BaseException:
            self._memory.forget()
            raise
        self._memory.commit()

    def _take(self, table: Table, taken: Row) -> None:
        row: values.Row = {}
        key = ""
        try:
            row = values.read(taken.text)
            if len(row) > len({*table.key, *table.deleted}):  # more than the name of a deleted row
                self._columns.setdefault(table.name, set()).update(row)
            key = self._key(table, row)
            known = self._memory.known(table.name, key)
            if known is not None and known.place >= taken.place:
                return  # taken before a kill
            if _is_deleted(table, row):
                self._delete(table, key, known, taken)
            else:
                self._publish(table, key, row, known, taken)
        except (PoisonEvent, *ODD) as error:
            self._refuse(table, row or {"": taken.text}, error)
            self._note_refused(table, key, taken.place)

    def _note_refused(self, table: Table, key: str, place: Place) -> None:
        """The source has the row, whatever it says."""
        if not key:
            self._memory.note_unknown(table.name, place.read_ms)
        elif (known := self._memory.known(table.name, key)) is not None:
            self._memory.note(table.name, key, known._replace(place=place))

    def _leave(self, table: Table, leaving: Leaving) -> None:
        known = self._memory.known(table.name, leaving.key)
        if known is not None and not known.is_gone:
            try:
                self._withdraw(table, leaving.key, known, Row("", Place(leaving.read_ms, LAST), leaving.at_ms))
            except (PoisonEvent, *ODD) as error:
                said = values.read(known.head["row"]) if "row" in known.head else known.head
                self._refuse(table, {**said, "is_gone": True}, error)
        self._memory.left(table.name, leaving.key)

    def _delete(self, table: Table, key: str, known: Known | None, taken: Row) -> None:
        if known is None or known.is_gone:
            self.tally.counts["gone"] += 1
        else:
            self._withdraw(table, key, known, taken)

    def _key(self, table: Table, row: values.Row) -> str:
        """A digest of the row's primary key, under the source's own key where a person may be named by it.

        Raises PoisonEvent without one.
        """
        for column in table.key:
            if row.get(column) is None or row[column] == values.Inexact("NaN"):
                raise PoisonEvent(f"the row has no {column}, which is its primary key")
        digest = _digest(json.dumps([str(row[column]) for column in table.key]))
        return digest if table.event is STOCK_MOVED else self._keys.pseudonym(self._name, digest)

    def _publish(self, table: Table, key: str, row: values.Row, known: Known | None, taken: Row) -> None:
        place = taken.place
        record = self._record(table, row, known)
        digest = digest_of(sorted(record.items()))
        is_same = known is not None and known.digest == digest
        if known is not None and is_same and (not known.is_gone or table.event is STOCK_MOVED):
            self._memory.note(table.name, key, known._replace(place=place, is_gone=False))
            self.tally.counts["unchanged"] += 1
            return
        self._watch_twice(table, known, place)
        if known is not None and table.event is STOCK_MOVED:
            raise PoisonEvent(
                "this stock movement was published before and is different now: it counts as it was; enter another"
                " movement that corrects it"
            )
        if table.event is PRODUCT_OBSERVED:
            record = {**record, **_of_product(record, digest, known)}
        if table.event is CUSTOMER_CHANGED:  # what changes after an erasure is somebody new's
            record["customer_id"] = self._keys.called(record["customer_id"])
            digest = digest_of(sorted(record.items()))
        at_ms = since_epoch(record["occurred_at"]) if record["occurred_at"] else taken.at_ms
        version = _next(known, place)
        is_moved = known is not None and not known.is_gone and table.event.versions and known.at_ms != at_ms
        record |= self._envelope(table, key, version + bool(is_moved), at_ms)
        if known is not None and is_moved:  # all states of an order have one time
            self._this.publisher.check(table.event, record)
            self._withdraw(table, key, known, taken)
            version += 1
        self._this.publish(table.event, record)
        self._memory.note(table.name, key, Known(digest, version, at_ms, place, False, self._head(table, record)))
        self.tally.counts["published"] += 1

    def _watch_twice(self, table: Table, known: Known | None, place: Place) -> None:
        """Say, once a reading, that two of its rows with the same key say different things."""
        if known is None or known.place.read_ms != place.read_ms or table.name in self._twice:
            return
        self._twice.add(table.name)
        self._this.log.warning(
            "two rows of one reading have the same primary key and differ: the later one counts. If the key is not"
            " unique, they are published at each reading",
            resource=table.name,
        )

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

    def _withdraw(self, table: Table, key: str, known: Known, taken: Row) -> None:
        """Publish that the row is gone, if its contract can say that."""
        place = taken.place
        version, at_ms = _next(known, place), known.at_ms
        if table.event is ORDER_PLACED:
            record = withdrawn.order(known.head)
        elif table.event is ORDER_REFUNDED:
            record = withdrawn.refund(known.head, known.head["refund_id"])
        elif table.event is PRODUCT_OBSERVED:
            at_ms = taken.at_ms
            record = values.record_of(table.event, values.read(known.head["row"]))
            record |= {"availability": "discontinued", "stock_quantity": None}
        else:
            self.tally.counts["undeletable"] += 1
            self._memory.note(table.name, key, known._replace(place=place, is_gone=True))
            return
        self._this.publish(table.event, {**record, **self._envelope(table, key, version, at_ms)})
        self._memory.note(table.name, key, known._replace(version=version, place=place, is_gone=True))
        self.tally.counts["withdrawn"] += 1

    def _refuse(self, table: Table, row: values.Row, error: Exception) -> None:
        """A dead letter, once for what the row says of the event."""
        self.tally.counts["refused"] += 1
        reason = without_texts(str(error) if isinstance(error, PoisonEvent) else f"{type(error).__name__}: {error}")
        if reason not in self.tally.reasons and len(self.tally.reasons) < LETTERS_SAID:
            self.tally.reasons.append(reason)
        fields = {each["name"] for each in table.event.schema["fields"]} | {*table.key, *table.deleted, "", "is_gone"}
        said = values.written({name: value for name, value in row.items() if name in fields})
        if self._memory.is_refused(table.name, self._keys.pseudonym(self._name, _digest(said)).encode()):
            return
        column = error.field if isinstance(error, ContractBroken) else ""
        self._letters.send(
            table.event,
            values.written(row).encode(),
            error=error,
            origin={"pipeline": self._name, "resource": table.name, "column": column},
            whose=self._whose(row),
        )
        self._this.published += 1

    def _whose(self, row: values.Row) -> str | None:
        said = row.get("customer_id")
        return self._keys.customer(self._name, str(said)) if isinstance(said, str | int) else None


def _is_deleted(table: Table, row: values.Row) -> bool:
    """Whether a column says that the row is gone. Raises PoisonEvent for one that says neither."""
    return any([_is_gone_by(column, row.get(column), is_flag) for column, is_flag in table.deleted.items()])


def _is_gone_by(column: str, value: Any, is_flag: bool) -> bool:
    said = "" if value is None else str(value).casefold()
    if value is None or said in FALSE or ZERO.fullmatch(said):
        return False
    if not said or (is_flag and said not in TRUE and not ONE.fullmatch(said)):
        raise PoisonEvent(f"{column} is {said!r}, which says neither that the row is deleted nor that it is not")
    return True


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
