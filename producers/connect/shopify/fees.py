"""What Shopify Payments keeps of an order, as its payments say. What other providers keep is not known there."""

from __future__ import annotations

from typing import Any, Final

from producers.connect.fees import Found, fees_of
from producers.connect.orders import BadOrder, Fees, Json, Shop, list_of, millis_of, shown, text_of
from producers.connect.shopify.ids import number_of

CHARGES: Final = frozenset(("SALE", "CAPTURE"))


def read_fees(order: Json, shop: Shop) -> Fees:
    """What can't be read is a problem of the fees alone. Raises BadOrder when ``transactions`` is no list."""
    found: list[Found] = []
    unread: list[str] = []
    for i, charge in enumerate(list_of(order, "transactions")):
        fees = charge.get("fees") or []
        if not fees or charge.get("status") != "SUCCESS" or str(charge.get("kind")) not in CHARGES:
            continue
        for j, fee in enumerate(fees if isinstance(fees, list) else [fees]):
            try:
                found.append(_fee(charge, fee, f"transactions[{i}]", f"fees[{j}]"))
            except BadOrder as bad:
                unread.append(str(bad))
    return fees_of(found, shop, unread)


def _fee(charge: Json, fee: Any, where: str, which: str) -> Found:
    """A fee of a payment. Raises BadOrder."""
    at_ms = millis_of(charge, f"{where}.processedAt", "processedAt")
    where = f"{where}.{which}"
    money = fee.get("amount") if isinstance(fee, dict) else None
    if not isinstance(money, dict):
        raise BadOrder(f"{where}.amount is {shown(money)}, and should be an amount of money")
    currency = text_of(money, f"{where}.amount.currencyCode", "currencyCode")
    fee_id, provider = number_of(fee, f"{where}.id", "id"), str(charge.get("gateway") or "shopify_payments")
    return Found(fee_id, at_ms, provider, money.get("amount"), currency, f"{where}.amount")
