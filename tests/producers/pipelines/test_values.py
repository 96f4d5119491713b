"""A row's columns are the contract's fields, exactly; what is not exact is refused with the field's name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from producers.pipelines import values
from schemas import catalogue
from schemas.errors import ContractBroken

ORDER_PLACED = catalogue.event("sales.order_placed")
CUSTOMER_CHANGED = catalogue.event("customers.customer_changed")
NESTED: list[Any] = []
NESTED.append(NESTED)
LINE = {"product_id": 7, "category": "bells", "quantity": 2, "unit_price": Decimal("19.99"), "discount_amount": 0}
ORDER: dict[str, Any] = {
    "order_id": 1001,
    "customer_id": "C1",
    "region": "DE",
    "currency": "EUR",
    "channel": "web",
    "lines": [LINE],
    "shipping_amount": "4.90",
    "tax_amount": Decimal("0.30"),
    "occurred_at": datetime(2026, 11, 2, 9, tzinfo=UTC),
    "updated_at": "a column that the contract has not",
}


def record(**changed: Any) -> dict[str, Any]:
    return values.record_of(ORDER_PLACED, values.read(values.written({**ORDER, **changed})))


def test_a_rows_values_become_the_contracts_types() -> None:
    found = record()
    assert found["order_id"] == "1001"
    assert found["occurred_at"] == datetime(2026, 11, 2, 9, tzinfo=UTC)
    assert (found["shipping_amount"], found["tax_amount"]) == (Decimal("4.90"), Decimal("0.30"))
    assert found["lines"][0] == {
        "product_id": "7",
        "category": "bells",
        "brand": None,
        "quantity": 2,
        "unit_price": Decimal("19.99"),
        "discount_amount": Decimal(0),
    }


def test_columns_that_the_contract_has_not_are_left_out() -> None:
    assert "updated_at" not in record()


def test_a_field_that_may_be_empty_and_is_no_column_is_empty() -> None:
    assert record()["session_id"] is None


def test_lines_may_be_a_text_of_json_whose_numbers_are_read_exactly() -> None:
    text = (
        '[{"product_id": "7", "category": "bells", "quantity": 1, "unit_price": 0.1000000000000000055,'
        ' "discount_amount": 0}]'
    )
    assert record(lines=text)["lines"][0]["unit_price"] == Decimal("0.1000000000000000055")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"shipping_amount": 4.9}, "field shipping_amount is '4.9', which is a float"),
        ({"shipping_amount": float("nan")}, "field shipping_amount is 'NaN', which is a float"),
        ({"shipping_amount": "4,90"}, "field shipping_amount is '4,90', which is not a decimal"),
        ({"shipping_amount": True}, "field shipping_amount is true, which is not a decimal"),
        ({"lines": [{**LINE, "unit_price": 19.99}]}, r"field lines\[0\].unit_price is '19.99', which is a float"),
        ({"lines": [{**LINE, "quantity": "2.5"}]}, r"field lines\[0\].quantity is '2.5', which is not a whole number"),
        ({"lines": "[{"}, "field lines is a text that is not JSON"),
        ({"lines": {"a": 1}}, "field lines is .*, which is not a list"),
        ({"occurred_at": datetime(2026, 11, 2, 9)}, "field occurred_at .* which is without a time zone"),  # noqa: DTZ001
        ({"occurred_at": "yesterday"}, "field occurred_at is 'yesterday', which is not a time"),
        ({"occurred_at": 1_800_000_000}, "field occurred_at is 1800000000, which is not a time"),
        ({"occurred_at": "0001-01-01T00:00:00+01:00"}, "field occurred_at .* which is not in the years 1 to 9999"),
        ({"occurred_at": "9999-12-31T23:59:59-01:00"}, "field occurred_at .* which is not in the years 1 to 9999"),
        ({"lines": "[" * 100_000}, "field lines is a text that is not JSON"),
        ({"lines": "9" * 5_001}, "field lines is a text that is not JSON"),
        ({"shipping_amount": 10**5_001}, "field shipping_amount is 'NaN'"),
        ({"region": NESTED}, "field region is 'NaN', which is not a text"),
        ({"lines": NESTED}, "field lines is NaN, which is not a list"),
        ({"region": None}, "field region is null"),
        ({"order_id": 1.5}, "field order_id is '1.5', which is not a text"),
        ({"taxes_included": "yes"}, "field taxes_included is 'yes', which is neither true nor false"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused_by_the_name_of_its_field(
    changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(ContractBroken, match=named):
        record(**changed)


def test_a_missing_column_is_named() -> None:
    row = {name: value for name, value in ORDER.items() if name != "region"}
    with pytest.raises(ContractBroken, match="field region is missing: the row has no column region"):
        values.record_of(ORDER_PLACED, values.read(values.written(row)))


def test_an_enum_that_is_no_column_is_its_default_and_a_day_is_a_day() -> None:
    row = {
        "customer_id": UUID(int=1),
        "region": "DE",
        "signup_date": date(2026, 1, 2),
        "occurred_at": "2026-01-02T03:04Z",
    }
    found = values.record_of(CUSTOMER_CHANGED, values.read(values.written(row)))
    assert (found["age_band"], found["signup_date"]) == ("unknown", date(2026, 1, 2))
    assert found["customer_id"] == "00000000-0000-0000-0000-000000000001"


def test_a_value_of_any_type_can_be_written() -> None:
    assert values.read(values.written({"a": b"\x00\xff", "b": {1}, "c": object}))["a"] == "00ff"


def test_a_text_that_is_no_unicode_is_written_and_read() -> None:
    row = {"region": "\ud800", "paid": "5 €"}
    assert values.written(row).isascii()
    assert values.read(values.written(row)) == row


def test_a_name_that_no_json_has_does_not_hide_the_other_columns() -> None:
    assert values.read(values.written({("a", 1): 2, "b": 3})) == {"('a', 1)": 2, "b": 3}  # type: ignore[dict-item]
