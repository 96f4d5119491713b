"""The job's Postgres, as this folder's Python reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from schemas.errors import Retryable
from warehouse.deployment import Deployment

Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def connected(deployment: Deployment) -> Iterator[Connection]:
    """A connection, committed at the end. Raises Retryable when Postgres is away, at first or in between."""
    try:
        with psycopg.connect(deployment.postgres_dsn, connect_timeout=10) as connection:
            yield connection
    except psycopg.OperationalError as error:
        what = "did not do it" if error.sqlstate else "is away"
        raise Retryable(f"Postgres at {deployment.postgres_host}:{deployment.postgres_port} {what}: {error}") from error
