"""The estimate of the elasticity, against demand that is drawn with a known one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest

from aggregates.catalogue import aggregate
from insights import dbt_run
from insights.settings import Settings
from producers.demo_shop.past import observations
from producers.shop.assortment import ELASTICITY, appeal, minute_of, products
from tests.marts import sources
from tests.marts.process import make_tables
from tests.notebooks.executing import executed
from tests.replay.own_postgres import own_postgres

SEED = 1
HOUR = timedelta(hours=1)
BEGINNING = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 21
VIEWS = 40
UNITS_OF_A_PRODUCT = 0.1
"""In an hour, at its base price."""

pytestmark = pytest.mark.engine  # it runs dbt
Cell = tuple[str, Decimal]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A shop whose units follow its prices, and the units and views by product and scraped price."""

    settings: Settings
    units: Mapping[Cell, float]
    views: Mapping[Cell, float]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    home = tmp_path_factory.mktemp("elasticity")
    looks = observations(SEED, "EUR", "https://shop.test", BEGINNING, BEGINNING + DAYS * 24 * HOUR, "catalog")
    hours = [BEGINNING + n * HOUR for n in range(DAYS * 24)]
    sold = units_of(hours)
    with own_postgres(home / "postgres") as dsn:
        make_tables(dsn)
        port = int(psycopg.conninfo.conninfo_to_dict(dsn)["port"])
        settings = Settings(home=home / "dbt", postgres_port=port)
        with psycopg.connect(dsn) as connection:
            fill(connection, looks, sold, hours)
        built = dbt_run.build(settings, "+price_history +dim_products", full_refresh=True, say=lambda line: None)
        assert built.outcome == "ok", built.failures
        yield Drawn(settings, *by_price(looks, sold, hours))


def units_of(hours: Sequence[datetime]) -> dict[tuple[datetime, str], int]:
    """By hour and product, drawn by chance: more of what costs less, by the shop's own rule."""
    rng = np.random.default_rng(5)
    return {
        (hour, product.product_id): int(number)
        for product in products(SEED)
        for hour in hours
        if (number := rng.poisson(UNITS_OF_A_PRODUCT * appeal(SEED, product, minute_of(hour + HOUR / 2))))
    }


def fill(
    connection: psycopg.Connection[Any],
    looks: Sequence[Mapping[str, Any]],
    sold: Mapping[tuple[datetime, str], int],
    hours: Sequence[datetime],
) -> None:
    """What was seen, sold and looked at, as the live job writes it."""
    observed = aggregate("product_observations")
    rows = [{**look, "category": look["category_path"][-1]} for look in looks]
    sources.put(connection, observed.table, list(observed.columns), rows)
    lines = [line(n, hour, product, units) for n, ((hour, product), units) in enumerate(sold.items())]
    of_lines = aggregate("order_lines")
    sources.put(connection, of_lines.table, list(of_lines.columns), lines)
    activity = aggregate("product_activity_per_hour")
    views = [{"window_start": hour, "product_id": "any", "views": VIEWS, **NOTHING_ELSE} for hour in hours]
    sources.put(connection, activity.table, list(activity.columns), views)
    connection.commit()


NOTHING_ELSE = {"carts": 0, "units": 0, "sales_amount": Decimal(0)}


def line(number: int, at: datetime, product: str, units: int) -> dict[str, Any]:
    """A line of an order of its own, in the middle of the hour. Nobody asks what it cost."""
    names = {name: f"{name}-{number}" for name in ("event_id", "order_id", "customer_id")}
    what = {"region": "EU", "currency": "EUR", "channel": "web", "session_id": None, "category": "any", "brand": None}
    amounts = dict.fromkeys(("unit_price", "discount_amount", "sales_amount"), Decimal(0))
    return {
        **names,
        **what,
        **amounts,
        "line": 1,
        "occurred_at": at + HOUR / 2,
        "product_id": product,
        "quantity": units,
    }


def by_price(
    looks: Sequence[Mapping[str, Any]], sold: Mapping[tuple[datetime, str], int], hours: Sequence[datetime]
) -> tuple[dict[Cell, float], dict[Cell, float]]:
    """Units and views, by the price that the page last showed in the middle of the hour."""
    seen: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for look in looks:
        seen[look["product_id"]].append((look["occurred_at"], look["price"]))
    units: dict[Cell, float] = defaultdict(float)
    views: dict[Cell, float] = defaultdict(float)
    for product, prices in seen.items():
        for hour in hours:
            price = [asked for at, asked in prices if at <= hour + HOUR / 2][-1:]
            for asked in price:
                units[product, asked] += sold.get((hour, product), 0)
                views[product, asked] += VIEWS
    return units, views


def likeliest(units: Mapping[Cell, float], views: Mapping[Cell, float]) -> float:
    """The elasticity at which the likelihood of a product's units over its prices is greatest, found by halving."""
    cells: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for (product, price), number in units.items():
        cells[product].append((math.log(price), number, views[product, price]))

    def slope(elasticity: float) -> float:
        total = 0.0
        for rows in cells.values():
            first = rows[0][0]
            weights = [seen * math.exp(elasticity * (x - first)) for x, _, seen in rows]
            mean = sum(w * x for w, (x, _, _) in zip(weights, rows, strict=True)) / sum(weights)
            total += sum(number * (x - mean) for x, number, _ in rows)
        return total

    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


def test_the_elasticity_is_what_plain_python_finds_and_near_the_one_that_is_planted(drawn: Drawn) -> None:
    names = ("elasticity", "standard_error", "low", "high")
    found = executed(
        "price-elasticity", drawn.settings, **{name: f"float({name})" for name in names}, units="units.sum()"
    )
    assert found["elasticity"] == pytest.approx(likeliest(drawn.units, drawn.views), abs=1e-6)
    assert float(found["units"]) == sum(drawn.units.values()) > 10_000
    assert 0.02 < found["standard_error"] < 0.2
    assert abs(found["elasticity"] + ELASTICITY) < 4 * found["standard_error"]
    assert found["low"] < found["elasticity"] < found["high"]
