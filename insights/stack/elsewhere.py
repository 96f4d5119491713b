"""Servers that run elsewhere: each is checked from outside, and an error names the setting that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import requests
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from flink.rest import FlinkRest, FlinkUnavailable, JobFailed
from insights.settings import Settings
from insights.stack.part import Task
from insights.wiring import dsn_as, login_of
from schemas.errors import Misconfigured, Retryable
from schemas.kafka import iam_token, logged_in
from schemas.plural import counted
from warehouse.logins import Role

SECONDS = 5
CHECKPOINTS = "execution.checkpointing.dir"
MSK = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")


class ServerAway(Retryable):
    """A server that runs elsewhere does not answer as it should; the message names the setting of its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """``ask`` returns how it is, in a line, or raises ServerAway. It blocks for SECONDS at most, or a few more."""

    name: str
    ask: Callable[[], str]

    def answers(self) -> bool:
        """Is it there?"""
        try:
            return bool(self.ask())
        except ServerAway:
            return False

    def task(self) -> Task:
        """The wait for it, under the name that it has when the stack runs it."""
        return Task(name=self.name, run=self.ask, still_done=self.answers)


def kafka(settings: Settings) -> Server:
    """The brokers."""
    return Server(name="kafka", ask=partial(_ask_kafka, settings))


def registry(settings: Settings) -> Server:
    """The schema registry."""
    return Server(name="registry", ask=partial(_ask_registry, settings))


def postgres(settings: Settings) -> Server:
    """The database server."""
    return Server(name="postgres", ask=partial(_ask_postgres, settings))


def flink(settings: Settings) -> Server:
    """The session cluster: its JobManager, and whether that has TaskManagers."""
    return Server(name="jobmanager", ask=partial(_ask_flink, settings))


def lake(settings: Settings) -> Server:
    """The bucket of a lake in S3."""
    return Server(name="bucket", ask=partial(_ask_lake, settings))


def servers_elsewhere(settings: Settings) -> list[Server]:
    """All that the settings give an address of."""
    made = {"postgres": postgres, "kafka": kafka, "registry": registry, "flink": flink, "lake": lake}
    return [make(settings) for name, make in made.items() if getattr(settings, f"external_{name}")]


def roles_kept_out(settings: Settings) -> list[str]:
    """The roles in a Postgres elsewhere that can't log in, each with why. Those that are not made yet are left out.

    Empty where the owner can't log in either: ``postgres`` tells why, and a missing database is created by `up`.
    """
    if not settings.external_postgres:
        return []
    users = {login_of(settings, role).user: dsn_as(settings, role) for role in Role}
    try:
        with psycopg.connect(settings.postgres_dsn, connect_timeout=SECONDS) as owner:
            asked = "select rolname from pg_roles where rolname = any(%s) order by rolname"
            there = [str(user) for (user,) in owner.execute(asked, (list(users),))]
    except psycopg.Error:
        return []
    found = []
    for user in there:
        try:
            psycopg.connect(users[user], connect_timeout=SECONDS).close()
        except psycopg.Error as error:
            why = " ".join(str(error).split())
            found.append(f"{user} can't log in to Postgres at {settings.postgres_address}: {why}")
    return found


def _away(what: str, settings: str, problem: object) -> ServerAway:
    return ServerAway(f"{what}, as {settings} has it: {' '.join(str(problem).split())[:800]}")


def _ask_kafka(settings: Settings) -> str:
    if settings.external_kafka_iam_region:
        _may_log_in_at_msk(settings, settings.external_kafka_iam_region)
    problems: list[KafkaError] = []  # why a connection failed is said here, and not by who waits for it
    options = {"log_level": 0, "error_cb": problems.append, "socket.timeout.ms": SECONDS * 1000}
    admin = logged_in(AdminClient({**settings.kafka.librdkafka, **options}))
    try:
        brokers = admin.list_topics(timeout=SECONDS).brokers
    except KafkaException as error:
        admin.poll(0)
        why = [problem for problem in problems if problem.code() != KafkaError._ALL_BROKERS_DOWN] or [error.args[0]]
        named = "INSIGHTS_EXTERNAL_KAFKA"
        if settings.external_kafka_user:
            named += ", _USER, _PASSWORD and _CA_FILE"
        if settings.external_kafka_iam_region:
            named += ", _IAM_REGION and _CA_FILE"
        raise _away(f"Kafka at {settings.kafka} does not answer", named, why[-1].str()) from error
    return f"{counted(len(brokers), 'broker')} at {settings.kafka}"


def _may_log_in_at_msk(settings: Settings, region: str) -> None:
    """A token for another region than the brokers' is refused without a reason: so the names of MSK's own are read."""
    named = "INSIGHTS_EXTERNAL_KAFKA and _IAM_REGION"
    theirs = {found[1] for host, _ in settings.kafka.addresses if (found := MSK.search(host))}
    if wrong := theirs - {region}:
        problem = f"the brokers are in {' and '.join(sorted(wrong))}, and the login is for {region}"
        raise _away(f"Kafka at {settings.kafka} is in another region", named, problem)
    try:
        iam_token(region)
    except Misconfigured as error:
        raise _away(f"Kafka at {settings.kafka} can't be logged in to", named, error) from error


def _ask_registry(settings: Settings) -> str:
    from schemas.registry import without_user  # half a second to load

    shown = without_user(settings.registry_url)
    named = "INSIGHTS_EXTERNAL_REGISTRY"
    try:
        answer = requests.get(f"{settings.registry_url}/subjects", timeout=SECONDS)
        is_well = answer.ok and isinstance(answer.json(), list)
        problem = "" if is_well else f"GET /subjects returned {answer.status_code}"
    except (requests.RequestException, ValueError) as error:
        problem = str(error).replace(settings.registry_url, shown)
    if problem:
        raise _away(f"the registry at {shown} does not answer in Confluent's API", named, problem)
    return f"{counted(len(answer.json()), 'subject')} at {shown}"


def _ask_postgres(settings: Settings) -> str:
    at = settings.postgres
    where = settings.postgres_address
    try:
        with psycopg.connect(at._replace(path="/postgres").geturl(), connect_timeout=SECONDS) as connection:
            row = connection.execute(
                "select current_setting('server_version_num')::int / 10000,"
                " (select array[rolcreatedb or rolsuper, rolcreaterole or rolsuper] from pg_roles where rolname ="
                " current_user),"
                " (select ssl from pg_stat_ssl where pid = pg_backend_pid())"
            ).fetchone()
    except psycopg.Error as error:
        raise _away(f"Postgres at {where} does not answer", "INSIGHTS_EXTERNAL_POSTGRES", error) from error
    assert row is not None
    version, may_create, is_encrypted = row
    rights = {"databases": "createdb", "roles": "createrole"}
    if missing := [what for what, may in zip(rights, may_create, strict=True) if not may]:
        lets = " ".join(rights[what] for what in missing)
        problem = f"the user {at.username} may create no {' and no '.join(missing)}; `alter role … {lets}` lets it"
        raise _away(f"Postgres at {where} is not enough", "INSIGHTS_EXTERNAL_POSTGRES", problem)
    return f"PostgreSQL {version} at {where}{', encrypted' if is_encrypted else ''}"


def _ask_flink(settings: Settings) -> str:
    named = "INSIGHTS_EXTERNAL_FLINK"
    rest = FlinkRest(settings.flink_url)
    try:
        managers, checkpoints = rest.task_managers(), rest.configuration().get(CHECKPOINTS, "")
    except (FlinkUnavailable, JobFailed, ValueError) as error:
        raise _away(f"Flink at {settings.flink_url} does not answer", named, error.__cause__ or error) from error
    if not managers:
        raise _away(f"Flink at {settings.flink_url} is not enough", named, "no TaskManager has registered there")
    if checkpoints != (wanted := f"{settings.snapshots_dir.as_uri()}/checkpoints"):
        problem = (
            f"its {CHECKPOINTS} is {checkpoints or 'not set'}, and here snapshots are looked for in {wanted}: share one"
            " folder under the same path, or set INSIGHTS_HOME to where it is"
        )
        raise _away(f"Flink at {settings.flink_url} keeps its checkpoints elsewhere", named, problem)
    return f"{counted(len(managers), 'TaskManager')} at {settings.flink_url}"


def _ask_lake(settings: Settings) -> str:
    from botocore.exceptions import BotoCoreError, ClientError  # a quarter of a second to load

    where = settings.external_lake or ""
    at = f" at {settings.external_lake_endpoint}" if settings.external_lake_endpoint else ""
    try:
        _may_write(settings, where)
    except (BotoCoreError, ClientError) as error:
        what = f"the lake's {where}{at} can't be used"
        raise _away(what, "INSIGHTS_EXTERNAL_LAKE, _ENDPOINT, _REGION, _KEY_ID and _SECRET", error) from error
    if settings.external_lake_catalog == "glue":
        _may_list(settings)
    return f"{where}{at} may be read and written"


def _client(service: str, settings: Settings, *, options: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """boto3's, in the lake's region, that waits for SECONDS once."""
    import boto3
    from botocore.config import Config

    waits = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1}, **(options or {}))
    return boto3.client(service, region_name=settings.external_lake_region, config=waits, **more)


def _may_list(settings: Settings) -> None:
    region = settings.external_lake_region
    try:
        _client("glue", settings).get_databases(MaxResults=1)
    except Exception as error:
        named = "INSIGHTS_EXTERNAL_LAKE_CATALOG and INSIGHTS_EXTERNAL_LAKE_REGION"
        raise _away(f"AWS Glue in {region} can't be used", named, error) from error


def _may_write(settings: Settings, where: str) -> None:
    """Raises what boto3 does. What it begins to write it abandons, so that nothing is left in the bucket."""
    s3 = _client(
        "s3",
        settings,
        options={"s3": {"addressing_style": "path" if settings.external_lake_endpoint else "auto"}},
        endpoint_url=settings.external_lake_endpoint,
        aws_access_key_id=settings.external_lake_key_id,
        aws_secret_access_key=settings.external_lake_secret,
    )
    bucket, _, prefix = where.removeprefix("s3://").partition("/")
    s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    begun = {"Bucket": bucket, "Key": f"{prefix}/doctor".lstrip("/")}
    s3.abort_multipart_upload(**begun, UploadId=s3.create_multipart_upload(**begun)["UploadId"])
