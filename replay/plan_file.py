"""A plan as a file: YAML that can be reviewed, committed and run as it is.

Reads only that file. Showing runs needs their plans, but neither log nor lake (replay/planning.py makes a plan).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from replay.log import slices
from schemas.errors import Misconfigured
from spark.task import Slice

Scope = Literal["windows", "beginning", "late"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stretch(_Model):
    """Windows that start at ``since`` or later and before ``until``; None is without end."""

    since: datetime | None
    until: datetime | None


class PlannedAggregate(_Model):
    """An aggregate or fact as it was defined when the plan was made. Windows that end by ``final_until`` are final."""

    name: str
    version: int
    fingerprint: str
    table: str
    final_until: datetime | None
    windows: tuple[Stretch, ...]


class PlannedPartition(_Model):
    """Offsets [first, after the last] of each source. The log's begin where the lake's end: the seam."""

    lake: tuple[int, int] | None = None
    log: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _meets(self) -> Self:
        for piece in (self.lake, self.log):
            if piece and not 0 <= piece[0] <= piece[1]:
                raise ValueError(f"{piece} is not a range of offsets [first, after the last]")
        if self.lake and self.log and self.lake[1] != self.log[0]:
            raise ValueError(f"the lake's part {self.lake} and the log's {self.log} do not meet")
        return self

    @property
    def until(self) -> int:
        """The offset after the last."""
        return (self.log or self.lake or (0, 0))[1]


class PlannedTopic(_Model):
    """What is read of a topic. ``lake_bytes`` are those of the files that must be opened."""

    event: str
    records: int
    lake_bytes: int
    schema_ids: tuple[int, ...]
    partitions: dict[int, PlannedPartition]

    def slices(self, source: Literal["lake", "log"]) -> tuple[Slice, ...]:
        """What to read from the lake or from the log: a slice per partition that has records there."""
        found = {n: getattr(partition, source) for n, partition in self.partitions.items()}
        return slices({n: piece for n, piece in found.items() if piece})


class LeftOut(_Model):
    """A late event that no restatement can make count, its place in the log, and why."""

    topic: str
    partition: int
    offset: int
    occurred_at: datetime
    reason: str

    def __str__(self) -> str:
        place = f"{self.topic} partition {self.partition} offset {self.offset:,}"
        return f"{place}, of {self.occurred_at:%Y-%m-%d %H:%M:%S}: {self.reason}"


class Estimate(_Model):
    """Seconds by engine, from runs that were measured here where there are some, and US dollars on EMR Serverless."""

    spark_seconds: float
    duckdb_seconds: float
    emr_usd: float


class ReplayPlan(_Model):
    """All of it. ``late_events`` are what the plan makes count (scope late), ``waiting_events`` what stays out.

    Of those, ``left_out`` are the ones that need no waiting for.
    """

    plan: Literal[1] = 1
    made_at: datetime
    scope: Scope
    aggregates: tuple[PlannedAggregate, ...] = Field(min_length=1)
    topics: dict[str, PlannedTopic]
    late_events: int
    waiting_events: int
    left_out: tuple[LeftOut, ...] = ()
    dashboards: tuple[str, ...]
    models: tuple[str, ...]
    estimate: Estimate

    @property
    def records(self) -> int:
        return sum(topic.records for topic in self.topics.values())

    @property
    def digest(self) -> str:
        """What identifies a run that is resumed."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def to_yaml(self) -> str:
        """The plan as its file has it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=120)


def read_plan(path: Path) -> ReplayPlan:
    """The plan in a file. Raises Misconfigured naming the file and what is wrong in it."""
    try:
        return ReplayPlan.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise Misconfigured(f"the plan {path} can't be read: {error}; `insights replay plan` creates one") from error
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not a plan: {error}") from error


def read_offsets(path: Path) -> dict[str, dict[int, int]]:
    """By topic and partition, the offset after the last to read, out of a file: a plan, a certificate, or YAML that
    has ``topic: {partition: offset}``. Raises Misconfigured naming the file and what is wrong in it.
    """
    try:
        raw = yaml.safe_load(path.read_text())
        topics = raw.get("topics") or raw.get("offsets") or raw
        return {topic: {int(n): _end(p) for n, p in _partitions_of(found).items()} for topic, found in topics.items()}
    except OSError as error:
        raise Misconfigured(f"{path} can't be read: {error}") from error
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, LookupError) as error:
        raise Misconfigured(
            f"{path} does not say up to which offsets to read ({error}); give a plan, a certificate, or lines like"
            " `sales.order_placed.v1: {0: 1200, 1: 1300}`"
        ) from error


def _partitions_of(found: Any) -> dict[Any, Any]:
    partitions: dict[Any, Any] = found.get("partitions", found)
    return partitions


def _end(found: Any) -> int:
    """The end, out of itself, [first, end], or {lake: [first, end], log: [first, end]}."""
    if isinstance(found, dict):
        return int((found.get("log") or found.get("lake") or (0, 0))[1])
    return int(found[1] if isinstance(found, list) else found)
