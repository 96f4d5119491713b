"""The DuckDB engine reads a real Iceberg lake: files, slices, late ones, chunks; and refuses what it can't do whole.

Longer than 400 lines, because its tests share the functions that make small lakes.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from aggregates.catalogue import aggregate, aggregates
from replay.duckdb.engine import ComputationFailed, LakeIncomplete, Progress, compute, memory_here, united
from schemas.catalogue import event
from schemas.errors import Misconfigured
from spark.task import Chunk, Input, Slice, Task, read_task
from tests.aggregates import oracle
from tests.aggregates.any_events import any_log
from tests.replay import own_lake
from tests.replay.duckdb_task import archived_rows, computation, input_of, rows_of, task_of, write_late
from tests.schemas.thing_happened import THING_HAPPENED, line_fields, of

ORDER = "sales.order_placed"
LINES, SALES, MOVES = aggregate("order_lines"), aggregate("sales_per_minute"), aggregate("stock_moves_per_hour")
EVERY_ORDER = any_log(7, events_a_topic=400)[ORDER]

Records = Sequence[dict[str, Any]]


def quietly(task: Task) -> None:
    compute(task, lambda progress: None)


def archived_orders(folder: Path, files: int = 3) -> Task:
    """Orders over several days and commits, as facts and as an aggregate."""
    rows = archived_rows(EVERY_ORDER, apart=timedelta(minutes=20))
    for number in range(files):
        own_lake.archive(folder, event(ORDER), rows[number::files])
    return task_of(folder, [input_of(ORDER, EVERY_ORDER, folder)], [computation(LINES), computation(SALES)])


def days(first: datetime, last: datetime) -> tuple[Chunk, ...]:
    """A chunk a day, and the two without an end."""
    edges = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    names = [at.isoformat().replace("+00:00", "Z") for at in edges]
    ends: list[str | None] = [None, *names, None]
    return tuple(
        Chunk(name=f"{n:04}", from_time=since, until_time=until)
        for n, (since, until) in enumerate(zip(ends, ends[1:], strict=False))
    )


def moves(*of_warehouses: str) -> list[dict[str, Any]]:
    record = any_log(1, events_a_topic=1)["inventory.stock_moved"][0]
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return [
        {**record, "event_id": f"e{n}", "warehouse": w, "occurred_at": at, "delta": 1, "reason": "restock"}
        for n, w in enumerate(of_warehouses)
    ]


def moved(folder: Path, rows: Records, **changes: Any) -> Task:
    own_lake.archive(folder, event("inventory.stock_moved"), rows)
    e = event("inventory.stock_moved")
    asked = Input(
        event=e.name,
        table=e.table,
        topic=e.topic,
        schema=e.schema_text,
        schemas={1: e.schema_text},
        log=(),
        lake=(Slice(partition=0, from_offset=0, until_offset=len(rows)),),
        late={"live": ""},
    )
    return task_of(folder, [replace(asked, **changes)], [computation(MOVES)])


def warehouses(task: Task) -> list[str]:
    return [row["warehouse"] for row in rows_of(task, MOVES)]


def test_files_of_many_days_and_commits_are_one_log(tmp_path: Path) -> None:
    task = archived_orders(tmp_path)
    quietly(read_task(task.to_json()))
    for a in (LINES, SALES):
        assert rows_of(task, a) == oracle.table(a.name, a.key, {ORDER: EVERY_ORDER})
    assert not (tmp_path / "out" / "_work").exists()


def test_chunks_hold_their_windows_and_together_all_of_them(tmp_path: Path) -> None:
    times = sorted(record["occurred_at"] for record in EVERY_ORDER)
    first = times[0].replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    whole = archived_orders(tmp_path)
    chunks = days(first, first + timedelta(days=6))
    task = replace(whole, computations=(computation(SALES, chunks),))
    quietly(task)
    assert rows_of(task, SALES) == oracle.table(SALES.name, SALES.key, {ORDER: EVERY_ORDER})
    one = replace(task, computations=(computation(SALES, chunks[2:3]),))
    edge = datetime.fromisoformat(chunks[2].from_time or "")
    assert {row["window_start"].date() for row in rows_of(one, SALES)} == {edge.date()}


def test_slices_of_the_log_are_read_from_the_lake_and_nothing_beyond_them(tmp_path: Path) -> None:
    rows = archived_rows(moves("a", "b", "c", "d", "e", "f"))
    task = moved(
        tmp_path,
        rows,
        lake=(Slice(partition=0, from_offset=1, until_offset=3),),
        log=(Slice(partition=0, from_offset=3, until_offset=5),),
    )
    quietly(task)
    assert warehouses(task) == ["b", "c", "d", "e"]


def test_each_variant_leaves_out_its_own_late_records(tmp_path: Path) -> None:
    late = {"live": write_late(tmp_path / "late.parquet", [(0, 1), (0, 2)]), "restated": ""}
    task = replace(moved(tmp_path, archived_rows(moves("a", "b", "c")), late=late), variants=("live", "restated"))
    quietly(task)
    assert [row["warehouse"] for row in rows_of(task, MOVES, "live")] == ["a"]
    assert [row["warehouse"] for row in rows_of(task, MOVES, "restated")] == ["a", "b", "c"]


def test_a_late_record_is_no_first_one(tmp_path: Path) -> None:
    """Its copy that came in time counts, as in the live job."""
    records = [{**record, "event_id": "one"} for record in moves("late", "first", "second")]
    task = moved(tmp_path, archived_rows(records), late={"live": write_late(tmp_path / "late.parquet", [(0, 0)])})
    quietly(task)
    assert warehouses(task) == ["first"]


def test_in_a_partition_the_lowest_offset_is_the_first_regardless_of_timestamps(tmp_path: Path) -> None:
    rows = archived_rows([{**record, "event_id": "one"} for record in moves("first", "second")])
    rows[1]["kafka_timestamp"] -= timedelta(hours=1)
    task = moved(tmp_path, rows)
    quietly(task)
    assert warehouses(task) == ["first"]


def test_of_records_in_several_partitions_the_first_published_counts(tmp_path: Path) -> None:
    rows = archived_rows([{**record, "event_id": "one"} for record in moves("second", "third", "first")])
    rows[2].update(kafka_partition=1, kafka_offset=0, kafka_timestamp=rows[0]["kafka_timestamp"] - timedelta(seconds=1))
    both = (Slice(partition=0, from_offset=0, until_offset=2), Slice(partition=1, from_offset=0, until_offset=1))
    task = moved(tmp_path, rows, lake=both)
    quietly(task)
    assert warehouses(task) == ["first"]


def test_results_have_the_canonical_types(tmp_path: Path) -> None:
    log = any_log(3, events_a_topic=30)
    for name, records in log.items():
        own_lake.archive(tmp_path, event(name), archived_rows(records))
    inputs = [input_of(name, records, tmp_path) for name, records in log.items()]
    task = task_of(tmp_path, inputs, [computation(a) for a in aggregates()])
    quietly(task)
    types = {
        "timestamp": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
        "string": pa.string(),
        "bytes": pa.binary(),
        "int": pa.int32(),
        "boolean": pa.bool_(),
        "count": pa.int64(),
        "money": pa.decimal128(38, 2),
        "charge": pa.decimal128(38, 3),
        "rate": pa.decimal128(38, 12),
        "double": pa.float64(),
    }
    for a in aggregates():
        schema = pq.read_schema(tmp_path / "out" / "live" / a.name / "all" / "part-0.parquet")
        assert dict(zip(schema.names, schema.types, strict=True)) == {n: types[c.type] for n, c in a.columns.items()}


THINGS = """
select event_id, note, extra, colour, quantity, line, occurred_at, price * amount as paid
from thing_happened_lines
"""
OF_THINGS = {
    "event_id": "string",
    "note": "string",
    "extra": "string",
    "colour": "string",
    "quantity": "int",
    "line": "int",
    "occurred_at": "timestamp",
    "paid": "money",
}


@pytest.mark.parametrize("newest_files", [0, 1, 2])
def test_files_from_before_a_field_was_added_read_as_null(newest_files: int, tmp_path: Path) -> None:
    """Even when no file has it, as just after the contract gained it."""
    old, new = copy.deepcopy(THING_HAPPENED), copy.deepcopy(THING_HAPPENED)
    new["fields"].insert(3, {"name": "extra", "type": ["null", "string"], "default": None})
    line_fields(new).insert(0, {"name": "colour", "type": ["null", "string"], "default": None})
    at = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
    for n in range(2):
        is_new = n >= 2 - newest_files
        thing = {"event_id": f"e{n}", "occurred_at": at, "note": None, "amount": 2, "price": Decimal("1.50")}
        line = {"quantity": n, "tag": "t", **({"colour": "red"} if is_new else {})}
        thing |= {"kind": "first", "lines": [line, line], **({"extra": "x"} if is_new else {})}
        own_lake.archive(
            tmp_path, of(new if is_new else old), [{**row, "kafka_offset": n} for row in archived_rows([thing])]
        )
    e = of(new)
    asked = Input(
        event=ORDER,  # the contract of this one is known to no catalogue
        table=e.table,
        topic=e.topic,
        schema=e.schema_text,
        schemas={},
        log=(),
        lake=(Slice(partition=0, from_offset=0, until_offset=2),),
        late={},
    )
    things = replace(computation(LINES), aggregate="things", sql=THINGS, inputs=(ORDER,), columns=OF_THINGS)
    task = task_of(tmp_path, [asked], [things])
    quietly(task)
    found = pq.read_table(tmp_path / "out/live/things/all").sort_by([("event_id", "ascending"), ("line", "ascending")])
    assert found.to_pylist() == [
        {
            "event_id": f"e{n}",
            "note": None,
            "extra": "x" if n >= 2 - newest_files else None,
            "colour": "red" if n >= 2 - newest_files else None,
            "quantity": n,
            "line": line,
            "occurred_at": at,
            "paid": Decimal("3.00"),
        }
        for n in range(2)
        for line in (1, 2)
    ]


def test_a_topic_without_a_record_gives_tables_without_a_row(tmp_path: Path) -> None:
    task = moved(tmp_path, [])
    quietly(task)
    assert warehouses(task) == []


# Killed and taken up again --------------------------------------------------------------------------------------------

UNTIL_KILLED = """
import os, signal, sys
from pathlib import Path
from replay.duckdb.engine import compute
from spark.task import read_task

def report(progress):
    if progress.done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

compute(read_task(Path(sys.argv[1]).read_text()), report)
"""


def test_killed_in_the_middle_and_run_again_it_comes_to_the_same(tmp_path: Path) -> None:
    task = archived_orders(tmp_path)
    first = min(record["occurred_at"] for record in EVERY_ORDER).replace(hour=0, minute=0, second=0, microsecond=0)
    task = replace(task, computations=(computation(SALES, days(first, first + timedelta(days=5))),))
    (tmp_path / "task.json").write_text(task.to_json())
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNTIL_KILLED, str(tmp_path / "task.json"), "3"],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert killed.returncode == -signal.SIGKILL
    folders = [tmp_path / "out" / "live" / SALES.name / chunk.name for chunk in task.computations[0].chunks]
    before = {f: (f / "part-0.parquet").stat().st_mtime_ns for f in folders if (f / "_SUCCESS").exists()}
    assert len(before) == 3
    # As a kill leaves the one it was in: a file that is not whole, or whole without its mark.
    folders[3].mkdir(parents=True)
    (folders[3] / "_part-0.parquet").write_bytes(b"PAR1")
    folders[4].mkdir(parents=True)
    (folders[4] / "part-0.parquet").write_bytes((folders[0] / "part-0.parquet").read_bytes())
    steps: list[Progress] = []
    compute(task, steps.append)
    assert rows_of(task, SALES) == oracle.table(SALES.name, SALES.key, {ORDER: EVERY_ORDER})
    assert {f: (f / "part-0.parquet").stat().st_mtime_ns for f in before} == before
    assert [step.done for step in steps] == [3, 3, 4, 5, 6, 7]
    assert {step.total for step in steps} == {7}


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from replay.duckdb.engine import NotEnoughRoom, compute
from spark.task import read_task

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    compute(read_task(Path(sys.argv[1]).read_text()), lambda progress: None)
except NotEnoughRoom as error:
    sys.exit(str(error))
"""


def test_a_full_disk_ends_it_with_the_file_named_and_with_room_it_comes_to_the_same(tmp_path: Path) -> None:
    task = archived_orders(tmp_path)
    (tmp_path / "task.json").write_text(task.to_json())
    # No file may grow past this: small for the results, as a full disk is.
    full = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ON_A_FULL_DISK, str(tmp_path / "task.json"), "4000"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert full.returncode == 1
    assert "part-0.parquet" in full.stderr
    assert "Then resume the run" in full.stderr
    assert not list((tmp_path / "out").rglob("_SUCCESS")), "a chunk that is not whole says that it is"
    quietly(task)
    for a in (LINES, SALES):
        assert rows_of(task, a) == oracle.table(a.name, a.key, {ORDER: EVERY_ORDER})


def test_a_run_that_is_finished_reads_nothing(tmp_path: Path) -> None:
    task = moved(tmp_path, archived_rows(moves("a")))
    quietly(task)
    (tmp_path / "catalog.db").unlink()
    quietly(task)
    assert warehouses(task) == ["a"]


# What is refused ------------------------------------------------------------------------------------------------------


def test_missing_offsets_are_refused_by_name(tmp_path: Path) -> None:
    rows = archived_rows(moves(*"abcdefghij"))
    task = moved(tmp_path, [row for row in rows if row["kafka_offset"] not in (2, 3, 7)])
    whole = replace(task.inputs[0], lake=(Slice(partition=0, from_offset=0, until_offset=12),))
    with pytest.raises(LakeIncomplete) as caught:
        quietly(replace(task, inputs=(whole,)))
    assert "5 of 12 records of inventory.stock_moved.v1 partition 0: offsets 2 to 3, 7, 10 to 11." in str(caught.value)
    assert not (tmp_path / "out" / "live").exists()


def test_a_partition_that_the_lake_has_nothing_of_is_refused(tmp_path: Path) -> None:
    task = moved(tmp_path, archived_rows(moves("a")), log=(Slice(partition=3, from_offset=5, until_offset=9),))
    with pytest.raises(
        LakeIncomplete, match="lacks 4 of 4 records of inventory.stock_moved.v1 partition 3: offsets 5 to 8"
    ):
        quietly(task)


def test_a_topic_that_the_lake_has_nothing_of_is_refused(tmp_path: Path) -> None:
    task = moved(tmp_path, [], lake=(Slice(partition=0, from_offset=5, until_offset=9),))
    with pytest.raises(LakeIncomplete, match="offsets 5 to 8"):
        quietly(task)


def test_a_record_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    rows = archived_rows(moves("a", "b"))
    own_lake.archive(tmp_path, event("inventory.stock_moved"), rows[:1])
    with pytest.raises(LakeIncomplete, match="has 1 record of inventory.stock_moved.v1 partition 0 more than once"):
        quietly(moved(tmp_path, rows))


def test_a_compacted_topic_may_have_holes(tmp_path: Path) -> None:
    name, customers = "customers.customer_changed", aggregate("customers")
    records = list(any_log(5, events_a_topic=30)[name])
    records = [
        {**record, "event_id": f"e{n}", "occurred_at": records[0]["occurred_at"]} for n, record in enumerate(records)
    ]
    own_lake.archive(tmp_path, event(name), archived_rows(records)[::3])
    task = task_of(tmp_path, [input_of(name, records, tmp_path)], [computation(customers)])
    quietly(task)
    assert [row["event_id"] for row in rows_of(task, customers)] == sorted(r["event_id"] for r in records[::3])


def test_delete_files_are_refused(tmp_path: Path) -> None:
    task = moved(tmp_path, archived_rows(moves("a", "b")))
    catalog = load_catalog("lake", **task.lake)
    table = catalog.load_table("events.stock_moved")
    (planned,) = table.scan().plan_files()
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=planned.file.file_path.replace(".parquet", "-deletes.parquet"),
        file_format=FileFormat.PARQUET,
        partition=Record(*planned.file.partition._data),
        record_count=1,
        file_size_in_bytes=1,
        spec_id=0,
    )
    deletes.spec_id = 0
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(deletes)
    catalog.close()
    with pytest.raises(Misconfigured, match="events.stock_moved has delete files"):
        quietly(task)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    task = moved(tmp_path, archived_rows(moves("a")))
    with pytest.raises(Misconfigured, match="the lake has no table events.other"):
        quietly(replace(task, inputs=(replace(task.inputs[0], table="other"),)))


def test_results_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="s3://bucket/out.* is elsewhere"):
        quietly(replace(moved(tmp_path, archived_rows(moves("a"))), output="s3://bucket/out"))


@pytest.mark.parametrize(
    "overflow",
    [
        "cast(sum(cast(9223372036854775807 as bigint)) as bigint)",
        "sum(cast(9223372036854775807 as bigint))",
        "max(9223372036854775807) + 1",
    ],
)
def test_a_sum_that_fits_no_column_ends_the_run(overflow: str, tmp_path: Path) -> None:
    task = moved(tmp_path, archived_rows(moves("a", "b")))
    assert_fails(
        task, f"select 'x' as product_id, {overflow} as n from stock_moved", {"product_id": "string", "n": "count"}
    )


@pytest.mark.parametrize("operation", ["sum(m)", "max(m) + max(m)", "max(m) * 2", "sum(m) - min(-m)"])
def test_an_amount_past_38_digits_ends_the_run(operation: str, tmp_path: Path) -> None:
    task = moved(tmp_path, archived_rows(moves("a", "b")))
    widest = "cast('600000000000000000000000000000000000.00' as decimal(38, 2))"
    sql = f"with amounts as (select {widest} as m from stock_moved)\nselect {operation} as n from amounts"
    assert_fails(task, sql, {"n": "money"})


def assert_fails(task: Task, sql: str, kinds: dict[str, str]) -> None:
    (whole,) = task.computations
    with pytest.raises(ComputationFailed, match="computing live/stock_moves_per_hour/all"):
        quietly(replace(task, computations=(replace(whole, sql=sql, columns=kinds),)))
    assert not (Path(task.output.removeprefix("file://")) / "live" / MOVES.name / "all" / "_SUCCESS").exists()


# Small parts ----------------------------------------------------------------------------------------------------------


def test_slices_that_touch_or_overlap_are_one() -> None:
    def cut(*ends: tuple[int, int, int]) -> list[Slice]:
        return [Slice(partition=p, from_offset=since, until_offset=until) for p, since, until in ends]

    found = united(cut((1, 5, 9), (0, 4, 4), (0, 0, 3), (0, 3, 6), (0, 5, 7), (0, 8, 9), (1, 0, 4)))
    assert list(found) == cut((0, 0, 7), (0, 8, 9), (1, 0, 4), (1, 5, 9))


def test_the_engine_costs_nothing_until_it_is_used() -> None:
    heavy = (
        "import sys, replay.duckdb.engine; print([m for m in ('duckdb', 'pyiceberg', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("limit", "found"), [("268435456\n", 1 << 28), ("max\n", None), (f"{1 << 60}\n", None)])
def test_memory_is_the_machines_or_what_its_container_may_have(tmp_path: Path, limit: str, found: int | None) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert memory_here(tmp_path / "memory.max") == (found or psutil.virtual_memory().total)
    assert memory_here(tmp_path / "none") == psutil.virtual_memory().total
