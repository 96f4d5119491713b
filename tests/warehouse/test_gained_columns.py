"""A stack of an older release, whose version of a fact has fewer columns than the folder's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aggregates.catalogue import Aggregate, aggregate
from flink import live_job
from insights import upgrade
from schemas.errors import Misconfigured
from tests.flink.live_on_files import with_database
from warehouse import versions
from warehouse.deployment import Deployment
from warehouse.tables import make_postgres_tables, make_version

Connection = psycopg.Connection[tuple[Any, ...]]
REFUNDS = aggregate("refunds")
OLDER = replace(
    REFUNDS,
    version=REFUNDS.version - 1,
    query="select 1",
    columns={name: column for name, column in REFUNDS.columns.items() if not name.startswith("charged_")},
)
GAINED = [name for name in REFUNDS.columns if name not in OLDER.columns]
A_REFUND = """
insert into {} (event_id, occurred_at, refund_id, order_id, customer_id, region, currency, amount, reason)
values ('e1', '2026-03-01T10:00Z', 'r1', 'o1', 'c1', 'EU', 'EUR', 3.50, 'damaged')
"""


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """The tables as the older release left them, with a refund and an analyst's view."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        make_postgres_tables(connection)
        connection.execute(f"drop view {REFUNDS.sink}; drop table {REFUNDS.table}".encode())
        connection.execute("delete from ops.versions where aggregate = %s", (REFUNDS.name,))
        make_version(connection, OLDER)
        versions.show(connection, OLDER, OLDER.version, None)
        connection.execute(A_REFUND.format(OLDER.table).encode())
        connection.execute("create view an_analysts as select * from events.refunds")
        connection.execute("grant select on events.refunds to public")
        yield connection


@pytest.fixture
def deployment(connection: Connection, dsn: str, tmp_path: Path) -> Deployment:
    """With the live job of the older release."""
    ours = with_database(dsn, jobs_dir=tmp_path / "jobs")
    now = live_job.main_job()
    computed = tuple(OLDER if a.name == OLDER.name else a for a in now.aggregates)
    live_job.keep(ours, replace(now, aggregates=computed))
    return ours


def columns(connection: Connection, relation: str) -> list[str]:
    return [name for name, _, _ in connection.execute(versions.COLUMNS, (relation,))]


def readable(connection: Connection) -> bool:
    (answer,) = connection.execute("select has_table_privilege('public', 'events.refunds', 'select')").fetchone() or ()
    return bool(answer)


def test_readers_of_the_older_version_have_the_gained_columns_at_once_and_null_in_them(connection: Connection) -> None:
    for _ in range(2):
        make_postgres_tables(connection)
        assert versions.seen_version(connection, REFUNDS.name) == OLDER.version
        assert columns(connection, REFUNDS.sink) == [*OLDER.columns, *GAINED]
    row = connection.execute(f"select refund_id, amount, {', '.join(GAINED)} from events.refunds".encode()).fetchone()
    assert row is not None
    assert (row[0], str(row[1]), set(row[2:])) == ("r1", "3.50", {None})
    said = {name: text for name, _, text in connection.execute(versions.COLUMNS, (REFUNDS.sink,))}
    assert said == {name: column.doc for name, column in REFUNDS.columns.items()}
    assert readable(connection)


def test_the_swap_to_the_version_with_the_columns_leaves_views_of_others_as_they_are(connection: Connection) -> None:
    make_postgres_tables(connection)
    connection.execute(A_REFUND.format(REFUNDS.table).encode())
    connection.execute(f"update {REFUNDS.table} set charged_amount = 4.125, amount = 3.75".encode())
    with connection.transaction():
        versions.swap(connection, REFUNDS, REFUNDS.version, "r1")
    assert columns(connection, REFUNDS.sink) == [*OLDER.columns, *GAINED]
    (amount, charged) = connection.execute("select amount, charged_amount from events.refunds").fetchone() or (0, 0)
    assert (str(amount), str(charged)) == ("3.75", "4.125")
    assert [str(a) for (a,) in connection.execute("select amount from an_analysts")] == ["3.75"]
    with connection.transaction():
        versions.swap(connection, REFUNDS, OLDER.version, None)
    assert [str(a) for (a,) in connection.execute("select amount from an_analysts")] == ["3.50"], "and back"
    assert readable(connection)


def test_what_is_hidden_keeps_the_places_of_its_columns(connection: Connection) -> None:
    make_postgres_tables(connection)
    with connection.transaction():
        versions.hide(connection, REFUNDS)
    assert columns(connection, REFUNDS.sink) == [*OLDER.columns, *GAINED]
    assert connection.execute("select count(*) from an_analysts").fetchone() == (0,)


def waiting(connection: Connection, deployment: Deployment) -> list[str]:
    return [a.name for a in upgrade.waiting(connection, deployment)]


def test_a_version_that_only_gained_columns_waits_until_readers_see_it(
    connection: Connection, deployment: Deployment
) -> None:
    make_postgres_tables(connection)
    assert waiting(connection, deployment) == ["refunds"]
    assert upgrade.is_needed(deployment)
    with connection.transaction():
        versions.swap(connection, REFUNDS, REFUNDS.version, "r1")
    assert waiting(connection, deployment) == []
    assert not upgrade.is_needed(deployment)


@pytest.mark.parametrize("status", ["rolled back", "differs", "pruned"])
def test_what_was_rolled_back_or_would_change_a_number_is_left_to_people(
    status: str, connection: Connection, deployment: Deployment
) -> None:
    make_postgres_tables(connection)
    for run, version, left in (("r1", REFUNDS.version, []), ("r2", OLDER.version, []), ("r3", REFUNDS.version, [])):
        plan = json.dumps({"aggregates": [{"name": "refunds", "version": version}]})
        connection.execute(
            "insert into ops.replays (run, status, scope, aggregates, engine, plan, plan_digest, requested_by, records)"
            " values (%s, %s, 'beginning', '{refunds}', 'duckdb', %s, '', 'a test', 0)",
            (run, status, plan),
        )
        assert waiting(connection, deployment) == left
    connection.execute("update ops.replays set status = 'failed' where run = 'r3'")
    assert waiting(connection, deployment) == ["refunds"], "what failed is tried again"


def test_another_key_or_a_column_less_is_left_to_people(connection: Connection, deployment: Deployment) -> None:
    make_postgres_tables(connection)
    now = live_job.main_job()
    for older in (replace(OLDER, key=("refund_id",)), with_another_column(OLDER)):
        computed = tuple(older if a.name == older.name else a for a in now.aggregates)
        live_job.keep(deployment, replace(now, aggregates=computed))
        assert waiting(connection, deployment) == []


def with_another_column(a: Aggregate) -> Aggregate:
    return replace(a, columns={**a.columns, "gone_since": a.columns["reason"]})


def test_a_stack_without_a_live_job_has_nothing_to_upgrade(connection: Connection, deployment: Deployment) -> None:
    live_job.forget(deployment, live_job.JOB_NAME)
    assert waiting(connection, deployment) == []


def test_columns_that_were_changed_without_a_new_version_are_refused_before_anything_starts(
    deployment: Deployment,
) -> None:
    upgrade.refuse_changed_in_place(deployment)
    now = live_job.main_job()
    same = replace(OLDER, version=REFUNDS.version)
    live_job.keep(
        deployment, replace(now, aggregates=tuple(same if a.name == same.name else a for a in now.aggregates))
    )
    with pytest.raises(Misconfigured, match="aggregates/refunds has other columns than its live version 3") as refused:
        upgrade.refuse_changed_in_place(deployment)
    assert "version = 4" in str(refused.value)
