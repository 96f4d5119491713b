"""The tables that the marts are made from, filled as the live job and replays fill them, without either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from aggregates.catalogue import Aggregate, aggregates, touched_by
from aggregates.windows import floored
from aggregates.zones import Zone, zone
from replay.planning import merged
from schemas.catalogue import event
from tests.aggregates import oracle as tables
from tests.marts.any_shop import Log, Record
from tests.marts.oracle.exact import OF_SHOPS
from tests.marts.oracle.quality import DeadLetter, Recorded
from warehouse.shop_days import make_times_of_shops
from warehouse.tables import make_postgres_tables

Connection = psycopg.Connection[tuple[Any, ...]]
FINAL_UNTIL_IS_BEHIND = timedelta(hours=24)
COUNTED_AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass(slots=True)
class Came:
    """A log, some of whose records came late. Every record has its place: partition 0, in the order of the list.

    ``runs`` are rows of ops.replays.
    """

    log: Log
    late: dict[str, set[int]] = field(default_factory=dict)
    restated: dict[str, set[int]] = field(default_factory=dict)
    dead: Sequence[DeadLetter] = ()
    runs: Sequence[Record] = ()

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
    """All tables, empty: those that the stack makes before anything is read or built."""
    make_postgres_tables(connection)
    make_times_of_shops(connection, zones_of_shops())
    connection.commit()


def zones_of_shops() -> dict[str, Zone | None]:
    """The shops of a history whose days are of a zone of their own."""
    return {shop: zone(info.key) for shop, info in OF_SHOPS.items()}


def fill(connection: Connection, came: Came) -> None:
    """Facts, aggregates and ops tables as they are when all of the log has come, in place of what was there."""
    counting = came.counts()
    for a in aggregates():
        rows = tables.table(a.name, a.key, counting)
        put(connection, a.table, list(a.columns), rows)
    topics = {name: event(name).topic for name in came.log}
    put(connection, "ops.event_counts", None, tables.event_counts(topics, counting))
    put(connection, "ops.late_events", None, [row for name in came.log for row in _late(name, came)])
    put(connection, "ops.restated_events", None, [row for name in came.log for row in _restated(name, came)])
    put(connection, "ops.finality", None, _finality(counting))
    put(connection, "ops.dead_letters", None, [_dead(n, letter) for n, letter in enumerate(came.dead)])
    put(connection, "ops.log_counts", None, [_counts(name, came) for name in came.log])
    if came.runs:
        put(connection, "ops.replays", None, came.runs)
    connection.commit()


def recorded(came: Came) -> Recorded:
    """The same for the marts' oracle."""
    topics = {name: event(name).topic for name in came.log}
    return Recorded(
        records={
            topics[name]: [{**r, "kafka_partition": 0, "kafka_offset": n} for n, r in enumerate(records_)]
            for name, records_ in came.log.items()
        },
        late={topics[name]: {(0, n) for n in offsets} for name, offsets in came.late.items()},
        restated={topics[name]: {(0, n) for n in offsets} for name, offsets in came.restated.items()},
        dead=came.dead,
        recorded_at=dict.fromkeys(topics.values(), COUNTED_AT),
        runs=came.runs,
    )


def late_run(came: Came, at: datetime) -> Record:
    """A promoted run that made the late events count; its windows are those that they touch."""
    windows = {a.name: _touched(a, came) for a in aggregates()}
    named = {name: found for name, found in windows.items() if found}
    certified = [
        {"name": name, "equal": 10, "mismatches": n % 2, "excluded": {"a": n, "b": 1}, "sha256": f"{n}"}
        | ({"is_new": True} if n == 2 else {})
        for n, name in enumerate(named)
    ]
    return {
        **{"run": "r1", "status": "promoted", "scope": "late", "aggregates": list(named), "engine": "duckdb"},
        "plan": {"aggregates": [{"name": name, "windows": found} for name, found in named.items()]},
        **{"plan_digest": "", "requested_by": "a test", "reason": "late events counted", "records": 1},
        "certificate": {"aggregates": certified},
        "changes": {name: {"rows_added": 1, "rows_removed": 1} for name in named},
        **{"created_at": at, "verified_at": at, "promoted_at": at, "rolled_back_at": None, "compute_seconds": 1.0},
    }


def _touched(a: Aggregate, came: Came) -> list[dict[str, Any]]:
    moments = [came.log[name][offset][a.time] for name in a.inputs for offset in came.late.get(name, ())]
    starts = sorted({floored(moment, a.window, a.zone) for moment in moments})
    return [stretch.model_dump(mode="json") for stretch in merged(starts, a.window, a.zone)]


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
            out.write_row([Jsonb(row[name]) if isinstance(row[name], dict) else row[name] for name in names])


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


def _restated(name: str, came: Came) -> list[Record]:
    return [
        {"topic": event(name).topic, "kafka_partition": 0, "kafka_offset": offset, "run": "r1"}
        for offset in came.restated.get(name, ())
    ]


def _dead(number: int, letter: DeadLetter) -> Record:
    return {
        **{"kafka_partition": 0, "kafka_offset": number, "dead_at": letter.at, "topic": letter.topic},
        **{"error": "an.Error", "reason": letter.reason, "source_partition": None, "source_offset": None},
    }


def _counts(name: str, came: Came) -> Record:
    """As the stack counts: a restated event stays a late one."""
    late = len(came.late.get(name, ()))
    dead = sum(letter.topic == event(name).topic for letter in came.dead)
    counted = len(came.log[name]) - late
    return {
        **{"topic": event(name).topic, "published": counted + late + dead, "counted": counted, "duplicate": 0},
        **{"late": late, "dead": dead, "recorded_at": COUNTED_AT},
    }


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
