"""Connections to Postgres: with a time limit, and an error that names the server that is down.

Alerts and dashboards do not import the warehouse and have their own: a rule's statements are read-only and limited in
time (alerts/postgres.py), and the page shares a pool between its visitors (dashboards/query.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from schemas.errors import Retryable
from warehouse.deployment import Deployment

Connection = psycopg.Connection[tuple[Any, ...]]
CONNECT_SECONDS = 5


class PostgresAway(Retryable):
    """Postgres does not answer, or went away in between."""


@contextmanager
def opened(dsn: str, *, autocommit: bool = True, options: str = "") -> Iterator[Connection]:
    """A connection, closed at the end, and committed where it does not commit by itself. ``options`` as for libpq.

    Raises PostgresAway naming the server, at first or in between.
    """
    try:
        with psycopg.connect(
            dsn, autocommit=autocommit, connect_timeout=CONNECT_SECONDS, options=options
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        where = conninfo_to_dict(dsn)
        what = "did not do it" if error.sqlstate else "is unreachable"
        said = " ".join(str(error).split())
        raise PostgresAway(f"Postgres at {where.get('host')}:{where.get('port')} {what}: {said}") from error


@contextmanager
def connected(deployment: Deployment) -> Iterator[Connection]:
    """To a deployment's Postgres, in one transaction. Raises PostgresAway, and then nothing was changed."""
    with opened(deployment.postgres_dsn, autocommit=False) as connection:
        yield connection
