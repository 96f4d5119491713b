"""dbt, as the tests of the marts run it: one long-lived process, on a database of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from insights.dbt_run import PYTHON, code_of_macros, environment
from insights.settings import PROJECT, Settings
from insights.shops_clock import clock_of
from producers.connect.zones import note_said
from tests.marts import sources
from tests.marts.oracle.exact import OF_SHOPS
from warehouse.roles import Role, login

SERVER = Path(__file__).parent / "server.py"
LAYERS = ("intermediate", "marts")
# What dbt has in mind of its builds, not what it built.
BUILD_STATE = ("intermediate.day_builds", "intermediate.day_replays", "intermediate.changed_keys")


@dataclass
class Dbt:
    """Runs dbt on one database after the other. ``results`` of the last run are by model's name."""

    settings: Settings
    process: subprocess.Popen[str]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(
        self, database: str, *arguments: str, project: Path = PROJECT / "dbt", expect: bool = True
    ) -> dict[str, dict[str, Any]]:
        """dbt with these arguments, of our project or a copy. Fails when it did not go as expected."""
        assert self.process.stdin
        assert self.process.stdout
        asked = {
            "arguments": ["--quiet", "--log-level-file", "none", *arguments],
            # A database's name is in all that dbt has parsed: with a folder for each, it is parsed once for each.
            "environment": environment(self.settings)
            | {
                "INSIGHTS_POSTGRES_DATABASE": database,
                "INSIGHTS_DBT_SEVERITY": "error",
                "INSIGHTS_DBT_MACROS": code_of_macros(project, clock_of(self.settings.home).zone),
                "DBT_PROJECT_DIR": str(project),
                "DBT_TARGET_PATH": str(self.settings.dbt_dir / database),
            },
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        failed = [r for r in answer["results"] if r["status"] not in ("success", "pass", "skipped", "no-op")]
        assert answer["success"] is expect, (answer["exception"], failed)
        self.results = {r["name"]: r for r in answer["results"]}
        return self.results


@contextmanager
def dbt_on(dsn: str, home: Path) -> Iterator[Dbt]:
    """A dbt for the server of this DSN, from here until it is left."""
    settings = Settings(home=home, postgres_port=psycopg.conninfo.conninfo_to_dict(dsn)["port"])
    for folder in (settings.dbt_dir, settings.logs_dir):
        folder.mkdir(parents=True, exist_ok=True)
    for shop, zone in OF_SHOPS.items():
        note_said(settings.producers_dir, shop, zone.key)
    with (
        (home / "dbt_server.log").open("w") as log,
        subprocess.Popen(
            [PYTHON, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=home
        ) as process,
    ):
        yield Dbt(settings=settings, process=process)
        assert process.stdin
        process.stdin.close()


def make_tables(dsn: str) -> None:
    """The tables that the stack makes before anything is read or built."""
    with psycopg.connect(dsn) as connection:
        sources.make(connection)


def copied(dsn: str, source: str, name: str) -> str:
    """The DSN of a copy of a database under another name, recreated. Nobody may be connected to the source."""
    with psycopg.connect(psycopg.conninfo.make_conninfo(dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name} template {source}")
        # Of a database, what its roles may do in it is copied, and what they may do to it is not.
        builder = login(Role.DBT, "insights", "").user
        if connection.execute("select 1 from pg_roles where rolname = %s", (builder,)).fetchone():
            connection.execute(f"grant create on database {name} to {builder}")
    return psycopg.conninfo.make_conninfo(dsn, dbname=name)


def relations(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table and view that dbt builds, in an order of their own."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables where table_schema = any(%s)"
            " order by 1",
            (list(LAYERS),),
        ).fetchall()
        return {
            name: sorted(connection.execute(f"select * from {name}").fetchall(), key=repr)
            for (name,) in names
            if name not in BUILD_STATE
        }
