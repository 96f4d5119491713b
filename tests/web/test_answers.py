from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboards.query import Answers, DatabaseAway, QueryFailed, Question, away

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
    """Counts what it is asked; takes as long, and fails, as it is told."""

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
    assert away(found.values()) is database.fault
    database.fault = None
    clock.advance(2)
    healed = answers.newest({ASKED: 2.0}, 1)
    assert away(healed.values()) is None
    assert healed[ASKED].rows == ({"value": 3},)


def test_a_refused_question_is_told_apart_from_a_database_that_is_away() -> None:
    clock = Clock()
    database = Database(clock)
    database.fault = QueryFailed("no such table")
    found = Answers(database, AtOnce(), clock).newest({ASKED: 2.0}, 1)
    assert away(found.values()) is None
    assert found[ASKED].problem is database.fault


def test_a_question_that_nobody_asks_any_more_is_forgotten() -> None:
    clock = Clock()
    answers = Answers(Database(clock), AtOnce(), clock)
    answers.newest({ASKED: 2.0}, 1)
    clock.advance(700)
    answers.newest({Question("select 2", ()): 2.0}, 1)
    assert list(answers._entries) == [Question("select 2", ())]
