"""Real orders from a file: what a mapping may say, what a row must be, and money exact to the cent."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.order_file.mapping import ColumnMapping, load
from producers.order_file.rows import OrderFile, order_lines, parse_row, read
from producers.shop.occurrences import ORDER_PLACED
from schemas.codec import Encoder
from schemas.errors import Misconfigured

CDNOW_MAPPING = Path(__file__).parents[2] / "producers" / "mappings" / "cdnow.toml"
SHOP_MAPPING = """
source = "bikes"
delimiter = ";"
header = true
date_format = "%d.%m.%Y %H:%M"
zone = "Europe/Berlin"
decimal_point = ","

[columns]
order_id = "Order"
customer_id = "Customer"
occurred_at = "When"
product_id = "Article"
quantity = "Units"
unit_price = "Price"
category = "Shelf"

[constants]
region = "EU"
currency = "EUR"
channel = "store"
"""
HEADER = b"Order;Customer;When;Article;Shelf;Units;Price\n"


@pytest.fixture
def mapping(tmp_path: Path) -> ColumnMapping:
    return load(written(tmp_path, SHOP_MAPPING))


def written(folder: Path, text: str) -> Path:
    path = folder / "mapping.toml"
    path.write_text(text)
    return path


def problems(file: OrderFile) -> dict[int, str]:
    return {step.lines[0]: step.problem for step in file.steps if step.problem is not None}


def orders(file: OrderFile) -> list[dict[str, Any]]:
    return [file.order(step) for step in file.steps if step.problem is None]


def test_a_row_becomes_an_order_that_fits_the_contract(mapping: ColumnMapping) -> None:
    row = b'A1;C7;01.07.2024 14:30;"P;9";Helme;3;19,90\n'
    (order,) = orders(read(HEADER + row, mapping))
    assert Encoder(ORDER_PLACED, 1).encode(order)
    assert order["occurred_at"] == datetime(2024, 7, 1, 12, 30, tzinfo=UTC)
    assert (order["order_id"], order["customer_id"], order["channel"]) == ("A1", "C7", "store")
    assert order["lines"] == [
        {
            "product_id": "P;9",
            "category": "Helme",
            "brand": None,
            "quantity": 3,
            "unit_price": Decimal("19.90"),
            "discount_amount": Decimal("0.00"),
        }
    ]


def test_rows_of_one_order_are_its_lines_and_orders_come_by_time(mapping: ColumnMapping) -> None:
    rows = (
        b"A2;C7;02.07.2024 10:00;P1;X;1;1,00\nA1;C8;01.07.2024 10:00;P1;X;1;2,00\nA2;C7;02.07.2024 10:01;P2;Y;4;3,00\n"
    )
    first, second = orders(read(HEADER + rows, mapping))
    assert (first["order_id"], second["order_id"]) == ("A1", "A2")
    assert [(line["product_id"], line["quantity"]) for line in second["lines"]] == [("P1", 1), ("P2", 4)]


def test_the_same_file_gives_the_same_ids_and_another_file_others(mapping: ColumnMapping) -> None:
    row = b"A1;C7;01.07.2024 14:30;P9;Helme;3;19,90\n"
    content = HEADER + row + row.replace(b"A1", b"A2")
    ids = [order["event_id"] for order in orders(read(content, mapping))]
    assert ids == [order["event_id"] for order in orders(read(content, mapping))]
    others = {order["event_id"] for order in orders(read(content + b"\n", mapping))}
    assert len({*ids, *others}) == 4


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"A1;C7;01.07.2024 14:30;P9;Helme;3", "unit_price should stand in column 7, and the row has 6"),
        (b"A1;;01.07.2024 14:30;P9;Helme;3;1,00", "customer_id is empty"),
        (b"A1;C7;2024-07-01;P9;Helme;3;1,00", "occurred_at is '2024-07-01', which is not a date like"),
        (b"A1;C7;01.07.1964 14:30;P9;Helme;3;1,00", "which is before 1970"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;0;1,00", "quantity is '0', which is not a positive whole number"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1.5;1,00", "quantity is '1.5'"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;free", "unit_price is 'free', which is not an amount of money"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;NaN", "unit_price is 'NaN', which is not an amount of money"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;1,005", "unit_price is 1,005, which is not in whole cents"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;-1,00", "a refund is not an order"),
        (b"A1;C7;01.07.2024 14:30;P9;H\xe9lme;1;1,00", "the row is not utf-8"),
    ],
)
def test_a_bad_row_is_kept_with_its_line_and_the_reason(mapping: ColumnMapping, row: bytes, problem: str) -> None:
    good = b"A9;C7;01.07.2024 14:30;P9;Helme;3;19,90\n"
    file = read(HEADER + good + row + b"\n" + good.replace(b"A9", b"A8"), mapping)
    assert list(problems(file)) == [3]
    assert problem in problems(file)[3]
    assert file.rows[2] == row
    assert len(orders(file)) == 2


def test_a_row_that_contradicts_its_order_is_bad(mapping: ColumnMapping) -> None:
    rows = b"A1;C7;01.07.2024 14:30;P9;X;1;1,00\nA1;C8;01.07.2024 14:30;P9;X;1;1,00\n"
    file = read(HEADER + rows, mapping)
    assert problems(file) == {3: "order A1 has customer_id C7 in an earlier row and C8 in this one"}


@given(quantity=st.integers(1, 10_000), cents=st.integers(0, 10**9))
def test_units_and_money_of_a_row_are_both_exact(quantity: int, cents: int) -> None:
    mapping = load(CDNOW_MAPPING)
    positions = {"customer_id": 0, "occurred_at": 1, "quantity": 2, "total": 3}
    raw = f"00001 19970101 {quantity} {Decimal(cents).scaleb(-2)}".encode()
    lines = order_lines(parse_row(mapping, positions, raw))
    assert sum(line["quantity"] for line in lines) == quantity
    assert sum(line["quantity"] * line["unit_price"] for line in lines) == Decimal(cents).scaleb(-2)
    assert all(line["quantity"] > 0 for line in lines)
    assert len(lines) <= 2


@given(st.binary(max_size=300))
def test_no_bytes_whatever_stop_a_file_from_being_read(content: bytes) -> None:
    mapping = load(CDNOW_MAPPING)
    file = read(b"customer_id date number_of_cds dollar_value\n" + content, mapping)
    rows = [raw for raw in content.splitlines() if raw.strip()]
    assert len(file.steps) == len(rows)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('source = "bikes"', ""), "source must be a string"),
        (('delimiter = ";"', 'delimiter = "::"'), "delimiter must be one character or 'whitespace'"),
        (('zone = "Europe/Berlin"', 'zone = "Europe/Bärlin"'), "is not a time zone"),
        (("header = true", 'header = "yes"'), "header must be a true or false"),
        (("header = true", "header = true\ncolour = 1"), "there is no setting 'colour'; there are source, delimiter"),
        (('unit_price = "Price"', ""), "map either total or unit_price"),
        (('unit_price = "Price"', 'unit_price = "Price"\ntotal = 4'), "map either total or unit_price"),
        (('category = "Shelf"', ""), "category must be a column or a constant"),
        (('category = "Shelf"', 'category = "Shelf"\nregion = 3'), "region is both a column and a constant"),
        (('category = "Shelf"', "category = 0"), "columns.category must be a name or a position from 1, not 0"),
        (('category = "Shelf"', 'category = "Shelf"\nsize = 3'), "there is no field 'size'; there are customer_id"),
        (("[columns]", "[columns"), "is not TOML"),
    ],
)
def test_a_mapping_that_can_not_be_is_refused_with_what_to_write(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    path = written(tmp_path, SHOP_MAPPING.replace(*change))
    with pytest.raises(Misconfigured, match="mapping.toml") as refused:
        load(path)
    assert says in str(refused.value)


def test_a_column_that_the_file_lacks_is_named_with_those_it_has(mapping: ColumnMapping) -> None:
    with pytest.raises(Misconfigured, match="'Price' for unit_price is not in the file; it has Order, Customer"):
        read(HEADER.replace(b"Price", b"Preis"), mapping)


def test_a_mapping_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="nowhere.toml can't be read: No such file"):
        load(tmp_path / "nowhere.toml")
