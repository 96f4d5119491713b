"""Up to when each aggregate's windows are final.

A window is final when the watermark is more than the horizon past its end, and everything read until then is in the
tables. So: read the watermarks, and wait for a completed checkpoint that began after that (its sinks have flushed);
then the watermarks are certain. One job judges the events of a topic. If another job writes what readers see, both must
have reached this point.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from aggregates.catalogue import Aggregate
from flink.final_windows import final_until
from flink.live_job import LiveJob, judge_of, kept_jobs
from flink.progress import Reading, progress
from flink.rest import NO_WATERMARK
from flink.silent_topics import SilentTopics
from schemas.catalogue import event
from warehouse.deployment import Deployment
from warehouse.postgres import Connection, connected
from warehouse.versions import seen_versions

UPSERT = """
insert into ops.finality (aggregate, final_until, watermark, checkpoint_id, recorded_at)
values (%s, %s, %s, %s, now())
on conflict (aggregate) do update
set final_until = excluded.final_until, watermark = excluded.watermark,
    checkpoint_id = excluded.checkpoint_id, recorded_at = excluded.recorded_at
where excluded.final_until > ops.finality.final_until
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Watermarks by topic table that a job had reached for certain, by this checkpoint."""

    watermarks: dict[str, int]
    checkpoint_id: int


class FinalityRecorder:
    """Keeps ops.finality. ``step`` is called every second or so; it blocks for some requests to Flink and Postgres."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._progress = progress(deployment)
        self._readings: dict[str, Reading] = {}
        self._reached: dict[str, Reached] = {}
        self._silent = SilentTopics(deployment.idle_timeout_seconds)

    def step(self) -> None:
        """Raises Retryable when a server is away; the next step continues."""
        deployed = kept_jobs(self._deployment)
        runs = self._progress.runs(deployed)
        if any([self._look(job, runs.get(job.name)) for job in deployed]):
            self._record(deployed)

    def _look(self, job: LiveJob, run: str | None) -> bool:
        """Whether the job is known to be further than before."""
        if run is None:
            self._readings.pop(job.name, None)
            self._reached.pop(job.name, None)
            return False
        reading = self._readings.get(job.name)
        is_of_this_run = reading is not None and reading.run == run
        checkpoint = self._progress.checkpoint_after(job, reading) if reading and is_of_this_run else None
        if reading and checkpoint is not None:
            self._reached[job.name] = Reached(watermarks=reading.watermarks, checkpoint_id=checkpoint)
        if not is_of_this_run or checkpoint is not None:
            self._read(job, run)
        return checkpoint is not None

    def _read(self, job: LiveJob, run: str) -> None:
        if found := self._progress.read(job, run):
            self._readings[job.name] = found

    def _record(self, deployed: list[LiveJob]) -> None:
        with connected(self._deployment) as connection:
            for name, version in seen_versions(connection).items():
                writer = next((job for job in deployed if job.writes(name, version)), None)
                if writer is not None:
                    a = next(a for a in writer.aggregates if a.name == name)
                    read = {(job, n) for n in a.inputs for job in (writer.name, judge_of(deployed, n))}
                    self._record_one(connection, writer, a, min(self._watermark(job, n) for job, n in read))
            together = {a.inputs for job in deployed for a in job.aggregates if len(a.inputs) > 1}
            reached = {n: self._watermark(judge_of(deployed, n), n) for names in together for n in names}
            self._silent.step(connection, together, reached)

    def _watermark(self, job: str, event_name: str) -> int:
        reached = self._reached.get(job)
        return reached.watermarks.get(event(event_name).table, NO_WATERMARK) if reached else NO_WATERMARK

    def _record_one(self, connection: Connection, writer: LiveJob, aggregate: Aggregate, watermark: int) -> None:
        if watermark > 0:
            at = datetime.fromtimestamp(watermark / 1000, UTC)
            until = final_until(aggregate, at, self._deployment.horizon_hours)
            checkpoint_id = self._reached[writer.name].checkpoint_id
            connection.execute(UPSERT, (aggregate.name, until, at, checkpoint_id))
