"""What the shop sells, at which price, and what is reduced when.

All of it is a pure function of the seed and the time, so the orders, the shop's web site and its scraper agree on a
price without asking each other. Prices are in the shop's one currency.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache

from producers.shop.seeded_random import mixed, share
from producers.shop.shopping_hours import OPENED, WEEK_MINUTES
from schemas.binary import EPOCH

CENT = Decimal("0.01")
MINUTE = timedelta(minutes=1)

PROMOTION_MINUTES = 360
PROMOTION_SHARE = 0.12
PROMOTION_PERCENTS = (5, 10, 15, 20, 25)
PROMOTION_NAMES = ("Happy Hours", "Weekend Deal", "Season Opener", "Club Ride Special", "Warehouse Clearance")
# A sale of the whole shop goes from Thursday to Sunday, in one week of five and in that of Black Friday.
SALE_SHARE = 0.2
SALE_PERCENT = 15
BLACK_WEEK = "Black Week"
SALE_FROM_MINUTE = 3 * 1440  # of its week
PRICE_STEPS = (88, 90, 92, 94, 96, 98, 100, 100, 100, 102, 104, 106, 108, 110)
SHORTEST_PRICE_MINUTES = 1440
LONGEST_PRICE_MINUTES = 5 * 1440
# How much more of a product is bought when it costs a percent less, in percent.
ELASTICITY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A shelf: its name, where it hangs, how many products lie on it, and what they are, from which price to which."""

    name: str
    department: str
    products: int
    nouns: tuple[tuple[str, int, int], ...]


CATEGORIES = (
    Category(
        name="Bikes",
        department="Bikes",
        products=28,
        nouns=(
            ("Road Bike", 1199, 3999),
            ("Gravel Bike", 1099, 3299),
            ("Trail Bike", 899, 3799),
            ("City Bike", 549, 1299),
            ("E-Bike", 1899, 4299),
        ),
    ),
    Category(
        name="Wheels & Tyres",
        department="Components",
        products=36,
        nouns=(
            ("Wheelset", 149, 690),
            ("Folding Tyre", 25, 69),
            ("Tubeless Tyre", 32, 79),
            ("Inner Tube", 5, 19),
            ("Rim Tape", 6, 16),
        ),
    ),
    Category(
        name="Drivetrain",
        department="Components",
        products=36,
        nouns=(
            ("Cassette", 39, 219),
            ("Chain", 18, 64),
            ("Crankset", 79, 389),
            ("Rear Derailleur", 49, 279),
            ("Bottom Bracket", 16, 89),
        ),
    ),
    Category(
        name="Brakes",
        department="Components",
        products=26,
        nouns=(
            ("Disc Brake", 69, 199),
            ("Brake Pads", 9, 29),
            ("Brake Rotor", 19, 59),
            ("Brake Lever", 29, 99),
            ("Rim Brake", 34, 119),
        ),
    ),
    Category(
        name="Clothing",
        department="Wear",
        products=44,
        nouns=(
            ("Jersey", 39, 129),
            ("Bib Shorts", 59, 189),
            ("Rain Jacket", 79, 249),
            ("Gloves", 19, 59),
            ("Socks", 9, 24),
            ("Gilet", 49, 139),
        ),
    ),
    Category(
        name="Helmets",
        department="Wear",
        products=24,
        nouns=(
            ("Road Helmet", 59, 259),
            ("Trail Helmet", 69, 219),
            ("Kids Helmet", 29, 69),
            ("Commuter Helmet", 49, 129),
        ),
    ),
    Category(
        name="Lights",
        department="Accessories",
        products=26,
        nouns=(("Front Light", 19, 129), ("Rear Light", 12, 59), ("Light Set", 29, 149), ("Dynamo Light", 39, 159)),
    ),
    Category(
        name="Bags",
        department="Accessories",
        products=28,
        nouns=(
            ("Saddle Bag", 15, 119),
            ("Pannier", 39, 139),
            ("Frame Bag", 35, 129),
            ("Handlebar Bag", 29, 149),
            ("Backpack", 49, 159),
        ),
    ),
    Category(
        name="Tools",
        department="Workshop",
        products=30,
        nouns=(
            ("Multi-Tool", 15, 59),
            ("Floor Pump", 29, 119),
            ("Mini Pump", 15, 49),
            ("Torque Wrench", 49, 179),
            ("Repair Stand", 79, 289),
            ("Chain Lube", 7, 19),
        ),
    ),
    Category(
        name="Nutrition",
        department="Nutrition",
        products=22,
        nouns=(
            ("Energy Bar Box", 19, 39),
            ("Energy Gel Box", 22, 45),
            ("Electrolyte Tabs", 6, 14),
            ("Recovery Drink", 18, 42),
        ),
    ),
)
BRANDS = (
    "Albtrauf", "Brevet", "Col & Co", "Draisine", "Étape", "Ferrum", "Galibier", "Hinault Works",
    "Isar", "Kopfstein", "Lanterne", "Musette", "Nordkette", "Pavé", "Randonneur", "Soigneur",
)  # fmt: skip
LINES = (
    "Pro", "Sport", "Classic", "Endurance", "Race", "Tour", "Alpine", "Sprint",
    "One", "Two", "Elite", "Heritage", "Storm", "Nova", "Evo", "Club",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One article. ``rank`` 0 is the most popular; ``price_seed`` fixes its prices over time."""

    number: int
    product_id: str
    sku: str
    name: str
    brand: str
    category: str
    category_path: tuple[str, ...]
    base_price: Decimal
    rank: int
    price_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A reduction on a whole category, from ``starts_at`` (inclusive) to ``ends_at`` (exclusive)."""

    name: str
    percent: int
    starts_at: datetime
    ends_at: datetime


@cache
def products(seed: int) -> tuple[Product, ...]:
    """Everything the shop sells, by number. The same seed always gives the same products."""
    rng = random.Random(f"assortment {seed}")  # noqa: S311 a shop is drawn, no secret is
    shelves = [category for category in CATEGORIES for _ in range(category.products)]
    names: set[str] = set()
    drawn = [_drawn(shelf, rng, names) for shelf in shelves]
    # Cheap products sell more often than expensive ones; the root leaves room for taste.
    wanted = [rng.random() / float(price) ** 0.5 for _, _, price in drawn]
    ranks = {number: rank for rank, number in enumerate(sorted(range(len(drawn)), key=lambda n: -wanted[n]))}
    return tuple(
        Product(
            number=number,
            product_id=f"P{number + 1:04}",
            sku=f"{shelf.name[:2].upper()}-{rng.randrange(10_000, 99_999)}-{number + 1:03}",
            name=name,
            brand=brand,
            category=shelf.name,
            category_path=(shelf.name,) if shelf.department == shelf.name else (shelf.department, shelf.name),
            base_price=price,
            rank=ranks[number],
            price_seed=mixed(seed, number, 1),
        )
        for number, (shelf, (brand, name, price)) in enumerate(zip(shelves, drawn, strict=True))
    )


def _drawn(shelf: Category, rng: random.Random, names: set[str]) -> tuple[str, str, Decimal]:
    """A brand, a name that no product has yet (added to ``names``), and a base price."""
    while True:
        noun, price_from, price_to = rng.choice(shelf.nouns)
        brand = rng.choice(BRANDS)
        name = f"{brand} {rng.choice(LINES)} {noun}"
        if name not in names:
            names.add(name)
            # The square makes cheap products common and expensive ones rare in every category.
            price = price_from + (price_to - price_from) * rng.random() ** 2
            return brand, name, _shelf_price(round(price * 100))


def _shelf_price(cents: int) -> Decimal:
    """The nearest price that looks like one: it ends in 9 cents."""
    return CENT * (cents - cents % 10 + 9)


def price_at(product: Product, at: datetime) -> Decimal:
    """Asking price of one unit at a time, before any promotion. It stays for one to five days, then moves."""
    return _price(product.base_price, product.price_seed, minute_of(at))


@lru_cache(maxsize=65_536)
def _price(base_price: Decimal, price_seed: int, minute: int) -> Decimal:
    return _shelf_price(int(base_price * _percent(price_seed, minute)))


def _percent(price_seed: int, minute: int) -> int:
    """Of the base price."""
    period = (minute + _phase(price_seed)) // _lasts_minutes(price_seed)
    return PRICE_STEPS[mixed(price_seed, period) % len(PRICE_STEPS)]


def _lasts_minutes(price_seed: int) -> int:
    return SHORTEST_PRICE_MINUTES + price_seed % (LONGEST_PRICE_MINUTES - SHORTEST_PRICE_MINUTES)


def _phase(price_seed: int) -> int:
    return price_seed % 7919


def may_change_at(product: Product, since: int, until: int) -> list[int]:
    """The minutes from ``since`` (exclusive) to ``until`` at which a product's price or promotion may be another."""
    lasts, phase = _lasts_minutes(product.price_seed), _phase(product.price_seed)
    prices = range((since + phase) // lasts + 1, (until + phase) // lasts + 1)
    slots = range(since // PROMOTION_MINUTES + 1, until // PROMOTION_MINUTES + 1)
    return sorted({*(n * lasts - phase for n in prices), *(slot * PROMOTION_MINUTES for slot in slots)})


def appeal(seed: int, product: Product, minute: int) -> float:
    """How much likelier people take a product at its price of a minute, promotions included, than at its base price."""
    promotion = _promotion(seed, product.category, minute // PROMOTION_MINUTES)
    left = 100 - promotion.percent if promotion else 100
    return (10_000 / (_percent(product.price_seed, minute) * left)) ** ELASTICITY


def promotion_at(seed: int, category: str, at: datetime) -> Promotion | None:
    """The promotion on a category at a time, or None: the sale of the whole shop, or else its own."""
    return _promotion(seed, category, minute_of(at) // PROMOTION_MINUTES)


def sale_at(seed: int, minute: int) -> Promotion | None:
    """The sale of the whole shop in a minute, or None."""
    week, within = divmod(minute - OPENED, WEEK_MINUTES)
    if within < SALE_FROM_MINUTE or not _has_sale(seed, week):
        return None
    ends_at = EPOCH + (OPENED + (week + 1) * WEEK_MINUTES) * MINUTE
    starts_at = ends_at - (WEEK_MINUTES - SALE_FROM_MINUTE) * MINUTE
    return Promotion(name=_sale_name(starts_at), percent=SALE_PERCENT, starts_at=starts_at, ends_at=ends_at)


@lru_cache(maxsize=1024)
def _has_sale(seed: int, week: int) -> bool:
    return (
        share(seed, week, 5) < SALE_SHARE or _sale_name(EPOCH + (OPENED + week * WEEK_MINUTES) * MINUTE) == BLACK_WEEK
    )


def _sale_name(in_week: datetime) -> str:
    thursday = in_week + timedelta(days=3 - in_week.weekday())
    is_thanksgiving = thursday.month == 11 and 22 <= thursday.day <= 28
    return BLACK_WEEK if is_thanksgiving else "Long Weekend Sale"


@lru_cache(maxsize=4096)
def _promotion(seed: int, category: str, slot: int) -> Promotion | None:
    if sale := sale_at(seed, slot * PROMOTION_MINUTES):
        return sale
    shelf = next(i for i, known in enumerate(CATEGORIES) if known.name == category)
    if share(seed, shelf, slot, 2) >= PROMOTION_SHARE:
        return None
    starts_at = EPOCH + slot * PROMOTION_MINUTES * MINUTE
    return Promotion(
        name=PROMOTION_NAMES[mixed(seed, shelf, slot, 3) % len(PROMOTION_NAMES)],
        percent=PROMOTION_PERCENTS[mixed(seed, shelf, slot, 4) % len(PROMOTION_PERCENTS)],
        starts_at=starts_at,
        ends_at=starts_at + PROMOTION_MINUTES * MINUTE,
    )


def discount(amount: Decimal, promotion: Promotion | None) -> Decimal:
    """What a promotion takes off an amount, in whole cents, half a cent rounded up."""
    if promotion is None:
        return Decimal("0.00")
    return (amount * promotion.percent / 100).quantize(CENT, ROUND_HALF_UP)


def minute_of(at: datetime) -> int:
    """Whole minutes since 1970 in UTC."""
    return (at - EPOCH) // MINUTE
