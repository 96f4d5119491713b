"""Readers and tables have names apart: what people read moves from one version's table to the next in an instant."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from aggregates.catalogue import Aggregate, Column, aggregate, aggregates
from insights.settings import Settings
from insights.wiring import deployment as deployment_of
from schemas.errors import Misconfigured
from warehouse import versions
from warehouse.deployment import Deployment
from warehouse.tables import create_tables, empty_tables, make_version

Connection = psycopg.Connection[tuple[object, ...]]
SESSIONS, LINES = aggregate("sessions"), aggregate("order_lines")
PRICES = aggregate("price_changes")
A_PRICE = "('2026-03-01T10:00Z', 'p1', '2026-03-01T10:12Z', 'a-shop', 'A thing', 2, 3, 'EUR')"


@pytest.fixture(scope="module")
def made(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The stack's servers with a database and a lake of our own, in which the tables have just been made."""
    theirs = deployment_of(stack)
    name = f"versions_{uuid.uuid4().hex}"
    warehouse = tmp_path_factory.mktemp("warehouse").as_uri()
    ours = replace(theirs, postgres_database=name, lake_database=f"{name}_lake", lake_warehouse=warehouse)
    with psycopg.connect(theirs.postgres_dsn, autocommit=True) as connection:
        for database in (ours.postgres_database, ours.lake_database):
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
        create_tables(ours, ())
        yield ours
        for database in (ours.postgres_database, ours.lake_database):
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database)))


@pytest.fixture
def deployment(stack: Settings, made: Deployment) -> Iterator[Deployment]:
    """A copy of that database."""
    copy = replace(made, postgres_database=f"copy_{uuid.uuid4().hex}")
    name = sql.Identifier(copy.postgres_database)
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        template = sql.Identifier(made.postgres_database)
        connection.execute(sql.SQL("create database {} template {}").format(name, template))
        yield copy
        connection.execute(sql.SQL("drop database {} with (force)").format(name))


@pytest.fixture
def connection(deployment: Deployment) -> Iterator[Connection]:
    with psycopg.connect(deployment.postgres_dsn) as connection:
        yield connection


def second(of: Aggregate, **more: Column) -> Aggregate:
    """Version 2, with columns added at its end."""
    return replace(of, version=2, columns={**of.columns, **more})


def one(connection: Connection, query: str) -> object:
    (value,) = connection.execute(query).fetchone() or (None,)  # type: ignore[call-overload]
    return value


def seen(connection: Connection) -> dict[object, object]:
    return {a: v for a, v in connection.execute("select aggregate, version from ops.versions where since is not null")}


def test_what_people_read_is_a_view_with_the_columns_and_comments_of_its_table(connection: Connection) -> None:
    for a in aggregates():
        assert versions.kind_of(connection, a.sink) == "view"
        assert one(connection, f"select obj_description('{a.sink}'::regclass)") == a.description
        columns = connection.execute(versions.COLUMNS, (a.sink,)).fetchall()
        assert {name: text for name, _, text in columns} == {name: c.doc for name, c in a.columns.items()}
    assert seen(connection) == {a.name: a.version for a in aggregates()}


def test_a_table_that_people_read_before_there_were_versions_becomes_the_first_ones(deployment: Deployment) -> None:
    with psycopg.connect(deployment.postgres_dsn) as connection:
        for a in (PRICES, LINES):
            connection.execute(
                f"drop view {a.sink}; alter table {a.table} set schema {a.sink.split('.')[0]};"  # type: ignore[arg-type]
                f"alter table {a.sink.split('.')[0]}.{a.name}_v1 rename to {a.name}"
            )
        connection.execute("alter index events.order_lines_v1_occurred_at rename to order_lines_occurred_at")
        connection.execute("create role an_analyst; grant select on live.price_changes to an_analyst")
        connection.execute("drop table ops.versions")
        connection.execute(f"insert into live.price_changes values {A_PRICE}")  # type: ignore[arg-type]
    try:
        create_tables(deployment, ())
        with psycopg.connect(deployment.postgres_dsn) as connection:
            assert one(connection, "select name from versions.price_changes_v1") == "A thing"
            assert one(connection, "select name from live.price_changes") == "A thing"
            assert one(connection, "select has_table_privilege('an_analyst', 'live.price_changes', 'select')") is True
            assert one(connection, "select count(*) from pg_indexes where tablename = 'order_lines_v1'") == 2
            assert seen(connection)["price_changes"] == 1
    finally:
        with psycopg.connect(deployment.postgres_dsn) as connection:
            connection.execute("drop owned by an_analyst; drop role an_analyst")


def test_an_aggregate_that_the_live_jobs_do_not_write_yet_has_a_table_and_a_view_without_rows(
    deployment: Deployment, connection: Connection
) -> None:
    connection.execute("drop view live.price_changes; delete from ops.versions where aggregate = 'price_changes'")
    connection.commit()
    create_tables(deployment, [a for a in aggregates() if a.name != PRICES.name])
    connection.execute(f"insert into versions.price_changes_v1 values {A_PRICE}")  # type: ignore[arg-type]
    assert one(connection, "select count(*) from live.price_changes") == 0
    assert seen(connection) == {a.name: a.version for a in aggregates() if a.name != PRICES.name}
    connection.commit()
    empty_tables(deployment)
    assert seen(connection) == {a.name: a.version for a in aggregates()}, "a rebuild from scratch takes it in"


def test_making_tables_does_not_move_what_readers_see(deployment: Deployment, connection: Connection) -> None:
    make_version(connection, second(PRICES))
    versions.swap(connection, PRICES, 2, "run-1")
    connection.commit()
    create_tables(deployment, ())
    assert seen(connection)["price_changes"] == 2
    connection.execute("drop view live.price_changes")
    connection.commit()
    create_tables(deployment, ())
    connection.execute(f"insert into versions.price_changes_v2 values {A_PRICE}")  # type: ignore[arg-type]
    assert one(connection, "select count(*) from live.price_changes") == 1, "a recreated view shows what it showed"


def test_making_tables_makes_those_of_the_versions_that_are_deployed(
    deployment: Deployment, connection: Connection
) -> None:
    create_tables(deployment, [second(PRICES)])
    assert versions.kind_of(connection, "versions.price_changes_v2") == "table"
    assert seen(connection)["price_changes"] == 1


def test_a_swap_is_one_transaction_and_may_be_done_twice_and_back(connection: Connection) -> None:
    make_version(connection, second(PRICES))
    connection.execute(f"insert into versions.price_changes_v2 values {A_PRICE}")  # type: ignore[arg-type]
    connection.commit()
    versions.swap(connection, PRICES, 2, "run-1")
    connection.rollback()
    assert (seen(connection)["price_changes"], one(connection, "select count(*) from live.price_changes")) == (1, 0)
    for _ in range(2):
        versions.swap(connection, PRICES, 2, "run-1")
        connection.commit()
        assert (seen(connection)["price_changes"], one(connection, "select count(*) from live.price_changes")) == (2, 1)
    (run,) = connection.execute("select run from ops.versions where since is not null and aggregate = 'price_changes'")
    assert run == ("run-1",)
    versions.swap(connection, PRICES, 1, None)
    assert (seen(connection)["price_changes"], one(connection, "select count(*) from live.price_changes")) == (1, 0)


def test_a_version_may_add_and_drop_columns_and_readers_keep_their_rights(connection: Connection) -> None:
    changed = replace(PRICES, version=2, columns={n: c for n, c in PRICES.columns.items() if n != "name"})
    changed = replace(changed, columns={**changed.columns, "brand": Column(type="string", doc="B.", nullable=True)})
    make_version(connection, changed)
    connection.execute("create role an_analyst; grant select on live.price_changes to an_analyst")
    versions.swap(connection, PRICES, 2, None)
    assert [name for name, *_ in connection.execute(versions.COLUMNS, ("live.price_changes",))] == list(changed.columns)
    assert one(connection, "select has_table_privilege('an_analyst', 'live.price_changes', 'select')") is True
    versions.swap(connection, PRICES, 1, None)
    assert [name for name, *_ in connection.execute(versions.COLUMNS, ("live.price_changes",))] == list(PRICES.columns)
    assert one(connection, "select has_table_privilege('an_analyst', 'live.price_changes', 'select')") is True
    connection.rollback()


def test_a_version_that_lacks_a_column_that_others_read_is_refused_with_their_names(connection: Connection) -> None:
    connection.execute("create view live.cheap as select name from live.price_changes where price < 1")
    make_version(connection, replace(PRICES, version=2, columns={k: PRICES.columns[k] for k in PRICES.key}))
    make_version(connection, replace(second(PRICES, brand=Column(type="string", doc="B.", nullable=True)), version=3))
    with pytest.raises(Misconfigured, match=r"lacks or changes columns of it: live\.cheap read it"):
        versions.swap(connection, PRICES, 2, None)
    versions.swap(connection, PRICES, 3, None)
    assert one(connection, "select count(*) from live.cheap") == 0


def test_a_version_without_a_table_is_refused(connection: Connection) -> None:
    with pytest.raises(Misconfigured, match=r"price_changes has no version 7: there is no table versions\."):
        versions.swap(connection, PRICES, 7, None)


def test_a_swap_gives_up_at_once_when_a_reader_holds_the_view(deployment: Deployment, connection: Connection) -> None:
    """It would hold up everybody who comes after it."""
    make_version(connection, second(PRICES))
    connection.commit()
    with psycopg.connect(deployment.postgres_dsn) as reader:
        reader.execute("select count(*) from live.price_changes")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            versions.swap(connection, PRICES, 2, None)
        connection.rollback()
        assert seen(connection)["price_changes"] == 1
    versions.swap(connection, PRICES, 2, None)


def test_a_run_from_the_beginning_leaves_the_folders_versions_and_no_other(
    deployment: Deployment, connection: Connection
) -> None:
    make_version(connection, second(PRICES))
    versions.swap(connection, PRICES, 2, "run-1")
    connection.execute(f"insert into versions.price_changes_v1 values {A_PRICE}")  # type: ignore[arg-type]
    connection.commit()
    empty_tables(deployment)
    assert seen(connection) == {a.name: a.version for a in aggregates()}
    assert versions.kind_of(connection, "versions.price_changes_v2") is None
    assert one(connection, "select count(*) from live.price_changes") == 0
    left = dict(connection.execute("select aggregate, version from ops.versions").fetchall())
    assert left == {a.name: a.version for a in aggregates()}
    assert one(connection, "select count(*) from ops.versions where run is not null") == 0
