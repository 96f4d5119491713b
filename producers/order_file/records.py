"""The records of an order file's events, as the contracts have them. Pure."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from producers import withdrawn
from producers.order_file.rows import Line
from producers.order_file.steps import REFUND, Step, Withdrawal
from producers.rates.exchange import Charge, Exchange
from producers.shop.identifiers import envelope
from schemas.binary import EPOCH, MILLISECOND

CENT: Final = Decimal("0.01")


def record(source: str, step: Step, exchange: Exchange | None = None, *, tax_included: bool = False) -> dict[str, Any]:
    """The record of a step, as its contract has it; converted, with an exchange, by the rate of the order's day.

    Raises NoRate for one in another currency whose rate is not known.
    """
    charge = exchange.charge(step.head.currency, day_of(step)) if exchange else None
    charged: dict[str, Any] = {}
    said = step
    if charge is not None:
        step, charged = _converted(step, charge, tax_included=tax_included)
    head = step.head
    key = step.key if step.version is None else f"{step.key}:{step.version}:{said.state.hex()}"
    common = {
        **envelope(source, key, step.at_ms),
        "version": step.version,
        "order_id": step.order_id,
        "customer_id": head.customer_id,
        "region": head.region,
        "currency": head.currency,
    }
    return common | (_of_refund(step) if step.kind == REFUND else _of_order(step)) | charged


def day_of(step: Step) -> date:
    """The day of the order (UTC), by which its rate goes, and that of its refund."""
    return (EPOCH + step.head.at_ms * MILLISECOND).date()


def _converted(step: Step, charge: Charge, *, tax_included: bool) -> tuple[Step, dict[str, Any]]:
    """A step in the shop's currency, and the fields that say what was charged."""
    head, nets = step.head, [line.total - line.discount for line in step.lines]
    if step.kind == REFUND:
        *shares, _ = charge.shares([*nets, max(0, step.amount - sum(nets))])
        lines = [line._replace(total=share, discount=0) for line, share in zip(step.lines, shares, strict=True)]
        amount = charge.cents(step.amount)
        charged = {"charged_amount": charge.amount(step.amount)}
        head = head._replace(currency=charge.own)
    else:
        lines, (shipping, tax) = charge.lines(step.lines, (head.shipping, head.tax))
        off = sum(line.discount for line in step.lines)
        of_order, _ = charge.shares([head.discount, off - head.discount])
        head = head._replace(currency=charge.own, shipping=shipping, tax=tax, discount=of_order)
        amount = 0
        # Where the prices hold the tax, it is not charged once more.
        total = sum(nets) + step.head.shipping + (0 if tax_included else step.head.tax)
        parts = {"total": total, "shipping": step.head.shipping, "tax": step.head.tax}
        charged = {f"charged_{name}_amount": charge.amount(part) for name, part in parts.items()}
    return step._replace(head=head, lines=tuple(lines), amount=amount), {**charge.fields(), **charged}


def withdrawal(source: str, of: Withdrawal) -> dict[str, Any]:
    """The record by which an order or a refund no longer counts."""
    found = withdrawn.refund(of.head, refund_id(of.order_id)) if of.kind == REFUND else withdrawn.order(of.head)
    return {**envelope(source, f"{of.key}:{of.version}:withdrawn", of.at_ms), "version": of.version, **found}


def refund_id(order_id: str) -> str:
    """An order of a file has one refund, which is all that was paid back of it."""
    return f"{order_id}-refund"


def _of_order(step: Step) -> dict[str, Any]:
    head = step.head
    return {
        "channel": head.channel,
        "session_id": None,
        "lines": [each for line in step.lines for each in order_lines(line)],
        "shipping_amount": _amount(head.shipping),
        "tax_amount": _amount(head.tax),
        "discounts": _discounts(step) or None,
        "paid_at": _time(head.paid_at_ms),
        "fulfilled_at": _time(head.fulfilled_at_ms),
    }


def _discounts(step: Step) -> list[dict[str, Any]]:
    """The order's own discount with its code, and those of its lines, of which the file says no more."""
    of_order = step.head.discount
    of_lines = sum(line.discount for line in step.lines) - of_order
    found = [(step.head.discount_code, of_order), (None, of_lines)]
    return [{"code": code, "title": None, "amount": _amount(off)} for code, off in found if off or code]


def _time(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else EPOCH + at_ms * MILLISECOND


def _of_refund(step: Step) -> dict[str, Any]:
    lines = [
        {
            "product_id": line.product_id,
            "category": line.category,
            "quantity": line.quantity,
            "amount": _amount(line.total - line.discount),
        }
        for line in step.lines
    ]
    return {
        "refund_id": refund_id(step.order_id),
        "lines": lines,
        "amount": _amount(step.amount),
        "reason": "other",
        "order_paid_at": _time(step.head.paid_at_ms),
    }


def order_lines(line: Line) -> list[dict[str, Any]]:
    """The line as the contract's lines, whose units and money are both exact.

    A total that its units don't divide becomes two lines, one with the price rounded down and one a cent higher; the
    discount is the first one's, as far as it goes.
    """
    price, dearer_units = divmod(line.total, line.quantity)
    left, found = line.discount, []
    for units, cents in ((line.quantity - dearer_units, price), (dearer_units, price + 1)):
        if units:
            off = min(left, units * cents)
            left -= off
            found.append(
                {
                    "product_id": line.product_id,
                    "category": line.category,
                    "brand": line.brand,
                    "quantity": units,
                    "unit_price": _amount(cents),
                    "discount_amount": _amount(off),
                }
            )
    return found


@lru_cache(maxsize=65_536)  # prices repeat
def _amount(cents: int) -> Decimal:
    return CENT * cents
