"""What an engine wrote to Parquet stands in Postgres as it was, whatever it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from psycopg import sql

from replay.result import ARROW, ResultUnreadable, copy_parquet, load
from schemas.errors import Misconfigured
from spark.task import Chunk, Computation, Task
from warehouse.columns import POSTGRES

Connection = psycopg.Connection[Any]
Row = Mapping[str, Any]

COLUMNS = {kind: kind for kind in ARROW}
# Postgres' text holds all but NUL; surrogates are no text at all.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
AWKWARD = st.sampled_from(
    ["", '"', '""', "\\.", "\n\\.\n", "\\N", "null", "a,b", "\r", "\r\n", "\\", "e\u0301", " ", "\t"]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "timestamp": st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "string": TEXT | AWKWARD,
    "bytes": st.binary(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "count": st.integers(-(1 << 63), (1 << 63) - 1),
    "money": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda cents: Decimal(f"{cents}e-2")),
    "charge": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda number: Decimal(f"{number}e-3")),
    "rate": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda number: Decimal(f"{number}e-12")),
    "boolean": st.booleans(),
    "double": st.floats(allow_nan=False),
}
ROWS = st.lists(st.fixed_dictionaries({kind: st.none() | values for kind, values in VALUES.items()}), max_size=20)
WIDEST = {"string": "\n\\.\n", "bytes": b"\x00\\\n", "money": Decimal("9" * 36 + ".99")}


@pytest.fixture(scope="module")
def dsn(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """Nothing of a test stays."""
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        yield connection
        connection.rollback()


def new_table(connection: Connection, columns: Mapping[str, str]) -> str:
    name = f"result_{uuid.uuid4().hex}"
    written = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(POSTGRES[kind])) for column, kind in columns.items()
    )
    connection.execute(sql.SQL("create table public.{} ({})").format(sql.Identifier(name), written))
    return f"public.{name}"


def rows_of(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql.SQL("select * from {}").format(sql.Identifier(*table.split(".")))).fetchall()


def finished(folder: Path, rows: list[Row], columns: Mapping[str, str], files: int = 1) -> str:
    """A folder as an engine leaves it; its URI."""
    folder.mkdir(parents=True)
    schema = pa.schema([(name, ARROW[kind]) for name, kind in columns.items()])
    for number in range(files):
        pq.write_table(pa.Table.from_pylist(rows[number::files], schema=schema), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").touch()
    return folder.as_uri()


# The same connection serves all examples: each has a table of its own.
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
@example(rows=[dict.fromkeys(COLUMNS), {**dict.fromkeys(COLUMNS), **WIDEST}, dict.fromkeys(COLUMNS)])
def test_what_comes_out_is_what_went_in(
    rows: list[Row], connection: Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = finished(tmp_path_factory.mktemp("result") / "chunk", rows, COLUMNS)
    table = new_table(connection, COLUMNS)
    assert copy_parquet(connection, folder, table, COLUMNS) == len(rows)
    assert rows_of(connection, table) == [tuple(row[name] for name in COLUMNS) for row in rows]


def test_several_files_and_batches_of_a_chunk_are_added_to_what_is_there(
    connection: Connection, tmp_path: Path
) -> None:
    columns = {"n": "count", "text": "string", "blob": "bytes"}
    rows: list[Row] = [
        {"n": n, "text": None if n % 7 == 0 else f"'{n}'", "blob": bytes([n % 256])} for n in range(100_000)
    ]
    table = new_table(connection, columns)
    assert copy_parquet(connection, finished(tmp_path / "a", rows[:1], columns), table, columns) == 1
    assert copy_parquet(connection, finished(tmp_path / "b", rows[1:], columns, files=2), table, columns) == 99_999
    assert sorted(rows_of(connection, table)) == sorted(tuple(row.values()) for row in rows)


def test_columns_go_by_name_and_narrower_types_fit(connection: Connection, tmp_path: Path) -> None:
    folder = tmp_path / "chunk"
    folder.mkdir()
    there = {"text": ["x"], "more": [1], "net": pa.array([Decimal("1.20")], pa.decimal128(12, 2)), "n": [5]}
    pq.write_table(pa.table(there), folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    columns = {"n": "int", "net": "money", "text": "string"}
    table = new_table(connection, columns)
    assert copy_parquet(connection, folder.as_uri(), table, columns) == 1
    assert rows_of(connection, table) == [(5, Decimal("1.20"), "x")]


def test_a_finished_chunk_without_a_file_has_no_rows(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").touch()
    columns = {"n": "int"}
    assert copy_parquet(connection, tmp_path.as_uri(), new_table(connection, columns), columns) == 0


def test_a_chunk_that_is_not_finished_is_refused(connection: Connection, tmp_path: Path) -> None:
    folder = finished(tmp_path / "chunk", [{"n": 1}], {"n": "int"})
    (tmp_path / "chunk" / "_SUCCESS").unlink()
    with pytest.raises(ResultUnreadable, match="is incomplete"):
        copy_parquet(connection, folder, new_table(connection, {"n": "int"}), {"n": "int"})


@pytest.mark.parametrize(
    ("there", "wanted", "row", "said"),
    [
        ({"n": "count"}, {"m": "count"}, {"n": 1}, "m"),
        ({"n": "count"}, {"n": "int"}, {"n": 1 << 40}, "1099511627776"),
        ({"n": "double"}, {"n": "int"}, {"n": 0.5}, "0.5"),
        ({"n": "string"}, {"n": "string"}, {"n": "a\0b"}, "0x00"),
    ],
)
def test_a_result_that_does_not_fit_is_refused_with_its_folder(
    there: dict[str, str], wanted: dict[str, str], row: Row, said: str, connection: Connection, tmp_path: Path
) -> None:
    folder = finished(tmp_path / "chunk", [row], there)
    with pytest.raises(ResultUnreadable) as caught:
        copy_parquet(connection, folder, new_table(connection, wanted), wanted)
    assert folder in str(caught.value)
    assert said in str(caught.value)


def test_a_task_s_chunk_is_loaded_from_where_the_engine_put_it(connection: Connection, tmp_path: Path) -> None:
    chunk = Chunk(name="0001", from_time=None, until_time=None)
    columns = {"n": "int"}
    computation = Computation(
        aggregate="things", sql="", inputs=(), time_column="occurred_at", columns=columns, chunks=(chunk,)
    )
    task = Task(
        run="r1",
        kafka="",
        lake={},
        inputs=(),
        variants=("a", "b"),
        computations=(computation,),
        output=tmp_path.as_uri(),
    )
    finished(tmp_path / "b" / "things" / "0001", [{"n": 1}, {"n": 2}], columns)
    table = new_table(connection, columns)
    assert load(connection, task, "b", "things", chunk, table) == 2
    assert rows_of(connection, table) == [(1,), (2,)]
    with pytest.raises(Misconfigured, match="computes things, and not 'others'"):
        load(connection, task, "b", "others", chunk, table)
