"""The stack's jars: a lock file with every Maven coordinate and hash, and the download that obeys it.

Nothing is resolved at run time: what a jar needs was worked out once, with Maven's own mediation, and is in the lock.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from insights import java
from insights.renamed import renamed
from insights.settings import Settings
from schemas.errors import InsightsError, Misconfigured
from schemas.kafka import SHADED

LOCK = Path(__file__).parent / "jars.toml"
PARALLEL_DOWNLOADS = 4
RENAMED = "renamed-"
STACK = ("kafka", "registry", "flink", "compiler", "spark")
"""Parts of the lock that a stack on this machine runs with."""


def of_stack(settings: Settings) -> tuple[str, ...]:
    """The parts that it runs with: a Kafka and a registry that run elsewhere need no jars here, a lake in S3 does."""
    elsewhere = {name for name in ("kafka", "registry") if getattr(settings, f"external_{name}")}
    return (*(part for part in STACK if part not in elsewhere), *of_servers(settings))


def of_servers(settings: Settings) -> tuple[str, ...]:
    """The additional parts that Flink and Spark need, depending on where the lake is and how Kafka is logged in to."""
    return (*(("s3",) if settings.external_lake else ()), *(("iam",) if settings.external_kafka_iam_region else ()))


Report = Callable[[int, int], None]
"""Called with the bytes downloaded so far and the total, from several threads."""


class JarUnavailable(InsightsError):
    """A jar could not be downloaded, or is not the one that was locked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One file of a Maven repository."""

    part: str
    group: str
    artifact: str
    version: str
    classifier: str
    packaging: str
    sha256: str
    bytes: int

    @property
    def file_name(self) -> str:
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{suffix}.{self.packaging}"

    @property
    def coordinate(self) -> str:
        classifier = f":{self.classifier}" if self.classifier else ""
        packaging = f"@{self.packaging}" if self.classifier or self.packaging != "jar" else ""
        return f"{self.group}:{self.artifact}:{self.version}{classifier}{packaging}"


def parse_jar(part: str, coordinate: str, sha256: str, size: int) -> Jar:
    """A Jar from ``group:artifact:version``, and ``:classifier`` and ``@packaging`` where it has them."""
    plain, _, packaging = coordinate.partition("@")
    group, artifact, version, *rest = plain.split(":")
    return Jar(
        part=part,
        group=group,
        artifact=artifact,
        version=version,
        classifier=rest[0] if rest else "",
        packaging=packaging or "jar",
        sha256=sha256,
        bytes=size,
    )


@cache
def locked_jars() -> tuple[Jar, ...]:
    """Every jar in the lock. Raises Misconfigured when the lock can't be read."""
    try:
        lock = tomllib.loads(LOCK.read_text())
        return tuple(
            parse_jar(part, coordinate, entry["sha256"], entry["bytes"])
            for part, entries in lock.items()
            for coordinate, entry in entries.items()
        )
    except (KeyError, ValueError, TypeError) as error:
        raise Misconfigured(f"{LOCK} is not a lock of jars: {error!r}") from error


def of_part(part: str, folder: Path) -> tuple[Path, ...]:
    """Files of one part's jars, whether they are there or not."""
    return tuple(folder / jar.file_name for jar in locked_jars() if jar.part == part)


def missing(folder: Path, parts: Collection[str] = STACK) -> tuple[Jar, ...]:
    """The parts' jars that are not in the folder. A file of the right name and size was verified when it came."""
    return tuple(jar for jar in locked_jars() if jar.part in parts and not _is_there(folder / jar.file_name, jar))


def _is_there(path: Path, jar: Jar) -> bool:
    return path.is_file() and path.stat().st_size == jar.bytes


def fetch(
    folder: Path,
    *,
    parts: Collection[str] = STACK,
    repository: str | None = None,
    report: Report = lambda done, total: None,
) -> int:
    """Downloads what the parts are missing, a few files at once, and returns how many came. Blocks.

    Raises JarUnavailable when a repository does not answer, or its file has another hash than the lock.
    """
    wanted = missing(folder, parts)
    if not wanted:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(jar.bytes for jar in wanted)
    done: dict[str, int] = {}

    def count(jar: Jar, size: int) -> None:
        done[jar.file_name] = done.get(jar.file_name, 0) + size
        report(sum(list(done.values())), total)

    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        largest_first = sorted(wanted, key=lambda jar: -jar.bytes)
        downloads = [pool.submit(_download, jar, folder, repository, count) for jar in largest_first]
        try:
            for download in as_completed(downloads):
                download.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(wanted)


def _download(jar: Jar, folder: Path, repository: str | None, count: Callable[[Jar, int], None]) -> None:
    # Only needed for a download, and mostly every jar is here already.
    import requests
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield lambda size: count(jar, size)

    # Into a folder of its own first: a download that is cut off must not look like a jar.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as staging:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress),
            repo_cache=Path(staging),
            remote_repos={"repository": repository} if repository else None,
            timeout=30,
        )
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        try:
            path = component.artifact(classifier=jar.classifier, packaging=jar.packaging).resolve()
        except (requests.RequestException, RuntimeError, OSError) as error:
            where = repository or "Maven Central"
            raise JarUnavailable(
                f"{jar.coordinate} could not be downloaded from {where}: {error}. Check the network, or set a"
                " mirror with INSIGHTS_MAVEN_REPOSITORY. Downloads are kept, so running this again continues"
            ) from error
        found = sha256_of(path)
        if found != jar.sha256:
            raise JarUnavailable(
                f"{jar.coordinate}: the repository's file has the hash {found}, {LOCK.name} expects {jar.sha256};"
                " it was discarded"
            )
        path.replace(folder / jar.file_name)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked_registry(folder: Path) -> Path:
    """The folder of the registry's unpacked files, unpacking them the first time."""
    (archive,) = of_part("registry", folder)

    def unpack(target: Path) -> None:
        with tarfile.open(archive) as tar:
            # Debian 12's Python 3.11.2 has no filters yet. The archive is the one that the lock names.
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            tar.extractall(target)  # noqa: S202

    return unpacked(folder / archive.name.removesuffix(".tar.gz"), unpack)


def unpacked(target: Path, unpack: Callable[[Path], None]) -> Path:
    """``target``, filled by ``unpack`` if it is missing, atomically."""
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as staging:
            unpack(Path(staging) / "all")
            # Somebody else may have been faster.
            with suppress(OSError):
                (Path(staging) / "all").rename(target)
    return target


def link_flink(jars: Path, flink_home: Path, folder: Path, more: Collection[str] = ()) -> None:
    """Fills ``folder`` with one cluster's whole class path: links to the connectors and the wheel's own jars, and ours.

    ``more`` names further parts of the lock. Blocks. Raises CompileFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    connectors = [jar for part in ("flink", *more) if part != "iam" for jar in of_part(part, jars)]
    if "iam" in more:
        _rename_login(jars, folder)
    theirs = [*connectors, *flink_home.glob("lib/*.jar"), *flink_home.glob("opt/flink-python-*.jar")]
    for jar in theirs:
        link = folder / jar.name
        if not link.is_symlink() or link.readlink() != jar:
            link.unlink(missing_ok=True)
            link.symlink_to(jar)
    (compiler,) = of_part("compiler", jars)
    java.compiled(compiler, theirs, folder)


def _rename_login(jars: Path, folder: Path) -> None:
    """Kafka's login by IAM, for Flink's connector."""
    (login,) = of_part("iam", jars)
    # Java takes a class from the first jar in order of their names: those of AWS' SDK from the lake's jar.
    target = folder / f"{RENAMED}{login.name}"
    for other in folder.glob(f"{RENAMED}*.jar"):
        if other != target:
            other.unlink()
    if not target.exists():
        names = SHADED.replace(".", "/")
        renamed(login, target, "software/amazon/msk/", "org/apache/kafka/", f"{names}org/apache/kafka/")
