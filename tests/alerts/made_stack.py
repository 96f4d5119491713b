"""The stack's tables in Postgres, without the stack."""

from __future__ import annotations

from typing import Any

import psycopg
import yaml

from insights import dbt_run
from insights.settings import PROJECT
from replay import run_history
from warehouse.tables import make_postgres_tables, schemas_ddl


def make_stack(dsn: str) -> None:
    """All of them but the marts, empty, as `insights up` makes them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in schemas_ddl():
            connection.execute(statement)
        make_postgres_tables(connection)
        run_history.set_up(connection)
        dbt_run.set_up(connection)


def make_marts(connection: psycopg.Connection[Any], *names: str) -> None:
    """Marts as tables, empty, with the columns that their contracts promise."""
    connection.execute("create schema marts")
    for name in names:
        (file,) = (PROJECT / "dbt" / "models" / "marts").rglob(f"{name}.yml")
        (model,) = yaml.safe_load(file.read_text())["models"]
        columns = ", ".join(f"{column['name']} {column['data_type']}" for column in model["columns"])
        connection.execute(f"create table marts.{name} ({columns})".encode())
