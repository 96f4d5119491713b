"""The marts of the folder profit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime

from tests.marts.oracle.exact import cents, day, money, ratio
from tests.marts.oracle.history import History, Record, Row
from tests.marts.oracle.listed import mart
from tests.marts.oracle.web import last_campaigns

MARGIN = ("net_of_returns", "unknown_cost_sales", "cost_of_goods", "gross_margin")


def _statements(h: History) -> list[Record]:
    return sorted(h.events("finance.cost_stated"), key=lambda e: (e["occurred_at"], e["event_id"]))


def _known(statements: Iterable[Record], product_id: str, at: datetime) -> int | None:
    """The cost of a unit at a time, in cents, by these statements; the last ones count."""
    held: dict[datetime, Record] = {}
    for e in statements:
        if e["product_id"] == product_id and e["valid_from"] <= at:
            held[e["valid_from"]] = e
    since = [e for e in held.values() if not e["is_withdrawn"]]
    return cents(max(since, key=lambda e: e["valid_from"])["unit_cost"]) if since else None


def _added(unit_cost: int | None, units: int, amount: int) -> dict[str, int]:
    """What goods of that amount add to unknown sales and to cost."""
    if unit_cost is None:
        return {"unknown_cost_sales": amount}
    return {"cost_of_goods": units * unit_cost}


def _negative(amounts: dict[str, int]) -> dict[str, int]:
    return {name: -amount for name, amount in amounts.items()}


def _returned_lines(h: History) -> Iterator[tuple[Record, Record, dict[str, int]]]:
    """Each refund line, and what it takes off unknown sales and cost."""
    placed = {order.order_id: order.at for order in h.orders}
    statements = _statements(h)
    for e in h.refunds:
        at = placed.get(e["order_id"])
        for line in e["lines"]:
            unit_cost = None if at is None else _known(statements, line["product_id"], at)
            yield e, line, _negative(_added(unit_cost, line["quantity"], cents(line["amount"])))


def _apart(e: Record, name: str) -> int:
    return 0 if e[name] is None else cents(e[name])


def _returned(e: Record) -> int:
    return cents(e["amount"]) - _apart(e, "shipping_amount") - _apart(e, "tax_amount")


def _margin(cell: Counter[str]) -> Row:
    cell["gross_margin"] = cell["net_of_returns"] - cell["unknown_cost_sales"] - cell["cost_of_goods"]
    return {f"{name}_amount": money(cell[name]) for name in MARGIN}


def _orders(h: History) -> dict[str, Counter[str]]:
    """What each order comes to, as it stands now."""
    statements = _statements(h)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for order in h.orders:
        cell = found[order.order_id]
        cell.update(sales=order.sales, net_of_returns=order.sales)
        for line in order.lines:
            cell.update(_added(_known(statements, line.product_id, order.at), line.quantity, line.sales))
    for e in h.events("sales.order_placed"):
        found[e["order_id"]].update(shipping=cents(e["shipping_amount"]))
    for e in h.refunds:
        shipping, returned = _apart(e, "shipping_amount"), _returned(e)
        found[e["order_id"]].update(returned=returned, net_of_returns=-returned, shipping=-shipping)
    for e, _, taken_off in _returned_lines(h):
        found[e["order_id"]].update(taken_off)
    for e in h.fees:
        found[e["order_id"]].update(payment_fee=cents(e["amount"]))
    return found


@mart("order_id")
def fct_order_profit(h: History) -> list[Row]:
    found = _orders(h)
    return [
        {
            "order_id": order.order_id,
            "ordered_at": order.at,
            "order_day": order.day,
            "customer_id": order.customer_id,
            "region": order.region,
            "channel": order.channel,
            "currency": order.currency,
            "sales_amount": money(cell["sales"]),
            "returned_amount": money(cell["returned"]),
            **_margin(cell),
            "shipping_amount": money(cell["shipping"]),
            "payment_fee_amount": money(cell["payment_fee"]),
            "contribution_amount": money(cell["gross_margin"] - cell["payment_fee"]),
        }
        for order in h.orders
        for cell in (found[order.order_id],)
    ]


@mart("day", "product_id")
def product_profit(h: History) -> list[Row]:
    statements = _statements(h)
    cells: dict[tuple[date, str], Counter[str]] = defaultdict(Counter)
    for order in h.orders:
        for line in order.lines:
            cell = cells[order.day, line.product_id]
            cell.update(units=line.quantity, sales=line.sales, net_of_returns=line.sales)
            cell.update(_added(_known(statements, line.product_id, order.at), line.quantity, line.sales))
    for e, line, taken_off in _returned_lines(h):
        amount = cents(line["amount"])
        cell = cells[day(e["occurred_at"]), line["product_id"]]
        cell.update(returned_units=line["quantity"], returned=amount, net_of_returns=-amount)
        cell.update(taken_off)
    return [
        {
            "day": on,
            "product_id": product_id,
            "units": cell["units"],
            "returned_units": cell["returned_units"],
            "sales_amount": money(cell["sales"]),
            "returned_amount": money(cell["returned"]),
            **_margin(cell),
        }
        for (on, product_id), cell in cells.items()
    ]


def _spend(h: History) -> list[Record]:
    """What was stated last of each day of a campaign."""
    found: dict[tuple[str, str, str, date], Record] = {}
    for e in sorted(h.events("marketing.spend_stated"), key=lambda e: (e["occurred_at"], e["event_id"])):
        found[e["source"], e["channel"], e["campaign"], e["day"]] = e
    return list(found.values())


@mart("day")
def daily_profit(h: History) -> list[Row]:
    statements = _statements(h)
    cells: dict[date, Counter[str]] = defaultdict(Counter)
    for order in h.orders:
        cells[order.day].update(orders=1, net_of_returns=order.sales)
        for line in order.lines:
            cells[order.day].update(_added(_known(statements, line.product_id, order.at), line.quantity, line.sales))
    for e in h.refunds:
        cells[day(e["occurred_at"])].update(net_of_returns=-_returned(e))
    for e, _, taken_off in _returned_lines(h):
        cells[day(e["occurred_at"])].update(taken_off)
    for e in h.fees:
        cells[day(e["occurred_at"])].update(payment_fee=cents(e["amount"]))
    for e in _spend(h):
        cells[e["day"]].update(ad_spend=cents(e["amount"]))
    return [
        {
            "day": on,
            "orders": cell["orders"],
            **_margin(cell),
            "payment_fee_amount": money(cell["payment_fee"]),
            "ad_spend_amount": money(cell["ad_spend"]),
            "contribution_amount": money(cell["gross_margin"] - cell["payment_fee"] - cell["ad_spend"]),
        }
        for on, cell in cells.items()
    ]


@mart("day", "campaign")
def campaign_profit(h: History) -> list[Row]:
    found, campaigns = _orders(h), last_campaigns(h)
    cells: dict[tuple[date, str | None], Counter[str]] = defaultdict(Counter)
    for order in h.orders:
        cell = cells[order.day, campaigns[order.order_id]]
        cell.update(found[order.order_id])
        cell.update(orders=1)
    for e in _spend(h):
        cells[e["day"], e["campaign"]].update(ad_spend=cents(e["amount"]), clicks=e["clicks"] or 0)
    return [
        {
            "day": on,
            "campaign": campaign,
            "orders": cell["orders"],
            "sales_amount": money(cell["sales"]),
            **{name: amount for name, amount in _margin(cell).items() if name != "cost_of_goods_amount"},
            "payment_fee_amount": money(cell["payment_fee"]),
            "ad_spend_amount": money(cell["ad_spend"]),
            "clicks": cell["clicks"],
            "contribution_amount": money(cell["gross_margin"] - cell["payment_fee"] - cell["ad_spend"]),
            "return_on_ad_spend": ratio(cell["sales"], cell["ad_spend"], 2),
        }
        for (on, campaign), cell in cells.items()
    ]


@mart("day", "event_id")
def late_costs(h: History) -> list[Row]:
    statements = _statements(h)
    rows: dict[tuple[date, str], Row] = {}
    for number, e in enumerate(statements):
        for order in h.orders:
            if not e["valid_from"] <= order.at < e["occurred_at"]:
                continue
            for line in order.lines:
                before = _known(statements[:number], line.product_id, order.at)
                now = _known(statements[: number + 1], line.product_id, order.at)
                if line.product_id == e["product_id"] and before != now:
                    row = rows.setdefault((order.day, e["event_id"]), _unchanged(order.day, e))
                    row["units"] += line.quantity
                    row["units_unknown_before"] += line.quantity if before is None else 0
                    row["cost_before_amount"] += money(line.quantity * (before or 0))
                    row["cost_amount"] += money(line.quantity * (now or 0))
    return list(rows.values())


def _unchanged(on: date, e: Record) -> Row:
    return {
        "day": on,
        "event_id": e["event_id"],
        "product_id": e["product_id"],
        "valid_from": e["valid_from"],
        "stated_at": e["occurred_at"],
        "units": 0,
        "units_unknown_before": 0,
        "cost_before_amount": money(0),
        "cost_amount": money(0),
    }
