"""The visits that begin in a minute, each with all that the visitor will do. A pure function of shop and minute.

Longer than 400 lines, because a visit is one walk: its steps share the visitor, the cart and one stream of chance.
"""

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

from producers.shop import people, shopping_hours
from producers.shop.assortment import (
    CATEGORIES,
    Product,
    appeal,
    discount,
    price_at,
    products,
    promotion_at,
    sale_at,
)
from producers.shop.identifiers import event_id, tail_prefix
from producers.shop.occurrences import (
    CUSTOMER_CHANGED,
    INTERACTION,
    MINUTE_MS,
    ORDER_PLACED,
    STOCK_MOVED,
    Occurrence,
    Scheduled,
)
from producers.shop.seeded_random import mixed
from producers.shop.shopping_hours import REGIONS, Region
from schemas.binary import EPOCH

Seal = Callable[[int, str, str], bytes | None]
"""(customer number, field, text) → ciphertext, or None when the customer's key is gone."""

SOURCE: Final = "shop"
# Events of all kinds that a visit leads to, on average; what turns a rate of events into a rate of visits. Measured.
EVENTS_PER_VISIT: Final = 6.9
# No visit lasts longer: at most MOST_VIEWS rounds of three steps and five more, each under LONGEST_STEP_MS.
MOST_VIEWS: Final = 8
LONGEST_STEP_MS: Final = 85_000
VISIT_MINUTES: Final = 45

SIGN_UP_SHARE: Final = 0.012
KNOWN_SHARE: Final = 0.30
KNOWN_AT_CHECKOUT_SHARE: Final = 0.30
REFUND_SHARE: Final = 0.04
GOODWILL: Final = Decimal("5.00")  # paid back of an order that had no shipping to pay back
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
NEWSLETTER_TABLE: Final = (*ARRIVAL_TABLE, *(("mail.example.com", "newsletter"),) * 20)
QUANTITIES: Final = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
REFUND_REASONS: Final = ("changed_mind",) * 5 + ("wrong_item",) * 2 + ("damaged",) * 2 + ("late_delivery", "other")
BOUNCE_SHARE: Final = 0.2
CART_SHARE: Final = 0.125  # of the looks at a product at its base price
SALE_RUSH: Final = 1.3  # visits while the whole shop is on sale, to one without
NEWSLETTER_DAY: Final = 3  # of a week from Monday: on Thursday most visits by newsletter come
POPULARITY_SLOTS: Final = 16_384
# How long visitors take for a step: two seconds or more, mostly under half a minute, never very long. Exponential.
PAUSES_MS: Final = tuple(min(2_000 - int(log(1 - n / 4096) * 16_000), LONGEST_STEP_MS) for n in range(4096))


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What a shop follows from: a seed, how many events a second it has on average, and what it sells for."""

    seed: int
    rate: float
    currency: str = "EUR"

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

    def busy(self, minute: int) -> float:
        """How many visits a minute has, to the mean one."""
        rush = SALE_RUSH if sale_at(self.seed, minute) else 1.0
        return shopping_hours.intensity(minute) * shopping_hours.season(minute) * rush

    @cached_property
    def sign_ups_per_week(self) -> int:
        return max(1, round(self.visits_per_minute * shopping_hours.WEEK_MINUTES * SIGN_UP_SHARE))

    @cached_property
    def active_customers(self) -> int:
        """How many of the newest customers all come back; of older ones some do (``people.who_may_come_back``)."""
        return int(min(max(2000 * self.rate, 4000), 50_000))

    def customers_before(self, minute: int) -> int:
        """How many customers signed up before a minute; their numbers are 0 up to that."""
        return shopping_hours.count_until(minute, self.sign_ups_per_week)

    def newest_customer(self, minute: int) -> int:
        """Number of the newest one who may come back in a minute: whose visit of signing up is over."""
        return self.customers_before(minute - VISIT_MINUTES - 1) - 1

    def signup_date(self, number: int) -> date:
        """The day (UTC) on which the customer signed up."""
        minute = shopping_hours.minute_of(number, self.sign_ups_per_week)
        return datetime.fromtimestamp(minute * 60, UTC).date()


class Visits:
    """Draws visits. Holds tables only; every answer depends on the shop and the minute alone."""

    def __init__(self, shop: Shop, seal: Seal) -> None:
        self.shop = shop
        self._seal = seal
        self.all = _table(shop.products, shop.popularity)
        self.of_category = {
            category.name: _table(*zip(*self._weighted(category.name), strict=True)) for category in CATEGORIES
        }
        self.page = tuple(f"/product/{_slug(product.name)}" for product in shop.products)
        self.category_page = {category.name: f"/category/{_slug(category.name)}" for category in CATEGORIES}

    def _weighted(self, category: str) -> list[tuple[Product, float]]:
        shop = self.shop
        return [(p, shop.popularity[p.number]) for p in shop.products if p.category == category]

    def beginning_in(self, minute: int) -> list[Occurrence]:
        """Everything that the visits which begin in a minute lead to, up to VISIT_MINUTES later; not in order."""
        shop = self.shop
        rng = random.Random(mixed(shop.seed, minute, 21))  # noqa: S311 a shop is drawn, no secret is
        newcomers = range(shop.customers_before(minute), shop.customers_before(minute + 1))
        others = _poisson(rng, shop.visits_per_minute * (1 - SIGN_UP_SHARE) * shop.busy(minute))
        newest = shop.newest_customer(minute)
        sums = shopping_hours.region_sums(minute)
        found: list[Occurrence] = []
        for n, number in enumerate(newcomers):
            _Visit(self, found, rng, minute, n, people.region_index(number)).of_newcomer(number)
        for n in range(len(newcomers), len(newcomers) + others):
            region = bisect_right(sums, rng.random() * sums[-1])
            visit = _Visit(self, found, rng, minute, n, region)
            chance = rng.random()
            if chance < KNOWN_SHARE:
                visit.of_known(people.pick(rng, region, newest, shop.active_customers))
            elif chance < KNOWN_SHARE + KNOWN_AT_CHECKOUT_SHARE:
                visit.of_stranger(people.pick(rng, region, newest, shop.active_customers))
            else:
                visit.of_stranger(None)
        return found

    def customer_changed(self, number: int, at_ms: int, this: str, version: int) -> Occurrence:
        """The event of a customer's record as of ``version``."""
        return Occurrence(at_ms, this, CUSTOMER_CHANGED, self.customer_record(number, at_ms, this, version))

    def customer_record(self, number: int, at_ms: int, this: str, version: int) -> dict[str, Any]:
        """A customer's state; ``version`` selects their e-mail address."""
        person = people.person(self.shop.seed, number, version)
        return {
            "event_id": this,
            "occurred_at": EPOCH + timedelta(milliseconds=at_ms),
            "source": SOURCE,
            "trace": None,
            "customer_id": people.customer_id(number),
            "region": REGIONS[people.region_index(number)].name,
            "signup_date": self.shop.signup_date(number),
            "age_band": people.age_band(self.shop.seed, number),
            "name_encrypted": self._seal(number, "name", person.name),
            "email_encrypted": self._seal(number, "email", person.email),
        }


class _Visit:
    """One visit while it is drawn. What happens is appended to ``found``; the visit's clock moves with each step."""

    __slots__ = (
        "_at_ms",
        "_cart",
        "_common",
        "_counter",
        "_found",
        "_minute",
        "_order_id",
        "_prefix",
        "_region",
        "_rng",
        "_user",
        "_visits",
    )

    def __init__(
        self, visits: Visits, found: list[Occurrence], rng: random.Random, minute: int, n: int, region: int
    ) -> None:
        self._visits = visits
        self._found = found
        self._rng = rng
        self._minute = minute
        self._region = region
        self._order_id = f"{minute}-{n:04}"
        self._at_ms = minute * MINUTE_MS + int(rng.random() * MINUTE_MS)
        self._prefix = tail_prefix(rng.getrandbits(58))
        self._counter = 0
        self._user: str | None = None
        self._cart: dict[int, int] = {}  # product number: units
        arrivals = arrivals_of(minute)
        referrer, campaign = arrivals[int(rng.random() * len(arrivals))]
        self._common = {
            "source": SOURCE,
            "trace": None,
            "session_id": f"{minute:08x}-{n:04x}-{self._prefix[-8:]}",
            "session_started_at": datetime.fromtimestamp(self._at_ms / 1000, UTC),
            "order_id": None,
            "referrer": referrer,
            "campaign": campaign,
            "region": REGIONS[region].name,
        }

    def of_newcomer(self, number: int) -> None:
        """Someone who signs up: at the checkout, or just so."""
        self._browse()
        chance = self._rng.random
        if self._cart and chance() < 0.95:
            self._pause()
            self._step("checkout", "/checkout", None)
            self._change(number, version=0)
            if chance() < 0.8:
                self._purchase(number)
        else:
            self._change(number, version=0)

    def of_known(self, number: int) -> None:
        """A customer who is logged in from the start; a few change their address."""
        self._user = people.customer_id(number)
        self.of_stranger(number)
        if self._rng.random() < 0.01:
            self._change(number, version=self._minute)

    def of_stranger(self, number: int | None) -> None:
        """Someone who logs in at the checkout at the earliest: customer ``number``, or nobody who ever will."""
        self._browse()
        chance = self._rng.random
        if self._cart and chance() < 0.5:
            self._pause()
            self._step("checkout", "/checkout", None)
            if number is not None and chance() < 0.8:
                self._purchase(number)

    def _browse(self) -> None:
        visits, chance = self._visits, self._rng.random
        favourite = visits.all[int(chance() * POPULARITY_SLOTS)].category
        shelf, shelf_page = visits.of_category[favourite], visits.category_page[favourite]
        self._step("page_view", "/" if chance() < 0.6 else shelf_page, None)
        if chance() < BOUNCE_SHARE:
            return
        for _ in range(MOST_VIEWS):
            if chance() < 0.5:
                self._pause()
                self._step("page_view", shelf_page if chance() < 0.8 else "/search", None)
            self._pause()
            product = (shelf if chance() < 0.7 else visits.all)[int(chance() * POPULARITY_SLOTS)]
            self._step("product_view", visits.page[product.number], product.product_id)
            if chance() < CART_SHARE * appeal(visits.shop.seed, product, self._minute):
                self._pause()
                self._step("add_to_cart", visits.page[product.number], product.product_id)
                units = 1 if product.category == "Bikes" else QUANTITIES[int(chance() * len(QUANTITIES))]
                self._cart[product.number] = self._cart.get(product.number, 0) + units
            if chance() > 0.8:
                return

    def _pause(self) -> None:
        self._at_ms += PAUSES_MS[int(self._rng.random() * len(PAUSES_MS))]

    def _event_id(self) -> str:
        self._counter += 1
        return event_id(self._at_ms, self._prefix, self._counter)

    def _step(self, kind: str, page: str, product_id: str | None) -> dict[str, Any]:
        at_ms = self._at_ms
        this = self._event_id()
        record = {
            **self._common,
            "event_id": this,
            "occurred_at": datetime.fromtimestamp(at_ms / 1000, UTC),
            "interaction": kind,
            "user_id": self._user,
            "product_id": product_id,
            "page": page,
        }
        self._found.append(Occurrence(at_ms, this, INTERACTION, record))
        return record

    def _change(self, number: int, *, version: int) -> None:
        self._pause()
        self._found.append(self._visits.customer_changed(number, self._at_ms, self._event_id(), version))

    def _purchase(self, number: int) -> None:
        """The purchase, its order and what leaves the warehouse, all at one time; perhaps a refund for later."""
        self._pause()
        self._user = people.customer_id(number)
        self._step("purchase", f"/order-received/{self._order_id}", None)["order_id"] = self._order_id
        at_ms, rng, market = self._at_ms, self._rng, REGIONS[self._region]
        order = self._order(datetime.fromtimestamp(at_ms / 1000, UTC), market)
        refund = self._refund(order, market) if rng.random() < REFUND_SHARE else None
        self._found.append(Occurrence(at_ms, order["event_id"], ORDER_PLACED, order, refund))
        for line in order["lines"]:
            units, product_id = line["quantity"], line["product_id"]
            this = self._event_id()
            self._found.append(stock_moved(this, at_ms, product_id, -units, "sale", market.warehouse, self._order_id))

    def _order(self, at: datetime, market: Region) -> dict[str, Any]:
        lines = [self._line(self._visits.shop.products[number], units, at) for number, units in self._cart.items()]
        net = sum((line["quantity"] * line["unit_price"] - line["discount_amount"] for line in lines), ZERO)
        shipping = ZERO if net >= FREE_SHIPPING_FROM else SHIPPING
        tax = ((net + shipping) * market.tax_percent / 100).quantize(CENT)
        return {
            "event_id": self._event_id(),
            "occurred_at": at,
            "source": SOURCE,
            "trace": None,
            "order_id": self._order_id,
            "customer_id": self._user,
            "region": market.name,
            "currency": self._visits.shop.currency,
            "channel": "web" if self._rng.random() < 0.7 else "app",
            "session_id": self._common["session_id"],
            "lines": lines,
            "shipping_amount": shipping,
            "tax_amount": tax,
            "total_amount": net + shipping + tax,
            "taxes_included": False,
            "discounts": self._discounts(lines, at),
            "paid_at": at,  # by card, at the checkout
        }

    def _discounts(self, lines: list[dict[str, Any]], at: datetime) -> list[dict[str, Any]]:
        """What the promotions took off the lines, by their names. Nobody enters a code for them."""
        off: dict[str, Decimal] = {}
        for line in lines:
            if promotion := promotion_at(self._visits.shop.seed, line["category"], at):
                off[promotion.name] = off.get(promotion.name, ZERO) + line["discount_amount"]
        return [{"code": None, "title": name, "amount": amount} for name, amount in off.items()]

    def _line(self, product: Product, quantity: int, at: datetime) -> dict[str, Any]:
        price = price_at(product, at)
        promotion = promotion_at(self._visits.shop.seed, product.category, at)
        return {
            "product_id": product.product_id,
            "category": product.category,
            "brand": product.brand,
            "quantity": quantity,
            "unit_price": price,
            "discount_amount": discount(price * quantity, promotion),
        }

    def _refund(self, order: dict[str, Any], market: Region) -> Scheduled:
        """The refund of a whole order with its shipping, of one of its lines, or of no goods: shipping or goodwill.

        It comes an hour to three days after the order.
        """
        rng = self._rng
        lines, other = self._paid_back(order)
        hours = min(1 - log(1 - rng.random()) * 16, LONGEST_REFUND_HOURS)
        payload = {
            "prefix": self._prefix,
            "order_id": self._order_id,
            "customer_id": self._user,
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
            "paid_ms": self._at_ms,
            "other": str(other),
            "shipping": str(other if other == order["shipping_amount"] else ZERO),
        }
        return Scheduled(self._at_ms + int(hours * 60) * MINUTE_MS, "refund", payload)

    def _paid_back(self, order: dict[str, Any]) -> tuple[list[dict[str, Any]], Decimal]:
        """The lines that are paid back, and what is paid back besides."""
        kind = self._rng.random()
        if kind < 0.5:
            return order["lines"], order["shipping_amount"]
        if kind < 0.85:
            return [self._rng.choice(order["lines"])], ZERO
        return [], order["shipping_amount"] or GOODWILL


def arrivals_of(minute: int) -> tuple[tuple[str | None, str | None], ...]:
    """(referrer, campaign) of the visits of a minute, each as likely as the next."""
    return NEWSLETTER_TABLE if shopping_hours.weekday(minute) == NEWSLETTER_DAY else ARRIVAL_TABLE


def stock_moved(
    this: str, at_ms: int, product_id: str, delta: int, reason: str, warehouse: str, order_id: str | None = None
) -> Occurrence:
    """Units of a product that enter (or, negative, leave) a warehouse."""
    record = {
        "event_id": this,
        "occurred_at": EPOCH + timedelta(milliseconds=at_ms),
        "source": SOURCE,
        "trace": None,
        "product_id": product_id,
        "delta": delta,
        "reason": reason,
        "warehouse": warehouse,
        "order_id": order_id,
    }
    return Occurrence(at_ms, this, STOCK_MOVED, record)


def _table(things: tuple[Product, ...], weights: tuple[float, ...]) -> tuple[Product, ...]:
    """POPULARITY_SLOTS slots, each thing in as many as its weight asks for: one lookup draws."""
    sums = list(accumulate(weights))
    return tuple(
        things[min(bisect_right(sums, (slot + 0.5) / POPULARITY_SLOTS * sums[-1]), len(things) - 1)]
        for slot in range(POPULARITY_SLOTS)
    )


def _slug(name: str) -> str:
    return "-".join(people.ascii_letters(word) for word in name.split() if people.ascii_letters(word))


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    count, left = 0, -log(1 - rng.random())
    while left < mean:
        count += 1
        left -= log(1 - rng.random())
    return count
