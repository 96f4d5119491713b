"""A real shop's history, all of it, once: CDNOW's 69,659 orders by 23,570 customers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.order_file.memory import published
from producers.shop.occurrences import ORDER_PLACED
from schemas import catalogue
from schemas.errors import Interrupted
from tests.producers.sealed import unsealed

DEAD_LETTER = catalogue.event("ops.dead_letter")
MAPPING = Path(__file__).parents[2] / "producers" / "mappings" / "cdnow.toml"
ORDERS, CUSTOMERS, UNITS, SALES = 69_659, 23_570, 167_881, Decimal("2500315.63")
RATE, KILLED_AT = "8000", (1, 30_000)  # what it remembers is written every two seconds


@pytest.fixture(scope="module")
def cdnow() -> Path:
    """The file, found without importing the package that ships it."""
    found = importlib.util.find_spec("lifetimes")
    assert found is not None, "the package lifetimes is not installed; `make test` does it"
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"


def book_of(state: Path) -> Path | None:
    return next(state.glob("cdnow-orders.sqlite"), None)


def done(state: Path) -> int:
    book = book_of(state)
    return 0 if book is None else published(book)


def test_a_real_shops_history_is_on_the_log_exactly_although_its_reader_is_killed(
    cdnow: Path,
    produce: Callable[..., Any],
    until: Callable[..., Any],
    log_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    log, state = log_of(ORDER_PLACED), tmp_path / "state"
    arguments = ("orders", "--from-file", str(cdnow), "--mapping", str(MAPPING), "--currency", "USD")
    for enough in KILLED_AT:
        running = produce(*arguments, "--rate", RATE)
        until(lambda enough=enough: done(state) >= enough, seconds=180, what=f"{enough} orders are published")
        running.kill()
    running = produce(*arguments, "--rate", RATE)
    until(lambda: running.logged("opened"), seconds=180, what="it goes on")
    assert running.terminate() == Interrupted.exit_code, "nobody may take it for done"
    assert done(state) < ORDERS
    assert produce(*arguments).process.wait(300) == 0

    records = log.records(ORDER_PLACED.topic)
    orders = {record["event_id"]: record for record in records}
    lines = [line for order in orders.values() for line in order["lines"]]
    assert len({order["order_id"] for order in orders.values()}) == len(orders) == ORDERS
    assert len({order["customer_id"] for order in orders.values()}) == CUSTOMERS
    assert sum(line["quantity"] for line in lines) == UNITS
    assert sum(line["quantity"] * line["unit_price"] for line in lines) == SALES

    book = book_of(state)
    assert book is not None
    assert published(book) == ORDERS

    again = produce(*arguments)
    assert again.process.wait(120) == 0
    assert again.logged("stopped")["published"] == 0
    assert len(log.records(ORDER_PLACED.topic)) == len(records)


def customers_and_dollars(log: Any) -> list[tuple[str, Decimal]]:
    orders = log.records(ORDER_PLACED.topic)
    return sorted(
        (order["customer_id"], sum(line["quantity"] * line["unit_price"] for line in order["lines"]))
        for order in orders
    )


def customers_and_dollars_of(rows: list[bytes]) -> list[tuple[str, Decimal]]:
    return sorted((row.split()[0].decode(), Decimal(row.split()[3].decode())) for row in rows)


def test_a_bad_row_becomes_a_dead_letter_with_its_bytes_its_line_and_why(
    cdnow: Path, produce: Callable[..., Any], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    rows = cdnow.read_bytes().splitlines()[:6]
    rows[3] = b" 00002 19971301  1   12.00"
    file = tmp_path / "orders.txt"
    file.write_bytes(b"\n".join(rows))
    log = log_of(ORDER_PLACED, DEAD_LETTER)
    running = produce("orders", "--from-file", str(file), "--mapping", str(MAPPING), "--currency", "USD")
    assert running.process.wait(120) == 3
    assert "1 row of the file was rejected; published now: 4 orders" in running.log_file.read_text()

    assert customers_and_dollars(log) == customers_and_dollars_of([*rows[1:3], *rows[4:]])
    (letter,) = log.messages(DEAD_LETTER.topic)
    headers = {name.removeprefix("__connect.errors."): value.decode() for name, value in letter.headers()}
    sealed = unsealed(tmp_path / "state", letter)
    assert sealed.original == rows[3]
    assert (headers["topic"], headers["line"], headers["file"]) == (ORDER_PLACED.topic, "4", str(file))
    assert (headers["column"], sealed.headers["value"]) == ("date", "19971301")
    assert "occurred_at is '19971301', which is not a date like %Y%m%d" in sealed.headers["exception.message"]
    assert "occurred_at is …, which is not a date like %Y%m%d" in headers["exception.message"]
    book = book_of(tmp_path / "state")
    assert book is not None
    assert published(book) == 5


def test_a_row_that_the_publisher_refuses_becomes_a_dead_letter_with_why_and_the_rest_goes_on(
    cdnow: Path, produce: Callable[..., Any], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    rows = cdnow.read_bytes().splitlines()[:6]
    rows[2] = b" 00002 21990101  1   12.00"
    rows[3] = b" 00002 22000101  1   12.00"
    rows[4] = b" 0000\0 19970101  1   12.00"
    file = tmp_path / "orders.txt"
    file.write_bytes(b"\n".join(rows))
    log = log_of(ORDER_PLACED, DEAD_LETTER)
    command = ("orders", "--from-file", str(file), "--mapping", str(MAPPING), "--currency", "USD")
    assert produce(*command).process.wait(120) == 3

    assert customers_and_dollars(log) == customers_and_dollars_of([rows[1], rows[5]])
    reasons = {}
    for letter in log.messages(DEAD_LETTER.topic):
        headers = {name.removeprefix("__connect.errors."): value.decode() for name, value in letter.headers()}
        assert unsealed(tmp_path / "state", letter).original == rows[int(headers["line"]) - 1]
        reasons[headers["line"]] = headers["exception.message"]
    assert reasons.keys() == {"3", "4", "5"}
    assert "field occurred_at is 2199-01-01T00:00:00+00:00, more than 1 h ahead of this machine's clock" in reasons["3"]
    assert "field occurred_at is 2200-01-01T00:00:00+00:00, more than 1 h ahead of this machine's clock" in reasons["4"]
    assert "field customer_id has U+0000 as its character 5" in reasons["5"]
    book = book_of(tmp_path / "state")
    assert book is not None
    assert published(book) == 5

    again = produce("orders", "--from-file", str(file), "--mapping", str(MAPPING), "--currency", "USD")
    assert again.process.wait(120) == 3
    assert again.logged("stopped")["published"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from-file", "orders.txt"), "give --from-file FILE and --mapping MAPPING.toml"),
        (("--mapping", str(MAPPING)), "--mapping needs a file"),
        (("--from-file", "nowhere.txt", "--mapping", str(MAPPING)), "nowhere.txt can't be read: No such file"),
    ],
)
def test_a_file_or_a_mapping_that_is_missing_is_named(
    arguments: tuple[str, ...], says: str, produce: Callable[..., Any]
) -> None:
    running = produce("orders", *arguments)
    assert running.process.wait(120) == 1
    assert says in running.log_file.read_text()


def test_a_file_without_the_mapped_column_is_refused_in_a_sentence(produce: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "orders.txt"
    file.write_text("customer date cds dollars\n1 19970101 1 1.00\n")
    running = produce("orders", "--from-file", str(file), "--mapping", str(MAPPING), "--currency", "USD")
    assert running.process.wait(120) == 1
    said = running.log_file.read_text()
    assert "insights produce: the mapping's column 'customer_id' for customer_id is not in the file" in said
    assert "Traceback" not in said
