"""Every mart by its name: what makes a row of it one, and what its rows must be.

Written from the words that define the marts, in plain Python: no SQL, no code of ``dbt/`` or ``aggregates/``, so that a
mistake has to be made twice to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.marts.oracle import catalog, customers, quality, sales, web
from tests.marts.oracle.history import History, Row
from tests.marts.oracle.quality import Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Mart:
    """``grain`` are the columns that no two rows have the same of."""

    grain: tuple[str, ...]
    rows: Callable[[History], list[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMart:
    """A mart of what became of the log's records."""

    grain: tuple[str, ...]
    rows: Callable[[Recorded], list[Row]]


MARTS: Mapping[str, Mart] = {
    "fct_order_lines": Mart(grain=("order_id", "line"), rows=sales.fct_order_lines),
    "fct_orders": Mart(grain=("order_id",), rows=sales.fct_orders),
    "fct_refunds": Mart(grain=("refund_id",), rows=sales.fct_refunds),
    "fct_refund_lines": Mart(grain=("refund_id", "line"), rows=sales.fct_refund_lines),
    "daily_sales": Mart(grain=("day", "level", "region", "category"), rows=sales.daily_sales),
    "dim_customers": Mart(grain=("customer_id",), rows=customers.dim_customers),
    "rfm": Mart(grain=("customer_id",), rows=customers.rfm),
    "rfm_segments": Mart(grain=("segment",), rows=customers.rfm_segments),
    "cohorts": Mart(grain=("cohort_month", "months_since"), rows=customers.cohorts),
    "clv_inputs": Mart(grain=("customer_id",), rows=customers.clv_inputs),
    "sessions": Mart(grain=("session_id",), rows=web.sessions),
    "funnel": Mart(grain=("day", "region", "campaign"), rows=web.funnel),
    "attribution": Mart(grain=("day", "touch", "region", "campaign"), rows=web.attribution),
    "cart_abandonment": Mart(grain=("day", "region"), rows=web.cart_abandonment),
    "product_conversions": Mart(grain=("day", "product_id"), rows=web.product_conversions),
    "dim_products": Mart(grain=("product_id",), rows=catalog.dim_products),
    "price_history": Mart(grain=("shop", "product_id", "currency", "valid_from"), rows=catalog.price_history),
    "price_vs_sales": Mart(grain=("day", "product_id"), rows=catalog.price_vs_sales),
    "stock_levels": Mart(grain=("day", "product_id", "warehouse"), rows=catalog.stock_levels),
    "days_of_cover": Mart(grain=("product_id",), rows=catalog.days_of_cover),
}
QUALITY_MARTS: Mapping[str, QualityMart] = {
    "late_events": QualityMart(grain=("topic", "day"), rows=quality.late_events),
    "dead_letters": QualityMart(grain=("topic", "day", "reason"), rows=quality.dead_letters),
    "accounting": QualityMart(grain=("topic",), rows=quality.accounting),
    "certificates": QualityMart(grain=("run", "aggregate"), rows=quality.certificates),
}
