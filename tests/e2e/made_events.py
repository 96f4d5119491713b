"""Events made by hand, of any contract, and the record of what must become of them.

Every text in them is this module's own, so that no row of a table counts both these and the shop's.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from producers.answer_key import AnswerKey, Answers, answers
from schemas.binary import EPOCH, kind_of
from schemas.catalogue import Event

Fate = Literal["counted", "duplicate", "late"]
Row = tuple[Any, ...]

LINES: Mapping[str, list[dict[str, Any]]] = {
    "sales.order_placed": [
        {"category": "made-A", "quantity": 2, "unit_price": Decimal("19.99"), "discount_amount": Decimal("0.98")},
        {"category": "made-B", "quantity": 1, "unit_price": Decimal("1000000.01"), "discount_amount": Decimal("0.00")},
        {"category": "made-A", "quantity": 3, "unit_price": Decimal("0.10"), "discount_amount": Decimal("0.30")},
    ],
    "sales.order_refunded": [{"category": "made-A", "quantity": 1, "amount": Decimal("19.50")}],
}
STEPS = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")


def now() -> datetime:
    """In whole milliseconds, as every time in an event is."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def made(event: Event, at: datetime, number: int = 0) -> dict[str, Any]:
    """One event of the contract that happened at a time; ``number`` varies its contents. Its key is its own."""
    record = _record(event.avro_schema, at)
    record |= {"event_id": str(uuid.uuid4()), event.key: f"made-{uuid.uuid4()}"}
    if "currency" in record:
        record["currency"] = "EUR"
    if event.name in LINES:
        record["lines"] = [{"product_id": "made-product", "brand": None, **line} for line in LINES[event.name]]
        record["order_id"] = record["refund_id"] = f"made-{uuid.uuid4()}"
    if event.name == "sales.order_placed":
        record["discounts"] = [{"code": "made-code", "title": None, "amount": Decimal("1.28")}]
    if event.name == "sales.order_refunded":
        record["lines"] = [{k: v for k, v in line.items() if k != "brand"} for line in record["lines"]]
        record["amount"] = Decimal("24.40")  # with the shipping
    if event.name == "web.interaction":
        step = STEPS[number % len(STEPS)]
        record |= {"interaction": step, "campaign": "made-campaign"}
        record["product_id"] = "made-product" if step in STEPS[1:3] else None
    if event.name == "inventory.stock_moved":
        record |= {"reason": ("sale", "restock", "adjustment")[number % 3], "delta": (-2, 7, -1)[number % 3]}
    if event.name == "catalog.product_observed":
        record |= {"price": Decimal("10.00") + number, "previous_price": Decimal("10.00")}
    return {field["name"]: record[field["name"]] for field in event.avro_schema["fields"]}


def _record(schema: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    return {field["name"]: _value(field["type"], field["name"], at) for field in schema["fields"]}


def _value(schema: Any, name: str, at: datetime) -> Any:
    plain: dict[str, Any] = {
        "union": None,
        "string": f"made-{name}",
        "decimal": Decimal("1.00"),
        "int": 1,
        "long": 1,
        "double": 1.0,
        "float": 1.0,
        "boolean": True,
        "array": [],
        "map": {},
        "timestamp-millis": at,
        "date": at.date(),
    }
    kind = kind_of(schema)
    return schema["symbols"][0] if kind == "enum" else plain[kind]


class Book:
    """Notes what was published by hand: the fate it must have, and the rows that those that count must make."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        self._key = AnswerKey(self._database)
        self.fates: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.price_changes: dict[Row, Row] = {}
        self.late_ids: set[str] = set()
        self.edits: list[Mapping[str, Any]] = []
        self.positions: list[Mapping[str, Any]] = []
        self.canaries: list[Mapping[str, Any]] = []

    def note(self, event: Event, record: Mapping[str, Any], fate: Fate) -> None:
        """One event that is on the log."""
        self.fates[event.topic][fate] += 1
        if fate == "late":
            self.late_ids.add(record["event_id"])
        if fate != "counted":
            return
        self._key.count(event, (record["occurred_at"] - EPOCH) // timedelta(milliseconds=1), record)
        if event.name == "public.wiki_edited":
            self.edits.append(record)
        if event.name == "public.vehicle_moved":
            self.positions.append(record)
        if event.name == "ops.canary_sent":
            self.canaries.append(record)
        if event.name == "catalog.product_observed" and record["price"] != record["previous_price"]:
            at = record["occurred_at"]
            hour = at.replace(minute=0, second=0, microsecond=0)
            place = (hour, record["shop"], record["product_id"], at, record["currency"])
            self.price_changes[place] = tuple(record[n] for n in ("name", "previous_price", "price"))

    def note_dead(self, event: Event) -> None:
        """Something that was meant for the event's topic and could not become one."""
        self.fates[event.topic]["dead"] += 1

    def answers(self) -> Answers:
        self._database.execute("begin")
        self._key.write()
        self._database.execute("commit")
        public = {"wiki_edits_per_minute": _edits(self.edits), "vehicles_per_minute": _positions(self.positions)}
        own = {"price_changes": dict(self.price_changes), "canary_per_minute": _canaries(self.canaries)}
        return {**answers(self._path), **own, **public}

    def close(self) -> None:
        self._database.close()


def _edits(edits: list[Mapping[str, Any]]) -> dict[Row, Row]:
    """Of each minute and wiki: edits, minor ones, pages, users, and bytes, which made ones don't state."""
    return {
        place: (len(all_of), sum(e["is_minor"] for e in all_of), *_different(all_of, "page_id", "user_name"), 0, 0)
        for place, all_of in _by_minute(edits, "wiki", "is_bot").items()
    }


def _positions(positions: list[Mapping[str, Any]]) -> dict[Row, Row]:
    """Of each minute and feed, without a route, as made ones are: positions, vehicles."""
    return {
        (*place, False, ""): (len(all_of), *_different(all_of, "vehicle_id"))
        for place, all_of in _by_minute(positions, "feed").items()
    }


def _canaries(canaries: list[Mapping[str, Any]]) -> dict[Row, Row]:
    """Of each minute: canaries, and their amounts together."""
    return {place: (len(all_of), sum(c["amount"] for c in all_of)) for place, all_of in _by_minute(canaries).items()}


def _by_minute(records: list[Mapping[str, Any]], *names: str) -> dict[Row, list[Mapping[str, Any]]]:
    found: defaultdict[Row, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        minute = record["occurred_at"].replace(second=0, microsecond=0)
        found[minute, *(record[name] for name in names)].append(record)
    return found


def _different(records: list[Mapping[str, Any]], *names: str) -> tuple[int, ...]:
    return tuple(len({record[name] for record in records}) for name in names)
