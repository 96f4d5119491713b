"""Dead letters by cause: the same topic, source and reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from insights.letters.ways import ADVICE, Way, source_of, way_of
from reconciliation.dead_letters import DeadLetter
from reconciliation.redrives import Done, state_of
from warehouse.postgres import opened


@dataclass(slots=True, kw_only=True)
class Cause:
    """Letters of one cause. ``published`` is how many events of the topic there are, dead letters among them.

    ``example`` is the offset of the latest that is open, or else of the latest.
    """

    topic: str
    source: str
    error: str
    reason: str
    published: int | None
    first: datetime
    last: datetime
    example: int
    letters: int = 0
    redriven: int = 0
    failed: int = 0
    asked: int = 0
    ways: set[Way] = field(default_factory=set)

    @property
    def open(self) -> int:
        """Letters whose event is not on the log, those that failed again among them."""
        return self.letters - self.redriven

    @property
    def share(self) -> float | None:
        """Of what was published to the topic, from 0 to 1; None while nothing is known of it."""
        return self.letters / self.published if self.published else None

    @property
    def advice(self) -> str:
        """What to do."""
        return "; or ".join(ADVICE[way] for way in Way if way in self.ways)

    def as_json(self) -> dict[str, Any]:
        """In a stable format."""
        names = ("topic", "source", "error", "reason", "letters", "open", "redriven", "failed", "asked", "share")
        said = {name: getattr(self, name) for name in (*names, "published", "example", "advice")}
        return {**said, "first": self.first.isoformat(), "last": self.last.isoformat()}


def by_cause(letters: Iterable[DeadLetter], done: Done, published: Mapping[str, int]) -> list[Cause]:
    """The causes of letters with their bytes, oldest letter first; most open letters first. Blocks as they do."""
    causes: dict[tuple[str, str, str, str], Cause] = {}
    is_open: set[tuple[str, str, str, str]] = set()
    for letter in letters:
        key = (letter.topic, source_of(letter), letter.error, letter.reason)
        cause = causes.get(key)
        if cause is None:
            cause = causes[key] = Cause(
                topic=letter.topic,
                source=key[1],
                error=letter.error,
                reason=letter.reason,
                published=published.get(letter.topic),
                first=letter.dead_at,
                last=letter.dead_at,
                example=letter.offset,
            )
        row = state_of(letter, done)
        state = row.state if row else ""
        cause.letters += 1
        cause.redriven += state == "redriven"
        cause.failed += state == "failed"
        cause.asked += state == "asked"
        cause.ways.add(way_of(letter))
        cause.last = max(cause.last, letter.dead_at)
        if state != "redriven" or key not in is_open:
            cause.example = letter.offset
        if state != "redriven":
            is_open.add(key)
    return sorted(causes.values(), key=lambda each: (-each.open, -each.letters, each.topic, each.reason))


def published(dsn: str) -> dict[str, int]:
    """Events by topic, dead letters among them, as last recorded; none before the table is there. PostgresAway."""
    with opened(dsn) as connection:
        try:
            rows = connection.execute("select topic, published from ops.log_counts").fetchall()
        except psycopg.errors.UndefinedTable:
            return {}
    return {str(topic): int(number) for topic, number in rows}
