"""The record of redriven letters, in a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from reconciliation.redrives import AlreadyRunning, Redrive, alone, listed, read, write
from schemas.errors import Misconfigured
from warehouse.tables import make_postgres_tables

AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
ROW = Redrive(
    offset=7,
    dead_at=AT,
    topic="web.interaction.v1",
    state="sending",
    event_id="e7",
    recipe="texts",
    recipe_sha256="ab",
    reason=None,
    by="anna",
    at=AT,
)


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    made = new_database()
    with psycopg.connect(made) as connection:
        make_postgres_tables(connection)
    return made


def test_the_latest_attempt_at_a_letter_is_what_is_recorded(dsn: str) -> None:
    with alone(dsn) as connection:
        write(connection, [ROW, replace(ROW, offset=8, state="failed", event_id=None, reason="no")])
        write(connection, [replace(ROW, state="redriven")])
        assert read(connection)[7].state == "redriven"
    assert listed(dsn) == {
        7: replace(ROW, state="redriven"),
        8: replace(ROW, offset=8, state="failed", event_id=None, reason="no"),
    }


def test_two_do_not_redrive_at_once_and_the_second_says_so(dsn: str) -> None:
    second = pytest.raises(AlreadyRunning, match="another `insights dead-letters redrive` is running")
    with alone(dsn), second, alone(dsn):
        pass
    with alone(dsn):
        pass


def test_a_stack_from_before_there_was_a_record_lists_none_and_says_what_makes_it(
    new_database: Callable[[], str],
) -> None:
    dsn = new_database()
    assert listed(dsn) == {}
    with (
        pytest.raises(Misconfigured, match=r"the table ops\.redrives is missing; `insights up` creates it"),
        alone(dsn),
    ):
        pass
