"""The shop, minute by minute: what visitors do, what follows from it later (refunds, restocks), and what it costs.

All state is in three small things: the minute, what is scheduled, and the stock levels. A minute is a pure function
of them and of the shop, so a process that starts from written state draws the same events with the same ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import chain, dropwhile
from math import ceil
from typing import Any, Final

from producers.shop import people, shopping_hours
from producers.shop.assortment import Product
from producers.shop.expenses import Expenses, fee_of
from producers.shop.identifiers import event_id, tail_prefix
from producers.shop.occurrences import (
    CUSTOMER_CHANGED,
    MINUTE_MS,
    ORDER_PLACED,
    ORDER_REFUNDED,
    STOCK_MOVED,
    Occurrence,
    Scheduled,
)
from producers.shop.seeded_random import mixed, share
from producers.shop.shopping_hours import REGIONS, Region
from producers.shop.visits import SOURCE, VISIT_MINUTES, ZERO, Seal, Shop, Visits, stock_moved
from schemas.binary import EPOCH
from schemas.errors import Misconfigured

Place = tuple[str, str]
"""(product id, warehouse)."""

UNITS_PER_EVENT: Final = 0.022  # sold, of all products; sizes the warehouses. Measured.
SCARCE_LASTS: Final = 0.35  # of the days from one delivery of what is scarce to the next
DELIVERY_MINUTES: Final = 600  # in which the deliveries of a day come
SCARCE_OF: Final = 15  # products, one is sold out again and again
REFUND_COUNTER: Final = 0x8000  # of event ids: far above what a visit counts up to
RETURNED_TO_STOCK: Final = frozenset({"changed_mind", "wrong_item"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What happened in a minute, in order, and how it changed the state."""

    minute: int
    occurrences: list[Occurrence]
    scheduled: list[Scheduled]
    levels: dict[Place, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stocking:
    """How many units of a product a warehouse likes to hold: orders more when below ``low``, up to ``full``.

    They come within two days; of what is ``scarce``, on one day in so many, and ``full`` at a time.
    """

    low: int
    full: int
    scarce_days: int | None = None


def stockings(shop: Shop) -> dict[Place, Stocking]:
    """For every product in every warehouse: enough for ten days at least, and for a month when full.

    One product in SCARCE_OF comes every week or two, and does not last until it comes again.
    """
    per_day = shop.rate * 86_400 * UNITS_PER_EVENT

    def stocking(product: Product, region: Region) -> Stocking:
        expected = per_day * shop.popularity[product.number] * region.percent / 100
        chance = mixed(shop.seed, product.number, 33)
        if chance % SCARCE_OF:
            return Stocking(low=ceil(4 + 10 * expected), full=ceil(12 + 30 * expected))
        days = 7 + chance // SCARCE_OF % 8
        full = ceil(SCARCE_LASTS * days * expected)
        return Stocking(low=full, full=full, scarce_days=days)

    return {
        (product.product_id, region.warehouse): stocking(product, region)
        for product in shop.products
        for region in REGIONS
    }


class Simulation:
    """A shop that has been open to these events since ``origin``; ``minute`` is the next to come."""

    def __init__(
        self,
        shop: Shop,
        seal: Seal,
        *,
        origin: int,
        minute: int | None = None,
        scheduled: Iterable[Scheduled] = (),
        levels: Mapping[Place, int] | None = None,
        customers_from: int = 0,
        announce: bool = True,
    ) -> None:
        """Without ``minute`` it starts at ``origin``, with an announcement of all customers and of all stock.

        Visits that began before ``origin`` are no part of it. ``customers_from`` narrows the announcement to
        customers from that number on; without ``announce`` there is none. Raises Misconfigured for an origin before
        the shop opened, or when it had fewer customers than come back.
        """
        if (
            origin <= shopping_hours.OPENED + shopping_hours.WEEK_MINUTES
            or shop.newest_customer(origin) < shop.active_customers
        ):
            raise Misconfigured(
                "the synthetic shop opens in January 2015 and has few customers before then; start later"
            )
        self.shop = shop
        self.origin = origin
        self.minute = origin if minute is None else minute
        self.levels: dict[Place, int] = dict(levels or {})
        self.customers_from = customers_from
        self._announce = announce
        self._visits = Visits(shop, seal)
        self._expenses = Expenses(shop, origin)
        self._stockings = stockings(shop)
        self._due: defaultdict[int, list[Scheduled]] = defaultdict(list)
        self._ahead: defaultdict[int, list[Occurrence]] = defaultdict(list)
        self._on_order: set[Place] = set()
        for item in scheduled:
            self._schedule(item)
        for earlier in range(max(origin, self.minute - VISIT_MINUTES), self.minute):
            self._draw(earlier)

    def advance(self) -> Minute:
        """The next minute."""
        minute = self.minute
        self._draw(minute)
        occurrences = self._ahead.pop(minute, [])
        if minute == self.origin and self._announce:
            occurrences += self._announcements()
        for item in self._due.pop(minute, ()):
            occurrences += self._fall_due(item)
        if minute != self.origin or self._announce:
            occurrences += self._expenses.stated_in(minute)
        occurrences.sort()
        occurrences, moved = self._move_stock(occurrences)
        occurrences += [fee_of(o.record, o.at_ms) for o in occurrences if o.event is ORDER_PLACED]
        occurrences.sort()
        scheduled = [o.sets_off for o in occurrences if o.sets_off is not None]
        scheduled += self._restocks(minute, moved)
        for item in scheduled:
            self._schedule(item)
        self.minute = minute + 1
        return Minute(
            minute=minute,
            occurrences=occurrences,
            scheduled=scheduled,
            levels={place: self.levels[place] for place in moved},
        )

    @property
    def pending(self) -> list[Scheduled]:
        """Everything that is scheduled, by time."""
        return sorted((item for items in self._due.values() for item in items), key=lambda item: item.due_ms)

    def _draw(self, minute: int) -> None:
        ahead = self._ahead
        for occurrence in self._visits.beginning_in(minute):
            at_minute = occurrence.at_ms // MINUTE_MS
            if at_minute >= self.minute:
                ahead[at_minute].append(occurrence)

    def _schedule(self, item: Scheduled) -> None:
        self._due[item.minute].append(item)
        if item.kind == "restock":
            self._on_order.add((item.payload["product_id"], item.payload["warehouse"]))

    def _fall_due(self, item: Scheduled) -> list[Occurrence]:
        return self._refund(item) if item.kind == "refund" else self._restock(item)

    def _refund(self, item: Scheduled) -> list[Occurrence]:
        payload = item.payload
        lines: list[dict[str, Any]] = [{**line, "amount": Decimal(line["amount"])} for line in payload["lines"]]
        this = event_id(item.due_ms, payload["prefix"], REFUND_COUNTER)
        record = {
            "event_id": this,
            "occurred_at": EPOCH + timedelta(milliseconds=item.due_ms),
            "source": SOURCE,
            "trace": None,
            "refund_id": f"R{payload['order_id']}",
            "order_id": payload["order_id"],
            "customer_id": payload["customer_id"],
            "region": payload["region"],
            "currency": self.shop.currency,
            "lines": lines,
            # A cursor of before there were refunds of shipping has refunds to come without it.
            "amount": sum((line["amount"] for line in lines), Decimal(payload.get("other", ZERO))),
            "shipping_amount": Decimal(payload.get("shipping", ZERO)),
            "tax_amount": ZERO,
            "reason": payload["reason"],
            # Nor when its order was paid.
            "order_paid_at": EPOCH + timedelta(milliseconds=payload["paid_ms"]) if "paid_ms" in payload else None,
        }
        found = [Occurrence(item.due_ms, this, ORDER_REFUNDED, record)]
        if payload["reason"] in RETURNED_TO_STOCK:
            for counter, line in enumerate(lines, start=REFUND_COUNTER + 1):
                moved = event_id(item.due_ms, payload["prefix"], counter)
                found.append(
                    stock_moved(
                        moved, item.due_ms, line["product_id"], line["quantity"], "adjustment", payload["warehouse"]
                    )
                )
        return found

    def _restock(self, item: Scheduled) -> list[Occurrence]:
        place = (item.payload["product_id"], item.payload["warehouse"])
        self._on_order.discard(place)
        return [self._restocked(item.due_ms, place, item.payload["units"])]

    def _restocked(self, at_ms: int, place: Place, units: int) -> Occurrence:
        warehouse = next(n for n, region in enumerate(REGIONS) if region.warehouse == place[1])
        number = self.shop.by_id[place[0]].number
        prefix = tail_prefix(mixed(self.shop.seed, number, at_ms, 31))
        return stock_moved(event_id(at_ms, prefix, warehouse), at_ms, place[0], units, "restock", place[1])

    def _move_stock(self, occurrences: list[Occurrence]) -> tuple[list[Occurrence], set[Place]]:
        """Take the minute's moves into the levels. Returns what happens, and which places moved.

        An order for more than is there does not happen: its visit ends at the checkout.
        """
        levels, moved = self.levels, set[Place]()
        sales: defaultdict[str, list[Occurrence]] = defaultdict(list)
        for occurrence in occurrences:
            if occurrence.event is STOCK_MOVED and occurrence.record["reason"] == "sale":
                sales[occurrence.record["order_id"]].append(occurrence)
        refused = set()
        for occurrence in occurrences:
            if occurrence.event is ORDER_PLACED:
                moves = [sale.record for sale in sales[occurrence.record["order_id"]]]
                if any(self._lacks(move) for move in moves):
                    refused.add(occurrence.record["order_id"])
                    continue
            elif occurrence.event is STOCK_MOVED and occurrence.record["reason"] != "sale":
                moves = [occurrence.record]
            else:
                continue
            for move in moves:
                place = (move["product_id"], move["warehouse"])
                levels[place] = levels.get(place, 0) + move["delta"]
                moved.add(place)
        happens = [o for o in occurrences if o.record.get("order_id") not in refused] if refused else occurrences
        return happens, moved

    def _lacks(self, sale: Mapping[str, Any]) -> bool:
        """Whether there are fewer units than are sold. A shop that announced no stock lacks nothing."""
        return self._announce and self.levels.get((sale["product_id"], sale["warehouse"]), 0) + sale["delta"] < 0

    def _restocks(self, minute: int, moved: set[Place]) -> list[Scheduled]:
        """Orders for what runs low."""
        ordered = []
        for place in sorted(moved - self._on_order):
            stocking, level = self._stockings[place], self.levels[place]
            if level < stocking.low:
                units = stocking.full if stocking.scarce_days else stocking.full - level
                payload = {"product_id": place[0], "warehouse": place[1], "units": units}
                ordered.append(Scheduled(self._delivery_ms(minute, place, stocking), "restock", payload))
        return ordered

    def _delivery_ms(self, minute: int, place: Place, stocking: Stocking) -> int:
        """When an order of a minute arrives: half a day to two days later, or on the next day that the scarce comes."""
        number = self.shop.by_id[place[0]].number
        if stocking.scarce_days is None:
            return (minute + 720) * MINUTE_MS + mixed(number, minute) % (2160 * MINUTE_MS)
        apart = stocking.scarce_days * 1440
        phase = mixed(self.shop.seed, number, 34) % apart
        days_start = ((minute + phase) // apart + 1) * apart - phase
        return days_start * MINUTE_MS + mixed(number, len(place[1]), days_start) % (DELIVERY_MINUTES * MINUTE_MS)

    def _announcements(self) -> list[Occurrence]:
        """Who the customers are and what lies in the warehouses, at the origin."""
        shop, at_ms = self.shop, self.origin * MINUTE_MS
        newest = shop.newest_customer(self.origin)
        returning = people.who_may_come_back(newest, shop.active_customers)
        signing_up = range(max(newest + 1, 0), shop.customers_before(self.origin))
        found = []
        for number in dropwhile(lambda n: n < self.customers_from, chain(returning, signing_up)):
            this = event_id(at_ms, tail_prefix(mixed(shop.seed, number, at_ms, 32)), 0)
            record = self._visits.customer_record(number, at_ms, this, 0)
            found.append(Occurrence(at_ms, this, CUSTOMER_CHANGED, record))
        for place, stocking in self._stockings.items():
            if place not in self.levels:
                spread = share(shop.seed, self.shop.by_id[place[0]].number, at_ms, len(place[1]))
                units = stocking.low + int((stocking.full - stocking.low) * spread)
                found.append(self._restocked(at_ms, place, units))
        return found


def reopened(simulation: Simulation, seal: Seal, origin: int) -> Simulation:
    """The shop after a pause until ``origin``: what was due meanwhile happens then, and sign-ups are announced."""
    at_ms = origin * MINUTE_MS
    pending = [item if item.due_ms >= at_ms else item._replace(due_ms=at_ms) for item in simulation.pending]
    return Simulation(
        simulation.shop,
        seal,
        origin=origin,
        scheduled=pending,
        levels=simulation.levels,
        customers_from=simulation.shop.customers_before(max(simulation.minute - VISIT_MINUTES, simulation.origin)),
    )
