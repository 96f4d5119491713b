"""What a shop has beside orders as events: products with stock and costs, and customers. What is new in one. Pure.

A product as the shop has it is one or several *units*, each of which can be bought: its variants. A unit's product id
is the one that the lines of orders have. Of a customer nothing is published that says who it is.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args

from producers.connect.orders import Shop
from producers.shop.identifiers import envelope
from producers.shop.occurrences import COST_STATED
from schemas import catalogue
from schemas.binary import EPOCH, MILLISECOND
from schemas.catalogue import Event

Resource = Literal["products", "customers"]
RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)
PRODUCT_OBSERVED: Final = catalogue.event("catalog.product_observed")
STOCK_MOVED: Final = catalogue.event("inventory.stock_moved")
CUSTOMER_CHANGED: Final = catalogue.event("customers.customer_changed")
MEANT_FOR: Final[Mapping[Resource, Event]] = {"products": PRODUCT_OBSERVED, "customers": CUSTOMER_CHANGED}
DAILY_MS: Final = timedelta(hours=20) // timedelta(milliseconds=1)  # all are read once a day, some a little earlier
MOST_AHEAD_MS: Final = 60_000
UNSAID: Final = ("is_public", "product_id", "cost")  # of a unit, by its observation
LONGEST_DESCRIPTION: Final = 2_000
TAG: Final = re.compile(r"<[^>]*>")
SPACE: Final = re.compile(r"\s+")
Record = tuple[Event, dict[str, Any]]


class Unit(NamedTuple):
    """What can be bought, as an observation says it. ``is_public`` is whether visitors of the shop see it.

    ``cost`` is what the shop pays for one; None when the shop does not say.
    """

    product_id: str
    sku: str | None
    name: str
    brand: str | None
    category_path: list[str]
    price: Decimal
    list_price: Decimal | None
    currency: str
    availability: str
    stock_quantity: int | None
    image_urls: list[str]
    description: str
    url: str
    is_public: bool
    cost: Decimal | None = None


class Product(NamedTuple):
    """A product of the shop: its units that have a price, and how many of each are where.

    ``levels`` is by product id and warehouse; None when the shop does not let us know.
    """

    number: str
    units: Sequence[Unit]
    levels: Mapping[tuple[str, str], int] | None


class Customer(NamedTuple):
    """A customer with an account. ``region`` is the country of their address; nothing here says who they are."""

    number: str
    signed_up_ms: int
    region: str


class KnownUnit(NamedTuple):
    """What was last published of a unit, when, and its last price by currency."""

    at_ms: int
    digest: str
    prices: Mapping[str, str]
    said: Mapping[str, Any]
    is_gone: bool = False


class KnownProduct(NamedTuple):
    """What is on the log of a product. ``version`` grows with each change; ``costs`` are by product id."""

    version: int
    at_ms: int
    units: Mapping[str, KnownUnit]
    levels: Mapping[tuple[str, str], int]
    costs: Mapping[str, str] = MappingProxyType({})

    def written(self) -> str:
        """As text, for the memory."""
        levels = [(*where, level) for where, level in self.levels.items()]
        return json.dumps((self.version, self.at_ms, self.units, levels, dict(self.costs)))


NOTHING_KNOWN: Final = KnownProduct(0, 0, {}, {})


def known_product(text: str | None) -> KnownProduct:
    """What ``written`` wrote; of a product that was never seen, nothing."""
    if text is None:
        return NOTHING_KNOWN
    version, at_ms, units, levels, *costs = json.loads(text)  # what an earlier version wrote has no costs
    return KnownProduct(
        version,
        at_ms,
        {product_id: KnownUnit(*unit) for product_id, unit in units.items()},
        {(product_id, warehouse): level for product_id, warehouse, level in levels},
        *costs,
    )


def plain(markup: str) -> str:
    """The text of some HTML, in one line, cut where it is long."""
    return SPACE.sub(" ", html.unescape(TAG.sub(" ", markup))).strip()[:LONGEST_DESCRIPTION]


def news_of(
    shop: Shop, host: str, number: str, product: Product | None, known: KnownProduct, now_ms: int, since_ms: int
) -> tuple[list[Record], KnownProduct]:
    """The events that a product's state asks for, and what is on the log with them. ``product`` None: it is gone.

    A unit is observed when anything of it changed, and at least once a day. One that the shop has no more, or shows
    to nobody, is observed as discontinued, once. Stock moves by what the shop's level differs from the one on the log.
    The first cost of a unit holds from ``since_ms`` on, a later one from now on.
    """
    at_ms = _after(known.at_ms, now_ms)
    units = _by_id(product.units if product else ())
    observed = {
        product_id: _observed(unit, known.units.get(product_id), at_ms)
        for product_id, unit in units.items()
        if unit.is_public
    }
    gone = {
        product_id: _discontinued(last, at_ms)
        for product_id, last in known.units.items()
        if product_id not in observed and not last.is_gone
    }
    fresh = {product_id: unit for product_id, unit in (observed | gone).items() if unit is not None}
    levels = {} if product is None else known.levels if product.levels is None else product.levels
    moved = _moves(known.levels, levels)
    costs = {i: str(unit.cost) for i, unit in units.items() if unit.cost is not None}
    stated = {product_id: cost for product_id, cost in costs.items() if cost != known.costs.get(product_id)}
    if not fresh and not moved and not stated:
        return [], known
    version = known.version + 1
    records = [_observation(shop, host, number, each, version, unit, known) for each, unit in fresh.items()]
    records += [_move(shop, number, where, version, delta, at_ms) for where, delta in moved.items()]
    for product_id in stated:
        valid_ms = at_ms if product_id in known.costs else since_ms
        records.append(_cost(shop, number, units[product_id], version, at_ms, valid_ms))
    kept = {where: level for where, level in levels.items() if level}
    return records, KnownProduct(version, at_ms, {**known.units, **fresh}, kept, {**known.costs, **costs})


def news_of_customer(
    shop: Shop, customer: Customer | None, known: str | None, now_ms: int, called: Callable[[str], str]
) -> tuple[list[Record], str]:
    """The same of a customer; ``known`` and what is returned are as ``written``, and ``called`` is who a customer is.

    The contract can't say that a customer is gone: one stays as they last were, as their orders do.
    """
    version, at_ms, *said = json.loads(known) if known else (0, 0)
    if customer is None or said == list(customer):
        return [], known or json.dumps((0, 0))
    version, at_ms = version + 1, _after(at_ms, now_ms)
    record = {
        **envelope(shop.name, f"customer:{customer.number}:{version}", at_ms),
        "customer_id": called(f"{shop.name}-{customer.number}"),
        "region": customer.region,
        "signup_date": datetime.fromtimestamp(customer.signed_up_ms / 1000, UTC).date(),
        "age_band": "unknown",
        "name_encrypted": None,
        "email_encrypted": None,
    }
    return [(CUSTOMER_CHANGED, record)], json.dumps((version, at_ms, *customer))


def _after(last_ms: int, now_ms: int) -> int:
    """Now, or just after the last event where that is of this moment; a clock that was put back is followed."""
    return max(now_ms, last_ms + 1) if last_ms < now_ms + MOST_AHEAD_MS else now_ms


def _by_id(units: Sequence[Unit]) -> dict[str, Unit]:
    """Of several with one id that which can be had, and is the cheapest."""
    found: dict[str, Unit] = {}
    for unit in sorted(units, key=lambda each: (not each.is_public, each.availability != "in_stock", each.price)):
        found.setdefault(unit.product_id, unit)
    return found


def _observed(unit: Unit, known: KnownUnit | None, at_ms: int) -> KnownUnit | None:
    """What is published of a unit; None when nothing changed and it was published today."""
    said = {name: value for name, value in unit._asdict().items() if name not in UNSAID}
    said |= {name: None if said[name] is None else str(said[name]) for name in ("price", "list_price")}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    if known and digest == known.digest and not known.is_gone and at_ms - known.at_ms < DAILY_MS:
        return None
    prices = {**(known.prices if known else {}), unit.currency: str(unit.price)}
    return KnownUnit(at_ms, digest, prices, said)


def _discontinued(last: KnownUnit, at_ms: int) -> KnownUnit:
    said = {**last.said, "availability": "discontinued", "stock_quantity": None}
    return last._replace(at_ms=at_ms, said=said, is_gone=True)


def _observation(
    shop: Shop, host: str, number: str, product_id: str, version: int, unit: KnownUnit, known: KnownProduct
) -> Record:
    before, said = known.units.get(product_id), unit.said
    previous = before.prices.get(said["currency"]) if before else None
    record = {
        **envelope(shop.name, f"product:{number}:{product_id}:{version}", unit.at_ms),
        **said,
        "shop": host,
        "product_id": product_id,
        "price": Decimal(said["price"]),
        "list_price": None if said["list_price"] is None else Decimal(said["list_price"]),
        "previous_price": None if previous is None else Decimal(previous),
        "specs": {},
        "content_hash": unit.digest,
        "variants": None,
    }
    return PRODUCT_OBSERVED, record


def _cost(shop: Shop, number: str, unit: Unit, version: int, at_ms: int, valid_ms: int) -> Record:
    record = {
        **envelope(shop.name, f"cost:{number}:{unit.product_id}:{version}", at_ms),
        "product_id": unit.product_id,
        "valid_from": EPOCH + valid_ms * MILLISECOND,
        "unit_cost": unit.cost,
        "currency": unit.currency,
        "is_withdrawn": None,
    }
    return COST_STATED, record


def _moves(before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """By how much each level differs, where it does."""
    deltas = {where: after.get(where, 0) - before.get(where, 0) for where in (*before, *after)}
    return {where: delta for where, delta in deltas.items() if delta}


def _move(shop: Shop, number: str, where: tuple[str, str], version: int, delta: int, at_ms: int) -> Record:
    product_id, warehouse = where
    record = {
        **envelope(shop.name, f"stock:{number}:{product_id}:{warehouse}:{version}", at_ms),
        "product_id": product_id,
        "delta": delta,
        "reason": "adjustment",  # a level does not say what moved it
        "warehouse": warehouse,
        "order_id": None,
    }
    return STOCK_MOVED, record
