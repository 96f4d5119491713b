"""A real shop's history in the marts, against the figures that papers print of it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import psycopg
import pytest

from tests.marts import cdnow, sources
from tests.marts.compare import wrong_marts
from tests.marts.oracle.exact import rounded
from tests.marts.oracle.history import History
from tests.marts.process import Dbt, copied
from tests.marts.sources import Came

ORDER_PLACED = "sales.order_placed"
BUILT = (
    "fct_orders",
    "daily_sales",
    "daily_sales_breakdown",
    "dim_customers",
    "rfm",
    "rfm_segments",
    "cohorts",
    "clv_inputs",
)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def marts(dbt: Dbt) -> str:
    """DSN of the marts of all of the file."""
    return built(dbt, cdnow.orders(), "cdnow")


def built(dbt: Dbt, orders: list[dict[str, Any]], database: str) -> str:
    dsn = copied(dbt.settings.postgres_dsn, "insights", database)
    with psycopg.connect(dsn) as connection:
        sources.fill(connection, Came({ORDER_PLACED: orders}))
    # As `insights dbt build --select` does: the tests whose models are all among them.
    options = ("--exclude-resource-type", "unit_test", "--indirect-selection", "cautious")
    dbt.run(database, "build", *options, "--select", *(f"+{name}" for name in BUILT))
    return dsn


def ask(marts: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(marts) as connection:
        return connection.execute(query).fetchall()


def test_daily_sales_add_up_to_what_the_papers_count(marts: str) -> None:
    totals = (
        "select sum(orders), sum(units), sum(gross_amount), sum(net_amount), sum(new_customers)"
        " from marts.daily_sales where level = '{}'"
    )
    for level in ("all", "region", "category", "region_and_category"):  # the data have one region and one category
        ((orders, cds, gross, net, customers),) = ask(marts, totals.format(level))
        assert (orders, customers, cds) == (cdnow.ORDERS, cdnow.CUSTOMERS, cdnow.CDS)
        assert (gross, net) == (cdnow.DOLLARS, cdnow.DOLLARS)


def test_gross_sales_come_to_the_same_total_where_nothing_is_returned_or_charged_besides(marts: str) -> None:
    sums = ", ".join(f"sum({name}_amount)" for name in ("gross", "net_of_returns", "total", "returned", "shipping"))
    assert ask(marts, f"select sum(orders), {sums} from marts.daily_sales_breakdown") == [
        (cdnow.ORDERS, cdnow.DOLLARS, cdnow.DOLLARS, cdnow.DOLLARS, 0, 0)
    ]


def test_rfm_has_every_customer_order_and_dollar(marts: str) -> None:
    query = "select count(*), sum(frequency), sum(monetary), min(as_of_day), max(as_of_day) from marts.rfm"
    last_day = date(1998, 6, 30)
    assert ask(marts, query) == [(cdnow.CUSTOMERS, cdnow.ORDERS, cdnow.DOLLARS, last_day, last_day)]
    query = "select sum(customers), sum(lifetime_value), sum(share_of_customers) from marts.rfm_segments"
    ((customers, value, share),) = ask(marts, query)
    assert (customers, value) == (cdnow.CUSTOMERS, cdnow.DOLLARS)
    assert abs(share - 1) < Decimal("0.00001")


def test_cohorts_are_the_three_months_in_which_its_customers_came(marts: str) -> None:
    found = ask(
        marts,
        "select cohort_month, max(cohort_customers), max(months_since), sum(orders), sum(sales_amount)"
        " from marts.cohorts group by cohort_month order by cohort_month",
    )
    assert [(month.month, last) for month, _, last, _, _ in found] == [(1, 17), (2, 16), (3, 15)]
    assert sum(size for _, size, _, _, _ in found) == cdnow.CUSTOMERS
    assert sum(orders for _, _, _, orders, _ in found) == cdnow.ORDERS
    assert sum(sales for _, _, _, _, sales in found) == cdnow.DOLLARS


def test_every_row_is_what_plain_python_makes_of_the_file(marts: str) -> None:
    with psycopg.connect(marts) as connection:
        problems = wrong_marts(connection, History({ORDER_PLACED: cdnow.orders()}), BUILT)
    assert not problems, "\n\n".join(problems)


def test_clv_inputs_are_those_that_the_model_was_published_with(dbt: Dbt) -> None:
    """The 1/10th sample after 39 weeks, customer by customer; and its likelihood under the published parameters."""
    calibrated = built(dbt, cdnow.orders(until=cdnow.CALIBRATED_UNTIL), "calibrated")
    rows = ask(calibrated, "select customer_id, frequency, recency_days, t_days, monetary_value from marts.clv_inputs")
    inputs = {customer: cdnow.Inputs(
        frequency=frequency, recency_weeks=weeks(recency), t_weeks=weeks(t), monetary_value=value or Decimal(0)
    ) for customer, frequency, recency, t, value in rows}  # fmt: skip
    sample = cdnow.sample()
    assert len(sample) == cdnow.SAMPLED
    assert {customer: inputs[customer] for customer in sample} == sample
    assert sum(one.frequency for one in sample.values()) == cdnow.REPEATS
    likelihoods = [
        cdnow.log_likelihood(frequency, recency / 7, t / 7)
        for customer, frequency, recency, t, _ in rows
        if customer in sample
    ]
    assert round(sum(likelihoods), 1) == cdnow.LOG_LIKELIHOOD


def weeks(days: int) -> Decimal:
    return rounded(Fraction(days, 7), 2)
