"""The user that Metabase reads Postgres as: it may select what dashboards show, and nothing else."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]

READER = "metabase_reader"
SCHEMAS = ("events", "live", "marts", "ops")
REBUILT = ("live", "marts", "ops")
"""Where a relation that is made later may be read at once. In ``events`` it may hold encrypted columns."""

ENCRYPTED = "%\\_encrypted"
LIMITS: dict[LiteralString, str] = {
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "timezone": "UTC",
    "jit": "off",
}
RELATIONS = """
select
    n.nspname,
    c.relname,
    array_agg(a.attname order by a.attnum) filter (where a.attname not like %(encrypted)s) as plain,
    coalesce(bool_or(a.attname like %(encrypted)s), false) as has_encrypted
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
inner join pg_attribute as a on c.oid = a.attrelid
where
    n.nspname = any(%(schemas)s)
    and c.relkind in ('r', 'v', 'm', 'p', 'f')
    and a.attnum > 0
    and not a.attisdropped
group by
    n.nspname,
    c.relname
order by
    n.nspname,
    c.relname
"""


def provide_reader(connection: Connection, password: str) -> None:
    """Makes the user, or makes it right again: password, limits, and what it may read. All or nothing.

    It may select from every table and view in SCHEMAS, without columns named ``…_encrypted``, and from those made later
    in REBUILT by the user that calls this.
    """
    with connection.transaction():
        _make_role(connection, password)
        # dbt builds it, perhaps only after this.
        connection.execute("create schema if not exists marts")
        for schema in _existing(connection):
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), _reader()))
        relations = connection.execute(RELATIONS, {"encrypted": ENCRYPTED, "schemas": list(SCHEMAS)}).fetchall()
        for place, relation, plain, has_encrypted in relations:
            _grant(connection, str(place), str(relation), (plain or []) if has_encrypted else None)
        for schema in (s for s in _existing(connection) if s in REBUILT):
            connection.execute(
                sql.SQL("alter default privileges in schema {} grant select on tables to {}").format(
                    sql.Identifier(schema), _reader()
                )
            )


def _reader() -> sql.Identifier:
    return sql.Identifier(READER)


def _make_role(connection: Connection, password: str) -> None:
    if not connection.execute("select 1 from pg_roles where rolname = %s", (READER,)).fetchone():
        connection.execute(sql.SQL("create role {} login").format(_reader()))
    connection.execute(
        sql.SQL("alter role {} login nosuperuser nocreatedb nocreaterole noreplication password {}").format(
            _reader(), sql.Literal(password)
        )
    )
    for name, value in LIMITS.items():
        connection.execute(
            sql.SQL("alter role {} set {} = {}").format(_reader(), sql.Identifier(name), sql.Literal(value))
        )


def _existing(connection: Connection) -> list[str]:
    rows = connection.execute(
        "select nspname from pg_namespace where nspname = any(%s) order by nspname", (list(SCHEMAS),)
    )
    return [str(name) for (name,) in rows.fetchall()]


def _grant(connection: Connection, schema: str, relation: str, columns: list[str] | None) -> None:
    """Select on the relation, or on these of its columns only, which may be none."""
    named = sql.Identifier(schema, relation)
    if columns is not None:
        connection.execute(sql.SQL("revoke select on {} from {}").format(named, _reader()))
    if columns != []:
        which = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
        connection.execute(sql.SQL("grant select {} on {} to {}").format(which, named, _reader()))
