"""Up to when each aggregate's windows are final.

A window is final when the watermark has passed its end by the horizon, and everything read until then is in the
tables. So: read the watermarks, wait for a checkpoint that began after that and is complete (its sinks have flushed),
and what the watermarks said is then certain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from aggregates.catalogue import Aggregate, aggregates
from flink.deployment import Deployment
from flink.plan import JOB_NAME
from flink.postgres import connected
from flink.rest import NO_WATERMARK, FlinkRest
from schemas.catalogue import event

UPSERT = """
insert into ops.finality (aggregate, final_until, watermark, checkpoint_id, recorded_at)
values (%s, %s, %s, %s, now())
on conflict (aggregate) do update
set final_until = excluded.final_until, watermark = excluded.watermark,
    checkpoint_id = excluded.checkpoint_id, recorded_at = excluded.recorded_at
where excluded.final_until > ops.finality.final_until
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Watermarks by topic table (milliseconds since the epoch), as they were at a moment."""

    job: str
    at_ms: int
    watermarks: dict[str, int]


class FinalityRecorder:
    """Keeps ops.finality. ``step`` is called every second or so; it blocks for some requests to Flink and Postgres."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._rest = FlinkRest(deployment.flink_url)
        self._reading: Reading | None = None

    def step(self) -> bool:
        """Always True. Raises Retryable or psycopg.Error when a server is away; the next step goes on."""
        job = self._rest.active_job(JOB_NAME)
        if job is None:
            self._reading = None
            return True
        if self._reading is None or self._reading.job != job:
            self._reading = self._read(job)
            return True
        checkpoint = self._rest.newest_checkpoint(job)
        if checkpoint is not None and checkpoint.triggered_at_ms > self._reading.at_ms:
            self._record(self._reading, checkpoint.id)
            self._reading = self._read(job)
        return True

    def _read(self, job: str) -> Reading:
        # Metrics are as old as the JobManager's last fetch: never newer than this moment, which is what counts.
        found = watermarks(self._rest, job)
        return Reading(job=job, at_ms=int(time.time() * 1000), watermarks=found)

    def _record(self, reading: Reading, checkpoint_id: int) -> None:
        with psycopg.connect(self._deployment.postgres_dsn, connect_timeout=3) as connection:
            for aggregate in aggregates():
                watermark = min(reading.watermarks.get(event(name).table, NO_WATERMARK) for name in aggregate.inputs)
                if watermark > 0:
                    at = datetime.fromtimestamp(watermark / 1000, UTC)
                    until = final_until(aggregate, at, self._deployment.horizon_hours)
                    connection.execute(UPSERT, (aggregate.name, until, at, checkpoint_id))


def watermarks(rest: FlinkRest, job: str) -> dict[str, int]:
    """By topic table, Flink's watermark of all partitions that are not idle, in milliseconds since the epoch."""
    found: dict[str, int] = {}
    for vertex in rest.vertices(job):
        table = vertex.name.split("arrived_")[-1].split("[")[0]
        if vertex.name.startswith("Source: arrived_"):
            values = rest.metrics(job, vertex.id, f"arrived_{table}[{_number(vertex.name)}].currentOutputWatermark")
            found[table] = int(min(values.values(), default=NO_WATERMARK))
    return found


def _number(vertex_name: str) -> str:
    """The node's number in ``Source: arrived_order_placed[1] -> …``."""
    return vertex_name.split("[", 1)[1].split("]", 1)[0]


def final_until(aggregate: Aggregate, watermark: datetime, horizon_hours: int) -> datetime:
    """Windows of ``aggregate`` that end by this time can't change any more."""
    return watermark - timedelta(hours=horizon_hours + aggregate.overrun_hours)


def floors(deployment: Deployment) -> dict[str, datetime]:
    """By event name, the watermark that all partitions of its topic had reached when a checkpoint last was complete.

    An aggregate's is that of the slowest of its topics, so each of them was at least there. Raises Retryable when
    Postgres is away.
    """
    with connected(deployment) as connection:
        reached: dict[str, datetime] = dict(connection.execute("select aggregate, watermark from ops.finality"))
    found: dict[str, datetime] = {}
    for aggregate in aggregates():
        if at := reached.get(aggregate.name):
            found |= {name: max(at, found.get(name, at)) for name in aggregate.inputs}
    return found
