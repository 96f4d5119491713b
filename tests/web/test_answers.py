from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from dashboards.query import Answers, DatabaseAway, Postgres, QueryFailed, Question
from tests.conftest import wait_until
from tests.replay.own_postgres import own_postgres, standing_still

ASKED = Question("select 1", ())


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 4, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class AtOnce(Executor):
    """Runs what is submitted before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Database:
    """Counts queries; is slow and fails as configured."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.times_asked = 0
        self.takes_seconds = 0.0
        self.fault: Exception | None = None

    def __call__(self, asked: Question) -> tuple[dict[str, Any], ...]:
        self.times_asked += 1
        self.clock.advance(self.takes_seconds)
        if self.fault:
            raise self.fault
        return ({"value": self.times_asked},)


def test_many_readers_ask_the_database_once_in_a_refresh() -> None:
    clock = Clock()
    database = Database(clock)
    answers = Answers(database, AtOnce(), clock)
    for _ in range(10):
        assert answers.newest({ASKED: 2.0}, 1)[ASKED].rows == ({"value": 1},)
    clock.advance(2)
    assert answers.newest({ASKED: 2.0}, 1)[ASKED].rows == ({"value": 2},)
    assert database.times_asked == 2


def test_a_slow_question_takes_at_most_a_tenth_of_the_time() -> None:
    clock = Clock()
    database = Database(clock)
    database.takes_seconds = 3
    answers = Answers(database, AtOnce(), clock)
    for _ in range(300):
        answers.newest({ASKED: 2.0}, 1)
        clock.advance(1)
    busy_seconds = database.times_asked * database.takes_seconds
    assert 300 * 0.08 <= busy_seconds <= 300 * 0.12


def test_the_last_numbers_stay_while_postgres_is_away_and_are_replaced_at_once_when_it_is_back() -> None:
    clock = Clock()
    database = Database(clock)
    answers = Answers(database, AtOnce(), clock)
    first = answers.newest({ASKED: 2.0}, 1)[ASKED]
    database.fault = DatabaseAway("gone")
    clock.advance(2)
    found = answers.newest({ASKED: 2.0}, 1)
    assert found[ASKED].rows == first.rows
    assert found[ASKED].read_at == first.read_at
    assert answers.away is database.fault
    database.fault = None
    clock.advance(2)
    healed = answers.newest({ASKED: 2.0}, 1)
    assert answers.away is None
    assert healed[ASKED].rows == ({"value": 3},)


def test_what_is_seldom_asked_is_asked_again_soon_after_a_fault() -> None:
    clock = Clock()
    database = Database(clock)
    database.fault = DatabaseAway("gone")
    answers = Answers(database, AtOnce(), clock)
    answers.newest({ASKED: 60.0}, 1)
    database.fault = None
    clock.advance(2)
    assert answers.newest({ASKED: 60.0}, 1)[ASKED].rows == ({"value": 2},)


def test_a_postgres_that_stands_still_is_away_within_seconds_and_the_statement_it_held_is_soon_asked_again(
    tmp_path: Path,
) -> None:
    long = Question("select 1 as value from pg_sleep(2.5)", ())
    with own_postgres(tmp_path / "still") as dsn:
        database = Postgres(dsn, statement_timeout_seconds=3)
        answers = Answers(database.rows, ThreadPoolExecutor(4))
        first = answers.newest({ASKED: 1.0}, 10)[ASKED]
        answers.newest({long: 1.0}, 0)
        with psycopg.connect(dsn, autocommit=True) as other:
            sleeping = (
                "select 1 from pg_stat_activity where state = 'active' and query like 'select 1 as value from pg_s%'"
            )
            wait_until(lambda: other.execute(sleeping).fetchone(), what="the long one is under way")
        with standing_still(dsn):
            wait_until(lambda: answers.newest({ASKED: 1.0}, 0) and answers.away, seconds=5, what="it is away")
            assert answers.newest({ASKED: 1.0}, 0)[ASKED].rows == first.rows
            wait_until(lambda: answers.newest({long: 1.0}, 0)[long].problem, seconds=10, what="the long one ends")
        asked = {ASKED: 1.0, long: 1.0}
        wait_until(lambda: all(a.read_at and not a.problem for a in answers.newest(asked, 0).values()), seconds=20)
        assert answers.away is None
        database.close()


def test_a_refused_query_is_distinguished_from_an_unavailable_database() -> None:
    clock = Clock()
    database = Database(clock)
    database.fault = QueryFailed("no such table")
    answers = Answers(database, AtOnce(), clock)
    found = answers.newest({ASKED: 2.0}, 1)
    assert answers.away is None
    assert found[ASKED].problem is database.fault


def test_a_query_that_is_no_longer_used_is_dropped() -> None:
    clock = Clock()
    answers = Answers(Database(clock), AtOnce(), clock)
    answers.newest({ASKED: 2.0}, 1)
    clock.advance(700)
    answers.newest({Question("select 2", ()): 2.0}, 1)
    assert list(answers._entries) == [Question("select 2", ())]
