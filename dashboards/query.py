"""Queries to Postgres and their latest results.

``Answers`` limits the load that a page which refreshes every second or two puts on the database: a query runs once for
all readers, never before it is due, and for at most a tenth of the time (one that took 3 s runs again 30 s later).
Nobody waits for a slow query; readers get its last result.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from dashboards.card_sql import PLACEHOLDER, chosen
from schemas.errors import InsightsError, Retryable

Row = dict[str, Any]
PAUSE_PER_SECOND_TAKEN = 9.0
AGAIN_SECONDS = 1.0  # after a database that was away
LIFE_SECONDS = 2.0  # an empty statement takes a millisecond where Postgres is well
FORGET_AFTER_SECONDS = 600.0


class DatabaseAway(Retryable):
    """Postgres did not answer; asking again later may work."""


class QueryFailed(InsightsError):
    """Postgres refused the SQL, or stopped it at the statement timeout."""


class NotThere(QueryFailed):
    """A table that the SQL reads does not exist yet; ``is_mart``: dbt has not built it."""

    def __init__(self, name: str) -> None:
        self.is_mart = name.startswith(("marts", "snapshots", "ops.dbt_"))
        super().__init__(
            f"{name} is not built yet" if self.is_mart else f"{name} does not exist yet: `insights up` creates it"
        )


@dataclass(frozen=True, slots=True)
class Question:
    """SQL with psycopg's placeholders, and its values as sorted pairs. Equal ones share an answer."""

    sql: str
    values: tuple[tuple[str, str], ...]


def question(sql: str, values: Mapping[str, str]) -> Question:
    """A Question from SQL with ``{{name}}`` in it (snippets put in before) and the parameters' values."""
    asked = chosen(sql, values)
    text = PLACEHOLDER.sub(lambda m: f"%({m['name']})s", asked.replace("%", "%%"))
    used = {m["name"] for m in PLACEHOLDER.finditer(asked)}
    return Question(text, tuple(sorted((k, v) for k, v in values.items() if k in used)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The newest rows (None before the first), when they were read, how long it took, and what went wrong since."""

    rows: tuple[Row, ...] | None = None
    read_at: datetime | None = None
    took_seconds: float = 0.0
    problem: InsightsError | None = None


class Postgres:
    """A few read-only connections, each with a statement timeout. Connects at first use, again after an error."""

    def __init__(self, dsn: str, *, statement_timeout_seconds: float = 5.0, connections: int = 4) -> None:
        options = (
            f"-c default_transaction_read_only=on -c statement_timeout={int(statement_timeout_seconds * 1000)}"
            " -c timezone=UTC -c jit=off -c application_name=insights-page"
        )
        kwargs = {
            "options": options,
            "autocommit": True,
            "connect_timeout": 3,
            # A plan for the values at hand: a generic one guesses a third of the table for a time range.
            "prepare_threshold": None,
        }
        self._pool = ConnectionPool(
            dsn,
            kwargs=kwargs,
            min_size=1,
            max_size=connections,
            timeout=LIFE_SECONDS,
            # Short, so that the pool's growing pauses between attempts stay short, too, and a page heals in seconds.
            reconnect_timeout=4.0,
            check=_check,
            open=False,
        )
        # A server that has not stopped a statement a second after its timeout is suspended.
        self._patience_seconds = statement_timeout_seconds + 1

    def rows(self, asked: Question) -> tuple[Row, ...]:
        """All rows. Blocks for the statement timeout and a few seconds at most. Raises DatabaseAway or QueryFailed."""
        self._pool.open()
        try:
            with (
                self._pool.connection() as connection,
                _hung_up_after(self._patience_seconds, connection),
                connection.cursor(row_factory=dict_row) as cursor,
            ):
                # The text is from the dashboard's own file; values are passed as parameters.
                return tuple(cursor.execute(asked.sql.encode(), dict(asked.values)).fetchall())
        except psycopg.errors.QueryCanceled as error:
            raise QueryFailed(
                "took longer than the statement timeout and was stopped; choose a shorter range"
            ) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise NotThere(_missing(error.diag.message_primary or "")) from error
        except (
            psycopg.errors.DiskFull,
            psycopg.errors.OutOfMemory,
            psycopg.errors.ConfigurationLimitExceeded,
        ) as error:
            raise QueryFailed(error.diag.message_primary or str(error)) from error
        except PoolTimeout:
            silence = TimeoutError(f"no connection responded within {LIFE_SECONDS:g} s")
            raise DatabaseAway(f"Postgres is not responding: {silence}") from silence
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise DatabaseAway(f"Postgres is not responding: {error}") from error
        except psycopg.Error as error:
            raise QueryFailed(error.diag.message_primary or str(error)) from error

    def close(self) -> None:
        """Close the connections. Later questions raise DatabaseAway."""
        self._pool.close()


def _check(connection: psycopg.Connection[Any]) -> None:
    with _hung_up_after(LIFE_SECONDS, connection):
        connection.execute("")


@contextmanager
def _hung_up_after(seconds: float, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """A suspended server keeps its connections and never answers: this ends the wait with an error."""
    # A line of its own to the socket: the connection may be closed, and its number given away, when time is up.
    with socket.socket(fileno=os.dup(connection.fileno())) as line:

        def hang_up() -> None:
            with suppress(OSError):  # the other side was quicker
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _missing(said: str) -> str:
    """The table named in Postgres' message: ``relation "marts.rfm" does not exist``."""
    found = re.search(r'"([^"]+)"', said)
    return found[1] if found else "a table"


@dataclass(slots=True)
class _Entry:
    answer: Answer
    due_at: datetime | None  # None while it is being asked
    asked_at: datetime
    idle: threading.Event = field(default_factory=threading.Event)


class Answers:
    """The newest answer to each question, shared by all readers of the page."""

    def __init__(
        self,
        ask: Callable[[Question], tuple[Row, ...]],
        executor: Executor,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ask = ask
        self._executor = executor
        self._clock = clock
        self._entries: dict[Question, _Entry] = {}
        self._lock = threading.Lock()
        # The fault to show on the whole page, when Postgres did not answer the last finished query.
        self.away: DatabaseAway | None = None

    def newest(self, wanted: Mapping[Question, float], wait_seconds: float) -> dict[Question, Answer]:
        """A result for each query, which runs again once older than its seconds. Blocks at most ``wait_seconds``."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            entries = {q: self._entries.setdefault(q, _Entry(Answer(), now, now)) for q in wanted}
            due = [q for q, entry in entries.items() if entry.due_at is not None and entry.due_at <= now]
            for q, entry in entries.items():
                entry.asked_at = now
                if q in due:
                    entry.due_at = None
                    entry.idle.clear()
        for q in due:
            self._executor.submit(self._run, q, entries[q], wanted[q])
        until = time.monotonic() + wait_seconds
        for entry in entries.values():
            entry.idle.wait(max(until - time.monotonic(), 0))
        return {q: entry.answer for q, entry in entries.items()}

    def _run(self, asked: Question, entry: _Entry, refresh_seconds: float) -> None:
        started = self._clock()
        problem: InsightsError | None = None
        rows: tuple[Row, ...] = ()
        try:
            rows = self._ask(asked)
        except InsightsError as error:
            problem = error
        except Exception as error:  # a bug must not leave the question unasked forever
            problem = QueryFailed(f"{type(error).__name__}: {error}")
        now = self._clock()
        took = (now - started).total_seconds()
        with self._lock:
            self.away = problem if isinstance(problem, DatabaseAway) else None
            if problem:
                entry.answer = replace(entry.answer, problem=problem)
            else:
                entry.answer = Answer(rows=rows, read_at=now, took_seconds=took)
            # Counted from the start and a little early: a page that asks every two seconds gets two-second news.
            pause = max(refresh_seconds * 0.9 - took, took * PAUSE_PER_SECOND_TAKEN)
            entry.due_at = now + timedelta(seconds=AGAIN_SECONDS if self.away else pause)
            entry.idle.set()

    def _forget(self, now: datetime) -> None:
        old = [q for q, e in self._entries.items() if (now - e.asked_at).total_seconds() > FORGET_AFTER_SECONDS]
        for q in old:
            del self._entries[q]
