"""When the past that a stack begins with is counted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from insights.settings import Settings
from insights.stack.past import AfterPast, LateRuns, Past, has_all
from insights.stack.process_record import Record
from insights.stack.recurring_jobs import Command
from producers.connect.memory import FILE
from producers.shop.shop_state import Cursor, ShopState
from reconciliation.topic_counts import Recorded, Tally

NOW = datetime(2026, 11, 29, 14, 30, tzinfo=UTC)
ORDERS, VISITS, LETTERS = "sales.order_placed.v1", "web.interaction.v1", "ops.dead_letter.v1"


def recorded(
    on_time: dict[str, int], late: dict[str, int] | None = None, dead: dict[str, int] | None = None
) -> Recorded:
    tallies = {topic: Tally(on_time=n, counted=n, last_event_at=NOW) for topic, n in on_time.items()}
    return Recorded(tallies=tallies, late=late or {}, dead=dead or {}, final_until={})


@pytest.mark.parametrize(
    ("found", "is_all"),
    [
        (recorded({ORDERS: 10, VISITS: 99}), False),
        (recorded({ORDERS: 10}), False),
        (recorded({ORDERS: 10, VISITS: 100}), True),
        (recorded({ORDERS: 7, VISITS: 100}, late={ORDERS: 2}, dead={ORDERS: 1}), True),
        (recorded({ORDERS: 11, VISITS: 140}), True),
    ],
)
def test_each_record_of_a_topic_has_its_fate_or_the_past_is_not_counted(found: Recorded, is_all: bool) -> None:
    assert has_all({ORDERS: 10, VISITS: 100, LETTERS: 3}, found) is is_all


@pytest.fixture
def settings(tmp_path: Path, apart: Callable[..., Settings]) -> Settings:
    found = apart(tmp_path / "home")
    for folder in (found.run_dir, found.producers_dir):
        folder.mkdir(parents=True)
    return found


def published(settings: Settings, source: str) -> bool:
    return Past(settings, source, clock=lambda: NOW).is_published()


def test_a_shop_has_published_its_past_when_its_cursor_is_at_the_clock(settings: Settings) -> None:
    assert not published(settings, "shop-events")
    state_file = ShopState(settings.producers_dir / "shop.sqlite", {})
    minute = int(NOW.timestamp()) // 60
    for behind, is_over in ((90 * 1440, False), (10, False), (1, True)):
        state_file.commit(Cursor(origin=0, minute=minute - behind, done=0, customers_from=0, written_ms=0), [])
        assert published(settings, "shop-events") is is_over
    state_file.close()


def test_a_file_is_published_when_its_part_has_ended(settings: Settings) -> None:
    assert not published(settings, "orders")
    for state in ("running", "done"):
        (settings.run_dir / "state.json").write_text(json.dumps({"orders": asdict(Record(state=state))}))
        assert published(settings, "orders") is (state == "done")


def test_a_command_waits_for_the_past_before_its_first_run_alone() -> None:
    past, command = create_autospec(Past, instance=True), create_autospec(Command, instance=True)
    past.is_counted.side_effect = [False, True]
    job = AfterPast(command, past)
    job.run()
    assert (past.is_counted.call_count, command.run.call_count) == (2, 1)
    job.run()
    assert (past.is_counted.call_count, command.run.call_count) == (2, 2)


def test_a_past_that_is_too_long_keeps_no_command_from_running() -> None:
    past, command = create_autospec(Past, instance=True), create_autospec(Command, instance=True)
    past.is_counted.return_value = False
    AfterPast(command, past, seconds=0).run()
    command.run.assert_called_once()


def test_a_wait_for_the_past_ends_when_the_stack_does() -> None:
    past, command = create_autospec(Past, instance=True), create_autospec(Command, instance=True)
    past.is_counted.return_value = False
    job = AfterPast(command, past)
    job.cancel()
    job.run()
    command.cancel.assert_called_once()
    command.run.assert_not_called()


def test_late_events_are_counted_once_after_each_history_that_a_running_stack_has_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, now = create_autospec(Command, instance=True), [0.0]
    is_counted = [False]
    monkeypatch.setattr(Past, "is_counted", lambda self: is_counted[0])
    memory = sqlite3.connect(settings.producers_dir / FILE)
    memory.execute("create table positions (shop text primary key, is_history_done integer)")

    def read(shop: str) -> None:
        with memory:
            memory.execute("insert into positions values (?, 1)", (shop,))

    def runs_after(seconds: float) -> int:
        now[0] += seconds
        late.after_histories()
        return int(command.run.call_count)

    read("bikes")
    late = LateRuns(command, settings, clock=lambda: now[0])
    assert runs_after(1_000) == 0, "its history was there before"
    read("bells")
    assert runs_after(1_000) == 0, "it is on the log, and not counted yet"
    is_counted[0] = True
    assert runs_after(1) == 0
    assert runs_after(settings.idle_timeout_seconds) == 0, "a topic without events has not followed yet"
    assert runs_after(settings.idle_timeout_seconds) == 1
    assert runs_after(1_000) == 1
    memory.close()


def test_while_no_server_answers_the_past_is_not_counted(settings: Settings) -> None:
    past = Past(settings, "orders", clock=lambda: NOW)
    assert not past.is_counted()
    assert past.reached() is None
