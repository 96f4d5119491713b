"""A product as a visitor of the shop's pages sees it: its current offer, specs and text. Pure except for the stock."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from producers.shop.assortment import Product, discount, price_at, products, promotion_at
from producers.shop.seeded_random import mixed

StockAt = Callable[[Product, datetime], int]

RELATED = 4
COLOURS = ("Graphite", "Chalk", "Signal Orange", "Moss", "Petrol", "Bordeaux", "Sand", "Sky")
MATERIALS = {
    "Bikes": ("Carbon", "6061 aluminium", "Chromoly steel", "Titanium"),
    "Wheels & Tyres": ("Aluminium", "Carbon", "Natural rubber", "Butyl"),
    "Drivetrain": ("Steel", "7075 aluminium", "Nickel-plated steel"),
    "Brakes": ("Stainless steel", "Forged aluminium", "Sintered metal"),
    "Clothing": ("Merino wool", "Recycled polyester", "Elastane blend"),
    "Helmets": ("In-mould polycarbonate", "EPS foam"),
    "Lights": ("Aluminium", "Polycarbonate"),
    "Bags": ("Waxed cotton", "Welded TPU", "Cordura nylon"),
    "Tools": ("Chrome-vanadium steel", "Forged steel", "Aluminium"),
    "Nutrition": ("Oats and dates", "Maltodextrin", "Fruit extract"),
}
GRAMS = {
    "Bikes": (6_900, 19_800),
    "Wheels & Tyres": (60, 1_900),
    "Drivetrain": (90, 980),
    "Brakes": (35, 480),
    "Clothing": (40, 420),
    "Helmets": (210, 430),
    "Lights": (28, 260),
    "Bags": (110, 980),
    "Tools": (90, 5_200),
    "Nutrition": (300, 1_400),
}
OPENINGS = (
    "Built for long days and bad roads.",
    "Light where it matters, sturdy where it has to be.",
    "The one our workshop crew rides home with.",
    "Made in small batches, and made to be repaired.",
    "Quietly better than it needs to be.",
)
MIDDLES = (
    "Every part can be had as a spare for ten years.",
    "Tested over a winter of wet commutes before it came to the shelf.",
    "Fits without tools in under five minutes.",
    "Comes in packaging without plastic.",
    "Finished by hand and checked twice.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """A product with its offer at a time. ``list_price`` is None unless the price is reduced."""

    product: Product
    price: Decimal
    list_price: Decimal | None
    promotion: str | None
    stock: int

    @property
    def slug(self) -> str:
        """The last part of the product page's address."""
        return f"{slug(self.product.name)}-{self.product.product_id.lower()}"

    @property
    def offer(self) -> tuple[Decimal, Decimal | None, bool]:
        """What makes the page another one for readers: price, price before, and whether it can be had."""
        return self.price, self.list_price, self.stock > 0


def slug(text: str) -> str:
    """``Étape Tour Frame Bag`` as ``etape-tour-frame-bag``."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


class Shelf:
    """All articles of one shop. ``stock_at`` gives the units of a product."""

    def __init__(self, seed: int, stock_at: StockAt, currency: str = "EUR") -> None:
        self.products = products(seed)
        self.currency = currency
        self._seed = seed
        self._stock_at = stock_at
        self._by_slug = {self.article(product, None).slug: product for product in self.products}

    def article(self, product: Product, at: datetime | None) -> Article:
        """The product with its offer at a time; None for a time leaves the offer at its base price, without stock."""
        if at is None:
            return Article(product=product, price=product.base_price, list_price=None, promotion=None, stock=0)
        full = price_at(product, at)
        promotion = promotion_at(self._seed, product.category, at)
        reduced = full - discount(full, promotion)
        return Article(
            product=product,
            price=reduced,
            list_price=full if reduced < full else None,
            promotion=promotion.name if promotion else None,
            stock=self._stock_at(product, at),
        )

    def articles(self, at: datetime) -> list[Article]:
        """Everything, the most popular first."""
        return [self.article(product, at) for product in sorted(self.products, key=lambda p: p.rank)]

    def related(self, product: Product, at: datetime) -> list[Article]:
        """The four most popular others of its category."""
        others = (p for p in self.products if p.category == product.category and p is not product)
        return [self.article(p, at) for p in sorted(others, key=lambda p: p.rank)[:RELATED]]

    def find(self, slug: str, at: datetime) -> Article | None:
        """The article at an address, or None."""
        product = self._by_slug.get(slug)
        return self.article(product, at) if product else None

    def categories(self) -> dict[str, str]:
        """Names of departments and categories by slug, in the order of the shop."""
        return {slug(name): name for product in self.products for name in product.category_path}


def imagined_stock(product: Product, at: datetime) -> int:
    """Stock of a shop that isn't running: a saw-tooth of time that reaches zero now and then."""
    full = 4 + mixed(product.price_seed, 7) % 60
    lasts_hours = 20 + mixed(product.price_seed, 8) % 100
    hours = int(at.timestamp() // 3600) + mixed(product.price_seed, 9) % lasts_hours
    sold = full * (hours % lasts_hours) * 11 // (lasts_hours * 10)
    return max(full - sold, 0)


def specs(product: Product) -> dict[str, str]:
    """The specification table. The same product always has the same one."""
    rng = random.Random(f"specs {product.price_seed}")  # noqa: S311 a shop is drawn, no secret is
    low, high = GRAMS[product.category]
    grams = int(low + (high - low) * rng.random() ** 2)
    table = {
        "Weight": f"{grams / 1000:.1f} kg" if grams >= 2000 else f"{grams} g",
        "Material": rng.choice(MATERIALS[product.category]),
        "Colour": rng.choice(COLOURS),
        "Model year": str(rng.choice((2024, 2025, 2026))),
        "Warranty": f"{rng.choice((2, 3, 5))} years",
    }
    if product.category in ("Bikes", "Clothing", "Helmets"):
        table["Sizes"] = ", ".join(rng.choice((("S", "M", "L"), ("XS", "S", "M", "L", "XL"), ("52", "54", "56", "58"))))
    if product.category == "Nutrition":
        del table["Colour"], table["Warranty"], table["Model year"]
        table["Best before"] = f"{rng.randint(6, 18)} months"
    return table


def description(product: Product) -> list[str]:
    """Paragraphs about the product."""
    rng = random.Random(f"words {product.price_seed}")  # noqa: S311 a shop is drawn, no secret is
    kind = product.name.removeprefix(product.brand).strip()
    table = specs(product)
    return [
        f"{rng.choice(OPENINGS)} The {kind} by {product.brand} is what we reach for when"
        f" {rng.choice(('the forecast is wrong', 'the road turns to gravel', 'the group picks up the pace'))}.",
        f"{table['Material']} throughout, {table['Weight']} on our scales. {rng.choice(MIDDLES)}",
    ]
