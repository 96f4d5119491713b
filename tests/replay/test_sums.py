"""Of every record that a replay reads its certificate says what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from pyiceberg.catalog import Catalog, load_catalog
from rich.console import Console

from insights.replay_views import _sums_sheet
from replay.sums import Sums, of_topic
from schemas.catalogue import event
from spark.task import Slice
from tests.aggregates import oracle
from tests.aggregates.any_events import any_log
from tests.replay import own_lake
from tests.replay.duck_task import archived_rows, slices

MOVES = event("inventory.stock_moved")
LOG = any_log(3, events_a_topic=300)[MOVES.name]
UNREADABLE = {(0, 100)}
"""After the others: it is on the log, and not in the lake."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    folder = tmp_path_factory.mktemp("sums")
    own_lake.archive(folder, MOVES, archived_rows(LOG))
    catalog = load_catalog("lake", **own_lake.properties(folder))
    yield catalog
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


def test_a_lake_that_lacks_a_record_does_not_add_up(lake: Catalog) -> None:
    (first, *others) = slices(LOG)
    longer = Slice(partition=first.partition, from_offset=0, until_offset=first.until_offset + 1)
    assert not told(lake, (longer, *others), dead=set(), unreadable=set()).add_up


def test_people_see_the_sums_of_each_topic() -> None:
    sums = {MOVES.topic: {"published": 1301, "counted": 1200, "duplicate": 50, "late": 40, "dead": 11}}
    console = Console(file=StringIO(), width=120)
    console.print(_sums_sheet(sums))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.split()[:6] == ["records", "published", "counted", "duplicate", "late", "dead"]
    assert text.split()[6:12] == [MOVES.topic, "1,301", "1,200", "50", "40", "11"]
