"""A DAG from end to end: Airflow runs the command, and the stack's tables have what it did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from aggregates.catalogue import aggregates
from insights.settings import Settings
from tests.airflow.own_airflow import run_airflow
from tests.conftest import environment_of

pytestmark = pytest.mark.timeout(900)
VERIFIED = "select * from ops.replays where scope = 'windows' and created_at >= %s"


def test_airflow_verifies_a_day_and_says_that_one_that_is_not_over_can_not_be(stack: Settings, tmp_path: Path) -> None:
    began = datetime.now(UTC)
    variables = environment_of(stack)
    made = run_airflow(tmp_path, "airflow", "db", "migrate")
    assert made.returncode == 0, made.stderr
    done = run_airflow(tmp_path, "airflow", "dags", "test", "insights_verification", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(stack.postgres_dsn, row_factory=dict_row) as connection:
        (run,) = connection.execute(VERIFIED, (began,)).fetchall()
    assert (run["status"], run["engine"], run["certificate"]["result"]) == ("pruned", "duckdb", "equal")
    assert {one["name"] for one in run["certificate"]["aggregates"]} == {a.name for a in aggregates()}
    tomorrow = f'{{"day": "{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"}}'
    failed = run_airflow(tmp_path, "airflow", "dags", "test", "-c", tomorrow, "insights_verification", **variables)
    assert failed.returncode != 0
    said = failed.stdout + failed.stderr
    assert "is not over yet: name a day before today, or yesterday" in said
    assert "insights_verification has failed, and is not tried again" in said
