"""Runs a pipeline file: dlt reads its resources, and its destination here publishes what they read.

dlt's position in a source (a cursor, a place in a database's log) is kept with the rows that were read up to it, on
disk; the rows are published before anything else is read. So the position never is ahead of Kafka but for rows that are
on disk, and a kill at any moment loses none. Row by row, memory.py knows what is published.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import dlt
from dlt.common.schema.typing import TTableSchema
from dlt.extract.items_transform import MapItem
from dlt.pipeline.exceptions import PipelineStepFailed

from producers.persons.keys import PersonKeys
from producers.pipelines import values
from producers.pipelines.intake import TOGETHER, Intake, Row, Table, Tally
from producers.pipelines.memory import Memory, Place
from producers.pipelines.pipeline_file import PipelineFile, load
from producers.pipelines.secrets import without_secrets
from producers.pipelines.values import AllRead
from producers.runner import Run
from schemas.errors import InsightsError, Interrupted, Misconfigured, Retryable, RowsRefused
from schemas.plural import counted
from schemas.quoted import without_texts

ALL_READ: Final = ""  # in the place of a row
SETTINGS: Final[Mapping[str, Any]] = {
    "runtime.intercept_signals": False,
    "enable_runtime_trace": False,  # dlt would keep the last error on disk, with the rows that it quotes
    "load.workers": 1,  # rows are taken in their order, in this thread
    "load.raise_on_max_retries": 1,
    "load.delete_completed_jobs": True,
}


class SourceFailed(Retryable):
    """The source could not be read: it is away, or refuses."""

    @classmethod
    def by(cls, what: str, cause: BaseException) -> SourceFailed:
        """The failure of ``what``, in the cause's own words but for what may be secret in them."""
        return cls(f"{what}: {type(cause).__name__}: {without_secrets(str(cause))}")


class _Last(MapItem):
    """A step of dlt's after its cursor, which reads the row as it is."""

    placement_affinity = 1.5


@dataclass(slots=True)
class _Destination:
    """Publishes what dlt loads. ``failure`` is why it could not."""

    run: Run
    intake: Intake
    tables: Mapping[str, Table]
    failure: Exception | None = field(default=None)

    def load(self, items: Any, table: TTableSchema) -> None:
        try:
            if self.run.stop.requested:
                raise Interrupted("asked to stop")
            name = str(table["name"])
            if name not in self.tables:
                raise Misconfigured(
                    f"rows of {name!r} were read and are not published yet, and EVENTS names it no more; name it again"
                    " until they are"
                )
            self._take(self.tables[name], items)
        except Exception as error:
            self.failure = error
            raise

    def _take(self, table: Table, items: list[dict[str, Any]]) -> None:
        rows = [Row(each["row"], Place(each["read_ms"], each["nth"]), _at_ms(each)) for each in items]
        self.intake.take(table, [row for row in rows if row.text != ALL_READ])
        for row in rows:
            if row.text == ALL_READ:
                self.intake.withdraw_unseen(table, row.place.read_ms, row.at_ms)


def _at_ms(item: Mapping[str, Any]) -> int:
    return int(item.get("at_ms", item["read_ms"]))  # a row may lie there that an older version has read


def run(this: Run) -> None:
    """Read the pipeline of ``options.pipeline`` and publish it: once, or ``options.every``.

    Blocks for as long. Raises Misconfigured for a file that can't be used, DeliveryFailed or BrokerUnavailable; when it
    reads once, also SourceFailed. Leaves RowsRefused as the verdict when rows of a single reading are dead letters.
    """
    if this.options.pipeline is None:
        raise Misconfigured("the source dlt reads what a Python file says: give --pipeline FILE (docs/sources.md)")
    file = load(this.options.pipeline)
    folder = this.options.state / "pipelines"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(Memory(folder / f"{file.name}.sqlite")) as memory, closing(PersonKeys(this.options.state)) as keys:
        while True:
            intake = Intake(this, file.name, memory, keys)
            try:
                _read_once(this, file, memory, intake, folder)
            except SourceFailed as failed:
                if this.options.every is None:
                    raise
                this.log.warning("not read", problem=without_texts(str(failed)))
            this.log.info("read", pipeline=file.name, **intake.tally.counts)
            if intake.tally.reasons:
                this.log.warning("rows were refused", pipeline=file.name, reasons=intake.tally.reasons)
            if this.options.every is None or this.stop.wait(this.options.every.total_seconds()):
                break
    if this.options.every is None:
        this.verdict = _verdict(this, intake.tally)


def _verdict(this: Run, tally: Tally) -> InsightsError | None:
    if this.stop.requested and this.published < (this.options.max_events or this.published + 1):
        return Interrupted("the reading was interrupted; the next one goes on from where it stopped")
    if refused := tally.counts["refused"]:
        return RowsRefused(
            f"{counted(refused, 'row was', 'rows were')} rejected: {'; '.join(tally.reasons)}. `insights dead-letters`"
            f" lists {'it' if refused == 1 else 'them'}"
        )
    return None


def _read_once(this: Run, file: PipelineFile, memory: Memory, intake: Intake, folder: Path) -> None:
    """Publish what was left of an earlier reading, then read and publish once. Raises as ``run``."""
    for name, value in SETTINGS.items():
        dlt.config[name] = value
    resources = _resources(file)
    tables = file.tables(resources)
    target = _Destination(this, intake, {table.name: table for table in tables})
    pipeline = _pipeline(file, folder, target)
    for table in tables:
        intake.withdraw_leaving(table)
    if not this.stop.requested:
        _step(this, target, pipeline, None)
    at_ms = int(this.clock() * 1000)
    read_ms = memory.begin_reading(at_ms)
    for resource in resources:
        resource.apply_hints(columns={}, primary_key=())  # they are about columns that dlt will see as one text
        resource.add_step(_Last(_wrapped(this, read_ms, at_ms)))
    if not this.stop.requested:
        _step(this, target, pipeline, resources)
    if not this.stop.requested:
        intake.end(tables)
        for table in tables:
            (intake.withdraw_unseen if table.is_whole else intake.withdraw_doubted)(table, read_ms, at_ms)
    _remove_finished(pipeline)


def _pipeline(file: PipelineFile, folder: Path, target: _Destination) -> dlt.Pipeline:
    def log(items: Any, table: TTableSchema) -> None:  # a function, because dlt writes on it
        target.load(items, table)

    destination = dlt.destination(log, loader_file_format="typed-jsonl", batch_size=TOGETHER, name="log")
    pipeline = dlt.pipeline(file.name, pipelines_dir=str(folder), destination=destination())
    logging.getLogger("dlt").setLevel(logging.CRITICAL)  # what fails is said by us, and dlt's own words quote rows
    return pipeline


def _resources(file: PipelineFile) -> list[Any]:
    try:
        return list(file.resources())
    except InsightsError:
        raise
    except Exception as error:
        raise SourceFailed.by(f"{file.path}: read() failed", error) from error


def _wrapped(this: Run, read_ms: int, at_ms: int) -> Any:
    """What makes a row one text, with its place: dlt then has nothing to infer, to convert or to rename in it."""
    numbers = count()

    def wrapped(row: Any) -> dict[str, Any]:
        if this.stop.requested:
            raise Interrupted("asked to stop")
        if not isinstance(row, Mapping):
            raise Misconfigured(
                f"a row is {type(row).__name__}, not a dict: choose the backend sqlalchemy of dlt's sources"
            )
        text = ALL_READ if isinstance(row, AllRead) else values.written(row)
        return {"row": text, "read_ms": read_ms, "nth": next(numbers), "at_ms": at_ms}

    return wrapped


def _step(this: Run, target: _Destination, pipeline: dlt.Pipeline, data: Any) -> None:
    """Run dlt. Raises what our own code raised in it, or SourceFailed; nothing when it was asked to stop."""
    try:
        pipeline.run(data)
    except PipelineStepFailed as failed:
        if this.stop.requested:
            return
        if target.failure is not None:
            raise target.failure from failed
        own = _own(failed)
        if own is not None and not isinstance(own, Retryable):
            raise own from failed
        cause = own or failed.exception or failed
        raise SourceFailed.by(f"the source can't be read ({failed.step})", cause) from failed


def _own(error: BaseException | None) -> InsightsError | None:
    """The first error of ours among the causes of one."""
    while error is not None:
        if isinstance(error, InsightsError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _remove_finished(pipeline: dlt.Pipeline) -> None:
    """Remove the folder that dlt would keep of each load, for ever."""
    for package in pipeline.list_completed_load_packages():
        shutil.rmtree(Path(pipeline.working_dir) / "load" / "loaded" / package, ignore_errors=True)
