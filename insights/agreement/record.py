"""Records the results of comparisons in Postgres: for the page, the alerts, and to know which shop is due."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from insights.agreement.compare import Comparison
from producers.connect.agreement import Agreement, Difference, Sold
from warehouse.postgres import Connection

EVERY: Final = timedelta(days=1)
KEPT: Final = timedelta(days=90)
ERROR_CHARACTERS: Final = 800
FORGET_OTHERS: Final = (
    "delete from ops.agreement_runs where not shop = any(%s)",
    "delete from ops.agreement_days where not shop = any(%s)",
    "delete from ops.agreement_orders where not shop = any(%s)",
    "delete from ops.connected_shops where not shop = any(%s)",
)
RUN: Final = """
insert into ops.agreement_runs (shop, compared_at, since, orders, different, pending, unread, result, error)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def note_shops(postgres: Connection, shops: Mapping[str, str]) -> None:
    """These are the connected shops now, each with its address. What is known of others goes."""
    for statement in FORGET_OTHERS:
        postgres.execute(statement, (list(shops),))
    for shop, url in shops.items():
        postgres.execute(
            "insert into ops.connected_shops (shop, url) values (%s, %s) on conflict (shop) do update"
            " set url = excluded.url",
            (shop, url),
        )


def note(postgres: Connection, done: Comparison) -> None:
    """Write a comparison down, in the caller's transaction: its days and orders replace those of the one before."""
    found = done.agreement
    # Two comparisons may end at once: the second replaces what the first has written.
    postgres.execute("select pg_advisory_xact_lock(hashtextextended('insights.agreement', 0))")
    counts = (found.orders, len(found.different), len(found.pending), len(found.unread), found.result)
    postgres.execute(RUN, (done.shop, done.at, done.first_day, *counts, None))
    postgres.execute("delete from ops.agreement_days where shop = %s", (done.shop,))
    postgres.execute("delete from ops.agreement_orders where shop = %s", (done.shop,))
    with postgres.cursor() as cursor:
        with cursor.copy("copy ops.agreement_days (shop, day, measure, in_shop, here) from stdin") as copy:
            for day, (there, here) in found.days().items():
                ours = here.by_name()
                for measure, total in there.by_name().items():
                    copy.write_row((done.shop, day, measure, total, ours[measure]))
        statement = "copy ops.agreement_orders (shop, order_id, state, differs, day, in_shop, here, known) from stdin"
        with cursor.copy(statement) as copy:
            for row in _orders(found):
                copy.write_row((done.shop, *row))
    _tidy(postgres, done.shop, done.at)


def note_failure(postgres: Connection, shop: str, at: datetime, error: str) -> None:
    """Write down that a shop could not be compared. What the last comparison found stays."""
    said = " ".join(error.split())[:ERROR_CHARACTERS]
    postgres.execute(RUN, (shop, at, None, None, None, None, None, "failed", said))
    _tidy(postgres, shop, at)


def is_due(postgres: Connection, shop: str, now: datetime) -> bool:
    """Whether the shop was not compared for a day; a comparison that failed is none."""
    row = postgres.execute(
        "select max(compared_at) from ops.agreement_runs where shop = %s and result <> 'failed'", (shop,)
    ).fetchone()
    return row is None or row[0] is None or now - row[0] >= EVERY


def _tidy(postgres: Connection, shop: str, at: datetime) -> None:
    postgres.execute("delete from ops.agreement_runs where shop = %s and compared_at < %s", (shop, at - KEPT))


def _orders(found: Agreement) -> Iterable[tuple[object, ...]]:
    for one in found.differences:
        sides = (_json(one.there), _json(one.here))
        yield one.order_id, "pending" if one.is_pending else "different", one.what, _day(one), *sides, one.why
    for order_id, reason in found.unread.items():
        yield order_id, "unread", "the shop's answer can't be read", None, None, None, reason


def _day(one: Difference) -> object:
    side = one.there or one.here
    return side.day if side else None


def _json(side: Sold | None) -> str | None:
    return json.dumps(side._asdict(), default=str) if side else None
