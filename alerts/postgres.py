"""Runs the rules' SQL in Postgres, each in its own read-only transaction with a time limit."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from alerts.evaluate import Answer, RuleBroken
from alerts.rule import PLACEHOLDER, Rule
from schemas.errors import InsightsError, Retryable

Connection = psycopg.Connection[tuple[Any, ...]]
STATEMENT_SECONDS = 10.0
CONNECT_SECONDS = 5
MOST_ROWS = 1000
NOT_THERE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)


class PostgresAway(Retryable):
    """Postgres does not answer; asking again later may work."""


class NotKnownYet(InsightsError):
    """What a rule reads is not there yet: a mart that was never built. That is no finding, and no error."""


def connect(dsn: str, *, read_only: bool, statement_seconds: float = STATEMENT_SECONDS) -> Connection:
    """A connection in autocommit, in UTC. Raises PostgresAway."""
    options = (
        f"-c default_transaction_read_only={'on' if read_only else 'off'} -c timezone=UTC -c jit=off"
        f" -c statement_timeout={int(statement_seconds * 1000)} -c lock_timeout={int(statement_seconds * 1000)}"
        " -c application_name=insights-alerts"
    )
    try:
        return psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, options=options)
    except psycopg.OperationalError as error:
        raise PostgresAway(f"Postgres is not responding: {' '.join(str(error).split())}") from error


def ask(connection: Connection, rule: Rule, now: datetime) -> Answer:
    """The rule's rows at that time, 1,000 at most. Raises NotKnownYet, RuleBroken or PostgresAway."""
    text = PLACEHOLDER.sub("%(now)s::timestamptz", rule.sql.replace("%", "%%"))
    try:
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            # Set once more for this transaction: the connection's default is only a default.
            cursor.execute("set transaction read only")
            # Its text is from the rule's own file. With a parameter, it can only be one statement.
            limited = f"select * from (\n{text}\n) as rule limit %(most)s"  # noqa: S608
            cursor.execute(limited.encode(), {"now": now, "most": MOST_ROWS})
            columns = tuple(column.name for column in cursor.description or ())
            return Answer(columns=columns, rows=cursor.fetchall())
    except NOT_THERE as error:
        missing = re.search(r'"(.+)"', error.diag.message_primary or "")
        raise NotKnownYet(f"not known yet: there is no {missing[1] if missing else 'such table'}") from error
    except psycopg.errors.QueryCanceled as error:
        raise RuleBroken(
            rule.name, "sql", "took longer than the limit for rules and was stopped; make the query cheaper"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise PostgresAway(f"Postgres is not responding: {' '.join(str(error).split())}") from error
    except psycopg.Error as error:
        raise RuleBroken(rule.name, "sql", _where(error, rule)) from error


def _where(error: psycopg.Error, rule: Rule) -> str:
    said = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return f"{said}: a rule may only read"
    word = re.search(r'column "?([\w.]+)"?', said)
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint and word else ""
    return f"Postgres says: {said}{hint}"
