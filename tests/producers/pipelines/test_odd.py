"""Odd rows, and what is said of them: none stops a pipeline, and none floods the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from producers.pipelines import source as pipelines
from producers.pipelines import values
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.errors import Misconfigured
from tests.producers.pipelines.conftest import Pipeline
from tests.producers.pipelines.test_reading import LETTERS, ORDERS, PRODUCTS, Rows, a_product, an_order


@pytest.fixture
def orders(tmp_path: Path) -> Rows:
    return Rows(tmp_path, "sales.order_placed", "order_id")


def warnings(log: list[Any], words: str) -> list[Any]:
    return [each for each in log if each["log_level"] == "warning" and words in each["event"]]


@pytest.mark.parametrize(
    "changed",
    [
        {"occurred_at": "0001-01-01T00:00:00+01:00"},
        {"lines": "[" * 100_000},
        {"region": "\ud800"},
        {"order_id": "\ud800"},
    ],
)
def test_an_odd_row_is_a_letter_and_the_one_beside_it_is_published(orders: Rows, changed: dict[str, Any]) -> None:
    orders.have(an_order(1) | changed, an_order(2))
    orders.read()
    assert [each["order_id"] for each in orders.records(ORDERS)] == ["2"]
    assert len(orders.log.messages(LETTERS)) == 1
    orders.have(an_order(1))
    assert orders.read() is None


def test_an_error_that_nobody_foresaw_is_a_letter(orders: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    real = values.record_of

    def record_of(event: Any, row: Any) -> Any:
        if row["order_id"] == 1:
            raise KeyError("a fault of ours")
        return real(event, row)

    monkeypatch.setattr(values, "record_of", record_of)
    orders.have(an_order(1), an_order(2))
    assert "KeyError" in str(orders.read())
    assert [each["order_id"] for each in orders.records(ORDERS)] == ["2"]


def test_columns_that_no_contract_has_make_no_second_letter(orders: Rows) -> None:
    for time in ("9:00", "9:01"):
        orders.have(an_order(1, shipping_amount="-1", last_seen=time))
        orders.read()
    assert len(orders.log.messages(LETTERS)) == 1


def test_why_rows_were_refused_is_logged(orders: Rows) -> None:
    orders.have(an_order(1, shipping_amount="-1"))
    with structlog.testing.capture_logs() as log:
        orders.read()
    (said,) = warnings(log, "refused")
    assert "shipping_amount" in said["reasons"][0]


def test_columns_that_some_rows_lack_are_no_change_of_columns(orders: Rows) -> None:
    rows = [an_order(n, **({"note": "x"} if n % 2 else {})) for n in range(20)]
    orders.have(*rows)
    with structlog.testing.capture_logs() as log:
        orders.read()
        orders.read()
        assert not warnings(log, "columns")
        orders.have(*(row | {"paid": n} for n, row in enumerate(rows)))
        orders.read()
    (said,) = warnings(log, "columns")
    assert (said["added"], said["gone"]) == (["paid"], [])


def test_a_primary_key_that_is_not_unique_is_said_once_a_reading(orders: Rows) -> None:
    orders.have(an_order(1), an_order(1, region="FR"), an_order(1), an_order(2))
    with structlog.testing.capture_logs() as log:
        orders.read()
    (said,) = warnings(log, "same primary key")
    assert said["resource"] == "rows"


def test_the_time_of_a_reading_is_right_again_once_the_clock_is(tmp_path: Path) -> None:
    products = Rows(tmp_path, "catalog.product_observed", "product_id")
    products.clock.now += 365 * 86_400
    products.have(a_product())
    products.read()
    products.clock.now -= 365 * 86_400
    products.have(a_product(price="17.50"))
    assert products.read() is None
    last = products.records(PRODUCTS)[-1]
    assert last["occurred_at"].timestamp() <= products.clock.now


def test_no_more_events_are_published_than_asked_for_and_the_next_reading_goes_on(orders: Rows) -> None:
    orders.have(*(an_order(number) for number in range(50)))
    options = Options(state=orders.folder / "state", pipeline=orders.file, max_events=3)
    log = structlog.get_logger()
    this = Run(source=source("dlt"), options=options, publisher=orders.log, stop=Stop(), log=log, clock=orders.clock)
    pipelines.run(this)
    assert this.verdict is None
    assert len(orders.records(ORDERS)) == 3
    orders.read()
    assert sorted(int(each["order_id"]) for each in orders.records(ORDERS)) == list(range(50))


@pytest.mark.parametrize(
    ("hint", "named"),
    [
        ('table_name=lambda row: "rows"', "the hints of the resource 'rows' can't be read before its rows"),
        ('table_name="one"', "two resources have the table 'one'"),
    ],
)
def test_a_table_that_is_not_the_resources_own_is_refused(tmp_path: Path, hint: str, named: str) -> None:
    text = f"""
import dlt

NAME = "bikes"
EVENTS = {{"rows": "sales.order_placed", "more": "sales.order_placed"}}

def read():
    return [dlt.resource([], name=name, primary_key="order_id", {hint}) for name in EVENTS]
"""
    with pytest.raises(Misconfigured, match=named):
        Pipeline(tmp_path, text).read()


def test_a_row_can_not_say_that_all_were_read(orders: Rows) -> None:
    orders.have(an_order(1), an_order(2))
    orders.read()
    orders.have(json.loads('{"__all_of_it_was_read__": true}'), {})
    orders.read()
    assert [each["is_cancelled"] for each in orders.records(ORDERS)] == [None, None]
