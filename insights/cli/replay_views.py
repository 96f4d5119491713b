"""How plans, runs and certificates look to people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from insights.cli import runtime
from insights.cli.terminal_table import Column, TerminalTable
from replay.plan_file import PlannedAggregate, ReplayPlan, Stretch
from replay.run_history import Run, Status
from schemas.duration import duration
from schemas.plural import counted

if TYPE_CHECKING:
    from replay.explain import Explanation  # imports the lake's libraries, which listing runs does not need

PLAIN_EVERY_SECONDS = 5.0
ENVELOPE = ("event_id", "occurred_at", "source", "trace")
STYLES = {
    Status.RUNNING: "cyan",
    Status.FAILED: "bold red",
    Status.DIFFERS: "bold red",
    Status.VERIFIED: "green",
    Status.PROMOTED: "bold green",
}


def plan_sheets(plan: ReplayPlan) -> Iterator[TerminalTable]:
    """What is recomputed, what is read for it, and what it affects."""
    sheet = TerminalTable("recompute", Column(), Column(name="windows"), Column(name="final until"), Column(flows=True))
    for planned in plan.aggregates:
        sheet.add(planned.name, _windows(planned), _time(planned.final_until), Text(planned.table, style="dim"))
    yield sheet
    sheet = TerminalTable(
        "read",
        Column(),
        *(Column(name=name, right=True) for name in ("records", "from the lake", "from the log", "lake MB")),
        Column(name="schema IDs", flows=True),
        note="The log's offsets start where the lake's end: no gaps and no overlaps.",
    )
    for topic, planned_topic in plan.topics.items():
        lake = sum(piece.records for piece in planned_topic.slices("lake"))
        log = sum(piece.records for piece in planned_topic.slices("log"))
        sheet.add(
            topic,
            f"{planned_topic.records:,}",
            f"{lake:,}",
            f"{log:,}",
            f"{planned_topic.lake_bytes / 1e6:,.1f}",
            ", ".join(map(str, planned_topic.schema_ids)),
        )
    yield sheet
    sheet = TerminalTable("touched", Column(), Column(flows=True))
    sheet.add("late events", _late(plan))
    sheet.add("dashboards", ", ".join(plan.dashboards) or "none")
    sheet.add("dbt models", ", ".join(plan.models) or "none")
    estimate = plan.estimate
    sheet.add(
        "takes about",
        f"{duration(estimate.spark_seconds)} with Spark here, {duration(estimate.duckdb_seconds)} with DuckDB,"
        f" {estimate.emr_usd:.2f} US dollars on EMR Serverless",
    )
    yield sheet
    if plan.left_out:
        yield _left_out_sheet(plan)


def _left_out_sheet(plan: ReplayPlan) -> TerminalTable:
    sheet = TerminalTable("can't be counted", Column(), Column(name="of"), Column(flows=True))
    for one in plan.left_out:
        place = f"{one.topic} partition {one.partition} offset {one.offset:,}"
        sheet.add(place, f"{one.occurred_at:%Y-%m-%d %H:%M:%S}", one.reason)
    return sheet


def _late(plan: ReplayPlan) -> str:
    waiting = f"{plan.waiting_events:,} of these topics stay pending"
    return f"{plan.late_events:,} will be counted; {waiting}" if plan.scope == "late" else waiting


def _windows(planned: PlannedAggregate) -> str:
    if len(planned.windows) > 1:
        first, last = planned.windows[0], planned.windows[-1]
        return f"{len(planned.windows)} stretches in {_stretch(Stretch(since=first.since, until=last.until))}"
    return _stretch(planned.windows[0])


def _stretch(stretch: Stretch) -> str:
    if stretch.since is None and stretch.until is None:
        return "all"
    return f"{_time(stretch.since, 'the beginning')} to {_time(stretch.until, 'the end')}"


def _time(moment: datetime | None, none: str = "none yet") -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else none


def runs_sheet(runs: Sequence[Run]) -> TerminalTable:
    """A row a run."""
    sheet = TerminalTable(
        "runs",
        Column(),
        Column(name="status"),
        Column(name="engine"),
        Column(name="records", right=True),
        Column(name="took", right=True),
        Column(name="requested", right=True),
        Column(name="aggregates", flows=True),
        note="" if runs else "No replays yet; start with `insights replay plan`.",
    )
    for run in runs:
        took = duration(run.compute_seconds) if run.compute_seconds else ""
        sheet.add(
            Text(run.run, style="bold"),
            Text(run.status, style=STYLES.get(run.status, "")),
            run.engine,
            f"{run.records:,}",
            took,
            f"{run.created_at:%m-%d %H:%M}",
            ", ".join(run.aggregates),
        )
    return sheet


def run_sheet(run: Run) -> TerminalTable:
    """All that is known of one run, but its certificate."""
    sheet = TerminalTable(run.run, Column(), Column(flows=True))
    sheet.add("status", Text(run.status, style=STYLES.get(run.status, "")))
    sheet.add("aggregates", ", ".join(run.aggregates))
    sheet.add("scope", run.scope)
    sheet.add("engine", run.engine)
    sheet.add("records", f"{run.records:,}")
    if run.rows_computed is not None:
        sheet.add("rows computed", f"{run.rows_computed:,}")
    for name, seconds in (
        ("computed in", run.compute_seconds),
        ("verified in", run.verify_seconds),
        ("promoted in", run.promote_seconds),
    ):
        if seconds:
            sheet.add(name, duration(seconds))
    sheet.add("requested", f"{run.created_at:%Y-%m-%d %H:%M:%S} by {run.requested_by}")
    for name, moment in (("promoted", run.promoted_at), ("rolled back", run.rolled_back_at)):
        if moment:
            sheet.add(name, f"{moment:%Y-%m-%d %H:%M:%S}")
    for name, text in (("reason", run.reason), ("error", run.error)):
        if text:
            sheet.add(name, text)
    return sheet


def certificate_sheets(run: Run) -> Iterator[TerminalTable]:
    """What the comparison found, and the first rows that differ side by side."""
    certificate = run.certificate
    if certificate is None:
        return
    sheet = TerminalTable(
        "certificate",
        Column(),
        *(
            Column(name=name, right=True)
            for name in ("rows", "equal", "different", "only in replay", "only live", "excluded")
        ),
        note="Rows on either side = equal + different + only in replay + only live + excluded."
        f" {certificate['result']}; code {certificate['code']}; SHA-256 {certificate['sha256']}",
    )
    for one in certificate["aggregates"]:
        mismatches = [one[name] for name in ("different", "only_in_replay", "only_in_live")]
        excluded = sum(one["excluded"].values())
        rows = one["equal"] + sum(mismatches) + excluded  # certificates of before have no sum of their own
        sheet.add(one["name"], f"{rows:,}", f"{one['equal']:,}", *map(_mismatch, mismatches), f"{excluded:,}")
    yield sheet
    if certificate.get("sums"):  # certificates of before have none
        yield _sums_sheet(certificate["sums"], certificate.get("sums_faults", {}))
    for one in certificate["aggregates"]:
        for reason, number in one["excluded"].items():
            yield TerminalTable("", Column(), note=f"{one['name']}: {_left_out(number)}, {reason}")
        if one["first_differences"]:
            yield _differences(one)
    if late := certificate.get("late"):
        yield _late_sheet(late)


def _left_out(number: int) -> str:
    return counted(number, "row of either side is excluded", "rows of either side are excluded")


def _sums_sheet(sums: dict[str, dict[str, int]], faults: dict[str, dict[str, int]]) -> TerminalTable:
    terms = ("published", "counted", "duplicate", "late", "dead")
    sheet = TerminalTable(
        "records",
        Column(),
        *(Column(name=name, right=True) for name in terms),
        note=" ".join(
            ["Published = counted + duplicate + late + dead, between the offsets read.", *sums_faults(faults)]
        ),
    )
    for topic, found in sums.items():
        sheet.add(topic, *(f"{found[name]:,}" for name in terms))
    return sheet


def sums_faults(faults: dict[str, dict[str, int]]) -> Iterator[str]:
    """What is wrong with the sums of a certificate, a sentence a topic."""
    for topic, found in faults.items():
        missing, twice = found["missing_in_lake"], found["twice_in_lake"]
        said = []
        if missing:
            said.append(f"the lake lacks {counted(missing, 'record')}, whose fate is unknown")
        if twice:
            said.append(f"the lake has {counted(twice, 'record')} twice, counted once here")
        yield f"{topic}: {'; '.join(said) or 'the sums do not balance'}."


def _mismatch(number: int) -> Text:
    return Text(f"{number:,}", style="bold red" if number else "dim")


def _differences(one: dict[str, Any]) -> TerminalTable:
    unequal = ", ".join(f"{name} in {counted(count, 'row')}" for name, count in one["differing_columns"].items())
    sheet = TerminalTable(
        f"{one['name']}, first differing rows",
        Column(),
        Column(name="replay"),
        Column(name="live"),
        note=f"Unequal: {unequal}. " * bool(unequal)
        + f'`insights replay explain {one["name"]} "…"` shows the events behind a row.',
    )
    for difference in one["first_differences"]:
        sheet.add(Text(", ".join(str(value) for value in difference["key"].values()), style="bold"))
        here, there = difference["here"], difference["there"]
        for name in here or there:
            left, right = (str(side[name]) if side else "no row" for side in (here, there))
            if left != right:
                sheet.add(f"  {name}", left, Text(right, style="red"))
    return sheet


def _late_sheet(late: dict[str, Any]) -> TerminalTable:
    sheet = TerminalTable(
        "restatement",
        Column(),
        Column(name="rows changed", right=True),
        Column(name="not by these events", right=True),
        note=f"{counted(late['events'], 'late event')}; {'verified' if late['proven'] else 'NOT VERIFIED'}: without"
        " them every cell equals the live one, with them only their cells change",
    )
    for one in late["aggregates"]:
        sheet.add(one["name"], f"{one['changed']:,}", _mismatch(one["changed_untouched"]))
    return sheet


def changes_sheet(run: Run) -> TerminalTable:
    """What a promotion changed, by aggregate and measure."""
    sheet = TerminalTable(
        "changed",
        Column(),
        Column(name="rows removed", right=True),
        Column(name="added", right=True),
        Column(flows=True),
    )
    for name, change in (run.changes or {}).items():
        measures = ", ".join(f"{measure} {float(by):+,.10g}" for measure, by in change["by_measure"].items())
        sheet.add(name, f"{change['rows_removed']:,}", f"{change['rows_added']:,}", measures or "no total changed")
    return sheet


def explanation_sheets(found: Explanation) -> Iterator[TerminalTable]:
    """The events behind a row, and the row next to their result."""
    sheet = TerminalTable(
        counted(len(found.events), "event"),
        Column(),
        Column(right=True),
        Column(right=True),
        Column(name="at"),
        Column(flows=True),
    )
    for behind in found.events:
        at = behind.record["occurred_at"]
        said = {name: value for name, value in behind.record.items() if value is not None and name not in ENVELOPE}
        sheet.add(
            behind.topic,
            str(behind.partition),
            f"{behind.offset:,}",
            f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}",
            json.dumps(said, default=str, ensure_ascii=False),
        )
    yield sheet
    sheet = TerminalTable(
        ", ".join(map(str, found.key.values())), Column(), Column(name="events add up to"), Column(name="live")
    )
    for name in {**(found.computed or {}), **(found.live or {})}:
        here, there = (str(side[name]) if side else "no row" for side in (found.computed, found.live))
        sheet.add(name, here, Text(there, style="" if here == there else "bold red"))
    yield sheet


class Meter(AbstractContextManager["Meter"]):
    """A bar with rate and time left on a terminal, a line now and then anywhere else."""

    def __init__(self, plan: ReplayPlan) -> None:
        self._of = plan.records
        self._began = time.monotonic()
        self._printed_at = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=runtime.out,
            disable=not runtime.out.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("replay", total=self._of, rate="")

    def __enter__(self) -> Meter:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """What is being done now."""
        self._progress.update(self._task, description=text)
        if not runtime.out.is_terminal:
            runtime.say(text)

    def on_event(self, event: dict[str, Any]) -> None:
        """What the engine reports."""
        if event.get("event") != "progress":
            return
        done, of = int(event["records"]), int(event.get("of") or self._of)
        seconds = time.monotonic() - self._began
        rate = f"{done / seconds:,.0f}/s" if seconds else ""
        self._progress.update(self._task, completed=done, total=of, rate=rate, description="recomputing")
        if not runtime.out.is_terminal and time.monotonic() - self._printed_at > PLAIN_EVERY_SECONDS:
            self._printed_at = time.monotonic()
            sys.stdout.write(f"{done:,} of {counted(of, 'record')}, {rate}\n")
            sys.stdout.flush()
