"""A shop's Postgres as it changes: which rows were written, from its log; what they are now, from a view.

The log says only whose order changed. What the order is, with its lines, the view says, which is asked afterwards: so
an event is always a whole state, and a change that is read twice is published once. The place in the log is confirmed
to Postgres when the next reading begins, after Kafka has everything before it.

A transaction is in the log a moment before others can see what it wrote (longer where it waits for a standby), so the
view is asked when they can.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final

import dlt
import psycopg
import structlog
from dlt.extract import DltResource
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from producers.metrics import SLOT_BYTES
from producers.pipelines.pgoutput import Decoder
from producers.pipelines.values import AllRead
from schemas.errors import Misconfigured, Retryable

AT_ONCE: Final = 1_000  # keys that the view is asked for together
MUCH_BYTES: Final = 1 << 30
VISIBLE_SECONDS, AGAIN_SECONDS = 60.0, 0.02
HALF: Final = 1 << 31
LOST: Final = "lost"
KEY: Final = "insights_key"  # a column's name beside the view's own
IDENTITY: Final = """
select exists (
    select from pg_attribute as a
    where a.attrelid = c.oid and a.attname = %(column)s and not a.attisdropped
), c.relreplident = 'f' or exists (
    select from pg_index as i
    inner join pg_attribute as a on i.indrelid = a.attrelid and a.attnum = any(i.indkey)
    where i.indrelid = c.oid and a.attname = %(column)s
    and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)
)
from pg_class as c where c.oid = to_regclass(%(table)s)
"""
SLOT: Final = """
select confirmed_flush_lsn - '0/0'::pg_lsn, wal_status,
    coalesce(pg_current_wal_lsn() - restart_lsn, 0), current_setting('max_slot_wal_keep_size') = '-1'
from pg_replication_slots where slot_name = %s
"""


class NotVisible(Retryable):
    """What a transaction wrote can't be seen yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """What is read, as ``changes`` says; tables have their schema's name."""

    database: str = field(repr=False)  # has a password
    view: str
    key: str
    tables: Mapping[str, str]
    slot: str
    publication: str
    deleted: str


def changes(
    database: str,
    *,
    view: str,
    key: str,
    tables: Mapping[str, str],
    slot: str = "insights",
    publication: str = "insights",
    deleted: str = "is_deleted",
) -> DltResource:
    """A resource of dlt with the rows of ``view`` that changed since the last reading, as they are now; first all rows.

    ``tables`` has, for each table that the view is made of, the column with the view's ``key``: ``{"orders": "id",
    "order_lines": "order_id"}``. A row that is no longer in the view has its key, and true for ``deleted``.

    ``database`` is Postgres' own URL, of a user who may replicate. The publication must be there; the slot is made.
    Reading raises Misconfigured when the database is not set up for it, or the slot is lost.
    """
    whole_names = {name if "." in name else f"public.{name}": column for name, column in tables.items()}
    watch = _Watch(
        database=database,
        view=view,
        key=key,
        tables=whole_names,
        slot=slot,
        publication=publication,
        deleted=deleted,
    )
    hints: Any = {deleted: {"hard_delete": True}}
    return dlt.resource(_rows, name=view, primary_key=key, columns=hints)(watch)


def _rows(watch: _Watch) -> Iterator[dict[str, Any]]:
    state = dlt.current.resource_state()
    with psycopg.connect(watch.database, autocommit=True, row_factory=dict_row, client_encoding="utf8") as connection:
        set_json_loads(partial(json.loads, parse_float=Decimal), connection)
        _check(watch, connection)
        is_new = _make_slot(watch, connection)
        if not is_new and "lsn" in state:
            _confirm(watch, connection, state["lsn"])
        _watch_size(watch, connection)
        now = _one(connection, "select pg_current_wal_flush_lsn() - '0/0'::pg_lsn")
        keys, is_truncated = _changed(watch, connection)
        if is_new or "lsn" not in state or is_truncated:
            for row in connection.cursor().stream(_select(watch)):
                yield _with_key(watch, row)
            yield AllRead()
        elif not keys:
            _confirm(watch, connection, now)  # what other tables wrote is no reason to keep the log
            return
        else:
            yield from _now(watch, connection, keys)
        state["lsn"] = int(now)


def _check(watch: _Watch, connection: psycopg.Connection[Any]) -> None:
    """Raises Misconfigured saying what of the database must be changed, and how."""
    if (level := _one(connection, "show wal_level")) != "logical":
        raise Misconfigured(
            f"the database's wal_level is {level}: its log does not say what changed. `alter system set wal_level ="
            " logical`, and restart it"
        )
    query = "select schemaname || '.' || tablename as name from pg_publication_tables where pubname = %s"
    published = {row["name"] for row in connection.execute(query, (watch.publication,))}
    if missing := sorted(watch.tables.keys() - published):
        raise Misconfigured(
            f"the publication {watch.publication} has no table {', '.join(missing)}; as their owner: `create"
            f" publication {watch.publication} for table {', '.join(watch.tables)}`, or `alter publication … add table`"
        )
    for table, column in watch.tables.items():
        found = connection.cursor(row_factory=psycopg.rows.tuple_row).execute(
            IDENTITY, {"table": table, "column": column}
        )
        is_there, is_said = found.fetchone() or (False, False)
        if not is_there:
            raise Misconfigured(f"the table {table} has no column {column}, which `tables` names; correct the pipeline")
        if not is_said:
            raise Misconfigured(
                f"the log does not say {column} of a row of {table} that was deleted, because it is not in its primary"
                f" key: `alter table {table} replica identity full`"
            )


def _make_slot(watch: _Watch, connection: psycopg.Connection[Any]) -> bool:
    """Make the slot unless it is there; whether it is new. Raises Misconfigured for a lost one."""
    found = connection.execute(SLOT, (watch.slot,)).fetchone()
    if found is None:
        connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (watch.slot,))
        return True
    if found["wal_status"] == LOST:
        raise Misconfigured(
            f"the slot {watch.slot} was not read for so long that Postgres has dropped what it needs: `select"
            f" pg_drop_replication_slot('{watch.slot}')`. The next reading reads everything again; nothing is counted"
            " twice"
        )
    return False


def _watch_size(watch: _Watch, connection: psycopg.Connection[Any]) -> None:
    """Say how much of its log Postgres keeps for us: a slot that nobody reads fills the disk."""
    row = connection.cursor(row_factory=psycopg.rows.tuple_row).execute(SLOT, (watch.slot,)).fetchone()
    assert row is not None
    _, status, kept_bytes, is_endless = row
    SLOT_BYTES.labels(slot=watch.slot).set(float(kept_bytes))
    log = structlog.get_logger().bind(slot=watch.slot)
    if kept_bytes > MUCH_BYTES or status == "unreserved":
        log.warning("the database keeps much of its log for this slot", bytes=int(kept_bytes), status=status)
    if is_endless and kept_bytes > MUCH_BYTES:
        log.warning("nothing limits what a slot keeps: set max_slot_wal_keep_size in the database")


def _confirm(watch: _Watch, connection: psycopg.Connection[Any], lsn: int) -> None:
    """Tell Postgres that everything up to there is done."""
    connection.execute(
        "select pg_replication_slot_advance(slot_name, '0/0'::pg_lsn + %(lsn)s::numeric) from pg_replication_slots"
        " where slot_name = %(slot)s and confirmed_flush_lsn < '0/0'::pg_lsn + %(lsn)s::numeric",
        {"slot": watch.slot, "lsn": int(lsn)},
    )


def _changed(watch: _Watch, connection: psycopg.Connection[Any]) -> tuple[list[str], bool]:
    """The keys of what was written since the confirmed place, and whether a table was truncated."""
    query = (
        "select xid::text::bigint as xid, data from pg_logical_slot_peek_binary_changes(%s, null, null,"
        " 'proto_version', '1', %s, %s)"
    )
    decoder, keys, is_truncated, transactions = Decoder(), dict[str, None](), False, set[int]()
    for message in connection.cursor().stream(query, (watch.slot, "publication_names", watch.publication)):
        for change in decoder.decode(message["data"]):
            if change.table not in watch.tables:
                continue
            transactions.add(message["xid"])
            if change.row is None:
                is_truncated = True
            elif (key := change.row.get(watch.tables[change.table])) is not None:
                keys[key] = None
            else:
                raise Misconfigured(
                    f"the log of {change.table} does not say {watch.tables[change.table]} of a changed row; it was"
                    " written before the table was as it is now. Drop the slot, and everything is read again: `select"
                    f" pg_drop_replication_slot('{watch.slot}')`"
                )
    _await_visible(connection, transactions)
    return list(keys), is_truncated


def _await_visible(connection: psycopg.Connection[Any], transactions: set[int]) -> None:
    """Block until a query sees what these transactions wrote. Raises NotVisible after VISIBLE_SECONDS."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while hidden := hidden_by(_one(connection, "select pg_current_snapshot()::text"), transactions):
        if time.monotonic() > deadline:
            raise NotVisible(
                f"the transaction {min(hidden)} is in the database's log, and nobody can see yet what it wrote: is a"
                " standby that it waits for away?"
            )
        time.sleep(AGAIN_SECONDS)


def hidden_by(snapshot: str, transactions: set[int]) -> set[int]:
    """Those of the transactions that a snapshot, as Postgres writes it, does not see. They are numbers of 32 bits."""
    _, end, running = snapshot.split(":")
    in_progress = {int(number) for number in running.split(",") if number}

    def is_hidden(transaction: int) -> bool:
        """The snapshot's numbers have 64 bits: this one's is the nearest to them."""
        whole = int(end) + (transaction - int(end) + HALF) % (2 * HALF) - HALF
        return whole >= int(end) or whole in in_progress

    return set(filter(is_hidden, transactions))


def _now(watch: _Watch, connection: psycopg.Connection[Any], keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is under these keys now."""
    query = "select format_type(atttypid, null) from pg_attribute where attrelid = %s::regclass and attname = %s"
    kind = sql.SQL(_one(connection, query, (watch.view, watch.key)))
    some = sql.SQL("{} where {} = any(%s::{}[])").format(_select(watch), sql.Identifier(watch.key), kind)
    for start in range(0, len(keys), AT_ONCE):
        asked = list(keys[start : start + AT_ONCE])
        left = set(asked)
        for row in connection.execute(some, (asked,)):
            left.discard(row[KEY])
            yield _with_key(watch, row)
        yield from ({watch.key: key, watch.deleted: True} for key in asked if key in left)


def _select(watch: _Watch) -> sql.Composed:
    key, view = sql.Identifier(watch.key), sql.Identifier(*watch.view.split("."))
    return sql.SQL("select *, {}::text as {} from {}").format(key, sql.Identifier(KEY), view)


def _with_key(watch: _Watch, row: dict[str, Any]) -> dict[str, Any]:
    """The row with its key as the log writes it: of bytes, or a number with a fraction, Python's text is another."""
    return {**row, watch.key: row.pop(KEY)}


def _one(connection: psycopg.Connection[Any], query: str, values: Sequence[Any] = ()) -> Any:
    """The one value that a query finds."""
    row = connection.cursor(row_factory=psycopg.rows.tuple_row).execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]
