"""What Metabase's user may do in Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from warehouse.roles import METABASE, provide_metabase

PASSWORD = 'it\'s "quoted"'


@pytest.fixture
def owner(bare_postgres: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(bare_postgres, autocommit=True) as connection:
        provide_metabase(connection, PASSWORD)
        provide_metabase(connection, PASSWORD)  # again is as once
        yield connection


@pytest.fixture
def reader(owner: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with psycopg.connect(owner.info.dsn, user=METABASE, password=PASSWORD, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("relation", ["live.sales_per_minute", "events.order_lines", "ops.replays", "ops.finality"])
def test_it_reads_what_dashboards_show(reader: psycopg.Connection, relation: str) -> None:
    assert reader.execute(f"select count(*) from {relation}").fetchone() is not None


def test_it_reads_customers_but_not_their_names(reader: psycopg.Connection) -> None:
    reader.execute("select customer_id, region, signup_date from events.customers").fetchall()
    for column in ("name_encrypted", "email_encrypted", "*"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"select {column} from events.customers")


@pytest.mark.parametrize("relation", ["versions.order_lines_v1", "versions.customers_v1"])
def test_it_reads_nothing_behind_the_views(reader: psycopg.Connection, relation: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"select count(*) from {relation}")


@pytest.mark.parametrize(
    "statement",
    [
        "delete from ops.replays",
        "create table live.mine (a int)",
        "insert into ops.finality values ('a')",
        "create role x",
    ],
)
def test_it_changes_nothing_not_even_in_a_transaction_that_may_write(
    reader: psycopg.Connection, statement: str
) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader.execute(statement)
    reader.execute("set default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(statement)


def test_a_rebuilt_mart_can_be_read_at_once_but_not_a_further_fact(
    owner: psycopg.Connection, reader: psycopg.Connection
) -> None:
    owner.execute("create table marts.rebuilt as select 1 as a")
    owner.execute("create table events.more as select 'name' as name_encrypted")
    try:
        assert reader.execute("select a from marts.rebuilt").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select * from events.more")
    finally:
        owner.execute("drop table marts.rebuilt")
        owner.execute("drop table events.more")


def test_a_view_that_has_encrypted_columns_by_now_is_read_without_them(
    owner: psycopg.Connection, reader: psycopg.Connection
) -> None:
    owner.execute("create table live.seen as select 1 as a, 'x' as secret_encrypted")
    owner.execute("create table live.hidden as select 'x' as secret_encrypted")
    try:
        reader.execute("select * from live.seen")
        provide_metabase(owner, PASSWORD)
        assert reader.execute("select a from live.seen").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select secret_encrypted from live.seen")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select count(*) from live.hidden")
    finally:
        owner.execute("drop table live.hidden")
        owner.execute("drop table live.seen")


def test_its_time_is_utc_and_what_it_asks_ends_in_a_minute(reader: psycopg.Connection) -> None:
    assert reader.execute("show timezone").fetchone() == ("UTC",)
    assert reader.execute("show statement_timeout").fetchone() == ("1min",)
