"""A replay holds its aggregates alone, and notices when the server that held them for it was gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from replay import run_history
from replay.context import Context
from replay.run_history import HoldLost, ReplayBusy
from tests.flink.live_on_files import with_database
from warehouse.tables import make_postgres_tables


@pytest.fixture(scope="module")
def context(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Context:
    deployment = with_database(new_database())
    context = Context(deployment=deployment, work_dir=tmp_path_factory.mktemp("holding"), code="unknown", texts=())
    with context.postgres() as connection:
        make_postgres_tables(connection)
    return context


def end_all_others(context: Context) -> None:
    """As a restart of the server does; returns when they are gone."""
    with context.postgres() as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def test_while_one_holds_an_aggregate_no_other_may(context: Context) -> None:
    with run_history.alone(context, ["sales_per_minute", "sessions"]) as still_held:
        still_held()
        with (
            pytest.raises(ReplayBusy, match="a replay of sessions is running"),
            run_history.alone(context, ["sessions"]),
        ):
            pass
    with run_history.alone(context, ["sessions"]):
        pass


def test_a_server_that_was_gone_in_between_is_noticed_before_anything_is_written(context: Context) -> None:
    with suppress(psycopg.OperationalError), run_history.alone(context, ["sessions"]) as still_held:
        end_all_others(context)
        with run_history.alone(context, ["sessions"]):
            pass
        with pytest.raises(HoldLost, match="run the same plan again"):
            still_held()
