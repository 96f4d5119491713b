"""The expected results, computed independently by the source that published the events.

The pipeline never reads it; tests compare the tables with it. It knows the aggregates by their meaning, not by their
SQL, and adds only integers: cents and milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from producers import state
from schemas.binary import EPOCH, MILLISECOND
from schemas.catalogue import Event

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
KEPT_DAYS: Final = 100

Row = list[Any]
Answers = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]
"""{aggregate: {key: measures}}, both in the order of the table's columns; times are aware, money is Decimal."""

SCHEMA: Final = """
begin immediate;
create table if not exists sales (
    minute_ms integer, region text, category text,
    orders integer, units integer, gross_cents integer, discount_cents integer,
    primary key (minute_ms, region, category)) without rowid;
create table if not exists first_lines (
    day_ms integer, region text, category text,
    orders integer,
    primary key (day_ms, region, category)) without rowid;
create table if not exists refunds (
    day_ms integer, region text, category text,
    refunds integer, units integer, amount_cents integer,
    primary key (day_ms, region, category)) without rowid;
create table if not exists paid_back (
    day_ms integer, region text,
    refunds integer, goods_cents integer, amount_cents integer,
    primary key (day_ms, region)) without rowid;
create table if not exists activity (
    hour_ms integer, product_id text,
    views integer, carts integer, units integer, revenue_cents integer,
    primary key (hour_ms, product_id)) without rowid;
create table if not exists buyers (
    day_ms integer, customer_id text,
    orders integer, units integer, net_cents integer, first_ms integer, last_ms integer,
    primary key (day_ms, customer_id)) without rowid;
create table if not exists visits (
    hour_ms integer, session_id text,
    page_views integer, product_views integer, carts integer, checkouts integer, purchases integer,
    first_ms integer, last_ms integer, started_ms integer, user_id text, region text, campaign text,
    primary key (hour_ms, session_id)) without rowid;
create table if not exists stock (
    hour_ms integer, product_id text, warehouse text,
    sold integer, restocked integer, adjusted integer,
    primary key (hour_ms, product_id, warehouse)) without rowid;
create table if not exists published (
    topic text, day_ms integer, events integer,
    primary key (topic, day_ms)) without rowid;
commit;
"""
TABLES: Final[Mapping[str, tuple[str, int]]] = {  # name: (column of time, number of key columns)
    "sales": ("minute_ms", 3),
    "first_lines": ("day_ms", 3),
    "refunds": ("day_ms", 3),
    "paid_back": ("day_ms", 2),
    "activity": ("hour_ms", 2),
    "buyers": ("day_ms", 2),
    "visits": ("hour_ms", 2),
    "stock": ("hour_ms", 3),
    "published": ("day_ms", 2),
}
NEWEST_TABLE: Final = "paid_back"
"""Once it is there, all are. A file that is older has none, and then what came since."""
STEP_COLUMN: Final = {"page_view": 0, "product_view": 1, "add_to_cart": 2, "checkout": 3, "purchase": 4}
MOVE_COLUMN: Final = {"sale": 0, "restock": 1, "adjustment": 2}


class _Cents(dict[Decimal, int]):
    def __missing__(self, amount: Decimal) -> int:
        cents = int(amount.scaleb(2))
        if len(self) < 100_000:
            self[amount] = cents
        return cents


class AnswerKey:
    """Adds up events in memory; ``write`` adds them to a database. What was not written is as if never counted."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._cents = _Cents()
        self._upserts: dict[str, str] = {}
        database.executescript(SCHEMA)
        for table in TABLES:
            self._upserts[table] = _upsert(database, table)
        self._counters: dict[str, Callable[[int, Mapping[str, Any]], None]] = {
            "sales.order_placed": self._order,
            "sales.order_refunded": self._refund,
            "web.interaction": self._interaction,
            "inventory.stock_moved": self._move,
        }
        self._clear()

    def count(self, event: Event, at_ms: int, record: Mapping[str, Any]) -> None:
        """Count an event that is being published. ``at_ms`` is its ``occurred_at`` in milliseconds since 1970."""
        day = at_ms - at_ms % DAY_MS
        try:
            self._published[event.topic, day][0] += 1
        except KeyError:
            self._published[event.topic, day] = [1]
        if add := self._counters.get(event.name):
            add(at_ms, record)

    def write(self) -> None:
        """Add what was counted to the database, in the caller's transaction."""
        for table, rows in self._rows.items():
            if rows:
                self._database.executemany(self._upserts[table], [(*key, *row) for key, row in rows.items()])
        self._clear()

    def prune(self, now_ms: int) -> None:
        """Delete days older than KEPT_DAYS before a time, in the caller's transaction."""
        before = now_ms - now_ms % DAY_MS - KEPT_DAYS * DAY_MS
        for table, (column, _) in TABLES.items():
            self._database.execute(f"delete from {table} where {column} < ?", (before,))  # noqa: S608 names are constants

    def _clear(self) -> None:
        self._sales: dict[tuple[int, str, str], Row] = {}
        self._first_lines: dict[tuple[int, str, str], Row] = {}
        self._refunds: dict[tuple[int, str, str], Row] = {}
        self._paid_back: dict[tuple[int, str], Row] = {}
        self._activity: dict[tuple[int, str], Row] = {}
        self._buyers: dict[tuple[int, str], Row] = {}
        self._visits: dict[tuple[int, str], Row] = {}
        self._stock: dict[tuple[int, str, str], Row] = {}
        self._published: dict[tuple[str, int], Row] = {}
        self._rows: dict[str, Mapping[tuple[Any, ...], Row]] = {
            "sales": self._sales,
            "first_lines": self._first_lines,
            "refunds": self._refunds,
            "paid_back": self._paid_back,
            "activity": self._activity,
            "buyers": self._buyers,
            "visits": self._visits,
            "stock": self._stock,
            "published": self._published,
        }

    def _order(self, at_ms: int, record: Mapping[str, Any]) -> None:
        minute, hour, day = at_ms - at_ms % MINUTE_MS, at_ms - at_ms % HOUR_MS, at_ms - at_ms % DAY_MS
        region, cents = record["region"], self._cents
        categories: set[str] = set()
        order_units = order_net = 0
        for line in record["lines"]:
            units, category = line["quantity"], line["category"]
            gross, off = units * cents[line["unit_price"]], cents[line["discount_amount"]]
            sale = self._sales.setdefault((minute, region, category), [0, 0, 0, 0])
            sale[0] += category not in categories
            sale[1] += units
            sale[2] += gross
            sale[3] += off
            if not categories:
                self._first_lines.setdefault((day, region, category), [0])[0] += 1
            categories.add(category)
            activity = self._activity.setdefault((hour, line["product_id"]), [0, 0, 0, 0])
            activity[2] += units
            activity[3] += gross - off
            order_units += units
            order_net += gross - off
        buyer = self._buyers.setdefault((day, record["customer_id"]), [0, 0, 0, at_ms, at_ms])
        buyer[0] += 1
        buyer[1] += order_units
        buyer[2] += order_net
        buyer[3] = min(buyer[3], at_ms)
        buyer[4] = max(buyer[4], at_ms)

    def _refund(self, at_ms: int, record: Mapping[str, Any]) -> None:
        day, region = at_ms - at_ms % DAY_MS, record["region"]
        paid_back = self._paid_back.setdefault((day, region), [0, 0, 0])
        paid_back[0] += 1
        paid_back[1] += sum(self._cents[line["amount"]] for line in record["lines"])
        paid_back[2] += self._cents[record["amount"]]
        categories = set()
        for line in record["lines"]:
            row = self._refunds.setdefault((day, region, line["category"]), [0, 0, 0])
            row[0] += line["category"] not in categories
            row[1] += line["quantity"]
            row[2] += self._cents[line["amount"]]
            categories.add(line["category"])

    def _interaction(self, at_ms: int, record: Mapping[str, Any]) -> None:
        hour, step = at_ms - at_ms % HOUR_MS, STEP_COLUMN[record["interaction"]]
        key = (hour, record["session_id"])
        visit = self._visits.get(key)
        if visit is None:
            started = (record["session_started_at"] - EPOCH) // MILLISECOND
            visit = [0, 0, 0, 0, 0, at_ms, at_ms, started, None, record["region"], record["campaign"]]
            self._visits[key] = visit
        visit[step] += 1
        if at_ms > visit[6]:
            visit[6] = at_ms
        elif at_ms < visit[5]:
            visit[5] = at_ms
        if record["user_id"] is not None:
            visit[8] = record["user_id"]
        if step == 1 or step == 2:
            product = (hour, record["product_id"])
            try:
                self._activity[product][step - 1] += 1
            except KeyError:
                self._activity[product] = [2 - step, step - 1, 0, 0]

    def _move(self, at_ms: int, record: Mapping[str, Any]) -> None:
        key = (at_ms - at_ms % HOUR_MS, record["product_id"], record["warehouse"])
        row = self._stock.setdefault(key, [0, 0, 0])
        column = MOVE_COLUMN[record["reason"]]
        row[column] += -record["delta"] if column == 0 else record["delta"]


def _upsert(database: sqlite3.Connection, table: str) -> str:
    """The statement that adds a row to a table: sums add up, firsts and lasts widen, names stay."""
    columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
    keys = TABLES[table][1]
    sets = []
    for column in columns[keys:]:
        if column == "first_ms":
            sets.append("first_ms = min(first_ms, excluded.first_ms)")
        elif column == "last_ms":
            sets.append("last_ms = max(last_ms, excluded.last_ms)")
        elif column in ("started_ms", "region", "campaign"):
            continue
        elif column == "user_id":
            sets.append("user_id = coalesce(excluded.user_id, user_id)")
        else:
            sets.append(f"{column} = {column} + excluded.{column}")
    marks = ", ".join("?" for _ in columns)
    key = ", ".join(columns[:keys])
    return f"insert into {table} values ({marks}) on conflict ({key}) do update set {', '.join(sets)}"  # noqa: S608 names are constants


QUESTIONS: Final[Mapping[str, tuple[int, str]]] = {  # aggregate: (number of key columns, query)
    "sales_per_minute": (
        3,
        "select minute_ms, region, category, orders, units, gross_cents, discount_cents,"
        " gross_cents - discount_cents as sales_cents from sales",
    ),
    "sales_per_day": (
        3,
        f"with days as (select minute_ms - minute_ms % {DAY_MS} as day_ms, region, category, sum(orders) as orders,"  # noqa: S608 a constant
        " sum(units) as units, sum(gross_cents) as gross_cents, sum(discount_cents) as discount_cents"
        " from sales group by 1, 2, 3)"
        " select day_ms, region, category, days.orders, coalesce(first_lines.orders, 0), units, gross_cents,"
        " discount_cents, gross_cents - discount_cents as sales_cents"
        " from days left join first_lines using (day_ms, region, category)",
    ),
    "refunded_goods_per_day": (3, "select day_ms, region, category, refunds, units, amount_cents from refunds"),
    "refunds_per_day": (
        2,
        "select day_ms, region, refunds, goods_cents, amount_cents - goods_cents as other_cents, amount_cents"
        " from paid_back",
    ),
    "product_activity_per_hour": (2, "select hour_ms, product_id, views, carts, units, revenue_cents from activity"),
    "customer_orders_per_day": (
        2,
        "select day_ms, customer_id, orders, units, net_cents, first_ms, last_ms from buyers",
    ),
    "sessions": (
        2,
        "select min(started_ms) / 86400000 * 86400000 as day_ms, session_id, max(user_id), min(region),"
        " min(campaign), min(started_ms) as started_ms, max(last_ms) as last_ms, sum(page_views), sum(product_views),"
        " sum(carts), sum(checkouts), sum(purchases) from visits group by session_id",
    ),
    "funnel_per_hour": (
        3,
        "select hour_ms, campaign is not null, coalesce(campaign, ''), count(*), sum(product_views > 0),"
        " sum(carts > 0), sum(checkouts > 0), sum(purchases > 0) from visits group by hour_ms, campaign",
    ),
    "stock_moves_per_hour": (
        3,
        "select hour_ms, product_id, warehouse, sold, restocked, adjusted, restocked + adjusted - sold from stock",
    ),
    "events_per_day": (2, "select topic, day_ms, events from published"),
}


def answers(path: Path) -> Answers:
    """The answer key in a source's state file: {aggregate: {key: measures}} as the ``live`` tables should have it.

    ``events_per_day`` is {(topic, day): (events,)}. Only for tests: nothing in the pipeline may read it.
    """
    database = state.to_read(path, NEWEST_TABLE)
    if database is None:
        return {aggregate: {} for aggregate in QUESTIONS}
    try:
        return {aggregate: _answer(database, keys, query) for aggregate, (keys, query) in QUESTIONS.items()}
    finally:
        database.close()


def _answer(database: sqlite3.Connection, keys: int, query: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    cursor = database.execute(query)
    columns = [_reader(description[0]) for description in cursor.description]
    rows = (tuple(read(value) for read, value in zip(columns, row, strict=True)) for row in cursor)
    return {row[:keys]: row[keys:] for row in rows}


def _reader(column: str) -> Callable[[Any], Any]:
    if column.endswith("_ms"):
        return lambda value: EPOCH + value * MILLISECOND
    if column.endswith("_cents"):
        return lambda value: Decimal(value).scaleb(-2)
    return lambda value: value
