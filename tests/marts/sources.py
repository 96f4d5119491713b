"""The tables that the marts are made from, filled as the live job and replays fill them, without either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from aggregates.catalogue import aggregates
from flink.plan import touched_by
from flink.tables import make_postgres_tables, schemas_ddl
from replay import records
from schemas.catalogue import event
from tests.aggregates import oracle as tables
from tests.marts.any_shop import Log, Record

Connection = psycopg.Connection[tuple[Any, ...]]
FINAL_UNTIL_IS_BEHIND = timedelta(hours=24)


@dataclass(slots=True)
class Came:
    """A log, some of whose records came late. Every record has its place: partition 0, in the order of the list."""

    log: Log
    late: dict[str, set[int]] = field(default_factory=dict)
    restated: dict[str, set[int]] = field(default_factory=dict)

    def counts(self) -> Log:
        """What is in facts and aggregates."""
        return {
            name: [
                record
                for offset, record in enumerate(records_)
                if offset not in self.late.get(name, set()) - self.restated.get(name, set())
            ]
            for name, records_ in self.log.items()
        }


def make(connection: Connection) -> None:
    """All tables, empty."""
    for statement in schemas_ddl():
        connection.execute(statement)
    make_postgres_tables(connection)
    records.set_up(connection)
    connection.commit()


def fill(connection: Connection, came: Came) -> None:
    """Facts, aggregates and books as they are when all of the log has come, in place of what was there."""
    counting = came.counts()
    for a in aggregates():
        rows = tables.table(a.name, a.key, counting)
        put(connection, a.table, list(a.columns), rows)
    topics = {name: event(name).topic for name in came.log}
    put(connection, "ops.event_counts", None, tables.event_counts(topics, counting))
    put(connection, "ops.late_events", None, [row for name in came.log for row in _late(name, came)])
    put(connection, "ops.finality", None, _finality(counting))
    connection.commit()


def put(connection: Connection, table: str, columns: Sequence[str] | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows in place of what was in the table."""
    target = sql.Identifier(*table.split("."))
    connection.execute(sql.SQL("truncate {}").format(target))
    if not rows:
        return
    names = columns or list(rows[0])
    copy = sql.SQL("copy {} ({}) from stdin").format(target, sql.SQL(", ").join(map(sql.Identifier, names)))
    with connection.cursor() as cursor, cursor.copy(copy) as out:
        for row in rows:
            out.write_row([row[name] for name in names])


def _late(name: str, came: Came) -> list[Record]:
    touched = ",".join(touched_by(event(name), aggregates()))
    return [
        {
            "topic": event(name).topic,
            "kafka_partition": 0,
            "kafka_offset": offset,
            "event_id": came.log[name][offset]["event_id"],
            "occurred_at": came.log[name][offset]["occurred_at"],
            "watermark": came.log[name][offset]["occurred_at"] + FINAL_UNTIL_IS_BEHIND * 2,
            "aggregates": touched,
        }
        for offset in came.late.get(name, ())
    ]


def _finality(counting: Log) -> list[Record]:
    newest = max((r["occurred_at"] for records_ in counting.values() for r in records_), default=datetime.now(UTC))
    return [
        {
            "aggregate": a.name,
            "final_until": newest - FINAL_UNTIL_IS_BEHIND - timedelta(hours=a.overrun_hours),
            "watermark": newest,
            "checkpoint_id": 1,
            "recorded_at": newest,
        }
        for a in aggregates()
    ]
