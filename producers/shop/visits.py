"""The visits that begin in a minute, each with all that the visitor will do. A pure function of shop and minute."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import accumulate
from math import log, sqrt
from typing import Any, Final

from producers.shop import people, rhythm
from producers.shop.assortment import (
    CATEGORIES,
    CURRENCY,
    EPOCH,
    Product,
    discount,
    price_at,
    products,
    promotion_at,
)
from producers.shop.chance import mixed
from producers.shop.identifiers import event_id, tail_prefix
from producers.shop.occurrences import (
    CUSTOMER_CHANGED,
    INTERACTION,
    MINUTE_US,
    ORDER_PLACED,
    STOCK_MOVED,
    Occurrence,
    Scheduled,
)
from producers.shop.rhythm import REGIONS

Seal = Callable[[int, str, str], bytes | None]
"""(customer number, field, text) → ciphertext, or None when the customer's key is gone."""

SOURCE: Final = "shop"
# Events of all kinds that a visit leads to, on average; what turns a rate of events into a rate of visits. Measured.
EVENTS_PER_VISIT: Final = 7.0
# No visit lasts longer: at most MOST_VIEWS rounds of three steps and five more, each under LONGEST_STEP_US.
MOST_VIEWS: Final = 8
LONGEST_STEP_US: Final = 85_000_000
VISIT_MINUTES: Final = 45

SIGN_UP_SHARE: Final = 0.012
KNOWN_SHARE: Final = 0.30
KNOWN_AT_CHECKOUT_SHARE: Final = 0.30
REFUND_SHARE: Final = 0.04
LONGEST_REFUND_HOURS: Final = 72
FREE_SHIPPING_FROM: Final = Decimal(50)
SHIPPING: Final = Decimal("4.90")
ZERO: Final = Decimal("0.00")
CENT: Final = Decimal("0.01")

ARRIVALS: Final = (  # (referrer, campaign, of a hundred visits)
    (None, None, 34),
    ("www.google.com", None, 22),
    ("www.google.com", "brand_search", 11),
    ("www.google.com", "shopping_ads", 9),
    ("www.instagram.com", "spring_rides", 7),
    ("www.youtube.com", "bike_reviews", 4),
    ("mail.example.com", "newsletter", 8),
    ("www.bikeforum.example", None, 5),
)
ARRIVAL_TABLE: Final = tuple((referrer, campaign) for referrer, campaign, n in ARRIVALS for _ in range(n))
QUANTITIES: Final = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
REFUND_REASONS: Final = ("changed_mind",) * 5 + ("wrong_item",) * 2 + ("damaged",) * 2 + ("late_delivery", "other")
POPULARITY_SLOTS: Final = 16_384


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What a shop follows from: a seed, and how many events a second it has on average."""

    seed: int
    rate: float

    @cached_property
    def products(self) -> tuple[Product, ...]:
        return products(self.seed)

    @cached_property
    def by_id(self) -> dict[str, Product]:
        return {product.product_id: product for product in self.products}

    @cached_property
    def popularity(self) -> tuple[float, ...]:
        """Each product's share of the interest, by number: Zipf's law over the ranks."""
        weights = [1 / (product.rank + 4) ** 0.9 for product in self.products]
        return tuple(weight / sum(weights) for weight in weights)

    @cached_property
    def visits_per_minute(self) -> float:
        return self.rate * 60 / EVENTS_PER_VISIT

    @cached_property
    def sign_ups_per_week(self) -> int:
        return max(1, round(self.visits_per_minute * rhythm.WEEK_MINUTES * SIGN_UP_SHARE))

    @cached_property
    def active_customers(self) -> int:
        """How many of the newest customers still come; older ones have moved on."""
        return int(min(max(2000 * self.rate, 500), 50_000))

    def customers_before(self, minute: int) -> int:
        """How many customers signed up before a minute; their numbers are 0 up to that."""
        return rhythm.count_until(minute, self.sign_ups_per_week)

    def signup_date(self, number: int) -> date:
        minute = rhythm.minute_of(number, self.sign_ups_per_week)
        return datetime.fromtimestamp(minute * 60, UTC).date()


class Visits:
    """Draws visits. Holds tables only; every answer depends on the shop and the minute alone."""

    def __init__(self, shop: Shop, seal: Seal) -> None:
        self._shop = shop
        self._seal = seal
        self._all = _table(shop.products, shop.popularity)
        self._of_category = {
            category.name: _table(*zip(*self._weighted(category.name), strict=True)) for category in CATEGORIES
        }
        self._page = {p.product_id: f"/product/{_slug(p.name)}" for p in shop.products}
        self._category_page = {category.name: f"/category/{_slug(category.name)}" for category in CATEGORIES}

    def _weighted(self, category: str) -> list[tuple[Product, float]]:
        shop = self._shop
        return [(p, shop.popularity[p.number]) for p in shop.products if p.category == category]

    def beginning_in(self, minute: int) -> list[Occurrence]:
        """Everything that the visits which begin in a minute lead to, up to VISIT_MINUTES later; not in order."""
        shop = self._shop
        rng = random.Random(mixed(shop.seed, minute, 21))  # noqa: S311 a shop is drawn, no secret is
        newcomers = range(shop.customers_before(minute), shop.customers_before(minute + 1))
        others = _poisson(rng, shop.visits_per_minute * (1 - SIGN_UP_SHARE) * rhythm.intensity(minute))
        # Whoever comes back must have signed up in a visit that is over.
        newest = shop.customers_before(minute - VISIT_MINUTES - 1) - 1
        sums = rhythm.region_sums(minute)
        found: list[Occurrence] = []
        for n, number in enumerate(newcomers):
            self._visit(found, rng, minute, n, people.region_index(number), newcomer=number)
        for n in range(len(newcomers), len(newcomers) + others):
            region = bisect_right(sums, rng.random() * sums[-1])
            chance = rng.random()
            if chance < KNOWN_SHARE + KNOWN_AT_CHECKOUT_SHARE:
                customer = people.pick(rng, region, newest, shop.active_customers)
                self._visit(found, rng, minute, n, region, customer, known=chance < KNOWN_SHARE)
            else:
                self._visit(found, rng, minute, n, region)
        return found

    def _visit(
        self,
        found: list[Occurrence],
        rng: random.Random,
        minute: int,
        n: int,
        region: int,
        customer: int | None = None,
        *,
        known: bool = False,
        newcomer: int | None = None,
    ) -> None:
        """Append one visit's occurrences to ``found``."""
        chance = rng.random
        at_us = minute * MINUTE_US + int(chance() * MINUTE_US)
        prefix = tail_prefix(rng.getrandbits(58))
        session = f"{minute:08x}-{n:04x}-{prefix[-8:]}"
        referrer, campaign = ARRIVAL_TABLE[int(chance() * len(ARRIVAL_TABLE))]
        region_name = REGIONS[region].name
        started_at = EPOCH + timedelta(microseconds=at_us)
        user = people.customer_id(customer) if known and customer is not None else None
        append, counter = found.append, 0

        def step(kind: str, page: str, product_id: str | None = None, order_id: str | None = None) -> None:
            nonlocal counter
            this = event_id(at_us, prefix, counter)
            counter += 1
            record = {
                "event_id": this,
                "occurred_at": EPOCH + timedelta(microseconds=at_us),
                "source": SOURCE,
                "session_id": session,
                "session_started_at": started_at,
                "interaction": kind,
                "user_id": user,
                "product_id": product_id,
                "order_id": order_id,
                "page": page,
                "referrer": referrer,
                "campaign": campaign,
                "region": region_name,
            }
            append(Occurrence(at_us, this, INTERACTION, record))

        favourite = self._all[int(chance() * POPULARITY_SLOTS)].category
        shelf, shelf_page = self._of_category[favourite], self._category_page[favourite]
        step("page_view", "/" if chance() < 0.6 else shelf_page)
        cart: dict[Product, int] = {}
        if chance() < 0.75:
            for _ in range(MOST_VIEWS):
                if chance() < 0.45:
                    at_us += _pause_us(chance())
                    step("page_view", shelf_page if chance() < 0.8 else "/search")
                at_us += _pause_us(chance())
                slot = int(chance() * POPULARITY_SLOTS)
                product = (shelf if chance() < 0.7 else self._all)[slot]
                page = self._page[product.product_id]
                step("product_view", page, product.product_id)
                if chance() < 0.17:
                    at_us += _pause_us(chance())
                    step("add_to_cart", page, product.product_id)
                    quantity = QUANTITIES[int(chance() * 10)] if product.category != "Bikes" else 1
                    cart[product] = cart.get(product, 0) + quantity
                if chance() > 0.75:
                    break
        if cart and chance() < (0.95 if newcomer is not None else 0.5):
            at_us += _pause_us(chance())
            step("checkout", "/checkout")
            who = newcomer if newcomer is not None else customer
            if newcomer is not None:
                at_us += _pause_us(chance())
                append(self._customer_changed(newcomer, at_us, event_id(at_us, prefix, counter), 0))
                counter += 1
            if who is not None and chance() < 0.8:
                user = people.customer_id(who)
                at_us += _pause_us(chance())
                order_id = f"{minute}-{n:04}"
                step("purchase", f"/order-received/{order_id}", None, order_id)
                self._buy(found, rng, at_us, prefix, counter, order_id, user, region, session, cart)
        elif newcomer is not None:
            at_us += _pause_us(chance())
            append(self._customer_changed(newcomer, at_us, event_id(at_us, prefix, counter), 0))
        elif known and customer is not None and chance() < 0.01:
            at_us += _pause_us(chance())
            append(self._customer_changed(customer, at_us, event_id(at_us, prefix, counter), minute))

    def _buy(
        self,
        found: list[Occurrence],
        rng: random.Random,
        at_us: int,
        prefix: str,
        counter: int,
        order_id: str,
        customer: str,
        region: int,
        session: str,
        cart: dict[Product, int],
    ) -> None:
        """Append an order, what leaves the warehouse for it, and perhaps a refund for later."""
        market = REGIONS[region]
        occurred_at = EPOCH + timedelta(microseconds=at_us)
        lines = [self._line(product, quantity, occurred_at) for product, quantity in cart.items()]
        net = sum((line["quantity"] * line["unit_price"] - line["discount_amount"] for line in lines), ZERO)
        shipping = ZERO if net >= FREE_SHIPPING_FROM else SHIPPING
        this = event_id(at_us, prefix, counter)
        record = {
            "event_id": this,
            "occurred_at": occurred_at,
            "source": SOURCE,
            "order_id": order_id,
            "customer_id": customer,
            "region": market.name,
            "currency": CURRENCY,
            "channel": "web" if rng.random() < 0.7 else "app",
            "session_id": session,
            "lines": lines,
            "shipping_amount": shipping,
            "tax_amount": ((net + shipping) * market.tax_percent / 100).quantize(CENT),
        }
        refund = self._refund(rng, record, at_us, prefix, market) if rng.random() < REFUND_SHARE else None
        found.append(Occurrence(at_us, this, ORDER_PLACED, record, refund))
        for more, line in enumerate(lines, start=counter + 1):
            moved = event_id(at_us, prefix, more)
            found.append(
                stock_moved(moved, at_us, line["product_id"], -line["quantity"], "sale", market.warehouse, order_id)
            )

    def _line(self, product: Product, quantity: int, at: datetime) -> dict[str, Any]:
        price = price_at(product, at)
        promotion = promotion_at(self._shop.seed, product.category, at)
        return {
            "product_id": product.product_id,
            "category": product.category,
            "brand": product.brand,
            "quantity": quantity,
            "unit_price": price,
            "discount_amount": discount(price * quantity, promotion),
        }

    def _refund(
        self, rng: random.Random, order: dict[str, Any], at_us: int, prefix: str, market: rhythm.Region
    ) -> Scheduled:
        """The refund of a whole order or of one of its lines, an hour to three days later."""
        lines = order["lines"] if rng.random() < 0.6 else [rng.choice(order["lines"])]
        hours = min(1 - log(1 - rng.random()) * 16, LONGEST_REFUND_HOURS)
        payload = {
            "prefix": prefix,
            "order_id": order["order_id"],
            "customer_id": order["customer_id"],
            "region": market.name,
            "warehouse": market.warehouse,
            "reason": rng.choice(REFUND_REASONS),
            "lines": [
                {
                    "product_id": line["product_id"],
                    "category": line["category"],
                    "quantity": line["quantity"],
                    "amount": str(line["quantity"] * line["unit_price"] - line["discount_amount"]),
                }
                for line in lines
            ],
        }
        return Scheduled(at_us + int(hours * 60) * MINUTE_US, "refund", payload)

    def _customer_changed(self, number: int, at_us: int, this: str, version: int) -> Occurrence:
        return Occurrence(at_us, this, CUSTOMER_CHANGED, self.customer_record(number, at_us, this, version))

    def customer_record(self, number: int, at_us: int, this: str, version: int) -> dict[str, Any]:
        """A customer's state; ``version`` tells one e-mail address of theirs from the next."""
        person = people.person(self._shop.seed, number, version)
        return {
            "event_id": this,
            "occurred_at": EPOCH + timedelta(microseconds=at_us),
            "source": SOURCE,
            "customer_id": people.customer_id(number),
            "region": REGIONS[people.region_index(number)].name,
            "signup_date": self._shop.signup_date(number),
            "age_band": people.age_band(self._shop.seed, number),
            "name_encrypted": self._seal(number, "name", person.name),
            "email_encrypted": self._seal(number, "email", person.email),
        }


def stock_moved(
    this: str, at_us: int, product_id: str, delta: int, reason: str, warehouse: str, order_id: str | None = None
) -> Occurrence:
    """Units of a product that enter (or, negative, leave) a warehouse."""
    record = {
        "event_id": this,
        "occurred_at": EPOCH + timedelta(microseconds=at_us),
        "source": SOURCE,
        "product_id": product_id,
        "delta": delta,
        "reason": reason,
        "warehouse": warehouse,
        "order_id": order_id,
    }
    return Occurrence(at_us, this, STOCK_MOVED, record)


def _table(things: tuple[Product, ...], weights: tuple[float, ...]) -> tuple[Product, ...]:
    """POPULARITY_SLOTS slots, each thing in as many as its weight asks for: one lookup draws."""
    sums = list(accumulate(weights))
    return tuple(
        things[min(bisect_right(sums, (slot + 0.5) / POPULARITY_SLOTS * sums[-1]), len(things) - 1)]
        for slot in range(POPULARITY_SLOTS)
    )


def _slug(name: str) -> str:
    return "-".join(people.ascii_letters(word) for word in name.split() if people.ascii_letters(word))


def _pause_us(chance: float) -> int:
    """How long a visitor takes for a step: two seconds or more, mostly under half a minute, never very long."""
    return min(2_000_000 - int(log(1 - chance) * 16_000_000), LONGEST_STEP_US)


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    count, left = 0, -log(1 - rng.random())
    while left < mean:
        count += 1
        left -= log(1 - rng.random())
    return count
