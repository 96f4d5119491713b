"""What runs, what was counted, and how fresh it is. What is away leaves a gap, not an error."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from aggregates.catalogue import aggregates
from alerts import ledger
from alerts.ledger import Summary
from flink import deploy
from flink.live_job import JOB_NAME, differences, kept_jobs
from flink.rest import FlinkUnavailable, JobFailed
from insights.deployment import deployment
from insights.settings import Settings
from insights.stack import PartState, part_states
from schemas.catalogue import event, events
from schemas.errors import Misconfigured

KAFKA_SECONDS = 3.0
POSTGRES_SECONDS = 3
ORIGIN_HEADER = "__connect.errors.topic"
QUIET = {"log_level": 0, "logger": None}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCounts:
    """What became of one topic's events; None where the part that knows is away."""

    published: int | None
    counted: int | None
    duplicate: int | None
    late: int | None
    dead: int | None

    @property
    def unaccounted(self) -> int | None:
        """Published and not yet counted, known as a duplicate, late or dead: 0 at rest. None when not known."""
        fates = (self.counted, self.duplicate, self.late, self.dead)
        if self.published is None or None in fates:
            return None
        return self.published - sum(fate or 0 for fate in fates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A topic's row of ops.event_counts, over all days. ``on_time`` holds duplicates, ``counted`` does not."""

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
class Books:
    """What Postgres knows: tallies and late events by topic, by aggregate finality and the version that readers see."""

    tallies: Mapping[str, Tally]
    late: Mapping[str, int]
    final_until: Mapping[str, datetime]
    replayed: Replayed = NO_REPLAYS
    versions: Mapping[str, int] = field(default_factory=dict)
    alerts: Summary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What Kafka knows: records by topic, since each topic's beginning, and dead letters by the topic they were for."""

    records: Mapping[str, int]
    dead: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as Flink tells it; None throughout when Flink is away."""

    name: str
    state: str | None = None
    last_checkpoint_age_seconds: float | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at every part; None where it was away, and ``away`` says why."""

    at: datetime
    parts: tuple[PartState, ...]
    log: Log | None
    books: Books | None
    jobs: tuple[Job, ...] | None
    away: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `insights status` shows. ``as_json`` is a stable interface; the rest is for people."""

    endpoints: Mapping[str, Any]
    topics: Mapping[str, TopicCounts]
    jobs: tuple[Job, ...]
    freshness_seconds: Mapping[str, float | None]
    final_until: Mapping[str, datetime | None]
    parts: tuple[PartState, ...]
    away: tuple[str, ...]
    replayed: Replayed = NO_REPLAYS
    versions: Mapping[str, int] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    alerts: Summary | None = None

    def as_json(self) -> dict[str, Any]:
        """Endpoints, topics, jobs, freshness_seconds and final_until; null where the part that knows is away."""
        return {
            "endpoints": dict(self.endpoints),
            "topics": {topic: asdict(counts) for topic, counts in self.topics.items()},
            "jobs": [asdict(job) for job in self.jobs],
            "freshness_seconds": dict(self.freshness_seconds),
            "final_until": {name: at and _iso(at) for name, at in self.final_until.items()},
        }


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def judge(observed: Observed, endpoints: Mapping[str, Any], sinks: Mapping[str, tuple[str, ...]]) -> Status:
    """Turn one look into a status. ``sinks`` is each table's topics. Pure."""
    final = observed.books.final_until if observed.books else {}
    return Status(
        endpoints=endpoints,
        topics={e.topic: count(e.topic, observed.log, observed.books, avro=e.format == "avro") for e in events()},
        jobs=(Job(name=JOB_NAME),) if observed.jobs is None else observed.jobs,
        freshness_seconds={table: freshness(topics, observed.books, observed.at) for table, topics in sinks.items()},
        final_until={a.name: final.get(a.name) for a in aggregates() if not a.is_fact},
        parts=observed.parts,
        away=observed.away,
        replayed=observed.books.replayed if observed.books else NO_REPLAYS,
        versions=observed.books.versions if observed.books else {},
        alerts=observed.books.alerts if observed.books else None,
    )


def count(topic: str, log: Log | None, books: Books | None, *, avro: bool) -> TopicCounts:
    """One topic's sum. A dead letter never reached the topic that it was for, so that topic's published adds it."""
    if not avro:
        records = log.records.get(topic, 0) if log else None
        return TopicCounts(published=records, counted=records, duplicate=0, late=0, dead=0)
    dead = log.dead.get(topic, 0) if log else None
    tally = books.tallies.get(topic) if books else None
    return TopicCounts(
        published=None if log is None else log.records.get(topic, 0) + log.dead.get(topic, 0),
        counted=None if books is None else tally.counted if tally else 0,
        duplicate=None if books is None else tally.on_time - tally.counted if tally else 0,
        late=None if books is None else books.late.get(topic, 0),
        dead=dead,
    )


def freshness(topics: tuple[str, ...], books: Books | None, now: datetime) -> float | None:
    """Seconds from the newest event time counted in a table to now; None while nothing was counted in it."""
    tallies = [books.tallies[topic] for topic in topics if topic in books.tallies] if books else []
    if not tallies:
        return None
    return round(max(0.0, (now - max(tally.last_event_at for tally in tallies)).total_seconds()), 3)


class DeadLetters:
    """Counts the dead letters by the topic they were for, each read once: where it got to is kept in a file.

    So their number stays whole after the topic's retention has taken the oldest.
    """

    def __init__(self, bootstrap: str, memory: Path) -> None:
        self._bootstrap = bootstrap
        self._memory = memory
        self._partition = TopicPartition(event("ops.dead_letter").topic, 0)

    def count(self, end: int) -> dict[str, int]:
        """By topic, up to the offset ``end``. May raise KafkaException."""
        offset, counts = self._remembered(end)
        if offset < end:
            for origin in self._origins(offset, end):
                counts[origin] = counts.get(origin, 0) + 1
            self._remember(end, counts)
        return counts

    def _remembered(self, end: int) -> tuple[int, dict[str, int]]:
        try:
            kept = json.loads(self._memory.read_text())
            # A log that is shorter than what was read of it is another log.
            return (kept["offset"], kept["counts"]) if kept["offset"] <= end else (0, {})
        except (OSError, ValueError, KeyError):
            return 0, {}

    def _remember(self, offset: int, counts: Mapping[str, int]) -> None:
        try:
            part = self._memory.with_suffix(f".{threading.get_ident()}.part")
            part.write_text(json.dumps({"offset": offset, "counts": counts}))
            part.replace(self._memory)
        except OSError:
            pass  # read-only for whoever looks; it is only slower next time

    def _origins(self, offset: int, end: int) -> Iterator[str]:
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "insights-status", **_READING, **QUIET})
        start = TopicPartition(self._partition.topic, 0, offset or OFFSET_BEGINNING)
        try:
            consumer.assign([start])
            reached = offset
            while reached < end:
                # It waits for as many as it is asked for.
                messages = consumer.consume(min(1000, end - reached), timeout=KAFKA_SECONDS)
                if not messages:
                    raise KafkaException(f"dead letters from offset {reached} did not come in {KAFKA_SECONDS:.0f} s")
                for message in messages:
                    reached = (message.offset() or 0) + 1
                    yield _origin(message.headers())
        finally:
            consumer.close()


_READING = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}


def _origin(headers: Any) -> str:
    return next((bytes(value).decode() for name, value in headers or () if name == ORIGIN_HEADER), "")


class Observer:
    """Looks at one stack, again and again. Keeps its connections open; ``close`` ends them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._postgres: psycopg.Connection[tuple[Any, ...]] | None = None
        self._dead = DeadLetters(settings.kafka, settings.run_dir / "dead_letters.json")

    def look(self, now: datetime) -> Observed:
        """One look. Never raises because a part is away."""
        away: list[str] = []
        # Postgres first: read the other way round, events counted in between would be more than were published.
        books = self._try(away, f"Postgres at 127.0.0.1:{self._settings.postgres_port}", self._read_books)
        log = self._try(away, f"Kafka at {self._settings.kafka}", self._read_log)
        jobs = self._try(away, f"Flink at {self._settings.flink_url}", self._read_jobs)
        return Observed(
            at=now, parts=tuple(part_states(self._settings)), log=log, books=books, jobs=jobs, away=tuple(away)
        )

    def close(self) -> None:
        """Ends the connections."""
        if self._postgres is not None:
            self._postgres.close()

    def _try(self, away: list[str], what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (OSError, KafkaException, psycopg.Error, FlinkUnavailable, JobFailed, Misconfigured) as problem:
            away.append(f"{what} is away: {' '.join(str(problem).split())[:200]}")
            return None

    def _read_books(self) -> Books:
        if self._postgres is None or self._postgres.closed or self._postgres.broken:
            _knock(self._settings.postgres_port)
            self._postgres = psycopg.connect(
                self._settings.postgres_dsn, autocommit=True, connect_timeout=POSTGRES_SECONDS
            )
        return read_books(self._postgres)

    def _read_log(self) -> Log:
        _knock(self._settings.kafka_port)
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self._settings.kafka, **QUIET})
        records = read_log(self._admin)
        letters = event("ops.dead_letter").topic
        return Log(records=records, dead=self._dead.count(records.get(letters, 0)))

    def _read_jobs(self) -> tuple[Job, ...]:
        _knock(self._settings.flink_port)
        return tuple(Job(**asdict(job)) for job in deploy.jobs(deployment(self._settings)))


def _knock(port: int) -> None:
    """Raises ConnectionRefusedError at once where nothing listens: the clients would try again for seconds."""
    socket.create_connection(("127.0.0.1", port), timeout=KAFKA_SECONDS).close()


def read_books(connection: psycopg.Connection[tuple[Any, ...]]) -> Books:
    """The books as they stand; empty before the tables are there. May raise psycopg.Error."""
    try:
        tallies = connection.execute(
            "select topic, sum(on_time)::bigint, sum(counted)::bigint, max(last_event_at)"
            " from ops.event_counts group by topic"
        ).fetchall()
        late = connection.execute("select topic, count(*) from ops.late_events group by topic").fetchall()
        final = connection.execute("select aggregate, final_until from ops.finality").fetchall()
        seen = connection.execute("select aggregate, version from ops.versions where since is not null").fetchall()
    except psycopg.errors.UndefinedTable:
        return Books(tallies={}, late={}, final_until={})
    return Books(
        tallies={topic: Tally(on_time=on, counted=counted, last_event_at=at) for topic, on, counted, at in tallies},
        late={str(topic): int(number) for topic, number in late},
        final_until={str(name): at for name, at in final},
        versions={str(name): int(version) for name, version in seen},
        replayed=_read_replayed(connection),
        alerts=ledger.summary(connection) if ledger.is_there(connection) else None,
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


def endpoints(settings: Settings) -> dict[str, Any]:
    """Where everything is. ``load_catalog("lake", **endpoints["lake"])`` opens the lake."""
    try:
        lake: dict[str, str] | None = deployment(settings).lake_properties
    except Misconfigured:
        lake = None
    return {
        "kafka": settings.kafka,
        "registry": settings.registry_url,
        "postgres": settings.postgres_dsn,
        "flink": settings.flink_url,
        "lake": lake,
        "page": settings.page_url,
        "shop": settings.shop_url,
    }


@contextmanager
def watching(settings: Settings) -> Iterator[Callable[[], Status]]:
    """Gives a function that looks once and judges, for as long as the block lasts."""
    from flink.tables import sink_inputs  # brings the lake's library, which takes a second to load

    observer, where, sinks, target = Observer(settings), endpoints(settings), sink_inputs(), deployment(settings)

    def look() -> Status:
        judged = judge(observer.look(datetime.now(UTC)), where, sinks)
        return replace(judged, differences=tuple(differences(kept_jobs(target), aggregates())))

    try:
        yield look
    finally:
        observer.close()


def status(settings: Settings) -> Status:
    """One look at the stack. Never raises because a part is away."""
    with watching(settings) as look:
        return look()


def lake_folder(where: Mapping[str, Any]) -> str:
    """The lake's folder, for people."""
    return urlparse(where["lake"]["warehouse"]).path if where.get("lake") else "-"
