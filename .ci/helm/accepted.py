"""What Kubernetes and the operators accept, as JSON schemas for kubeconform: written once into .tools/kubernetes.

Kubernetes' own come in a wheel. An operator's are what a generator makes of its Java classes, which are on Maven
Central: Strimzi's own generator, and fabric8's for Flink's operator. Spark's operator is a module of Go, in which they
are files. An API server drops a field that a schema does not name; here it is an error.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent / "terraform"), str(ROOT)]

from tools import PIP, TOOLS, Failed, run  # noqa: E402

from insights import jars  # noqa: E402
from insights.java import java_home  # noqa: E402

LOCK = ROOT / "requirements" / "kubernetes.txt"
SCHEMAS = TOOLS / "kubernetes"
VERSIONS = ("1.33.0", "1.37.0")
"""Of Kubernetes: the oldest that the chart allows, and the newest that the wheel knows."""
STRIMZI = "io.strimzi.api.kafka.model"
STRIMZI_KINDS = (f"{STRIMZI}.kafka.Kafka", f"{STRIMZI}.nodepool.KafkaNodePool", f"{STRIMZI}.user.KafkaUser")
FLINK_KINDS = ("org.apache.flink.kubernetes.operator.api.FlinkDeployment",)
# Maven Central's newest is of operator 1.10; the next ones only added values here. v2_2 is known since 1.13.
NEWER_FLINK = ("v2_0", "v2_1", "v2_2")

SPARK = ("github.com/kubeflow/spark-operator/v2@v2.3.0", "h1:cYN/331gwkdZ0S/ai72JQoUv7UK52O2OQOWFpl8XhPc=")
"""Spark's operator, and its sum as `go.sum` would have it."""


def write_schemas() -> None:
    """Raises Failed, JarUnavailable."""
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run([*PIP, "download", "--quiet", "--require-hashes", "--no-deps", "-r", LOCK, "--dest", folder], ROOT)
        (wheel,) = Path(folder).glob("*.whl")
        for version in VERSIONS:
            _write_kubernetes(wheel, version)
        for definition in (*_strimzi(Path(folder)), *_flink(Path(folder)), _spark()):
            _write_custom(definition)


def _write_kubernetes(wheel: Path, version: str) -> None:
    folder = SCHEMAS / version
    folder.mkdir(exist_ok=True)
    common = (folder / "_definitions.json").as_uri()
    inside = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(inside) and name.endswith(".json"):
                schema = json.loads(archive.read(name))
                schema.pop("$id", None)
                text = json.dumps(schema).replace('"/api/_definitions.json#', f'"{common}#')
                (folder / name.removeprefix(inside)).write_text(text)


def _strimzi(folder: Path) -> list[dict[str, Any]]:
    files = {kind: folder / f"{kind}.yaml" for kind in STRIMZI_KINDS}
    _java("crds-strimzi", "io.strimzi.crdgenerator.CrdGenerator", *(f"{kind}={file}" for kind, file in files.items()))
    return [yaml.safe_load(file.read_text()) for file in files.values()]


def _flink(folder: Path) -> list[dict[str, Any]]:
    _java("crds-flink", "io.fabric8.crd.generator.cli.CRDGeneratorCLI", "-o", str(folder), *FLINK_KINDS)
    found = [yaml.safe_load(file.read_text()) for file in folder.glob("*-v1.yml")]
    for definition in found:
        for version in definition["spec"]["versions"]:
            spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            spec["flinkVersion"]["enum"] += NEWER_FLINK
    return found


def _spark() -> dict[str, Any]:
    module, wanted = SPARK
    found = json.loads(run(["go", "mod", "download", "-json", module], TOOLS))
    if found["Sum"] != wanted:
        raise Failed(f"{module} has the sum {found['Sum']}, not {wanted}")
    definition = Path(found["Dir"]) / "config" / "crd" / "bases" / "sparkoperator.k8s.io_sparkapplications.yaml"
    return dict(yaml.safe_load(definition.read_text()))


def _java(part: str, *arguments: str) -> None:
    folder = TOOLS / "jars"
    jars.fetch(folder, parts=(part,))
    run([java_home() / "bin" / "java", "-cp", ":".join(map(str, jars.of_part(part, folder))), *arguments], ROOT)


def _write_custom(definition: dict[str, Any]) -> None:
    spec = definition["spec"]
    group, kind = spec["group"].partition(".")[0], spec["names"]["kind"].lower()
    for version in spec["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # Every object has these, whether its definition says so or not.
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
        (SCHEMAS / f"{kind}-{group}-{version['name']}.json").write_text(json.dumps(schema))


def strict(schema: Any) -> Any:
    """The same, but a field that it does not name is an error."""
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(of) if key in ("items", "additionalProperties") else of for key, of in schema.items()}
    if "properties" in schema:
        found["properties"] = {name: strict(of) for name, of in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    return found


if __name__ == "__main__":
    write_schemas()
