"""Accounts for every topic's events: published = counted + duplicate + late + dead. Reads Postgres and Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.catalogue import events

KAFKA_SECONDS = 3.0
QUIET = {"log_level": 0, "logger": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCounts:
    """What became of one topic's events; None where its source is unavailable."""

    published: int | None
    counted: int | None
    duplicate: int | None
    late: int | None
    dead: int | None

    @property
    def unaccounted(self) -> int | None:
        """Published and not yet counted, found to be a duplicate, late or dead: 0 at rest. None if unknown."""
        fates = (self.counted, self.duplicate, self.late, self.dead)
        if self.published is None or None in fates:
            return None
        return self.published - sum(fate or 0 for fate in fates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A topic's row of ops.event_counts, over all days. ``on_time`` includes duplicates, ``counted`` does not."""

    on_time: int
    counted: int
    last_event_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What replays have done: late events that count since a restatement, by topic; newest run by table's name."""

    restated: Mapping[str, int]
    newest: Mapping[str, str]


NO_REPLAYS = Replayed(restated={}, newest={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What Postgres has recorded: tallies, late and dead records by topic; finality and version by aggregate."""

    tallies: Mapping[str, Tally]
    late: Mapping[str, int]
    final_until: Mapping[str, datetime]
    replayed: Replayed = NO_REPLAYS
    versions: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What Kafka has: records by topic, since each topic's beginning, and dead letters by the topic they were for."""

    records: Mapping[str, int]
    dead: Mapping[str, int]


def count(topic: str, log: Log | None, recorded: Recorded | None, *, avro: bool) -> TopicCounts:
    """One topic's sum. Dead are letters, and records on the topic that the job found to be dead.

    A letter never reached the topic that it was for, so that topic's published adds it.
    """
    if not avro:
        records = log.records.get(topic, 0) if log else None
        return TopicCounts(published=records, counted=records, duplicate=0, late=0, dead=0)
    dead = log.dead.get(topic, 0) + recorded.dead.get(topic, 0) if log and recorded else None
    tally = recorded.tallies.get(topic) if recorded else None
    return TopicCounts(
        published=None if log is None else log.records.get(topic, 0) + log.dead.get(topic, 0),
        counted=None if recorded is None else tally.counted if tally else 0,
        duplicate=None if recorded is None else tally.on_time - tally.counted if tally else 0,
        late=None if recorded is None else recorded.late.get(topic, 0),
        dead=dead,
    )


def read_recorded(connection: psycopg.Connection[tuple[Any, ...]]) -> Recorded:
    """What is recorded now; empty before the tables exist. May raise psycopg.Error."""
    try:
        tallies = connection.execute(
            "select topic, sum(on_time)::bigint, sum(counted)::bigint, max(last_event_at)"
            " from ops.event_counts group by topic"
        ).fetchall()
        late = connection.execute("select topic, count(*) from ops.late_events group by topic").fetchall()
        dead = connection.execute("select topic, count(*) from ops.dead_records group by topic").fetchall()
        final = connection.execute("select aggregate, final_until from ops.finality").fetchall()
        seen = connection.execute("select aggregate, version from ops.versions where since is not null").fetchall()
    except psycopg.errors.UndefinedTable:
        return Recorded(tallies={}, late={}, final_until={})
    return Recorded(
        tallies={topic: Tally(on_time=on, counted=counted, last_event_at=at) for topic, on, counted, at in tallies},
        late={str(topic): int(number) for topic, number in late},
        dead={str(topic): int(number) for topic, number in dead},
        final_until={str(name): at for name, at in final},
        versions={str(name): int(version) for name, version in seen},
        replayed=_read_replayed(connection),
    )


def _read_replayed(connection: psycopg.Connection[tuple[Any, ...]]) -> Replayed:
    try:
        restated = connection.execute("select topic, count(*) from ops.restated_events group by topic").fetchall()
        newest = connection.execute(
            "select distinct on (name) name, run || ' ' || status from ops.replays"
            " cross join lateral unnest(aggregates) as replayed (name) order by name, created_at desc"
        ).fetchall()
    except psycopg.errors.UndefinedTable:
        return NO_REPLAYS
    return Replayed(
        restated={str(topic): int(number) for topic, number in restated},
        newest={str(name): str(run) for name, run in newest},
    )


def read_log(admin: AdminClient) -> dict[str, int]:
    """Records ever appended, by topic: its end offsets, which retention does not lower. Raises KafkaException."""
    there = admin.list_topics(timeout=KAFKA_SECONDS).topics
    ends = {
        TopicPartition(e.topic, partition): OffsetSpec.latest()
        for e in events()
        if e.topic in there
        for partition in there[e.topic].partitions
    }
    totals: dict[str, int] = {}
    if ends:
        for partition, future in admin.list_offsets(ends, request_timeout=KAFKA_SECONDS).items():
            totals[partition.topic] = totals.get(partition.topic, 0) + int(future.result().offset)
    return totals
