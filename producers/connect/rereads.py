"""Orders that somebody wants read again, whatever is known of them: asked for by the command line, read by the daemon.

Each side writes a file of its own. The daemon notes in its memory up to which request it has come, together with what
it published: a request that it was killed over is there when it starts again, and nobody else publishes.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from producers import state
from producers.connect import memory

FILE: Final = "rereads.sqlite"
SCHEMA: Final = """
create table if not exists rereads (
    number integer primary key autoincrement, shop text not null, order_id text not null,
    doubts_order integer not null, doubts_refunds integer not null)
"""


class Doubt(NamedTuple):
    """An order, and whether what was published of its state, and of its refunds, is to be published again."""

    order_id: str
    order: bool
    refunds: bool


class Request(NamedTuple):
    """A doubt with its number; they grow."""

    number: int
    doubt: Doubt


def ask(folder: Path, shop: str, doubts: Iterable[Doubt]) -> int:
    """Ask for orders of a shop; the last request's number. What was read before is tidied away."""
    done = read_until(folder, shop)
    with closing(state.opened(folder / FILE)) as database:
        database.execute(SCHEMA)
        database.execute("begin immediate")
        database.execute("delete from rereads where shop = ? and number <= ?", (shop, done))
        rows = [(shop, *doubt) for doubt in doubts]
        database.executemany(
            "insert into rereads (shop, order_id, doubts_order, doubts_refunds) values (?, ?, ?, ?)", rows
        )
        (number,) = database.execute("select coalesce(max(number), 0) from rereads where shop = ?", (shop,)).fetchone()
        database.execute("commit")
    return int(number)


def asked(folder: Path, shop: str, after: int) -> list[Request]:
    """The requests for a shop's orders after that number, the oldest first."""
    query = (
        "select number, order_id, doubts_order, doubts_refunds from rereads"
        " where shop = ? and number > ? order by number"
    )
    rows = state.rows(folder / FILE, "rereads", query, (shop, after))
    return [Request(number, Doubt(order_id, bool(order), bool(refunds))) for number, order_id, order, refunds in rows]


def waiting(folder: Path, shop: str) -> frozenset[str]:
    """Orders of a shop that will be read again whole, and were not yet."""
    requests = asked(folder, shop, read_until(folder, shop))
    return frozenset(each.doubt.order_id for each in requests if each.doubt.order and each.doubt.refunds)


def newest(folder: Path) -> dict[str, int]:
    """The last request's number by shop."""
    return dict(state.rows(folder / FILE, "rereads", "select shop, max(number) from rereads group by shop"))


def read_until(folder: Path, shop: str) -> int:
    """The last request whose orders were read again and are on the log."""
    query = "select number from read_again where shop = ?"
    found = state.rows(folder / memory.FILE, "read_again", query, (shop,))
    return int(found[0][0]) if found else 0
