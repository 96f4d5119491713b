"""How far a live job is for certain: by Flink's REST interface, or by what the job itself reports.

What its watermarks are made of must be in its tables. So a reading of them counts once a checkpoint is complete that
holds all that had been read by then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flink.committed import Offsets, committed
from flink.live_job import LiveJob
from flink.rest import NO_WATERMARK, FlinkRest
from schemas.catalogue import event
from warehouse.deployment import Deployment
from warehouse.postgres import connected

NO_CHECKPOINT = 0
REPORT_SECONDS = 10.0
"""How often a source reports, if its watermark moves (flink/java, Progress)."""
REPORTS = """
select topic, now_subtasks, run, cast(extract(epoch from watermark) * 1000 as bigint), read_until
from (
    select *, first_value(subtasks) over (partition by topic order by reported_at desc) as now_subtasks
    from ops.job_progress where job = %s
) as reports
where subtask < now_subtasks and subtasks = now_subtasks
order by topic, subtask
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A job's watermarks by topic table (milliseconds since the epoch), as they were at a moment.

    ``run`` tells a run of the job from those before and after. ``read_until``: what had been read, where that is known.
    """

    run: str
    at_ms: int
    watermarks: dict[str, int]
    read_until: Offsets = field(default_factory=dict)


class Progress(Protocol):
    """Each method may raise Retryable, and blocks for a request or some."""

    def runs(self, jobs: Sequence[LiveJob]) -> dict[str, str]:
        """By job, its present run; without those that have none."""

    def read(self, job: LiveJob, run: str) -> Reading | None:
        """Its watermarks now; None when the run is over."""

    def checkpoint_after(self, job: LiveJob, reading: Reading) -> int | None:
        """The id of a complete checkpoint that holds what was read before the reading; None when there is none."""


def progress(deployment: Deployment) -> Progress:
    """The way that there is in this deployment."""
    return Asked(FlinkRest(deployment.flink_url)) if deployment.flink_url else Reported(deployment)


class Asked:
    """Flink is asked."""

    def __init__(self, rest: FlinkRest) -> None:
        self._rest = rest

    def runs(self, jobs: Sequence[LiveJob]) -> dict[str, str]:
        """See Progress."""
        return self._rest.active_jobs()

    def read(self, job: LiveJob, run: str) -> Reading:
        """See Progress."""
        # Metrics are as old as the JobManager's last fetch: never newer than this moment, which is what counts.
        found = watermarks(self._rest, run)
        return Reading(run=run, at_ms=int(time.time() * 1000), watermarks=found)

    def checkpoint_after(self, job: LiveJob, reading: Reading) -> int | None:
        """See Progress."""
        found = self._rest.newest_checkpoint(reading.run)
        return found.id if found and found.triggered_at_ms > reading.at_ms else None


class Reported:
    """Each source reports its watermark with the offsets that it had read to (flink/java, Progress).

    A job commits offsets when a checkpoint is complete. So once those of the report are committed, it is certain.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def runs(self, jobs: Sequence[LiveJob]) -> dict[str, str]:
        """See Progress."""
        return {job.name: found.run for job in jobs if (found := self._report(job))}

    def read(self, job: LiveJob, run: str) -> Reading | None:
        """See Progress."""
        found = self._report(job)
        return found if found and found.run == run else None

    def checkpoint_after(self, job: LiveJob, reading: Reading) -> int | None:
        """See Progress."""
        known = committed(self._deployment, job.name, job)
        is_certain = all(known.get(place, 0) >= offset for place, offset in reading.read_until.items())
        return NO_CHECKPOINT if is_certain else None

    def _report(self, job: LiveJob) -> Reading | None:
        """Of the topics whose subtasks have all reported."""
        with connected(self._deployment) as connection:
            rows = connection.execute(REPORTS, (job.name,)).fetchall()
        tables = {event(name).topic: event(name).table for name in job.inputs}
        by_topic = {t: [row for row in rows if row[0] == t] for t in tables}
        whole = {t: found for t, found in by_topic.items() if found and _is_whole(found)}
        if not whole:
            return None
        return Reading(
            run=" ".join(sorted({run for _, _, run, _, _ in rows})),
            at_ms=int(time.time() * 1000),
            watermarks={tables[t]: min(at for _, _, _, at, _ in found) for t, found in whole.items()},
            read_until={
                (t, int(partition)): int(offset)
                for t, found in whole.items()
                for *_, until in found
                for partition, _, offset in (each.partition(":") for each in until.split())
            },
        )


def _is_whole(rows: Sequence[tuple[Any, ...]]) -> bool:
    """Have all subtasks of a topic a watermark?"""
    return all(subtasks == len(rows) and watermark is not None for _, subtasks, _, watermark, _ in rows)


def watermarks(rest: FlinkRest, job: str) -> dict[str, int]:
    """By topic table, Flink's watermark of all partitions, in milliseconds since the epoch."""
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
