"""Reads the dead records from Postgres: records on a topic that count nowhere, with their position and reason."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg

from warehouse.postgres import opened

NEWEST = 50
CONNECT_SECONDS = 5
# Reasons quote places and times: with an ellipsis for each of their numbers, equal reasons add up.
BY_REASON = """
select topic, regexp_replace(reason, '[0-9][0-9.:TZ+-]*', '…', 'g') as reason, count(*), max(published_at)
from ops.dead_records
where %(topic)s::text is null or topic in (%(topic)s, %(topic)s || '.v1')
group by 1, 2
order by count(*) desc, 1, 2
"""
BY_TIME = """
select topic, kafka_partition, kafka_offset, published_at, reason, is_unreadable, value
from ops.dead_records
where %(topic)s::text is null or topic in (%(topic)s, %(topic)s || '.v1')
order by published_at desc, topic, kafka_partition, kafka_offset desc
limit %(most)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRecord:
    """One record. ``value`` are its bytes where it can't be read and has any: the lake has the others whole."""

    topic: str
    partition: int
    offset: int
    published_at: datetime
    reason: str
    is_unreadable: bool
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """How many records of a topic are dead for one reason."""

    topic: str
    reason: str
    records: int
    newest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRecords:
    """All of them by topic and reason, and the newest one by one."""

    reasons: Sequence[Reason] = ()
    newest: Sequence[DeadRecord] = ()


def listed(dsn: str, topic: str | None = None, *, most: int | None = NEWEST) -> DeadRecords:
    """Those of every topic or of one; none before the tables are there. Raises PostgresAway."""
    with opened(dsn) as connection:
        with suppress(psycopg.errors.UndefinedTable):
            return _read(connection, topic, most)
        return DeadRecords()


def _read(connection: psycopg.Connection, topic: str | None, most: int | None) -> DeadRecords:
    asked = {"topic": topic, "most": most}
    reasons = connection.execute(BY_REASON.encode(), asked).fetchall()
    newest = connection.execute(BY_TIME.encode(), asked).fetchall()
    return DeadRecords(
        reasons=[Reason(topic=of, reason=why, records=count, newest_at=at) for of, why, count, at in reasons],
        newest=[
            DeadRecord(
                **{"topic": of, "partition": partition, "offset": offset, "published_at": at, "reason": why},
                **{"is_unreadable": is_unreadable, "value": value},
            )
            for of, partition, offset, at, why, is_unreadable, value in newest
        ],
    )
