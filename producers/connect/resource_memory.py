"""What is known of a shop's products and customers, and the events that may not be on the log yet: those about them,
and those of its orders that wait for the end of their history.

Tables of the connected shops' memory (memory.py). Stock is published as moves from the level that is on the log, so an
event must not be made twice: it is kept here, with what is known after it, before it is published, and removed when
Kafka has it. A kill in between publishes the same event again, under the same id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from producers.connect.resources import CUSTOMER_CHANGED, PRODUCT_OBSERVED, STOCK_MOVED, Record, Resource
from producers.shop.occurrences import COST_STATED, FEE_CHARGED, ORDER_CANCELLED
from schemas.binary import since_epoch
from schemas.catalogue import Event
from schemas.codec import Decoder, Encoder
from schemas.errors import PoisonEvent

# A new one at the end.
EVENTS: Final = (PRODUCT_OBSERVED, STOCK_MOVED, CUSTOMER_CHANGED, COST_STATED, FEE_CHARGED, ORDER_CANCELLED)
SCHEMA: Final = """
create table if not exists resources (
    shop text, resource text, number text, state text not null, is_gone integer not null, sweep integer not null,
    primary key (shop, resource, number)) without rowid;
create table if not exists named_resources (
    shop text, resource text, number text, version integer not null,
    primary key (shop, resource, number)) without rowid;
create table if not exists resource_positions (
    shop text, resource text, changes_ms integer, sweep integer not null, sweep_ms integer, swept_ms integer,
    problem text not null, primary key (shop, resource)) without rowid;
create table if not exists unsent (place integer primary key autoincrement, value blob not null);
create table if not exists aside (
    place integer primary key autoincrement, shop text not null, at_ms integer not null, value blob not null);
"""


class ResourcePosition(NamedTuple):
    """How far a shop's products, or customers, are read, in milliseconds from 1970.

    Attributes:
        changes_ms: up to which time of changing; None before the first reading.
        sweep: the number of the last complete reading, the one under way included.
        sweep_ms: how far the one under way is; None when there is none.
        swept_ms: when the last one began.
        problem: why they are not read, for people; empty when they are.
    """

    changes_ms: int | None = None
    sweep: int = 0
    sweep_ms: int | None = None
    swept_ms: int | None = None
    problem: str = ""


class NamedResource(NamedTuple):
    """A product or customer to read. ``version`` grows when it is named again."""

    number: str
    version: int


class ResourceMemory:
    """Of the memory's thread only; ``begin`` begins a transaction where there is none."""

    def __init__(self, database: sqlite3.Connection, begin: Callable[[], None], currency: str | None = None) -> None:
        self._database = database
        self._begin = begin
        database.executescript(SCHEMA)
        self._encoders = {event.name: Encoder(event, i, currency) for i, event in enumerate(EVENTS)}
        self._decoder = Decoder(_Contracts())

    def state(self, shop: str, resource: Resource, number: str) -> str | None:
        """What is known of one, as it was kept; None when it was never seen."""
        row = self._database.execute(
            "select state from resources where shop = ? and resource = ? and number = ?", (shop, resource, number)
        ).fetchone()
        return row[0] if row else None

    def keep(
        self, shop: str, resource: Resource, number: str, state: str, records: Iterable[Record], *, is_gone: bool
    ) -> None:
        """Store a resource's new state, and the events that lead to it. Raises ContractBroken or EventTooLarge."""
        values = [(self._encoders[event.name].encode(record),) for event, record in records]
        self._begin()
        self._database.executemany("insert into unsent (value) values (?)", values)
        sweep = self.position(shop, resource).sweep
        row = (shop, resource, number, state, is_gone, sweep)
        self._database.execute("insert or replace into resources values (?, ?, ?, ?, ?, ?)", row)

    def set_aside(self, shop: str, event: Event, record: dict[str, Any]) -> None:
        """Store an event that waits for ``release``. Raises ContractBroken or EventTooLarge."""
        value = self._encoders[event.name].encode(record)
        self._begin()
        values = (shop, since_epoch(record["occurred_at"]), value)
        self._database.execute("insert into aside (shop, at_ms, value) values (?, ?, ?)", values)

    def release(self, shop: str) -> None:
        """The shop's events that wait are to be published, in the order of their time."""
        self._begin()
        self._database.execute(
            "insert into unsent (value) select value from aside where shop = ? order by at_ms, place", (shop,)
        )
        self._database.execute("delete from aside where shop = ?", (shop,))

    def unsent(self, most: int) -> list[tuple[int, bytes]]:
        """The first of the events that may not be on the log, in order, as they are stored, each with its place."""
        return self._database.execute("select place, value from unsent order by place limit ?", (most,)).fetchall()

    def event_of(self, value: bytes) -> Event:
        """The contract of a stored event; the first one where it says none."""
        index = int.from_bytes(value[1:5], "big")
        return EVENTS[index if index < len(EVENTS) else 0]

    def record_of(self, value: bytes) -> dict[str, Any]:
        """A stored event's record. Raises PoisonEvent when it is not of its contract (any more)."""
        return self._decoder.decode(value)[1]

    def bring_to_disk(self) -> None:
        """Blocks until commits are safe from a power failure, too: a lost commit would move stock twice."""
        self._database.execute("pragma wal_checkpoint(passive)")

    def sent(self, until: int) -> None:
        """Those up to this place are on the log."""
        self._begin()
        self._database.execute("delete from unsent where place <= ?", (until,))

    def name(self, shop: str, resource: Resource, numbers: Iterable[str]) -> None:
        """Something became of these, which are to be read."""
        self._begin()
        self._database.executemany(
            "insert into named_resources values (?, ?, ?, 1)"
            " on conflict (shop, resource, number) do update set version = version + 1",
            [(shop, resource, number) for number in numbers],
        )

    def named(self, shop: str, resource: Resource, most: int) -> list[NamedResource]:
        """Some of those that are to be read."""
        rows = self._database.execute(
            "select number, version from named_resources where shop = ? and resource = ? limit ?",
            (shop, resource, most),
        )
        return [NamedResource(*row) for row in rows]

    def read(self, shop: str, resource: Resource, named: Iterable[NamedResource]) -> None:
        """They were read as they were at these versions."""
        self._begin()
        self._database.executemany(
            "delete from named_resources where shop = ? and resource = ? and number = ? and version = ?",
            [(shop, resource, *each) for each in named],
        )

    def name_unseen(self, shop: str, resource: Resource, sweep: int) -> None:
        """Those that a complete reading did not list are to be read, each by itself: they may be gone."""
        rows = self._database.execute(
            "select number from resources where shop = ? and resource = ? and sweep < ? and not is_gone",
            (shop, resource, sweep),
        ).fetchall()
        self.name(shop, resource, [number for (number,) in rows])

    def position(self, shop: str, resource: Resource) -> ResourcePosition:
        """How far they are read."""
        row = self._database.execute(
            "select changes_ms, sweep, sweep_ms, swept_ms, problem from resource_positions"
            " where shop = ? and resource = ?",
            (shop, resource),
        ).fetchone()
        return ResourcePosition(*row) if row else ResourcePosition()

    def move(self, shop: str, resource: Resource, position: ResourcePosition) -> None:
        """They are read as far as this."""
        self._begin()
        row = (shop, resource, *position)
        self._database.execute("insert or replace into resource_positions values (?, ?, ?, ?, ?, ?, ?)", row)


class _Contracts:
    """By their places in EVENTS."""

    def schema_text(self, schema_id: int) -> str:
        if schema_id >= len(EVENTS):
            raise PoisonEvent(f"it is of contract {schema_id}, which this version does not store")
        return EVENTS[schema_id].schema_text


def progress_of(database: Any, shop: str, resource: Resource) -> tuple[int, str]:
    """How many of a shop's are there, and why they are not read, if so."""
    known = "select 1 from sqlite_master where type = 'table' and name = 'resources'"
    if database.execute(known).fetchone() is None:
        return 0, ""
    counted = "select count(*) from resources where shop = ? and resource = ? and not is_gone"
    (count,) = database.execute(counted, (shop, resource)).fetchone()
    said = "select problem from resource_positions where shop = ? and resource = ?"
    row = database.execute(said, (shop, resource)).fetchone()
    return count, row[0] if row else ""
