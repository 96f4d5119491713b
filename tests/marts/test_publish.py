"""What is copied to the lake is what Postgres has, and only what may have changed is copied again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.expressions import EqualTo

from aggregates.catalogue import aggregate, aggregates
from replay import publish as publishing
from replay.plan_file import Stretch
from replay.publish import OPS_TABLES, Outcome, PublishRuns, publish
from schemas.errors import Misconfigured
from tests.marts import sources
from tests.marts.any_shop import any_shop
from tests.marts.promotions import promoted
from tests.marts.sources import Came
from tests.replay import own_lake
from warehouse.compaction import day_of
from warehouse.maintenance import Rules, tidy

pytestmark = pytest.mark.timeout(300)
LINES = aggregate("order_lines")
LOG = any_shop(3)


@pytest.fixture
def dsn(server: str) -> str:
    """All of the log has arrived, and Postgres has recorded it."""
    with psycopg.connect(server) as connection:
        connection.execute("truncate ops.replays")
        sources.fill(connection, Came(LOG))
    return server


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Catalog]:
    catalog = load_catalog("lake", **own_lake.properties(tmp_path))
    yield catalog
    catalog.close()


def published(dsn: str, lake: Catalog, *only: str) -> dict[str, tuple[Outcome, int]]:
    """Copies, and gives by table what became of it and how many days were copied."""
    with psycopg.connect(dsn) as connection:
        return {done.table: (done.outcome, done.days) for done in publish(connection, lake, only=only)}


def in_lake(lake: Catalog, name: str) -> Counter[str]:
    rows = lake.load_table(name).scan().to_arrow().to_pylist()
    return Counter(str([from_json(column, value) for column, value in row.items()]) for row in rows)


def from_json(column: str, value: Any) -> Any:
    """What is jsonb in Postgres is a text in the lake."""
    return json.loads(value) if value is not None and column in ("plan", "certificate", "changes") else value


def in_postgres(dsn: str, name: str) -> Counter[str]:
    with psycopg.connect(dsn) as connection:
        connection.execute("set time zone 'UTC'")
        rows = connection.execute(f"select * from {name}").fetchall()
    return Counter(str([in_the_lakes_words(value) for value in row]) for row in rows)


def in_the_lakes_words(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def assert_same(dsn: str, lake: Catalog, *names: str) -> None:
    for name in names:
        assert in_lake(lake, name) == in_postgres(dsn, name), name


def files_of(lake: Catalog, name: str) -> dict[date, set[str]]:
    found: dict[date, set[str]] = {}
    for task in lake.load_table(name).scan().plan_files():
        found.setdefault(day_of(task.file), set()).add(task.file.file_path)
    return found


def days_of(dsn: str) -> list[date]:
    with psycopg.connect(dsn) as connection:
        days = connection.execute("select distinct (occurred_at at time zone 'UTC')::date from events.order_lines")
        return sorted(day for (day,) in days)


def set_finality(dsn: str, until: datetime) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("update ops.finality set final_until = %s", (until,))


def change(dsn: str, day: date) -> None:
    """Another amount in each line of that day, as a replay or the live job would write it."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"update {LINES.table} set sales_amount = sales_amount + 0.01"
            " where (occurred_at at time zone 'UTC')::date = %s",
            (day,),
        )


def test_every_table_is_copied_with_its_types_nulls_and_bytes(dsn: str, lake: Catalog) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into ops.dead_letters values (0, 7, now(), '', 'ContractBroken', 'ü', null, null)"
            " on conflict do nothing"
        )
    promoted(dsn, "r1", {LINES.name: [Stretch(since=None, until=None)]})
    done = published(dsn, lake)
    assert {outcome for outcome, _ in done.values()} == {"written"}
    assert done.keys() == {a.sink for a in aggregates()} | set(OPS_TABLES)
    assert_same(dsn, lake, *done)
    assert sum(in_lake(lake, "events.customers").values()) > 5
    schema = lake.load_table("events.order_lines").schema()
    assert str(schema.find_type("sales_amount")) == "decimal(38, 2)"
    assert str(schema.find_type("occurred_at")) == "timestamp"
    assert schema.find_field("line").doc == "Place of the line in the order, from 1."


def test_copying_again_what_has_not_changed_writes_nothing(dsn: str, lake: Catalog) -> None:
    done = published(dsn, lake)
    before = {name: lake.load_table(name).metadata_location for name in done}
    assert {outcome for outcome, _ in published(dsn, lake).values()} == {"unchanged"}
    assert {name: lake.load_table(name).metadata_location for name in done} == before


def test_of_a_table_only_days_that_were_not_final_are_copied_again(dsn: str, lake: Catalog) -> None:
    days = days_of(dsn)
    set_finality(dsn, datetime(days[-2].year, days[-2].month, days[-2].day, 9, tzinfo=UTC))
    published(dsn, lake, LINES.sink)
    before = files_of(lake, LINES.sink)
    change(dsn, days[-1])
    assert published(dsn, lake, LINES.sink) == {LINES.sink: ("written", 1)}
    after = files_of(lake, LINES.sink)
    assert [day for day in after if after[day] != before[day]] == [days[-1]]
    assert_same(dsn, lake, LINES.sink)


def test_a_day_whose_rows_are_gone_is_gone(dsn: str, lake: Catalog) -> None:
    days = days_of(dsn)
    set_finality(dsn, datetime(days[-2].year, days[-2].month, days[-2].day, tzinfo=UTC))
    published(dsn, lake, LINES.sink)
    with psycopg.connect(dsn) as connection:
        connection.execute(f"delete from {LINES.table} where (occurred_at at time zone 'UTC')::date = %s", (days[-1],))
    assert published(dsn, lake, LINES.sink)[LINES.sink][0] == "written"
    assert days[-1] not in files_of(lake, LINES.sink)
    assert_same(dsn, lake, LINES.sink)


def hour_of(day: date) -> Stretch:
    start = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    return Stretch(since=start, until=start + timedelta(hours=1))


def test_days_within_windows_that_a_replay_changed_are_copied_again(dsn: str, lake: Catalog) -> None:
    days = days_of(dsn)
    published(dsn, lake, LINES.sink)
    before = files_of(lake, LINES.sink)
    change(dsn, days[0])
    change(dsn, days[3])
    assert published(dsn, lake, LINES.sink)[LINES.sink][0] == "unchanged", "nothing says that final days changed"
    promoted(dsn, "r1", {LINES.name: [hour_of(days[0]), hour_of(days[3])]})
    assert published(dsn, lake, LINES.sink) == {LINES.sink: ("written", 2)}
    after = files_of(lake, LINES.sink)
    assert [day for day in sorted(after) if after[day] != before[day]] == [days[0], days[3]]
    assert_same(dsn, lake, LINES.sink)
    assert published(dsn, lake, LINES.sink)[LINES.sink][0] == "unchanged"


@pytest.mark.parametrize("what", ["another version is shown", "the tables were rebuilt"])
def test_all_days_are_looked_at_again_when(what: str, dsn: str, lake: Catalog) -> None:
    published(dsn, lake, LINES.sink)
    change(dsn, days_of(dsn)[0])
    if what == "another version is shown":
        with psycopg.connect(dsn) as connection:
            connection.execute("update ops.versions set since = now() where aggregate = %s", (LINES.name,))
    else:
        set_finality(dsn, datetime(2026, 1, 1, tzinfo=UTC))
    assert published(dsn, lake, LINES.sink) == {LINES.sink: ("written", 1)}
    assert_same(dsn, lake, LINES.sink)


def test_a_copy_that_is_killed_leaves_the_one_before_and_the_next_completes_it(
    dsn: str, lake: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(dsn, lake, LINES.sink)
    before = in_postgres(dsn, LINES.sink)
    days = days_of(dsn)
    for day in days[:9]:
        change(dsn, day)
    promoted(dsn, "r1", {LINES.name: [Stretch(since=None, until=None)]})
    written: list[Any] = []
    write = publishing.write

    def dies_half_way(*arguments: Any) -> Any:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(write(*arguments))
        return written[-1]

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "write", dies_half_way)
        with pytest.raises(KeyboardInterrupt):
            published(dsn, lake, LINES.sink)
    assert len(written) == 4
    assert in_lake(lake, LINES.sink) == before
    assert published(dsn, lake, LINES.sink)[LINES.sink][0] == "written"
    assert_same(dsn, lake, LINES.sink)


def test_rows_are_held_a_few_at_a_time_and_a_day_may_be_several_files(
    dsn: str, lake: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "FILE_ROWS", 3)
    published(dsn, lake, LINES.sink, "ops.event_counts")
    assert max(len(files) for files in files_of(lake, LINES.sink).values()) > 1
    tasks = lake.load_table("ops.event_counts").scan().plan_files()
    assert max(task.file.record_count for task in tasks) == 3
    assert_same(dsn, lake, LINES.sink, "ops.event_counts")


def test_a_book_with_another_column_is_copied_with_it(dsn: str, lake: Catalog) -> None:
    published(dsn, lake, "ops.event_counts")
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table ops.event_counts add column note text default 'new', drop column on_time")
        try:
            connection.commit()
            assert published(dsn, lake, "ops.event_counts")["ops.event_counts"][0] == "written"
            assert sorted(lake.load_table("ops.event_counts").schema().column_names) == [
                *("counted", "last_event_at", "note", "topic", "window_start")
            ]
            assert lake.load_table("ops.event_counts").scan(EqualTo("note", "new")).to_arrow().num_rows > 5
        finally:
            connection.execute("alter table ops.event_counts drop column note, add column on_time bigint default 0")


def test_a_type_that_the_lake_does_not_know_is_refused_by_name(dsn: str, lake: Catalog) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table ops.event_counts add column place point")
        try:
            connection.commit()
            with pytest.raises(Misconfigured, match=r"ops.event_counts.place is point"):
                published(dsn, lake, "ops.event_counts")
        finally:
            connection.execute("alter table ops.event_counts drop column place")


def test_two_do_not_copy_at_once(dsn: str, lake: Catalog) -> None:
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        first = publish(one, lake)
        next(first)
        with pytest.raises(PublishRuns):
            next(publish(other, lake))
        first.close()
        assert next(publish(other, lake)).outcome == "unchanged"


def test_upkeep_lets_old_copies_go_and_leaves_the_newest(dsn: str, lake: Catalog) -> None:
    newest = days_of(dsn)[-1]
    set_finality(dsn, datetime(newest.year, newest.month, newest.day, tzinfo=UTC))
    published(dsn, lake, LINES.sink)
    change(dsn, newest)
    published(dsn, lake, LINES.sink)
    assert len(lake.load_table(LINES.sink).metadata.snapshots) == 2
    soon = datetime.now(UTC) + timedelta(hours=1)
    done = tidy(lake, ("events", "order_lines"), Rules(now=soon, expire_before=soon, strays_before=soon))
    assert (done.expired, done.after.snapshots, done.orphans) == (1, 1, 0)
    assert_same(dsn, lake, LINES.sink)
