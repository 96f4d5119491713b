"""The versions of products that dbt keeps."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg

from tests.marts.made_shop import DAY, FIRST_DAY, insert
from tests.marts.process import Dbt

VERSIONS = """
select price, dbt_valid_from, dbt_valid_to from snapshots.products where product_id = 'P1' order by dbt_valid_from
"""
MODELS = ("build", "--select", "+products", "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")


def look(dsn: str, number: int, price: str, stock: int) -> None:
    """One more look at the product's page, a day after the one before."""
    name = ("P1", None, "A bell", "Brand", "Bells")
    page = (None, None, "EUR", "InStock", stock, "https://shop.test/", "x")
    with psycopg.connect(dsn) as connection:
        row = (f"e{number}", FIRST_DAY + number * DAY, "shop.test", *name, Decimal(price), *page)
        insert(connection, "product_observations", row)


def forget(dsn: str, number: int) -> None:
    """A look that a replay takes back."""
    with psycopg.connect(dsn) as connection:
        connection.execute("delete from events.product_observations where event_id = %s", (f"e{number}",))


def versions(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(VERSIONS).fetchall()


def test_a_version_lasts_until_a_look_that_differs_also_when_one_is_taken_back(server: str, dbt: Dbt) -> None:
    for number, price, stock in [(1, "9.99", 5), (2, "9.99", 4), (3, "8.99", 4)]:
        look(server, number, price, stock)
        dbt.run("insights", *MODELS)
    forget(server, 3)
    dbt.run("insights", *MODELS)
    dbt.run("insights", *MODELS)
    found = versions(server)
    assert [price for price, _, _ in found] == [Decimal("9.99"), Decimal("8.99"), Decimal("9.99")]
    begins, ends = [begin for _, begin, _ in found], [end for _, _, end in found]
    assert ends == [*begins[1:], None]
    assert all(end - begin > timedelta(0) for begin, end in zip(begins, ends[:-1], strict=False))
