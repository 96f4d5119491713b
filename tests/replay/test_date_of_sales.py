"""`insights sales-by` in a data folder that has counted nothing yet, and what is kept of a change. No stack runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from aggregates.catalogue import ShopsClock
from aggregates.zones import zone
from insights.time_zone import by_what, runs_of_changes
from schemas.versions import ByPayment
from tests.conftest import environment_of, own_settings
from warehouse.tables import make_postgres_tables

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
RUN = """
insert into ops.replays
    (run, status, scope, aggregates, engine, plan, plan_digest, requested_by, records, reason, promoted_at)
values (%s, 'promoted', 'beginning', '{orders}', 'duckdb', '{}', 'd', 'ann', 1, %s, %s)
"""


def sales_by(home: Path, date: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "insights", "sales-by", date],
        env={**os.environ, **environment_of(own_settings(home))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_before_the_first_event_a_date_is_chosen_at_once(tmp_path: Path) -> None:
    assert "Sales will be by payment date from the first event on." in sales_by(tmp_path, "payment-date")
    assert "Sales will be by order date from the first event on." in sales_by(tmp_path, "order-date")


def test_a_change_is_told_by_the_date_and_the_days_that_are_counted_by_now() -> None:
    assert by_what(ShopsClock()) == "order date, in days of UTC"
    assert by_what(ShopsClock(payment=ByPayment())) == "payment date, in days of UTC"
    assert by_what(ShopsClock(zone=zone("Europe/Berlin"), changed_payment=2)) == "order date, in days of Europe/Berlin"


def test_runs_of_changes_are_found_by_their_reasons_also_as_earlier_releases_wrote_them(
    new_database: Callable[[], str],
) -> None:
    reasons = (
        "another date of sales: by order date, in days of UTC",
        "late events counted",
        "another time zone",
        None,
        "another time zone, or date of sales",
    )
    with psycopg.connect(new_database()) as connection:
        make_postgres_tables(connection)
        for n, reason in enumerate(reasons):
            connection.execute(RUN, (f"r{n}", reason, NOON + timedelta(hours=n)))
        assert runs_of_changes(connection) == ["r0", "r2", "r4"]
