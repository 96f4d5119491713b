"""Real orders from a file: what a mapping may have, what a row must be, and money exact to the cent.

Longer than 400 lines, because every test starts from one mapping and one row, and changes a single thing in them.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.order_file.mapping import ColumnMapping, load
from producers.order_file.memory import Known, Memory
from producers.order_file.orders import OrderFile, read
from producers.order_file.records import order_lines
from producers.order_file.rows import Line, spread
from producers.order_file.source import remaining
from producers.order_file.steps import EVENTS, ORDER, REFUND, Step, Withdrawal
from producers.order_file.values import BadValue, cents, millis
from producers.shop.occurrences import ORDER_PLACED, ORDER_REFUNDED
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
encoding = "utf-8"

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
NOW = count(1_800_000_000_000)  # milliseconds: no two imports are at one time
HEADER = b"Order;Customer;When;Article;Shelf;Units;Price\n"
ROW = b"A1;C7;01.07.2024 14:30;P9;Helme;3;19,90\n"


@pytest.fixture
def mapping(tmp_path: Path) -> ColumnMapping:
    return load(written(tmp_path, SHOP_MAPPING))


def written(folder: Path, text: str) -> Path:
    path = folder / "mapping.toml"
    path.write_text(text)
    return path


def problems(file: OrderFile) -> dict[int, str]:
    return {refusal.line: refusal.reason for refusal in file.refused}


def orders(file: OrderFile) -> list[dict[str, Any]]:
    return [file.record(step) for step in file.steps if step.kind == ORDER]


def refunds(file: OrderFile) -> list[dict[str, Any]]:
    return [file.record(step) for step in file.steps if step.kind == REFUND]


def net(file: OrderFile) -> Decimal:
    """What the file's orders came to, less what was paid back."""
    sold = sum(
        (each["quantity"] * each["unit_price"] - each["discount_amount"] for o in orders(file) for each in o["lines"]),
        Decimal(0),
    )
    return sold - sum((refund["amount"] for refund in refunds(file)), Decimal(0))


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


def test_an_order_has_one_id_in_whatever_file_it_stands(mapping: ColumnMapping) -> None:
    other = ROW.replace(b"A1", b"A2")
    (one, two) = (order["event_id"] for order in orders(read(HEADER + ROW + other, mapping)))
    (alone,) = (order["event_id"] for order in orders(read(HEADER + b"\n" + other, mapping)))
    assert alone == two != one


def test_rows_without_order_ids_are_the_same_orders_in_exports_that_overlap() -> None:
    mapping = load(CDNOW_MAPPING)
    header, row = b"customer_id date number_of_cds dollar_value\n", b"1 19970101 1 10.00\n"
    twice = read(header + row + row + b"2 19970101 1 10.00\n", mapping)
    again = read(header + b"2 19970101 1 10.00\n" + row + row + row, mapping)
    ids, others = ({order["event_id"] for order in orders(file)} for file in (twice, again))
    assert len(ids) == 3
    assert len(others) == 4
    assert ids < others


@pytest.fixture
def memory(tmp_path: Path) -> Any:
    opened = Memory(tmp_path / "memory.sqlite")
    yield opened
    opened.close()


def imported(memory: Memory, file: OrderFile) -> list[str]:
    """The orders that come to count by an import, after which they are known."""
    return [step.key for step, _ in published_by(memory, file)]


def published_by(memory: Memory, file: OrderFile) -> list[tuple[Step | Withdrawal, dict[str, Any]]]:
    """What an import publishes, after which it is known."""
    found = [(step, file.record(step)) for step in remaining(file, memory, next(NOW)).steps]
    for step, record in found:
        Encoder(EVENTS[step.kind], 1).encode(record)
        memory.note(step.key, Known.of(step, record))
    memory.commit()
    return found


def newest(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the states of each order or refund the one that counts, as the contracts' ``versions`` say."""
    states: dict[tuple[str, str, datetime], dict[str, Any]] = {}
    events = {record["event_id"]: record for record in reversed(list(records))}  # of two with one id the first counts
    for record in sorted(events.values(), key=lambda record: record["version"]):
        states[record.get("refund_id", ""), record["order_id"], record["occurred_at"]] = record
    return [record for record in states.values() if not record.get("is_cancelled") and not record.get("is_deleted")]


def sums(records: Iterable[dict[str, Any]]) -> dict[tuple[str, datetime], Decimal]:
    """What each order of them comes to, and what was paid back of it."""
    found: dict[tuple[str, datetime], Decimal] = {}
    for record in records:
        goods = sum(line["quantity"] * line["unit_price"] - line["discount_amount"] for line in lines_of(record))
        found[record.get("refund_id", record["order_id"]), record["occurred_at"]] = record.get("amount", goods)
    return found


def lines_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [] if "refund_id" in record else record["lines"]


def test_a_corrected_file_counts_what_was_refused_and_nothing_twice(mapping: ColumnMapping, memory: Memory) -> None:
    rows = [b"R1;C1;01.07.2024 10:00;P;X;1;100,00\n", b"R2;C2;01.07.2024 10:00;P;X;1;50,00\n"]
    bad = read(HEADER + b"".join(rows) + b"R3;;01.07.2024 10:00;P;X;1;25,00\n", mapping)
    assert imported(memory, bad) == ["order:R1", "order:R2"]
    mended = read(HEADER + b"".join(rows) + b"R3;C3;01.07.2024 10:00;P;X;1;25,00\n", mapping)
    assert net(mended) == Decimal("175.00")
    assert remaining(mended, memory, next(NOW)).already == 2
    assert imported(memory, mended) == ["order:R3"]
    assert imported(memory, mended) == []


def test_a_changed_order_is_published_as_a_newer_state_of_the_same(mapping: ColumnMapping, memory: Memory) -> None:
    first = [record for _, record in published_by(memory, read(HEADER + ROW, mapping))]
    changed = read(HEADER + ROW.replace(b"19,90", b"29,90"), mapping)
    assert remaining(changed, memory, next(NOW)).corrected == {"A1"}
    second = [record for _, record in published_by(memory, changed)]
    assert first[0]["version"] < second[0]["version"]
    assert first[0]["event_id"] != second[0]["event_id"]
    assert sums(newest(first + second)) == sums(orders(changed))
    assert remaining(changed, memory, next(NOW)).already == 1


def test_an_order_that_was_moved_is_withdrawn_where_it_was(mapping: ColumnMapping, memory: Memory) -> None:
    first = published_by(memory, read(HEADER + ROW, mapping))
    moved = read(HEADER + ROW.replace(b"01.07", b"02.07"), mapping)
    second = published_by(memory, moved)
    assert [type(step) for step, _ in second] == [Withdrawal, Step]
    assert sums(newest(record for _, record in first + second)) == sums(orders(moved))


def test_an_import_from_before_there_were_versions_is_not_corrected_and_says_so(
    mapping: ColumnMapping, tmp_path: Path
) -> None:
    file = read(HEADER + ROW, mapping)
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as database:
        database.execute("create table known (key text primary key, digest blob not null) without rowid")
        database.execute("insert into known values (?, ?)", (file.steps[0].key, file.steps[0].digest))
        database.commit()
    memory = Memory(tmp_path / "old.sqlite")
    assert remaining(file, memory, next(NOW)).already == 1
    (refusal,) = remaining(read(HEADER + ROW.replace(b"19,90", b"29,90"), mapping), memory, next(NOW)).refused
    assert "order A1 of bikes was imported before and is different here, and that import is too old" in refusal.reason
    memory.close()


EXPORTS = st.lists(
    st.dictionaries(
        st.sampled_from(["A1", "A2", "A3"]),
        st.tuples(
            st.sampled_from(["01.07.2024 14:30", "02.07.2024 00:10"]),
            st.integers(1, 3),
            st.sampled_from(["paid", "refunded", "voided"]),
            st.sampled_from(["", "1,00", "2,00"]),
        ),
        min_size=1,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(exports=EXPORTS, killed=st.integers(0, 40))
def test_whatever_exports_are_imported_each_order_ends_as_the_newest_that_has_it_says(
    exports: list[dict[str, tuple[str, int, str, str]]], killed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("exports")
    mapping, memory = load(written(folder, STATUS_MAPPING)), Memory(folder / "memory.sqlite")
    log: list[dict[str, Any]] = []
    for export, following in pairwise([*exports, exports[-1]]):
        other = read(exported({id_: order for id_, order in following.items() if id_ in export}), mapping)
        half = [other.record(step) for step in remaining(other, memory, next(NOW)).steps]
        log += half[:killed]  # published by an import that was killed, and not remembered
        file = read(exported(export), mapping)
        assert file.refused == []
        log += [record for _, record in published_by(memory, file)]
        assert remaining(file, memory, next(NOW)).steps == []
    memory.close()
    last = {order_id: order for export in exports for order_id, order in export.items()}
    expected = read(exported(last), mapping)
    assert sums(newest(log)) == sums(map(expected.record, expected.steps))


def exported(orders: dict[str, tuple[str, int, str, str]]) -> bytes:
    rows = (
        f"{order_id};C7;{at};P9;Helme;{units};19,90;{status};;;;{refunded if status == 'paid' else ''};\n"
        for order_id, (at, units, status, refunded) in orders.items()
    )
    return MONEY_HEADER + "".join(rows).encode()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"A1;C7;01.07.2024 14:30;P9;Helme;3", "unit_price should be in column 7, but the row has 6"),
        (b"A1;;01.07.2024 14:30;P9;Helme;3;1,00", "customer_id is empty"),
        (b";C7;01.07.2024 14:30;P9;Helme;3;1,00", "order_id is empty"),
        (b"A1;C7;2024-07-01;P9;Helme;3;1,00", "occurred_at is '2024-07-01', which is not a date like"),
        (b"A1;C7;01.07.1964 14:30;P9;Helme;3;1,00", "which is before 1970"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;0;1,00", "quantity is '0', which is not a positive whole number"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;-1;1,00", "quantity is '-1', which is not a positive whole number"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;;1,00", "quantity is ''"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1.5;1,00", "quantity is '1.5'"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;free", "unit_price is 'free', which is not an amount of money"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;NaN", "unit_price is 'NaN', which is not an amount of money"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;1E+999999", "a number in scientific notation"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;1,005", "unit_price is '1,005', which has parts of a cent"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;1.50", "amounts have a comma before the cents by the mapping"),
        (b"A1;C7;01.07.2024 14:30;P9;Helme;1;-1,00", "a refund is not an order"),
        (b"A1;C7;01.07.2024 14:30;P9;H\xe9lme;1;1,00", "the row is not valid utf-8"),
        (b"A1;C7;01.07.2024 14:30;P9;" + b"x" * 200_000 + b";1;1,00", "category has 200,000 characters"),
        (b'A1;C7;01.07.2024 14:30;"P9"x;Helme;1;1,00', "quotes inside a quoted cell must be doubled"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_the_reason(mapping: ColumnMapping, row: bytes, problem: str) -> None:
    good = b"A9;C7;01.07.2024 14:30;P9;Helme;3;19,90\n"
    file = read(HEADER + good + row + b"\n" + good.replace(b"A9", b"A8"), mapping)
    assert list(problems(file)) == [3]
    assert problem in problems(file)[3]
    assert file.original(file.refused[0].rows) == row
    assert len(orders(file)) == 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"A1;C8;01.07.2024 14:30;P9;X;1;1,00\n", "order A1 has customer_id 'C7' in an earlier row and 'C8' in this"),
        (b"A1;C7;01.07.2024 14:30;P9;X;1;free\n", "which is not an amount"),
        (b"A1;C7;01.07.2024 14:30;P9;X\n", "should be in column"),
        (b'A1;C7;01.07.2024 14:30;P9;"X;1;1,00\n', "a quote is opened and not closed"),
    ],
)
def test_an_order_with_one_bad_row_is_refused_whole(mapping: ColumnMapping, row: bytes, problem: str) -> None:
    file = read(HEADER + ROW + row, mapping)
    assert orders(file) == []
    (refusal,) = file.refused
    assert (refusal.line, [each.line for each in refusal.rows]) == (3, [2, 3])
    assert problem in refusal.reason


def test_an_open_quote_costs_its_own_row_only(mapping: ColumnMapping) -> None:
    rows = b"".join(b"B%d;C7;01.07.2024 14:30;P9;X;1;1,00\n" % number for number in range(50))
    file = read(HEADER + b'A1;C7;01.07.2024 14:30;"P9;X;1;1,00\n' + rows, mapping)
    assert (list(problems(file)), len(orders(file))) == ([2], 50)


def test_a_line_break_inside_quotes_is_part_of_the_cell(mapping: ColumnMapping) -> None:
    file = read(HEADER + b'A1;C7;01.07.2024 14:30;"P\n9";"X\r\nY";1;1,00\n' + ROW.replace(b"A1", b"A2"), mapping)
    assert problems(file) == {}
    assert {each["product_id"] for order in orders(file) for each in order["lines"]} == {"P\n9", "P9"}
    assert {step.line for step in file.steps} == {2, 5}


INHERITING = SHOP_MAPPING.replace('delimiter = ";"', "inherit_blanks = true").replace(
    'currency = "EUR"\nchannel', "channel"
)
INHERITING = INHERITING.replace("[columns]", '[columns]\ncurrency = "Currency"').replace(
    'decimal_point = ","', 'decimal_point = "."'
)


def test_an_orders_later_rows_inherit_from_its_first_row(tmp_path: Path) -> None:
    content = (
        b"Order,Customer,Currency,When,Article,Shelf,Units,Price\n"
        b"#2001,a@x,EUR,01.07.2024 10:00,BELL,S,1,30.00\n#2001,a@x,,,TYRE,S,2,25.00\n,,,,PUMP,S,1,5.00\n"
    )
    file = read(content, load(written(tmp_path, INHERITING)))
    assert problems(file) == {}
    assert net(file) == Decimal("85.00")
    whole_or_nothing = read(content, load(written(tmp_path, INHERITING.replace("inherit_blanks = true", ""))))
    assert orders(whole_or_nothing) == []
    assert len(whole_or_nothing.refused) == 2


@given(quantity=st.integers(1, 10_000), total=st.integers(0, 10**9), off=st.integers(0, 10**9))
def test_units_and_money_of_a_line_are_exact(quantity: int, total: int, off: int) -> None:
    off = min(off, total)
    lines = order_lines(Line("p", "c", None, quantity, total, off, 0, 0))
    assert sum(line["quantity"] for line in lines) == quantity
    assert sum(line["quantity"] * line["unit_price"] for line in lines) == Decimal(total).scaleb(-2)
    assert sum(line["discount_amount"] for line in lines) == Decimal(off).scaleb(-2)
    assert all(line["quantity"] > 0 for line in lines)
    assert all(0 <= line["discount_amount"] <= line["quantity"] * line["unit_price"] for line in lines)
    assert len(lines) <= 2


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.floats(0, 1))
def test_an_orders_discount_is_spread_to_the_cent_and_no_line_gets_more_than_it_costs(
    costs: list[int], part: float
) -> None:
    amount = int(sum(costs) * part)
    shares = spread(amount, costs)
    assert sum(shares) == amount
    assert all(0 <= share <= cost for share, cost in zip(shares, costs, strict=True))


AMOUNTS = [
    ("1.500", ",", 150000),
    ("1.234", ",", 123400),
    ("1.234,56", ",", 123456),
    ("1 234,56", ",", 123456),
    ("1\u202f234,5", ",", 123450),
    ("1,234.56", ".", 123456),
    ("1,234,567", ".", 123456700),
    ("1'234.50", ".", 123450),
    ("1.500", ".", 150),
    ("12.5000", None, 1250),
    ("19.9", None, 1990),
    (".5", None, 50),
    ("$5.00", None, 500),
    ("USD 5.00", None, 500),
    ("(5.00)", None, -500),
    ("-5.00", None, -500),
    ("−5.00", None, -500),
    ("9999999999.99", None, 999999999999),
]


@pytest.mark.parametrize(("text", "point", "found"), AMOUNTS)
def test_an_amount_is_read_by_the_sign_before_its_cents(text: str, point: str | None, found: int) -> None:
    assert cents(text, point, "USD") == found


@pytest.mark.parametrize(
    ("text", "point", "says"),
    [
        ("1.50", ",", "set decimal_point = '.' if all have"),
        ("1,50", ".", "set decimal_point = ',' if all have"),
        ("1.500", None, "which could be 1.500 or 1500"),
        ("1,500", None, "which could be 1.500 or 1500"),
        ("1.234", ".", "has parts of a cent; if its point separates thousands"),
        ("12,34,567.00", ".", "not an amount of money"),
        ("1E+999999", ".", "scientific notation"),
        ("10000000000", ".", "more than an amount can be"),
        ("€5.00", ".", "not an amount of money"),
        ("١.٥٠", ".", "not an amount of money"),
        ("", ".", "not an amount of money"),
        (".", ".", "not an amount of money"),
        ("Infinity", ".", "not an amount of money"),
        ("5.00 EUR", ".", "not an amount of money"),
    ],
)
def test_an_amount_that_may_be_meant_otherwise_is_refused_with_the_cause(
    text: str, point: str | None, says: str
) -> None:
    with pytest.raises(BadValue) as refused:
        cents(text, point, "USD")
    assert says in str(refused.value)


SECOND = "%Y-%m-%d %H:%M:%S"


@pytest.mark.parametrize(
    ("text", "form", "at"),
    [
        ("2026-11-28 10:00:00", SECOND, "2026-11-28T09:00:00"),
        ("2026-11-28 10:00:00 UTC", SECOND, "2026-11-28T10:00:00"),
        ("2026-11-28 10:00:00 UTC", f"{SECOND} %Z", "2026-11-28T10:00:00"),
        ("2026-11-28 10:00:00 -0500", f"{SECOND} %z", "2026-11-28T15:00:00"),
        ("2026-11-28 10:00:00 PST", SECOND, "2026-11-28T18:00:00"),
        ("2026-11-28 10:00:00 America/New_York", SECOND, "2026-11-28T15:00:00"),
        ("2026-11-28T10:00:00Z", "iso", "2026-11-28T10:00:00"),
        ("2026-11-28T10:00:00+01:00", "iso", "2026-11-28T09:00:00"),
        ("2026-11-28 10:00:00 +0100", "iso", "2026-11-28T09:00:00"),
        ("2026-11-28", "iso", "2026-11-27T23:00:00"),
        ("28-11-2026", "%d-%m-%Y", "2026-11-27T23:00:00"),
        ("11/28/26 10:00 PM", "%m/%d/%y %I:%M %p", "2026-11-28T21:00:00"),
        ("1764324000", "epoch_seconds", "2025-11-28T10:00:00"),
        ("1764324000123", "epoch_millis", "2025-11-28T10:00:00.123"),
        ("1764324000123456", "epoch_micros", "2025-11-28T10:00:00.123"),
    ],
)
def test_a_zone_that_is_written_in_the_value_wins(text: str, form: str, at: str) -> None:
    wanted = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert millis(text, (form,), "Europe/Berlin") == int(wanted.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ("9999-12-31 23:59:59", "iso", "after the year 9999"),
        ("0001-01-01 00:00:00", "iso", "before 1970"),
        ("2026-11-28 10:00:00 BST", "iso", "write it as +01:00"),
        ("2026-13-01", "iso", "not a date like"),
        ("soon", "epoch_seconds", "not a date like epoch_seconds"),
        ("99999999999999999", "epoch_seconds", "milliseconds or microseconds?"),
    ],
)
def test_a_time_that_no_order_can_have_is_refused(text: str, form: str, says: str) -> None:
    with pytest.raises(BadValue) as refused:
        millis(text, (form,), "America/New_York")
    assert says in str(refused.value)


STATUS_MAPPING = (
    SHOP_MAPPING.replace(
        "[columns]",
        "[columns]\n"
        + "\n".join(
            f'{field} = "{field}"' for field in ("status", "order_discount", "shipping", "tax", "refunded", "discount")
        ),
    )
    + '[status]\npaid = "sale"\nrefunded = "refunded"\nvoided = "void"\n'
)
MONEY_HEADER = HEADER.rstrip() + b";status;order_discount;shipping;tax;refunded;discount\n"


@pytest.mark.parametrize(
    ("rest", "net_amount", "refund"),
    [
        ("paid;;;;;", "150.00", None),
        ("Refunded;;;;;", "0.00", "150.00"),
        ("refunded;;5,00;2,00;;", "-7.00", "157.00"),
        ("paid;;;;150,00;", "0.00", "150.00"),
        ("paid;;;;10,00;", "140.00", "10.00"),
        ("paid;10,00;;;;", "140.00", None),
        ("paid;-10,00;;;;", "140.00", None),
        ("paid;;;;;20,00", "130.00", None),
        ("refunded;10,00;;;;20,00", "0.00", "120.00"),
    ],
)
def test_statuses_discounts_and_refunds_come_out_net(
    rest: str, net_amount: str, refund: str | None, tmp_path: Path
) -> None:
    row = f"A1;C7;01.07.2024 14:30;P9;X;3;50,00;{rest}\n".encode()
    file = read(MONEY_HEADER + row, load(written(tmp_path, STATUS_MAPPING)))
    assert problems(file) == {}
    assert net(file) == Decimal(net_amount)
    assert [each["amount"] for each in refunds(file)] == ([] if refund is None else [Decimal(refund)])
    for record in refunds(file):
        assert Encoder(ORDER_REFUNDED, 1).encode(record)
        assert 0 <= sum(each["amount"] for each in record["lines"]) <= record["amount"]


def test_an_order_that_was_voided_is_no_sale_and_is_accounted_for(tmp_path: Path, memory: Memory) -> None:
    mapping = load(written(tmp_path, STATUS_MAPPING))
    row = b"A1;C7;01.07.2024 14:30;P9;X;1;70,00;voided;;;;;\n"
    file = read(MONEY_HEADER + row, mapping)
    assert (file.steps, file.refused) == ([], [])
    assert [(skip.order_id, skip.reason) for skip in file.skipped] == [("A1", "its status is voided: it was not sold")]
    imported(memory, read(MONEY_HEADER + row.replace(b"voided", b"paid"), mapping))
    withdrawn = published_by(memory, file)
    assert [(step.key, record["is_cancelled"]) for step, record in withdrawn] == [("order:A1", True)]
    assert remaining(file, memory, next(NOW)).steps == []


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("unheard;;;;;", "[status] in the mapping does not say what that means; it has paid, refunded, voided"),
        ("paid;;;;150,01;", "refunded is 150.01, and the order comes to 150.00"),
        ("paid;150,01;;;;", "order_discount is 150.01, and the goods cost 150.00"),
        ("paid;;;;;150,01", "which is more than the line's price"),
        ("paid;;-1,00;;;", "shipping is '-1,00', which is below zero"),
    ],
)
def test_money_that_can_not_be_refuses_the_order(rest: str, says: str, tmp_path: Path) -> None:
    row = f"A1;C7;01.07.2024 14:30;P9;X;3;50,00;{rest}\n".encode()
    file = read(MONEY_HEADER + row, load(written(tmp_path, STATUS_MAPPING)))
    assert file.steps == []
    assert says in file.refused[0].reason


def test_an_order_that_comes_to_be_refunded_later_adds_its_refund_alone(tmp_path: Path, memory: Memory) -> None:
    mapping = load(written(tmp_path, STATUS_MAPPING))
    row = b"A1;C7;01.07.2024 14:30;P9;X;1;70,00;paid;;;;;\n"
    assert imported(memory, read(MONEY_HEADER + row, mapping)) == ["order:A1"]
    later = read(MONEY_HEADER + row.replace(b"paid", b"refunded"), mapping)
    assert remaining(later, memory, next(NOW)).refused == []
    assert imported(memory, later) == ["refund:A1"]


@pytest.mark.parametrize(("currency", "says"), [("usd", "USD"), ("Euro", "EUR"), ("€", "EUR"), ("12", "as EUR or USD")])
def test_a_currency_that_is_no_code_is_refused_with_the_code_to_write(currency: str, says: str, tmp_path: Path) -> None:
    text = f"Order,Customer,Currency,When,Article,Shelf,Units,Price\n1,a,{currency},01.07.2024 10:00,B,S,1,30.00\n"
    file = read(text.encode(), load(written(tmp_path, INHERITING)))
    assert file.refused[0].reason == f"currency is {currency!r}; write the ISO 4217 code {says}"


TEXT = (HEADER + ROW.replace(b"Helme", "Käse €".encode()) + ROW.replace(b"A1", b"A2")).decode()
JAPANESE = TEXT.replace("Käse €", "自転車のベル")


def zipped(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "category"),
    [
        (TEXT.encode("utf-8"), "Käse €"),
        (TEXT.encode("utf-8-sig"), "Käse €"),
        (TEXT.encode("utf-16"), "Käse €"),
        (TEXT.encode("utf-16-le"), "Käse €"),
        (TEXT.encode("utf-16-be"), "Käse €"),
        (TEXT.encode("utf-32"), "Käse €"),
        (TEXT.encode("cp1252"), "Käse €"),
        (JAPANESE.encode("cp932"), "自転車のベル"),
        (gzip.compress(TEXT.encode()), "Käse €"),
        (zipped(**{"orders.csv": TEXT.encode(), "__MACOSX/._orders.csv": b"x"}), "Käse €"),
        (gzip.compress(zipped(orders=TEXT.encode("cp1252"))), "Käse €"),
        (TEXT.replace(";", "\t").encode(), "Käse €"),
        (TEXT.replace("\n", "\r\n").encode(), "Käse €"),
        (TEXT.replace("\n", "\r").encode(), "Käse €"),
        (("exported on Monday\n\n" + TEXT).encode(), "Käse €"),
        ("\n".join(
            json.dumps(dict(zip(HEADER.decode().strip().split(";"), line.split(";"), strict=True)))
            for line in TEXT.splitlines()[1:]
        ).encode(), "Käse €"),
    ],
    ids=["utf-8", "bom", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "shift-jis", "gzip", "zip", "both",
         "tabs", "crlf", "cr", "preamble", "json-lines"],
)  # fmt: skip
def test_a_file_is_read_in_the_encoding_and_packing_that_it_is_in(
    content: bytes, category: str, tmp_path: Path
) -> None:
    own = SHOP_MAPPING.replace('encoding = "utf-8"', "").replace('delimiter = ";"', "")
    file = read(content, load(written(tmp_path, own)))
    assert problems(file) == {}
    assert [order["lines"][0]["category"] for order in orders(file)] == [category, "Helme"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "orders is empty; is it the right file"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (
            HEADER.replace(b"Price", b"Preis"),
            "'Price' for unit_price is not in the file; its columns are Order, Customer",
        ),
        (b"%PDF-1.4 \xe2\xe3", "is a PDF; export it as CSV"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0", "is neither text in"),
        (b"PK\x03\x04broken", "the archive orders is damaged"),
        (b"\x1f\x8bbroken", "a damaged gzip file"),
        (gzip.compress(TEXT.encode())[:-9], "a damaged gzip file"),
        (b"\xd0\xcf\x11\xe0broken", "the spreadsheet orders can't be read"),
        (zipped(**{"a.csv": b"1", "b.csv": b"2"}), "should hold one file and holds a.csv, b.csv"),
        (zipped(), "should hold one file and holds nothing"),
        (zipped(**{"xl/workbook.xml": b"x"}), "the spreadsheet orders can't be read"),
        (HEADER.replace(b"Shelf", b"Price"), "'Price' for unit_price is in the file more than once"),
        (b"[1, 2", "is not JSON"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_file_that_can_not_be_read_at_all_is_refused_whole_in_a_sentence(
    content: bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured) as refused:
        read(content, load(written(tmp_path, SHOP_MAPPING.replace('encoding = "utf-8"', ""))))
    assert says in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-17", "base64", "rot13", "hex", ""])
def test_an_encoding_that_is_none_is_refused_with_those_that_are(encoding: str, tmp_path: Path) -> None:
    path = written(tmp_path, SHOP_MAPPING.replace('encoding = "utf-8"', f'encoding = "{encoding}"'))
    with pytest.raises(Misconfigured, match="there is no encoding .*write utf-8, utf-16, cp1252 or shift_jis"):
        load(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('source = "bikes"', ""), "source must be a string"),
        (('delimiter = ";"', 'delimiter = "::"'), "delimiter must be one character or 'whitespace'"),
        (('decimal_point = ","', 'decimal_point = "x"'), "decimal_point must be '.' or ','"),
        (('date_format = "%d.%m.%Y %H:%M"', 'date_format = "german"'), "one of iso, epoch_seconds"),
        (('zone = "Europe/Berlin"', 'zone = "Europe/Bärlin"'), "is not a time zone"),
        (("header = true", 'header = "yes"'), "header must be true or false"),
        (("header = true", "header = true\ncolour = 1"), "there is no setting 'colour'; there are source, "),
        (('unit_price = "Price"', ""), "map either total or unit_price"),
        (('unit_price = "Price"', 'unit_price = "Price"\ntotal = 4'), "map either total or unit_price"),
        (('category = "Shelf"', ""), "category must be a column or a constant"),
        (('category = "Shelf"', 'category = "Shelf"\nregion = 3'), "region is both a column and a constant"),
        (('category = "Shelf"', "category = 0"), "columns.category must be a name or a position from 1, not 0"),
        (('category = "Shelf"', "category = []"), "columns.category must be a name or a position from 1"),
        (('category = "Shelf"', 'category = "Shelf"\nsize = 3'), "there is no field 'size'; there are customer_id"),
        (('category = "Shelf"', 'category = "Shelf"\nstatus = 3'), "the table [status]"),
        (("[constants]", '[status]\npaid = "yes"\n[constants]'), "status.paid must be one of sale, refunded, void"),
        (("[columns]", "[columns"), "is not TOML"),
        (("[constants]\n", "[[join]]\nfile = 'x'\n[constants]\n"), "a [[join]] needs file"),
    ],
)
def test_a_mapping_that_can_not_be_is_refused_with_what_to_write(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    path = written(tmp_path, SHOP_MAPPING.replace(*change))
    with pytest.raises(Misconfigured, match="mapping.toml") as refused:
        load(path)
    assert says in str(refused.value)


def test_a_mapping_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="nowhere.toml can't be read: No such file"):
        load(tmp_path / "nowhere.toml")


def fates(file: OrderFile) -> set[tuple[str, int]]:
    """The places of rows that became something; the same row may be in an order and in its refund."""
    found = [
        *(step.rows for step in file.steps),
        *(refusal.rows for refusal in file.refused),
        *(skip.rows for skip in file.skipped),
    ]
    return {(row.sheet, row.line) for rows in found for row in rows}


CELL = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["A1", "A2", "C7", "P9", "3", "-3", "1,00", "1.000,00", "paid", "refunded"]),
    st.sampled_from(["01.07.2024 14:30", '"', ""]),
)


@pytest.mark.fuzz(inputs=6_000)
@given(st.lists(st.lists(CELL, min_size=1, max_size=15), max_size=12))
def test_every_row_whatever_is_counted_refused_or_skipped(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    mapping = load(written(tmp_path_factory.getbasetemp(), STATUS_MAPPING.replace('encoding = "utf-8"', "")))
    content = MONEY_HEADER + "\n".join(";".join(cells) for cells in rows).encode("utf-8", "surrogatepass")
    try:
        file = read(content, mapping)
    except Misconfigured:
        return
    places = {(row.sheet, row.line) for row in (*file.table.records, *file.table.broken)}
    assert fates(file) == places
    for order in orders(file):
        assert all(line["discount_amount"] <= line["quantity"] * line["unit_price"] for line in order["lines"])
    for refund in refunds(file):
        assert sum(line["amount"] for line in refund["lines"]) <= refund["amount"]


@pytest.mark.fuzz(inputs=15_000)
@given(st.binary(max_size=300), st.sampled_from([b"", HEADER, MONEY_HEADER, b"PK\x03\x04", b"\x1f\x8b", b"{", b"["]))
def test_no_bytes_whatever_stop_a_file_from_being_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    mapping = load(written(tmp_path_factory.getbasetemp(), STATUS_MAPPING.replace('encoding = "utf-8"', "")))
    try:
        file = read(start + content, mapping)
    except Misconfigured:
        return
    for refusal in file.refused:
        refusal.reason.encode()
        file.original(refusal.rows)
