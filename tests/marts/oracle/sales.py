"""The marts of the folder sales."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date

from tests.marts.oracle.exact import cents, day, mean_money, money, shops_own_day
from tests.marts.oracle.history import History, Record, Row
from tests.marts.oracle.listed import mart

Cell = tuple[date, str | None, str | None]
"""Day, region, category; over all of them where there is None."""


@mart("order_id", "line")
def fct_order_lines(h: History) -> list[Row]:
    return [
        {
            "order_id": order.order_id,
            "line": line.number,
            "ordered_at": order.at,
            "order_day": order.day,
            "customer_id": order.customer_id,
            "region": order.region,
            "channel": order.channel,
            "currency": order.currency,
            "session_id": order.session_id,
            "product_id": line.product_id,
            "category": line.category,
            "brand": line.brand,
            "quantity": line.quantity,
            "unit_price": money(line.unit_price),
            "gross_amount": money(line.gross),
            "discount_amount": money(line.discount),
            "sales_amount": money(line.sales),
        }
        for order in h.orders
        for line in order.lines
    ]


@mart("order_id")
def fct_orders(h: History) -> list[Row]:
    return [
        {
            "order_id": order.order_id,
            "ordered_at": order.at,
            "order_day": order.day,
            "customer_id": order.customer_id,
            "region": order.region,
            "channel": order.channel,
            "currency": order.currency,
            "session_id": order.session_id,
            "lines": len(order.lines),
            "units": order.units,
            "gross_amount": money(order.gross),
            "discount_amount": money(order.discount),
            "sales_amount": money(order.sales),
            "refund_amount": money(h.paid_back.get(order.order_id, 0)),
            "net_amount": money(order.sales - h.paid_back.get(order.order_id, 0)),
            "order_number": number,
            "is_first_order": number == 1,
            "placed_at": order.at,
            **order.charged,
        }
        for orders in h.orders_of.values()
        for number, order in enumerate(orders, start=1)
    ]


@mart("refund_id")
def fct_refunds(h: History) -> list[Row]:
    return [
        {
            "refund_id": refund["refund_id"],
            "refunded_at": refund["occurred_at"],
            "refund_day": day(refund["occurred_at"]),
            "order_id": refund["order_id"],
            "customer_id": refund["customer_id"],
            "region": refund["region"],
            "currency": refund["currency"],
            "goods_amount": money(_goods(refund)),
            "other_amount": money(cents(refund["amount"]) - _goods(refund)),
            "amount": refund["amount"],
            "reason": refund["reason"],
        }
        for refund in h.refunds
    ]


def _goods(refund: Record) -> int:
    return sum(cents(line["amount"]) for line in refund["lines"])


@mart("refund_id", "line")
def fct_refund_lines(h: History) -> list[Row]:
    return [
        {
            "refund_id": refund["refund_id"],
            "line": number,
            "refunded_at": refund["occurred_at"],
            "refund_day": day(refund["occurred_at"]),
            "order_id": refund["order_id"],
            "customer_id": refund["customer_id"],
            "region": refund["region"],
            "currency": refund["currency"],
            "product_id": line["product_id"],
            "category": line["category"],
            "quantity": line["quantity"],
            "amount": line["amount"],
            "reason": refund["reason"],
        }
        for refund in h.refunds
        for number, line in enumerate(refund["lines"], start=1)
    ]


@dataclass(slots=True)
class Sold:
    """What is added up in a cell of daily_sales; amounts in cents."""

    orders: set[str] = field(default_factory=set)
    customers: set[str] = field(default_factory=set)
    units: int = 0
    gross: int = 0
    discount: int = 0
    refunded: int = 0
    refunded_apart_from_goods: int = 0
    checkouts: set[str] = field(default_factory=set)
    abandoned: set[str] = field(default_factory=set)


@mart("day", "level", "region", "category")
def daily_sales(h: History) -> list[Row]:
    cells: dict[Cell, Sold] = defaultdict(Sold)
    _add_orders(cells, h)
    _add_refunds(cells, h)
    _add_checkouts(cells, h)
    first_day = {customer: orders[0].day for customer, orders in h.orders_of.items()}
    return [
        {
            "day": on,
            "level": _level(region, category),
            "region": region,
            "category": category,
            "orders": len(sold.orders),
            "units": sold.units,
            "gross_amount": money(sold.gross),
            "discount_amount": money(sold.discount),
            "sales_amount": money(sold.gross - sold.discount),
            "refund_amount": money(sold.refunded),
            "other_refund_amount": money(sold.refunded_apart_from_goods),
            "net_amount": money(sold.gross - sold.discount - sold.refunded),
            "average_order_amount": mean_money(sold.gross - sold.discount, len(sold.orders)),
            "customers": len(sold.customers),
            "new_customers": sum(first_day[customer] == on for customer in sold.customers),
            "returning_customers": sum(first_day[customer] != on for customer in sold.customers),
            "checkouts": len(sold.checkouts),
            "abandoned_checkouts": len(sold.abandoned),
        }
        for (on, region, category), sold in cells.items()
    ]


@mart("day", "region")
def daily_sales_breakdown(h: History) -> list[Row]:
    cells: dict[tuple[date, str], Counter[str]] = defaultdict(Counter)
    for order in h.orders:
        cells[order.day, order.region].update(gross=order.gross, discount=order.discount)
    for e in h.events("sales.order_placed"):
        charged = {name: _cents_of(e, f"{name}_amount") for name in ("shipping", "tax", "duties", "tip")}
        cells[day(e["occurred_at"]), e["region"]].update(orders=1, **charged)
    for e in h.refunds:
        shipping, tax = _cents_of(e, "shipping_amount"), _cents_of(e, "tax_amount")
        cell = cells[day(e["occurred_at"]), e["region"]]
        cell.update(returned=cents(e["amount"]) - shipping - tax, shipping=-shipping, tax=-tax)
    return [{"day": on, "region": region, **_from_gross_to_total(cell)} for (on, region), cell in cells.items()]


@mart("shop", "day")
def shop_daily_sales(h: History) -> list[Row]:
    cells: dict[tuple[str, date], Counter[str]] = defaultdict(Counter)
    for e in h.events("sales.order_placed"):
        charged = {name: _cents_of(e, f"{name}_amount") for name in ("shipping", "tax", "duties", "tip")}
        gross = sum(line["quantity"] * cents(line["unit_price"]) for line in e["lines"])
        discount = sum(cents(line["discount_amount"]) for line in e["lines"])
        cell = cells[e["source"], shops_own_day(e["occurred_at"], e["source"])]
        cell.update(orders=1, gross=gross, discount=discount, **charged)
    for e in h.refunds:
        shipping, tax = _cents_of(e, "shipping_amount"), _cents_of(e, "tax_amount")
        cell = cells[e["source"], shops_own_day(e["occurred_at"], e["source"])]
        cell.update(returned=cents(e["amount"]) - shipping - tax, shipping=-shipping, tax=-tax)
    return [{"shop": shop, "day": on, **_from_gross_to_total(cell)} for (shop, on), cell in cells.items()]


def _from_gross_to_total(cell: Counter[str]) -> Row:
    net = cell["gross"] - cell["discount"] - cell["returned"]
    return {
        "orders": cell["orders"],
        **{f"{name}_amount": money(cell[name]) for name in ("gross", "discount", "returned")},
        "net_of_returns_amount": money(net),
        **{f"{name}_amount": money(cell[name]) for name in ("shipping", "tax", "duties", "tip")},
        "total_amount": money(net + cell["shipping"] + cell["tax"] + cell["duties"]),
    }


def _cents_of(e: Record, name: str) -> int:
    return 0 if e[name] is None else cents(e[name])


@mart("day", "name", "is_code")
def daily_discounts(h: History) -> list[Row]:
    sales = {order.order_id: order.sales for order in h.orders}
    cells: dict[tuple[date, str, bool], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for e in h.events("sales.order_placed"):
        for each in e["discounts"] or ():
            is_code = each["code"] is not None
            name = each["code"] if is_code else each["title"] or ""
            cells[day(e["occurred_at"]), name, is_code][e["order_id"]] += cents(each["amount"])
    return [
        {
            "day": on,
            "name": name,
            "is_code": is_code,
            "orders": len(taken_off),
            "discount_amount": money(sum(taken_off.values())),
            "sales_amount": money(sum(sales.get(order_id, 0) for order_id in taken_off)),
        }
        for (on, name, is_code), taken_off in cells.items()
    ]


def _with_rollups(on: date, region: str, category: str) -> set[Cell]:
    return {(on, r, c) for r in (region, None) for c in (category, None)}


def _level(region: str | None, category: str | None) -> str:
    if region is None:
        return "all" if category is None else "category"
    return "region" if category is None else "region_and_category"


def _add_orders(cells: dict[Cell, Sold], h: History) -> None:
    for order in h.orders:
        for line in order.lines:
            for cell in _with_rollups(order.day, order.region, line.category):
                sold = cells[cell]
                sold.orders.add(order.order_id)
                sold.customers.add(order.customer_id)
                sold.units += line.quantity
                sold.gross += line.gross
                sold.discount += line.discount


def _add_refunds(cells: dict[Cell, Sold], h: History) -> None:
    """A category's are of its goods; all that was paid back is in the rollups over categories."""
    for refund in h.refunds:
        on, region = day(refund["occurred_at"]), refund["region"]
        for where in (region, None):
            for line in refund["lines"]:
                cells[on, where, line["category"]].refunded += cents(line["amount"])
            cells[on, where, None].refunded += cents(refund["amount"])
            cells[on, where, None].refunded_apart_from_goods += cents(refund["amount"]) - _goods(refund)


def _add_checkouts(cells: dict[Cell, Sold], h: History) -> None:
    """A session without a cart, or with nothing in it whose category is known, is in the rollups over all alone."""
    for session in h.sessions:
        if not session.checked_out:
            continue
        categories = {h.category_of(product) for product in session.carted} - {None}
        for category in {None, *categories}:
            for region in (session.region, None):
                cell = cells[session.day, region, category]
                cell.checkouts.add(session.session_id)
                if not session.bought:
                    cell.abandoned.add(session.session_id)
