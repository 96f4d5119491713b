"""What each role may do in Postgres, and what it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from flink.job_sql import WRITTEN_OPS_TABLES
from insights.doctor import check_roles
from insights.settings import Settings
from insights.wiring import login_of
from schemas.errors import Misconfigured
from warehouse.logins import Login, Role, login
from warehouse.roles import MARK, WRITTEN, let_flink_use_lake, provide_metabase, provide_roles
from warehouse.sinks import JOB_PROGRESS
from warehouse.tables import make_postgres_tables

Connection = psycopg.Connection[tuple[object, ...]]
Refused = psycopg.errors.InsufficientPrivilege
NOBODYS = (
    "insert into ops.holds values (now(), 'me', 'stopped')",
    "update ops.topics set place = 0",
    "delete from ops.replays",
    "insert into ops.migrations values (99, 'x')",
    "delete from ops.finality",
    "create table live.mine (a int)",
    "create table ops.mine (a int)",
    "drop view live.sales_per_minute",
    "truncate versions.sales_per_minute_v1",
    "alter table ops.alerts add column mine int",
    "create role mine",
    "copy (select 1) to program 'true'",
    "select pg_read_file('/etc/passwd')",
)


def made(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        make_postgres_tables(connection)
        connection.execute("create table marts.made_before as select 1 as a")


@pytest.fixture(scope="module")
def dsn(new_database: Callable[[], str]) -> str:
    """A stack's database, which was migrated twice, with a mart that an earlier release's owner made."""
    found = new_database()
    made(found)
    with psycopg.connect(found) as connection:
        make_postgres_tables(connection)
    return found


def opened(dsn: str, found: Login) -> Connection:
    return psycopg.connect(dsn, user=found.user, password=found.password, autocommit=True)


def as_role(dsn: str, role: Role) -> Connection:
    at = urlsplit(dsn)
    return opened(dsn, login(role, unquote(at.path[1:]), at.password or ""))


@pytest.fixture
def role(dsn: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    with closing(as_role(dsn, request.param)) as connection:
        yield connection


def of(*roles: Role) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("role", roles, indirect=True)


@of(*Role)
def test_no_role_changes_what_is_not_its_own(role: Connection) -> None:
    role.execute("set default_transaction_read_only = off")
    for statement in NOBODYS:
        with pytest.raises(Refused):
            role.execute(statement)


@of(Role.READER, Role.DBT, Role.ALERTS)
def test_who_reads_sees_what_is_shown(role: Connection) -> None:
    for relation in ("live.sales_per_minute", "events.orders", "ops.replays", "marts.made_before"):
        assert role.execute(f"select count(*) from {relation}").fetchone() is not None


@of(Role.READER, Role.DBT, Role.ALERTS)
def test_who_reads_sees_customers_but_not_their_names(role: Connection) -> None:
    role.execute("select customer_id, region from events.customers")
    for column in ("name_encrypted", "email_encrypted", "*"):
        with pytest.raises(Refused):
            role.execute(f"select {column} from events.customers")


@of(Role.READER, Role.DBT, Role.ALERTS)
def test_who_reads_sees_nothing_behind_the_views(role: Connection) -> None:
    with pytest.raises(Refused):
        role.execute("select count(*) from versions.customers_v1")


@of(Role.READER)
def test_the_page_writes_nothing_and_waits_a_minute_at_most(role: Connection) -> None:
    assert role.execute("show statement_timeout").fetchone() == ("1min",)
    for statement in ("insert into ops.alerts default values", "create temp table mine (a int)"):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            role.execute(statement)
    role.execute("set default_transaction_read_only = off")
    for statement in ("delete from ops.alerts", "delete from versions.sales_per_minute_v1", "delete from marts.rfm"):
        with pytest.raises((Refused, psycopg.errors.UndefinedTable)):
            role.execute(statement)
    with pytest.raises(Refused):
        role.execute("create schema mine")


@of(Role.FLINK)
def test_flink_writes_what_jobs_fill_and_reads_nothing_else(role: Connection) -> None:
    assert WRITTEN[Role.FLINK] == tuple(sink.table for sink in (*WRITTEN_OPS_TABLES, JOB_PROGRESS))
    for table in ("versions.sales_per_minute_v1", *WRITTEN[Role.FLINK]):
        role.execute(f"delete from {table}")
    role.execute("insert into ops.event_counts values ('t', now(), 1, 1, now())")
    role.execute("insert into ops.event_counts select * from ops.event_counts on conflict do nothing")
    for relation in ("ops.replays", "live.sales_per_minute", "events.customers", "marts.made_before", "ops.alerts"):
        with pytest.raises(Refused):
            role.execute(f"select count(*) from {relation}")


def test_flink_writes_a_version_that_is_made_later(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner, closing(as_role(dsn, Role.FLINK)) as flink:
        owner.execute("create table versions.made_later_v1 (a int)")
        flink.execute("insert into versions.made_later_v1 values (1)")
        owner.execute("drop table versions.made_later_v1")


@of(Role.ALERTS)
def test_alerts_write_their_own_three_tables(role: Connection) -> None:
    for table in WRITTEN[Role.ALERTS]:
        role.execute(f"delete from {table}")
    with pytest.raises(Refused):
        role.execute("delete from ops.event_counts")
    with pytest.raises(Refused):
        role.execute("delete from marts.made_before")


@of(Role.DBT)
def test_dbt_builds_in_its_own_schemas_what_others_read_at_once(role: Connection, dsn: str) -> None:
    role.execute("create table marts.rebuilt as select count(*) as orders from events.orders")
    role.execute("alter table marts.made_before rename to made_after")
    role.execute("alter table marts.made_after rename to made_before")
    role.execute("create schema if not exists intermediate")
    try:
        for reader in (Role.READER, Role.ALERTS):
            with closing(as_role(dsn, reader)) as connection:
                assert connection.execute("select orders from marts.rebuilt").fetchone() == (0,)
    finally:
        role.execute("drop table marts.rebuilt")
    with pytest.raises(Refused):
        role.execute("delete from ops.dbt_builds")


def test_a_role_that_was_given_too_much_has_it_no_more_after_the_next_up(dsn: str) -> None:
    user = login(Role.READER, urlsplit(dsn).path[1:], urlsplit(dsn).password or "").user
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"alter role {user} createdb createrole password 'lost'")
        owner.execute(f"grant select on events.customers to {user}")
        make_postgres_tables(owner)
        assert owner.execute(
            "select rolcreatedb or rolcreaterole from pg_roles where rolname = %s", (user,)
        ).fetchone() == (False,)
    with closing(as_role(dsn, Role.READER)) as reader, pytest.raises(Refused):
        reader.execute("select name_encrypted from events.customers")


def test_stacks_on_one_server_share_no_role_and_a_password_leads_to_no_other(dsn: str) -> None:
    database, password = urlsplit(dsn).path[1:], urlsplit(dsn).password or ""
    found = [login(role, name, password) for role in Role for name in (database, "other")]
    assert len({each.user for each in found}) == len({each.password for each in found}) == len(found)
    assert password not in repr(found)
    assert not [each for each in found if each.password in repr(each)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        opened(dsn, replace(found[0], password=password))
    with pytest.raises(Misconfigured, match="too long"):
        login(Role.READER, "d" * 60, password)


def test_in_the_lakes_database_flink_changes_the_catalog_and_makes_no_tables(
    dsn: str, new_database: Callable[[], str]
) -> None:
    lake = new_database()
    at = urlsplit(dsn)
    flink = login(Role.FLINK, at.path[1:], at.password or "")
    with psycopg.connect(lake, autocommit=True) as owner:
        owner.execute("create table iceberg_tables (a int)")
        let_flink_use_lake(owner, flink)
        let_flink_use_lake(owner, flink)
    with closing(opened(lake, flink)) as connection:
        connection.execute("insert into iceberg_tables values (1)")
        for statement in ("drop table iceberg_tables", "create table mine (a int)", "truncate iceberg_tables"):
            with pytest.raises(Refused):
                connection.execute(statement)
    with closing(opened(lake, login(Role.READER, at.path[1:], at.password or ""))) as reader, pytest.raises(Refused):
        reader.execute("select * from iceberg_tables")


@pytest.fixture
def landlord(dsn: str) -> Iterator[Callable[[str], str]]:
    """``landlord("createdb createrole")``: a database of a user that may do so, and is no superuser, as on RDS."""
    made: list[str] = []

    def make(rights: str) -> str:
        name = f"landlord_{len(made)}_{urlsplit(dsn).path[6:26]}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"create role {name} login password 'rent' {rights}")
            connection.execute(f"create database {name} owner {name}")
        made.append(name)
        at = urlsplit(dsn)
        return at._replace(netloc=f"{name}:rent@{at.hostname}:{at.port}", path=f"/{name}").geturl()

    yield make
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop database {name} with (force)")
            roles = [f"{name}_{role}" for role in Role if _is_there(connection, f"{name}_{role}")]
            for role in [*roles, name]:
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def _is_there(connection: Connection, role: str) -> bool:
    return connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone() is not None


def test_an_owner_that_is_no_superuser_makes_them_and_still_reads_what_dbt_built(
    landlord: Callable[[str], str],
) -> None:
    dsn = landlord("createdb createrole")
    made(dsn)
    with psycopg.connect(dsn, autocommit=True) as owner:
        make_postgres_tables(owner)
        with closing(as_role(dsn, Role.DBT)) as dbt:
            dbt.execute("create table marts.built as select 1 as a")
            dbt.execute("alter table marts.made_before add column b int")
        assert owner.execute("select a from marts.built").fetchone() == (1,)
        owner.execute("drop table marts.built")
        with closing(as_role(dsn, Role.READER)) as reader:
            reader.execute("select count(*) from events.orders")


def test_an_owner_that_may_make_no_roles_is_told_so_and_nothing_is_changed(landlord: Callable[[str], str]) -> None:
    dsn = landlord("createdb")
    with (
        psycopg.connect(dsn) as connection,
        pytest.raises(Misconfigured, match=r'`alter role "landlord_0\S*" createrole`'),
    ):
        make_postgres_tables(connection)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select to_regnamespace('live')").fetchone() == (None,)


def test_an_owner_that_may_not_change_a_role_that_is_there_is_told_which_grant_it_needs(
    dsn: str, landlord: Callable[[str], str]
) -> None:
    theirs = landlord("createdb createrole")
    name = urlsplit(theirs).path[1:]
    with psycopg.connect(dsn, autocommit=True) as administrator:
        administrator.execute(sql.SQL("create role {} login").format(sql.Identifier(f"{name}_reader")))
        administrator.execute(sql.SQL("comment on role {} is {}").format(sql.Identifier(f"{name}_reader"), MARK))
        with psycopg.connect(theirs) as owner, pytest.raises(Misconfigured) as told:
            make_postgres_tables(owner)
        (lets,) = re.findall("`(.*)`", str(told.value))
        assert lets == f'grant "{name}_reader" to "{name}" with admin option'
        administrator.execute(lets.encode())
    made(theirs)
    as_role(theirs, Role.READER).close()


def test_somebody_elses_role_of_one_of_the_names_is_not_taken_from_them(
    dsn: str, new_database: Callable[[], str]
) -> None:
    ours = new_database()
    name = f"{urlsplit(ours).path[1:]}_reader"
    with psycopg.connect(dsn, autocommit=True) as administrator:
        administrator.execute(f"create role {name} login superuser password 'theirs'")
        with psycopg.connect(ours) as owner, pytest.raises(Misconfigured, match=rf"did not make: {name}\.") as told:
            make_postgres_tables(owner)
        opened(dsn, Login(user=name, password="theirs")).close()
        administrator.execute(re.findall("`(comment on role .*)`", str(told.value))[0].encode())
    made(ours)
    as_role(ours, Role.READER).close()


def test_roles_that_had_no_comment_yet_are_known_by_their_rights(new_database: Callable[[], str]) -> None:
    ours = new_database()
    made(ours)
    with psycopg.connect(ours, autocommit=True) as owner:
        for role in Role:
            owner.execute(f"comment on role {urlsplit(ours).path[1:]}_{role} is null")
        make_postgres_tables(owner)


@pytest.mark.parametrize("holding", [make_postgres_tables, provide_roles])
def test_who_changes_rights_waits_for_another_who_does(
    dsn: str, holding: Callable[[Connection], None], until: Callable[..., object]
) -> None:
    waits = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'advisory'"
    with (
        psycopg.connect(dsn, autocommit=True) as watching,
        psycopg.connect(dsn) as first,
        psycopg.connect(dsn, autocommit=True) as second,
        ThreadPoolExecutor(1) as apart,
    ):
        holding(first)
        done = apart.submit(provide_metabase, second, "s3cret")
        until(lambda: watching.execute(waits, (second.info.backend_pid,)).fetchone() == (1,), seconds=20)
        first.commit()
        done.result(20)


def test_doctor_names_a_role_that_the_server_does_not_admit(
    dsn: str, apart: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = apart(tmp_path, external_postgres=dsn)
    reader = login_of(settings, Role.READER).user
    assert list(check_roles(settings)) == []
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(f"alter role {reader} nologin")
        try:
            (finding,) = check_roles(settings)
        finally:
            owner.execute(f"alter role {reader} login")
    assert (finding.level, reader in finding.what, "pg_hba.conf" in finding.advice) == ("error", True, True)


def test_a_database_may_have_any_name(dsn: str) -> None:
    name = f'My.Shop "{urlsplit(dsn).path[6:26]}"'
    odd = urlsplit(dsn)._replace(path=f"/{quote(name, safe='')}").geturl()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    for _ in range(2):
        made_or_not = "create table if not exists marts.made_before as select 1 as a"
        with psycopg.connect(odd) as owner:
            make_postgres_tables(owner)
            owner.execute(made_or_not.encode())
    for role in Role:
        with closing(as_role(odd, role)) as connection:
            assert connection.execute("select current_user").fetchone() == (f"{name}_{role}",)
    with closing(as_role(odd, Role.DBT)) as dbt:
        dbt.execute("alter table marts.made_before add column b int")
        with closing(as_role(odd, Role.READER)) as reader:
            reader.execute("select a, b from marts.made_before, events.orders limit 1")


def test_metabases_user_of_one_stack_reads_no_other_of_the_server(dsn: str, new_database: Callable[[], str]) -> None:
    """The user is the server's; what it may read is a database's."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        provide_metabase(owner, "s3cret")
    other = new_database()
    made(other)
    with psycopg.connect(other, autocommit=True) as owner:
        make_postgres_tables(owner)
        reads = "select bool_or(has_schema_privilege('metabase_reader', oid, 'usage')) from pg_namespace"
        assert owner.execute(f"{reads} where nspname in ('live', 'events', 'marts', 'ops')").fetchone() == (False,)
        later = "select count(*) from pg_default_acl where defaclacl::text like '%metabase_reader%'"
        assert owner.execute(later).fetchone() == (0,)


def test_metabases_user_follows_where_it_is_there(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner, owner.transaction(force_rollback=True):
        provide_metabase(owner, "s3cret")
        owner.execute("create table live.seen as select 1 as a")
        owner.execute("revoke select on live.seen from metabase_reader")
        provide_roles(owner)
        assert owner.execute("select has_table_privilege('metabase_reader', 'live.seen', 'select')").fetchone() == (
            True,
        )
