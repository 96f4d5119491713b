"""`insights dbt`, and what it writes down of a build."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from insights import dbt_run
from insights.dbt_run import DbtBusy, last_build
from insights.settings import PROJECT, Settings
from schemas.errors import Misconfigured, Retryable
from tests.conftest import environment_of
from tests.marts.process import make_tables
from tests.replay.own_postgres import own_postgres
from warehouse.postgres import PostgresAway

pytestmark = pytest.mark.engine

BROKEN = "alter view events.refunds rename to hidden"
TWICE = """
insert into versions.order_lines_v1 (
    event_id, line, occurred_at, order_id, customer_id, region, currency, channel, product_id, category, quantity,
    unit_price, discount_amount, sales_amount
)
select
    event_id, 1, timestamptz '2026-03-02 10:00Z', 'O1', 'C1', 'EU', 'EUR', 'web', 'P1', 'Bells', 1, 2, 0, 2
from unnest(array['e1', 'e2']) as events (event_id)
"""
MENDED = "alter view events.hidden rename to refunds"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A Postgres with the tables that the stack makes, and no event."""
    home = tmp_path_factory.mktemp("command")
    with own_postgres(home / "postgres") as dsn:
        make_tables(dsn)
        yield Settings(home=home / "home", postgres_port=psycopg.conninfo.conninfo_to_dict(dsn)["port"])


def insights(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "insights", *words],
        env=environment_of(settings) | {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.postgres_dsn) as connection:
        return connection.execute(query).fetchall()


def test_a_build_shows_and_records_what_was_built(settings: Settings) -> None:
    done = insights(settings, "dbt", "build", "--select", "+daily_sales")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "models were built and" in done.stdout
    with psycopg.connect(settings.postgres_dsn) as connection:
        build = last_build(connection)
    assert build
    assert (build.outcome, build.failures, build.message) == ("ok", 0, "")
    assert build.models > 5
    assert build.tests > 0
    ((kind, status, upstream),) = rows(
        settings, "select kind, status, upstream from ops.dbt_models where relation = 'marts.daily_sales'"
    )
    assert (kind, status) == ("table", "ok")
    assert {"events.order_lines", "events.refunds", "live.sessions", "events.product_observations"} <= set(upstream)
    assert rows(settings, "select selection from ops.dbt_builds") == [("+daily_sales",)]
    assert {path.name for path in (PROJECT / "dbt").iterdir()} & {"target", "logs"} == set()


def test_a_model_that_fails_is_named_with_its_reason_and_its_sql(settings: Settings) -> None:
    with psycopg.connect(settings.postgres_dsn) as connection:
        connection.execute("drop schema staging cascade")
        connection.execute(BROKEN)
    try:
        done = insights(settings, "dbt", "build", "--select", "stg_refunds fct_refunds")
    finally:
        with psycopg.connect(settings.postgres_dsn) as connection:
            connection.execute(MENDED)
    assert done.returncode == 1
    assert "model stg_refunds: Database Error in model stg_refunds" in done.stdout
    assert 'relation "events.refunds" does not exist' in done.stdout
    (path,) = [word.strip("()") for word in done.stdout.split() if word.strip("()").endswith("stg_refunds.sql")][-1:]
    assert "from" in Path(path).read_text()
    assert "1 skipped" in done.stdout
    with psycopg.connect(settings.postgres_dsn) as connection:
        build = last_build(connection)
    assert build
    assert build.outcome == "failed"
    assert "stg_refunds" in build.message


def test_a_test_that_fails_is_named_and_keeps_nothing_from_being_built(settings: Settings) -> None:
    """An order that was published twice, under two ids of events."""
    with psycopg.connect(settings.postgres_dsn) as connection:
        connection.execute(TWICE)
    try:
        done = insights(settings, "dbt", "build", "--select", "stg_order_lines fct_order_lines")
        assert rows(settings, "select count(*) from marts.fct_order_lines") == [(2,)]
    finally:
        with psycopg.connect(settings.postgres_dsn) as connection:
            connection.execute("truncate versions.order_lines_v1")
    assert done.returncode == 1
    assert "test grain_stg_order_lines" in done.stdout
    assert "0 skipped" in done.stdout
    with psycopg.connect(settings.postgres_dsn) as connection:
        build = last_build(connection)
    assert build
    assert (build.outcome, build.failures, build.models) == ("failed tests", 2, 2)
    assert "grain_fct_order_lines" in build.message
    asked = "select status from ops.dbt_models where relation in ('staging.stg_order_lines', 'marts.fct_order_lines')"
    assert rows(settings, asked) == [("failed tests",), ("failed tests",)]


def test_a_concurrent_build_is_refused_and_a_killed_one_is_marked_as_failed(settings: Settings) -> None:
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as other:
        assert other.execute(dbt_run.LOCK).fetchone() == (True,)
        other.execute(
            "insert into ops.dbt_builds (invocation, started_at)"
            " values ('killed', date_trunc('day', now(), 'UTC') - interval '1 day' + time '10:15')"
        )
        done = insights(settings, "dbt", "build", "--select", "stg_customers")
        assert done.returncode == DbtBusy.exit_code
        assert "another build of the marts is running since 10:15:00 UTC" in done.stderr
    done = insights(settings, "dbt", "build", "--select", "stg_customers")
    assert done.returncode == 0, done.stdout + done.stderr
    killed = rows(settings, "select outcome, message from ops.dbt_builds where invocation = 'killed'")
    assert killed == [("failed", "it was interrupted: killed, or Postgres went down")]


def test_an_empty_selection_and_an_unavailable_postgres_are_reported(settings: Settings, tmp_path: Path) -> None:
    done = insights(settings, "dbt", "build", "--select", "no_such_mart")
    assert (done.returncode, "no model matches no_such_mart" in done.stderr) == (1, True), done.stdout + done.stderr
    away = insights(Settings(home=tmp_path, postgres_port=9), "dbt", "build")
    assert away.returncode == PostgresAway.exit_code
    assert "Postgres at 127.0.0.1:9 is unreachable" in away.stderr


def test_a_postgres_that_goes_away_during_a_build_is_reported_clearly(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sessions end, as they do with its postmaster, and dbt comes to no result."""

    def outage(*_: Any) -> str:
        with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
        return ""

    monkeypatch.setattr(dbt_run, "run", outage)
    with pytest.raises(Retryable, match="went down during the build: nothing was built, and the next build"):
        dbt_run.build(settings, None, full_refresh=False, say=lambda _: None)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('OSError: no space left'); raise SystemExit(3)", "it ended with code 3: OSError: no space left"),
        ("import os; os.kill(os.getpid(), 9)", "it ended with code -9"),
        ("print('a warning'); raise SystemExit(1)", ""),
    ],
)
def test_a_dbt_that_ends_in_a_way_of_its_own_is_quoted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, said: str
) -> None:
    script = tmp_path / "dbt"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(dbt_run, "DBT", script)
    assert dbt_run.run(settings, ["build"], lambda _: None) == said


def test_a_missing_environment_is_reported_with_the_command_that_creates_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dbt_run, "DBT", tmp_path / "bin" / "dbt")
    with pytest.raises(Misconfigured, match="python3 bootstrap.py dbt"):
        dbt_run.build(settings, None, full_refresh=False, say=lambda text: None)


def test_the_documentation_is_one_file_that_names_every_mart(settings: Settings) -> None:
    done = insights(settings, "dbt", "docs")
    assert done.returncode == 0, done.stdout + done.stderr
    page = settings.dbt_dir / "marts.html"
    assert str(page) in done.stdout
    assert all(name in page.read_text() for name in ("daily_sales", "rfm", "order_number", "Sales Overview"))
