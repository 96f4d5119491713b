"""The marts of the folder web."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from tests.marts.oracle.exact import day, money, ratio
from tests.marts.oracle.history import History, Order, Row, Session
from tests.marts.oracle.listed import mart

LOOKBACK = timedelta(days=30)


@mart("session_id")
def sessions(h: History) -> list[Row]:
    orders: dict[str | None, list[Order]] = defaultdict(list)
    for order in h.orders:
        orders[order.session_id].append(order)
    return [_session(s, orders.get(s.session_id, [])) for s in h.sessions]


def _session(s: Session, orders: list[Order]) -> Row:
    return {
        "session_id": s.session_id,
        "session_day": s.day,
        "started_at": s.started_at,
        "ended_at": s.ended_at,
        "duration_seconds": (s.ended_at - s.started_at) // timedelta(seconds=1),
        "region": s.region,
        "campaign": s.campaign,
        "customer_id": s.customer_id,
        "page_views": s.count("page_view"),
        "product_views": s.count("product_view"),
        "carts": s.count("add_to_cart"),
        "checkouts": s.count("checkout"),
        "purchases": s.count("purchase"),
        "is_bounce": len(s.interactions) == 1,
        "abandoned_cart": s.count("add_to_cart") > 0 and not s.bought,
        "abandoned_checkout": s.checked_out and not s.bought,
        "orders": len(orders),
        "sales_amount": money(sum(order.sales for order in orders)),
    }


@mart("day", "region", "campaign")
def funnel(h: History) -> list[Row]:
    groups: dict[tuple[date, str, str | None], list[Session]] = defaultdict(list)
    for s in h.sessions:
        groups[s.day, s.region, s.campaign].append(s)
    return [
        {
            "day": on,
            "region": region,
            "campaign": campaign,
            "sessions": len(members),
            "product_view_sessions": sum(_got_to(s, 1) for s in members),
            "cart_sessions": sum(_got_to(s, 2) for s in members),
            "checkout_sessions": sum(_got_to(s, 3) for s in members),
            "purchase_sessions": sum(_got_to(s, 4) for s in members),
        }
        for (on, region, campaign), members in groups.items()
    ]


def _got_to(s: Session, step: int) -> bool:
    steps = ("page_view", "product_view", "add_to_cart", "checkout", "purchase")
    return any(s.count(later) for later in steps[step:])


@dataclass(slots=True)
class Credited:
    """What a campaign is credited with; cents."""

    orders: int = 0
    sales_amount: int = 0


def _visits_before(h: History) -> Iterator[tuple[Order, list[Session]]]:
    """Each order, and its customer's sessions of the thirty days before."""
    visits: dict[str | None, list[Session]] = defaultdict(list)
    for s in sorted(h.sessions, key=lambda s: (s.started_at, s.session_id)):
        visits[s.customer_id].append(s)
    for order in h.orders:
        yield order, [s for s in visits.get(order.customer_id, []) if order.at - LOOKBACK < s.started_at <= order.at]


def last_campaigns(h: History) -> dict[str, str | None]:
    """The last campaign that brought each order."""
    return {
        order.order_id: next((s.campaign for s in reversed(before) if s.campaign is not None), None)
        for order, before in _visits_before(h)
    }


@mart("day", "touch", "region", "campaign")
def attribution(h: History) -> list[Row]:
    credit: dict[tuple[date, str, str, str | None], Credited] = defaultdict(Credited)
    for order, before in _visits_before(h):
        sent = [s.campaign for s in before if s.campaign is not None]
        touches = {
            "first": before[0].campaign if before else None,
            "last": sent[-1] if sent else None,
        }
        for touch, campaign in touches.items():
            credited = credit[order.day, touch, order.region, campaign]
            credited.orders += 1
            credited.sales_amount += order.sales
    return [
        {
            "day": on,
            "touch": touch,
            "region": region,
            "campaign": campaign,
            "orders": credited.orders,
            "sales_amount": money(credited.sales_amount),
        }
        for (on, touch, region, campaign), credited in credit.items()
    ]


@mart("day", "region")
def cart_abandonment(h: History) -> list[Row]:
    groups: dict[tuple[date, str], list[Session]] = defaultdict(list)
    for s in h.sessions:
        groups[s.day, s.region].append(s)
    rows = []
    for (on, region), members in groups.items():
        carts = [s for s in members if s.count("add_to_cart")]
        checkouts = [s for s in members if s.checked_out]
        left_carts = sum(not s.bought for s in carts)
        left_checkouts = sum(not s.bought for s in checkouts)
        rows.append(
            {
                "day": on,
                "region": region,
                "cart_sessions": len(carts),
                "abandoned_carts": left_carts,
                "cart_abandonment_rate": ratio(left_carts, len(carts)),
                "checkout_sessions": len(checkouts),
                "abandoned_checkouts": left_checkouts,
                "checkout_abandonment_rate": ratio(left_checkouts, len(checkouts)),
            }
        )
    return rows


@dataclass(slots=True)
class Activity:
    """What happened to a product on a day; cents."""

    views: int = 0
    carts: int = 0
    units: int = 0
    sales_amount: int = 0


@mart("day", "product_id")
def product_conversions(h: History) -> list[Row]:
    activity: dict[tuple[date, str], Activity] = defaultdict(Activity)
    for i in h.interactions:
        if i["product_id"] is None:
            continue
        if i["interaction"] == "product_view":
            activity[day(i["occurred_at"]), i["product_id"]].views += 1
        if i["interaction"] == "add_to_cart":
            activity[day(i["occurred_at"]), i["product_id"]].carts += 1
    for order in h.orders:
        for line in order.lines:
            sold = activity[order.day, line.product_id]
            sold.units += line.quantity
            sold.sales_amount += line.sales
    return [
        {
            "day": on,
            "product_id": product,
            "category": h.category_of(product),
            "name": h.name_of(product),
            "views": a.views,
            "carts": a.carts,
            "units": a.units,
            "sales_amount": money(a.sales_amount),
            "units_per_view": ratio(a.units, a.views),
        }
        for (on, product), a in activity.items()
    ]
