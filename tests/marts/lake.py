"""The raw log as the lake has it, and what Postgres has recorded of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from insights.settings import Settings
from insights.wiring import deployment
from schemas.catalogue import avro_events, event
from tests.marts.oracle.history import History, Place, Record, counted
from tests.marts.oracle.quality import DeadLetter, Recorded
from warehouse.tables import open_lake

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[dict[str, Any]]
TOPIC_HEADER = "__connect.errors.topic"


def recorded(settings: Settings, connection: Connection) -> Recorded:
    """Every record of the lake, in order of arrival, and what Postgres has recorded of them."""
    with closing(open_lake(deployment(settings))) as catalog:

        def archived(table: str) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = catalog.load_table(f"events.{table}").scan().to_arrow().to_pylist()
            return sorted(rows, key=lambda r: (r["kafka_timestamp"], r["kafka_partition"], r["kafka_offset"]))

        records = {e.topic: archived(e.table) for e in avro_events()}
        letters = archived(event("ops.dead_letter").table)
    cursor = connection.cursor(row_factory=dict_row)
    counts = cursor.execute("select topic, recorded_at from ops.log_counts").fetchall()
    return Recorded(
        records=records,
        late=_places(cursor, "ops.late_events"),
        restated=_places(cursor, "ops.restated_events"),
        dead=_letters(cursor, letters),
        recorded_at={row["topic"]: row["recorded_at"].astimezone(UTC) for row in counts},
        runs=[_in_utc(row) for row in cursor.execute("select * from ops.replays").fetchall()],
    )


def history(of: Recorded) -> History:
    """What counts: late records don't, unless a restatement counts them."""
    found: dict[str, list[Record]] = {}
    for e in avro_events():
        waiting = set(of.late.get(e.topic, ())) - set(of.restated.get(e.topic, ()))
        found[e.name] = counted(of.records[e.topic], waiting)
    return History(found)


def _places(cursor: Cursor, table: str) -> dict[str, set[Place]]:
    found: dict[str, set[Place]] = {}
    for row in cursor.execute(f"select topic, kafka_partition, kafka_offset from {table}"):  # noqa: S608
        found.setdefault(row["topic"], set()).add((row["kafka_partition"], row["kafka_offset"]))
    return found


def _letters(cursor: Cursor, archived: Sequence[Mapping[str, Any]]) -> list[DeadLetter]:
    """The lake's, each with the reason in ops.dead_letters: without what it quotes of the letter."""
    found = cursor.execute("select kafka_offset, reason from ops.dead_letters")
    reasons = {row["kafka_offset"]: row["reason"] for row in found}
    return [
        DeadLetter(
            at=row["kafka_timestamp"],
            topic=dict(row["headers"])[TOPIC_HEADER].decode(),
            reason=reasons[row["kafka_offset"]],
        )
        for row in archived
    ]


def _in_utc(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in row.items()}
