"""The stack's tables in Postgres, without the stack."""

from __future__ import annotations

from typing import Any

import psycopg
import yaml

from insights.settings import PROJECT
from warehouse.tables import make_postgres_tables


def make_stack(dsn: str) -> None:
    """All of them but the marts, empty, as `insights up` makes them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        make_postgres_tables(connection)


def make_marts(connection: psycopg.Connection[Any], *names: str) -> None:
    """Marts as tables, empty, with the columns that their contracts promise."""
    connection.execute("create schema if not exists marts")
    for name in names:
        (file,) = (PROJECT / "dbt" / "models" / "marts").rglob(f"{name}.yml")
        (model,) = yaml.safe_load(file.read_text())["models"]
        columns = ", ".join(f"{column['name']} {column['data_type']}" for column in model["columns"])
        connection.execute(f"create table marts.{name} ({columns})".encode())
