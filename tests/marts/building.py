"""Builds the marts of a Postgres of a test's own, as `insights dbt build` does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from insights.settings import PROJECT
from tests.replay.own_postgres import own_postgres


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and a folder for what a build leaves behind."""

    dsn: str
    folder: Path

    def build(self, *arguments: str) -> None:
        """Brings the marts up to date. Fails with what dbt said, tests of the data included."""
        at = conninfo_to_dict(self.dsn)
        environment = {
            **os.environ,
            "INSIGHTS_POSTGRES_HOST": str(at["host"]),
            "INSIGHTS_POSTGRES_PORT": str(at["port"]),
            "DBT_PROFILES_DIR": str(PROJECT / "dbt"),
            "DBT_PROJECT_DIR": str(PROJECT / "dbt"),
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "log"),
        }
        done = subprocess.run(
            [str(PROJECT / ".venv-dbt" / "bin" / "dbt"), "--no-use-colors", "build", *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@contextmanager
def own_place(home: Path) -> Iterator[Place]:
    """A Postgres without a table, from here until it is left."""
    folder = home / "dbt"
    with own_postgres(home / "home") as dsn:
        folder.mkdir(exist_ok=True)
        yield Place(dsn, folder)
