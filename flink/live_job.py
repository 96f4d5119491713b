"""The live jobs as they were deployed. A job's state fits the definitions that it was started with, so they are kept.

The main job computes everything from the log's beginning. A job of a hand-over computes new versions of aggregates,
each of windows from a line on; what was before the line is a replay's. Events that a later release brought have a job
of their own: another topic would give the main job's plan another shape, which its state does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from aggregates.catalogue import Aggregate, aggregates
from schemas.avro_types import record_arrays
from schemas.catalogue import Event, events
from schemas.errors import Misconfigured
from schemas.versions import ByPayment
from warehouse.deployment import Deployment

JOB_NAME = "insights-live"
COUNT_BY_DATE = "`insights sales-by payment-date`, given again,"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveJob:
    """One job. ``lines``: by aggregate, the first moment (UTC) of its windows; without one, all windows are the job's.

    ``retired`` names the aggregates that it still computes and no longer writes. ``events`` names those that it judges,
    counts and archives; a hand-over's job does so with none. ``fields`` are, by event, those that what it computes may
    read: its state holds whole events, and fits no others. What a contract gained since is archived all the same.
    """

    name: str
    aggregates: tuple[Aggregate, ...]
    lines: dict[str, datetime] = field(default_factory=dict)
    retired: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_main(self) -> bool:
        return self.name == JOB_NAME

    @property
    def is_hand_over(self) -> bool:
        """Does it only write versions that are handed over to?"""
        return not self.is_main and not self.events

    @property
    def inputs(self) -> list[str]:
        """Names of the events that its aggregates read."""
        return sorted({name for a in self.aggregates for name in a.inputs})

    def lines_in(self, event: str) -> dict[str, datetime]:
        """By time column, the first line of what reads this event; empty when some of that has all windows."""
        readers = [a for a in self.aggregates if event in a.inputs]
        if any(a.name not in self.lines for a in readers):
            return {}
        times = {a.name: a.time_of(event) for a in readers}
        return {t: min(self.lines[a.name] for a in readers if times[a.name] == t) for t in times.values()}

    def rule_of(self, event: str) -> ByPayment | None:
        """How this event counts by payment, for all of the job's aggregates; None where it does not.

        Raises Misconfigured when they differ in that.
        """
        rules = {a.rule_of(event) for a in self.aggregates if event in a.inputs}
        if len(rules) > 1:
            raise Misconfigured(f"what {self.name} computes of {event} counts by two rules: one job has one of them")
        return next(iter(rules), None)

    def writes(self, name: str, version: int) -> bool:
        """Does it write this version of this aggregate?"""
        return name not in self.retired and any((a.name, a.version) == (name, version) for a in self.aggregates)


JSON = TypeAdapter(LiveJob)


def main_job() -> LiveJob:
    """The main job of an empty stack: all folders, as they are."""
    return _reading(LiveJob(name=JOB_NAME, aggregates=aggregates(), events=tuple(e.name for e in events())))


def _reading(job: LiveJob) -> LiveJob:
    """With the fields that the contracts have now."""
    read = {*job.events, *job.inputs}
    return replace(job, fields={e.name: carried(e) for e in events() if e.name in read})


def carried(e: Event) -> tuple[str, ...]:
    """Names of a contract's fields, and of those of records in them: ``("order_id", "lines", "lines.quantity")``."""
    if e.format != "avro":
        return ()
    within = record_arrays(e.avro_schema).items()
    return (
        *(each["name"] for each in e.avro_schema["fields"]),
        *(f"{array}.{item['name']}" for array, items in within for item in items),
    )


def refuse_gained_within(deployed: Iterable[LiveJob]) -> None:
    """Raises Misconfigured when records within a field that a deployed job keeps have gained a field since."""
    for job in deployed:
        for e in (e for e in events() if e.name in job.fields):
            known = job.fields[e.name]
            gained = [n for n in carried(e) if n not in known and n.partition(".")[0] in known and "." in n]
            if gained and any("." in n for n in known):
                raise Misconfigured(
                    f"{e.name} has {gained[0]} now, and the state of {job.name} holds records without it, which no"
                    " longer fit. Nothing was changed. Run the previous release, or rebuild all tables from the log:"
                    " `insights flink submit --from-beginning`"
                )


def job_of_added(deployed: Iterable[LiveJob]) -> LiveJob | None:
    """The job of the events that no deployed job judges, with what is computed of these alone; None without such."""
    jobs = list(deployed)
    known = {name for job in jobs for name in job.events}
    added = [e for e in events() if e.name not in known]
    if not added:
        return None
    names = {e.name for e in added}
    computed = {a.name for a in _written_by(jobs)}
    own = tuple(a for a in aggregates() if names.issuperset(a.inputs) and a.name not in computed)
    return _reading(LiveJob(name=f"{JOB_NAME}-{added[0].table}", aggregates=own, events=tuple(e.name for e in added)))


def handed_over(new: Iterable[Aggregate], lines: Mapping[str, datetime]) -> LiveJob:
    """The job of new versions. It computes a version without a line from the log's beginning."""
    among = tuple(sorted(new, key=lambda a: a.name))
    return _reading(LiveJob(name=second_name(among), aggregates=among, lines=dict(lines)))


def with_retired(job: LiveJob, names: Iterable[str]) -> LiveJob:
    """The same job, which no longer writes these aggregates."""
    return replace(job, retired=tuple(sorted({*job.retired, *names})))


def second_name(new: Iterable[Aggregate]) -> str:
    """``insights-live-sales_per_minute-v2``, of several ``insights-live-sales_per_day-v2-and-3-more``.

    No two jobs have one name: a version is written by one job alone.
    """
    first, *others = sorted(new, key=lambda a: a.name)
    more = f"-and-{len(others)}-more" if others else ""
    return f"{JOB_NAME}-{first.name}-v{first.version}{more}"


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
    return _read(path.read_bytes()) if path.exists() else None


def _read(text: bytes) -> LiveJob:
    raw = json.loads(text)
    if line := raw.pop("from_line", None):  # as it was kept when a job had one aggregate
        raw["lines"] = {a["name"]: line for a in raw["aggregates"]}
    return JSON.validate_json(json.dumps(raw))


def note_events(deployment: Deployment, there: Mapping[str, Collection[str]]) -> None:
    """Of jobs that a release deployed which did not note events and fields: they are those that were ``there``."""
    for job in kept_jobs(deployment):
        if not job.fields:
            known = [e for e in events() if e.name in there]
            fields = {e.name: tuple(name for name in carried(e) if name in there[e.name]) for e in known}
            read = tuple(fields) if job.is_main else ()
            keep(deployment, replace(job, events=read, fields=fields))


def judge_of(deployed: Iterable[LiveJob], event_name: str) -> str:
    """Name of the job that says which of these events are late, and how far their topic has been read."""
    return next((job.name for job in deployed if event_name in job.events), JOB_NAME)


def kept_jobs(deployment: Deployment) -> list[LiveJob]:
    """All that are deployed, the main job first."""
    names = sorted(path.stem for path in deployment.jobs_dir.glob("*.json"))
    return [job for name in names if (job := kept(deployment, name))]


def written(deployment: Deployment) -> list[Aggregate]:
    """The versions that the deployed jobs write."""
    return _written_by(kept_jobs(deployment))


def second_job(deployment: Deployment, name: str, version: int) -> LiveJob | None:
    """The job of a hand-over that writes this version; None when none does."""
    jobs = (job for job in kept_jobs(deployment) if job.is_hand_over)
    return next((job for job in jobs if job.writes(name, version)), None)


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


def gained_only(before: Aggregate, after: Aggregate) -> bool:
    """Whether a version only has nullable columns more than one before it, of the same rows."""
    more = {name: column for name, column in after.columns.items() if name not in before.columns}
    same = all(
        (known := after.columns.get(name)) and (known.type, known.nullable) == (column.type, column.nullable)
        for name, column in before.columns.items()
    )
    means = [(a.inputs, a.key, a.window, a.time, a.overrun_hours, a.zone, a.payment) for a in (before, after)]
    return same and means[0] == means[1] and all(column.nullable for column in more.values())


def changed_in_place(deployed: Iterable[LiveJob], folders: Iterable[Aggregate]) -> list[Aggregate]:
    """Folders with other columns, or another key, than the same version that is live."""
    live = {(a.name, a.version): a for a in _written_by(deployed)}
    return [a for a in folders if (known := live.get((a.name, a.version))) and _shape(known) != _shape(a)]


def _shape(a: Aggregate) -> object:
    return a.key, {name: (column.type, column.nullable) for name, column in a.columns.items()}


def behind_in_date(deployed: Iterable[LiveJob], folders: Iterable[Aggregate]) -> list[str]:
    """Names of what is live by another date of sales than that chosen, while others go by it already.

    A release may count by payment date what the one before did not. None while a change of the date is under way: it
    hands over to all at once.
    """
    rules: dict[str, list[ByPayment | None]] = {}
    for a in _written_by(deployed):
        rules.setdefault(a.name, []).append(a.payment)
    of_orders = [a for a in folders if a.has_orders and a.name in rules]
    behind = [a.name for a in of_orders if a.payment not in rules[a.name]]
    return behind if len(behind) < len(of_orders) else []


def differences(deployed: list[LiveJob], folders: tuple[Aggregate, ...]) -> list[str]:
    """One line per aggregate whose folder differs from what the live jobs compute; none if nothing is deployed."""
    live = {(a.name, a.version): a for a in _written_by(deployed)}
    behind = behind_in_date(deployed, folders)
    return [line for a in folders if live and (line := _dated(a, behind) or _difference(a, live))]


def _dated(folder: Aggregate, behind: list[str]) -> str:
    if folder.name not in behind:
        return ""
    return (
        f"{folder.name}: not by the chosen date of sales yet, and late events wait: {COUNT_BY_DATE} counts it by that"
    )


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
            f"{folder.name}: its folder differs from version {folder.version}, which is live: give the changed"
            " definition a new version"
        )
    return ""
