"""Who may do what in Postgres. The owner makes everything; each program that reads or fills has a role of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from schemas.errors import Misconfigured
from warehouse.logins import Login, Role, login

Connection = psycopg.Connection[tuple[Any, ...]]
METABASE = "metabase_reader"
MARK = "Made by Insights Hub, which sets its password and rights at each start."
"""The comment of a role that is ours: one that somebody else made under its name is not taken from them."""

SHOWN = ("events", "live", "marts", "ops")
"""What people read. What live jobs write is behind the views, in ``versions``."""

BUILT = ("staging", "intermediate", "marts", "snapshots")
ENCRYPTED = "%\\_encrypted"
LIMITS: dict[LiteralString, str] = {
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "timezone": "UTC",
    "jit": "off",
}


WRITTEN: dict[Role, tuple[str, ...]] = {
    Role.FLINK: ("ops.event_counts", "ops.late_events", "ops.dead_records", "ops.job_progress"),
    Role.ALERTS: ("ops.alerts", "ops.alert_rules", "ops.alert_messages"),
}
FLINK_READS = "ops.silent_topics"
OURS = """
select
    rolname,
    coalesce(shobj_description(oid, 'pg_authid') = %(mark)s, false)
    or coalesce(has_schema_privilege(oid, to_regnamespace('ops'), 'usage'), false) and not rolsuper
from pg_roles
where rolname = any(%(users)s)
order by rolname
"""
"""Of the roles that are there, whether each has our comment, or what every one of ours is given here."""

UNREAD = """
select n.nspname, c.relname, array_agg(a.attname order by a.attnum) filter (where a.attname not like %(encrypted)s)
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
inner join pg_attribute as a on c.oid = a.attrelid
where n.nspname = any(%(schemas)s) and c.relkind in ('r', 'v', 'm', 'p', 'f') and a.attnum > 0 and not a.attisdropped
group by n.nspname, c.oid, c.relname
having
    bool_or(
        a.attname not like %(encrypted)s and not has_column_privilege(%(role)s, c.oid, a.attnum, 'select')
        or a.attname like %(encrypted)s and has_column_privilege(%(role)s, c.oid, a.attnum, 'select')
    )
"""
"""Relations of which a role may not read all columns that it should, or encrypted ones that it should not."""

UNWRITTEN = """
select c.oid::regclass::text from pg_class as c
where
    c.relkind = 'r'
    and (c.relnamespace = to_regnamespace(%(schema)s) or c.oid = any(%(tables)s::text[]::regclass[]))
    and not (
        has_table_privilege(%(role)s, c.oid, 'select') and has_table_privilege(%(role)s, c.oid, 'insert')
        and has_table_privilege(%(role)s, c.oid, 'update') and has_table_privilege(%(role)s, c.oid, 'delete')
    )
"""
NOT_DBTS = """
select c.oid::regclass::text from pg_class as c
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'v', 'm', 'p')
    and c.relowner <> (select oid from pg_roles where rolname = %(role)s)
"""


def provide_roles(connection: Connection) -> None:
    """Makes the roles, or makes them right again, in the caller's transaction, by whoever owns the tables.

    Rights on tables are granted where they are missing; passwords, and rights on schemas and on later tables, are set
    each time. Metabase's user, which all databases of a server share, is kept right where it reads this one.

    Blocks while another session changes rights. Raises Misconfigured when the user may not make or change the roles, or
    when somebody else made one of these names.
    """
    take_turn(connection)
    info = connection.info
    users = {role: login(role, info.dbname, info.password) for role in Role}
    there = _ours(connection, [found.user for found in users.values()])
    lets = _what_lets(connection, there)
    try:
        for role, found in users.items():
            _make(connection, found, LIMITS if role == Role.READER else {})
            connection.execute(sql.SQL("comment on role {} is {}").format(sql.Identifier(found.user), MARK))
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"the user {info.user} of Postgres at {info.host}:{info.port} may not make or change the roles of this"
            f" stack ({', '.join(found.user for found in users.values())}): {error.diag.message_primary}. Let it:"
            f" `{lets}`, as an administrator"
        ) from error
    _let_build(connection, users[Role.DBT].user)
    readers = [found.user for role, found in users.items() if role != Role.FLINK]
    for reader in [*readers, *([METABASE] if _reads_here(connection, METABASE) else [])]:
        _let_read(connection, reader, users[Role.DBT].user)
    for role, tables in WRITTEN.items():
        _let_write(connection, users[role].user, "versions" if role == Role.FLINK else None, tables)
    _let_ask(connection, users[Role.FLINK].user, FLINK_READS)


def provide_metabase(connection: Connection, password: str) -> None:
    """Makes the user that Metabase reads as, or makes it right again, as the page's role. All or nothing.

    Blocks while another session changes rights.
    """
    with connection.transaction():
        take_turn(connection)
        _make(connection, Login(user=METABASE, password=password), LIMITS)
        dbt = f"{connection.info.dbname}_{Role.DBT}"
        # dbt builds it, perhaps only after this.
        connection.execute("create schema if not exists marts")
        _let_read(connection, METABASE, dbt if _is_there(connection, dbt) else None)


def take_turn(connection: Connection) -> None:
    """Until the transaction's end no other session changes rights: two that change those of one table fail."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended('insights.roles', 0))")


def let_flink_use_lake(connection: Connection, flink: Login) -> None:
    """In the lake's database, and in the caller's transaction: it may change the catalog's tables, and make none."""
    _let_write(connection, flink.user, "public", ())


def _is_there(connection: Connection, role: str) -> bool:
    return connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone() is not None


def _ours(connection: Connection, users: Sequence[str]) -> list[str]:
    """Those that are there. Raises Misconfigured naming the ones that we did not make."""
    found: dict[str, bool] = dict(connection.execute(OURS, {"users": list(users), "mark": MARK}).fetchall())
    if others := [name for name, is_ours in found.items() if not is_ours]:
        takes = [
            sql.SQL("comment on role {} is {}").format(sql.Identifier(name), MARK).as_string(connection)
            for name in others
        ]
        raise Misconfigured(
            f"Postgres at {connection.info.host}:{connection.info.port} has roles that this stack needs and did not"
            f" make: {', '.join(others)}. Rename them, or choose a database of another name: roles are named after it."
            f" To have the stack take them over, with new passwords: `{'; '.join(takes)}`"
        )
    return list(found)


def _what_lets(connection: Connection, there: Sequence[str]) -> str:
    """The statements by which an administrator lets the user make the roles, and change those that are there."""
    user = sql.Identifier(connection.info.user)
    may = "select rolcreaterole or rolsuper from pg_roles where rolname = current_user"
    lets = [] if connection.execute(may).fetchone() == (True,) else [sql.SQL("alter role {} createrole").format(user)]
    if there:
        roles = sql.SQL(", ").join(map(sql.Identifier, there))
        lets.append(sql.SQL("grant {} to {} with admin option").format(roles, user))
    return sql.SQL("; ").join(lets).as_string(connection)


def _reads_here(connection: Connection, role: str) -> bool:
    """Whether a role was given this database to read, and not another one of the server alone."""
    asked = "select has_schema_privilege(oid, to_regnamespace('live'), 'usage') from pg_roles where rolname = %s"
    return connection.execute(asked, (role,)).fetchone() == (True,)


def _make(connection: Connection, found: Login, limits: dict[LiteralString, str]) -> None:
    role = sql.Identifier(found.user)
    if not _is_there(connection, found.user):
        connection.execute(sql.SQL("create role {} login").format(role))
    # As the server keeps it: its log may show statements.
    kept = connection.pgconn.encrypt_password(found.password.encode(), found.user.encode(), b"scram-sha-256")
    connection.execute(sql.SQL("alter role {} login password {}").format(role, sql.Literal(kept.decode())))
    _take_back(connection, found.user)
    for name, value in limits.items():
        connection.execute(sql.SQL("alter role {} set {} = {}").format(role, sql.Identifier(name), sql.Literal(value)))


def _take_back(connection: Connection, user: str) -> None:
    """What none of them may, and only a superuser can take from it: so it is not said where it is so."""
    attributes = ("superuser", "createdb", "createrole", "replication", "bypassrls")
    columns = ("rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication", "rolbypassrls")
    row = connection.execute(f"select {', '.join(columns)} from pg_roles where rolname = %s".encode(), (user,))  # noqa: S608
    for attribute, has in zip(attributes, row.fetchone() or (), strict=True):
        if has:
            connection.execute(sql.SQL(f"alter role {{}} no{attribute}").format(sql.Identifier(user)))


def _let_build(connection: Connection, dbt: str) -> None:
    """Its schemas and all in them are its own, and it may make further ones. The owner may what it may."""
    role = sql.Identifier(dbt)
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("grant create on database {} to {}").format(database, role))
    if connection.execute("select not pg_has_role(%s, 'usage')", (dbt,)).fetchone() == (True,):
        connection.execute(sql.SQL("grant {} to current_user").format(role))
    for schema in BUILT:
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        owner = (
            "select r.rolname = %s from pg_namespace as n inner join pg_roles as r on n.nspowner = r.oid"
            " where n.nspname = %s"
        )
        if connection.execute(owner, (dbt, schema)).fetchone() != (True,):
            connection.execute(sql.SQL("alter schema {} owner to {}").format(sql.Identifier(schema), role))
        for (relation,) in connection.execute(NOT_DBTS, {"schema": schema, "role": dbt}).fetchall():
            connection.execute(f"alter table {relation} owner to {role.as_string(connection)}".encode())


def _let_read(connection: Connection, reader: str, dbt: str | None) -> None:
    """All that is shown, but for encrypted columns; also relations that are made later, outside of ``events``."""
    role = sql.Identifier(reader)
    for schema in _existing(connection, SHOWN):
        connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), role))
        if schema != "events":  # where one that is made later may have encrypted columns
            _let_read_later(connection, schema, reader, [None, *([dbt] if dbt and schema == "marts" else [])])
    asked = {"encrypted": ENCRYPTED, "schemas": list(SHOWN), "role": reader}
    for schema, relation, plain in connection.execute(UNREAD, asked).fetchall():
        _grant(connection, sql.Identifier(str(schema), str(relation)), role, plain or [])


def _let_read_later(connection: Connection, schema: str, reader: str, makers: Iterable[str | None]) -> None:
    for maker in makers:
        by = sql.SQL("for role {} ").format(sql.Identifier(maker)) if maker else sql.SQL("")
        connection.execute(
            sql.SQL("alter default privileges {}in schema {} grant select on tables to {}").format(
                by, sql.Identifier(schema), sql.Identifier(reader)
            )
        )


def _grant(connection: Connection, relation: sql.Identifier, role: sql.Identifier, plain: Sequence[str]) -> None:
    """Select on these columns alone, which may be none; on the relation where none of it is encrypted."""
    row = connection.execute(
        "select bool_or(attname like %s) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        (ENCRYPTED, relation.as_string(connection)),
    ).fetchone()
    has_encrypted = bool(row and row[0])
    if has_encrypted:
        connection.execute(sql.SQL("revoke select on {} from {}").format(relation, role))
    if plain:
        names = sql.SQL(", ").join(map(sql.Identifier, plain))
        which = sql.SQL("({})").format(names) if has_encrypted else sql.SQL("")
        connection.execute(sql.SQL("grant select {} on {} to {}").format(which, relation, role))


def _let_write(connection: Connection, writer: str, schema: str | None, tables: Sequence[str]) -> None:
    """Rows of all tables of a schema, also of later ones, and of those tables."""
    role = sql.Identifier(writer)
    rows = sql.SQL("select, insert, update, delete")
    for used in _existing(connection, {*([schema] if schema else []), *(name.partition(".")[0] for name in tables)}):
        connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(used), role))
    asked = {"schema": schema or "", "tables": list(tables), "role": writer}
    for (table,) in connection.execute(UNWRITTEN, asked).fetchall():
        connection.execute(sql.SQL("grant {} on {} to {}").format(rows, sql.SQL(table), role))
    if schema:
        connection.execute(
            sql.SQL("alter default privileges in schema {} grant {} on tables to {}").format(
                sql.Identifier(schema), rows, role
            )
        )


def _let_ask(connection: Connection, reader: str, table: str) -> None:
    may = connection.execute("select has_table_privilege(%s, %s, 'select')", (reader, table)).fetchone()
    if may != (True,):
        names = sql.Identifier(*table.split(".")), sql.Identifier(reader)
        connection.execute(sql.SQL("grant select on {} to {}").format(*names))


def _existing(connection: Connection, schemas: Iterable[str]) -> list[str]:
    rows = connection.execute(
        "select nspname from pg_namespace where nspname = any(%s) order by nspname", (list(schemas),)
    )
    return [str(name) for (name,) in rows.fetchall()]
