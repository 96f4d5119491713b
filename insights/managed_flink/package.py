"""The live job as Managed Service for Apache Flink takes it: a zip with main.py and one jar.

The service has Flink and Python, and nothing of ours. So the jar holds all connectors, our Java (flink/java) and the
job's plan, and main.py is flink/job.py. No password is in it: the plan has a place for each, which main.py fills in
from AWS Secrets Manager. The same input makes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from flink.job_control import JOB_FILE
from flink.job_sql import JobPlan, live_plan
from flink.live_job import LiveJob
from insights import jars, java
from schemas.errors import InsightsError, Misconfigured
from warehouse.deployment import Deployment

PARTS = ("flink", "s3", "managed")
"""Parts of the lock of jars that the service lacks."""
MAIN, JAR, PLAN = "main.py", "lib/insights.jar", "insights-plan.json"
RUN_OPTIONS = {"python": MAIN, "jarfile": JAR}
"""The property group that says what in the zip is run."""
MOST_MB = 512  # of a code package, by the service's quotas
BEGINNING = (1980, 1, 1, 0, 0, 0)  # of a zip's calendar
SERVICES = "META-INF/services/"
LEFT_OUT = ("META-INF/versions/", "META-INF/maven/", "META-INF/MANIFEST.MF", "module-info.class")
SIGNATURES = (".SF", ".RSA", ".DSA", ".EC")
UNALIGNED = ("checkpointing.unaligned", "checkpointing.unaligned.enabled", "checkpointing.unaligned.forced")
# What a program may set by itself: https://docs.aws.amazon.com/managed-flink/latest/java/programmatic-configuration.html
ALLOWED = ("pipeline.name", "pipeline.object-reuse", "table.")


class TooLarge(InsightsError):
    """The service does not take a package of this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPlan:
    """What main.py executes. ``secrets``: by name, what stands in a statement for it; ``values``: what it is."""

    plan: JobPlan
    secrets: dict[str, str]
    values: dict[str, str] = field(repr=False)

    def to_json(self) -> str:
        """As flink/job.py reads it, without a secret."""
        return json.dumps({**asdict(self.plan), "secrets": self.secrets}, indent=1)


def managed_plan(deployment: Deployment, job: LiveJob) -> ManagedPlan:
    """The live job's plan for the service. Raises Misconfigured for a configuration that would lose rows there."""
    secrets = {name: place for name, place, value in _secrets(deployment) if value}
    values = {name: value for name, _, value in _secrets(deployment) if value}
    hidden = replace(
        deployment,
        flink_url="",
        registry=secrets.get("registry", deployment.registry),
        kafka=replace(deployment.kafka, password=secrets.get("kafka_password", "")),
        lake_storage={
            name: secrets["lake_secret"] if name == LAKE_SECRET else value
            for name, value in deployment.lake_storage.items()
        },
    )
    plan = live_plan(hidden, job=job)
    refuse_unaligned({"the live job": plan.settings})
    flink, place = deployment.flink_login.password, secrets["postgres_password"]
    statements = [text.replace(flink, place) for text in plan.statements]
    if shown := [name for name, value in values.items() if any(_quoted(value) in text for text in statements)]:
        raise Misconfigured(
            f"{', '.join(shown)} would be readable in the package, because the same text is elsewhere in the job's SQL:"
            " choose a longer one"
        )
    settings = {key: value for key, value in plan.settings.items() if key.startswith(ALLOWED)}
    return ManagedPlan(
        plan=replace(plan, settings=settings, statements=statements),
        secrets={name: place for name, place in secrets.items() if any(place in text for text in statements)},
        values=values,
    )


LAKE_SECRET = "s3.secret-access-key"  # noqa: S105  the name of an option


def _secrets(deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """Name, place, and value where there is one, as it stands in a statement."""
    found = {
        "kafka_password": deployment.kafka.password.replace("\\", "\\\\").replace('"', '\\"'),
        "lake_secret": deployment.lake_storage.get(LAKE_SECRET, ""),
        "postgres_password": deployment.flink_login.password,
        "registry": deployment.registry if "@" in deployment.registry else "",
    }
    for name, value in found.items():
        yield name, f"<the secret {name}>", value


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def refuse_unaligned(configurations: Mapping[str, Mapping[str, str]]) -> None:
    """Raises Misconfigured when one of them (by where it is) has unaligned checkpoints, under any of Flink's names.

    With these, Iceberg loses rows that were on their way (https://github.com/apache/iceberg/issues/15846).
    """
    for where, options in configurations.items():
        for key, value in options.items():
            if key.strip().endswith(UNALIGNED) and value.strip().lower() != "false":
                raise Misconfigured(
                    f"{where} has {key}={value}: with unaligned checkpoints, the lake loses rows (Iceberg's issue"
                    " 15846). Remove it, and run this again. Nothing was changed"
                )


# The package ----------------------------------------------------------------------------------------------------------


def build(plan: ManagedPlan, *, flink_home: Path, jar_folder: Path, folder: Path) -> Path:
    """The zip in ``folder``, named after its contents. Blocks: half a minute the first time, for the jar.

    Earlier ones there are removed: each has 190 MB, and those that were deployed are in S3. The jars must be there
    already. Raises CompileFailed, and TooLarge.
    """
    whole = whole_jar(jar_folder, flink_home)
    text, main = plan.to_json().encode(), JOB_FILE.read_bytes()
    digest = hashlib.sha256(b"\0".join((text, main, whole.name.encode()))).hexdigest()[:32]
    target = folder / f"insights-live-{digest}.zip"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as staging:
            jar, part = Path(staging) / "jar", Path(staging) / "zip"
            shutil.copyfile(whole, jar)
            with zipfile.ZipFile(jar, "a") as archive:
                archive.writestr(_entry(PLAN), text)
            with zipfile.ZipFile(part, "w") as archive:
                archive.writestr(_entry(MAIN), main)
                with jar.open("rb") as file, archive.open(_entry(JAR, stored=True), "w", force_zip64=True) as into:
                    shutil.copyfileobj(file, into)
            if (size := part.stat().st_size) > MOST_MB * 1024 * 1024:
                raise TooLarge(f"the package has {size >> 20} MB; the service takes {MOST_MB} MB at most")
            part.replace(target)
    for earlier in folder.glob("insights-live-*.zip"):
        if earlier != target:
            earlier.unlink(missing_ok=True)
    return target


def whole_jar(jar_folder: Path, flink_home: Path) -> Path:
    """One jar of all that the service lacks, kept in ``jar_folder`` under a hash of its inputs."""
    connectors = [jar for part in PARTS for jar in jars.of_part(part, jar_folder)]
    (compiler,) = jars.of_part("compiler", jar_folder)
    theirs = [*flink_home.glob("lib/*.jar"), *flink_home.glob("opt/flink-python-*.jar")]
    with tempfile.TemporaryDirectory(dir=jar_folder, prefix=".part-") as staging:
        ours = java.compiled(compiler, sorted([*connectors, *theirs]), Path(staging))
        contents = [ours, *connectors]
        digest = hashlib.sha256("".join(jars.sha256_of(jar) for jar in connectors).encode() + ours.name.encode())
        target = jar_folder / f"insights-on-aws-{digest.hexdigest()[:16]}.jar"
        if not target.exists():
            part = Path(staging) / "whole"
            _merge(contents, part)
            part.replace(target)
    return target


def _merge(contents: Sequence[Path], target: Path) -> None:
    """All entries once, the first jar's; lists of services are those of all jars together."""
    services: dict[str, list[str]] = {}
    known: set[str] = set()
    with zipfile.ZipFile(target, "w") as whole:
        whole.writestr(_entry("META-INF/MANIFEST.MF"), "Manifest-Version: 1.0\r\n\r\n")
        for jar in contents:
            with zipfile.ZipFile(jar) as archive:
                for name in sorted(archive.namelist()):
                    if name.startswith(SERVICES) and not name.endswith("/"):
                        services.setdefault(name, []).extend(_lines(archive.read(name).decode().splitlines()))
                    elif name not in known and not _is_left_out(name):
                        whole.writestr(_entry(name), archive.read(name), compresslevel=1)
                        known.add(name)
        for name, lines in sorted(services.items()):
            whole.writestr(_entry(name), "".join(f"{line}\n" for line in dict.fromkeys(lines)))


def _lines(lines: Iterable[str]) -> Iterator[str]:
    """The names in a list of services, without comments."""
    return (line for text in lines if (line := text.partition("#")[0].strip()))


def _is_left_out(name: str) -> bool:
    """Signatures fit no merged jar, and the service runs none but the plain classes."""
    return (
        name.endswith("/") or name.startswith(LEFT_OUT) or (name.startswith("META-INF/") and name.endswith(SIGNATURES))
    )


def _entry(name: str, *, stored: bool = False) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, BEGINNING)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
