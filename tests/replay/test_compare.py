"""The counts of a comparison, and how a certificate shows them: every row on either side is in one of them."""

from __future__ import annotations

import io
from collections.abc import Callable

import psycopg
from rich.console import Console

from aggregates.catalogue import aggregate
from insights.cli.replay_views import certificate_sheets
from replay.compare import compare
from replay.planning import everything
from tests.web import made_runs

ORDERS, REFUNDS = aggregate("orders"), aggregate("refunded_goods_per_day")
# Category, units in the replay and in what readers see (None: no such row), and whether newer events touch it.
ROWS = [
    ("equal", 1, 1, False),
    ("different", 1, 2, False),
    ("only in the replay", 1, None, False),
    ("only live", None, 1, False),
    ("touched", 1, 1, True),
    ("touched, different", 1, 2, True),
    ("touched, only in the replay", 1, None, True),
    ("touched, only live", None, 1, True),
    ("touched, only live, too", None, 1, True),
]


def test_the_counts_of_a_comparison_add_up_to_the_rows_on_either_side(new_database: Callable[[], str]) -> None:
    whole = made_runs.a_plan(["refunded_goods_per_day"], "beginning", 100, made_runs.NOW).aggregates[0].windows
    with psycopg.connect(new_database()) as connection:
        made_runs.make_tables(connection)
        connection.execute("create temp table here as select * from live.refunded_goods_per_day")
        connection.execute("create temp table there as select * from live.refunded_goods_per_day")
        connection.execute("create temp table touched as select window_start, region, category from here")
        for category, here, there, is_touched in ROWS:
            key = (made_runs.MIDNIGHT, "EU", category)
            for table, units in (("here", here), ("there", there)):
                if units is not None:
                    connection.execute(f"insert into {table} values (%s, %s, %s, 1, %s, 1)".encode(), (*key, units))
            for _ in range(2 * is_touched):  # by two events
                connection.execute("insert into touched values (%s, %s, %s)", key)
        found = compare(connection, REFUNDS, "pg_temp.here", "pg_temp.there", whole, "pg_temp.touched")
    assert (found.equal, found.different, found.only_here, found.only_there, found.excluded) == (1, 1, 1, 1, 5)
    assert found.rows == len(ROWS)


def test_rows_that_many_events_touch_are_left_out_without_a_look_at_all_of_these_for_each(
    new_database: Callable[[], str],
) -> None:
    whole = made_runs.a_plan(["orders"], "beginning", 100, made_runs.NOW).aggregates[0].windows
    with psycopg.connect(new_database()) as connection:
        made_runs.make_tables(connection)
        connection.execute("create temp table there as select * from events.orders")
        connection.execute("create temp table here as select * from there")
        connection.execute(
            "insert into here (event_id, occurred_at, shipping_amount, tax_amount)"
            " select gen_random_uuid(), %s, 0, 0 from generate_series(1, 70000)",
            [made_runs.MIDNIGHT],
        )
        connection.execute("create temp table touched as select event_id from here")
        connection.execute("analyze here, there, touched")
        connection.execute("set statement_timeout = '2min'")  # a second, where each row costs no more for it
        found = compare(connection, ORDERS, "pg_temp.here", "pg_temp.there", whole, "pg_temp.touched")
    assert (found.rows, found.excluded, found.mismatches) == (70000, 70000, 0)


def test_the_columns_of_a_certificate_add_up_on_a_terminal(new_database: Callable[[], str]) -> None:
    with psycopg.connect(new_database()) as connection:
        made_runs.make_tables(connection)
        plan = made_runs.a_plan(everything(), "beginning", 100, made_runs.NOW)
        run = made_runs.verified(connection, made_runs.computed(connection, plan, "local", 1), different=1, excluded=9)
    shown = io.StringIO()
    Console(file=shown, width=200).print(next(certificate_sheets(run)))
    assert "Rows on either side = equal + different + only in replay + only live + excluded" in shown.getvalue()
    lines = {name: cells for name, *cells in map(str.split, shown.getvalue().splitlines())}
    for one in (run.certificate or {})["aggregates"]:
        total, *parts = (int(cell.replace(",", "")) for cell in lines[one["name"]])
        assert total == sum(parts) == one["rows_on_either_side"]
