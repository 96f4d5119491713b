"""What readers read, and what is behind it.

``live.sales_per_minute`` and its like are views. The rows are in a table for each version of the definition,
``versions.sales_per_minute_v1``, which the live job writes. ``ops.versions`` has the version that readers see; that and
the view change in one transaction.

A view keeps its columns where they are, so that views of others may read it: what a version gained comes last. A column
that the folder's version gained is there at once, and null until that version is what readers see.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql
from psycopg.errors import DependentObjectsStillExist

from aggregates.catalogue import Aggregate, table_of
from schemas.errors import Misconfigured
from warehouse.columns import POSTGRES
from warehouse.postgres import Connection

FIRST_VERSION = 1
LOCK_TIMEOUT_MS = 50
"""A view that is in use is not waited for longer: who comes after us would queue behind us."""

COLUMNS = """
select attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum
"""
GRANTS = """
select g.privilege_type, case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end
from pg_class as c, aclexplode(c.relacl) as g where c.oid = to_regclass(%s) and g.grantee <> c.relowner
"""
NOTE = """
insert into ops.versions (aggregate, version, table_name, fingerprint, since, run) values (%s, %s, %s, %s, null, null)
on conflict (aggregate, version) do nothing
"""


def kind_of(connection: Connection, relation: str) -> str | None:
    """``table`` or ``view``; None when there is no such relation."""
    row = connection.execute("select relkind from pg_class where oid = to_regclass(%s)", (relation,)).fetchone()
    return None if row is None else {"r": "table", "v": "view"}.get(row[0], str(row[0]))


def move_rows_of_old(connection: Connection, aggregates: Iterable[Aggregate]) -> None:
    """Before there were versions, what readers read was the table itself: it becomes the table of the first version."""
    for a in aggregates:
        if kind_of(connection, a.sink) == "table":
            table = f"{a.name}_v{FIRST_VERSION}"
            connection.execute(f"alter table {a.sink} set schema versions")
            connection.execute(f"alter table versions.{a.name} rename to {table}")
            connection.execute(f"alter index if exists versions.{a.name}_pkey rename to {table}_pkey")
            connection.execute(f"alter index if exists versions.{a.name}_occurred_at rename to {table}_occurred_at")
            _make_view(connection, a, f"versions.{table}", _grants(connection, f"versions.{table}"))


def note_version(connection: Connection, aggregate: Aggregate) -> None:
    """Its line in ops.versions when it has none, not yet seen by readers."""
    connection.execute(NOTE, (aggregate.name, aggregate.version, aggregate.table, aggregate.fingerprint))


def note_deployed(connection: Connection, aggregate: Aggregate) -> None:
    """From now on this definition is what its version means."""
    note_version(connection, aggregate)
    connection.execute(
        "update ops.versions set fingerprint = %s where aggregate = %s and version = %s",
        (aggregate.fingerprint, aggregate.name, aggregate.version),
    )


def seen_versions(connection: Connection) -> dict[str, int]:
    """By aggregate, the version that readers see; without those of which they see none."""
    rows = connection.execute("select aggregate, version from ops.versions where since is not null")
    return dict(rows.fetchall())


def seen_version(connection: Connection, name: str) -> int | None:
    """The version that readers see; None when they see none."""
    row = connection.execute(
        "select version from ops.versions where aggregate = %s and since is not null", (name,)
    ).fetchone()
    return None if row is None else int(row[0])


def show_where_nothing_is_shown(connection: Connection, aggregate: Aggregate) -> None:
    """Makes the view when it is missing: of the version that readers saw before, or else of this one.

    A view that is there stays what it is, but for columns that this version gained; its comments become its table's.
    """
    version = seen_version(connection, aggregate.name)
    if version is None or kind_of(connection, aggregate.sink) is None:
        show(connection, aggregate, version or _shown(connection, aggregate.sink) or aggregate.version, None)
        return
    table = table_of(aggregate.name, version)
    there = {name for name, _, _ in connection.execute(COLUMNS, (aggregate.sink,))}
    if any(column.nullable and name not in there for name, column in aggregate.columns.items()):
        _make_view(connection, aggregate, table, _grants(connection, aggregate.sink))
    else:
        _comment(connection, aggregate.sink, table)


def _shown(connection: Connection, view: str) -> int | None:
    """The version whose table the view reads; None when it is not there."""
    row = connection.execute(
        "select c.relname from pg_depend as d join pg_rewrite as r on r.oid = d.objid"
        " join pg_class as c on c.oid = d.refobjid"
        " where r.ev_class = to_regclass(%s) and c.relkind = 'r' limit 1",
        (view,),
    ).fetchone()
    return int(row[0].rpartition("_v")[2]) if row else None


def swap(connection: Connection, aggregate: Aggregate, version: int, run: str | None) -> None:
    """Makes ``version`` what readers see, when the caller commits. ``run``: the replay that made its history.

    Waits for readers of the view for LOCK_TIMEOUT_MS at most and then raises psycopg.errors.LockNotAvailable: roll back
    and try again. Others wait from here to the commit at most. Raises Misconfigured when the version has no
    table, or when views of others need a column that it lacks.
    """
    connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
    show(connection, aggregate, version, run)


def hide(connection: Connection, aggregate: Aggregate) -> None:
    """Readers see no version when the caller commits: the view is there and has no rows, until ``swap``.

    Waits for readers and raises as ``swap`` does. The aggregate's table must be there.
    """
    connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
    connection.execute(
        "update ops.versions set since = null where aggregate = %s and since is not null", (aggregate.name,)
    )
    _make_empty_view(connection, aggregate.sink, aggregate.table)


def show_nothing_where_nothing_is_shown(connection: Connection, aggregate: Aggregate) -> None:
    """Makes the view, without rows, when it is missing and readers never saw a version. The table must be there."""
    if seen_version(connection, aggregate.name) is not None:
        show_where_nothing_is_shown(connection, aggregate)
    elif kind_of(connection, aggregate.sink) is None:
        _make_empty_view(connection, aggregate.sink, aggregate.table)


def _make_empty_view(connection: Connection, view: str, table: str) -> None:
    # Of the table's columns and not of the table: that may go while the view stays.
    own, there = (connection.execute(COLUMNS, (relation,)).fetchall() for relation in (table, view))
    kinds = {name: kind for name, kind, _ in [*there, *own]}  # in the view's order, where it has one
    nothing = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in kinds.items())
    connection.execute(f"create or replace view {view} as select {nothing} where false")  # noqa: S608
    _comment(connection, view, table)


def show(connection: Connection, aggregate: Aggregate, version: int, run: str | None) -> None:
    """As ``swap``, but waits for readers of the view as long as they take."""
    table = table_of(aggregate.name, version)
    if kind_of(connection, table) is None:
        raise Misconfigured(f"{aggregate.name} has no version {version}: there is no table {table}")
    _say_seen(connection, aggregate.name, version, run)
    if _shown(connection, aggregate.sink) != version:
        _make_view(connection, aggregate, table, _grants(connection, aggregate.sink))


def _say_seen(connection: Connection, name: str, version: int, run: str | None) -> None:
    connection.execute(
        "update ops.versions set since = null where aggregate = %s and version <> %s and since is not null",
        (name, version),
    )
    connection.execute(
        "update ops.versions set since = coalesce(since, now()), run = coalesce(%s, run)"
        " where aggregate = %s and version = %s",
        (run, name, version),
    )


def _make_view(connection: Connection, a: Aggregate, table: str, grants: list[tuple[str, str]]) -> None:
    """The view, with the columns, comments and readers' rights that there are, and null for what ``a`` gained."""
    view = a.sink
    own, there = (connection.execute(COLUMNS, (relation,)).fetchall() for relation in (table, view))
    wanted = {name: (kind, f'"{name}"') for name, kind, _ in own}
    gained = {name: column for name, column in a.columns.items() if column.nullable and name not in wanted}
    for name, column in gained.items():
        kind = POSTGRES[column.type]
        wanted[name] = (kind, f'cast(null as {kind}) as "{name}"')
    stays = {name: kind for name, kind, _ in there}
    if any(name not in wanted or wanted[name][0] != kind for name, kind in stays.items()):
        _refuse_needed(connection, view, table)
        connection.execute(f"drop view {view}")
        stays = {}
    # Explicit columns: a table's own may stand in any order, and one that is added to it is no business of readers.
    columns = ", ".join(wanted[name][1] for name in [*stays, *(name for name in wanted if name not in stays)])
    connection.execute(f"create or replace view {view} as select {columns} from {table}")  # noqa: S608
    _comment(connection, view, table)
    for name, column in gained.items():
        _say(connection, f'column {view}."{name}"', column.doc)
    for privilege, grantee in () if stays else grants:  # a view that is replaced in place keeps them
        connection.execute(f"grant {privilege} on {view} to {grantee}")


def _comment(connection: Connection, view: str, table: str) -> None:
    (said,) = connection.execute("select obj_description(to_regclass(%s))", (table,)).fetchone() or (None,)
    columns = connection.execute(COLUMNS, (table,)).fetchall()
    for what, text in [(f"view {view}", said), *((f'column {view}."{name}"', text) for name, _, text in columns)]:
        _say(connection, what, text)


def _say(connection: Connection, what: str, text: str | None) -> None:
    connection.execute(sql.SQL(f"comment on {what} is {{}}").format(sql.Literal(text)))


def drop_others(connection: Connection, aggregates: Iterable[Aggregate]) -> None:
    """Drops the tables of all other versions, and deletes these versions.

    The view of an aggregate without a folder is dropped with its table; where other views read it, it stays and has no
    rows.
    """
    kept = [a.table for a in aggregates]
    rows = connection.execute(
        "delete from ops.versions where table_name <> all(%s) returning aggregate, version, table_name", (kept,)
    )
    for name, version, table in rows.fetchall():
        for view in (f"live.{name}", f"events.{name}"):
            if _shown(connection, view) == version:
                _drop_or_empty(connection, view, table)
        connection.execute(f"drop table if exists {table}")


def _drop_or_empty(connection: Connection, view: str, table: str) -> None:
    try:
        with connection.transaction():
            connection.execute(f"drop view {view}")
    except DependentObjectsStillExist:
        _make_empty_view(connection, view, table)


def _refuse_needed(connection: Connection, view: str, table: str) -> None:
    """Raises Misconfigured when views of others read this one: it can't lose or change a column."""
    rows = connection.execute(
        "select distinct r.ev_class::regclass::text from pg_depend as d join pg_rewrite as r on r.oid = d.objid"
        " where d.refobjid = to_regclass(%s) and r.ev_class <> d.refobjid order by 1",
        (view,),
    ).fetchall()
    if rows:
        raise Misconfigured(
            f"{view} can't become {table}, which lacks or changes columns of it: {', '.join(name for (name,) in rows)}"
            " read it. Nothing was changed. Drop those first and recreate them afterwards"
        )


def _grants(connection: Connection, relation: str) -> list[tuple[str, str]]:
    return [(str(privilege), str(grantee)) for privilege, grantee in connection.execute(GRANTS, (relation,))]
