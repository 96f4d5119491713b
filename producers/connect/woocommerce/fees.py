"""What payment providers keep of a WooCommerce order. The core knows no fees: each plugin writes them in its own way.

| key of ``meta_data`` | written by | currency |
|---|---|---|
| ``_stripe_fee``, ``Stripe Fee`` | WooCommerce Stripe Gateway | ``_stripe_currency``, the account's |
| ``_ppcp_paypal_fees`` | WooCommerce PayPal Payments: an object with ``paypal_fee`` | it says |
| ``PayPal Transaction Fee`` | older PayPal plugins | the order's |
| ``_wcpay_transaction_fee`` | WooPayments | the order's |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from producers.connect.fees import Found, fees_of
from producers.connect.orders import NO_FEES, BadOrder, Fees, Json, Shop, list_of

PROVIDERS: Final[Mapping[str, str]] = {  # of two keys of one provider the first counts
    "_stripe_fee": "stripe",
    "Stripe Fee": "stripe",
    "_ppcp_paypal_fees": "paypal",
    "PayPal Transaction Fee": "paypal",
    "_wcpay_transaction_fee": "woopayments",
}


def meta_of(source: Json) -> dict[str, Any]:
    """What plugins wrote, by key. PHP writes a list of which something was filtered as an object. Raises BadOrder."""
    found = source.get("meta_data")
    items = list(found.values()) if isinstance(found, dict) else found or []
    return {str(each.get("key")): each.get("value") for each in list_of({"meta_data": items}, "meta_data")}


def read_fees(order: Json, order_id: str, shop: Shop, paid_ms: int) -> Fees:
    """What can't be read is a problem of the fees alone."""
    currency = str(order.get("currency") or "")
    try:
        said = meta_of(order)
    except BadOrder as bad:
        return Fees(problem=str(bad))
    found: dict[str, Found] = {}
    for key, provider in PROVIDERS.items() if said else ():
        if key not in said or provider in found:
            continue
        amount, of = _said(key, said, currency)
        if amount not in (None, ""):
            found[provider] = Found(f"{order_id}-{provider}", paid_ms, provider, amount, of, f"meta_data {key}")
    return fees_of(list(found.values()), shop) if found else NO_FEES


def _said(key: str, said: Mapping[str, Any], currency: str) -> tuple[Any, str]:
    """The amount, and of which currency it is."""
    value = said[key]
    if PROVIDERS[key] == "stripe":
        return value, str(said.get("_stripe_currency") or currency).upper()
    if isinstance(value, dict):
        part = value.get("paypal_fee")
        return (part.get("value"), str(part.get("currency_code") or currency)) if isinstance(part, dict) else (part, "")
    return value, currency
