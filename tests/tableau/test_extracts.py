"""Extracts for Tableau, written from a real Postgres and read back by Tableau's own library, cell by cell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from insights import tableau
from insights.cli.main import app
from insights.settings import Settings
from insights.tableau import ExtractFailed, chosen, ensure_hyper, export, marts
from schemas.errors import Misconfigured
from warehouse.tables import make_postgres_tables

pytestmark = pytest.mark.engine

Connection = psycopg.Connection[Any]
READER = Path(__file__).parent / "read_extract.py"


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    ensure_hyper()
    return new_database()


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        connection.execute("create schema marts")
        yield connection


@pytest.fixture
def written(connection: Connection, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Writes a mart's extract, and what is in it."""

    def write(name: str) -> dict[str, Any]:
        done = export(connection, marts(connection)[name], tmp_path / "out")
        found = read(done.file)
        assert found.keys() == {name}
        assert len(found[name]["rows"]) == done.rows
        return dict(found[name])

    return write


def read(file: Path) -> dict[str, Any]:
    done = subprocess.run([tableau.PYTHON, READER, file], capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(done.stdout))


def in_postgres(connection: Connection, name: str) -> list[list[str | None]]:
    """Every cell, in the words of the reader."""
    return [[words(value) for value in row] for row in connection.execute(f'select * from marts."{name}"'.encode())]


def in_any_order(rows: list[list[str | None]]) -> list[str]:
    """A table has no order, and Hyper reads batches in parallel."""
    return sorted(map(json.dumps, rows))


def words(value: Any) -> str | None:
    match value:
        case None:
            return None
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
        case Decimal():
            return f"{value.normalize():f}"
        case _:
            return str(value)


ALL_TYPES = """
create table marts.everything (
    id bigint, small smallint, line integer, name text, is_first boolean, day date, at timestamptz,
    net_amount numeric(38, 2), share numeric(38, 6), cover numeric(38, 1), ratio double precision
)
"""
ROWS = [
    (1, 1, 1, "", True, date(1, 1, 1), datetime(1, 1, 1, tzinfo=UTC), "-0.05", "-0.000001", "-0.1", 0.1),
    (None,) * 11,
    (
        *(-(2**63), -(2**15), -(2**31), "é☂\n\"',\\N ", False, date(9999, 12, 31)),
        *(datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "9999999999999999.99", "999999999999.999999"),
        *("99999999999999999.9", -1e308),
    ),
    (
        *(2**63 - 1, 2**15 - 1, 2**31 - 1, "null", False, date(2026, 2, 28)),
        *(datetime(2026, 11, 24, 1, 2, 3, 456000, tzinfo=UTC), "-9999999999999999.99", "0.350000", "0.0", 2.5),
    ),
]


def test_every_cell_of_every_type_is_what_it_is_in_postgres(
    connection: Connection, written: Callable[[str], dict[str, Any]]
) -> None:
    connection.execute(ALL_TYPES.encode())
    with connection.cursor() as cursor:
        cursor.executemany(f"insert into marts.everything values ({', '.join(['%s'] * 11)})".encode(), ROWS)
    found = written("everything")
    assert found["columns"] == {
        **{"id": "BIG_INT", "small": "SMALL_INT", "line": "INT", "name": "TEXT", "is_first": "BOOL"},
        **{"day": "DATE", "at": "TIMESTAMP_TZ", "net_amount": "NUMERIC(18, 2)", "share": "NUMERIC(18, 6)"},
        **{"cover": "NUMERIC(18, 1)", "ratio": "DOUBLE"},
    }
    assert in_any_order(found["rows"]) == in_any_order(in_postgres(connection, "everything"))


def test_more_rows_than_a_batch_come_whole(
    connection: Connection, written: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tableau, "BATCH_ROWS", 7)
    connection.execute(
        "create view marts.numbers as select n::bigint, (n / 8.0)::numeric(38, 6) as part, n || 'th' as name"
        " from generate_series(-100, 100) as n"
    )
    assert in_any_order(written("numbers")["rows"]) == in_any_order(in_postgres(connection, "numbers"))


def test_a_mart_without_rows_is_an_extract_without_rows(
    connection: Connection, written: Callable[[str], dict[str, Any]]
) -> None:
    connection.execute("create table marts.nothing (day date, net_amount numeric(38, 2))")
    assert written("nothing") == {"columns": {"day": "DATE", "net_amount": "NUMERIC(18, 2)"}, "rows": []}


def test_names_are_taken_as_they_are(connection: Connection, written: Callable[[str], dict[str, Any]]) -> None:
    connection.execute("""create table marts."It's Odd" ("the Day" date, "order" bigint)""")
    connection.execute("""insert into marts."It's Odd" values ('2026-11-24', 3)""")
    found = written("It's Odd")
    assert found == {"columns": {"the Day": "DATE", "order": "BIG_INT"}, "rows": [["2026-11-24", "3"]]}


@pytest.mark.parametrize("value", ["10000000000000000.00", "-10000000000000000.00"])
def test_a_number_that_does_not_fit_is_refused_and_the_extract_of_before_stays(
    connection: Connection, tmp_path: Path, value: str
) -> None:
    connection.execute("create table marts.sales (day date, net_amount numeric(38, 2))")
    connection.execute("insert into marts.sales values ('2026-11-24', 1.50)")
    mart = marts(connection)["sales"]
    export(connection, mart, tmp_path)
    connection.execute("insert into marts.sales values ('2026-11-25', %s)", (value,))
    with pytest.raises(ExtractFailed) as caught:
        export(connection, mart, tmp_path)
    assert str(caught.value).startswith("marts.sales, column net_amount: a value does not fit decimal128(18, 2)")
    assert value in str(caught.value)
    assert read(tmp_path / "sales.hyper")["sales"]["rows"] == [["2026-11-24", "1.5"]]
    assert [path.name for path in tmp_path.iterdir()] == ["sales.hyper"]


@pytest.mark.parametrize("kind", ["numeric", "text[]", "jsonb", "timestamp without time zone"])
def test_a_column_that_an_extract_has_no_type_for_is_named(connection: Connection, tmp_path: Path, kind: str) -> None:
    connection.execute(f"create table marts.odd (day date, it {kind})".encode())
    with pytest.raises(ExtractFailed, match="marts.odd, column it: extracts don't support") as caught:
        export(connection, marts(connection)["odd"], tmp_path)
    assert kind in str(caught.value)


def test_what_hyper_rejects_is_reported_in_its_words(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("create table marts.sales (day date)")
    broken = tmp_path / "job.py"
    broken.write_text(tableau.JOB.read_text().replace("format => 'parquet'", "format => 'parsnip'"))
    monkeypatch.setattr(tableau, "JOB", broken)
    with pytest.raises(ExtractFailed, match="marts.sales: Hyper rejected it: .*parsnip"):
        export(connection, marts(connection)["sales"], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_dbt_is_building_is_no_mart_and_an_unknown_name_is_reported(connection: Connection) -> None:
    with pytest.raises(Misconfigured, match="there are no marts yet"):
        chosen(marts(connection), [])
    connection.execute("create table marts.rfm (a bigint); create table marts.rfm__dbt_tmp (a bigint)")
    connection.execute("create view marts.cohorts as select 1::bigint as a")
    there = marts(connection)
    assert [mart.name for mart in chosen(there, [])] == ["cohorts", "rfm"]
    assert [mart.name for mart in chosen(there, ["rfm", "marts.rfm"])] == ["rfm"]
    with pytest.raises(Misconfigured, match="there is no mart 'rmf'; there are cohorts, rfm"):
        chosen(there, ["rmf"])


def test_the_command_writes_what_is_asked_for_and_holds_no_build_up(
    connection: Connection, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_postgres_tables(connection)
    for name in ("rfm", "cohorts", "funnel"):
        connection.execute(f"create table marts.{name} as select 1::bigint as a".encode())
    monkeypatch.setattr(Settings, "postgres_dsn", dsn)
    done = CliRunner().invoke(app, ["export", "tableau", "--out", str(tmp_path), "--mart", "rfm", "--mart", "funnel"])
    assert (done.exit_code, sorted(path.name for path in tmp_path.iterdir())) == (0, ["funnel.hyper", "rfm.hyper"])
    assert f"{tmp_path}/rfm.hyper: 1 row," in done.output.replace("\n", "")
    locks = connection.execute("select count(*) from pg_locks where relation = 'marts.rfm'::regclass").fetchone()
    assert locks == (0,)


def test_hyper_leaves_no_log_where_it_was_started(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    connection.execute("create table marts.rfm as select 1::bigint as a")
    export(connection, marts(connection)["rfm"], tmp_path / "out")
    assert {path.name for path in tmp_path.rglob("*")} == {"out", "rfm.hyper"}
