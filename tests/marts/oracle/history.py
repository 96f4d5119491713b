"""What happened, as far as it counts: the events of a log without copies and late ones, and what is plain from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from tests.marts.oracle.exact import cents, day

Record = Mapping[str, Any]
Row = dict[str, Any]
Place = tuple[int, int]
"""(partition, offset)."""

LONGEST_SESSION = timedelta(hours=24)


def counted(records: Sequence[Record], late: Collection[Place] = ()) -> list[Record]:
    """The first record of each event_id, of those that are not late.

    ``records`` are in the order in which they came. Late ones are known by their place, so with ``late`` each record
    must have ``kafka_partition`` and ``kafka_offset``.
    """
    found: dict[str, Record] = {}
    for record in records:
        if late and (record["kafka_partition"], record["kafka_offset"]) in late:
            continue
        found.setdefault(record["event_id"], record)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of an order; amounts in cents."""

    number: int
    product_id: str
    category: str
    brand: str | None
    quantity: int
    unit_price: int
    discount: int

    @property
    def gross(self) -> int:
        return self.quantity * self.unit_price

    @property
    def sales(self) -> int:
        return self.gross - self.discount


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order with at least one line."""

    order_id: str
    at: datetime
    customer_id: str
    region: str
    channel: str
    currency: str
    session_id: str | None
    lines: tuple[Line, ...]
    charged: Record

    @property
    def day(self) -> date:
        return day(self.at)

    @property
    def units(self) -> int:
        return sum(line.quantity for line in self.lines)

    @property
    def gross(self) -> int:
        return sum(line.gross for line in self.lines)

    @property
    def discount(self) -> int:
        return sum(line.discount for line in self.lines)

    @property
    def sales(self) -> int:
        return self.gross - self.discount


@dataclass(slots=True, kw_only=True)
class Session:
    """A visit, of the interactions that came within a day of its start."""

    session_id: str
    started_at: datetime
    interactions: list[Record] = field(default_factory=list)

    @property
    def day(self) -> date:
        return day(self.started_at)

    @property
    def ended_at(self) -> datetime:
        times: list[datetime] = [i["occurred_at"] for i in self.interactions]
        return max(times)

    @property
    def region(self) -> str:
        return min(str(i["region"]) for i in self.interactions)

    @property
    def campaign(self) -> str | None:
        return min((i["campaign"] for i in self.interactions if i["campaign"] is not None), default=None)

    @property
    def customer_id(self) -> str | None:
        return max((i["user_id"] for i in self.interactions if i["user_id"] is not None), default=None)

    def count(self, step: str) -> int:
        return sum(i["interaction"] == step for i in self.interactions)

    @property
    def carted(self) -> set[str]:
        """Products that were put into the cart."""
        steps = [i for i in self.interactions if i["interaction"] == "add_to_cart"]
        return {i["product_id"] for i in steps if i["product_id"] is not None}

    @property
    def checked_out(self) -> bool:
        return self.count("checkout") > 0

    @property
    def bought(self) -> bool:
        return self.count("purchase") > 0


class History:
    """Events by their contract's name. All of them count."""

    def __init__(self, events: Mapping[str, Iterable[Record]]) -> None:
        self._events = {name: list(records) for name, records in events.items()}
        self.orders = [_order(e) for e in events.get("sales.order_placed", ()) if e["lines"]]
        self.refunds = list(events.get("sales.order_refunded", ()))
        self.interactions = list(events.get("web.interaction", ()))
        self.customers = list(events.get("customers.customer_changed", ()))
        self.looks = list(events.get("catalog.product_observed", ()))
        self.fees = list(events.get("finance.fee_charged", ()))
        self.moves = list(events.get("inventory.stock_moved", ()))

    def events(self, name: str) -> list[Record]:
        """Those of a contract, for what has no name of its own here."""
        return self._events.get(name, [])

    @cached_property
    def as_of(self) -> date | None:
        """The newest day with an order."""
        return max((order.day for order in self.orders), default=None)

    @cached_property
    def since(self) -> date | None:
        """The first day with an order."""
        return min((order.day for order in self.orders), default=None)

    @cached_property
    def orders_of(self) -> dict[str, list[Order]]:
        """Each customer's orders, by time and then by id."""
        found: dict[str, list[Order]] = defaultdict(list)
        for order in sorted(self.orders, key=lambda o: (o.at, o.order_id)):
            found[order.customer_id].append(order)
        return dict(found)

    @cached_property
    def paid_back(self) -> dict[str, int]:
        """Cents paid back so far, by order."""
        found: dict[str, int] = defaultdict(int)
        for refund in self.refunds:
            found[refund["order_id"]] += cents(refund["amount"])
        return found

    @cached_property
    def sessions(self) -> list[Session]:
        found: dict[tuple[date, str], Session] = {}
        for i in self.interactions:
            started_at = i["session_started_at"]
            if i["occurred_at"] - started_at >= LONGEST_SESSION:
                continue
            new = Session(session_id=i["session_id"], started_at=started_at)
            session = found.setdefault((day(started_at), i["session_id"]), new)
            session.started_at = min(session.started_at, started_at)
            session.interactions.append(i)
        return list(found.values())

    @cached_property
    def pages(self) -> dict[str, list[Record]]:
        """Each observed product's looks at its own shop's page, oldest first: that of the newest look of all."""
        of_product: dict[str, list[Record]] = defaultdict(list)
        for look in sorted(self.looks, key=lambda e: (e["occurred_at"], e["event_id"])):
            of_product[look["product_id"]].append(look)
        return {
            product: [look for look in looks if look["shop"] == looks[-1]["shop"]]
            for product, looks in of_product.items()
        }

    @cached_property
    def last_sold(self) -> dict[str, tuple[Order, Line]]:
        """Each product's newest line."""
        lines = [(order, line) for order in self.orders for line in order.lines]
        lines.sort(key=lambda pair: (pair[0].at, pair[0].order_id, pair[1].number))
        return {line.product_id: (order, line) for order, line in lines}

    def category_of(self, product_id: str) -> str | None:
        """The category of a product, of its newest look or as last sold; None when there is none."""
        if product_id in self.pages:
            return category_seen(self.pages[product_id][-1])
        return self.last_sold[product_id][1].category if product_id in self.last_sold else None

    def price_currency_of(self, product_id: str) -> str:
        """The currency of its newest sale; of its newest look when it was never sold."""
        if product_id in self.last_sold:
            return self.last_sold[product_id][0].currency
        return str(self.pages[product_id][-1]["currency"])

    def name_of(self, product_id: str) -> str | None:
        return self.pages[product_id][-1]["name"] if product_id in self.pages else None


def category_seen(look: Record) -> str | None:
    """The narrowest of the breadcrumbs."""
    return look["category_path"][-1] if look["category_path"] else None


CHARGED = ("charged_currency", "charged_total_amount", "charged_shipping_amount", "charged_tax_amount")


def _order(event: Record) -> Order:
    return Order(
        order_id=event["order_id"],
        at=event["occurred_at"],
        customer_id=event["customer_id"],
        region=event["region"],
        channel=event["channel"],
        currency=event["currency"],
        session_id=event["session_id"],
        lines=tuple(
            Line(
                number=number,
                product_id=line["product_id"],
                category=line["category"],
                brand=line["brand"],
                quantity=line["quantity"],
                unit_price=cents(line["unit_price"]),
                discount=cents(line["discount_amount"]),
            )
            for number, line in enumerate(event["lines"], start=1)
        ),
        charged={name: event.get(name) for name in CHARGED},
    )
