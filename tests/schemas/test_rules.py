"""A record that breaks a rule of its contract is refused by the field's name; what is left open is taken."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import catalogue
from schemas.catalogue import Event, parse_event
from schemas.codec import Encoder
from schemas.errors import ContractBroken, Misconfigured

PLACED = catalogue.event("sales.order_placed")
REFUNDED = catalogue.event("sales.order_refunded")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AMOUNT = Decimal
CENT = Decimal("0.01")


def envelope() -> dict[str, Any]:
    return {"event_id": "e", "occurred_at": NOW, "source": "test", "trace": None, "order_id": "O", "customer_id": "C"}


def an_order(*lines: tuple[int, str, str], **fields: Any) -> dict[str, Any]:
    """An order of lines (quantity, unit price, discount)."""
    return {
        **envelope(),
        **{"region": "EU", "currency": "EUR", "channel": "web", "session_id": None},
        "lines": [
            {
                "product_id": "P",
                "category": "Bells",
                "brand": None,
                "quantity": quantity,
                "unit_price": AMOUNT(price),
                "discount_amount": AMOUNT(discount),
            }
            for quantity, price, discount in lines
        ],
        **{"shipping_amount": AMOUNT("4.90"), "tax_amount": AMOUNT("0.00")},
        **fields,
    }


def a_refund(amount: str, *lines: tuple[int, str], **fields: Any) -> dict[str, Any]:
    """A refund of an amount in all, with lines (quantity, amount)."""
    return {
        **envelope(),
        **{"refund_id": "R", "region": "EU", "currency": "EUR", "amount": AMOUNT(amount), "reason": "other"},
        "lines": [
            {"product_id": "P", "category": "Bells", "quantity": quantity, "amount": AMOUNT(paid)}
            for quantity, paid in lines
        ],
        **fields,
    }


GOOD = {
    "an order": (PLACED, lambda: an_order((2, "10.00", "0.00"))),
    "a thousand and more of one thing": (PLACED, lambda: an_order((5000, "10.00", "0.00"))),
    "a line for nothing": (PLACED, lambda: an_order((1, "0.00", "0.00"))),
    "a discount of the whole price": (PLACED, lambda: an_order((2, "10.00", "20.00"))),
    "a refund of goods": (REFUNDED, lambda: a_refund("20.00", (1, "20.00"))),
    "a refund of shipping alone": (REFUNDED, lambda: a_refund("4.90")),
    "a line of nothing, and shipping": (REFUNDED, lambda: a_refund("4.90", (1, "0.00"))),
    "a refund of goods and shipping": (REFUNDED, lambda: a_refund("24.90", (1, "20.00"))),
}


@pytest.mark.parametrize("shops", ["EUR", None], ids=["in the shop's currency", "in any"])
@pytest.mark.parametrize(("event", "made"), GOOD.values(), ids=GOOD.keys())
def test_what_the_rules_allow_is_taken(event: Event, made: Callable[[], dict[str, Any]], shops: str | None) -> None:
    assert Encoder(event, 1, shops).encode(made())


BAD = {
    "no line": (PLACED, lambda: an_order(), "lines", "has 0 items; the minimum is 1"),
    "a quantity of none": (PLACED, lambda: an_order((0, "10.00", "0.00")), "lines[0].quantity", "is 0; the minimum"),
    "a negative quantity": (
        PLACED,
        lambda: an_order((1, "10.00", "0.00"), (-2, "10.00", "0.00")),
        "lines[1].quantity",
        "is -2; the minimum is 1",
    ),
    "a negative price": (PLACED, lambda: an_order((1, "-0.01", "0.00")), "lines[0].unit_price", "is -0.01"),
    "a negative discount": (PLACED, lambda: an_order((1, "10.00", "-1.00")), "lines[0].discount_amount", "is -1.00"),
    "a discount above the price": (
        PLACED,
        lambda: an_order((2, "10.00", "20.01")),
        "lines[0].discount_amount",
        "is 20.01, which is more than quantity * unit_price, 20.00",
    ),
    "negative shipping": (
        PLACED,
        lambda: an_order((1, "1.00", "0.00"), shipping_amount=AMOUNT("-1.00")),
        "shipping_amount",
        "is -1.00",
    ),
    "negative tax": (
        PLACED,
        lambda: an_order((1, "1.00", "0.00"), tax_amount=AMOUNT("-1.00")),
        "tax_amount",
        "is -1.00",
    ),
    "lines above the refund": (
        REFUNDED,
        lambda: a_refund("19.99", (1, "15.00"), (1, "5.00")),
        "amount",
        "is 19.99, which is less than sum(lines.amount), 20.00",
    ),
    "a negative refund": (REFUNDED, lambda: a_refund("-1.00"), "amount", "is -1.00; the minimum is 0"),
    "a negative line of a refund": (
        REFUNDED,
        lambda: a_refund("1.00", (1, "-1.00")),
        "lines[0].amount",
        "is -1.00; the minimum is 0",
    ),
    "a refund of no unit": (REFUNDED, lambda: a_refund("1.00", (0, "1.00")), "lines[0].quantity", "is 0"),
    "another currency": (
        PLACED,
        lambda: an_order((1, "1.00", "0.00"), currency="USD"),
        "currency",
        "is USD, but this shop's currency is EUR",
    ),
    "a refund in another currency": (REFUNDED, lambda: a_refund("1.00", currency="JPY"), "currency", "is JPY"),
    "a currency in small letters": (
        PLACED,
        lambda: an_order((1, "1.00", "0.00"), currency="eur"),
        "currency",
        "is 'eur', which is not an ISO 4217 currency; write EUR",
    ),
    "a word for a currency": (
        PLACED,
        lambda: an_order((1, "1.00", "0.00"), currency="Euro"),
        "currency",
        "write three capital letters",
    ),
}


@pytest.mark.parametrize(("event", "made", "field", "says"), BAD.values(), ids=BAD.keys())
def test_what_breaks_a_rule_is_refused_by_name(
    event: Event, made: Callable[[], dict[str, Any]], field: str, says: str
) -> None:
    encoder = Encoder(event, 1, "EUR")
    for _ in range(2):  # nothing wrong is remembered
        with pytest.raises(ContractBroken) as refused:
            encoder.encode(made())
        assert refused.value.field == field
        assert f"field {field} {says}" in str(refused.value) or says in str(refused.value)


NUMBERS = st.integers(-3, 2000)
MONEY = st.integers(-300, 200_000).map(lambda cents: CENT * cents)
TEXTS = st.sampled_from(["EUR", "USD", "eur", "Euro", "", "€", "XXX"]) | st.text(max_size=4)


def an_order_is_good(record: dict[str, Any]) -> bool:
    lines = record["lines"]
    return (
        record["currency"] == "EUR"
        and record["shipping_amount"] >= 0
        and len(lines) >= 1
        and all(line["quantity"] >= 1 and line["unit_price"] >= 0 for line in lines)
        and all(0 <= line["discount_amount"] <= line["quantity"] * line["unit_price"] for line in lines)
    )


def a_refund_is_good(record: dict[str, Any]) -> bool:
    lines, amount = record["lines"], record["amount"]
    return (
        record["currency"] == "EUR"
        and amount >= 0
        and all(line["quantity"] >= 1 and line["amount"] >= 0 for line in lines)
        and sum(line["amount"] for line in lines) <= amount
    )


def is_taken(encoder: Encoder, record: dict[str, Any]) -> bool:
    refusal: ContractBroken | None = None
    try:
        encoder.encode(record)
    except ContractBroken as refused:
        refusal = refused
    assert refusal is None or refusal.field.split("[")[0] in record
    return refusal is None


ORDERS, REFUNDS = Encoder(PLACED, 1, "EUR"), Encoder(REFUNDED, 1, "EUR")


@pytest.mark.fuzz
@given(st.lists(st.tuples(NUMBERS, MONEY, MONEY), max_size=3), TEXTS, MONEY)
def test_an_order_is_taken_if_and_only_if_it_keeps_the_rules(
    lines: list[tuple[int, Decimal, Decimal]], currency: str, shipping: Decimal
) -> None:
    told = [(quantity, str(price), str(discount)) for quantity, price, discount in lines]
    record = an_order(*told, currency=currency, shipping_amount=shipping)
    assert is_taken(ORDERS, record) == an_order_is_good(record)


@pytest.mark.fuzz
@given(MONEY, st.lists(st.tuples(NUMBERS, MONEY), max_size=3), TEXTS)
def test_a_refund_is_taken_if_and_only_if_it_keeps_the_rules(
    amount: Decimal, lines: list[tuple[int, Decimal]], currency: str
) -> None:
    record = a_refund(str(amount), *((quantity, str(paid)) for quantity, paid in lines), currency=currency)
    assert is_taken(REFUNDS, record) == a_refund_is_good(record)


def test_a_bound_may_be_a_number() -> None:
    event = with_rule(quantity={"at_most": "10000"})
    encoder = Encoder(event, 1, "EUR")
    assert encoder.encode(an_order((10_000, "1.00", "0.00")))
    with pytest.raises(ContractBroken, match=r"lines\[0\].quantity is 10001, which is more than 10000, 10000"):
        encoder.encode(an_order((10_001, "1.00", "0.00")))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"maximum": 10}, "'maximum' is no rule; the rules are minimum, "),
        ({"at_most": "stock"}, "at_most names stock, which is no field of its record"),
        ({"at_least": "sum(lines.amount)"}, "at_least names lines.amount, which is no field of its record"),
        ({"at_most": "quantity / 2"}, "'quantity / 2' is not a valid expression of a rule"),
        ({"at_most": 10}, "10 is not a valid expression of a rule"),
    ],
)
def test_a_rule_that_would_never_be_enforced_is_refused_when_the_contract_is_read(
    rule: dict[str, Any], says: str
) -> None:
    with pytest.raises(Misconfigured, match=re.escape(says)) as refused:
        with_rule(quantity=rule)
    assert str(refused.value).startswith("order.avsc: ")


def with_rule(**rules: dict[str, Any]) -> Event:
    """The contract of an order whose lines' fields have these rules too."""
    schema = copy.deepcopy(PLACED.schema)
    lines = next(field for field in schema["fields"] if field["name"] == "lines")
    for field in lines["type"]["items"]["fields"]:
        field.update(rules.get(field["name"], {}))
    return parse_event(json.dumps(schema), "order.avsc")


@pytest.mark.parametrize("event", [PLACED, REFUNDED], ids=lambda event: event.name)
def test_rules_are_not_registered(event: Event) -> None:
    for rule in ("minimum", "min_items", '"currency":', "at_most", "at_least"):
        assert rule not in event.schema_text
