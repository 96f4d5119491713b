"""The record of redriven letters: ops.redrives. A letter has one row, that of its latest attempt.

A row says ``sending`` before its event is published, so that a command that was killed is known to have begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import psycopg

from reconciliation.dead_letters import PARTITION, DeadLetter
from schemas.errors import Misconfigured, Retryable
from warehouse.postgres import Connection, opened

State = Literal["sending", "redriven", "failed", "asked"]
LOCK: Final = 7_305_120_417
READ: Final = """
select kafka_offset, dead_at, topic, state, event_id, recipe, recipe_sha256, reason, redriven_by, redriven_at
from ops.redrives
"""
WRITE: Final = """
insert into ops.redrives (
    kafka_partition, kafka_offset, dead_at, topic, state, event_id, recipe, recipe_sha256, reason, redriven_by,
    redriven_at
) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (kafka_partition, kafka_offset) do update
set dead_at = excluded.dead_at, topic = excluded.topic, state = excluded.state, event_id = excluded.event_id,
    recipe = excluded.recipe, recipe_sha256 = excluded.recipe_sha256, reason = excluded.reason,
    redriven_by = excluded.redriven_by, redriven_at = excluded.redriven_at
"""


class AlreadyRunning(Retryable):
    """Somebody redrives letters right now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """A row. ``topic`` is the event's; ``reason`` quotes no values."""

    offset: int
    dead_at: datetime
    topic: str
    state: State
    event_id: str | None
    recipe: str | None
    recipe_sha256: str | None
    reason: str | None
    by: str
    at: datetime


Done = Mapping[int, Redrive]
"""By the letter's offset."""


def state_of(letter: DeadLetter, done: Done) -> Redrive | None:
    """What was done about a letter. A row of another log, in which another letter had the offset, is not about it."""
    row = done.get(letter.offset)
    return row if row is not None and row.dead_at == letter.dead_at else None


def listed(dsn: str) -> dict[int, Redrive]:
    """All of them; none before the table is there. Raises PostgresAway."""
    with opened(dsn) as connection:
        try:
            return read(connection)
        except psycopg.errors.UndefinedTable:
            return {}


def read(connection: Connection) -> dict[int, Redrive]:
    """All of them. May raise psycopg.Error."""
    names = ("offset", "dead_at", "topic", "state", "event_id", "recipe", "recipe_sha256", "reason", "by", "at")
    rows = connection.execute(READ).fetchall()
    return {row[0]: Redrive(**dict(zip(names, row, strict=True))) for row in rows}


def write(connection: Connection, rows: Iterable[Redrive]) -> None:
    """Note attempts; they are on disk when this returns. May raise psycopg.Error."""
    values = [
        (PARTITION, r.offset, r.dead_at, r.topic, r.state, r.event_id, r.recipe, r.recipe_sha256, r.reason, r.by, r.at)
        for r in rows
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(WRITE, values)


@contextmanager
def alone(dsn: str) -> Iterator[Connection]:
    """A connection of the only one who redrives. Raises AlreadyRunning, PostgresAway, or Misconfigured."""
    with opened(dsn) as connection:
        (is_mine,) = connection.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone() or (False,)
        if not is_mine:
            raise AlreadyRunning("another `insights dead-letters redrive` is running; wait until it has ended")
        if connection.execute("select to_regclass('ops.redrives')").fetchone() == (None,):
            raise Misconfigured("the table ops.redrives is missing; `insights up` creates it")
        yield connection
