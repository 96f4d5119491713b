"""The stack's tables in Postgres, without the stack."""

from __future__ import annotations

import psycopg

from flink.tables import make_postgres_tables, schemas_ddl
from replay import records


def make_stack(dsn: str) -> None:
    """All of them, empty, as `insights up` makes them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in schemas_ddl():
            connection.execute(statement)
        make_postgres_tables(connection)
        records.set_up(connection)
