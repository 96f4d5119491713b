"""The replay's job, with files for its topics: whole or not at all, and chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aggregates.catalogue import aggregate
from spark.task import Chunk, Slice, Task, read_task
from tests.aggregates import oracle
from tests.aggregates.any_events import any_log
from tests.spark.process import SparkProcess, SparkRefused
from tests.spark.replay_on_files import RAW, computation, rows, task, write_log

MOVES = aggregate("stock_moves_per_hour")
EVENT = "inventory.stock_moved"
PUBLISHED_AT = datetime(2026, 3, 20, 7, 30, tzinfo=UTC)
Raw = dict[str, Any]


@pytest.fixture(scope="module")
def moves() -> list[Any]:
    return any_log(3, events_a_topic=300)[EVENT]


def moves_task(folder: Path, log: list[Any], chunks: Iterable[Chunk] = ()) -> Task:
    read = write_log(folder, EVENT, log, PUBLISHED_AT)
    return task(folder, [read], [computation(MOVES, tuple(chunks))] if chunks else [computation(MOVES)])


def change(folder: Path, changed: Callable[[list[Raw]], list[Raw]]) -> None:
    path = folder / f"{EVENT}.parquet"
    pq.write_table(pa.Table.from_pylist(changed(pq.read_table(path).to_pylist()), RAW), path)


def with_value(rows: list[Raw], number: int, value: bytes) -> list[Raw]:
    return [*rows[:number], {**rows[number], "value": value}, *rows[number + 1 :]]


@pytest.mark.parametrize(
    ("value", "begins"),
    [(b"\0\0\0\0\x07\x02a", "0000000007"), (b'{"event_id": 1}', "7B22657665"), (b"", "")],
    ids=["a schema nobody planned for", "no Avro at all", "nothing"],
)
def test_a_record_of_no_known_schema_is_named_by_its_place(
    value: bytes, begins: str, moves: list[Any], spark: SparkProcess, tmp_path: Path
) -> None:
    given = moves_task(tmp_path, moves)
    change(tmp_path, lambda rows: with_value(rows, 100, value))
    partition, offset = oracle.place(moves, 100)
    place = f"inventory.stock_moved.v1 partition {partition} offset {offset}: the record begins with the bytes {begins}"
    with pytest.raises(SparkRefused, match=place):
        spark.recompute(given, tmp_path)
    assert not list((tmp_path / "out").rglob("_SUCCESS"))


def test_a_record_that_is_missing_is_named(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    given = moves_task(tmp_path, moves)
    change(tmp_path, lambda rows: rows[:100] + rows[101:])
    partition, offset = oracle.place(moves, 100)
    named = f"the log of {EVENT}.v1 lacks 1 of the 300 records .* first of them partition {partition} offset {offset}"
    with pytest.raises(SparkRefused, match=named):
        spark.recompute(given, tmp_path)


def test_a_record_that_is_there_twice_is_named(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    given = moves_task(tmp_path, moves)
    change(tmp_path, lambda rows: [*rows, rows[100]])
    partition, offset = oracle.place(moves, 100)
    with pytest.raises(SparkRefused, match=f"holds partition {partition} offset {offset} 2 times"):
        spark.recompute(given, tmp_path)


def test_a_record_that_stands_in_the_place_of_another_is_named(
    moves: list[Any], spark: SparkProcess, tmp_path: Path
) -> None:
    given = moves_task(tmp_path, moves)
    change(tmp_path, lambda rows: [*rows[:100], rows[104], *rows[101:]])
    partition, offset = oracle.place(moves, 104)
    with pytest.raises(SparkRefused, match=f"holds partition {partition} offset {offset} 2 times"):
        spark.recompute(given, tmp_path)


def test_slices_that_overlap_are_refused(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    given = moves_task(tmp_path, moves)
    (read,) = given.inputs
    again = Slice(partition=read.log[1].partition, from_offset=40, until_offset=50)
    with pytest.raises(SparkRefused, match=r"partition 1 offset 40 is to be read twice: its slices overlap"):
        spark.recompute(replace(given, inputs=(replace(read, lake=(again,)),)), tmp_path)


def test_only_the_slices_count(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    """What stands before and after them is not read, and holes between two of one partition are none."""
    given = moves_task(tmp_path, moves)
    (read,) = given.inputs
    slices = (
        Slice(partition=0, from_offset=10, until_offset=20),
        Slice(partition=0, from_offset=30, until_offset=50),
        Slice(partition=2, from_offset=5, until_offset=5),
    )
    counted, seen = [], set()
    for number, record in enumerate(moves):
        partition, offset = oracle.place(moves, number)
        if partition == 0 and (10 <= offset < 20 or 30 <= offset < 50) and record["event_id"] not in seen:
            seen.add(record["event_id"])
            counted.append(record)
    spark.recompute(replace(given, inputs=(replace(read, log=slices),)), tmp_path)
    assert sum(row["net_change"] for row in rows(tmp_path, MOVES)) == sum(record["delta"] for record in counted)


def chunks(*edges: str | None) -> list[Chunk]:
    return [
        Chunk(name=f"chunk-{n}", from_time=least, until_time=most)
        for n, (least, most) in enumerate(zip(edges, edges[1:], strict=False))
    ]


CUT = chunks(None, "2026-03-01T00:00:00+00:00", "2026-03-02T05:00:00Z", "2026-03-04T00:00:00", None)


def test_cut_into_chunks_it_is_the_same(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    spark.recompute(moves_task(tmp_path / "whole", moves), tmp_path / "whole")
    said = spark.recompute(moves_task(tmp_path / "cut", moves, CUT), tmp_path / "cut")
    whole, cut = rows(tmp_path / "whole", MOVES), rows(tmp_path / "cut", MOVES)
    assert cut == whole
    done = [event for event in said if event["event"] == "chunk"]
    assert [event["chunk"] for event in done] == [chunk.name for chunk in CUT]
    assert sum(event["rows"] for event in done) == len(whole)
    assert all(event["rows"] for event in done), "a chunk of nothing shows nothing"
    steps = [event for event in said if event["event"] == "progress"]
    assert [event["records"] for event in steps] == sorted(event["records"] for event in steps)
    assert {event["of"] for event in steps} == {300}, "a record that is read and then computed is one"
    assert steps[-1]["records"] == 300


def test_a_chunk_that_is_done_stays_and_a_half_one_goes(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    given = moves_task(tmp_path, moves, CUT)
    spark.recompute(given, tmp_path)
    expected = rows(tmp_path, MOVES)
    folders = [Path(given.folder("only", MOVES.name, chunk).removeprefix("file://")) for chunk in CUT]
    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.glob("*.parquet")}
    (folders[1] / "_SUCCESS").unlink()
    (folders[1] / "part-half.parquet").write_bytes(b"half a file")
    said = spark.recompute(given, tmp_path)
    assert rows(tmp_path, MOVES) == expected
    assert [event["reused"] for event in said if event["event"] == "chunk"] == [True, True, True, False]
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if path.parent != folders[1])


def test_a_topic_without_records_gives_no_rows(moves: list[Any], spark: SparkProcess, tmp_path: Path) -> None:
    given = moves_task(tmp_path, moves)
    spark.recompute(replace(given, inputs=tuple(replace(i, log=()) for i in given.inputs)), tmp_path)
    assert rows(tmp_path, MOVES) == []


def test_a_query_with_other_columns_than_the_task_is_refused(
    moves: list[Any], spark: SparkProcess, tmp_path: Path
) -> None:
    given = moves_task(tmp_path, moves)
    (wrong,) = given.computations
    wrong = replace(wrong, columns={"window_start": "timestamp", "delta": "count"})
    with pytest.raises(
        SparkRefused, match="the query gives window_start, product_id.* and should give window_start, delta"
    ):
        spark.recompute(replace(given, computations=(wrong,)), tmp_path)


def test_a_task_is_the_same_after_a_file(moves: list[Any], tmp_path: Path) -> None:
    given = moves_task(tmp_path, moves, CUT)
    assert read_task(given.to_json()) == given


@pytest.mark.parametrize(
    ("sql", "fields"),
    [
        ("select customer_id from order_placed", ["event_id", "occurred_at", "customer_id"]),
        (
            "select region, sum(quantity) as units from order_placed_lines group by region",
            ["event_id", "occurred_at", "region", "lines.quantity"],
        ),
        ("select count(*) as n, 2 * 3 as six from order_placed", ["event_id", "occurred_at"]),
    ],
)
def test_only_the_fields_that_a_query_names_are_decoded(sql: str, fields: list[str], spark: SparkProcess) -> None:
    assert spark.reads("sales.order_placed", sql) == fields
