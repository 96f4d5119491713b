"""From batches to events on the log, in the writer's thread. Counts every event by its outcome."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from producers.collect.batch import BadEvent, Batch, Refusal, Sent
from producers.collect.keys import Key
from producers.collect.visits import DAY_MS, DRIFT_MS, Visit, Visits
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.runner import Run
from producers.shop.identifiers import event_id_of
from schemas import catalogue
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import BrokerUnavailable, PoisonEvent

INTERACTION: Final = catalogue.event("web.interaction")
COMMIT_SECONDS: Final = 0.9
MOST_QUEUED: Final = 50_000
OLDEST_MS: Final = DAY_MS
TIDY_EVERY_MS: Final = 600_000
SOMEWHERE: Final = "unknown"
COUNT: Final = """
insert into tallies values (?, ?, ?, ?)
on conflict (name, day, outcome) do update set events = events + excluded.events
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a batch."""

    accepted: int
    refused: list[Refusal]


class Intake:
    """Publishes web events, and counts them. For one thread only, which owns the database."""

    def __init__(self, this: Run, database: sqlite3.Connection, clock_ms: Callable[[], int]) -> None:
        self._this = this
        self._database = database
        self._visits = Visits(database)
        self._clock_ms = clock_ms
        self._persons = PersonKeys(this.options.state)
        self._letters = Letters(this.publisher, self._persons, this.clock)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._tidied_ms = 0

    def take(self, key: Key, who: tuple[str, ...], batch: Batch) -> Taken:
        """Queue a batch. Raises BrokerUnavailable, with nothing taken, while Kafka has too much before it."""
        publisher = self._this.publisher
        if publisher.queued > MOST_QUEUED:
            raise BrokerUnavailable(f"{publisher.queued} events wait for Kafka already")
        now_ms = self._clock_ms()
        events = sorted(batch.events, key=lambda each: each[2].at)
        # What a visit is known by is on disk before any of it may be on the log: what is sent again has the same time.
        with self._transaction():
            self._tidy(now_ms)
            skew_ms, placed = self._visits.place(key.name, who, [e for _, _, e in events], batch.sent_at, now_ms)
        last = placed[-1][1] if placed else None
        refused = [(each, last) for each in batch.refused]
        for (index, original, event), (at_ms, visit) in zip(events, placed, strict=True):
            try:
                check_time(at_ms, now_ms)
                self._this.publish(INTERACTION, self._named(record(key.name, event, at_ms, visit)))
            except PoisonEvent as error:
                refused.append((Refusal(index=index, original=original, error=error), visit))
        for each, its_visit in refused:
            self._dead_letter(key, each, skew_ms, its_visit)
        self._counts[key.name, "published"] += batch.size - len(refused)
        self._counts[key.name, "refused"] += len(refused)
        return Taken(
            accepted=batch.size - len(refused),
            refused=sorted((each for each, _ in refused), key=lambda each: each.index),
        )

    def take_bots(self, key: Key, events: int) -> None:
        """Count a bot's events; none is published."""
        self._counts[key.name, "bot"] += events

    def commit(self, deadline_seconds: float = COMMIT_SECONDS) -> None:
        """Blocks until all that was taken is on the log, and counts it.

        Raises BrokerUnavailable when it is not by the deadline (it may be later) and DeliveryFailed.
        """
        counts, self._counts = self._counts, Counter()
        self._this.publisher.flush(deadline_seconds)
        today = self._clock_ms() // DAY_MS
        rows = [(name, today, outcome, number) for (name, outcome), number in counts.items() if number]
        with self._transaction():
            self._database.executemany(COUNT, rows)

    def close(self) -> None:
        """Close the databases."""
        self._database.close()
        self._persons.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._database.execute("rollback")
            raise
        self._database.execute("commit")

    def _tidy(self, now_ms: int) -> None:
        if now_ms - self._tidied_ms > TIDY_EVERY_MS:
            self._tidied_ms = now_ms
            self._visits.forget_old(now_ms)

    def _dead_letter(self, key: Key, refusal: Refusal, skew_ms: int, visit: Visit | None) -> None:
        """``visit`` is its own, or that of its batch: once the event is fixed, it belongs there.

        By the skew the fixed event has the time and the id that it has when it is sent again, corrected.
        """
        said = {"skew_ms": str(skew_ms)} | ({} if visit is None else _of_visit(visit))
        self._letters.send(
            INTERACTION,
            refusal.original,
            error=refusal.error,
            origin={"source": key.name},
            quoting=said,
            whose=self._whose(key, refusal.original),
        )

    def _named(self, event: dict[str, Any]) -> dict[str, Any]:
        """With the customer as the log has them: what an erased one does later is somebody new's."""
        if event["user_id"] is not None:
            event["user_id"] = self._persons.called(event["user_id"])
        return event

    def _whose(self, key: Key, original: bytes) -> str | None:
        """The customer of an event that is refused, where it has one's number."""
        try:
            said = msgspec.json.decode(original)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        user_id = said.get("user_id") if isinstance(said, dict) else None
        if not isinstance(user_id, str | int) or "@" in str(user_id):
            return None
        return self._persons.called(f"{key.name}-{user_id}")


def check_time(at_ms: int, now_ms: int) -> None:
    """Raises BadEvent for an event of long ago, or of a time that is not yet."""
    if at_ms < now_ms - OLDEST_MS:
        raise BadEvent("at", f"is {(now_ms - at_ms) / 3_600_000:.1f} h before it arrived; events are accepted for 24 h")
    if at_ms > now_ms + DRIFT_MS:
        raise BadEvent("at", f"is {(at_ms - now_ms) / 1000:.0f} s after it was sent")


def _of_visit(visit: Visit) -> dict[str, str]:
    """What a letter says of the visit that its event belongs to."""
    said = {
        "session_id": visit.session_id,
        "session_started_ms": str(visit.started_ms),
        "session_referrer": visit.referrer or "",
        "session_campaign": visit.campaign or "",
    }
    return {name: text for name, text in said.items() if text}


class Session(Protocol):
    """What an event says of its visit: visits.Visit."""

    @property
    def session_id(self) -> str:
        """Its id."""
        ...

    @property
    def started_ms(self) -> int:
        """When it began, in milliseconds since 1970."""
        ...

    @property
    def referrer(self) -> str | None:
        """The host that it came from."""
        ...

    @property
    def campaign(self) -> str | None:
        """The campaign that it came from."""
        ...


def record(source: str, event: Sent, at_ms: int, visit: Session) -> dict[str, Any]:
    """The event as its contract has it. Numbers of customers and orders have the source's name before them."""
    return {
        "event_id": event_id_of(source, f"web:{event.id}", at_ms),
        "occurred_at": EPOCH + at_ms * MILLISECOND,
        "source": source,
        "trace": None,
        "session_id": visit.session_id,
        "session_started_at": EPOCH + visit.started_ms * MILLISECOND,
        "interaction": event.interaction,
        "user_id": event.user_id and f"{source}-{event.user_id}",
        "product_id": event.product_id,
        "order_id": event.order_id and f"{source}-{event.order_id}",
        # What is asked for in an address may name a person; the path is enough.
        "page": event.page.partition("?")[0].partition("#")[0] or "/",
        "referrer": visit.referrer,
        "campaign": visit.campaign,
        "region": event.region or SOMEWHERE,
    }
