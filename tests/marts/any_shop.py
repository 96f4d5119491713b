"""Histories of a shop by the seed: some months, few of everything so that things meet, and awkward where it hurts.

Ties at one moment, edges of midnights, months and windows, one product in several lines, refunds on later days and of
orders that nobody knows, customers who were never announced or never bought, products that no page shows or two shops
show, prices in two currencies by turns, names that read like totals or none, visits of nobody, any script. They fit
their contracts, the unwritten half too: an order's number is its own, and a session has one start.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from aggregates.catalogue import aggregates
from schemas.catalogue import Event, avro_events
from tests.aggregates.any_events import any_record
from tests.marts.oracle.exact import OF_SHOPS

Record = dict[str, Any]
Log = dict[str, list[Record]]

BEGINNING = date(2026, 1, 18)
DAYS = 75
BUSY = (3, 14, 33, 34, 73)
MILLISECOND = timedelta(milliseconds=1)
ONE_DAY = timedelta(days=1)
LOOKBACK = timedelta(days=30)

REGIONS = ("EU", "US", "日本", "eu", "(all)")
CATEGORIES = ("Bikes", "Vélos", "Ve\u0301los", 'it\'s "so"', "(all)")
CUSTOMERS = tuple(f"C-{n}" for n in range(9)) + ("c-1", "C-３", "ü")
PRODUCTS = tuple(f"P-{n}" for n in range(7)) + ("p-1", "P-１")
UNSEEN = PRODUCTS[4:7]
CAMPAIGNS = (None, None, None, "spring", "été 🚲", "brand", "", "(none)")
CURRENCIES = ("EUR", "EUR", "EUR", "USD")
OF_ORDERS = ("any", *OF_SHOPS)
SHOPS = ("shop.example", "zweites.example")
STEPS = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")
REASONS = ("damaged", "wrong_item", "changed_mind")


def any_shop(seed: int, *, size: int = 60) -> Log:
    """Records by event name, oldest first. ``size`` is the number of visits, and about that of orders."""
    rng = Random(f"shop {seed}")
    visits = [_visit(rng, n) for n in range(size)]
    orders = [_order(rng, n, rng.choice(visits)[0]) for n in range(size)]
    _sell_weeks_before_the_newest(rng, orders)
    log = {
        "web.interaction": [interaction for visit in visits for interaction in visit],
        "sales.order_placed": orders,
        "sales.order_refunded": [_refund(rng, n, rng.choice(orders)) for n in range(size // 4)],
        "customers.customer_changed": [change for _ in range(10) for change in _changes(rng)],
        "catalog.product_observed": _looks(rng, size),
        "inventory.stock_moved": [_move(rng) for _ in range(size)],
        "finance.cost_stated": [_cost(rng) for _ in range(size // 4)],
        "finance.fee_charged": [_fee(rng, n, order) for n, order in enumerate(rng.sample(orders, size // 2))],
        "marketing.spend_stated": [_spend(rng) for _ in range(size // 4)],
    }
    log |= {e.name: [any_record(e.avro_schema, rng, _moment(rng)) for _ in range(size)] for e in _others(log)}
    for name, records in log.items():
        for record in records:
            record |= {"event_id": f"{rng.getrandbits(64):016x}", "trace": None}
            record.setdefault("source", "any")
        log[name] = sorted(records, key=lambda record: record["occurred_at"])
    return log


def _others(log: Log) -> list[Event]:
    """What else an aggregate counts; the above has none of its awkward cases."""
    counted = {name for a in aggregates() for name in a.inputs}
    return [e for e in avro_events() if e.name in counted - log.keys()]


def _moment(rng: Random) -> datetime:
    day = datetime.combine(BEGINNING + rng.choice((*BUSY, rng.randrange(DAYS))) * ONE_DAY, time(), UTC)
    within = (timedelta(0), ONE_DAY - MILLISECOND, timedelta(hours=12), rng.randrange(86_400_000) * MILLISECOND)
    return day + rng.choices(within, (1, 1, 2, 6))[0]


def _amount(rng: Random) -> Decimal:
    return Decimal(rng.choice((1, 999, 1000, rng.randrange(1, 30_000)))).scaleb(-2)


def _visit(rng: Random, number: int) -> list[Record]:
    started_at = _moment(rng)
    common = {
        "session_id": f"S-{number}",
        "session_started_at": started_at,
        "order_id": None,
        "page": "/",
        "referrer": None,
        "campaign": rng.choice(CAMPAIGNS),
        "region": rng.choice(REGIONS),
    }
    who = rng.choice((None, *CUSTOMERS))
    found: list[Record] = []

    def step(kind: str, at: datetime) -> None:
        product = rng.choice((None, *PRODUCTS, *PRODUCTS)) if kind in STEPS[1:3] else None
        known = {"user_id": who if rng.random() < 0.7 else None, "product_id": product}
        found.append({**common, **known, "interaction": kind, "occurred_at": at})

    at = started_at
    for _ in range(rng.choice((1, 1, 2, 4, 9))):
        step(rng.choice(STEPS), at)
        pauses = (timedelta(0), MILLISECOND, timedelta(minutes=3), timedelta(hours=11), ONE_DAY)
        at += rng.choices(pauses, (4, 4, 20, 2, 1))[0]
    if rng.random() < 0.2:  # a day after its start a session is over
        step("checkout", started_at)
        step("add_to_cart", started_at + ONE_DAY - rng.choice((MILLISECOND, timedelta(0))))
    return found


def _order(rng: Random, number: int, visit: Record) -> Record:
    """Some from the visit, some at the edges of when the visit is still thought to have led to it."""
    began = visit["session_started_at"]
    edges = (LOOKBACK, LOOKBACK - MILLISECOND, timedelta(0), -MILLISECOND, timedelta(minutes=9), timedelta(days=2))
    at = rng.choice((_moment(rng), _moment(rng), *(began + edge for edge in edges)))
    return {
        "occurred_at": at,
        "source": OF_ORDERS[number % len(OF_ORDERS)],
        "order_id": f"O-{number}",
        "customer_id": rng.choice((visit["user_id"] or CUSTOMERS[0], rng.choice(CUSTOMERS))),
        "region": rng.choice(REGIONS),
        "currency": "EUR",
        "channel": rng.choice(("web", "app", "store")),
        "session_id": rng.choice((None, visit["session_id"], f"S-{rng.randrange(90)}")),
        "lines": [_line(rng) for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 5)))],
        "shipping_amount": Decimal("4.90"),
        "tax_amount": _amount(rng),
        "tip_amount": rng.choice((None, Decimal("2.00"))),
        "duties_amount": rng.choice((None, None, _amount(rng))),
        "gift_card_amount": None,
        "total_amount": None,
        "taxes_included": rng.choice((None, True, False)),
        "discounts": _discounts(rng),
        "paid_at": rng.choice((None, at, at + timedelta(hours=30))),
        "fulfilled_at": rng.choice((None, at + timedelta(days=2))),
        "cancelled_at": None,
        **_charged(rng, "total_amount", "shipping_amount", "tax_amount"),
    }


def _charged(rng: Random, *amounts: str) -> Record:
    """Half of them in the shop's currency; no mart may add these."""
    drawn = {
        "currency": rng.choice(("USD", "JPY", "KWD")),
        **{name: Decimal(rng.randrange(10**7)).scaleb(-3) for name in amounts},
        "rate": Decimal(rng.randrange(1, 10**6)).scaleb(-4),
        "rate_source": "ecb",
        "rate_on": BEGINNING,
    }
    is_foreign = rng.random() < 0.5
    return {f"charged_{name}": value if is_foreign else None for name, value in drawn.items()}


def _discounts(rng: Random) -> list[Record] | None:
    """Sometimes one code twice, and discounts without one."""
    codes = (None, "SUMMER", "summer", "été", "")
    found = [
        {"code": rng.choice(codes), "title": rng.choice((None, "summer")), "amount": _amount(rng)}
        for _ in range(rng.choice((0, 1, 1, 3)))
    ]
    return rng.choice((None, found, found))


def _sell_weeks_before_the_newest(rng: Random, orders: list[Record]) -> None:
    """Days of cover look back four weeks: some of the orders are at the edge of that."""
    newest = max(order["occurred_at"] for order in orders if order["lines"])
    midnight = newest.replace(hour=0, minute=0, second=0, microsecond=0)
    edges = (midnight - 27 * ONE_DAY, midnight - 27 * ONE_DAY - MILLISECOND, midnight + ONE_DAY - MILLISECOND)
    for order in rng.sample(orders, len(orders) // 10):
        order["occurred_at"] = rng.choice(edges)


def _line(rng: Random) -> Record:
    quantity, price = rng.choice((1, 1, 2, 3)), _amount(rng)
    return {
        "product_id": rng.choice(PRODUCTS),
        "category": rng.choice(CATEGORIES),
        "brand": rng.choice((None, "Ünder")),
        "quantity": quantity,
        "unit_price": price,
        "discount_amount": rng.choice((Decimal("0.00"), Decimal("0.01"), quantity * price)),
    }


def _refund(rng: Random, number: int, order: Record) -> Record:
    later = rng.choice((timedelta(0), timedelta(hours=7), timedelta(days=rng.randrange(1, 40))))
    lines = [
        {**{name: line[name] for name in ("product_id", "category", "quantity")}, "amount": _amount(rng)}
        for line in order["lines"][: rng.choice((0, 1, 1, 5))]
    ]
    return {
        "occurred_at": order["occurred_at"] + later,
        "source": order["source"],
        "refund_id": f"R-{number}",
        "order_id": rng.choices((order["order_id"], "unknown"), (9, 1))[0],
        "customer_id": order["customer_id"],
        "region": order["region"],
        "currency": "EUR",
        "lines": lines,
        "amount": sum((line["amount"] for line in lines), Decimal("4.90") * (number % 2)),
        "shipping_amount": rng.choice((None, Decimal("4.90") * (number % 2))),
        "tax_amount": rng.choice((None, Decimal("0.00"), Decimal("0.01"))),
        "reason": rng.choice(REASONS),
        **_charged(rng, "amount"),
    }


def _changes(rng: Random) -> list[Record]:
    """One, or two of one moment."""
    at, who = _moment(rng), rng.choice((*CUSTOMERS[:6], "only announced"))
    return [_change(rng, at, who) for _ in range(rng.choice((1, 2)))]


def _change(rng: Random, at: datetime, who: str) -> Record:
    return {
        "occurred_at": at,
        "customer_id": who,
        "region": rng.choice(REGIONS),
        "signup_date": BEGINNING - rng.randrange(400) * ONE_DAY,
        "age_band": rng.choice(("unknown", "under_25", "over_64")),
        "name_encrypted": rng.choice((None, rng.randbytes(9))),
        "email_encrypted": None,
    }


def _looks(rng: Random, number: int) -> list[Record]:
    """Of one page often the same price; now and then two looks at one moment, by two observers."""
    found: list[Record] = []
    prices: dict[tuple[str, str, str], Decimal] = {}
    moments = sorted(_moment(rng) for _ in range(number))
    for at in moments:
        shop, product = rng.choices(SHOPS, (9, 1))[0], rng.choice([p for p in PRODUCTS if p not in UNSEEN])
        for _ in range(rng.choices((1, 2), (9, 1))[0]):
            currency = rng.choice(CURRENCIES)
            before = prices.get((shop, product, currency))
            price = before if before is not None and rng.random() < 0.5 else _amount(rng)
            prices[shop, product, currency] = price
            found.append(_look(rng, at, shop, product, before, price, currency))
    return found


def _look(
    rng: Random, at: datetime, shop: str, product: str, before: Decimal | None, price: Decimal, currency: str
) -> Record:
    return {
        "occurred_at": at,
        "shop": shop,
        "product_id": product,
        "sku": rng.choice((None, "sku")),
        "name": f"{product} {rng.choice(('one', 'two', 'drei ß'))}",
        "brand": rng.choice((None, "Brand")),
        "category_path": list(_some(rng, CATEGORIES)),
        "price": price,
        "list_price": rng.choice((None, price + 1)),
        "previous_price": before,
        "currency": currency,
        "availability": rng.choice(("in_stock", "out_of_stock")),
        "stock_quantity": rng.choice((None, 0, 12)),
        "image_urls": [],
        "description": "",
        "specs": {},
        "url": f"https://{shop}/{product}",
        "content_hash": f"{rng.getrandbits(32):x}",
    }


def _some(rng: Random, of: Sequence[str]) -> Sequence[str]:
    return rng.sample(of, rng.choice((0, 1, 1, 2)))


def _move(rng: Random) -> Record:
    reason = rng.choice(("sale", "restock", "adjustment"))
    units = rng.randrange(1, 30)
    return {
        "occurred_at": _moment(rng),
        "product_id": rng.choice((*PRODUCTS, "only in stock")),
        "delta": {"sale": -units, "restock": units, "adjustment": rng.choice((units, -units))}[reason],
        "reason": reason,
        "warehouse": rng.choice(("Paris", "Łódź")),
        "order_id": None,
    }


def _cost(rng: Random) -> Record:
    """Now and then of days before, or of a time that was stated already; some products have none."""
    at = _moment(rng)
    ago = rng.choice((timedelta(0), timedelta(0), timedelta(hours=9), rng.randrange(60) * ONE_DAY))
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "occurred_at": at,
        "product_id": rng.choice(PRODUCTS[:6]),
        "valid_from": rng.choice((at, midnight, midnight.replace(day=1))) - ago,
        "unit_cost": rng.choice((Decimal("0.00"), Decimal("5.00"), _amount(rng))),
        "currency": "EUR",
        "is_withdrawn": rng.choice((None, None, False, True)),
    }


def _fee(rng: Random, number: int, order: Record) -> Record:
    return {
        "occurred_at": order["occurred_at"] + rng.choice((timedelta(0), ONE_DAY)),
        "fee_id": f"F-{number}",
        "order_id": rng.choices((order["order_id"], "unknown"), (9, 1))[0],
        "provider": rng.choice(("card", "ü")),
        "amount": rng.choice((Decimal("0.25"), Decimal("-0.25"), Decimal("0.00"))),
        "currency": "EUR",
        "version": None,
        "is_deleted": None,
    }


def _spend(rng: Random) -> Record:
    return {
        "occurred_at": _moment(rng),
        "channel": rng.choice(("ads", "Ads")),
        "campaign": rng.choice([campaign for campaign in CAMPAIGNS if campaign is not None]),
        "day": BEGINNING + rng.choice(BUSY) * ONE_DAY,
        "amount": rng.choice((Decimal("0.00"), _amount(rng))),
        "currency": "EUR",
        "impressions": None,
        "clicks": rng.choice((None, 0, 7)),
    }
