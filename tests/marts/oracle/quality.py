"""The marts of the folder quality: of every record of the log, what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from tests.marts.oracle.exact import cents, day, money, utc_day
from tests.marts.oracle.history import History, Place, Record, Row, counted
from tests.marts.oracle.listed import mart, quality_mart

DEAD_LETTERS = "ops.dead_letter.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Bytes that became no event, the topic that they were for, and why not."""

    at: datetime
    topic: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """All that came: ``records`` by topic with their places, as the log has them, late ones and copies too.

    ``late`` and ``restated`` are places by topic; ``recorded_at`` is when the topics were last counted; ``runs`` are
    rows of ops.replays.
    """

    records: Mapping[str, Sequence[Record]]
    late: Mapping[str, Collection[Place]] = field(default_factory=dict)
    restated: Mapping[str, Collection[Place]] = field(default_factory=dict)
    dead: Sequence[DeadLetter] = ()
    recorded_at: Mapping[str, datetime] = field(default_factory=dict)
    runs: Sequence[Mapping[str, Any]] = ()


@quality_mart("topic", "day")
def late_events(recorded: Recorded) -> list[Row]:
    days: dict[tuple[str, date], list[bool]] = defaultdict(list)
    for topic, records in recorded.records.items():
        for record in records:
            place = (record["kafka_partition"], record["kafka_offset"])
            if place in recorded.late.get(topic, ()):
                days[topic, utc_day(record["occurred_at"])].append(place in recorded.restated.get(topic, ()))
    return [
        {"topic": topic, "day": on, "late": len(late), "restated": sum(late), "waiting": len(late) - sum(late)}
        for (topic, on), late in days.items()
    ]


@quality_mart("topic", "day", "reason")
def dead_letters(recorded: Recorded) -> list[Row]:
    groups: dict[tuple[str, date, str], list[datetime]] = defaultdict(list)
    for letter in recorded.dead:
        groups[letter.topic, utc_day(letter.at), letter.reason].append(letter.at)
    return [
        {"topic": topic, "day": on, "reason": reason, "dead_letters": len(times), "last_at": max(times)}
        for (topic, on, reason), times in groups.items()
    ]


@quality_mart("topic")
def accounting(recorded: Recorded) -> list[Row]:
    """A topic's events, by their fate. A dead letter never reached the topic that it was for."""
    return [_accounted(recorded, topic) for topic in recorded.recorded_at]


def _accounted(recorded: Recorded, topic: str) -> Row:
    records = recorded.records.get(topic, ())
    late = len(recorded.late.get(topic, ()))
    dead = sum(letter.topic == topic for letter in recorded.dead)
    if topic == DEAD_LETTERS:
        published = counts = len(recorded.dead)
    else:
        published = len(records) + dead
        counts = len(counted(records, recorded.late.get(topic, ())))
    return {
        "topic": topic,
        "published": published,
        "counted": counts,
        "duplicate": published - counts - late - dead,
        "late": late,
        "dead": dead,
        "unaccounted": 0,
        "recorded_at": recorded.recorded_at[topic],
    }


@quality_mart("run", "aggregate")
def certificates(recorded: Recorded) -> list[Row]:
    return [
        _certified(run, one) for run in recorded.runs if run["certificate"] for one in run["certificate"]["aggregates"]
    ]


def _certified(run: Mapping[str, Any], one: Mapping[str, Any]) -> Row:
    return {
        "run": run["run"],
        "aggregate": one["name"],
        "engine": run["engine"],
        "scope": run["scope"],
        "status": run["status"],
        "result": "new" if one.get("is_new") else "different" if one["mismatches"] else "equal",
        "rows_equal": one["equal"],
        "mismatches": one["mismatches"],
        "excluded": sum(one["excluded"].values()),
        "result_hash": one["sha256"],
        "verified_at": run["verified_at"],
        "promoted_at": run["promoted_at"],
        "requested_by": run["requested_by"],
        "reason": run["reason"],
    }


@mart("canary_at")
def canary(h: History) -> list[Row]:
    minutes: dict[datetime, list[int]] = defaultdict(list)
    for e in h.events("ops.canary_sent"):
        minutes[e["occurred_at"].replace(second=0, microsecond=0)].append(cents(e["amount"]))
    return [
        {"day": day(at), "canary_at": at, "canaries": len(amounts), "amount": money(sum(amounts))}
        for at, amounts in minutes.items()
    ]
