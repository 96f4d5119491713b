"""What the shop sells, and when at which price: the same for every caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from producers.shop.assortment import (
    CATEGORIES,
    appeal,
    discount,
    minute_of,
    price_at,
    products,
    promotion_at,
    sale_at,
)

SEED = 7
NOW = datetime(2026, 11, 23, 12, 34, tzinfo=UTC)
TIMES = st.datetimes(datetime(2016, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
PRODUCTS = st.integers(0, 299).map(lambda number: products(SEED)[number])


def test_a_seed_draws_the_same_300_products_and_another_seed_others() -> None:
    assert products(SEED) == products.__wrapped__(SEED)
    assert len(products(SEED)) == len({product.product_id for product in products(SEED)}) == 300
    assert len({product.name for product in products(SEED)}) == 300
    assert products(SEED) != products(SEED + 1)


def test_every_category_has_its_products_and_every_rank_one_product() -> None:
    for category in CATEGORIES:
        assert sum(product.category == category.name for product in products(SEED)) == category.products
    assert sorted(product.rank for product in products(SEED)) == list(range(300))


@settings(deadline=None)
@given(PRODUCTS, TIMES)
def test_a_price_is_positive_in_cents_and_near_the_base_price(product, at) -> None:  # type: ignore[no-untyped-def]
    price = price_at(product, at)
    assert price == price.quantize(Decimal("0.01"))
    assert Decimal("0.8") < price / product.base_price < Decimal("1.25")


def test_prices_stay_for_a_day_and_move_within_days() -> None:
    for product in products(SEED)[::25]:
        prices = [price_at(product, NOW + timedelta(minutes=10 * n)) for n in range(6 * 24 * 28)]
        moved = [n for n, (a, b) in enumerate(zip(prices, prices[1:], strict=False)) if a != b]
        assert 2 <= len(moved) <= 28
        assert min(after - before for before, after in zip(moved, moved[1:], strict=False)) >= 6 * 24 - 1


def test_the_whole_shop_is_on_sale_from_thursday_to_sunday_in_some_weeks_and_in_that_of_black_friday() -> None:
    hours = [NOW + timedelta(hours=n) for n in range(24 * 7 * 30)]
    sales = {sale for at in hours if (sale := sale_at(SEED, minute_of(at)))}
    assert {"Black Week", "Long Weekend Sale"} == {sale.name for sale in sales}
    assert 3 < len(sales) < 15
    for sale in sales:
        assert (sale.starts_at.weekday(), sale.ends_at - sale.starts_at) == (3, timedelta(days=4))
        assert all(promotion_at(SEED, category.name, sale.starts_at) == sale for category in CATEGORIES)
    black_friday = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert {sale.name for sale in sales if sale.starts_at <= black_friday < sale.ends_at} == {"Black Week"}


def test_a_product_appeals_more_the_less_it_costs() -> None:
    for product in products(SEED)[::25]:
        seen = set()
        for hour in range(24 * 28):
            at = NOW + timedelta(hours=hour)
            price = price_at(product, at)
            paid = price - discount(price, promotion_at(SEED, product.category, at))
            seen.add((paid, appeal(SEED, product, minute_of(at))))
        apart = [(a, b) for a in seen for b in seen if a[0] < b[0] * Decimal("0.97")]  # more than a shelf price rounds
        assert len(apart) > 2
        assert all(liked_cheap > liked_dear for (_, liked_cheap), (_, liked_dear) in apart)


def test_a_promotion_knows_when_it_began_and_holds_until_it_ends() -> None:
    moments = [NOW + timedelta(hours=n) for n in range(24 * 14)]
    found = [(c.name, p, at) for at in moments for c in CATEGORIES if (p := promotion_at(SEED, c.name, at))]
    assert found
    for category, promotion, at in found:
        assert promotion.starts_at <= at < promotion.ends_at
        assert promotion_at(SEED, category, promotion.starts_at) == promotion
        assert promotion_at(SEED, category, promotion.ends_at) != promotion


def test_a_discount_is_in_whole_cents_half_a_cent_rounded_up() -> None:
    promotion = next(
        p
        for n in range(1000)
        for c in CATEGORIES
        if (p := promotion_at(SEED, c.name, NOW + timedelta(hours=6 * n))) and p.percent == 5
    )
    assert discount(Decimal("19.90"), promotion) == Decimal("1.00")
    assert discount(Decimal("19.90"), None) == Decimal("0.00")
