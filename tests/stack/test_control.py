"""What `insights up` makes of a state that the supervisor writes."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import create_autospec

import psutil
import pytest

from insights.settings import Settings
from insights.stack import control
from insights.stack.control import StackNotUp, Step, await_all, await_past
from insights.stack.past import Past
from insights.stack.process_record import Record


def write(settings: Settings, **records: Record) -> None:
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    (settings.run_dir / "state.json").write_text(json.dumps({n: asdict(r) for n, r in records.items()}))


def test_up_does_not_count_what_was_started_again_before_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write(
        settings,
        job=Record(state="starting", restarts=5, is_task=True),
        kafka=Record(state="restarting", restarts=7),
    )
    said: list[Step] = []

    def report(step: Step) -> None:
        said.append(step)
        write(settings, job=Record(state="done", restarts=5, is_task=True), kafka=Record(state="running", restarts=8))

    await_all(settings, ["job", "kafka"], report)
    assert {(step.name, step.state) for step in said} >= {("job", "done"), ("kafka", "done")}


def test_up_gives_up_on_a_part_that_ends_three_times_while_it_waits(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write(settings, kafka=Record(state="starting", restarts=1))
    settings.logs_dir.mkdir(parents=True)
    (settings.logs_dir / "kafka.log").write_text("the port is taken\n")

    def report(step: Step) -> None:
        write(settings, kafka=Record(state="restarting", restarts=4, detail="ended with code 1; restarting"))

    with pytest.raises(StackNotUp, match=r"kafka keeps crashing \(ended with code 1; restarting\): the port"):
        await_all(settings, ["kafka"], report)


def test_up_waits_until_the_past_is_counted_and_shows_its_progress() -> None:
    past = create_autospec(Past, instance=True)
    past.is_counted.side_effect = [False, True]
    past.reached.return_value = datetime(2026, 10, 12, 9, 30, tzinfo=UTC)
    said: list[Step] = []
    assert await_past(past, said.append, 60)
    assert [step.detail for step in said] == ["", "counted up to 2026-10-12 09:30 UTC", "counted, up to now"]


def test_up_leaves_a_past_that_is_too_long_to_the_job() -> None:
    past = create_autospec(Past, instance=True)
    past.is_counted.return_value = False
    said: list[Step] = []
    assert not await_past(past, said.append, 0)
    assert said[-1] == Step(name="the past", state="done", detail="not all of it is counted yet")


def test_up_reports_the_failed_task_and_the_reason(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write(settings, tables=Record(state="failed", is_task=True, detail="no room on the disk"))
    with pytest.raises(StackNotUp, match="tables failed: no room on the disk"):
        await_all(settings, ["tables"], lambda step: None)


def test_up_refuses_a_stack_that_another_release_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know what this release would wait for."""
    settings = Settings(home=tmp_path)
    write(settings, job=Record(state="done", is_task=True), books=Record(state="running"))
    monkeypatch.setattr(control, "supervisor_process", lambda settings: psutil.Process())
    monkeypatch.setattr(control, "KNOWN_SECONDS", 0.0)
    with pytest.raises(StackNotUp, match=r"has no reconciliation: it was started by .* `insights down`"):
        await_all(settings, ["job", "reconciliation"], lambda step: None)
    await_all(settings, ["job"], lambda step: None)
