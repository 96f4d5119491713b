"""What a WooCommerce order's JSON becomes: which orders count, money to the cent, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.connect.orders import (
    BadOrder,
    Shop,
    deleted_id,
    deleted_refund,
    stamped,
    stamped_refund,
    taken_back,
)
from producers.connect.woocommerce.orders import NOT_COUNTED, items_of, read_order, read_refund
from producers.shop.occurrences import ORDER_PLACED, ORDER_REFUNDED
from producers.withdrawn import head_of
from schemas.codec import Encoder
from schemas.errors import ContractBroken
from tests.shops.woocommerce import COUNTED, WooCommerce
from tests.shops.woocommerce_orders import order_json, refund_json

SHOP = Shop("bikes", b"k" * 32)
PLACED = Encoder(ORDER_PLACED, 1, "EUR")
REFUNDED = Encoder(ORDER_REFUNDED, 1, "EUR")


def item(**changed: Any) -> dict[str, Any]:
    said = {"id": 1, "name": "Saddle", "product_id": 9, "variation_id": 0, "sku": "SAD-1", "quantity": 2}
    return {**said, "subtotal": "40.00", "total": "36.00", **changed}


def order(**changed: Any) -> bytes:
    said = {
        "id": 1001,
        "status": "processing",
        "currency": "EUR",
        "date_created_gmt": "2026-11-28T10:00:00",
        "date_modified_gmt": "2026-11-28T10:05:00",
        "total": "48.74",
        "total_tax": "7.84",
        "shipping_total": "4.90",
        "customer_id": 7,
        "billing": {"country": "DE", "email": "a@mail.example"},
        "shipping": {"country": "FR"},
        "created_via": "checkout",
        "line_items": [item()],
        "fee_lines": [],
        "refunds": [],
    }
    return json.dumps({**said, **changed}).encode()


def read(**changed: Any) -> dict[str, Any]:
    record = read_order(order(**changed), SHOP).record
    assert record is not None
    PLACED.encode(record)
    return record


def sums(record: dict[str, Any]) -> tuple[Decimal, Decimal]:
    gross = sum((line["quantity"] * line["unit_price"] for line in record["lines"]), Decimal(0))
    return gross, sum((line["discount_amount"] for line in record["lines"]), Decimal(0))


def test_an_order_becomes_its_event() -> None:
    assert read() == {
        "event_id": "01a22198-ed00-732c-8dd1-7d317d310000",
        "occurred_at": datetime(2026, 11, 28, 10, tzinfo=UTC),
        "source": "bikes",
        "trace": None,
        "order_id": "bikes-1001",
        "customer_id": "bikes-7",
        "region": "FR",
        "currency": "EUR",
        "channel": "web",
        "session_id": None,
        "lines": [
            {
                "product_id": "SAD-1",
                "category": "uncategorized",
                "brand": None,
                "quantity": 2,
                "unit_price": Decimal("20.00"),
                "discount_amount": Decimal("4.00"),
            }
        ],
        "shipping_amount": Decimal("4.90"),
        "tax_amount": Decimal("7.84"),
        "is_cancelled": None,
        "total_amount": Decimal("48.74"),
        "taxes_included": None,
        "discounts": [{"code": None, "title": None, "amount": Decimal("4.00")}],
        "paid_at": None,
        "fulfilled_at": None,
    }


def test_the_times_of_an_order_and_the_codes_of_its_discounts_are_read() -> None:
    found = read(
        line_items=[item(subtotal="42.00")],
        coupon_lines=[{"code": "summer", "discount": "3.00"}, {"code": "freeshipping", "discount": "0.00"}],
        fee_lines=[{"name": "Loyalty", "total": "-1.00"}],
        total="47.74",
        date_paid_gmt="2026-11-28T10:01:00",
        date_completed_gmt="2026-11-30T09:00:00",
        prices_include_tax=True,
    )
    assert [(each["code"], each["title"], each["amount"]) for each in found["discounts"]] == [
        ("summer", None, Decimal("3.00")),
        ("freeshipping", None, Decimal("0.00")),
        (None, "Loyalty", Decimal("1.00")),
        (None, None, Decimal("3.00")),  # by hand
    ]
    assert (found["paid_at"], found["fulfilled_at"], found["taxes_included"]) == (
        datetime(2026, 11, 28, 10, 1, tzinfo=UTC),
        datetime(2026, 11, 30, 9, tzinfo=UTC),
        True,
    )
    states = [read_order(order(date_completed_gmt=at), SHOP) for at in (None, "2026-11-30T09:00:00")]
    assert states[0].digest != states[1].digest


def test_an_events_id_is_of_the_shop_the_order_and_its_state() -> None:
    chains = Shop("chains", SHOP.guest_key)
    states = [(SHOP, 5, b"a"), (SHOP, 6, b"a"), (SHOP, 5, b"b"), (chains, 5, b"a")]
    found = [stamped(read(), shop, "1001", version, digest) for shop, version, digest in states]
    assert len({record["event_id"] for record in found}) == 4
    assert [record["version"] for record in found] == [5, 6, 5, 5]
    assert found[0] == stamped(read(status="completed"), SHOP, "1001", 5, b"a")


def test_an_order_that_no_longer_counts_is_an_event_of_the_same_order_and_time() -> None:
    record = read()
    gone = taken_back(SHOP, "1001", 7, head_of(record), 1_795_860_000_000)
    PLACED.encode(gone)
    assert {name: gone[name] for name in ("source", "order_id", "occurred_at")} == {
        name: record[name] for name in ("source", "order_id", "occurred_at")
    }
    assert (gone["version"], gone["is_cancelled"]) == (7, True)


@pytest.mark.parametrize("status", sorted(COUNTED | {"on-hold", "refunded"}))
def test_an_order_of_any_status_that_reports_count_is_counted(status: str) -> None:
    assert read(status=status)


@pytest.mark.parametrize("status", sorted(NOT_COUNTED))
def test_an_order_that_reports_leave_out_is_no_event_however_little_it_says(status: str) -> None:
    assert read_order(order(status=status, total="", line_items=[]), SHOP).record is None


@pytest.mark.parametrize(
    ("changed", "gross", "discount"),
    [
        ({}, "40.00", "4.00"),
        ({"line_items": [item(quantity=3, subtotal="10.00", total="10.00")], "total": "22.74"}, "10.00", "0.00"),
        ({"line_items": [item(subtotal="30.00")]}, "36.00", "0.00"),  # the price was raised by hand
        ({"total": "48.75"}, "40.01", "4.00"),  # what rounding left over
        ({"total": "48.73"}, "39.99", "4.00"),
        ({"fee_lines": [{"name": "Gift box", "total": "2.50"}], "total": "51.24"}, "42.50", "4.00"),
        ({"fee_lines": [{"name": "Loyalty", "total": "-6.00"}], "total": "42.74"}, "40.00", "10.00"),
        ({"line_items": [item(quantity=2.0)]}, "40.00", "4.00"),
    ],
)
def test_what_is_sold_comes_to_the_orders_total_without_tax_and_shipping(
    changed: dict[str, Any], gross: str, discount: str
) -> None:
    assert sums(read(**changed)) == (Decimal(gross), Decimal(discount))


@pytest.mark.parametrize(
    ("changed", "customer", "region", "channel"),
    [
        ({"shipping": {}, "created_via": "pos-rest-api"}, "bikes-7", "DE", "store"),
        ({"customer_id": 0, "billing": {}, "shipping": None}, "bikes-guest-of-1001", "unknown", "web"),
    ],
)
def test_who_where_and_how(changed: dict[str, Any], customer: str, region: str, channel: str) -> None:
    found = read(**changed)
    assert (found["customer_id"], found["region"], found["channel"]) == (customer, region, channel)


def test_a_guest_is_known_by_the_address_which_nobody_can_read() -> None:
    one, same, other = (
        read(customer_id=0, billing={"email": email})["customer_id"]
        for email in ("Ann@mail.example", " ann@mail.example", "bob@mail.example")
    )
    assert one == same != other
    assert one.startswith("bikes-guest-")
    assert "mail" not in one


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"id": "1001"}, "id is '1001', and should be a number"),
        ({"status": None}, "status is missing"),
        ({"date_created_gmt": "yesterday"}, "date_created_gmt is 'yesterday', and should be a time such as"),
        ({"total": "forty"}, "total is 'forty', and should be an amount such as"),
        ({"total": "48.745"}, "total is 48.745, which has parts of a cent"),
        ({"total": "50.00"}, "the order comes to 37.26 without tax and shipping, and its lines to 36.00"),
        ({"line_items": []}, "the order has no lines"),
        ({"line_items": {"1": item()}}, "line_items is not a list of objects"),
        ({"line_items": [item(quantity=1.5)]}, r"line_items\[0\].quantity is .*, and should be a whole number"),
        ({"line_items": [item(quantity=0)]}, r"line_items\[0\].quantity is 0, and should be at least 1"),
        ({"line_items": [item(), item(total="-1.00")]}, r"line_items\[1\] has an amount below zero"),
        ({"line_items": [item(subtotal="1e9")]}, r"line_items\[0\].subtotal is '1e9'"),
        ({"fee_lines": [{"total": "-99.00"}]}, "they take off 99.00, and the goods cost 36.00"),
        ({"total": "9999999999999"}, "total is '9999999999999', and should be an amount"),
        ({"refunds": [{"id": None}]}, r"refunds\[0\].id is missing"),
    ],
)
def test_a_malformed_order_is_refused_with_the_field(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadOrder, match=reason):
        read_order(order(**changed), SHOP)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_order_at_all_is_refused(body: bytes) -> None:
    with pytest.raises(BadOrder):
        read_order(body, SHOP)


def test_another_currency_than_the_shops_is_refused_by_name() -> None:
    record = read_order(order(currency="USD"), SHOP).record
    assert record is not None
    with pytest.raises(ContractBroken, match="USD"):
        PLACED.encode(record)


def test_a_refund_takes_from_its_order_what_it_does_not_say() -> None:
    said = {
        "id": 1010,
        "date_created_gmt": "2026-11-29T08:00:00",
        "amount": "21.42",
        "reason": "Ann said that it squeaks",
        "line_items": [item(quantity=-1, total="-18.00"), item(quantity=0, total="-1.00")],
    }
    found = read_refund(json.dumps(said).encode(), "1001", head_of(read()), SHOP)
    REFUNDED.encode(found.record)
    assert found.refund_id == "1010"
    assert {name: found.record[name] for name in ("refund_id", "order_id", "customer_id", "amount", "reason")} == {
        "refund_id": "bikes-1010",
        "order_id": "bikes-1001",
        "customer_id": "bikes-7",
        "amount": Decimal("21.42"),
        "reason": "other",
    }
    (line,) = found.record["lines"]
    assert (line["quantity"], line["amount"]) == (1, Decimal("18.00"))


@pytest.mark.parametrize(
    ("said", "shipping", "tax"),
    [
        ({}, None, None),
        ({"shipping_lines": [], "tax_lines": []}, "0.00", "0.00"),
        (
            {
                "shipping_lines": [{"total": "-4.90"}],
                "tax_lines": [{"tax_total": "-3.42", "shipping_tax_total": "-0.93"}],
            },
            "4.90",
            "4.35",
        ),
        ({"shipping_lines": [{"total": "-21.50"}], "tax_lines": []}, None, None),  # more than was paid back
    ],
)
def test_a_refund_says_what_of_it_is_shipping_and_tax(
    said: dict[str, Any], shipping: str | None, tax: str | None
) -> None:
    body = {"id": 1010, "date_created_gmt": "2026-11-29T08:00:00", "amount": "21.42", **said}
    record = read_refund(json.dumps(body).encode(), "1001", head_of(read()), SHOP).record
    REFUNDED.encode(record)
    wanted = tuple(None if part is None else Decimal(part) for part in (shipping, tax))
    assert (record["shipping_amount"], record["tax_amount"]) == wanted


def test_a_refund_that_was_deleted_is_a_newer_state_of_the_same_refund() -> None:
    body = {"id": 1010, "date_created_gmt": "2026-11-29T08:00:00", "amount": "21.42"}
    refund = read_refund(json.dumps(body).encode(), "1001", head_of(read()), SHOP)
    made = stamped_refund(refund.record, SHOP, "1010", 1)
    gone = deleted_refund(SHOP, "1010", 2, head_of(read()), refund.at_ms)
    REFUNDED.encode(made)
    REFUNDED.encode(gone)
    assert [made[name] == gone[name] for name in ("source", "refund_id", "occurred_at", "event_id")] == [
        *[True] * 3,
        False,
    ]
    assert (gone["version"], gone["is_deleted"]) == (2, True)


def test_only_what_says_no_more_than_its_id_was_deleted() -> None:
    assert deleted_id(b'{"id": 1001}') == "1001"
    assert [deleted_id(body) for body in (order(), b"{", b"[1]", b'{"number": 1}')] == [None] * 4


def test_items_of_a_list_are_given_as_they_are_written() -> None:
    assert items_of(b' [ {"a": "]"} ,\n{"b":1.50}] ') == [b'{"a": "]"}', b'{"b":1.50}']
    assert items_of(b"[]") == []


@pytest.mark.parametrize("text", [b"", b"{}", b"[1", b"[1,", b"[1 2]", b'[{"a": ]'])
def test_a_list_that_is_none_or_was_cut_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        items_of(text)


@given(seed=st.integers(0, 2**32))
def test_every_order_of_the_stand_in_comes_to_its_truth(seed: int) -> None:
    shop = WooCommerce(seed=seed)
    placed = shop.place()
    refund = shop.refund(placed)
    record = read_order(json.dumps(order_json(placed)).encode(), SHOP).record
    assert record is not None
    PLACED.encode(record)
    gross, discount = sums(record)
    assert (gross - discount, discount) == (Decimal(placed.goods) / 100, Decimal(placed.discount) / 100)
    assert gross - discount + record["shipping_amount"] + record["tax_amount"] == Decimal(placed.total) / 100
    found = read_refund(json.dumps(refund_json(refund)).encode(), str(placed.id), head_of(record), SHOP)
    REFUNDED.encode(found.record)
    assert found.record["amount"] == Decimal(refund.amount) / 100
    assert found.record["tax_amount"] == Decimal(refund.tax) / 100
    assert sum(each["amount"] for each in record["discounts"]) == discount


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["id", "total", "quantity", "subtotal", "name", "email"])
    return st.lists(inner) | st.dictionaries(names, inner)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@pytest.mark.fuzz
@given(body=st.recursive(PLAIN, nested, max_leaves=12))
def test_no_json_does_more_than_be_refused(body: Any) -> None:
    changes: list[Callable[[Any], dict[str, Any]]] = [
        lambda value: {"line_items": value},
        lambda value: {"total": value},
        lambda value: {"refunds": value},
        lambda value: {"billing": value, "customer_id": value},
    ]
    for change in changes:
        with suppress(BadOrder):
            read_order(order(**change(body)), SHOP)
