"""Rows that are read again and again: each state once, deletions, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.persons.keys import PersonKeys
from producers.pipelines.source import SourceFailed
from schemas import catalogue
from schemas.errors import BrokerUnavailable, Misconfigured, RowsRefused
from tests.producers.connect.kept import Kept
from tests.producers.pipelines.conftest import Pipeline

ORDERS = catalogue.event("sales.order_placed").topic
PRODUCTS = catalogue.event("catalog.product_observed").topic
CUSTOMERS = catalogue.event("customers.customer_changed").topic
MOVES = catalogue.event("inventory.stock_moved").topic
LETTERS = catalogue.event("ops.dead_letter").topic

FILE = """
import json
from pathlib import Path

import dlt

NAME = "bikes"
EVENTS = {{"rows": "{event}"}}
HERE = Path(__file__).parent


def read():
    @dlt.resource(name="rows", primary_key="{key}", write_disposition="{disposition}", columns={columns})
    def rows():
        with (HERE / "asked").open("a") as asked:
            asked.write("x")
        yield from json.loads((HERE / "rows.json").read_text(){options})

    return rows
"""
EXACT = ", parse_float=str"


class Rows(Pipeline):
    """A pipeline whose rows are a file's."""

    def __init__(self, folder: Path, event: str, key: str, *, disposition: str = "append", columns: str = "{}") -> None:
        text = FILE.format(event=event, key=key, disposition=disposition, columns=columns, options=EXACT)
        super().__init__(folder, text)

    def have(self, *rows: dict[str, Any]) -> None:
        (self.folder / "rows.json").write_text(json.dumps(rows))

    @property
    def times_asked(self) -> int:
        return len((self.folder / "asked").read_text())

    def records(self, topic: str) -> list[dict[str, Any]]:
        return self.log.records(topic)


class Away(Kept):
    """A Kafka that takes events and never says so."""

    def flush(self, deadline_seconds: float = 1) -> None:
        raise BrokerUnavailable("Kafka is away")


def an_order(order_id: int = 1, **changed: Any) -> dict[str, Any]:
    line = {"product_id": "bell", "category": "bells", "quantity": 1, "unit_price": "19.99", "discount_amount": "0"}
    order = {
        "order_id": order_id,
        "customer_id": 7,
        "region": "DE",
        "currency": "EUR",
        "channel": "web",
        "lines": [line],
        "shipping_amount": "0",
        "tax_amount": "0",
        "occurred_at": "2026-11-02T09:00:00+01:00",
    }
    return order | changed


def a_product(product_id: str = "bell", **changed: Any) -> dict[str, Any]:
    product = {"product_id": product_id, "shop": "bikes", "name": "Bell", "price": "19.99", "currency": "EUR"}
    return product | {"url": "", "description": "", "availability": "in_stock"} | changed


@pytest.fixture
def orders(tmp_path: Path) -> Rows:
    return Rows(tmp_path, "sales.order_placed", "order_id")


def test_a_row_is_published_once_however_often_it_is_read(orders: Rows) -> None:
    orders.have(an_order(1), an_order(2))
    orders.read()
    orders.read()
    found = orders.records(ORDERS)
    assert [(each["order_id"], each["source"], each["is_cancelled"]) for each in found] == [
        ("1", "bikes", None),
        ("2", "bikes", None),
    ]
    assert found[0]["lines"][0]["unit_price"] == Decimal("19.99")


def test_a_changed_row_is_the_next_version_of_its_order(orders: Rows) -> None:
    orders.have(an_order(1))
    orders.read()
    orders.have(an_order(1, region="FR"))
    orders.read()
    first, second = orders.records(ORDERS)
    assert second["region"] == "FR"
    assert second["version"] > first["version"]
    assert second["event_id"] != first["event_id"]


def test_an_order_whose_time_changed_is_withdrawn_where_it_was(orders: Rows) -> None:
    orders.have(an_order(1))
    orders.read()
    orders.have(an_order(1, occurred_at="2026-11-03T09:00:00+01:00"))
    orders.read()
    before, withdrawn, after = orders.records(ORDERS)
    assert withdrawn["is_cancelled"] is True
    assert withdrawn["occurred_at"] == before["occurred_at"]
    assert after["occurred_at"] > before["occurred_at"]
    assert before["version"] < withdrawn["version"] < after["version"]


def test_the_column_of_a_hard_delete_withdraws_an_order_once(tmp_path: Path) -> None:
    columns = "{'deleted_at': {'hard_delete': True, 'data_type': 'text'}}"
    orders = Rows(tmp_path, "sales.order_placed", "order_id", columns=columns)
    orders.have(an_order(1, deleted_at=None), an_order(2, deleted_at="2026-11-02"))
    orders.read()
    orders.have({"order_id": 1, "deleted_at": "2026-11-03"})
    orders.read()
    orders.read()
    assert [(each["order_id"], each["is_cancelled"]) for each in orders.records(ORDERS)] == [("1", None), ("1", True)]
    orders.have(an_order(1, deleted_at=None))
    orders.read()
    assert orders.records(ORDERS)[-1]["is_cancelled"] is None


def test_an_order_that_is_missing_when_all_were_read_is_withdrawn(tmp_path: Path) -> None:
    orders = Rows(tmp_path, "sales.order_placed", "order_id", disposition="replace")
    orders.have(an_order(1), an_order(2))
    orders.read()
    orders.have(an_order(2))
    orders.read()
    orders.read()
    found = [(each["order_id"], each["is_cancelled"]) for each in orders.records(ORDERS)]
    assert found == [("1", None), ("2", None), ("1", True)]


def test_when_many_are_missing_at_once_they_are_withdrawn_a_day_later(tmp_path: Path) -> None:
    orders = Rows(tmp_path, "sales.order_placed", "order_id", disposition="replace")
    orders.have(*(an_order(number) for number in range(10)))
    orders.read()
    orders.have()
    orders.read()
    assert len(orders.records(ORDERS)) == 10
    orders.clock.now += 86_400
    orders.read()
    assert len(orders.records(ORDERS)) == 20


def test_an_order_that_is_missing_from_new_ones_alone_stays(orders: Rows) -> None:
    orders.have(an_order(1))
    orders.read()
    orders.have(an_order(2))
    orders.read()
    assert len(orders.records(ORDERS)) == 2


def test_a_row_that_breaks_the_contract_is_a_dead_letter_once_and_the_others_go_on(orders: Rows) -> None:
    orders.have(an_order(1, shipping_amount="-1"), an_order(2))
    verdict = orders.read()
    orders.read()
    assert isinstance(verdict, RowsRefused)
    assert "shipping_amount" in str(verdict)
    assert [each["order_id"] for each in orders.records(ORDERS)] == ["2"]
    (letter,) = orders.log.messages(LETTERS)
    headers = {name.removeprefix("__connect.errors."): value.decode() for name, value in letter.headers()}
    assert (headers["pipeline"], headers["resource"], headers["column"]) == ("bikes", "rows", "shipping_amount")


def test_a_corrected_row_is_published(orders: Rows) -> None:
    orders.have(an_order(1, currency="USD"))
    assert "currency" in str(orders.read())
    orders.have(an_order(1))
    assert orders.read() is None
    assert len(orders.records(ORDERS)) == 1


def test_a_row_without_its_primary_key_is_a_dead_letter(orders: Rows) -> None:
    orders.have(an_order(1) | {"order_id": None})
    assert "the row has no order_id, which is its primary key" in str(orders.read())


def test_rows_that_kafka_did_not_take_are_published_next_time_without_reading_the_source_again(orders: Rows) -> None:
    away = Away(orders.clock)
    orders.have(an_order(1))
    with pytest.raises(BrokerUnavailable):
        orders.read(away)
    orders.have()
    orders.read()
    # The events that may have reached Kafka, and those that did, are the same.
    assert [each["event_id"] for each in away.records(ORDERS)] == [each["event_id"] for each in orders.records(ORDERS)]
    assert len(orders.records(ORDERS)) == 1


def test_a_product_without_a_time_is_observed_when_it_is_read_and_knows_its_price_before(tmp_path: Path) -> None:
    products = Rows(tmp_path, "catalog.product_observed", "product_id")
    products.have(a_product())
    products.read()
    products.read()
    products.have(a_product(price="17.50"))
    products.read()
    first, second = products.records(PRODUCTS)
    assert (first["previous_price"], second["previous_price"]) == (None, Decimal("19.99"))
    assert second["occurred_at"] > first["occurred_at"]
    assert second["content_hash"] != first["content_hash"]


def test_a_product_that_is_gone_is_discontinued(tmp_path: Path) -> None:
    products = Rows(tmp_path, "catalog.product_observed", "product_id", disposition="replace")
    products.have(a_product(stock_quantity=3, image_urls=["a"], specs={"weight": "1 kg"}))
    products.read()
    products.have()
    products.read()
    first, gone = products.records(PRODUCTS)
    assert (gone["availability"], gone["stock_quantity"]) == ("discontinued", None)
    assert (gone["price"], gone["specs"]) == (first["price"], first["specs"])
    assert gone["occurred_at"] > first["occurred_at"]


def test_a_stock_movement_counts_once_also_when_its_row_changes(tmp_path: Path) -> None:
    moves = Rows(tmp_path, "inventory.stock_moved", "id")
    move = {"id": 1, "product_id": "bell", "delta": 5, "warehouse": "A", "occurred_at": "2026-11-02T09:00:00Z"}
    moves.have(move)
    moves.read()
    moves.have(move | {"delta": 6})
    assert "published before and is different now" in str(moves.read())
    assert [each["delta"] for each in moves.records(MOVES)] == [5]


def test_a_customer_who_is_known_by_an_address_is_a_pseudonym_in_events_and_letters(tmp_path: Path) -> None:
    customers = Rows(tmp_path, "customers.customer_changed", "customer_id")
    ada = {"customer_id": "ada@example.com", "region": "DE", "signup_date": "2026-01-02"}
    customers.have(ada, ada | {"customer_id": "eve@example.com", "signup_date": "soon"})
    customers.read()
    (record,) = customers.records(CUSTOMERS)
    assert record["customer_id"].startswith("bikes-customer-")
    (letter,) = customers.log.messages(LETTERS)
    assert b"example.com" not in letter.sent + repr(letter.said).encode()
    kept = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not any(b"example.com" in content for content in kept)


def test_an_order_stays_an_erased_customers_when_it_changes_and_a_new_one_is_somebody_elses(orders: Rows) -> None:
    orders.have(an_order(1))
    orders.read()
    with closing(PersonKeys(orders.folder / "state")) as keys:
        keys.erase(["7"], [], 1)
    orders.have(an_order(1, region="FR"), an_order(2))
    orders.read()
    (first, changed, new) = (each["customer_id"] for each in orders.records(ORDERS))
    assert (first, changed) == ("7", "7")
    assert new.startswith("again-")


def test_keys_that_differ_in_case_alone_are_two_rows(orders: Rows) -> None:
    orders.have(an_order() | {"order_id": "a1"}, an_order() | {"order_id": "A1"})
    orders.read()
    orders.read()
    assert [each["order_id"] for each in orders.records(ORDERS)] == ["a1", "A1"]


def test_a_second_pipeline_with_the_memory_of_the_first_keeps_its_time_after_a_clock_was_set_back(orders: Rows) -> None:
    orders.have(an_order(1))
    orders.read()
    orders.clock.now -= 5_000
    orders.have(an_order(1, region="FR"))
    orders.read()
    first, second = orders.records(ORDERS)
    assert second["version"] > first["version"]


def test_a_source_that_fails_is_said_with_its_own_words_and_asked_again(orders: Rows) -> None:
    (orders.folder / "rows.json").write_text("[")
    with pytest.raises(SourceFailed, match="Expecting value"):
        orders.read()
    orders.have(an_order(1))
    orders.read()
    assert len(orders.records(ORDERS)) == 1


def test_rows_that_are_no_dicts_are_refused(orders: Rows) -> None:
    (orders.folder / "rows.json").write_text("[1]")
    with pytest.raises(Misconfigured, match="a row is int, not a dict"):
        orders.read()


def test_nothing_of_a_finished_reading_is_left_but_its_memory_and_position(orders: Rows) -> None:
    orders.have(an_order(1))
    orders.read()
    assert not list((orders.folder / "state" / "pipelines" / "bikes" / "load" / "loaded").iterdir())


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('NAME = "bikes"', 'NAME = "Bikes!"', "NAME must be"),
        ("sales.order_placed", "sales.order", "must be one of sales.order_placed"),
        ('EVENTS = {"rows"', 'EVENTS = {"lines"', "EVENTS names the resource 'lines', which read.. does not return"),
        ("def read()", "def reads()", "define a function read"),
        ("return rows", "return 5", "read.. must return a source or resources of dlt, not 5"),
        (', primary_key="order_id"', "", "the resource 'rows' has no primary key"),
        ("import dlt", "import dltt", "can't be run: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(orders: Rows, before: str, after: str, named: str) -> None:
    orders.have()
    orders.write(orders.file.read_text().replace(before, after))
    with pytest.raises(Misconfigured, match=named):
        orders.read()
