"""The sources of public streams as processes on a real Kafka: killed and cut off, nothing is lost or counts twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from producers.vehicles.source import VEHICLE_MOVED
from producers.wiki.source import WIKI_EDITED
from schemas import catalogue
from tests.producers.sealed import unsealed
from tests.shops.recent_changes import RecentChanges
from tests.shops.transit import Transit

DEAD = catalogue.event("ops.dead_letter")


def committed(state: Path, table: str) -> int:
    """How many rows the source has kept."""
    if not state.exists():
        return 0
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
        if not database.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone():
            return 0
        return int(database.execute(f"select count(*) from {table}").fetchone()[0])


def test_no_edit_is_lost_and_none_counts_twice_across_kills_and_cuts(
    produce: Callable[..., Any], until: Callable[..., Any], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    log, state, server = log_of(WIKI_EDITED, DEAD), tmp_path / "state" / "wiki.sqlite", RecentChanges(3_000)
    server.pause_seconds = 0.002
    with server.serving():
        arguments = ("wiki", "--url", server.stream, "--private")
        for fault in ("cut", "nonsense"):
            before = committed(state, "seen")
            server.faults = [fault, "429"]
            running = produce(*arguments)
            until(lambda before=before: committed(state, "seen") > before + 50, seconds=60, what="edits are kept")
            running.kill()
        server.told_all.clear()
        running = produce(*arguments)
        until(server.told_all.is_set, seconds=60, what="everything was told")
        asked = len(server.asked)
        until(lambda: len(server.asked) > asked, seconds=60, what="it was read, and the stream asked for again")
        assert running.terminate() == 0
    records = log.records(WIKI_EDITED.topic)
    ids = {record["event_id"]: record["url"] for record in records}
    assert sorted(ids.values()) == sorted(change["notify_url"] for change in server.edits)
    assert {record["source"] for record in records} == {"wiki"}
    letters = [unsealed(state.parent, message).original for message in log.messages(DEAD.topic)]
    assert len(set(letters)) == len(letters) == 4


def test_each_vehicles_newest_position_is_on_the_log_after_kills(
    produce: Callable[..., Any], until: Callable[..., Any], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    log, state = log_of(VEHICLE_MOVED), tmp_path / "state" / "vehicles.sqlite"
    server = Transit(30, at=int(time.time()) - 60)
    with server.serving():
        arguments = ("vehicles", "--feed", f"city={server.address}", "--private", "--every", "1s")
        for moved in (30, 10, 20):
            server.drive(moved, seconds=1)
            asked = len(server.statuses)
            running = produce(*arguments)
            until(lambda asked=asked: len(server.statuses) > asked, seconds=60, what="the feed is polled")
            running.kill()
        until_published = produce(*arguments)
        asked = len(server.statuses)
        until(lambda: len(server.statuses) > asked + 1, seconds=60, what="the feed is polled twice")
        assert until_published.terminate() == 0
    assert committed(state, "unsent") == 0
    records = log.records(VEHICLE_MOVED.topic)
    ids = {record["event_id"]: (record["vehicle_id"], record["occurred_at"]) for record in records}
    assert len(set(ids.values())) == len(ids)
    newest = {vehicle: at for vehicle, at in sorted(ids.values())}
    assert {name.removeprefix("city:"): int(at.timestamp()) for name, at in newest.items()} == {
        entity.vehicle.vehicle.id: entity.vehicle.timestamp for entity in server.feed.entity
    }
