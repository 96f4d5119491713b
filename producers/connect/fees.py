"""What payment providers keep of an order, as a shop says it, as our events. Pure.

A fee has the time of its payment, and each state of it that time, as a refund has its own. A fee that an answer of the
shop does not have any more is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from producers.connect.orders import CENT, Fee, Fees, Shop
from producers.order_file.values import MOST_CENTS
from producers.rates.exchange import NoRate
from producers.shop.identifiers import envelope
from schemas.currency import scale

Record = dict[str, Any]


class KnownFee(NamedTuple):
    """What is on the log of a fee."""

    at_ms: int
    version: int
    provider: str
    cents: int
    is_deleted: bool = False


class Found(NamedTuple):
    """A fee as the shop says it: an amount of some currency. ``where`` names it in messages."""

    fee_id: str
    at_ms: int
    provider: str
    amount: Any
    currency: str
    where: str


def fees_of(found: list[Found], shop: Shop, unread: Sequence[str] = ()) -> Fees:
    """Fees in the shop's currency, without those of zero; ``unread`` says what is wrong with others."""
    charged: list[Fee] = []
    awaited, problems = None, list(unread)
    for each in found:
        try:
            charge = shop.charge(each.currency, each.at_ms)
        except NoRate as missing:
            awaited = missing.awaited or awaited
            problems += [] if missing.awaited else [f"{each.where}: {missing}"]
            continue
        units = rounded(each.amount, scale(each.currency) if charge else 2)
        if units is None:
            problems.append(f"{each.where} is no amount such as 0.59")
        elif units:
            cents = charge.cents(units) if charge else units
            charged.append(Fee(each.fee_id, each.at_ms, each.provider, cents))
    return Fees(tuple(charged), awaited, "; ".join(problems))


def rounded(said: Any, decimals: int = 2) -> int | None:
    """An amount that may have parts of its smallest unit, to the nearest one, in these; None when it is no amount."""
    try:
        exact = Decimal(str(said).strip()).scaleb(decimals)
    except ArithmeticError:
        return None
    if not exact.is_finite() or abs(exact) > MOST_CENTS:
        return None
    return int(exact.to_integral_value(ROUND_HALF_UP))


def news_of_fees(
    shop: Shop,
    order_id: str,
    currency: str,
    fees: Fees,
    known: Mapping[str, KnownFee],
    *,
    modified_ms: int,
    is_answer: bool,
) -> list[tuple[Record, str, KnownFee]]:
    """The events that an order's fees ask for, each with its fee and what is on the log of that once it is there.

    ``currency`` is the shop's.
    """
    after = dict(known)
    for fee in fees.charged:
        before = known.get(fee.fee_id)
        at_ms = before.at_ms if before else fee.at_ms  # all states of a fee have one time
        version = max(modified_ms, before.version + 1) if before else modified_ms
        now = KnownFee(at_ms, version, fee.provider, fee.cents)
        if before is None or before._replace(version=version) != now:
            after[fee.fee_id] = now
    is_whole = is_answer and fees.awaited is None and not fees.problem
    for gone in known.keys() - {fee.fee_id for fee in fees.charged} if is_whole else ():
        if not known[gone].is_deleted:
            version = max(modified_ms, known[gone].version + 1)
            after[gone] = known[gone]._replace(version=version, is_deleted=True)
    fresh = {fee_id: fee for fee_id, fee in after.items() if known.get(fee_id) != fee}
    return [(_event(shop, order_id, currency, fee_id, fee), fee_id, fee) for fee_id, fee in sorted(fresh.items())]


def _event(shop: Shop, order_id: str, currency: str, fee_id: str, fee: KnownFee) -> Record:
    return {
        **envelope(shop.name, f"fee:{fee_id}:{fee.version}", fee.at_ms),
        "fee_id": f"{shop.name}-{fee_id}",
        "order_id": f"{shop.name}-{order_id}",
        "provider": fee.provider,
        "amount": CENT * fee.cents,
        "currency": currency,
        "version": fee.version,
        "is_deleted": True if fee.is_deleted else None,
    }
