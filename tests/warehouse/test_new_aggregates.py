"""An aggregate that no live job computes yet: readers see no rows of it, and how far it is final is known by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aggregates.catalogue import Aggregate, aggregate, aggregates
from flink import handover, live_job
from flink.final_windows import known_final_until
from replay import run_history
from replay.plan_file import Estimate, PlannedAggregate, ReplayPlan, Stretch
from schemas.binary import EPOCH
from tests.flink.live_on_files import with_database
from warehouse import versions
from warehouse.deployment import Deployment
from warehouse.tables import make_postgres_tables, make_version

Connection = psycopg.Connection[tuple[Any, ...]]
SALES, MOVES, SESSIONS = (aggregate(name) for name in ("sales_per_minute", "stock_moves_per_hour", "sessions"))
NEW = replace(SALES, name="new_sales", sink="live.new_sales")
A_SALE = "('2026-03-01T10:00Z', 'EU', 'Bells', 1, 1, 3, 0, 3)"
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
PLAN = ReplayPlan(
    made_at=NOON,
    scope="beginning",
    aggregates=(
        PlannedAggregate(
            name="new_sales",
            version=1,
            fingerprint="",
            table="live.new_sales",
            final_until=None,
            windows=(Stretch(since=None, until=None),),
        ),
    ),
    topics={},
    late_events=0,
    waiting_events=0,
    dashboards=(),
    models=(),
    estimate=Estimate(spark_seconds=1, duckdb_seconds=1, emr_usd=0),
).model_dump_json()
DAY = timedelta(hours=24)


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        make_postgres_tables(connection)
        yield connection


@pytest.fixture
def deployment(connection: Connection, dsn: str, tmp_path: Path) -> Deployment:
    """Live jobs that write all that there is but NEW."""
    ours = with_database(dsn, jobs_dir=tmp_path / "jobs", horizon_hours=24)
    live_job.keep(ours, live_job.main_job())
    return ours


def rows(connection: Connection, relation: str) -> int:
    (number,) = connection.execute(f"select count(*) from {relation}".encode()).fetchone() or (None,)
    return int(number or 0)


def described(connection: Connection, relation: str) -> list[tuple[Any, ...]]:
    return connection.execute(versions.COLUMNS, (relation,)).fetchall()


def hide(connection: Connection, a: Aggregate) -> None:
    with connection.transaction():
        versions.hide(connection, a)


def test_what_is_hidden_has_the_columns_and_comments_of_its_table_and_no_rows_until_it_is_shown(
    connection: Connection,
) -> None:
    connection.execute(f"insert into {SALES.table} values {A_SALE}".encode())
    connection.execute("create view an_analysts as select * from live.sales_per_minute")
    shown = described(connection, SALES.sink)
    hide(connection, SALES)
    assert versions.seen_version(connection, SALES.name) is None
    assert described(connection, SALES.sink) == shown
    assert (rows(connection, SALES.table), rows(connection, SALES.sink), rows(connection, "an_analysts")) == (1, 0, 0)
    with connection.transaction():
        versions.swap(connection, SALES, 1, "r1")
    assert described(connection, SALES.sink) == shown
    assert rows(connection, "an_analysts") == 1


def test_a_table_can_go_while_what_is_hidden_stays(connection: Connection) -> None:
    hide(connection, SALES)
    connection.execute(f"drop table {SALES.table}".encode())
    assert rows(connection, SALES.sink) == 0
    make_postgres_tables(connection)
    assert versions.seen_version(connection, SALES.name) == 1, "a start without live jobs shows all folders"


def test_of_an_aggregate_that_is_to_come_there_is_a_view_without_rows_and_what_readers_saw_stays(
    connection: Connection,
) -> None:
    make_version(connection, NEW)
    connection.execute(f"insert into {NEW.table} values {A_SALE}".encode())
    for _ in range(2):
        versions.show_nothing_where_nothing_is_shown(connection, NEW)
        assert (rows(connection, NEW.sink), versions.seen_version(connection, NEW.name)) == (0, None)
    versions.show_nothing_where_nothing_is_shown(connection, SALES)
    assert versions.seen_version(connection, SALES.name) == 1


def test_an_aggregate_without_a_folder_goes_with_its_view_or_leaves_it_empty_to_views_of_others(
    connection: Connection,
) -> None:
    needed = replace(NEW, name="needed_sales", sink="live.needed_sales")
    for a in (NEW, needed):
        make_version(connection, a)
        versions.show(connection, a, 1, None)
    connection.execute("create view an_analysts as select * from live.needed_sales")
    versions.drop_others(connection, aggregates())
    assert versions.kind_of(connection, NEW.sink) is None
    assert [versions.kind_of(connection, a.table) for a in (NEW, needed)] == [None, None]
    assert rows(connection, "an_analysts") == 0


def test_an_aggregate_is_new_when_there_are_live_jobs_and_none_writes_it(deployment: Deployment) -> None:
    assert live_job.is_new(deployment, NEW.name)
    assert not live_job.is_new(deployment, SALES.name)
    live_job.keep(deployment, live_job.handed_over([NEW], {NEW.name: NOON}))
    assert not live_job.is_new(deployment, NEW.name)
    assert not live_job.is_new(replace(deployment, jobs_dir=Path("/nowhere")), NEW.name)


def test_a_new_aggregate_is_final_as_far_as_its_topics_were_read_for_others(
    deployment: Deployment, connection: Connection
) -> None:
    of_both = replace(NEW, inputs=("sales.order_placed", "inventory.stock_moved"))
    assert known_final_until(deployment, NEW) is None
    for a, at in ((SALES, NOON), (MOVES, NOON - timedelta(hours=3))):
        connection.execute("insert into ops.finality values (%s, %s, %s, 1, now())", (a.name, at - DAY, at))
    assert known_final_until(deployment, NEW) == NOON - DAY
    assert known_final_until(deployment, of_both) == NOON - timedelta(hours=3) - DAY
    assert known_final_until(deployment, SALES) == NOON - DAY
    assert known_final_until(deployment, SESSIONS) is None, "it has a job, which has not come so far"
    of_long_windows = replace(NEW, overrun_hours=24)
    assert known_final_until(deployment, of_long_windows) == NOON - 2 * DAY
    assert handover.line(deployment, replace(NEW, window="day")) == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_topic_that_no_live_aggregate_reads_is_named_with_the_way_to_add_the_new_one(deployment: Deployment) -> None:
    of_letters = replace(NEW, inputs=("sales.order_placed", "ops.dead_letter"))
    with pytest.raises(handover.NotReady, match=r"no live aggregate reads ops\.dead_letter\.v1.*--from-beginning"):
        handover.line(deployment, of_letters)


def test_an_aggregate_of_which_no_window_is_final_has_no_line(deployment: Deployment) -> None:
    """A topic of it may be empty: its new version is computed from the log's beginning."""
    assert handover.line(deployment, NEW) is None


def test_a_new_one_that_was_given_up_leaves_no_word_on_how_far_it_is_final(
    deployment: Deployment, connection: Connection
) -> None:
    make_version(connection, NEW)
    versions.show_nothing_where_nothing_is_shown(connection, NEW)
    connection.execute("insert into ops.finality values (%s, %s, %s, 1, now())", (NEW.name, EPOCH, EPOCH))
    handover.drop_version(deployment, NEW, 1)
    assert rows(connection, "ops.finality") == 0
    assert rows(connection, NEW.sink) == 0


def test_late_events_that_were_counted_since_a_new_ones_run_began_are_known(connection: Connection) -> None:
    """Nothing of them is in what it computed, and no run of theirs names it."""
    for run, scope, created_at, promoted_at in (
        ("r1", "late", NOON - DAY, NOON - timedelta(hours=1)),
        ("r2", "beginning", NOON, None),
        ("r3", "late", NOON + timedelta(hours=1), None),
        ("r4", "windows", NOON + timedelta(hours=2), NOON + timedelta(hours=3)),
    ):
        connection.execute(
            "insert into ops.replays (run, status, scope, aggregates, engine, plan, plan_digest, requested_by, records,"
            " created_at, promoted_at) values (%s, 'verified', %s, '{sales_per_minute}', 'duckdb', %s, '', 'ann', 1,"
            " %s, %s)",
            (run, scope, PLAN, created_at, promoted_at),
        )
    new = run_history.find(connection, "r2")
    assert run_history.late_since(connection, new) is None
    connection.execute("update ops.replays set promoted_at = %s where run = 'r3'", (NOON + timedelta(hours=2),))
    assert run_history.late_since(connection, new) == "r3"
