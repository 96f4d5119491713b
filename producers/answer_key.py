"""What the numbers must come out as, added up beside the log by whoever published the events.

The pipeline never reads it; tests hold the tables against it. It knows the aggregates by what they mean, not by their
SQL, and adds integers only: cents and microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from schemas.catalogue import Event

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
KEPT_DAYS: Final = 40

Row = list[Any]
Answers = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]
"""{aggregate: {key: measures}}, both in the order of the table's columns; times are aware, money is Decimal."""

SCHEMA: Final = """
create table if not exists sales (
    minute_us integer, region text, category text,
    orders integer, units integer, gross_cents integer, discount_cents integer,
    primary key (minute_us, region, category)) without rowid;
create table if not exists refunds (
    day_us integer, region text, category text,
    refunds integer, units integer, amount_cents integer,
    primary key (day_us, region, category)) without rowid;
create table if not exists activity (
    hour_us integer, product_id text,
    views integer, carts integer, units integer, revenue_cents integer,
    primary key (hour_us, product_id)) without rowid;
create table if not exists buyers (
    day_us integer, customer_id text,
    orders integer, units integer, net_cents integer, first_us integer, last_us integer,
    primary key (day_us, customer_id)) without rowid;
create table if not exists visits (
    hour_us integer, session_id text,
    page_views integer, product_views integer, carts integer, checkouts integer, purchases integer,
    first_us integer, last_us integer, started_us integer, user_id text, region text, campaign text,
    primary key (hour_us, session_id)) without rowid;
create table if not exists stock (
    hour_us integer, product_id text, warehouse text,
    sold integer, restocked integer, adjusted integer,
    primary key (hour_us, product_id, warehouse)) without rowid;
create table if not exists published (
    topic text, day_us integer, events integer,
    primary key (topic, day_us)) without rowid;
"""
TABLES: Final[Mapping[str, tuple[str, int]]] = {  # name: (column of time, number of key columns)
    "sales": ("minute_us", 3),
    "refunds": ("day_us", 3),
    "activity": ("hour_us", 2),
    "buyers": ("day_us", 2),
    "visits": ("hour_us", 2),
    "stock": ("hour_us", 3),
    "published": ("day_us", 2),
}
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

    def count(self, event: Event, at_us: int, record: Mapping[str, Any]) -> None:
        """Count an event that is being published. ``at_us`` is its ``occurred_at`` in microseconds since 1970."""
        day = at_us - at_us % DAY_US
        try:
            self._published[event.topic, day][0] += 1
        except KeyError:
            self._published[event.topic, day] = [1]
        if add := self._counters.get(event.name):
            add(at_us, record)

    def write(self) -> None:
        """Add what was counted to the database, in the caller's transaction."""
        for table, rows in self._rows.items():
            if rows:
                self._database.executemany(self._upserts[table], [(*key, *row) for key, row in rows.items()])
        self._clear()

    def prune(self, now_us: int) -> None:
        """Forget windows older than KEPT_DAYS before a time, in the caller's transaction."""
        for table, (column, _) in TABLES.items():
            self._database.execute(f"delete from {table} where {column} < ?", (now_us - KEPT_DAYS * DAY_US,))  # noqa: S608 names are constants

    def _clear(self) -> None:
        self._sales: dict[tuple[int, str, str], Row] = {}
        self._refunds: dict[tuple[int, str, str], Row] = {}
        self._activity: dict[tuple[int, str], Row] = {}
        self._buyers: dict[tuple[int, str], Row] = {}
        self._visits: dict[tuple[int, str], Row] = {}
        self._stock: dict[tuple[int, str, str], Row] = {}
        self._published: dict[tuple[str, int], Row] = {}
        self._rows: dict[str, Mapping[tuple[Any, ...], Row]] = {
            "sales": self._sales,
            "refunds": self._refunds,
            "activity": self._activity,
            "buyers": self._buyers,
            "visits": self._visits,
            "stock": self._stock,
            "published": self._published,
        }

    def _order(self, at_us: int, record: Mapping[str, Any]) -> None:
        minute, hour, day = at_us - at_us % MINUTE_US, at_us - at_us % HOUR_US, at_us - at_us % DAY_US
        region, cents = record["region"], self._cents
        categories = set()
        order_units = order_net = 0
        for line in record["lines"]:
            units, category = line["quantity"], line["category"]
            gross, off = units * cents[line["unit_price"]], cents[line["discount_amount"]]
            sale = self._sales.setdefault((minute, region, category), [0, 0, 0, 0])
            sale[0] += category not in categories
            sale[1] += units
            sale[2] += gross
            sale[3] += off
            categories.add(category)
            activity = self._activity.setdefault((hour, line["product_id"]), [0, 0, 0, 0])
            activity[2] += units
            activity[3] += gross - off
            order_units += units
            order_net += gross - off
        buyer = self._buyers.setdefault((day, record["customer_id"]), [0, 0, 0, at_us, at_us])
        buyer[0] += 1
        buyer[1] += order_units
        buyer[2] += order_net
        buyer[3] = min(buyer[3], at_us)
        buyer[4] = max(buyer[4], at_us)

    def _refund(self, at_us: int, record: Mapping[str, Any]) -> None:
        day, region = at_us - at_us % DAY_US, record["region"]
        categories = set()
        for line in record["lines"]:
            row = self._refunds.setdefault((day, region, line["category"]), [0, 0, 0])
            row[0] += line["category"] not in categories
            row[1] += line["quantity"]
            row[2] += self._cents[line["amount"]]
            categories.add(line["category"])

    def _interaction(self, at_us: int, record: Mapping[str, Any]) -> None:
        hour, step = at_us - at_us % HOUR_US, STEP_COLUMN[record["interaction"]]
        key = (hour, record["session_id"])
        visit = self._visits.get(key)
        if visit is None:
            started = (record["session_started_at"] - EPOCH) // MICROSECOND
            visit = [0, 0, 0, 0, 0, at_us, at_us, started, None, record["region"], record["campaign"]]
            self._visits[key] = visit
        visit[step] += 1
        if at_us > visit[6]:
            visit[6] = at_us
        elif at_us < visit[5]:
            visit[5] = at_us
        if record["user_id"] is not None:
            visit[8] = record["user_id"]
        if step == 1 or step == 2:
            product = (hour, record["product_id"])
            try:
                self._activity[product][step - 1] += 1
            except KeyError:
                self._activity[product] = [2 - step, step - 1, 0, 0]

    def _move(self, at_us: int, record: Mapping[str, Any]) -> None:
        key = (at_us - at_us % HOUR_US, record["product_id"], record["warehouse"])
        row = self._stock.setdefault(key, [0, 0, 0])
        column = MOVE_COLUMN[record["reason"]]
        row[column] += -record["delta"] if column == 0 else record["delta"]


def _upsert(database: sqlite3.Connection, table: str) -> str:
    """The statement that adds a row to a table: sums add up, firsts and lasts widen, names stay."""
    columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
    keys = TABLES[table][1]
    sets = []
    for column in columns[keys:]:
        if column == "first_us":
            sets.append("first_us = min(first_us, excluded.first_us)")
        elif column == "last_us":
            sets.append("last_us = max(last_us, excluded.last_us)")
        elif column in ("started_us", "region", "campaign"):
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
        "select minute_us, region, category, orders, units, gross_cents, discount_cents,"
        " gross_cents - discount_cents as net_cents from sales",
    ),
    "refunds_per_day": (3, "select day_us, region, category, refunds, units, amount_cents from refunds"),
    "product_activity_per_hour": (2, "select hour_us, product_id, views, carts, units, revenue_cents from activity"),
    "customer_orders_per_day": (
        2,
        "select day_us, customer_id, orders, units, net_cents, first_us, last_us from buyers",
    ),
    "sessions": (
        2,
        "select min(started_us) / 86400000000 * 86400000000 as day_us, session_id, max(user_id), min(region),"
        " min(campaign), min(started_us) as started_us, max(last_us) as last_us, sum(page_views), sum(product_views),"
        " sum(carts), sum(checkouts), sum(purchases) from visits group by session_id",
    ),
    "funnel_per_hour": (
        2,
        "select hour_us, coalesce(campaign, '(none)') as campaign, count(*), sum(product_views > 0), sum(carts > 0),"
        " sum(checkouts > 0), sum(purchases > 0) from visits group by hour_us, coalesce(campaign, '(none)')",
    ),
    "stock_moves_per_hour": (
        3,
        "select hour_us, product_id, warehouse, sold, restocked, adjusted, restocked + adjusted - sold from stock",
    ),
    "events_per_day": (2, "select topic, day_us, events from published"),
}


def answers(path: Path) -> Answers:
    """The answer key in a source's state file: {aggregate: {key: measures}} as the ``live`` tables should have it.

    ``events_per_day`` is {(topic, day): (events,)}. Only for tests: nothing in the pipeline may read it.
    """
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
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
    if column.endswith("_us"):
        return lambda value: EPOCH + value * MICROSECOND
    if column.endswith("_cents"):
        return lambda value: Decimal(value).scaleb(-2)
    return lambda value: value
