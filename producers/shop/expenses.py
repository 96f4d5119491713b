"""What the shop pays: for its goods, to its payment provider and for its ads. A pure function of shop and minute.

A supplier's new price is on an invoice, and of one product in five the invoice comes days after the price holds: goods
are then sold at a cost that nobody knew. An ad platform states a day on the next morning, and once more, a little
lower, when it has taken out clicks that were none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from producers.shop.assortment import Product
from producers.shop.identifiers import event_id, event_id_of, tail_prefix
from producers.shop.occurrences import COST_STATED, FEE_CHARGED, MINUTE_MS, SPEND_STATED, Occurrence
from producers.shop.seeded_random import mixed, share
from producers.shop.visits import ARRIVALS, SOURCE, Shop, arrivals_of
from schemas.binary import EPOCH
from schemas.catalogue import Event

CENT: Final = Decimal("0.01")
DAY_MINUTES: Final = 1440
COST_DAYS: Final = 28  # for which a supplier's price holds
COST_MINUTES: Final = COST_DAYS * DAY_MINUTES
LATE_INVOICE_OF: Final = 5  # products, one has its invoices late
LATE_MINUTES: Final = 3 * DAY_MINUTES
NO_INVOICE_OF: Final = 40  # products, one has no invoice that anybody entered
COST_PERCENTS: Final = (48, 52, 54, 56, 58, 60, 62, 64, 68, 74, 82)
COST_MOVES: Final = (97, 99, 100, 100, 101, 103, 105)
PROVIDER: Final = "card"
FEE_SHARE: Final = Decimal("0.014")
FEE_EACH: Final = Decimal("0.25")
STATED_AT: Final = 4 * 60  # minutes of a day
CORRECTED_AFTER_DAYS: Final = 3
VISITS_SAMPLED_EVERY: Final = 15  # minutes


class Campaign(NamedTuple):
    """Where a campaign's ads run and what a click costs, in hundredths of the currency."""

    channel: str
    click_cents: int


CAMPAIGNS: Final = {
    "brand_search": Campaign("google_ads", 38),
    "shopping_ads": Campaign("google_ads", 62),
    "spring_rides": Campaign("instagram", 85),
    "bike_reviews": Campaign("youtube", 140),
}
ARRIVE: Final = {campaign: n for _, campaign, n in ARRIVALS if campaign in CAMPAIGNS}


def cost_of(product: Product, minute: int) -> tuple[int, Decimal] | None:
    """Since which minute a product has had its cost, and the cost; None when nobody ever states one."""
    seed = product.price_seed
    if mixed(seed, 41) % NO_INVOICE_OF == 0:
        return None
    phase = _phase(product)
    period = (minute + phase) // COST_MINUTES
    percent = COST_PERCENTS[mixed(seed, 42) % len(COST_PERCENTS)]
    move = COST_MOVES[mixed(seed, period, 43) % len(COST_MOVES)]
    return period * COST_MINUTES - phase, (product.base_price * percent * move / 10_000).quantize(CENT)


def _phase(product: Product) -> int:
    return mixed(product.price_seed, 44) % COST_DAYS * DAY_MINUTES


def _stated_after(product: Product) -> int:
    """How many minutes after it holds a product's cost is stated."""
    return LATE_MINUTES if mixed(product.price_seed, 45) % LATE_INVOICE_OF == 0 else 0


class Expenses:
    """What a shop that has been open to these events since ``origin`` states about its costs."""

    def __init__(self, shop: Shop, origin: int) -> None:
        self._shop = shop
        self._origin = origin
        self._stated_at: defaultdict[int, list[Product]] = defaultdict(list)  # minute of a cycle: products
        for product in shop.products:
            self._stated_at[(_stated_after(product) - _phase(product)) % COST_MINUTES].append(product)

    def stated_in(self, minute: int) -> Iterator[Occurrence]:
        """What is stated in a minute; in the first one, the cost of everything that has one."""
        known = self._shop.products if minute == self._origin else self._stated_at.get(minute % COST_MINUTES, ())
        for product in known:
            yield from self._cost(product, minute, minute - _stated_after(product))
        if minute % DAY_MINUTES == STATED_AT:
            yield from self._spend(minute, days_ago=1, percent=100)
            yield from self._spend(minute, days_ago=CORRECTED_AFTER_DAYS, percent=97)

    def _cost(self, product: Product, minute: int, held_in: int) -> Iterator[Occurrence]:
        if (found := cost_of(product, held_in)) is None:
            return
        since, unit_cost = found
        yield self._stated(
            COST_STATED,
            minute,
            mixed(self._shop.seed, product.number, minute, 46),
            product_id=product.product_id,
            valid_from=EPOCH + timedelta(minutes=since),
            unit_cost=unit_cost,
        )

    def _spend(self, minute: int, *, days_ago: int, percent: int) -> Iterator[Occurrence]:
        midnight = minute - STATED_AT - days_ago * DAY_MINUTES
        visits = self._visits_of_day(midnight)
        if not visits:
            return
        arrivals = arrivals_of(midnight + DAY_MINUTES // 2)
        for place, (campaign, (channel, click_cents)) in enumerate(CAMPAIGNS.items()):
            chance = share(self._shop.seed, place, midnight, 47)
            clicks = round(visits * ARRIVE[campaign] / len(arrivals) * (0.92 + 0.16 * chance) * percent / 100)
            yield self._stated(
                SPEND_STATED,
                minute,
                mixed(self._shop.seed, place, midnight, days_ago, 48),
                channel=channel,
                campaign=campaign,
                day=(EPOCH + timedelta(minutes=midnight)).date(),
                amount=CENT * (clicks * click_cents),
                impressions=clicks * (20 + 15 * place),
                clicks=clicks,
            )

    def _visits_of_day(self, midnight: int) -> float:
        """How many visits a day has had in the mean, of its minutes since the origin."""
        minutes = range(max(midnight, self._origin), midnight + DAY_MINUTES, VISITS_SAMPLED_EVERY)
        return self._shop.visits_per_minute * sum(map(self._shop.busy, minutes)) * VISITS_SAMPLED_EVERY

    def _stated(self, event: Event, minute: int, chance: int, **fields: Any) -> Occurrence:
        at_ms = minute * MINUTE_MS
        this = event_id(at_ms, tail_prefix(chance), 0)
        record = {
            "event_id": this,
            "occurred_at": EPOCH + timedelta(minutes=minute),
            "source": SOURCE,
            "trace": None,
            "currency": self._shop.currency,
            **fields,
        }
        return Occurrence(at_ms, this, event, record)


def fee_of(order: Mapping[str, Any], at_ms: int) -> Occurrence:
    """What the payment provider keeps of an order's total, when it is paid."""
    fee_id = f"F{order['order_id']}"
    this = event_id_of(SOURCE, fee_id, at_ms)
    record = {
        "event_id": this,
        "occurred_at": order["occurred_at"],
        "source": SOURCE,
        "trace": None,
        "fee_id": fee_id,
        "order_id": order["order_id"],
        "provider": PROVIDER,
        "amount": (order["total_amount"] * FEE_SHARE + FEE_EACH).quantize(CENT),
        "currency": order["currency"],
    }
    return Occurrence(at_ms, this, FEE_CHARGED, record)
