"""What every table must hold, by the rules and in plain Python: whole cents, no SQL, no table framework.

It shares no code with the queries, so that a mistake has to be made twice to pass.

Longer than 400 lines, because it has a function for each table, all over the same records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

Record = Mapping[str, Any]
Row = dict[str, Any]
Log = Mapping[str, Sequence[Record]]
"""Event name to its records in the order in which they arrive: of one partition, or of several when it is Dealt."""

HORIZON = timedelta(hours=24)
OUT_OF_ORDER = timedelta(seconds=5)
STEP_COLUMNS = {
    "page_view": "page_views",
    "product_view": "product_views",
    "add_to_cart": "carts",
    "checkout": "checkouts",
    "purchase": "purchases",
}
TABLES: dict[str, Callable[[Log], list[Row]]] = {}


def listed(rows: Callable[[Log], list[Row]]) -> Callable[[Log], list[Row]]:
    """Lists the function as the one of the aggregate or fact of its name."""
    TABLES[rows.__name__] = rows
    return rows


class Dealt(list[Record]):
    """Records of a topic with several partitions, dealt out to them in turn."""

    partitions = 3


def place(records: Sequence[Record], number: int) -> tuple[int, int]:
    """Partition and offset of the record that arrives as the ``number``-th, from 0."""
    partitions = records.partitions if isinstance(records, Dealt) else 1
    return number % partitions, number // partitions


class Judged:
    """A topic's records, sorted into those that count, the twins of those, and the late ones.

    ``late`` has (partition, offset, record, the watermark of its partition).
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.counted: list[Record] = []
        self.duplicates: list[Record] = []
        self.late: list[tuple[int, int, Record, datetime]] = []
        newest: dict[int, datetime] = {}
        seen: set[str] = set()
        for number, record in enumerate(records):
            at = record["occurred_at"]
            partition, offset = place(records, number)
            newest[partition] = max(at, newest.get(partition, at))
            watermark = newest[partition] - OUT_OF_ORDER
            if at < watermark - HORIZON:
                self.late.append((partition, offset, record, watermark))
            elif record["event_id"] in seen:
                self.duplicates.append(record)
            else:
                seen.add(record["event_id"])
                self.counted.append(record)


def cents(amount: Decimal) -> int:
    with localcontext() as context:
        context.prec = 50
        whole = amount * 100
        assert whole == int(whole), f"{amount} has parts of a cent"
        return int(whole)


def amount(whole_cents: int) -> Decimal:
    with localcontext() as context:
        context.prec = 50
        return Decimal(whole_cents) / 100


def minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def hour(at: datetime) -> datetime:
    """Of the shop's clock. It is changed at a quarter of an hour at most, and an hour does not reach over that."""
    local = at.astimezone(SHOPS[-1])
    start = at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    while start.astimezone(SHOPS[-1]).utcoffset() != local.utcoffset():
        start += timedelta(minutes=15)
    return start


def day(at: datetime) -> datetime:
    """The shop's midnight, or what comes in its place when the clock is put forward over it."""
    on = at.astimezone(SHOPS[-1]).date()
    return datetime(on.year, on.month, on.day, tzinfo=SHOPS[-1]).astimezone(UTC)


SHOPS = [ZoneInfo("UTC")]
"""The shop's time zone stands last."""


@contextmanager
def shop_in(zone: str) -> Iterator[None]:
    """Within it the days and hours are those of a shop in this time zone."""
    SHOPS.append(ZoneInfo(zone))
    try:
        yield
    finally:
        SHOPS.pop()


UNDATED: list[frozenset[str] | None] = [None]
"""Last, for a shop whose sales are by payment date, the sources that never say it; None for one by order date."""


@contextmanager
def by_payment(*undated: str) -> Iterator[None]:
    """Within it orders count when they are paid."""
    UNDATED.append(frozenset(undated))
    try:
        yield
    finally:
        UNDATED.pop()


def _counted(log: Log, name: str) -> list[Record]:
    found = newest_states(name, Judged(log.get(name, ())).counted)
    if name not in PAID or UNDATED[-1] is None:
        return found
    dated = ({**r, "placed_at": r["occurred_at"], "occurred_at": _paid(r, r[PAID[name]], UNDATED[-1])} for r in found)
    return [r for r in dated if r["occurred_at"] is not None]


def _paid(record: Record, paid_at: datetime | None, undated: frozenset[str]) -> datetime | None:
    """When it counts by payment: never before its own time; None while it counts nowhere."""
    if paid_at is not None:
        return max(paid_at, record["occurred_at"])
    has_one_state = record.get("version") is None
    return record["occurred_at"] if has_one_state or record["source"] in undated else None


PAID = {"sales.order_placed": "paid_at", "sales.order_refunded": "order_paid_at"}
"""Event name to the field that says when the order was paid."""


STATES_OF = {
    "sales.order_placed": ("order_id", "is_cancelled"),
    "sales.order_refunded": ("refund_id", "is_deleted"),
    "finance.fee_charged": ("fee_id", "is_deleted"),
    "sales.order_cancelled": ("order_id", "is_withdrawn"),
}
"""Event name to the field that says of what its records are states, and the one that a state counts nowhere."""


def newest_states(name: str, records: Sequence[Record]) -> list[Record]:
    """Of several states of one thing the one with the highest version; the one with the greater id when they are two.

    An order that is cancelled then counts nowhere. A record without a version stands by itself.
    """
    if name not in STATES_OF:
        return list(records)
    thing_id, void = STATES_OF[name]
    newest: dict[tuple[str, str, datetime], Record] = {}
    for r in records:
        if r.get("version") is not None:
            thing = (r["source"], r[thing_id], r["occurred_at"])
            if thing not in newest or _age(newest[thing]) < _age(r):
                newest[thing] = r
    kept = {id(r) for r in newest.values()}
    return [r for r in records if (r.get("version") is None or id(r) in kept) and not r.get(void)]


def _age(state: Record) -> tuple[int, bytes]:
    return state["version"], state["event_id"].encode()


def _lines(log: Log, name: str) -> list[tuple[Record, int, Record]]:
    return [(e, n, line) for e in _counted(log, name) for n, line in enumerate(e["lines"], start=1)]


def _sales_cents(line: Record) -> int:
    return line["quantity"] * cents(line["unit_price"]) - cents(line["discount_amount"])


@listed
def sales_per_minute(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str, str], list[tuple[Record, Record]]] = defaultdict(list)
    for e, _, line in _lines(log, "sales.order_placed"):
        groups[minute(e["occurred_at"]), e["region"], line["category"]].append((e, line))
    return [
        {
            "window_start": window,
            "region": region,
            "category": category,
            "orders": len({e["order_id"] for e, _ in members}),
            "units": sum(line["quantity"] for _, line in members),
            "gross_amount": amount(sum(line["quantity"] * cents(line["unit_price"]) for _, line in members)),
            "discount_amount": amount(sum(cents(line["discount_amount"]) for _, line in members)),
            "sales_amount": amount(sum(_sales_cents(line) for _, line in members)),
        }
        for (window, region, category), members in groups.items()
    ]


@listed
def sales_per_day(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str, str], list[tuple[Record, int, Record]]] = defaultdict(list)
    for e, place, line in _lines(log, "sales.order_placed"):
        groups[day(e["occurred_at"]), e["region"], line["category"]].append((e, place, line))
    return [
        {
            "window_start": window,
            "region": region,
            "category": category,
            "orders": len({e["order_id"] for e, _, _ in members}),
            "orders_once": sum(place == 1 for _, place, _ in members),
            "units": sum(line["quantity"] for _, _, line in members),
            "gross_amount": amount(sum(line["quantity"] * cents(line["unit_price"]) for _, _, line in members)),
            "discount_amount": amount(sum(cents(line["discount_amount"]) for _, _, line in members)),
            "sales_amount": amount(sum(_sales_cents(line) for _, _, line in members)),
        }
        for (window, region, category), members in groups.items()
    ]


@listed
def refunded_goods_per_day(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str, str], list[tuple[Record, Record]]] = defaultdict(list)
    for e, _, line in _lines(log, "sales.order_refunded"):
        groups[day(e["occurred_at"]), e["region"], line["category"]].append((e, line))
    return [
        {
            "window_start": window,
            "region": region,
            "category": category,
            "refunds": len({e["refund_id"] for e, _ in members}),
            "units": sum(line["quantity"] for _, line in members),
            "goods_amount": amount(sum(cents(line["amount"]) for _, line in members)),
        }
        for (window, region, category), members in groups.items()
    ]


@listed
def refunds_per_day(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str], list[Record]] = defaultdict(list)
    for e in _counted(log, "sales.order_refunded"):
        groups[day(e["occurred_at"]), e["region"]].append(e)
    rows = []
    for (window, region), members in groups.items():
        paid_back = sum(cents(e["amount"]) for e in members)
        goods = sum(cents(line["amount"]) for e in members for line in e["lines"])
        rows.append(
            {
                "window_start": window,
                "region": region,
                "refunds": len({e["refund_id"] for e in members}),
                "goods_amount": amount(goods),
                "other_amount": amount(paid_back - goods),
                "refund_amount": amount(paid_back),
            }
        )
    return rows


@listed
def customer_orders_per_day(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str], list[tuple[Record, Record]]] = defaultdict(list)
    for e, _, line in _lines(log, "sales.order_placed"):
        groups[day(e["occurred_at"]), e["customer_id"]].append((e, line))
    return [
        {
            "window_start": window,
            "customer_id": customer,
            "orders": len({e["order_id"] for e, _ in members}),
            "units": sum(line["quantity"] for _, line in members),
            "sales_amount": amount(sum(_sales_cents(line) for _, line in members)),
            "first_order_at": min(e["occurred_at"] for e, _ in members),
            "last_order_at": max(e["occurred_at"] for e, _ in members),
        }
        for (window, customer), members in groups.items()
    ]


@listed
def product_activity_per_hour(log: Log) -> list[Row]:
    rows: dict[tuple[datetime, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for e in _counted(log, "web.interaction"):
        place = {"product_view": 0, "add_to_cart": 1}.get(e["interaction"])
        if place is not None and e["product_id"] is not None:
            rows[hour(e["occurred_at"]), e["product_id"]][place] += 1
    for e, _, line in _lines(log, "sales.order_placed"):
        row = rows[hour(e["occurred_at"]), line["product_id"]]
        row[2] += line["quantity"]
        row[3] += _sales_cents(line)
    return [
        {
            "window_start": window,
            "product_id": product,
            "views": views,
            "carts": carts,
            "units": units,
            "sales_amount": amount(sales_amount),
        }
        for (window, product), (views, carts, units, sales_amount) in rows.items()
    ]


@listed
def sessions(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str], list[Record]] = defaultdict(list)
    for e in _counted(log, "web.interaction"):
        if e["occurred_at"] - e["session_started_at"] < timedelta(hours=24):
            groups[day(e["session_started_at"]), e["session_id"]].append(e)
    return [
        {
            "window_start": window,
            "session_id": session,
            "user_id": _greatest(e["user_id"] for e in members),
            "region": min(e["region"] for e in members),
            "campaign": _least(e["campaign"] for e in members),
            "started_at": min(e["session_started_at"] for e in members),
            "ended_at": max(e["occurred_at"] for e in members),
            **{column: sum(e["interaction"] == step for e in members) for step, column in STEP_COLUMNS.items()},
        }
        for (window, session), members in groups.items()
    ]


def _greatest(values: Iterable[str | None]) -> str | None:
    return max((value for value in values if value is not None), default=None)


def _least(values: Iterable[str | None]) -> str | None:
    return min((value for value in values if value is not None), default=None)


@listed
def funnel_per_hour(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str | None], list[Record]] = defaultdict(list)
    for e in _counted(log, "web.interaction"):
        groups[hour(e["occurred_at"]), e["campaign"]].append(e)
    steps = {
        "product_view_sessions": "product_view",
        "cart_sessions": "add_to_cart",
        "checkout_sessions": "checkout",
        "purchase_sessions": "purchase",
    }
    return [
        {
            "window_start": window,
            "has_campaign": campaign is not None,
            "campaign": campaign or "",
            "sessions": len({e["session_id"] for e in members}),
            **{
                column: len({e["session_id"] for e in members if e["interaction"] == step})
                for column, step in steps.items()
            },
        }
        for (window, campaign), members in groups.items()
    ]


@listed
def stock_moves_per_hour(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str, str], list[Record]] = defaultdict(list)
    for e in _counted(log, "inventory.stock_moved"):
        groups[hour(e["occurred_at"]), e["product_id"], e["warehouse"]].append(e)

    def moved(members: list[Record], reason: str) -> int:
        return sum(e["delta"] for e in members if e["reason"] == reason)

    return [
        {
            "window_start": window,
            "product_id": product,
            "warehouse": warehouse,
            "sold": -moved(members, "sale"),
            "restocked": moved(members, "restock"),
            "adjusted": moved(members, "adjustment"),
            "net_change": sum(e["delta"] for e in members),
        }
        for (window, product, warehouse), members in groups.items()
    ]


@listed
def price_changes(log: Log) -> list[Row]:
    groups: dict[tuple[str, str, datetime, str], list[Record]] = defaultdict(list)
    for e in _counted(log, "catalog.product_observed"):
        if e["previous_price"] is not None and e["previous_price"] != e["price"]:
            groups[e["shop"], e["product_id"], e["occurred_at"], e["currency"]].append(e)
    return [
        {
            "window_start": hour(changed_at),
            "product_id": product,
            "changed_at": changed_at,
            "shop": shop,
            "name": min(e["name"] for e in members),
            "previous_price": min(e["previous_price"] for e in members),
            "price": min(e["price"] for e in members),
            "currency": currency,
        }
        for (shop, product, changed_at, currency), members in groups.items()
    ]


@listed
def order_lines(log: Log) -> list[Row]:
    carried = ("event_id", "occurred_at", "order_id", "customer_id", "region", "currency", "channel", "session_id")
    of_line = ("product_id", "category", "brand", "quantity", "unit_price", "discount_amount")
    return [
        {
            **{name: e[name] for name in carried},
            "line": n,
            **{name: line[name] for name in of_line},
            "sales_amount": amount(_sales_cents(line)),
        }
        for e, n, line in _lines(log, "sales.order_placed")
    ]


@listed
def orders(log: Log) -> list[Row]:
    kept = _all_but("lines", "discounts", "session_id", "version", "is_cancelled")
    return [
        {"placed_at": e["occurred_at"], **kept(e), "source": e["source"]} for e in _counted(log, "sales.order_placed")
    ]


@listed
def order_discounts(log: Log) -> list[Row]:
    carried = ("event_id", "occurred_at", "order_id", "region", "currency")
    return [
        {**{name: e[name] for name in carried}, "discount": n, **discount}
        for e in _counted(log, "sales.order_placed")
        for n, discount in enumerate(e["discounts"] or (), start=1)
    ]


@listed
def refunds(log: Log) -> list[Row]:
    kept = _all_but("lines", "version", "is_deleted", "order_paid_at", "placed_at")
    return [kept(e) | {"source": e["source"]} for e in _counted(log, "sales.order_refunded")]


@listed
def refund_lines(log: Log) -> list[Row]:
    carried = ("event_id", "occurred_at", "refund_id", "order_id", "customer_id", "region", "currency", "reason")
    of_line = ("product_id", "category", "quantity", "amount")
    return [
        {**{name: e[name] for name in carried}, "line": n, **{name: line[name] for name in of_line}}
        for e, n, line in _lines(log, "sales.order_refunded")
    ]


def _all_but(*left_out: str) -> Callable[[Record], Row]:
    return lambda e: {name: value for name, value in e.items() if name not in ("source", "trace", *left_out)}


@listed
def customers(log: Log) -> list[Row]:
    return [_all_but()(e) for e in _counted(log, "customers.customer_changed")]


@listed
def interactions(log: Log) -> list[Row]:
    return [_all_but()(e) for e in _counted(log, "web.interaction")]


@listed
def product_observations(log: Log) -> list[Row]:
    kept = _all_but("category_path", "image_urls", "description", "specs", "variants")
    return [
        {**kept(e), "category": e["category_path"][-1] if e["category_path"] else None}
        for e in _counted(log, "catalog.product_observed")
    ]


@listed
def product_costs(log: Log) -> list[Row]:
    return [_all_but()(e) | {"source": e["source"]} for e in _counted(log, "finance.cost_stated")]


@listed
def exchange_rates(log: Log) -> list[Row]:
    return [_all_but()(e) for e in _counted(log, "finance.rate_published")]


@listed
def payment_fees(log: Log) -> list[Row]:
    kept = _all_but("version", "is_deleted")
    return [kept(e) | {"source": e["source"]} for e in _counted(log, "finance.fee_charged")]


@listed
def cancellations(log: Log) -> list[Row]:
    kept = _all_but("version", "is_withdrawn")
    return [kept(e) | {"source": e["source"]} for e in _counted(log, "sales.order_cancelled")]


@listed
def ad_spend(log: Log) -> list[Row]:
    return [_all_but()(e) | {"source": e["source"]} for e in _counted(log, "marketing.spend_stated")]


@listed
def wiki_edits_per_minute(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str, bool], list[Record]] = defaultdict(list)
    for e in _counted(log, "public.wiki_edited"):
        groups[minute(e["occurred_at"]), e["wiki"], e["is_bot"]].append(e)
    return [
        {
            "window_start": window,
            "wiki": wiki,
            "is_bot": is_bot,
            "edits": len(members),
            "minor_edits": sum(e["is_minor"] for e in members),
            "pages": len({e["page_id"] for e in members}),
            "users": len({e["user_name"] for e in members}),
            "bytes_added": sum(max(_growth(e), 0) for e in members),
            "bytes_removed": sum(max(-_growth(e), 0) for e in members),
        }
        for (window, wiki, is_bot), members in groups.items()
    ]


def _growth(edit: Record) -> int:
    after, before = edit["new_length"], edit["old_length"]
    return 0 if after is None else after - (before or 0)


@listed
def vehicles_per_minute(log: Log) -> list[Row]:
    groups: dict[tuple[datetime, str, str | None], list[Record]] = defaultdict(list)
    for e in _counted(log, "public.vehicle_moved"):
        groups[minute(e["occurred_at"]), e["feed"], e["route_id"]].append(e)
    return [
        {
            "window_start": window,
            "feed": feed,
            "has_route": route is not None,
            "route_id": route or "",
            "positions": len(members),
            "vehicles": len({e["vehicle_id"] for e in members}),
        }
        for (window, feed, route), members in groups.items()
    ]


@listed
def vehicle_positions(log: Log) -> list[Row]:
    return [_all_but("trip_id", "bearing", "speed")(e) for e in _counted(log, "public.vehicle_moved")]


@listed
def canary_per_minute(log: Log) -> list[Row]:
    groups: dict[datetime, list[Record]] = defaultdict(list)
    for e in _counted(log, "ops.canary_sent"):
        groups[minute(e["occurred_at"])].append(e)
    return [
        {"window_start": at, "canaries": len(sent), "amount": amount(sum(cents(e["amount"]) for e in sent))}
        for at, sent in groups.items()
    ]


def table(name: str, key: Sequence[str], log: Log) -> list[Row]:
    """The rows of one aggregate or fact, in the order of its key."""
    return sorted(TABLES[name](log), key=lambda row: tuple(row[column] for column in key))


def event_counts(topics: Mapping[str, str], log: Log) -> list[Row]:
    """ops.event_counts; ``topics`` is event name to topic."""
    rows: dict[tuple[str, datetime], Row] = {}
    for name, topic in topics.items():
        judged = Judged(log.get(name, ()))
        for record, counts in [*((r, 1) for r in judged.counted), *((r, 0) for r in judged.duplicates)]:
            window = day(record["occurred_at"])
            row = rows.setdefault(
                (topic, window),
                {
                    "topic": topic,
                    "window_start": window,
                    "on_time": 0,
                    "counted": 0,
                    "last_event_at": record["occurred_at"],
                },
            )
            row["on_time"] += 1
            row["counted"] += counts
            row["last_event_at"] = max(row["last_event_at"], record["occurred_at"])
    return [rows[key] for key in sorted(rows)]


def late_events(topics: Mapping[str, str], touched: Mapping[str, str], log: Log) -> list[Row]:
    """ops.late_events; ``touched`` is event name to the names of what the event would have counted in."""
    rows = [
        {
            "topic": topic,
            "kafka_partition": partition,
            "kafka_offset": offset,
            "event_id": record["event_id"],
            "occurred_at": record["occurred_at"],
            "watermark": watermark,
            "aggregates": touched[name],
        }
        for name, topic in topics.items()
        for partition, offset, record, watermark in Judged(log.get(name, ())).late
    ]
    return sorted(rows, key=lambda row: (row["topic"], row["kafka_partition"], row["kafka_offset"]))
