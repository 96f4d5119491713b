"""Every setting, read from the environment (INSIGHTS_…) and ``.env`` once, by the command line, and handed down.

Longer than 400 lines, because every setting is in this one place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from insights.aws_settings import LookedUp, is_reference, looked_up
from schemas.catalogue import avro_events
from schemas.currency import problem_as_shops
from schemas.errors import Misconfigured
from schemas.kafka import Kafka

PROJECT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
# Where Docker, Compose and Kubernetes put a secret: a file named after the variable, in lower case.
SECRETS = Path("/run/secrets")
TIME_ZONE_FILE = "time-zone.json"  # in the data folder, of a shop whose days are not those of UTC
# What libpq and Java's driver both read in an address.
POSTGRES_OPTIONS = {"sslmode", "sslrootcert"}
Port = Annotated[int, Field(ge=1, le=65535)]


def _has_partitions(parallelism: int) -> int:
    """A part of a source without a partition has no watermark, and nothing would become final."""
    if parallelism > 1 and parallelism > (most := min(e.partitions for e in avro_events())):
        raise ValueError(f"should be at most {most}, the partitions of the smallest topic")
    return parallelism


def _is_kept_here(currency: str) -> str:
    if problem := problem_as_shops(currency):
        raise ValueError(problem)
    return currency


def _is_encrypted(url: str | None) -> str | None:
    at = urlsplit(url or "https://")
    if at.scheme != "https" and at.hostname not in (HOST, "localhost", "::1"):
        raise ValueError("should begin with https://")
    return url


def _is_of_postgres(url: str | None) -> str | None:
    at = urlsplit(url or "postgresql://user:password@host/database")
    if not (at.scheme in ("postgresql", "postgres") and at.hostname and at.username and at.password and at.path[1:]):
        raise ValueError("should be postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if strange := {name for name, _ in parse_qsl(at.query)} - POSTGRES_OPTIONS:
        raise ValueError(f"supports only the parameters sslmode and sslrootcert, not {', '.join(sorted(strange))}")
    return url


class Stream(BaseModel):
    """Where the live job runs on Managed Service for Apache Flink.

    ``bucket`` takes packages (s3://bucket/prefix), ``secret`` the job's passwords.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    application: str = Field(pattern=r"^[\w.-]{1,128}$")
    region: str = Field(pattern=r"^[a-z0-9-]+$")
    bucket: str = Field(pattern=r"^s3://[\w.-]+(/[\w./=-]+)?$")
    role: str = Field(pattern=r"^arn:\S+:role/\S+$")
    secret: str = Field(pattern=r"^arn:\S+:secretsmanager:\S+$")
    subnets: tuple[str, ...] = Field(min_length=1)
    security_groups: tuple[str, ...] = Field(min_length=1)
    log_stream: str = Field(pattern=r"^arn:\S+:log-group:\S+:log-stream:\S+$")


class HubService(BaseModel):
    """The hub as a service of ECS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: str = Field(min_length=1)
    service: str = Field(min_length=1)
    region: str = Field(pattern=r"^[a-z0-9-]+$")


def _from_json(given: object) -> object:
    """Decoded here, and not by pydantic where it reads the environment: what is there may say where the JSON is."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        raise ValueError("should be JSON") from None


Currency = Annotated[str, AfterValidator(_is_kept_here)]
Parallelism = Annotated[int, Field(ge=1), AfterValidator(_has_partitions)]
# Its value is shown nowhere. Not pydantic's SecretStr: the settings are handed to the supervisor as JSON.
Secret = Annotated[str | None, Field(repr=False, json_schema_extra={"secret": True})]
Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """One stack. Two with different homes and ports run side by side on one machine.

    The default ports keep clear of a Kafka, Postgres, Flink or registry that is already there on its usual port.
    """

    model_config = SettingsConfigDict(
        env_prefix="INSIGHTS_",
        env_file=PROJECT / ".env",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="forbid",
        frozen=True,
    )

    home: Folder = Field(PROJECT / ".insights", description="folder for all of the stack's data")
    jars: Folder = Field(PROJECT / ".jars", description="folder for the downloaded jars; stacks can share it")
    maven_repository: str | None = Field(None, description="address of a Maven mirror; default is Maven Central")

    external_kafka: str | None = Field(
        None, pattern=r"^[^\s/:,]+:\d+(,[^\s/:,]+:\d+)*$", description="a Kafka that runs elsewhere: host:port,…"
    )
    external_kafka_user: str | None = Field(
        None, min_length=1, description="user name, for SASL_SSL with SCRAM-SHA-512"
    )
    external_kafka_password: Secret = Field(None, min_length=1)
    external_kafka_ca_file: Path | None = Field(None, description="PEM file of the brokers' certificate authority")
    external_kafka_iam_region: str | None = Field(
        None, pattern=r"^[a-z0-9-]+$", description="region of an Amazon MSK, for SASL_SSL with IAM"
    )
    external_registry: Secret = Field(
        None, pattern=r"^https?://\S+[^\s/]$", description="a registry's Confluent API: https://user:password@host/path"
    )
    external_postgres: Annotated[Secret, AfterValidator(_is_of_postgres)] = Field(
        None, description="a Postgres that runs elsewhere: postgresql://user:password@host:port/insights?sslmode=…"
    )
    external_flink: str | None = Field(
        None, pattern=r"^http://[^\s/:]+:\d+$", description="a Flink session cluster's REST API: http://host:port"
    )
    external_lake: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[\w.=-]+)*$",
        description="the lake's files in S3: s3://bucket/prefix",
    )
    external_lake_endpoint: str | None = Field(
        None, pattern=r"^https?://[^\s/]+$", description="an S3 server other than AWS: https://host:port"
    )
    external_lake_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$", description="region of the bucket")
    external_lake_key_id: str | None = Field(
        None, min_length=1, description="access key id; without it, AWS' default credential chain"
    )
    external_lake_secret: Secret = Field(None, min_length=1)
    external_lake_catalog: Literal["postgres", "glue"] = Field(
        "postgres", description="what lists the lake's tables: postgres, or glue (AWS Glue, in the bucket's region)"
    )
    listen: str = Field(HOST, description="address that servers, page, hooks, collector and metrics listen on")
    advertise: str = Field(HOST, description="host name or address by which other machines reach servers started here")

    kafka_port: Port = 19092
    kafka_controller_port: Port = 19093
    registry_port: Port = 19081
    postgres_port: Port = 19432
    flink_port: Port = Field(19080, description="Flink's web UI and REST API")
    flink_rpc_port: Port = Field(19123, description="where the TaskManager finds the JobManager")
    page_port: Port = 19501
    shop_port: Port = 19300
    metrics_port: Port = Field(19400, description="metrics of the producer of orders")
    catalog_metrics_port: Port = Field(19401, description="metrics of the catalog scraper")
    rates_metrics_port: Port = Field(19406, description="metrics of the source of exchange rates")
    sources_metrics_port: Port = Field(19410, description="metrics of further sources: this port and those after it")
    alerts_port: Port = Field(19402, description="health of the alert daemon")

    hooks_port: Port = Field(19403, description="webhooks of connected shops")
    collect_port: Port = Field(19404, description="web events of real shops, and the tracker that sends them")
    collect_metrics_port: Port = Field(19405, description="metrics of the collector of web events")
    gate_metrics_port: Port = Field(19408, description="metrics of the gate")
    stack_metrics_port: Port = Field(19407, description="metrics of the stack: its parts, topics, jobs and tables")

    kafka_quorum: str | None = Field(
        None,
        pattern=r"^[^\s/:,]+:\d+(,[^\s/:,]+:\d+){2,}$",
        description="host:port of every controller of the cluster; this broker's host is INSIGHTS_ADVERTISE",
    )
    postgres_password: str = Field("insights", min_length=1)
    kafka_heap_mb: int = Field(512, ge=256)
    registry_heap_mb: int = Field(256, ge=128)
    jobmanager_memory_mb: int = Field(896, ge=768)
    taskmanager_memory_mb: int = Field(2048, ge=1344)
    quick_start: bool = Field(False, description="the JVM compiles less: servers start faster and run slower")

    min_disk_gb: float = Field(4.0, ge=0, description="free disk space that `up` requires")
    min_memory_gb: float = Field(4.0, ge=0, description="available memory that `up` requires")

    currency: Currency = Field("EUR", description="the shop's only currency, an ISO 4217 code")
    rate: float = Field(0.3, gt=0, description="events per second of the synthetic shop")
    history: str = Field("63d", description="history that a new shop starts with")
    seed: int = Field(1, description="the same seed generates the same shop")

    # At least twice what an event may be ahead of the clock (producers/publisher.py): it moves the watermark.
    horizon_hours: int = Field(24, ge=2, description="an event further behind its partition's watermark is late")
    state_ttl_hours: int = Field(24 * 8, ge=2, description="how long the live job keeps event ids and open windows")
    idle_timeout_seconds: int = Field(60, ge=1, description="a partition silent for this long is treated as idle")
    checkpoint_interval_seconds: int = Field(10, ge=1)
    lake_maintenance_minutes: int = Field(
        60, ge=0, description="time between runs of lake maintenance; 0: only on request"
    )
    restate_late_minutes: int = Field(
        60, ge=0, description="time between runs that count late events; 0: only on request"
    )
    dbt_minutes: int = Field(5, ge=0, description="time between builds of the marts; 0: only on request")
    log_format: Literal["text", "json"] = Field("text", description="json: logs are one JSON object a line")
    canary: bool = Field(True, description="publish a canary each minute, and check its row in table and mart")
    parallelism: Parallelism = 1
    gate_events: str | None = Field(None, description="events that other programs may publish, with commas")
    connected_minutes: int = Field(60, ge=1, description="time between checks of connected shops for changes")
    backup_key: str | None = Field(None, description="the public key that backups are encrypted for: age1…")

    alert_webhook_url: Secret = Field(None, description="alerts are posted here as JSON")
    alert_webhook_secret: Secret = Field(None, description="signs webhook messages, by HMAC-SHA256")
    alert_slack_url: Secret = Field(None, description="a Slack incoming webhook")
    alert_smtp_url: Secret = Field(None, description="smtp://user:password@host:587, or smtps://…")
    alert_email_from: str | None = Field(None, description="sender of alerts by e-mail")
    alert_email_to: str | None = Field(None, description="recipients of alerts by e-mail, separated by commas")

    emr_application: str | None = Field(
        None, pattern=r"^[0-9a-z]+$", description="id of the EMR Serverless application"
    )
    emr_role: str | None = Field(None, pattern=r"^arn:\S+:role/\S+$", description="ARN of the job's execution role")
    emr_bucket: str | None = Field(
        None, pattern=r"^s3://[\w.-]+(/[\w./=-]+)?$", description="where job files are stored"
    )
    emr_region: str | None = Field(
        None, pattern=r"^[a-z0-9-]+$", description="AWS region of the application and the bucket"
    )
    emr_max_executors: int = Field(
        2, ge=1, description="maximum executors of 4 vCPU and 16 GB; the driver has the same size"
    )

    deploy_stream: Annotated[Stream | None, NoDecode, BeforeValidator(_from_json)] = Field(
        None, description="the live job runs on Managed Service for Apache Flink: where, as JSON"
    )
    deploy_service: Annotated[HubService | None, NoDecode, BeforeValidator(_from_json)] = Field(
        None, description="the hub on ECS, for `deploy`: as JSON"
    )

    page_login: Literal["password", "oidc", "elsewhere"] | None = Field(
        None, description="password, oidc, or elsewhere (a proxy in front has a login); default is no login"
    )
    page_address: str | None = Field(
        None, pattern=r"^https?://[^\s/]+/?$", description="how browsers reach the page: https://insights.example.com"
    )
    oidc_issuer: Annotated[str | None, AfterValidator(_is_encrypted)] = Field(
        None, pattern=r"^https?://\S+$", description="the OpenID Connect provider"
    )
    oidc_client_id: str | None = Field(None, min_length=1)
    oidc_client_secret: Secret = Field(None, min_length=1)
    oidc_roles_claim: str = Field(
        "roles", pattern=r"^[\w:./-]+$", description="claim that lists a person's roles: viewer, analyst, operator"
    )

    metabase_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="Metabase's address, for `dashboards`"
    )
    metabase_user: str | None = Field(
        None, description="e-mail address of an administrator, or of the first one to create"
    )
    metabase_password: Secret = Field(None, min_length=1)
    metabase_api_key: Secret = Field(None, min_length=1, description="an administrator's API key, instead of a user")
    metabase_reader_password: Secret = Field(None, min_length=1, description="password of the user that reads Postgres")
    metabase_postgres: str | None = Field(
        None, pattern=r"^[\w.-]+:\d+$", description="Postgres as seen from Metabase, as host:port"
    )

    glue_warehouse: str | None = Field(
        None, pattern=r"^s3://[\w.-]+(/[\w./=-]+)?$", description="where tables for Athena are stored, with AWS Glue"
    )
    glue_region: str | None = Field(None, pattern=r"^[a-z0-9-]+$", description="AWS region of the bucket and of Glue")

    @model_validator(mode="before")
    @classmethod
    def _looks_up(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What AWS keeps, in place of where it is."""
        found, problems = dict(given), []
        for name, value in given.items():
            if name in cls.model_fields and isinstance(value, str) and is_reference(value):
                try:
                    found[name] = looked_up(cls.variable(name), value)
                except Misconfigured as problem:
                    problems.append(str(problem))
        if problems:
            raise Misconfigured("; ".join(problems))
        return found

    @model_validator(mode="after")
    def _names_all_of_kafka(self) -> Settings:
        if self.external_kafka_user and not (self.external_kafka and self.external_kafka_password):
            raise ValueError(
                "INSIGHTS_EXTERNAL_KAFKA_USER is set: INSIGHTS_EXTERNAL_KAFKA and INSIGHTS_EXTERNAL_KAFKA_PASSWORD must"
                " be, too"
            )
        if self.external_kafka_iam_region and (not self.external_kafka or self.external_kafka_user):
            raise ValueError(
                "INSIGHTS_EXTERNAL_KAFKA_IAM_REGION is set: INSIGHTS_EXTERNAL_KAFKA must be, too, and"
                " INSIGHTS_EXTERNAL_KAFKA_USER must not"
            )
        if self.external_kafka_ca_file and not (self.external_kafka_user or self.external_kafka_iam_region):
            raise ValueError(
                "INSIGHTS_EXTERNAL_KAFKA_CA_FILE is set: INSIGHTS_EXTERNAL_KAFKA_USER or"
                " INSIGHTS_EXTERNAL_KAFKA_IAM_REGION must be, too"
            )
        return self

    @model_validator(mode="after")
    def _is_in_its_quorum(self) -> Settings:
        hosts = [at.rpartition(":")[0] for at in (self.kafka_quorum or "").split(",")]
        if self.kafka_quorum and hosts.count(self.advertise) != 1:
            raise ValueError(
                f"INSIGHTS_ADVERTISE={self.advertise} must be one host of INSIGHTS_KAFKA_QUORUM={self.kafka_quorum}"
            )
        return self

    @model_validator(mode="after")
    def _names_all_of_the_lake(self) -> Settings:
        names = ("endpoint", "key_id", "secret")
        given = [f"INSIGHTS_EXTERNAL_LAKE_{name}".upper() for name in names if getattr(self, f"external_lake_{name}")]
        if given and not self.external_lake:
            raise ValueError(f"{given[0]} is set: INSIGHTS_EXTERNAL_LAKE must be, too")
        if self.external_lake_catalog == "glue" and not self.external_lake:
            raise ValueError("INSIGHTS_EXTERNAL_LAKE_CATALOG is glue: INSIGHTS_EXTERNAL_LAKE must be set, too")
        if self.external_lake_catalog == "glue" and self.external_lake_key_id:
            raise ValueError(
                "INSIGHTS_EXTERNAL_LAKE_CATALOG is glue: INSIGHTS_EXTERNAL_LAKE_KEY_ID must not be set, because keys of"
                " the bucket are none of Glue's. AWS' own variables, files or roles log in to both"
            )
        if bool(self.external_lake_key_id) != bool(self.external_lake_secret):
            raise ValueError(
                "of INSIGHTS_EXTERNAL_LAKE_KEY_ID and INSIGHTS_EXTERNAL_LAKE_SECRET one is set: set both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _names_all_of_the_login(self) -> Settings:
        names = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
        missing = [self.variable(name) for name in names if not getattr(self, name)]
        if self.page_login == "oidc" and missing:
            raise ValueError(f"INSIGHTS_PAGE_LOGIN is oidc: {' and '.join(missing)} must be set, too")
        if self.page_login != "oidc" and len(missing) < len(names):
            raise ValueError("INSIGHTS_OIDC_… is set: INSIGHTS_PAGE_LOGIN must be oidc")
        return self

    @model_validator(mode="after")
    def _has_one_flink(self) -> Settings:
        if self.deploy_stream and self.external_flink:
            raise ValueError(
                "INSIGHTS_DEPLOY_STREAM and INSIGHTS_EXTERNAL_FLINK are set: the live job runs on one of them"
            )
        return self

    @property
    def kafka(self) -> Kafka:
        """How the log is reached."""
        return Kafka(
            self.external_kafka or f"{HOST}:{self.kafka_port}",
            self.external_kafka_user,
            self.external_kafka_password or "",
            self.external_kafka_ca_file,
            self.external_kafka_iam_region,
        )

    @property
    def registry_url(self) -> str:
        """Of its Confluent API; with user and password where it asks for them."""
        return self.external_registry or f"http://{HOST}:{self.registry_port}/apis/ccompat/v7"

    @property
    def postgres(self) -> SplitResult:
        """The parts of ``postgres_dsn``, of which user and password are quoted."""
        return urlsplit(self.postgres_dsn)

    @property
    def postgres_database(self) -> str:
        """The database's own name, which may need quoting in an address."""
        return unquote(self.postgres.path[1:])

    @property
    def postgres_address(self) -> str:
        """Its host and port, for messages and for Java."""
        return f"{self.postgres.hostname}:{self.postgres.port or 5432}"

    @property
    def postgres_dsn(self) -> str:
        """As the owner, who may do everything."""
        if self.external_postgres:
            return self.external_postgres
        return f"postgresql://insights:{quote(self.postgres_password, safe='')}@{HOST}:{self.postgres_port}/insights"

    @property
    def lake_storage(self) -> dict[str, str]:
        """How the lake's S3 is reached, under the names that Iceberg has for it in Java and in Python. Else empty."""
        if not self.external_lake:
            return {}
        found = {"client.region": self.external_lake_region}
        if self.external_lake_endpoint:
            # A server of one's own has one name for all buckets.
            found |= {"s3.endpoint": self.external_lake_endpoint, "s3.path-style-access": "true"}
        if self.external_lake_key_id and self.external_lake_secret:
            found["s3.access-key-id"] = self.external_lake_key_id
            found["s3.secret-access-key"] = self.external_lake_secret
        return found

    @property
    def flink_url(self) -> str:
        """Of its REST interface; empty on Managed Service for Apache Flink, which has none."""
        if self.deploy_stream:
            return ""
        return self.external_flink or f"http://{HOST}:{self.flink_port}"

    @property
    def page_url(self) -> str:
        return f"http://{HOST}:{self.page_port}"

    @property
    def has_gate(self) -> bool:
        """Is our own login in front of the page?"""
        return self.page_login in ("password", "oidc")

    @property
    def page_dir(self) -> Path:
        """Who may log in to the page, who has, and the links that are shared."""
        return self.home / "page"

    @property
    def shop_url(self) -> str:
        return f"http://{HOST}:{self.shop_port}"

    @property
    def hooks_url(self) -> str:
        return f"http://{HOST}:{self.hooks_port}"

    @property
    def collect_url(self) -> str:
        return f"http://{HOST}:{self.collect_port}"

    @property
    def stack_metrics_url(self) -> str:
        """Prometheus metrics of the stack."""
        return f"http://{HOST}:{self.stack_metrics_port}/metrics"

    @property
    def alerts_url(self) -> str:
        return f"http://{HOST}:{self.alerts_port}"

    @property
    def run_dir(self) -> Path:
        """Where the stack keeps the records of its processes."""
        return self.home / "run"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def conf_dir(self) -> Path:
        """Configuration of the servers, rewritten at every start."""
        return self.home / "conf"

    @property
    def producers_dir(self) -> Path:
        """Cursors, keys and answer keys of the producers."""
        return self.home / "producers"

    @property
    def dbt_dir(self) -> Path:
        """Compiled models and results of dbt's last build."""
        return self.home / "dbt"

    @property
    def snapshots_dir(self) -> Path:
        """Flink's checkpoints and savepoints. A Flink that runs elsewhere has it under the same path."""
        return self.home / "flink" / "snapshots"

    @property
    def flink_lib_dir(self) -> Path:
        """Links to every jar of Flink's class path."""
        return self.conf_dir / "flink-lib"

    def ports(self) -> dict[str, int]:
        """Setting name to port: ``{"kafka_port": 19092}``."""
        return {name: getattr(self, name) for name in type(self).model_fields if name.endswith("_port")}

    def own_ports(self) -> dict[str, int]:
        """The same, without those of servers that run elsewhere."""
        servers = ("kafka", "registry", "postgres", "flink")
        elsewhere = tuple(f"{name}_" for name in servers if getattr(self, f"external_{name}"))
        return {name: port for name, port in self.ports().items() if not name.startswith(elsewhere)}

    def environment(self) -> dict[str, str]:
        """Every setting as its variable, for a process that shall have the same ones. Secrets are among them."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {self.variable(n): v if isinstance(v, str) else json.dumps(v) for n, v in values.items()}

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that sets a field: ``INSIGHTS_KAFKA_PORT``."""
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


def _explain(problem: dict[str, Any]) -> str:
    """``INSIGHTS_KAFKA_PORT=x: …``. A secret's value is left out, and that of a name that may be one misspelt."""
    name = "_".join(str(step) for step in problem["loc"])
    if not name:  # of several settings, which its text names
        return str(problem["msg"]).removeprefix("Value error, ")
    field = Settings.model_fields.get(name)
    is_told = field is not None and not (
        isinstance(field.json_schema_extra, dict) and "secret" in field.json_schema_extra
    )
    given, said = problem["input"], str(problem["msg"])
    if isinstance(given, LookedUp):
        return f"{Settings.variable(name)}={given.reference}: {said.replace(given, '…')}"
    value = f"={given}" if is_told else ""
    return f"{Settings.variable(name)}{value}: {said}"


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and ``.env``; ``overrides`` win. Raises Misconfigured naming the variable.

    Values that AWS keeps are asked for there, which may raise SettingAway.

    From then on the process counts by the days of the data folder's time zone.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(_explain(dict(problem)) for problem in error.errors(include_url=False))
        raise Misconfigured(f"invalid setting in the environment or in {PROJECT / '.env'}: {problems}") from error
    for folder in (settings.home, *settings.home.parents):
        if folder.exists() and not folder.is_dir():
            raise Misconfigured(f"INSIGHTS_HOME is {settings.home}, and {folder} is not a folder; choose another")
    if (settings.home / TIME_ZONE_FILE).exists():
        from insights.shops_clock import adopt  # loads the aggregates, which a shop in UTC need not

        adopt(settings.home)
    return settings
