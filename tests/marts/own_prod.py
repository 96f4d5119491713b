"""The target ``prod`` of the dbt project: what is in a Postgres published to Glue, and built by dbt as for Athena."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trino
from psycopg.conninfo import conninfo_to_dict

from insights.dbt_run import DBT, project_environment
from insights.settings import PROJECT
from tests.marts.athena import Athena, own_athena
from tests.marts.own_aws import BUCKET, KEY, REGION, SECRET, own_aws
from tests.marts.own_trino import CATALOG, own_trino
from tests.marts.sources import zones_of_shops


@dataclass(frozen=True, slots=True)
class Prod:
    """Where it is: addresses of AWS and Athena, the port of Trino, a folder for what a build leaves behind."""

    aws: str
    athena: str
    asked: Athena
    trino: int
    folder: Path

    def publish(self, dsn: str) -> str:
        """Runs ``insights lake publish``, and returns its output."""
        port = str(conninfo_to_dict(dsn)["port"])
        warehouse = {"INSIGHTS_GLUE_WAREHOUSE": f"s3://{BUCKET}/published", "INSIGHTS_GLUE_REGION": REGION}
        command = [sys.executable, "-m", "insights", "lake", "publish"]
        return self._run(command, PROJECT, INSIGHTS_POSTGRES_PORT=port, **warehouse)

    def dbt(self, *arguments: str) -> str:
        """Runs dbt with the adapter for Athena, and returns its output. Fails when dbt does."""
        return self._run(
            [str(DBT), *arguments],
            self.folder,
            **project_environment(
                "prod", compiled=self.folder / "target", logs=self.folder / "log", shops=zones_of_shops()
            ),
            INSIGHTS_ATHENA_REGION=REGION,
            INSIGHTS_ATHENA_STAGING=f"s3://{BUCKET}/staging/",
            INSIGHTS_ATHENA_DATA=f"s3://{BUCKET}/marts/",
        )

    def _run(self, command: list[str], cwd: Path, **more: str) -> str:
        aws = {
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_ENDPOINT_URL_ATHENA": self.athena,
            "PYICEBERG_CATALOG__LAKE__S3__ENDPOINT": self.aws,  # the library of its files knows no other way
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        environment = {**os.environ, **aws, **more}
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        return done.stdout

    def rows(self, sql: str) -> list[list[Any]]:
        """What Trino answers."""
        with trino.dbapi.connect(
            host="127.0.0.1", port=self.trino, user="test", catalog=CATALOG, timezone="UTC"
        ) as connection:
            found: list[list[Any]] = connection.cursor().execute(sql).fetchall()
            return found


@contextmanager
def own_prod(folder: Path) -> Iterator[Prod]:
    """An AWS without a table, from here until it is left."""
    folder.mkdir()
    with own_aws(folder) as aws, own_trino(folder / "trino", aws) as port, own_athena(port, aws) as (athena, asked):
        yield Prod(aws=aws, athena=athena, asked=asked, trino=port, folder=folder)
