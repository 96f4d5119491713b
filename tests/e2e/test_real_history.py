"""A real shop's whole history, through the front door, to the cent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from aggregates.catalogue import aggregate
from insights import stack as embedded
from insights.settings import PROJECT, Settings
from insights.stack.control import StackNotUp
from insights.status import watching
from schemas.catalogue import event
from tests.conftest import own_settings, wait_until
from tests.e2e import marts, table_contents
from tests.marts.cdnow import CDS, CUSTOMERS, DOLLARS, ORDERS
from tests.marts.cdnow import orders as cdnow_orders
from tests.marts.compare import wrong_marts
from tests.marts.oracle.history import History

ORDER_PLACED = event("sales.order_placed")
FROM_FILE = ("daily_sales", "daily_sales_breakdown", "dim_customers", "rfm", "rfm_segments", "cohorts", "clv_inputs")
pytestmark = pytest.mark.timeout(1500)


@dataclass
class Purchases:
    """The file's contents, read without any of the project's code."""

    orders: int = 0
    cds: int = 0
    dollars: Decimal = Decimal(0)
    by_day_and_customer: dict[tuple[datetime, str], tuple[int, int, Decimal]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cdnow() -> Path:
    """The file inside the package ``lifetimes``, which is locked in requirements/cdnow.txt and never imported."""
    package = find_spec("lifetimes")
    assert package is not None, "lifetimes is not installed; `make test` installs it"
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "CDNOW_master.txt"


@pytest.fixture(scope="module")
def purchases(cdnow: Path) -> Purchases:
    found = Purchases()
    for line in cdnow.read_text().splitlines()[1:]:
        customer, date, cds, dollars = line.split()
        day = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
        orders, units, net = found.by_day_and_customer.get((day, customer), (0, 0, Decimal(0)))
        found.by_day_and_customer[day, customer] = (orders + 1, units + int(cds), net + Decimal(dollars))
        found.orders += 1
        found.cds += int(cds)
        found.dollars += Decimal(dollars)
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, cdnow: Path, my_turn: None) -> Iterator[Settings]:
    """A fresh stack that was brought up on the file."""
    settings = own_settings(
        tmp_path_factory.mktemp("history") / "home",
        # As people start it: every part's Java with both compilers, and the marts as the stack builds them.
        **{"quick_start": False, "dbt_minutes": 5, "currency": "USD"},
    )
    plan = embedded.UpPlan(history_file=cdnow, mapping=PROJECT / "producers" / "mappings" / "cdnow.toml")
    steps: list[str] = []
    try:
        embedded.up(settings, plan, lambda step: steps.append(f"{step.name} {step.state} {step.detail}"))
        await_all_orders(settings)
        yield settings
    except StackNotUp as error:
        pytest.fail(f"the stack did not come up: {error}\n" + "\n".join(steps[-20:]))
    finally:
        embedded.down(settings, lambda step: None)


def await_all_orders(settings: Settings) -> None:
    with watching(settings) as look:

        def done() -> bool:
            seen = look()
            read = next((part.state for part in seen.parts if part.name == "orders"), "")
            return read == "done" and seen.topics[ORDER_PLACED.topic].unaccounted == 0

        wait_until(done, seconds=600, what="the file is read and each of its orders has its fate")


def test_the_file_is_the_one_that_papers_count(purchases: Purchases) -> None:
    customers = {customer for _, customer in purchases.by_day_and_customer}
    assert (purchases.orders, len(customers), purchases.cds, purchases.dollars) == (ORDERS, CUSTOMERS, CDS, DOLLARS)


def test_a_stack_started_on_cdnow_has_every_customers_every_day_to_the_cent(
    settings: Settings, purchases: Purchases
) -> None:
    with psycopg.connect(settings.postgres_dsn) as connection:
        rows = table_contents.table(connection, aggregate("customer_orders_per_day"))
    found = {key: (orders, units, net) for key, (orders, units, net, _, _) in rows.items()}
    wrong = table_contents.difference(
        purchases.by_day_and_customer, found, expected_is="in the file", found_is="in the table"
    )
    assert not wrong, f"live.customer_orders_per_day: {wrong}"
    totals = (sum(row[0] for row in found.values()), sum(row[1] for row in found.values()))
    assert totals == (ORDERS, CDS)


def test_the_facts_have_every_order_customer_cd_and_dollar(settings: Settings) -> None:
    with psycopg.connect(settings.postgres_dsn) as connection:
        found = connection.execute(
            "select count(distinct order_id), count(distinct customer_id), sum(quantity), sum(sales_amount)"
            " from events.order_lines"
        ).fetchone()
        sold = connection.execute("select sum(units), sum(sales_amount) from live.sales_per_minute").fetchone()
    assert found == (ORDERS, CUSTOMERS, CDS, DOLLARS)
    assert sold == (CDS, DOLLARS)


def test_no_order_of_a_year_and_a_half_is_late_doubled_or_dead(settings: Settings) -> None:
    with watching(settings) as look:
        counts = look().topics[ORDER_PLACED.topic]
    assert (counts.published, counts.counted) == (ORDERS, ORDERS)
    assert (counts.duplicate, counts.late, counts.dead) == (0, 0, 0)


def test_the_lake_has_every_order_once(settings: Settings) -> None:
    ends = table_contents.log_ends(settings, ORDER_PLACED)
    wait_until(
        lambda: table_contents.lake_rows(settings, ORDER_PLACED) >= ORDERS, seconds=120, what="the lake has them all"
    )
    problems = table_contents.lake_problems(table_contents.lake(settings, ORDER_PLACED), ends)
    assert not problems, "\n".join(problems)


def test_the_marts_of_a_real_history_give_the_figures_that_papers_print(settings: Settings) -> None:
    """Against the file, read without the project's code; and, order by order, against the lake."""
    marts.bring_up_to_date(settings)
    marts.assert_as_the_log_says(settings, (*FROM_FILE, "fct_orders", "fct_order_lines"), quality=())
    with psycopg.connect(settings.postgres_dsn) as connection:
        problems = wrong_marts(connection, History({ORDER_PLACED.name: cdnow_orders()}), FROM_FILE)
        sold = connection.execute(
            "select sum(orders), sum(new_customers), sum(units), sum(net_amount) from marts.daily_sales"
            " where level = 'all'"
        ).fetchone()
        scored = connection.execute("select sum(frequency), count(*), sum(monetary) from marts.rfm").fetchone()
    assert not problems, "\n\n".join(problems)
    assert sold == (ORDERS, CUSTOMERS, CDS, DOLLARS)
    assert scored == (ORDERS, CUSTOMERS, DOLLARS)
