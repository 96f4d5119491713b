"""All that a deployment has on AWS, by its settings: the live job, the hub, and what replays need."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl

from flink.live_job import JSON, LiveJob, main_job
from insights import jars
from insights.deploy.service import Hub
from insights.engines import EmrSpark, emr_target
from insights.managed_flink.application import Application, Say
from insights.managed_flink.configuration import Wanted
from insights.managed_flink.package import PARTS, ManagedPlan, build, managed_plan
from insights.settings import Settings, Stream
from insights.wiring import deployment, flink_home
from schemas.errors import Misconfigured
from spark.aws import Aws, NotThere
from spark.emr import EmrServerless, is_here
from spark.local import FOLDER, JOB

PAGE = "docs/deploy.md"
SECRETS = "secretsmanager"
LEAST_CHECKPOINT_SECONDS = 60  # of a lake in production: each writes files to every table


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One thing that is deployed: its name, what would change, and what changes it."""

    name: str
    changes: Callable[[], list[str]]
    apply: Callable[[], str]
    roll_back: Callable[[], str]
    status: Callable[[], list[str]]


def pieces(settings: Settings, say: Say, *, release: str | None = None, endpoint_url: str | None = None) -> list[Piece]:
    """What the settings name, in the order in which it is deployed. ``release`` is the tag of the hub's images.

    Raises Misconfigured when they name nothing.
    """

    def aws(region: str) -> Aws:
        return Aws(region=region, endpoint_url=endpoint_url, rng=Random(), page=PAGE)  # noqa: S311  of pauses

    found = []
    if settings.deploy_stream:
        found.append(_stream(settings, settings.deploy_stream, aws(settings.deploy_stream.region), say))
    if settings.emr_bucket:
        found.append(_emr(settings, say))
    if settings.deploy_service:
        found.append(_hub(Hub(aws(settings.deploy_service.region), settings.deploy_service, say), release))
    if not found:
        raise Misconfigured(
            "there is nothing to deploy: set INSIGHTS_DEPLOY_STREAM, INSIGHTS_DEPLOY_SERVICE or INSIGHTS_EMR_BUCKET"
            f" ({PAGE})"
        )
    return found


# The hub --------------------------------------------------------------------------------------------------------------


def _hub(hub: Hub, release: str | None) -> Piece:
    def status() -> list[str]:
        definition, images = hub.status()
        return [definition, *(f"{name}: {image}" for name, image in images.items())]

    return Piece(
        name="hub",
        changes=lambda: hub.changes(release) if release else [],
        apply=lambda: hub.apply(release) if release else "left as it is: --release names another",
        roll_back=hub.roll_back,
        status=status,
    )


# Replays --------------------------------------------------------------------------------------------------------------


def _emr(settings: Settings, say: Say) -> Piece:
    target, nothing = emr_target(settings), "files of replays are named after their contents: there is no way back"

    def files() -> tuple[Path, ...]:
        return EmrSpark(settings, say).jars()

    def missing() -> list[str]:
        return put_files(target, files(), only_look=True)

    def put() -> str:
        found = put_files(target, files())
        return f"{len(found)} files uploaded to {target.bucket}" if found else "all files are there already"

    return Piece(
        name="replays",
        changes=lambda: [f"{uri}: new" for uri in missing()],
        apply=put,
        roll_back=lambda: nothing,
        status=lambda: [f"{len(missing())} files of this version are missing in {target.bucket}"],
    )


def put_files(target: EmrServerless, files: Sequence[Path], *, only_look: bool = False) -> list[str]:
    """Uploads the job of a replay and its jars as a run does, so that no run has to; URIs of what was missing. Blocks.

    With ``only_look`` nothing is uploaded. Raises what Aws raises.
    """
    aws, folder = target.aws(), f"{target.bucket.rstrip('/')}/files"
    places = {aws.place(path, folder): path for path in (JOB, FOLDER / "task.py", *files)}
    missing = [uri for uri, path in places.items() if not aws.has(path, uri)]
    for uri in () if only_look else missing:
        aws.put(places[uri], folder)
    return missing


# The live job ---------------------------------------------------------------------------------------------------------


def _stream(settings: Settings, stream: Stream, aws: Aws, say: Say) -> Piece:
    job = _Stream(settings, stream, aws, say)
    return Piece(name="live-job", changes=job.changes, apply=job.apply, roll_back=job.app.roll_back, status=job.status)


class _Stream:
    """The package of the live job, its secrets, and the application that runs it."""

    def __init__(self, settings: Settings, stream: Stream, aws: Aws, say: Say) -> None:
        self._settings = settings
        self._stream = stream
        self._aws = aws
        self._say = say
        self.app = Application(aws, stream, say)

    def changes(self) -> list[str]:
        job, plan = self._planned()
        known, version = self._secrets_there()
        other = _other(plan, known)
        wanted = self._wanted(self._package(plan), job, "a new one" if other else version, look_only=True)
        return [*self.app.changes(wanted), *(f"secret {n}: {'changed' if n in known else 'new'}" for n in other)]

    def apply(self) -> str:
        job, plan = self._planned()
        package = self._package(plan)
        self.app.refuse_unaligned()
        known, version = self._secrets_there()
        if _other(plan, known):
            values = json.dumps(plan.values)
            version = self._aws.ask(SECRETS, "put_secret_value", SecretId=self._stream.secret, SecretString=values)[
                "VersionId"
            ]
        self._say("uploading the package")
        return self.app.apply(self._wanted(package, job, version, look_only=False))

    def status(self) -> list[str]:
        found = self.app.found()
        if found is None:
            return [f"there is no application {self._stream.application}: `insights deploy apply` makes it"]
        return [
            f"{self._stream.application}: {found.status}, version {found.version}",
            *(f"{name}: {value}" for name, value in found.facts.items()),
        ]

    def _planned(self) -> tuple[LiveJob, ManagedPlan]:
        """The job as it was deployed: its state fits no other. As the folders are, when it never was.

        Raises Misconfigured for servers that it can't reach.
        """
        refuse_here(self._settings)
        found = self.app.found()
        job = (self.app.job(found) if found else None) or main_job()
        return job, managed_plan(deployment(self._settings), job)

    def _package(self, plan: ManagedPlan) -> Path:
        settings = self._settings
        jars.fetch(settings.jars, parts=(*PARTS, "compiler"), repository=settings.maven_repository)
        self._say("packaging the live job")
        folder = settings.home / "deploy"
        return build(plan, flink_home=flink_home(), jar_folder=settings.jars, folder=folder)

    def _wanted(self, package: Path, job: LiveJob, secret_version: str, *, look_only: bool) -> Wanted:
        definition = self._settings.home / "deploy" / "insights-live.json"
        definition.write_bytes(JSON.dump_json(job, indent=1))
        put = self._aws.place if look_only else self._aws.put
        folder = f"{self._stream.bucket.rstrip('/')}/live-job"
        return Wanted(
            code=put(package, folder),
            job=put(definition, folder),
            role=self._stream.role,
            secret=self._stream.secret,
            secret_version=secret_version,
            parallelism=self._settings.parallelism,
            checkpoint_seconds=max(LEAST_CHECKPOINT_SECONDS, self._settings.checkpoint_interval_seconds),
            subnets=self._stream.subnets,
            security_groups=self._stream.security_groups,
        )

    def _secrets_there(self) -> tuple[dict[str, str], str]:
        """The newest values by name, and the version of the secret that they are."""
        try:
            found = self._aws.ask(SECRETS, "get_secret_value", SecretId=self._stream.secret)
        except NotThere:  # it was made without a value
            return {}, ""
        return json.loads(found["SecretString"]), found["VersionId"]


def _other(plan: ManagedPlan, known: dict[str, str]) -> list[str]:
    return [name for name, value in plan.values.items() if known.get(name) != value]


def _unknown_certificates(options: str) -> str | None:
    """What is wrong with how Postgres is to be known. ``options``: of its address, as in a URL."""
    given = dict(parse_qsl(options))
    if "sslrootcert" not in given and not given.get("sslmode", "").startswith("verify"):
        return None
    return (
        "the live job on AWS can't check Postgres' certificate: a file that INSIGHTS_EXTERNAL_POSTGRES names in"
        " sslrootcert is not there, and without one its driver can't verify. For `insights deploy`, set"
        f" INSIGHTS_EXTERNAL_POSTGRES with sslmode=require and no sslrootcert: encrypted, not verified ({PAGE})"
    )


def refuse_here(settings: Settings) -> None:
    """Raises Misconfigured naming what the live job on AWS could not reach."""
    target, problems = deployment(settings), []
    if target.kafka.iam_region:
        raise Misconfigured(
            "the package of the live job has no login by IAM yet: use a user of Kafka's in INSIGHTS_EXTERNAL_KAFKA_USER"
            f" instead of INSIGHTS_EXTERNAL_KAFKA_IAM_REGION, or the live job in the hub's task ({PAGE})"
        )
    if problem := _unknown_certificates(target.postgres_options):
        raise Misconfigured(problem)
    if any(is_here(address) for address in target.kafka.bootstrap.split(",")):
        problems.append("INSIGHTS_EXTERNAL_KAFKA: it would read a Kafka on this machine")
    if is_here(target.registry.partition("//")[2].rpartition("@")[2]):
        problems.append("INSIGHTS_EXTERNAL_REGISTRY: it would ask a registry on this machine")
    if is_here(target.postgres_host):
        problems.append("INSIGHTS_EXTERNAL_POSTGRES: it would write to a Postgres on this machine")
    if not target.lake_warehouse.startswith("s3://"):
        problems.append("INSIGHTS_EXTERNAL_LAKE: its lake would be on this machine")
    if problems:
        raise Misconfigured(
            f"the live job on AWS can't reach what is on this machine. Set {'; '.join(problems)} ({PAGE})"
        )
