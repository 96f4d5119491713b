"""What is known of connected shops' orders: what was published of each, what was refused, how far each shop was read.

What there is beside orders has its tables in the same file (resource_memory.py).

One SQLite file, written by one thread. It is the cursor as well: what is not in it is not sure to be on the log. What
is written is visible to the writer at once, and kept from ``commit`` on, after Kafka acknowledged all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from sqlite3 import Connection
from typing import Final, NamedTuple

from producers import state
from producers.connect.cancellations import KnownCancellation
from producers.connect.fees import KnownFee
from producers.connect.orders import VOID
from producers.connect.resource_memory import ResourceMemory, progress_of
from producers.connect.resources import RESOURCES, Resource

FILE: Final = "connected-orders.sqlite"
SCHEMA: Final = """
create table if not exists order_states (
    shop text, order_id text, modified_ms integer not null, version integer not null, digest blob not null,
    head text not null, created_ms integer not null, refunds text not null, paid_ms integer,
    primary key (shop, order_id)) without rowid;
create table if not exists refused (
    shop text, what text, reason text not null,
    primary key (shop, what)) without rowid;
create table if not exists wanted (
    shop text, order_id text, head text not null, version integer not null,
    primary key (shop, order_id)) without rowid;
create table if not exists named (
    shop text, order_id text, version integer not null,
    primary key (shop, order_id)) without rowid;
create table if not exists positions (
    shop text primary key, history_ms integer, is_history_done integer not null default 0, changes_ms integer)
    without rowid;
create table if not exists awaiting (
    shop text, order_id text, day text not null, primary key (shop, order_id)) without rowid;
create table if not exists order_fees (
    shop text, order_id text, fees text not null, primary key (shop, order_id)) without rowid;
create table if not exists cancellations (
    shop text, order_id text, said text not null, primary key (shop, order_id)) without rowid;
create table if not exists read_again (shop text primary key, number integer not null) without rowid;
"""
UNKNOWN: Final = b"unknown"
PAGES_AHEAD: Final = 16_384  # 64 MiB


class KnownRefund(NamedTuple):
    """A refund on the log: when it was made, its newest version there, and whether that says that it was deleted.

    One that is doubted is published again when the shop has it, and as deleted when it has not; one that says another
    time of its order's payment (None: not paid) than the order does is published again too.
    """

    at_ms: int
    version: int
    is_deleted: bool = False
    is_doubted: bool = False
    paid_ms: int | None = None


def refunds_of(text: str) -> dict[str, KnownRefund]:
    """An order's refunds by id, as the file has them."""
    return {refund_id: KnownRefund(*refund) for refund_id, refund in json.loads(text).items()}


class Known(NamedTuple):
    """An order that was seen: its newest state, the version that this has on the log, and its refunds there by id.

    ``version`` is 0 while no state of it was published, and ``head`` is empty then. ``paid_ms`` is when that state says
    that it was paid in full.
    """

    modified_ms: int
    version: int
    digest: bytes
    head: dict[str, str]
    created_ms: int
    refunds: Mapping[str, KnownRefund]
    paid_ms: int | None = None

    @property
    def refund_ids(self) -> frozenset[str]:
        """The refunds that count."""
        return frozenset(refund_id for refund_id, refund in self.refunds.items() if not refund.is_deleted)

    @property
    def sure_refund_ids(self) -> frozenset[str]:
        """Those of them that nobody doubts, and that know when the order was paid."""
        refunds = ((refund_id, self.refunds[refund_id]) for refund_id in self.refund_ids)
        return frozenset(i for i, refund in refunds if not refund.is_doubted and refund.paid_ms == self.paid_ms)

    def with_refund(self, refund_id: str, refund: KnownRefund) -> Known:
        """With this as the newest of a refund."""
        return self._replace(refunds={**self.refunds, refund_id: refund})

    def next_version(self, modified_ms: int) -> int:
        """Of a state that was changed then: above all that are on the log."""
        return max(modified_ms, self.version + 1)


class Wanted(NamedTuple):
    """An order with refunds that are still to be read. ``version`` grows with each new refund."""

    order_id: str
    head: dict[str, str]
    version: int


class Named(NamedTuple):
    """An order that a webhook named, and that is still to be read. ``version`` grows when it is named again."""

    order_id: str
    version: int


class Position(NamedTuple):
    """How far a shop was read: its history by the time of placing, then its changes by the time of changing."""

    history_ms: int | None
    is_history_done: bool
    changes_ms: int | None


class Memory:
    """Of the thread that made it only."""

    def __init__(self, path: Path, currency: str | None = None) -> None:
        self._database = state.opened(path)
        self._database.execute("pragma synchronous=normal")  # a lost last commit only publishes some events again
        # Who follows shops checkpoints beside the writer (state.checkpoint), well before it would have to itself.
        self._database.execute(f"pragma wal_autocheckpoint={PAGES_AHEAD}")
        self._database.executescript(SCHEMA)
        _learn_payments(self._database)
        self.resources = ResourceMemory(self._database, self._begin, currency)

    def order(self, shop: str, order_id: str) -> Known | None:
        """What is known of an order; None when it was never seen."""
        row = self._database.execute(
            "select modified_ms, version, digest, head, created_ms, refunds, paid_ms from order_states"
            " where shop = ? and order_id = ?",
            (shop, order_id),
        ).fetchone()
        if row is None:
            return None
        modified_ms, version, digest, head, created_ms, refunds, paid_ms = row
        return Known(modified_ms, version, digest, json.loads(head), created_ms, refunds_of(refunds), paid_ms)

    def keep(self, shop: str, order_id: str, known: Known) -> None:
        """An order's event, or a refund's, is being published; or a newer state of the order was seen."""
        self._begin()
        head, refunds = json.dumps(known.head), json.dumps(known.refunds)
        values = (known.modified_ms, known.version, known.digest, head, known.created_ms, refunds, known.paid_ms)
        self._database.execute(
            "insert or replace into order_states values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (shop, order_id, *values)
        )

    def doubt(self, shop: str, order_id: str, *, order: bool, refunds: bool) -> None:
        """Forget what was published of an order: the state, the refunds, or both. The next answer is published."""
        known = self.order(shop, order_id)
        if known is None or not known.version:
            return
        if order:
            known = known._replace(modified_ms=0, digest=UNKNOWN)
        if refunds:
            known = known._replace(
                refunds={refund_id: refund._replace(is_doubted=True) for refund_id, refund in known.refunds.items()}
            )
        self.keep(shop, order_id, known)

    def refuse(self, shop: str, what: str, reason: str) -> bool:
        """Whether this is news: the same was not refused for the same reason before."""
        row = self._database.execute("select reason from refused where shop = ? and what = ?", (shop, what)).fetchone()
        if row is not None and row[0] == reason:
            return False
        self._begin()
        self._database.execute("insert or replace into refused values (?, ?, ?)", (shop, what, reason))
        return True

    def await_rate(self, shop: str, order_id: str, day: date) -> None:
        """An order of that day waits for a rate that is not known yet."""
        self._begin()
        values = (shop, order_id, day.isoformat())
        self._database.execute("insert or replace into awaiting values (?, ?, ?)", values)

    def name_awaiting(self, shop: str, until: date) -> None:
        """Orders up to that day wait no more, and are to be read. What they were refused for is news again."""
        asked = (shop, until.isoformat())
        rows = self._database.execute("select order_id from awaiting where shop = ? and day <= ?", asked).fetchall()
        for (order_id,) in rows:
            self.name(shop, order_id)
            self._database.execute("delete from awaiting where shop = ? and order_id = ?", (shop, order_id))
            self._database.execute("delete from refused where shop = ? and what = ?", (shop, f"order:{order_id}"))

    def fees(self, shop: str, order_id: str) -> dict[str, KnownFee]:
        """What is on the log of an order's payment fees, by id."""
        asked = (shop, order_id)
        row = self._database.execute("select fees from order_fees where shop = ? and order_id = ?", asked).fetchone()
        return {fee_id: KnownFee(*fee) for fee_id, fee in json.loads(row[0]).items()} if row else {}

    def keep_fees(self, shop: str, order_id: str, fees: Mapping[str, KnownFee]) -> None:
        """An event of one of them is being published."""
        self._begin()
        values = (shop, order_id, json.dumps(dict(fees)))
        self._database.execute("insert or replace into order_fees values (?, ?, ?)", values)

    def cancellation(self, shop: str, order_id: str) -> KnownCancellation | None:
        """What is on the log of an order's newest cancellation."""
        asked = (shop, order_id)
        row = self._database.execute("select said from cancellations where shop = ? and order_id = ?", asked).fetchone()
        return KnownCancellation(*json.loads(row[0])) if row else None

    def keep_cancellation(self, shop: str, order_id: str, said: KnownCancellation) -> None:
        """An event of it is being published."""
        self._begin()
        self._database.execute(
            "insert or replace into cancellations values (?, ?, ?)", (shop, order_id, json.dumps(said))
        )

    def want_refunds(self, shop: str, order_id: str, head: Mapping[str, str]) -> None:
        """An order has refunds that are not read yet."""
        self._begin()
        self._database.execute(
            "insert into wanted values (?, ?, ?, 1) on conflict (shop, order_id) do update set version = version + 1",
            (shop, order_id, json.dumps(dict(head))),
        )

    def has_wanted(self, shop: str) -> bool:
        """Whether the shop has any such order."""
        return self._database.execute("select 1 from wanted where shop = ? limit 1", (shop,)).fetchone() is not None

    def wanted(self, shop: str) -> list[Wanted]:
        """The shop's orders with such refunds."""
        rows = self._database.execute("select order_id, head, version from wanted where shop = ?", (shop,))
        return [Wanted(order_id, json.loads(head), version) for order_id, head, version in rows]

    def done(self, shop: str, wanted: Wanted) -> None:
        """The refunds that there were at this version are read."""
        self._begin()
        self._database.execute(
            "delete from wanted where shop = ? and order_id = ? and version = ?",
            (shop, wanted.order_id, wanted.version),
        )

    def name(self, shop: str, order_id: str) -> None:
        """Record that an order changed and must be read."""
        self._begin()
        self._database.execute(
            "insert into named values (?, ?, 1) on conflict (shop, order_id) do update set version = version + 1",
            (shop, order_id),
        )

    def named(self, shop: str, most: int) -> list[Named]:
        """Some of the shop's orders that are to be read."""
        rows = self._database.execute("select order_id, version from named where shop = ? limit ?", (shop, most))
        return [Named(*row) for row in rows]

    def read(self, shop: str, named: Named) -> None:
        """The order was read as it was at this version."""
        self._begin()
        self._database.execute("delete from named where shop = ? and order_id = ? and version = ?", (shop, *named))

    def position(self, shop: str) -> Position:
        """How far the shop is read."""
        row = self._database.execute(
            "select history_ms, is_history_done, changes_ms from positions where shop = ?", (shop,)
        ).fetchone()
        return Position(row[0], bool(row[1]), row[2]) if row else Position(None, False, None)

    def move(self, shop: str, position: Position) -> None:
        """The shop is read as far as this."""
        self._begin()
        self._database.execute("insert or replace into positions values (?, ?, ?, ?)", (shop, *position))

    def read_again(self, shop: str) -> int:
        """Up to which request (rereads.py) the shop's orders were read again."""
        row = self._database.execute("select number from read_again where shop = ?", (shop,)).fetchone()
        return int(row[0]) if row else 0

    def note_read_again(self, shop: str, number: int) -> None:
        """They were, up to this one."""
        self._begin()
        self._database.execute("insert or replace into read_again values (?, ?)", (shop, number))

    def commit(self) -> None:
        """All that was written is on the log."""
        if self._database.in_transaction:
            self._database.execute("commit")

    def close(self) -> None:
        """Close the file; uncommitted changes are lost."""
        self._database.close()

    def _begin(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("begin")


def _learn_payments(database: Connection) -> None:
    """In a file of a release whose refunds did not say when their orders were paid, those are to be read again."""
    columns = [name for _, name, *_ in database.execute("pragma table_info(order_states)")]
    if "paid_ms" in columns:
        return
    database.execute("begin immediate")
    database.execute("alter table order_states add column paid_ms integer")
    database.execute(
        "insert or ignore into named select shop, order_id, 1 from order_states where refunds <> '{}'"
        " union select shop, order_id, 1 from wanted"
    )
    database.execute("commit")


class Progress(NamedTuple):
    """How far a shop is, for people: events published of it, refusals, and whether its history is read.

    ``resources`` has, of what there is beside orders, how many, and why they are not read, if so.
    """

    orders: int
    refunds: int
    refused: int
    is_history_done: bool
    resources: Mapping[Resource, tuple[int, str]]

    def count(self, resource: Resource) -> int:
        """How many there are."""
        return self.resources.get(resource, (0, ""))[0]


def histories_read(folder: Path) -> set[str]:
    """Names of the shops whose history was read to its end."""
    rows = state.rows(folder / FILE, "positions", "select shop from positions where is_history_done")
    return {shop for (shop,) in rows}


def progress(folder: Path, shop: str) -> Progress:
    """What the memory in ``folder`` knows of a shop; nothing when there is none yet."""
    database = state.to_read(folder / FILE, "positions")
    if database is None:
        return Progress(0, 0, 0, False, {})
    try:
        orders, refunds = database.execute(
            "select count(*), coalesce(sum((select count(*) from json_each(refunds)"
            " where not json_extract(value, '$[2]'))), 0) from order_states where shop = ? and digest <> ?",
            (shop, VOID),
        ).fetchone()
        (refused,) = database.execute("select count(*) from refused where shop = ?", (shop,)).fetchone()
        beside = {resource: progress_of(database, shop, resource) for resource in RESOURCES}
        done = database.execute("select is_history_done from positions where shop = ?", (shop,)).fetchone()
    finally:
        database.close()
    return Progress(orders, refunds, refused, bool(done and done[0]), beside)
