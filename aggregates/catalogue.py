"""The aggregates and facts, read once from the folders next to this module.

The ``aggregate.toml`` of each folder has:

=================  ==========================================================================
``description``    one sentence for people
``sink``           what readers read in Postgres: ``live.<folder>`` for an aggregate, ``events.<folder>`` for a fact
``inputs``         the contracts that ``query.sql`` reads
``window``         ``minute``, ``hour`` or ``day`` for an aggregate; a fact has none
``time``           the events' column that ``window_start`` is the floor of (default ``occurred_at``)
``overrun_hours``  how much later than its window's end an event may count in it (default 0)
``version``        of the definition, from 1 (default); readers see the one that was promoted last
``key``            columns that identify a row
``columns``        in the query's order: ``{ type, doc, nullable }``
=================  ==========================================================================
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregates.zones import Zone
from schemas import catalogue
from schemas.catalogue import Event
from schemas.errors import Misconfigured
from schemas.versions import ByPayment

HERE = Path(__file__).parent
ColumnType = Literal[
    "timestamp", "date", "string", "bytes", "int", "count", "money", "charge", "rate", "boolean", "double"
]
# Of a type that is a decimal of 38 digits, how many of them are after the point.
SCALES: dict[ColumnType, int] = {"money": 2, "charge": 3, "rate": 12}
Window = Literal["minute", "hour", "day"]


class Column(BaseModel):
    """One column of a sink: its logical type and what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: ColumnType
    doc: str
    nullable: bool = False


class _Toml(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    description: str
    sink: str
    inputs: tuple[str, ...]
    key: tuple[str, ...]
    columns: dict[str, Column]
    window: Window | None = None
    time: str = "occurred_at"
    overrun_hours: int = 0
    version: int = Field(1, ge=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopsClock:
    """By which days and by which time of an order a shop counts, and how often that changed.

    ``zone`` is its time zone, None for UTC. Each change is a new version of what has windows of days; of what has hours
    too, with a zone whose hours are not UTC's. ``payment`` is None where an order counts when it is placed. Each change
    of that is a new version of what is computed of orders.
    """

    zone: Zone | None = None
    changed_days: int = 0
    changed_hours: int = 0
    payment: ByPayment | None = None
    changed_payment: int = 0


def date_of_sales(clock: ShopsClock) -> str:
    """By which date an order counts, in words."""
    return "payment date" if clock.payment else "order date"


def table_of(name: str, version: int) -> str:
    """Where the rows of a version of an aggregate are."""
    return f"versions.{name}_v{version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """An aggregate or a fact. ``query`` is the template text of its query.sql.

    ``zone`` is the shop's time zone where windows depend on it; None where they are UTC's. With ``payment``, orders
    count when they are paid (schemas/versions.py): ``occurred_at`` in the query is that time.
    """

    name: str
    description: str
    sink: str
    inputs: tuple[str, ...]
    key: tuple[str, ...]
    columns: dict[str, Column]
    window: Window | None
    time: str
    overrun_hours: int
    version: int
    query: str
    folder: Path
    zone: Zone | None = None
    payment: ByPayment | None = None

    @property
    def is_fact(self) -> bool:
        """Does it have a row per event instead of a row per window?"""
        return self.sink.startswith("events.")

    @property
    def moment(self) -> str:
        """The column with the window of a row; a fact's is the event's own time."""
        return "occurred_at" if self.is_fact else "window_start"

    @property
    def table(self) -> str:
        """Where this version's rows are. ``sink`` is a view of one version's table."""
        return table_of(self.name, self.version)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what its numbers depend on: two definitions with the same one compute the same."""
        columns = {name: (column.type, column.nullable) for name, column in self.columns.items()}
        means = (self.query, self.inputs, self.key, columns, self.window, self.time, self.overrun_hours)
        told = (*means, self.zone.offsets) if self.zone else means
        told = (*told, "by payment", self.payment.undated) if self.payment else told
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def has_orders(self) -> bool:
        """Is it computed of events that may count when they are paid?"""
        return any(_paid_field(name) for name in self.inputs)

    def rule_of(self, event: str) -> ByPayment | None:
        """How an input's events count by payment; None where they count by a field of their own, ``time``."""
        return self.payment if _paid_field(event) else None

    def time_of(self, event: str) -> str:
        """The field that decides in which window an input's event counts; by payment, the one that mostly does."""
        return _paid_field(event) or self.time if self.payment else self.time

    def by(self, clock: ShopsClock) -> Aggregate:
        """The same, with the windows of a shop that goes by this clock, and of orders by the time that it goes by."""
        dated = self._with_windows(clock)
        if not self.has_orders:
            return dated
        return replace(dated, payment=clock.payment, version=dated.version + clock.changed_payment)

    def _with_windows(self, clock: ShopsClock) -> Aggregate:
        if self.window == "day":
            return replace(self, zone=clock.zone, version=self.version + clock.changed_days)
        if self.window == "hour":
            zone = None if clock.zone is None or clock.zone.has_whole_hours else clock.zone
            return replace(self, zone=zone, version=self.version + clock.changed_hours)
        return self


def _paid_field(event: str) -> str | None:
    versions = catalogue.event(event).versions
    return versions.paid if versions else None


def read_aggregate(folder: Path) -> Aggregate:
    """The Aggregate in a folder. Raises Misconfigured naming the file and what is wrong in it."""
    path = folder / "aggregate.toml"
    try:
        toml = _Toml.model_validate(tomllib.loads(path.read_text()))
    except (ValidationError, tomllib.TOMLDecodeError, OSError) as error:
        raise Misconfigured(f"{path}: {error}") from error
    if missing := set(toml.key) - set(toml.columns):
        raise Misconfigured(f"{path}: key column {min(missing)!r} is not among the columns")
    if toml.sink.split(".")[-1] != folder.name:
        raise Misconfigured(f"{path}: sink {toml.sink!r} must end in the folder's name {folder.name!r}")
    for name in toml.inputs:
        if toml.time not in {f["name"] for f in catalogue.event(name).avro_schema["fields"]}:
            raise Misconfigured(f"{path}: time {toml.time!r} is not a field of {name}")
    if toml.window and "window_start" not in toml.key:
        raise Misconfigured(f"{path}: an aggregate's key must hold window_start")
    return Aggregate(
        name=folder.name,
        description=toml.description,
        sink=toml.sink,
        inputs=toml.inputs,
        key=toml.key,
        columns=toml.columns,
        window=toml.window,
        time=toml.time,
        overrun_hours=toml.overrun_hours,
        version=toml.version,
        query=(folder / "query.sql").read_text(),
        folder=folder,
    )


_clock = ShopsClock()


def shops_clock() -> ShopsClock:
    """The clock that the aggregates of this process use."""
    return _clock


def go_by(clock: ShopsClock) -> None:
    """From now on, the aggregates of this process use this shop's clock."""
    global _clock  # noqa: PLW0603 one definition for all who ask, as the folders are
    _clock = clock
    aggregates.cache_clear()


@cache
def aggregates() -> tuple[Aggregate, ...]:
    """Everything that is computed, by name: aggregates and facts."""
    return tuple(read_aggregate(path.parent).by(_clock) for path in sorted(HERE.glob("*/aggregate.toml")))


def aggregate(name: str) -> Aggregate:
    """The one called ``name``. Raises Misconfigured listing those there are."""
    for candidate in aggregates():
        if candidate.name == name:
            return candidate
    raise Misconfigured(f"there is no aggregate {name!r}; aggregates/ has {', '.join(a.name for a in aggregates())}")


def touched_by(event: Event, among: Iterable[Aggregate] | None = None) -> list[str]:
    """Names of what this event counts in, of the folders' unless others are given."""
    return [a.name for a in (aggregates() if among is None else among) if event.name in a.inputs]
