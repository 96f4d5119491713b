"""Where the engines run, made from settings: a Deployment of the live job, and Spark here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from insights.java import java_home
from insights.settings import PROJECT, Settings
from schemas.errors import Misconfigured
from spark.local import SparkRuntime
from warehouse.deployment import Deployment
from warehouse.logins import Login, Role, login

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from alerts.config import DaemonConfig
    from replay.context import Context

FLINK_ENVIRONMENT = PROJECT / ".venv-flink"
SPARK_ENVIRONMENT = PROJECT / ".venv-spark"
# Half the compiler's work at a start; for parts that never have much to do after it, and for a stack of a few minutes.
QUICK_START = "-XX:TieredStopAtLevel=1"
# Flink parses the Java of a class that is longer than this, to cut it into methods that Java compiles. With 64,000
# characters a method is still within Java's limit of 64 kB of bytecode.
QUICK_PLANS = {"table.generated-code.max-length": "64000"}
COMPILED_THOUGH_LONG = "-XX:-DontCompileHugeMethods"


def flink_home() -> Path:
    """Flink's own files inside the wheel. Raises Misconfigured when the environment is not set up."""
    found = sorted(FLINK_ENVIRONMENT.glob("lib/python3*/site-packages/pyflink"))
    if not found:
        raise Misconfigured(f"Flink's environment is missing at {FLINK_ENVIRONMENT}; run `make up` to create it")
    return found[0]


def deployment(settings: Settings) -> Deployment:
    """Raises Misconfigured when Flink's environment is not set up."""
    at = settings.postgres
    return Deployment(
        kafka=settings.kafka,
        registry=settings.registry_url,
        postgres_host=at.hostname or "",
        postgres_port=at.port or 5432,
        postgres_database=settings.postgres_database,
        postgres_user=unquote(at.username or ""),
        postgres_password=unquote(at.password or ""),
        postgres_options=at.query,
        lake_database="lake",
        lake_warehouse=settings.external_lake or (settings.home / "lake").as_uri(),
        lake_storage=settings.lake_storage,
        lake_catalog=settings.external_lake_catalog,
        flink_url=settings.flink_url,
        flink_python=FLINK_ENVIRONMENT / "bin" / "python",
        flink_home=flink_home(),
        java_home=java_home(),
        conf_dir=settings.conf_dir / "flink",
        lib_dir=settings.flink_lib_dir,
        snapshots_dir=settings.snapshots_dir,
        jobs_dir=settings.home / "flink" / "jobs",
        work_dir=settings.home / "flink" / "client",
        currency=settings.currency,
        horizon_hours=settings.horizon_hours,
        state_ttl_hours=settings.state_ttl_hours,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        checkpoint_interval_seconds=settings.checkpoint_interval_seconds,
        parallelism=settings.parallelism,
        # A thread of each of a hundred tasks wakes up so often, also where nothing happens.
        buffer_timeout_ms=100 if settings.quick_start else 20,
    )


def login_of(settings: Settings, role: Role) -> Login:
    """As whom a program of that role logs in to Postgres."""
    return login(role, settings.postgres_database, unquote(settings.postgres.password or ""))


def dsn_as(settings: Settings, role: Role, *, with_password: bool = True) -> str:
    """Postgres, as that role. A command line, which all on this machine may read, gets it without the password."""
    found = login_of(settings, role)
    user = quote(found.user, safe="") + (f":{found.password}" if with_password else "")
    at = settings.postgres
    return at._replace(netloc=f"{user}@{at.netloc.rpartition('@')[2]}").geturl()


@contextmanager
def published_catalog(settings: Settings) -> Iterator[Catalog]:
    """Where ``insights lake publish`` puts its tables: AWS Glue where that is set, else the stack's own lake.

    AWS' own settings (AWS_PROFILE and the like) hold the credentials. Raises Retryable when the catalog is away.
    """
    from replay.lake_files import open_catalog

    properties = deployment(settings).lake_properties
    if settings.glue_warehouse:
        properties = {"type": "glue", "warehouse": settings.glue_warehouse}
        if settings.glue_region:
            properties |= {"client.region": settings.glue_region}
    with open_catalog(properties) as catalog:
        yield catalog


def spark_runtime(settings: Settings, work_dir: Path) -> SparkRuntime:
    """Spark on this machine; ``work_dir`` takes what one run leaves on disk."""
    from insights import jars  # the stack itself asks this module where Flink is

    postgres_driver = [jar for jar in jars.of_part("flink", settings.jars) if jar.name.startswith("postgresql-")]
    more = [jar for part in jars.of_servers(settings) for jar in jars.of_part(part, settings.jars)]
    java_options = ["-XX:+UseSerialGC", QUICK_START] if settings.quick_start else ["-XX:+UseParallelGC"]
    return SparkRuntime(
        python=SPARK_ENVIRONMENT / "bin" / "python",
        bootstrap=PROJECT / "bootstrap.py",
        java_home=java_home(),
        jars=(*jars.of_part("spark", settings.jars), *postgres_driver, *more),
        work_dir=work_dir,
        java_options=(*java_options, *java_region(settings)),
    )


def java_region(settings: Settings) -> list[str]:
    """Options of a Java that logs in to Kafka by IAM, which takes the region of AWS' own settings."""
    return [f"-Daws.region={region}"] if (region := settings.external_kafka_iam_region) else []


def replay_context(settings: Settings) -> Context:
    """What a replay talks to."""
    from replay.context import Context  # a second to load, which only a replay should pay

    return Context(
        deployment=deployment(settings),
        work_dir=settings.home / "replay",
        code=_commit(),
        texts=tuple(PROJECT.glob("dashboards/*.yaml")) + tuple(PROJECT.glob("dbt/models/**/*.sql")),
    )


def producer_servers(settings: Settings) -> list[str]:
    """Options of `produce` that say how log and registry are reached, and how it logs. A password is among them, so
    they are for a call in this process.
    """
    servers = [text for option, value in _servers(settings).items() for text in (f"--{option}", value)]
    return [*servers, "--log-format", settings.log_format]


def producer_environment(settings: Settings) -> dict[str, str]:
    """The same for a separate process, as variables: everyone on the machine can read a command line."""
    named = {f"external_{option}".replace("-", "_"): value for option, value in _servers(settings).items()}
    named["log_format"] = settings.log_format
    return {settings.variable(name): value for name, value in named.items()}


def _servers(settings: Settings) -> dict[str, str]:
    kafka = settings.kafka
    found = {"kafka": kafka.bootstrap, "registry": settings.registry_url}
    if kafka.user:
        found |= {"kafka-user": kafka.user, "kafka-password": kafka.password}
    if kafka.iam_region:
        found["kafka-iam-region"] = kafka.iam_region
    if kafka.ca_file:
        found["kafka-ca-file"] = str(kafka.ca_file)
    return found


def alert_config(settings: Settings) -> DaemonConfig:
    """The alert daemon's configuration. Raises Misconfigured naming a setting of a channel that is wrong."""
    # They load every channel, a cost for commands that send or check alerts only.
    from alerts.channels import ChannelSettings
    from alerts.config import DaemonConfig

    channels = {name: getattr(settings, f"alert_{name}") for name in ChannelSettings.model_fields}
    config = DaemonConfig(dsn=dsn_as(settings, Role.ALERTS), channels=ChannelSettings(**channels))
    config.open_channels()
    return config


def _commit() -> str:
    """The project's commit, with a + when files differ from it; unknown where there is no git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
