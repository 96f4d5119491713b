"""What is running, what was counted, and how fresh it is. A server that is down leaves a gap, not an error."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from aggregates.catalogue import aggregates
from alerts import alert_store
from alerts.alert_store import Summary
from flink import job_control
from flink.hold import Hold, held
from flink.job_control import JobStatus
from flink.live_job import JOB_NAME, differences, kept_jobs
from flink.rest import FlinkUnavailable, JobFailed
from insights.canary.judge import Canaries
from insights.canary.judge import summary as canaries_now
from insights.dbt_run import LastBuild, last_build
from insights.settings import Settings
from insights.shop_currency import currency_of
from insights.stack.states import PartState, part_states
from insights.wiring import deployment
from reconciliation.dead_letters import DeadLetters
from reconciliation.topic_counts import (
    KAFKA_SECONDS,
    NO_REPLAYS,
    QUIET,
    Log,
    Recorded,
    Replayed,
    TopicCounts,
    count,
    read_log,
    read_recorded,
)
from schemas.catalogue import event, events
from schemas.errors import Misconfigured
from schemas.kafka import stays_logged_in
from warehouse.sinks import sink_inputs

POSTGRES_SECONDS = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at every part; None where it was away, with the reason in ``away``."""

    at: datetime
    parts: tuple[PartState, ...]
    log: Log | None
    recorded: Recorded | None
    jobs: tuple[JobStatus, ...] | None
    away: tuple[str, ...]
    alerts: Summary | None = None
    marts: LastBuild | None = None
    canaries: Canaries | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `insights status` shows. ``as_json`` is a stable interface; the rest is for people."""

    endpoints: Mapping[str, Any]
    topics: Mapping[str, TopicCounts]
    jobs: tuple[JobStatus, ...]
    freshness_seconds: Mapping[str, float | None]
    final_until: Mapping[str, datetime | None]
    parts: tuple[PartState, ...]
    away: tuple[str, ...]
    replayed: Replayed = NO_REPLAYS
    versions: Mapping[str, int] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    alerts: Summary | None = None
    marts: LastBuild | None = None
    canaries: Canaries | None = None
    hold: Hold | None = None
    currency: str = "EUR"

    def as_json(self) -> dict[str, Any]:
        """Endpoints, currency, topics, jobs, freshness_seconds, final_until, marts (the last build of them that ended),
        canary (how long the newest took to its row, and how a row differs) and hold (who stopped the live job, and
        when).

        Null where its source is away, and for a job that was not stopped.
        """
        return {
            "endpoints": dict(self.endpoints),
            "currency": self.currency,
            "topics": {topic: asdict(counts) for topic, counts in self.topics.items()},
            "jobs": [_job(job) for job in self.jobs],
            "freshness_seconds": dict(self.freshness_seconds),
            "final_until": {name: at and _iso(at) for name, at in self.final_until.items()},
            "marts": self.marts and {**asdict(self.marts), "ended_at": _iso(self.marts.ended_at)},
            "canary": self.canaries and asdict(self.canaries),
            "hold": self.hold and {**asdict(self.hold), "at": _iso(self.hold.at)},
        }


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def judge(observed: Observed, endpoints: Mapping[str, Any], sinks: Mapping[str, tuple[str, ...]]) -> Status:
    """Turn one look into a status. ``sinks`` is each table's topics. Pure."""
    final = observed.recorded.final_until if observed.recorded else {}
    return Status(
        endpoints=endpoints,
        topics={e.topic: count(e.topic, observed.log, observed.recorded, avro=e.format == "avro") for e in events()},
        jobs=(JobStatus(name=JOB_NAME),) if observed.jobs is None else observed.jobs,
        freshness_seconds={table: freshness(topics, observed.recorded, observed.at) for table, topics in sinks.items()},
        final_until={a.name: final.get(a.name) for a in aggregates() if not a.is_fact},
        parts=observed.parts,
        away=observed.away,
        replayed=observed.recorded.replayed if observed.recorded else NO_REPLAYS,
        versions=observed.recorded.versions if observed.recorded else {},
        alerts=observed.alerts,
        marts=observed.marts,
        canaries=observed.canaries,
    )


def freshness(topics: tuple[str, ...], recorded: Recorded | None, now: datetime) -> float | None:
    """Seconds from the newest event time counted in a table to now; None while nothing was counted in it."""
    tallies = [recorded.tallies[topic] for topic in topics if topic in recorded.tallies] if recorded else []
    if not tallies:
        return None
    return round(max(0.0, (now - max(tally.last_event_at for tally in tallies)).total_seconds()), 3)


class _AnotherStack(Exception):
    """Servers of another home answer on this stack's ports."""


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
        try:
            recorded = self._try(away, f"Postgres at {self._settings.postgres_address}", self._read_recorded)
        except _AnotherStack as other:
            parts = tuple(part_states(self._settings))
            return Observed(at=now, parts=parts, log=None, recorded=None, jobs=None, away=(str(other),))
        log = self._try(away, f"Kafka at {self._settings.kafka}", self._read_log)
        jobs = self._try(away, f"Flink at {self._settings.flink_url or 'AWS'}", self._read_jobs)
        return Observed(
            at=now,
            parts=tuple(part_states(self._settings)),
            log=log,
            recorded=recorded,
            jobs=jobs,
            away=tuple(away),
            alerts=self._try([], "", self._read_alerts) if recorded else None,
            marts=self._try([], "", self._read_marts) if recorded else None,
            canaries=self._try([], "", self._read_canaries) if recorded and self._settings.canary else None,
        )

    def close(self) -> None:
        """Ends the connections."""
        if self._postgres is not None:
            self._postgres.close()

    def _try(self, away: list[str], what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (OSError, KafkaException, psycopg.Error, FlinkUnavailable, JobFailed, Misconfigured) as problem:
            away.append(f"{what} is unreachable: {' '.join(str(problem).split())[:200]}")
            return None

    def _read_recorded(self) -> Recorded:
        if self._postgres is None or self._postgres.closed or self._postgres.broken:
            self._postgres = self._connect()
        return read_recorded(self._postgres)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """To the Postgres of this stack's home. Raises _AnotherStack when one of another home answers on its port."""
        at = self._settings.postgres
        _knock((at.hostname or "", at.port or 5432))
        connection = psycopg.connect(self._settings.postgres_dsn, autocommit=True, connect_timeout=POSTGRES_SECONDS)
        if self._settings.external_postgres:
            return connection
        folder = connection.execute("show data_directory").fetchone() or ("",)
        home = Path(folder[0]).parent.resolve()
        if home != self._settings.home.resolve():
            connection.close()
            raise _AnotherStack(
                f"port {at.port} belongs to the Postgres of another stack, in {home}: its numbers are"
                f" not shown here. This stack's home is {self._settings.home}; to see the other, set INSIGHTS_HOME"
            )
        return connection

    def _read_alerts(self) -> Summary | None:
        return alert_store.summary(self._postgres) if self._postgres and alert_store.is_there(self._postgres) else None

    def _read_marts(self) -> LastBuild | None:
        return last_build(self._postgres) if self._postgres else None

    def _read_canaries(self) -> Canaries | None:
        return canaries_now(self._postgres) if self._postgres else None

    def _read_log(self) -> Log:
        _knock(*self._settings.kafka.addresses)
        if self._admin is None:
            kafka = self._settings.kafka
            self._admin = stays_logged_in(kafka, AdminClient({**kafka.librdkafka, **QUIET}))
        records = read_log(self._admin)
        letters = event("ops.dead_letter").topic
        return Log(records=records, dead=self._dead.count(records.get(letters, 0)))

    def _read_jobs(self) -> tuple[JobStatus, ...]:
        if self._settings.deploy_stream:
            return self._read_recorded_jobs()
        at = urlsplit(self._settings.flink_url)
        _knock((at.hostname or "", at.port or 80))
        return tuple(job_control.jobs(deployment(self._settings)))

    def _read_recorded_jobs(self) -> tuple[JobStatus, ...]:
        """Where Flink can't be asked: what the stack wrote down."""
        if self._postgres is None:
            return ()
        rows = self._postgres.execute("select job, state from ops.live_jobs order by job").fetchall()
        return tuple(JobStatus(name=name, state=state, is_asked=False) for name, state in rows)


def _job(job: JobStatus) -> dict[str, Any]:
    trouble = job.failing
    return {**asdict(job), "failing": trouble and {**asdict(trouble), "since": _iso(trouble.since)}}


def _knock(*addresses: tuple[str, int]) -> None:
    """Raises OSError at once where nothing listens at any: the clients would try again for seconds."""
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            socket.create_connection(address, timeout=KAFKA_SECONDS).close()
            return
    socket.create_connection(last, timeout=KAFKA_SECONDS).close()


def endpoints(settings: Settings) -> dict[str, Any]:
    """Where everything is. ``load_catalog("lake", **endpoints["lake"])`` opens the lake."""
    try:
        lake: dict[str, str] | None = deployment(settings).lake_properties
    except Misconfigured:
        lake = None
    return {
        "kafka": str(settings.kafka),
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
    observer, where, sinks, target = Observer(settings), endpoints(settings), sink_inputs(), deployment(settings)

    def look() -> Status:
        judged = judge(observer.look(datetime.now(UTC)), where, sinks)
        deployed = tuple(differences(kept_jobs(target), aggregates()))
        return replace(judged, differences=deployed, hold=held(target), currency=currency_of(settings))

    try:
        yield look
    finally:
        observer.close()


def status(settings: Settings) -> Status:
    """One look at the stack. Never raises because a part is away."""
    with watching(settings) as look:
        return look()
