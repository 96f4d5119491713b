"""Rows that are missing or deleted: what is withdrawn, when, and what never is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from producers.persons.keys import PersonKeys
from producers.pipelines.memory import Memory
from schemas.errors import BrokerUnavailable
from tests.producers.connect.kept import Kept
from tests.producers.pipelines.test_reading import (
    CUSTOMERS,
    LETTERS,
    MOVES,
    ORDERS,
    PRODUCTS,
    Rows,
    a_product,
    an_order,
)

DAY = 86_400


@pytest.fixture
def whole(tmp_path: Path) -> Rows:
    """Orders of which each reading reads all."""
    return Rows(tmp_path, "sales.order_placed", "order_id", disposition="replace")


def withdrawn(orders: Rows) -> list[str]:
    return [each["order_id"] for each in orders.records(ORDERS) if each["is_cancelled"]]


def test_a_row_that_is_refused_is_not_withdrawn(whole: Rows) -> None:
    whole.have(an_order(1), an_order(2), an_order(3))
    whole.read()
    whole.have(an_order(1, shipping_amount="-1"), an_order(2))
    whole.read()
    assert withdrawn(whole) == ["3"]


def test_nothing_is_withdrawn_when_a_row_without_a_key_may_be_the_missing_one(whole: Rows) -> None:
    whole.have(an_order(1), an_order(2))
    whole.read()
    whole.have(an_order(1) | {"order_id": None}, an_order(2))
    whole.read()
    assert withdrawn(whole) == []
    whole.have(an_order(2))
    whole.read()
    assert withdrawn(whole) == ["1"]


def test_when_many_are_missing_a_day_counts_from_when_they_first_were(whole: Rows) -> None:
    whole.have(*(an_order(number) for number in range(10)))
    whole.read()
    whole.have()
    whole.clock.now += 2 * DAY
    whole.read()
    assert withdrawn(whole) == []
    whole.have(*(an_order(number) for number in range(10)))
    whole.read()
    whole.have()
    whole.clock.now += 2 * DAY
    whole.read()
    assert withdrawn(whole) == []
    whole.clock.now += DAY
    whole.read()
    assert len(withdrawn(whole)) == 10


@pytest.mark.parametrize("value", [False, 0, "0", "00", "0.00", 0.0, "false", "f", None])
@pytest.mark.parametrize("kind", ["'data_type': 'bool'", "'nullable': True"])
def test_a_zero_says_that_a_row_is_not_deleted(tmp_path: Path, value: Any, kind: str) -> None:
    orders = Rows(tmp_path, "sales.order_placed", "order_id", columns=f"{{'gone': {{'hard_delete': True, {kind}}}}}")
    orders.have(an_order(1, gone=value))
    assert orders.read() is None
    assert len(orders.records(ORDERS)) == 1


@pytest.mark.parametrize("value", [True, 1, "1", "01", 1.0, "true"])
def test_a_one_says_that_a_row_is_deleted_and_the_row_is_counted(tmp_path: Path, value: Any) -> None:
    columns = "{'gone': {'hard_delete': True, 'data_type': 'bool'}}"
    orders = Rows(tmp_path, "sales.order_placed", "order_id", columns=columns)
    orders.have(an_order(1, gone=0), an_order(2, gone=value))
    with structlog.testing.capture_logs() as log:
        orders.read()
        orders.have(an_order(1, gone=value))
        orders.read()
    assert withdrawn(orders) == ["1"]
    first, second = [each for each in log if each["event"] == "read"]
    assert (first["gone"], first["published"], second["withdrawn"]) == (1, 1, 1)


@pytest.mark.parametrize("value", ["maybe", "", 2])
def test_a_flag_that_says_neither_is_refused(tmp_path: Path, value: Any) -> None:
    columns = "{'gone': {'hard_delete': True, 'data_type': 'bool'}}"
    orders = Rows(tmp_path, "sales.order_placed", "order_id", columns=columns)
    orders.have(an_order(1, gone=value))
    assert "says neither that the row is deleted" in str(orders.read())


def test_a_replace_that_is_said_as_a_dict_is_one(whole: Rows) -> None:
    text = whole.file.read_text()
    whole.write(text.replace('"replace"', '{"disposition": "replace", "strategy": "truncate-and-insert"}'))
    whole.have(an_order(1), an_order(2))
    whole.read()
    whole.have(an_order(2))
    whole.read()
    assert withdrawn(whole) == ["1"]


def test_a_withdrawal_that_may_have_reached_kafka_is_made_again_as_it_was(tmp_path: Path) -> None:
    products = Rows(tmp_path, "catalog.product_observed", "product_id", disposition="replace")
    products.have(a_product("bell"), a_product("lamp"))
    products.read()
    products.have(a_product("lamp"))

    class AwayOnce(Kept):
        """The second flush, that of the withdrawal, fails."""

        flushes = 0

        def flush(self, deadline_seconds: float = 1) -> None:
            self.flushes += 1
            if self.flushes > 1:
                raise BrokerUnavailable("Kafka is away")

    away = AwayOnce(products.clock)
    with pytest.raises(BrokerUnavailable):
        products.read(away)
    products.have(a_product("bell"), a_product("lamp"))
    products.read()
    (maybe,) = away.records(PRODUCTS)
    gone, back = products.records(PRODUCTS)[2:]
    assert gone == maybe
    assert (back["product_id"], back["availability"]) == ("bell", "in_stock")


def test_a_row_that_is_gone_and_can_not_be_withdrawn_is_a_letter_and_the_others_go_on(whole: Rows) -> None:
    whole.have(*(an_order(number) for number in range(1, 5)))
    whole.read()
    with closing(Memory(whole.folder / "state" / "pipelines" / "bikes.sqlite")) as memory:
        memory._database.execute("update known set head = replace(head, 'EUR', 'USD') where head like '%\"1\"%'")
    whole.have(an_order(3), an_order(4))
    assert "currency" in str(whole.read())
    assert withdrawn(whole) == ["2"]
    whole.read()
    assert len(whole.log.messages(LETTERS)) == 1


def test_a_stock_movement_that_was_missing_and_is_back_is_unchanged(tmp_path: Path) -> None:
    moves = Rows(tmp_path, "inventory.stock_moved", "id", disposition="replace")
    move = {"id": 1, "product_id": "bell", "delta": 5, "warehouse": "A", "occurred_at": "2026-11-02T09:00:00Z"}
    for rows in ([move], [], [move]):
        moves.have(*rows)
        assert moves.read() is None
    assert len(moves.records(MOVES)) == 1


def test_a_customer_who_was_erased_is_somebody_new_once_changed(tmp_path: Path) -> None:
    customers = Rows(tmp_path, "customers.customer_changed", "customer_id")
    ada = {"customer_id": "ada@example.com", "region": "DE", "signup_date": "2026-01-02"}
    customers.have(ada)
    customers.read()
    (first,) = customers.records(CUSTOMERS)
    with closing(PersonKeys(tmp_path / "state")) as keys:
        keys.erase([first["customer_id"]], [], 1)
    customers.read()
    assert len(customers.records(CUSTOMERS)) == 1
    customers.have(ada | {"region": "FR"})
    customers.read()
    customers.read()
    _, second = customers.records(CUSTOMERS)
    assert second["customer_id"].startswith("again-")
