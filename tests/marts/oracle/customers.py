"""The marts of the folder customers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from typing import Any

from tests.marts.oracle.exact import mean_money, money, ratio
from tests.marts.oracle.history import History, Order, Record, Row
from tests.marts.oracle.listed import mart

# Columns are frequency and value taken together, from 1 to 5; rows are recency.
SEGMENTS: Mapping[int, tuple[str, str, str, str, str]] = {
    5: ("New customers", "Potential loyalists", "Loyal customers", "Champions", "Champions"),
    4: ("Promising", "Potential loyalists", "Loyal customers", "Champions", "Champions"),
    3: ("About to sleep", "About to sleep", "Need attention", "Loyal customers", "Loyal customers"),
    2: ("Hibernating", "Hibernating", "At risk", "At risk", "At risk"),
    1: ("Lost", "Hibernating", "At risk", "Can't lose them", "Can't lose them"),
}


@mart("customer_id")
def dim_customers(h: History) -> list[Row]:
    newest: dict[str, Record] = {}
    for change in sorted(h.customers, key=lambda e: (e["occurred_at"], e["event_id"])):
        newest[change["customer_id"]] = change
    return [_customer(h, who, newest.get(who), h.orders_of.get(who, [])) for who in {*newest, *h.orders_of}]


def _customer(h: History, who: str, change: Record | None, orders: list[Order]) -> Row:
    sales = sum(order.sales for order in orders)
    refunded = _refunded(h, orders)
    return {
        "customer_id": who,
        "region": change["region"] if change else orders[-1].region,
        "signup_date": change["signup_date"] if change else None,
        "age_band": change["age_band"] if change else None,
        "first_order_at": orders[0].at if orders else None,
        "last_order_at": orders[-1].at if orders else None,
        "orders": len(orders),
        "units": sum(order.units for order in orders),
        "sales_amount": money(sales),
        "refund_amount": money(refunded),
        "lifetime_value": money(sales - refunded),
        "average_order_amount": mean_money(sales, len(orders)),
    }


def _refunded(h: History, orders: list[Order]) -> int:
    return sum(h.paid_back.get(order.order_id, 0) for order in orders)


@mart("customer_id")
def rfm(h: History) -> list[Row]:
    if h.as_of is None:
        return []
    recency = {who: (h.as_of - orders[-1].day).days for who, orders in h.orders_of.items()}
    frequency = {who: len(orders) for who, orders in h.orders_of.items()}
    value = {who: sum(o.sales for o in orders) - _refunded(h, orders) for who, orders in h.orders_of.items()}
    r_score, f_score, m_score = _scores(recency, lambda days: -days), _scores(frequency), _scores(value)
    return [
        {
            "customer_id": who,
            "as_of_day": h.as_of,
            "recency_days": recency[who],
            "frequency": frequency[who],
            "monetary": money(value[who]),
            "recency_score": r_score[who],
            "frequency_score": f_score[who],
            "monetary_score": m_score[who],
            "rfm_score": f"{r_score[who]}{f_score[who]}{m_score[who]}",
            "segment": SEGMENTS[r_score[who]][(f_score[who] + m_score[who] + 1) // 2 - 1],
        }
        for who in h.orders_of
    ]


def _scores(values: Mapping[str, int], goodness: Callable[[int], int] = lambda value: value) -> dict[str, int]:
    """1 to 5 by how many have a worse value: equal values have equal scores."""
    ordered = sorted(goodness(value) for value in values.values())
    worse: dict[int, int] = {}
    for place, good in enumerate(ordered):
        worse.setdefault(good, place)
    return {who: 1 + 5 * worse[goodness(value)] // len(values) for who, value in values.items()}


@mart("segment")
def rfm_segments(h: History) -> list[Row]:
    members: dict[str, list[Row]] = defaultdict(list)
    for customer in rfm(h):
        members[customer["segment"]].append(customer)
    everybody = sum(map(len, members.values()))

    def mean(of: list[Row], column: str) -> Any:
        return ratio(sum((Fraction(row[column]) for row in of), Fraction()), len(of), 2)

    return [
        {
            "segment": segment,
            "customers": len(of),
            "share_of_customers": ratio(len(of), everybody),
            "lifetime_value": sum(row["monetary"] for row in of),
            "average_recency_days": mean(of, "recency_days"),
            "average_frequency": mean(of, "frequency"),
            "average_monetary": mean(of, "monetary"),
        }
        for segment, of in members.items()
    ]


@mart("cohort_month", "months_since")
def cohorts(h: History) -> list[Row]:
    if h.as_of is None:
        return []
    cohort_of = {who: _month(orders[0].day) for who, orders in h.orders_of.items()}
    in_month: dict[tuple[int, int], list[Order]] = defaultdict(list)
    for order in h.orders:
        cohort = cohort_of[order.customer_id]
        in_month[cohort, _month(order.day) - cohort].append(order)
    rows = []
    for cohort in set(cohort_of.values()):
        size = sum(month == cohort for month in cohort_of.values())
        for since in range(_month(h.as_of) - cohort + 1):
            orders = in_month.get((cohort, since), [])
            active = len({order.customer_id for order in orders})
            rows.append(
                {
                    "cohort_month": date(cohort // 12, cohort % 12 + 1, 1),
                    "months_since": since,
                    "cohort_customers": size,
                    "active_customers": active,
                    "retention": ratio(active, size),
                    "orders": len(orders),
                    "sales_amount": money(sum(order.sales for order in orders)),
                }
            )
    return rows


def _month(on: date) -> int:
    """Months since the year 0."""
    return on.year * 12 + on.month - 1


@mart("customer_id")
def clv_inputs(h: History) -> list[Row]:
    if h.as_of is None:
        return []
    return [_clv(who, orders, h.as_of) for who, orders in h.orders_of.items()]


def _clv(who: str, orders: list[Order], as_of: date) -> Row:
    spent: dict[date, int] = defaultdict(int)
    for order in orders:
        spent[order.day] += order.sales
    first, *repeats = sorted(spent)
    return {
        "customer_id": who,
        "frequency": len(repeats),
        "recency_days": (repeats[-1] - first).days if repeats else 0,
        "t_days": (as_of - first).days,
        "monetary_value": mean_money(sum(spent[on] for on in repeats), len(repeats)),
    }
