"""An existing stack's state tables come to this release's shape from each earlier one, and keep their rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from schemas.errors import Misconfigured
from warehouse.migrate import Migration, migrate, migrations
from warehouse.postgres import Connection
from warehouse.tables import make_postgres_tables

SHAPES = sorted((Path(__file__).parent / "shapes").glob("*.sql"))
STATE_TABLES = (
    *("replays", "alerts", "alert_rules", "alert_messages", "dbt_builds", "dbt_models"),
    *("connected_shops", "agreement_runs", "agreement_days", "agreement_orders", "privacy_requests", "canaries"),
    "certificates",
)
COLUMNS = """
select table_name, column_name, data_type, is_nullable, column_default
from information_schema.columns
where table_schema = 'ops'
order by 1, 2
"""
KEYS = "select indexdef from pg_indexes where schemaname = 'ops' order by 1"
A_REPLAY = """
insert into ops.replays (run, status, scope, aggregates, engine, plan, plan_digest, requested_by, records)
values ('r1', 'verified', 'windows', '{sales_per_minute}', 'duckdb', '{}', 'd', 'ann', 69659)
"""


@pytest.fixture
def database(new_database: Callable[[], str]) -> Callable[[], Connection]:
    """A connection to a new database, empty, at each call."""
    return lambda: psycopg.connect(new_database(), autocommit=True)


def shape(connection: Connection) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    return connection.execute(COLUMNS).fetchall(), connection.execute(KEYS).fetchall()


@pytest.mark.parametrize("path", SHAPES, ids=[path.stem for path in SHAPES])
def test_each_earlier_shape_becomes_that_of_a_new_stack_and_keeps_its_rows(
    path: Path, database: Callable[[], Connection]
) -> None:
    with database() as new, database() as old:
        make_postgres_tables(new)
        old.execute(path.read_bytes())
        old.execute(A_REPLAY)
        assert shape(old) != shape(new)
        make_postgres_tables(old)
        assert shape(old) == shape(new)
        assert old.execute("select run, records, promoted_by from ops.replays").fetchall() == [("r1", 69659, None)]


@pytest.mark.parametrize("applied", range(len(migrations())))
def test_a_stack_that_has_some_of_the_migrations_gets_the_others_once(
    applied: int, database: Callable[[], Connection]
) -> None:
    known = migrations()
    with database() as new, database() as old:
        migrate(new)
        migrate(old, known[:applied])
        assert migrate(old) == known[applied:]
        assert migrate(old) == []
        assert shape(old) == shape(new)


def test_the_state_tables_are_all_there(database: Callable[[], Connection]) -> None:
    with database() as connection:
        migrate(connection)
        names = {name for (name,) in connection.execute("select tablename from pg_tables where schemaname = 'ops'")}
    assert names == {*STATE_TABLES, "migrations"}


def test_tables_of_a_newer_release_are_refused_and_stay_as_they_are(database: Callable[[], Connection]) -> None:
    newer = Migration(number=len(migrations()) + 1, name="from_tomorrow", sql="create table ops.tomorrow (day date)")
    with database() as connection:
        migrate(connection, [*migrations(), newer])
        before = shape(connection)
        with pytest.raises(Misconfigured, match=r"a newer release .* \(\d{4}_from_tomorrow\): run that release"):
            make_postgres_tables(connection)
        assert shape(connection) == before


def test_a_migration_that_fails_leaves_nothing_of_itself_or_of_those_before_it(
    database: Callable[[], Connection],
) -> None:
    wrong = Migration(number=len(migrations()) + 1, name="wrong", sql="alter table ops.nowhere add column a int")
    with database() as connection:
        with pytest.raises(psycopg.errors.UndefinedTable), connection.transaction():
            migrate(connection, [*migrations(), wrong])
        assert shape(connection) == ([], [])


@pytest.mark.parametrize("name", ["0002_second.sql", "first.sql", "0001-first.sql", "notes.txt"])
def test_a_file_that_is_not_the_next_migration_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("select 1")
    with pytest.raises(Misconfigured, match=f"{name} should be named 0001_what_it_changes.sql"):
        migrations(tmp_path)
