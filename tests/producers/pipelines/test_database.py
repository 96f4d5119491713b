"""A shop's own database, read by the example of docs/sources.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from schemas import catalogue
from tests.producers.pipelines.conftest import Pipeline
from tests.producers.pipelines.documented import example

ORDERS = catalogue.event("sales.order_placed").topic
PRODUCTS = catalogue.event("catalog.product_observed").topic
TABLES = """
create table products (sku text primary key, name text not null, category text not null, price numeric(12, 2) not null);
create table orders (
    id bigint primary key, customer_no text not null, placed_at timestamp not null, country text not null,
    shipping numeric(12, 2) not null, tax numeric(12, 2) not null, status text not null default 'paid',
    changed_at timestamptz not null default now());
create table order_lines (
    order_id bigint not null references orders, position int not null, sku text not null references products,
    quantity int not null, price numeric(12, 2) not null, discount numeric(12, 2) not null default 0,
    primary key (order_id, position));
insert into products values ('bell', 'Bell', 'bells', 19.99), ('lamp', 'Lamp', 'lamps', 0.10);
"""


class Shop:
    """A shop's database. ``url`` is SQLAlchemy's."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.url = dsn.replace("postgresql://", "postgresql+psycopg://")
        self.do(TABLES + example("sql", "create view hub_orders"))

    def do(self, sql: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.encode())

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.dsn) as connection:
            yield connection

    def order(self, number: int, *skus: str) -> None:
        """Somebody orders a piece of each."""
        lines = ", ".join(f"({number}, {n}, '{sku}', 1, 19.99)" for n, sku in enumerate(skus))
        self.do(
            f"insert into orders values ({number}, 'C{number}', '2026-07-01 12:00', 'DE', 4.90, 0.30);"
            f"insert into order_lines values {lines}"
        )


@pytest.fixture
def shop(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(new_database())
    monkeypatch.setenv("SHOP_DATABASE", made.url)
    return made


@pytest.fixture
def bikes(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path, example("python", "import sql_table"))


def test_an_order_is_read_with_its_lines_in_its_own_time_zone(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "lamp", "bell")
    assert bikes.read() is None
    (order,) = bikes.log.records(ORDERS)
    assert [line["product_id"] for line in order["lines"]] == ["lamp", "bell"]
    assert order["lines"][1]["unit_price"] == Decimal("19.99")
    assert (order["order_id"], order["customer_id"], order["occurred_at"].isoformat()) == (
        "1",
        "C1",
        "2026-07-01T10:00:00+00:00",
    )


def test_only_what_changed_since_is_read_and_a_change_is_published(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    shop.order(2, "bell")
    bikes.read()
    shop.do("update orders set country = 'FR', changed_at = now() where id = 2")
    shop.do("update orders set country = 'FR' where id = 1")  # which nothing tells
    shop.do("update orders set changed_at = now() - interval '1 day' where id = 1")
    bikes.read()
    assert [(each["order_id"], each["region"]) for each in bikes.log.records(ORDERS)] == [
        ("1", "DE"),
        ("2", "DE"),
        ("2", "FR"),
    ]


def test_a_transaction_that_commits_late_is_read_all_the_same(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    with shop.transaction() as late:
        late.execute("insert into orders values (2, 'C2', '2026-07-01 12:00', 'DE', 0, 0)")
        late.execute("insert into order_lines values (2, 0, 'bell', 1, 1.00)")
        shop.do("update orders set changed_at = now() + interval '1 s' where id = 1")
        bikes.read()
    bikes.read()
    assert [each["order_id"] for each in bikes.log.records(ORDERS)] == ["1", "2"]


def test_a_cancelled_order_and_a_deleted_product_are_withdrawn(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    bikes.read()
    shop.do("update orders set status = 'cancelled', changed_at = now(); delete from products where sku = 'lamp'")
    bikes.read()
    bikes.read()
    assert [each["is_cancelled"] for each in bikes.log.records(ORDERS)] == [None, True]
    observed = [(each["product_id"], each["availability"]) for each in bikes.log.records(PRODUCTS)]
    assert sorted(observed) == [("bell", "in_stock"), ("lamp", "discontinued"), ("lamp", "in_stock")]


def test_an_order_without_lines_is_a_dead_letter_that_names_the_field(shop: Shop, bikes: Pipeline) -> None:
    shop.do("insert into orders values (1, 'C1', '2026-07-01 12:00', 'DE', 0, 0)")
    shop.order(2, "bell")
    assert "field lines" in str(bikes.read())
    assert [each["order_id"] for each in bikes.log.records(ORDERS)] == ["2"]
