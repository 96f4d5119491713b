"""`make check-helm`: helm/insights-hub linted, rendered, and held to what Kubernetes and the operators accept.

``--prove`` instead makes mistakes in copies of the chart, and says whether each is found. Nothing here needs a cluster.
Needs Go, and once some minutes to build helm and kubeconform into .tools/.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "terraform"))

from accepted import LOCK, ROOT, SCHEMAS, VERSIONS  # noqa: E402
from tools import TOOLS, Failed, make, run  # noqa: E402

CHART = ROOT / "helm" / "insights-hub"
HELM, KUBECONFORM = TOOLS / "helm", TOOLS / "kubeconform"
PROGRAMS = {"helm": "helm.sh/helm/v3/cmd/helm", "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"}
OPEN_PODS = ("Deployment", "StatefulSet", "FlinkDeployment")
SET_BY_OPERATORS = ("FlinkDeployment", "SparkApplication")
"""Whose limits of memory an operator writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One that must be found: in ``file``, ``good`` becomes ``bad``, and then something says ``found``."""

    name: str
    file: str
    good: str
    bad: str
    found: str


def main(arguments: Sequence[str]) -> int:
    """0 when all is well."""
    make_tools()
    if arguments == ["--prove"]:
        return prove()
    failures = list(problems(CHART))
    print("\n\n".join(failures) if failures else "helm/ is as it should be")
    return 1 if failures else 0


def make_tools() -> None:
    """Build what is not there. Raises Failed where Go is missing."""
    if not shutil.which("go"):
        raise Failed("Go is not on the path, which helm and kubeconform are built with: https://go.dev/dl")
    TOOLS.mkdir(exist_ok=True)
    module = HERE / "tools"
    for program, package in PROGRAMS.items():
        build = ["go", "build", "-buildvcs=false", "-o", TOOLS / program, package]
        make(program, [module / "go.mod", module / "go.sum"], build, module)
    writer = HERE / "accepted.py"
    make("kubernetes", [LOCK, ROOT / "insights" / "jars.toml", writer], [sys.executable, writer], ROOT)


def problems(chart: Path) -> Iterator[str]:
    """What the checks say, of one example after the other. Blocks for some seconds, for all of them."""
    for values in sorted((chart / "examples").glob("*.yaml")):
        for version in reversed(VERSIONS):
            try:
                check(chart, values, version)
            except Failed as failure:
                yield f"{values.name}, Kubernetes {version}: {failure}"


def check(chart: Path, values: Path, version: str) -> None:
    """One set of values on one version of Kubernetes. Raises Failed."""
    given = ["--values", values, "--kube-version", version]
    rendered = run([HELM, "template", "insights", chart, "--namespace", "insights", *given], ROOT)
    run([HELM, "lint", "--strict", "--quiet", chart, *given], ROOT)
    name = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
    locations = [f"-schema-location={folder}/{name}" for folder in (SCHEMAS / version, SCHEMAS)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(rendered)
        file.flush()
        run([KUBECONFORM, "-strict", *locations, file.name], ROOT)
    objects = [of for of in yaml.safe_load_all(rendered) if of]
    if said := [*unfit_pods(objects), *dangling(objects), *too_open(objects)]:
        raise Failed("read from what was rendered\n" + "\n".join(said))


# What a schema does not say -------------------------------------------------------------------------------------------


def pods(objects: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of what runs ours: its name, and the pod's template."""
    for of in objects:
        for half in ("driver", "executor") if of["kind"] == "SparkApplication" else ():
            yield f"SparkApplication {of['metadata']['name']}, {half}", of["spec"][half]["template"]["spec"]
        if of["kind"] in OPEN_PODS:
            template = of["spec"].get("podTemplate") or of["spec"]["template"]
            yield f"{of['kind']} {of['metadata']['name']}", template["spec"]


def unfit_pods(objects: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What lets a pod do more than it must, or leaves it without a limit."""
    for name, pod in pods(objects):
        if not pod.get("securityContext", {}).get("runAsNonRoot"):
            yield f"{name}: it may run as root"
        if pod.get("automountServiceAccountToken", True) and not name.endswith(", driver"):  # which starts executors
            yield f"{name}: it gets a token of Kubernetes' API, which it does not use"
        if pod.get("enableServiceLinks", True):
            yield f"{name}: Kubernetes would set INSIGHTS_REGISTRY_PORT and others to addresses of services"
        for container in pod["containers"]:
            security = container.get("securityContext", {})
            if not security.get("readOnlyRootFilesystem") or security.get("allowPrivilegeEscalation", True):
                yield f"{name}: {container['name']} may write to its root, or gain privileges"
            if security.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name}: {container['name']} keeps capabilities"
            limits = container.get("resources", {}).get("limits", {})
            if "memory" not in limits and not name.startswith(SET_BY_OPERATORS):
                yield f"{name}: {container['name']} has no limit of memory"


def dangling(objects: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What is named and is not there: a mount without a volume, a claim or a service's pods."""
    claims = {of["metadata"]["name"] for of in objects if of["kind"] == "PersistentVolumeClaim"}
    templates = {
        claim["metadata"]["name"]
        for of in objects
        if of["kind"] == "StatefulSet"
        for claim in of["spec"].get("volumeClaimTemplates", ())
    }
    for name, pod in pods(objects):
        volumes = {volume["name"] for volume in pod["volumes"]} | templates
        for container in pod["containers"]:
            for mount in container["volumeMounts"]:
                if mount["name"] not in volumes:
                    yield f"{name}: there is no volume {mount['name']} to mount on {mount['mountPath']}"
        for volume in pod["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{name}: there is no claim {claim}"
    ours = [of for of in objects if of["kind"] in ("Deployment", "StatefulSet")]
    labels = [of["spec"]["template"]["metadata"]["labels"] for of in ours]
    for of in objects:
        wanted = of["spec"]["selector"] if of["kind"] == "Service" else {}
        # `app` is a label that Flink's operator gives.
        if "app" not in wanted and not any(wanted.items() <= own.items() for own in labels):
            yield f"Service {of['metadata']['name']}: there is no pod with its labels"


def too_open(objects: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Rules for the network that admit more than they say."""
    for of in objects:
        for rule in of["spec"]["ingress"] if of["kind"] == "NetworkPolicy" else ():
            for peer in rule.get("from") or [{}]:
                if not any(peer.get(selector) for selector in ("podSelector", "namespaceSelector")):
                    yield f"NetworkPolicy {of['metadata']['name']}: it admits every namespace, or everybody"


# Mistakes -------------------------------------------------------------------------------------------------------------


def prove() -> int:
    """Make each mistake in a copy of its own, and see that something says so. 0 when every one was found."""
    listed = [Mistake(**of) for of in tomllib.loads((HERE / "mistakes.toml").read_text())["mistake"]]
    missed = [mistake for mistake in listed if not is_found(mistake)]
    print(f"{len(listed) - len(missed)} of {len(listed)} mistakes were found")
    return 1 if missed else 0


def is_found(mistake: Mistake) -> bool:
    """Does something say so?"""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / CHART.name
        shutil.copytree(CHART, copy)
        file = copy / mistake.file
        text = file.read_text()
        if mistake.good not in text:
            raise Failed(f"{mistake.file} does not hold {mistake.good!r}: change the mistake with it")
        file.write_text(text.replace(mistake.good, mistake.bad, 1))
        said = next(problems(copy), "nothing was said")
    is_said = mistake.found in said
    print(f"{'found' if is_said else 'MISSED'}: {mistake.name}", flush=True)
    if not is_said:
        print(said)
    return is_said


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as failure:
        sys.exit(str(failure))
