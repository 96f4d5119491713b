"""What each image of docker/Dockerfile holds besides its base, from the locks, as CycloneDX: ``sbom.py FOLDER``.

The Dockerfile says which environments and which jars it fetches. Of Flink's environment its image keeps PyFlink alone,
and what else is in that lock is listed all the same. What the base image brings, and the jars inside the wheels of
PyFlink and PySpark, are in no lock and so not listed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bootstrap import ENVIRONMENTS  # noqa: E402
from insights.jars import Jar, locked_jars  # noqa: E402

FETCHED = re.compile(r"AS (\w+)-files\nRUN \S+ fetch ([\w ]+?) --([\w ]*)")


def packages(lock: str) -> Iterator[Component]:
    """The packages of a lock that Linux gets."""
    for line in (ROOT / "requirements" / lock).read_text().splitlines():
        if not line[:1].isalnum():
            continue  # a hash: one for each file of the release, of which an image has one
        wanted = Requirement(line.rstrip(" \\"))
        if wanted.marker is None or wanted.marker.evaluate({"sys_platform": "linux", "platform_system": "Linux"}):
            version = next(iter(wanted.specifier)).version
            purl = PackageURL("pypi", name=wanted.name, version=version)
            yield Component(name=wanted.name, version=version, purl=purl, bom_ref=str(purl))


def component(jar: Jar) -> Component:
    """A file of a Maven repository, with its hash."""
    more = {"classifier": jar.classifier, "type": jar.packaging}
    purl = PackageURL("maven", jar.group, jar.artifact, jar.version, {k: v for k, v in more.items() if v})
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=jar.sha256)]
    return Component(
        name=jar.artifact, group=jar.group, version=jar.version, purl=purl, bom_ref=str(purl), hashes=hashes
    )


def bill(image: str, environments: list[str], parts: list[str]) -> Bom:
    """All that an image fetches while it is built."""
    locks = sorted({lock for name in environments for lock in ENVIRONMENTS[name][1]})
    found = {c.purl: c for lock in locks for c in packages(lock)}
    found |= {c.purl: c for c in (component(jar) for jar in locked_jars() if jar.part in parts)}
    bom = Bom(components=found.values())
    bom.metadata.component = Component(name=f"insights-{image}", type=ComponentType.CONTAINER)
    bom.register_dependency(bom.metadata.component, found.values())
    return bom


def main(folder: Path) -> None:
    """Writes a file for each image, and says how much is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, environments, parts in FETCHED.findall((ROOT / "docker" / "Dockerfile").read_text()):
        bom = bill(image, environments.split(), parts.split())
        path = folder / f"insights-{image}.cdx.json"
        path.write_text(JsonV1Dot6(bom).output_as_string(indent=1))
        print(f"{path}: {len(bom.components)} components")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
