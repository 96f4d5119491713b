"""What payment providers keep of an order, as the shops say it, and what becomes of it on the log."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from producers.connect.fees import KnownFee, news_of_fees, rounded
from producers.connect.orders import NO_FEES, Fee, Fees, Shop
from producers.connect.woocommerce.fees import read_fees
from producers.rates.exchange import Charge, NoRate
from producers.shop.occurrences import FEE_CHARGED
from schemas.codec import Encoder

SHOP = Shop("bikes", b"g" * 32)
PAID_MS = int(datetime(2026, 11, 3, 10, tzinfo=UTC).timestamp() * 1000)


class Rates:
    """Two dollars are a euro; of yen the rate may still become known, of another it never does."""

    own = "EUR"

    def charge(self, currency: str, day: date) -> Charge | None:
        if currency == "JPY":
            raise NoRate("not known yet", day)
        if currency not in ("EUR", "USD"):
            raise NoRate("no rate between them")
        return None if currency == "EUR" else Charge("USD", "EUR", Decimal(2), "ecb", day)


def fees(*meta: tuple[str, Any], currency: str = "EUR") -> Fees:
    order = {"currency": currency, "meta_data": [{"key": key, "value": value} for key, value in meta]}
    return read_fees(order, "7", SHOP._replace(exchange=Rates()), PAID_MS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "cents"),
    [("0.59", 59), (0.59, 59), ("1.3700000000000001", 137), ("0.005", 1), ("-0.005", -1), (" 2 ", 200), (0, 0)],
)
def test_an_amount_is_rounded_to_the_cent(said: Any, cents: int) -> None:
    assert rounded(said) == cents


@pytest.mark.parametrize("said", ["", "free", None, True, {}, "NaN", "Infinity", "1e30", "1e999999", "1,50"])
def test_what_is_no_amount_is_none(said: Any) -> None:
    assert rounded(said) is None


def test_each_plugins_fee_is_read_once() -> None:
    paypal = {"paypal_fee": {"currency_code": "EUR", "value": "0.79"}, "net_amount": {"value": "9.21"}}
    found = fees(
        ("_stripe_fee", "0.55"),
        ("Stripe Fee", "0.56"),
        ("PayPal Transaction Fee", "0.80"),
        ("_ppcp_paypal_fees", paypal),
        ("_wcpay_transaction_fee", 1.2),
        ("_stripe_net", "9.45"),
    )
    assert found == Fees(
        (
            Fee("7-stripe", PAID_MS, "stripe", 55),
            Fee("7-paypal", PAID_MS, "paypal", 79),
            Fee("7-woopayments", PAID_MS, "woopayments", 120),
        )
    )
    assert fees(("_stripe_fee", "")) == fees(("_stripe_fee", "0")) == fees() == NO_FEES


def test_a_fee_in_another_currency_is_converted_and_one_without_a_rate_waits_for_it() -> None:
    assert [fee.cents for fee in fees(("_stripe_fee", "3.00"), currency="USD").charged] == [150]
    assert [
        fee.cents for fee in fees(("_stripe_fee", "3.00"), ("_stripe_currency", "eur"), currency="USD").charged
    ] == [300]
    waits = fees(("_stripe_fee", "300"), ("PayPal Transaction Fee", "1"), ("_stripe_currency", "JPY"))
    assert (waits.awaited, waits.problem, [fee.provider for fee in waits.charged]) == (
        date(2026, 11, 3),
        "",
        ["paypal"],
    )
    never = fees(("_stripe_fee", "3.00"), ("_stripe_currency", "XYZ"))
    assert never == Fees(problem="meta_data _stripe_fee: no rate between them")
    assert fees(("_stripe_fee", "free")).problem == "meta_data _stripe_fee is no amount such as 0.59"


def news(said: Fees, known: dict[str, KnownFee], modified_ms: int, *, is_answer: bool = True) -> tuple[Any, Any]:
    found = news_of_fees(SHOP, "7", "EUR", said, known, modified_ms=modified_ms, is_answer=is_answer)
    records, after = [record for record, _, _ in found], known | {fee_id: fee for _, fee_id, fee in found}
    for record in records:
        Encoder(FEE_CHARGED, 1, "EUR").encode(record)
    return [(each["amount"], each["version"], each["is_deleted"]) for each in records], after


def test_a_fee_is_published_when_it_is_news_and_taken_back_when_the_shop_has_it_no_more() -> None:
    one = Fees((Fee("7-stripe", PAID_MS, "stripe", 55),))
    said, known = news(one, {}, 1000)
    assert said == [(Decimal("0.55"), 1000, None)]
    assert news(one, known, 2000) == ([], known)
    other = Fees((Fee("7-stripe", PAID_MS + 5000, "stripe", 30),))
    said, known = news(other, known, 900)  # above what is on the log, whatever the shop's clock says
    assert said == [(Decimal("0.30"), 1001, None)]
    assert known["7-stripe"].at_ms == PAID_MS
    assert news(NO_FEES, known, 3000, is_answer=False) == ([], known)  # a delivery may be of before
    assert news(Fees(awaited=date(2026, 11, 3)), known, 3000) == ([], known)
    said, known = news(NO_FEES, known, 3000)
    assert said == [(Decimal("0.30"), 3000, True)]
    assert news(NO_FEES, known, 4000) == ([], known)
    assert news(other, known, 5000)[0] == [(Decimal("0.30"), 5000, None)]
