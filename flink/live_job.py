"""The live jobs as they were deployed. A job's state fits the definitions that it was started with, so they are kept.

The main job computes everything from the log's beginning. A job of a hand-over computes one aggregate's new version,
of windows from a line on; what was before the line is a replay's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from aggregates.catalogue import Aggregate, aggregates
from warehouse.deployment import Deployment

JOB_NAME = "insights-live"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveJob:
    """One job. ``from_line`` is a hand-over's first moment (UTC), None for the main job.

    ``retired`` names the aggregates that it still computes and no longer writes.
    """

    name: str
    aggregates: tuple[Aggregate, ...]
    from_line: datetime | None = None
    retired: tuple[str, ...] = ()

    @property
    def is_main(self) -> bool:
        return self.from_line is None

    def writes(self, name: str, version: int) -> bool:
        """Does it write this version of this aggregate?"""
        return name not in self.retired and any((a.name, a.version) == (name, version) for a in self.aggregates)


JSON = TypeAdapter(LiveJob)


def main_job() -> LiveJob:
    """The main job of an empty stack: all folders, as they are."""
    return LiveJob(name=JOB_NAME, aggregates=aggregates())


def handed_over(aggregate: Aggregate, from_line: datetime) -> LiveJob:
    """The job of one aggregate's new version."""
    return LiveJob(name=second_name(aggregate.name, aggregate.version), aggregates=(aggregate,), from_line=from_line)


def with_retired(job: LiveJob, name: str) -> LiveJob:
    """The same job, which no longer writes this aggregate."""
    return replace(job, retired=tuple(sorted({*job.retired, name})))


def second_name(name: str, version: int) -> str:
    """``insights-live-sales_per_minute-v2``."""
    return f"{JOB_NAME}-{name}-v{version}"


def snapshots_of(deployment: Deployment, name: str) -> Path:
    """The folder of a job's checkpoints and savepoints."""
    return deployment.snapshots_dir if name == JOB_NAME else deployment.jobs_dir / name


def keep(deployment: Deployment, job: LiveJob) -> None:
    """Writes it atomically."""
    path = _path(deployment, job.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(JSON.dump_json(job, indent=1))
    part.replace(path)


def kept(deployment: Deployment, name: str = JOB_NAME) -> LiveJob | None:
    """The job as it was deployed; None when it never was, or before this was kept."""
    path = _path(deployment, name)
    return JSON.validate_json(path.read_bytes()) if path.exists() else None


def kept_jobs(deployment: Deployment) -> list[LiveJob]:
    """All that are deployed, the main job first."""
    names = sorted(path.stem for path in deployment.jobs_dir.glob("*.json"))
    return [job for name in names if (job := kept(deployment, name))]


def written(deployment: Deployment) -> list[Aggregate]:
    """The versions that the deployed jobs write."""
    return _written_by(kept_jobs(deployment))


def is_new(deployment: Deployment, name: str) -> bool:
    """Whether live jobs are deployed and none of them writes any version of this aggregate."""
    jobs = kept_jobs(deployment)
    return bool(jobs) and name not in {a.name for a in _written_by(jobs)}


def _written_by(jobs: Iterable[LiveJob]) -> list[Aggregate]:
    return [a for job in jobs for a in job.aggregates if job.writes(a.name, a.version)]


def forget(deployment: Deployment, name: str) -> None:
    """From now on it is not deployed."""
    _path(deployment, name).unlink(missing_ok=True)


def _path(deployment: Deployment, name: str) -> Path:
    return deployment.jobs_dir / f"{name}.json"


def differences(deployed: list[LiveJob], folders: tuple[Aggregate, ...]) -> list[str]:
    """A line for each aggregate whose folder is not what the live jobs compute; none when nothing is deployed."""
    live = {(a.name, a.version): a for a in _written_by(deployed)}
    return [line for a in folders if live and (line := _difference(a, live))]


def _difference(folder: Aggregate, live: dict[tuple[str, int], Aggregate]) -> str:
    versions = sorted(version for name, version in live if name == folder.name)
    if not versions:
        return f"{folder.name}: new in aggregates/, not in a live job; `insights replay` adds it with its history"
    if folder.version not in versions:
        return (
            f"{folder.name}: version {folder.version} in aggregates/, version {versions[-1]} is live:"
            " `insights replay` hands over"
        )
    if live[folder.name, folder.version].fingerprint != folder.fingerprint:
        return (
            f"{folder.name}: its folder was changed, and version {folder.version} as it was is live: a changed"
            " definition is a new version"
        )
    return ""
