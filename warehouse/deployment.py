"""Where a job runs and what it talks to. Made from settings by `insights`; nothing here reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from schemas.kafka import Kafka
from warehouse.logins import Login, Role, login

LakeCatalog = Literal["postgres", "glue"]
"""What lists the lake's tables: the stack's Postgres, or AWS Glue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Addresses, folders and figures of one deployment of the live job. ``currency`` is the shop's, by ISO 4217.

    ``postgres_options`` are parameters of an address that libpq and Java's driver both know: ``sslmode=verify-full``.
    ``flink_url`` is empty where Flink can't be asked: its jobs report how far they are (ops.job_progress).
    ``lake_storage`` is how the S3 of ``lake_warehouse`` is reached, under names that Iceberg has in Java and in Python:
    ``s3.endpoint``. A secret may be among them.
    """

    kafka: Kafka
    registry: str
    postgres_host: str
    postgres_port: int
    postgres_database: str
    postgres_user: str
    postgres_password: str
    lake_database: str
    lake_warehouse: str
    flink_url: str
    flink_python: Path
    flink_home: Path
    java_home: Path
    conf_dir: Path
    lib_dir: Path
    snapshots_dir: Path
    jobs_dir: Path
    work_dir: Path
    currency: str
    horizon_hours: int
    state_ttl_hours: int
    idle_timeout_seconds: int
    checkpoint_interval_seconds: int
    parallelism: int
    out_of_order_seconds: int = 5
    flush_interval_ms: int = 100
    buffer_timeout_ms: int = 20
    postgres_options: str = ""
    lake_storage: Mapping[str, str] = field(default_factory=dict, repr=False)
    lake_catalog: LakeCatalog = "postgres"

    @property
    def postgres_dsn(self) -> str:
        return self._dsn(self.postgres_database)

    @property
    def flink_login(self) -> Login:
        """What live jobs log in as, in both databases."""
        return login(Role.FLINK, self.postgres_database, self.postgres_password)

    @property
    def lake_dsn(self) -> str:
        return self._dsn(self.lake_database)

    def _dsn(self, database: str) -> str:
        return (
            f"postgresql://{quote(self.postgres_user, safe='')}:{quote(self.postgres_password, safe='')}"
            f"@{self.postgres_host}:{self.postgres_port}/{quote(database, safe='')}"
            f"{'?' if self.postgres_options else ''}{self.postgres_options}"
        )

    @property
    def postgres_jdbc_url(self) -> str:
        return f"{self._jdbc(self.postgres_database)}&reWriteBatchedInserts=true"

    @property
    def lake_jdbc_url(self) -> str:
        return self._jdbc(self.lake_database)

    def _jdbc(self, database: str) -> str:
        """No call waits forever: a task that can't be cancelled for three minutes ends the TaskManager's process."""
        options = "connectTimeout=10&loginTimeout=15&socketTimeout=60&cancelSignalTimeout=10&tcpKeepAlive=true"
        options += f"&{self.postgres_options}" if self.postgres_options else ""
        return f"jdbc:postgresql://{self.postgres_host}:{self.postgres_port}/{quote(database, safe='')}?{options}"

    @property
    def lake_properties(self) -> dict[str, str]:
        """What ``pyiceberg.catalog.load_catalog("lake", **properties)`` needs."""
        if self.lake_catalog == "glue":
            return {"type": "glue", "warehouse": self.lake_warehouse, **self.lake_storage}
        return {
            "type": "sql",
            "uri": self.lake_dsn.replace("postgresql://", "postgresql+psycopg://"),
            "warehouse": self.lake_warehouse,
            "init_catalog_tables": "true",
            **self.lake_storage,
        }
