"""The raw log as the lake has it, and what the books say about its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from flink.tables import open_lake
from insights.deployment import deployment
from insights.settings import Settings
from schemas.catalogue import avro_events, event
from tests.marts.oracle.history import History, Place, Record, counted
from tests.marts.oracle.quality import Books, DeadLetter

TOPIC_HEADER = "__connect.errors.topic"


def books(settings: Settings) -> Books:
    """Every record of the lake, in the order in which they came, and the late ledger's places."""
    with closing(open_lake(deployment(settings))) as catalog:

        def archived(table: str) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = catalog.load_table(f"events.{table}").scan().to_arrow().to_pylist()
            return sorted(rows, key=lambda r: (r["kafka_timestamp"], r["kafka_partition"], r["kafka_offset"]))

        records = {e.topic: archived(e.table) for e in avro_events()}
        letters = archived(event("ops.dead_letter").table)
    with psycopg.connect(settings.postgres_dsn, row_factory=dict_row) as connection:
        return Books(
            records=records,
            late=_places(connection, "ops.late_events"),
            restated=_places(connection, "ops.restated_events"),
            dead=_letters(connection, letters),
            recorded_at={
                row["topic"]: row["recorded_at"].astimezone(UTC)
                for row in connection.execute("select topic, recorded_at from ops.log_counts")
            },
            runs=[_in_utc(row) for row in connection.execute("select * from ops.replays")],
        )


def history(of: Books) -> History:
    """What counts: late records don't, unless a restatement counts them."""
    found: dict[str, list[Record]] = {}
    for e in avro_events():
        waiting = set(of.late.get(e.topic, ())) - set(of.restated.get(e.topic, ()))
        found[e.name] = counted(of.records[e.topic], waiting)
    return History(found)


def _places(connection: psycopg.Connection[dict[str, Any]], table: str) -> dict[str, set[Place]]:
    found: dict[str, set[Place]] = {}
    for row in connection.execute(f"select topic, kafka_partition, kafka_offset from {table}"):  # noqa: S608
        found.setdefault(row["topic"], set()).add((row["kafka_partition"], row["kafka_offset"]))
    return found


def _letters(connection: psycopg.Connection[dict[str, Any]], archived: Sequence[Mapping[str, Any]]) -> list[DeadLetter]:
    """The lake's, each with the reason that the books give: without what it quotes of the letter."""
    found = connection.execute("select kafka_offset, reason from ops.dead_letters")
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
