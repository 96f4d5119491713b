"""Copies what readers see in Postgres to Iceberg tables of the same names, for engines that can't read Postgres.

Aggregates and facts are copied by day. A day is copied again while it is not final, and when a replay changed it; a
version that was swapped in is copied whole. The ops tables are small and copied whole when they differ. A table changes
in one commit, whose properties record what it was made from: if the copy is killed, the previous one stays, and the
next run resumes from it. All tables are copied as of one moment.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Literal

import pyarrow as pa
from psycopg import IsolationLevel, sql
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.io.pyarrow import schema_to_pyarrow, write_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, WriteTask

from aggregates.catalogue import Aggregate, aggregates
from aggregates.windows import end_of, floored
from replay.plan_file import Stretch
from replay.run_history import promoted_or_rolled_back
from schemas.errors import Retryable
from warehouse import sinks
from warehouse.compaction import day_of, write
from warehouse.lake_mirror import Column, columns_of, make_or_bring_up
from warehouse.postgres import Connection
from warehouse.retention import PUBLISHED

OPS_TABLES = (*(sink.table for sink in sinks.OPS_TABLES), "ops.replays")
# Rows that are held in memory at once, and the most in one file.
FILE_ROWS = 200_000
ATTEMPTS = 5
LOCK = "select pg_try_advisory_lock(hashtextextended('insights.publish', 0))"
UNLOCK = "select pg_advisory_unlock(hashtextextended('insights.publish', 0))"
# A promotion carries the time at which it began, and may have ended after the last copy was made.
LONGEST_PROMOTION = timedelta(days=1)
DAY = timedelta(days=1)

Outcome = Literal["written", "unchanged", "missing"]


class PublishRuns(Retryable):
    """Somebody else copies at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of a table. ``rows`` were written; ``days`` were copied again, none of a table without days."""

    table: str
    outcome: Outcome
    rows: int = 0
    days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a copy was made from. Times are ISO 8601, in UTC.

    ``at`` is the moment; ``version`` the definition, and since when readers saw it; days that begin before ``final``
    were final. ``content`` has a fingerprint of the rows of each day that was read, and of an ops table under ``all``.
    """

    at: str
    version: str | None = None
    final: str | None = None
    content: dict[str, str] = field(default_factory=dict)

    def says_no_more_than(self, other: Mark | None) -> bool:
        """Is a copy made then as good a base for the next one as a copy made now?"""
        return other is not None and (self.version, self.final) == (other.version, other.final)

    def to_json(self) -> str:
        """As the table's property has it."""
        return json.dumps(asdict(self), separators=(",", ":"))


def publish(connection: Connection, catalog: Catalog, *, only: Sequence[str] = ()) -> Iterator[Published]:
    """Updates each table to what Postgres has now, and yields what became of it. Blocks.

    ``connection`` must be fresh. ``only`` names tables (``live.sessions``); all, when it is empty. Raises PublishRuns
    when another process copies, Retryable when others' commits always came first, Misconfigured for a table in the
    catalog that can't become what is wanted.
    """
    with _one_moment(connection) as at:
        for a in aggregates():
            if not only or a.sink in only:
                yield _publish_days(connection, catalog, a, at)
        for table in OPS_TABLES:
            if not only or table in only:
                yield _publish_whole(connection, catalog, table, at)


@contextmanager
def _one_moment(connection: Connection) -> Iterator[datetime]:
    """Everything inside reads one snapshot, and no other process publishes meanwhile."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # In a transaction of its own: what is seen begins after another process, if there was one, has ended.
    is_ours = connection.execute(LOCK).fetchone() == (True,)
    connection.rollback()
    if not is_ours:
        raise PublishRuns("another process is copying the tables to the lake; wait until it ends")
    try:
        connection.execute("set time zone 'UTC'")
        (at,) = connection.execute("select now()").fetchone() or (datetime.now(UTC),)
        yield at
    finally:
        connection.rollback()
        connection.execute(UNLOCK)
        connection.commit()


# By day ---------------------------------------------------------------------------------------------------------------


def _publish_days(connection: Connection, catalog: Catalog, a: Aggregate, at: datetime) -> Published:
    columns = columns_of(connection, a.sink)
    if not columns:
        return Published(table=a.sink, outcome="missing")
    table = make_or_bring_up(catalog, a.sink, columns, day=a.moment)
    before = _mark(table)
    now = _mark_of(connection, a, at)
    touched = _touched(connection, a, before, now)
    found = {day: content for stretch in touched for day, content in _contents(connection, a, stretch).items()}
    now = replace(now, content={day.isoformat(): content for day, content in found.items()})
    same = {day for day, content in found.items() if before and before.content.get(day.isoformat()) == content}
    new = [f for day in sorted(found.keys() - same) for f in _files_of_day(connection, table, a, columns, day)]
    if not _commit(catalog, table, now, new, partial(_is_stale, touched, same)):
        return Published(table=a.sink, outcome="unchanged")
    days = {day_of(file) for file in new}
    return Published(table=a.sink, outcome="written", rows=sum(f.record_count for f in new), days=len(days))


def _mark(table: Table) -> Mark | None:
    text = table.properties.get(PUBLISHED)
    return Mark(**json.loads(text)) if text else None


def _mark_of(connection: Connection, a: Aggregate, at: datetime) -> Mark:
    version = connection.execute(
        "select version, since from ops.versions where aggregate = %s and since is not null", (a.name,)
    ).fetchone()
    final = connection.execute("select final_until from ops.finality where aggregate = %s", (a.name,)).fetchone()
    return Mark(
        at=at.isoformat(),
        version=f"{version[0]} since {version[1].astimezone(UTC).isoformat()}" if version else None,
        final=floored(final[0], "day").isoformat() if final else None,
    )


def _touched(connection: Connection, a: Aggregate, before: Mark | None, now: Mark) -> list[Stretch]:
    """Whole days whose rows may be others than those that were copied last; they don't overlap."""
    if before is None or before.version != now.version or before.final is None or now.final is None:
        return [Stretch(since=None, until=None)]
    final = datetime.fromisoformat(before.final)
    if datetime.fromisoformat(now.final) < final:
        # The job was rebuilt from scratch.
        return [Stretch(since=None, until=None)]
    since = datetime.fromisoformat(before.at) - LONGEST_PROMOTION
    restated = promoted_or_rolled_back(connection, a.name, since)
    return _merged([*(_whole_days(stretch) for stretch in restated), Stretch(since=final, until=None)])


def _whole_days(stretch: Stretch) -> Stretch:
    until = stretch.until and end_of(stretch.until - timedelta(microseconds=1), "day")
    return Stretch(since=stretch.since and floored(stretch.since, "day"), until=until)


def _merged(stretches: Sequence[Stretch]) -> list[Stretch]:
    earliest, latest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    found: list[Stretch] = []
    for s in sorted(stretches, key=lambda s: s.since or earliest):
        if found and (s.since or earliest) <= (found[-1].until or latest):
            last = found.pop()
            until = None if last.until is None or s.until is None else max(last.until, s.until)
            s = Stretch(since=last.since, until=until)
        found.append(s)
    return found


def _contents(connection: Connection, a: Aggregate, stretch: Stretch) -> dict[date, str]:
    """By day of the stretch that has rows, a fingerprint of them."""
    query = sql.SQL(
        "select (t.{moment} at time zone 'UTC')::date as day_of_row,"
        " count(*) || ':' || sum(hashtextextended(t::text, 0)) as content"
        " from {relation} as t where {inside} group by day_of_row"
    ).format(moment=sql.Identifier(a.moment), relation=_relation(a.sink), inside=_inside(a.moment, stretch))
    return dict(connection.execute(query).fetchall())


def _inside(moment: str, stretch: Stretch) -> sql.Composable:
    conditions: list[sql.Composable] = [
        sql.SQL("t.{} {} {}").format(sql.Identifier(moment), sql.SQL(operator), sql.Literal(edge))
        for operator, edge in ((">=", stretch.since), ("<", stretch.until))
        if edge is not None
    ]
    return sql.SQL(" and ").join(conditions or [sql.SQL("true")])


def _files_of_day(
    connection: Connection, table: Table, a: Aggregate, columns: Sequence[Column], day: date
) -> Iterator[DataFile]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    inside = _inside(a.moment, Stretch(since=start, until=start + DAY))
    order = dict.fromkeys((a.moment, *a.key))
    for rows in _rows(connection, table, columns, inside, tuple(order)):
        yield write(table, rows, day)


def _is_stale(touched: Sequence[Stretch], same: set[date], file: DataFile) -> bool:
    day = day_of(file)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return day not in same and any(
        (s.since is None or s.since <= start) and (s.until is None or start < s.until) for s in touched
    )


# Whole ----------------------------------------------------------------------------------------------------------------


def _publish_whole(connection: Connection, catalog: Catalog, relation: str, at: datetime) -> Published:
    columns = columns_of(connection, relation)
    if not columns:
        return Published(table=relation, outcome="missing")
    table = make_or_bring_up(catalog, relation, columns)
    before = _mark(table)
    query = sql.SQL("select count(*) || ':' || coalesce(sum(hashtextextended(t::text, 0)), 0) from {} as t")
    (content,) = connection.execute(query.format(_relation(relation))).fetchone() or ("",)
    if before and before.content.get("all") == content:
        return Published(table=relation, outcome="unchanged")
    new = [_write_whole(table, rows) for rows in _rows(connection, table, columns, sql.SQL("true"), ())]
    _commit(catalog, table, Mark(at=at.isoformat(), content={"all": content}), new, lambda _: True)
    return Published(table=relation, outcome="written", rows=sum(file.record_count for file in new))


def _write_whole(table: Table, rows: pa.Table) -> DataFile:
    task = WriteTask(write_uuid=uuid.uuid4(), task_id=0, schema=table.schema(), record_batches=rows.to_batches())
    (file,) = write_file(table.io, table.metadata, iter([task]))
    return file


# Both -----------------------------------------------------------------------------------------------------------------


def _rows(
    connection: Connection, table: Table, columns: Sequence[Column], inside: sql.Composable, order: Sequence[str]
) -> Iterator[pa.Table]:
    """The rows, as many at a time as go into a file."""
    query = sql.SQL("select {columns} from {relation} as t where {inside}{order}").format(
        columns=sql.SQL(", ").join(column.expression for column in columns),
        relation=sql.Identifier(*table.name()),
        inside=inside,
        order=sql.SQL(" order by {}").format(sql.SQL(", ").join(map(sql.Identifier, order))) if order else sql.SQL(""),
    )
    schema = schema_to_pyarrow(table.schema().select(*(c.name for c in columns)), include_field_ids=False)
    with connection.cursor(name="published", binary=True) as cursor:
        cursor.itersize = FILE_ROWS
        cursor.execute(query)
        while rows := cursor.fetchmany(FILE_ROWS):
            values = zip(*rows, strict=True)
            arrays = [pa.array(v, type=f.type) for v, f in zip(values, schema, strict=True)]
            yield pa.Table.from_arrays(arrays, schema=schema)


def _relation(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))


def _commit(
    catalog: Catalog, table: Table, mark: Mark, new: Sequence[DataFile], is_stale: Callable[[DataFile], bool]
) -> bool:
    """Exchanges the stale files for the new ones, with the mark, at once. Whether there were any."""
    for _ in range(ATTEMPTS):
        current = catalog.load_table(table.name())
        old = [task.file for task in current.scan().plan_files() if is_stale(task.file)]
        if not old and not new and mark.says_no_more_than(_mark(current)):
            return False
        try:
            with current.transaction() as transaction:
                transaction.set_properties({PUBLISHED: mark.to_json()})
                if old or new:
                    with transaction.update_snapshot().overwrite() as change:
                        for file in old:
                            change.delete_data_file(file)
                        for file in new:
                            change.append_data_file(file)
            return bool(old or new)
        except (CommitFailedException, ValidationException):
            continue  # maintenance came first; nothing was committed
    raise Retryable(
        f"{'.'.join(table.name())}: {ATTEMPTS} times another commit came first; it is unchanged, copy again"
    )
