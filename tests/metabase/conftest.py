from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.metabase.folders import Command, a_card, a_dashboard, written
from tests.metabase.stand_in import StandIn, serving
from tests.replay.own_postgres import own_postgres
from tests.web import made_runs


@pytest.fixture(scope="session")
def bare_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a Postgres with the stack's tables, and nothing in them but runs of replays."""
    with own_postgres(tmp_path_factory.mktemp("postgres") / "home") as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            made_runs.make_tables(connection)
            made_runs.fill(connection)
        yield dsn


@pytest.fixture
def metabase() -> Iterator[StandIn]:
    """A stand-in for a Metabase that is new."""
    with serving(StandIn()) as stand_in:
        yield stand_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two dashboards: sales with three cards and a filter, and stock with one."""
    sales = a_dashboard(
        a_card("orders"),
        a_card("revenue", at_row=3, sql="select 5 as value where {{region}} <> ''"),
        a_card(
            "regions",
            at_row=6,
            kind="table",
            sql="select 'north' as region [[where 'north' = {{region}}]]",
            columns=[{"column": "region", "title": "Region", "sets": "region"}],
        ),
        parameters=[
            {
                "name": "region",
                "title": "Region",
                "choices_sql": "select 'north' as value, 'The north' as title",
            }
        ],
    )
    return written(tmp_path / "dashboards", sales=sales, stock=a_dashboard(a_card("level"), title="Stock"))


@pytest.fixture
def command(metabase: StandIn, bare_postgres: str, folder: Path) -> Command:
    return Command(metabase, bare_postgres, folder)
