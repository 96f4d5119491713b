"""A replay's certificate accounts for every record that it reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog, load_catalog
from rich.console import Console

from insights.cli.replay_views import _sums_sheet
from insights.cli.terminal_table import TerminalTable
from replay.record_counts import Sums, of_topic, when_archived
from schemas.catalogue import Event, event
from spark.task import Slice
from tests.aggregates import oracle
from tests.aggregates.any_events import any_log
from tests.replay import own_lake
from tests.replay.duckdb_task import archived_rows, slices

MOVES = event("inventory.stock_moved")
COMPACTED = event("customers.customer_changed")
ALL_LOGS = any_log(3, events_a_topic=300)
LOG = ALL_LOGS[MOVES.name]
UNREADABLE = {(0, 100)}
"""After the others: it is on the log, and not in the lake."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    folder = tmp_path_factory.mktemp("sums")
    own_lake.archive(folder, MOVES, archived_rows(LOG))
    with opened(folder) as catalog:
        yield catalog


@contextmanager
def opened(folder: Path) -> Iterator[Catalog]:
    catalog = load_catalog("lake", **own_lake.properties(folder))
    try:
        yield catalog
    finally:
        catalog.close()


def told(lake: Catalog, pieces: tuple[Slice, ...], **changes: Any) -> Sums:
    judged = oracle.Judged(LOG)
    late = {(partition, offset) for partition, offset, _, _ in judged.late}
    places: dict[str, Any] = {"late": late, "dead": UNREADABLE, "unreadable": UNREADABLE}
    return of_topic(lake, MOVES, pieces, **{**places, **changes})


def test_what_was_published_is_what_counted_and_its_copies_and_the_late_and_the_dead(lake: Catalog) -> None:
    first, *others = slices(LOG)
    judged = oracle.Judged(LOG)
    found = told(lake, (Slice(partition=0, from_offset=0, until_offset=first.until_offset + 1), *others))
    assert found == Sums(
        published=301, counted=len(judged.counted), duplicate=len(judged.duplicates), late=len(judged.late), dead=1
    )
    assert found.add_up


def test_a_dead_record_that_can_be_read_is_in_the_lake_and_counts_as_dead_alone(lake: Catalog) -> None:
    judged = oracle.Judged(LOG)
    ids = Counter(record["event_id"] for record in LOG)
    number = next(n for n, record in enumerate(LOG) if record in judged.counted and ids[record["event_id"]] == 1)
    found = told(lake, slices(LOG), dead={oracle.place(LOG, number)}, unreadable=set())
    assert (found.counted, found.dead) == (len(judged.counted) - 1, 1)
    assert found.add_up


def test_what_lies_outside_of_the_slices_is_in_no_sum(lake: Catalog) -> None:
    found = told(lake, (Slice(partition=1, from_offset=10, until_offset=30),))
    assert (found.published, found.dead) == (20, 0)
    assert found.add_up


def test_a_lake_that_lacks_records_does_not_add_up_and_counts_them(lake: Catalog) -> None:
    (first, *others) = slices(LOG)
    longer = Slice(partition=first.partition, from_offset=0, until_offset=first.until_offset + 1)
    found = told(lake, (longer, *others), dead=set(), unreadable=set())
    assert not found.add_up
    assert found.faults == {"missing_in_lake": 1, "twice_in_lake": 0}


def test_a_record_that_the_lake_has_twice_is_counted_once_and_named(tmp_path: Path) -> None:
    rows = archived_rows(LOG)
    own_lake.archive(tmp_path, MOVES, rows)
    own_lake.archive(tmp_path, MOVES, rows[40:42])
    with opened(tmp_path) as twice:
        found = told(twice, slices(LOG), dead=set(), unreadable=set())
    assert found.add_up
    assert found.faults == {"missing_in_lake": 0, "twice_in_lake": 2}


def test_one_record_twice_does_not_make_up_for_one_that_is_missing(tmp_path: Path) -> None:
    rows = archived_rows(LOG)
    own_lake.archive(tmp_path, MOVES, [*rows[:50], *rows[51:]])
    own_lake.archive(tmp_path, MOVES, rows[10:11])
    with opened(tmp_path) as found_lake:
        found = told(found_lake, slices(LOG), dead=set(), unreadable=set())
    assert found.faults == {"missing_in_lake": 1, "twice_in_lake": 1}


@pytest.mark.parametrize("e", [MOVES, COMPACTED], ids=lambda e: e.cleanup)
def test_sums_wait_until_the_lake_has_the_newest_record(tmp_path: Path, e: Event) -> None:
    """Of a compacted topic nothing but its end shows that a record is on its way."""
    log = ALL_LOGS[e.name]
    rows, pieces = archived_rows(log), slices(log)
    newest = rows[-1]
    own_lake.archive(tmp_path, e, rows[:-1])
    looks = 0

    @contextmanager
    def lake() -> Iterator[Catalog]:
        nonlocal looks
        looks += 1
        if looks == 2:
            own_lake.archive(tmp_path, e, [newest])
        with opened(tmp_path) as catalog:
            yield catalog

    places: dict[str, Any] = {"late": set(), "dead": set(), "unreadable": set()}
    with opened(tmp_path) as catalog:
        assert of_topic(catalog, e, pieces, **places).missing == 1
    found = when_archived(lake, e, pieces, **places, deadline=time.monotonic() + 60)
    assert looks == 2
    assert (found.published, found.missing, found.faults) == (len(log), 0, {})


@pytest.mark.parametrize("e", [MOVES, COMPACTED], ids=lambda e: e.cleanup)
def test_an_unreadable_record_at_the_end_is_waited_for_by_nobody(tmp_path: Path, e: Event) -> None:
    log = ALL_LOGS[e.name]
    own_lake.archive(tmp_path, e, archived_rows(log))
    first, *others = slices(log)
    last = (first.partition, first.until_offset)
    longer = Slice(partition=first.partition, from_offset=0, until_offset=first.until_offset + 1)
    with opened(tmp_path) as catalog:
        found = of_topic(catalog, e, (longer, *others), late=set(), dead={last}, unreadable={last})
    assert (found.published, found.dead, found.faults) == (len(log) + 1, 1, {})


def test_a_record_that_does_not_arrive_is_reported_at_the_deadline_and_raises_nothing(tmp_path: Path) -> None:
    own_lake.archive(tmp_path, MOVES, archived_rows(LOG)[:-1])
    places: dict[str, Any] = {"late": set(), "dead": set(), "unreadable": set()}
    found = when_archived(lambda: opened(tmp_path), MOVES, slices(LOG), **places, deadline=time.monotonic())
    assert found.faults == {"missing_in_lake": 1, "twice_in_lake": 0}
    assert found.of_certificate["published"] == len(LOG)


def test_a_hole_before_the_end_of_the_lake_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    rows = archived_rows(LOG)
    own_lake.archive(tmp_path, MOVES, [*rows[:50], *rows[51:]])
    places: dict[str, Any] = {"late": set(), "dead": set(), "unreadable": set()}
    looks = 0

    @contextmanager
    def lake() -> Iterator[Catalog]:
        nonlocal looks
        looks += 1
        with opened(tmp_path) as catalog:
            yield catalog

    found = when_archived(lake, MOVES, slices(LOG), **places, deadline=time.monotonic() + 60)
    assert (looks, found.missing) == (1, 1)


def test_a_compacted_topic_counts_what_was_kept(tmp_path: Path) -> None:
    log = ALL_LOGS[COMPACTED.name]
    own_lake.archive(tmp_path, COMPACTED, archived_rows(log)[3:])
    with opened(tmp_path) as catalog:
        found = of_topic(catalog, COMPACTED, slices(log), late=set(), dead=set(), unreadable=set())
    assert (found.published, found.faults) == (len(log) - 3, {})


def test_people_see_the_sums_of_each_topic() -> None:
    sums = {MOVES.topic: {"published": 1301, "counted": 1200, "duplicate": 50, "late": 40, "dead": 11}}
    text = shown(_sums_sheet(sums, {}))
    assert text.split()[:6] == ["records", "published", "counted", "duplicate", "late", "dead"]
    assert text.split()[6:12] == [MOVES.topic, "1,301", "1,200", "50", "40", "11"]


def test_people_see_what_is_wrong_with_the_sums() -> None:
    sums = {MOVES.topic: {"published": 10, "counted": 9, "duplicate": 0, "late": 0, "dead": 0}}
    text = shown(_sums_sheet(sums, {MOVES.topic: {"missing_in_lake": 1, "twice_in_lake": 2}}))
    assert " ".join(text.split()).endswith(
        f"{MOVES.topic}: the lake lacks 1 record, whose fate is unknown; the lake has 2 records"
        " twice, counted once here."
    )


def shown(sheet: TerminalTable) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(sheet)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]
