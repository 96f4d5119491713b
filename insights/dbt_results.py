"""Results of a dbt run, read from the files that it writes. Pure except for reading them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InsightsError


class DbtFailed(InsightsError):
    """dbt had no result at all; the message gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A model or test that failed: dbt's words, and the file with its SQL as it was run; None when it never was."""

    name: str
    kind: str
    message: str
    compiled: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model or snapshot of a build. ``status``: ok, failed, skipped, or failed tests."""

    relation: str
    kind: str
    description: str
    seconds: float
    status: str
    upstream: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of a build. ``known`` are the relations of all models that there are, built now or not."""

    invocation: str
    models: tuple[ModelResult, ...]
    tests: int
    failures: tuple[Failure, ...]
    seconds: float
    known: frozenset[str]

    @property
    def outcome(self) -> str:
        if any(model.status in ("failed", "skipped") for model in self.models):
            return "failed"
        return "failed tests" if self.failures else "ok"


def read_results(target: Path) -> Built:
    """What dbt wrote down of its last build. Raises DbtFailed when that can't be read."""
    try:
        results = json.loads((target / "run_results.json").read_text())
        manifest = json.loads((target / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise DbtFailed(f"dbt's build results can't be read: {error}") from error
    nodes = manifest["nodes"] | manifest.get("unit_tests", {})
    by_id = {result["unique_id"]: result for result in results["results"] if result["unique_id"] in nodes}
    failed = {i for i, result in by_id.items() if result["status"] in ("error", "fail", "runtime error", "warn")}
    tests = [i for i in by_id if nodes[i]["resource_type"] in ("test", "unit_test")]
    doubted = {parent for i in failed & set(tests) for parent in nodes[i]["depends_on"]["nodes"]}
    return Built(
        invocation=results["metadata"]["invocation_id"],
        models=tuple(
            _model(nodes[i], result, doubted, manifest)
            for i, result in by_id.items()
            if nodes[i]["resource_type"] in ("model", "snapshot")
        ),
        tests=len(tests),
        failures=tuple(_failure(nodes[i], by_id[i], target) for i in by_id if i in failed),
        seconds=results["elapsed_time"],
        known=frozenset(_relation(n) for n in nodes.values() if n["resource_type"] in ("model", "snapshot")),
    )


def _relation(node: dict[str, Any]) -> str:
    return f"{node['schema']}.{node['alias']}"


def _model(node: dict[str, Any], result: dict[str, Any], doubted: set[str], manifest: dict[str, Any]) -> ModelResult:
    status = {"success": "ok", "skipped": "skipped"}.get(result["status"], "failed")
    if status == "ok" and node["unique_id"] in doubted:
        status = "failed tests"
    return ModelResult(
        relation=_relation(node),
        kind=node["config"]["materialized"].replace("_", " "),
        description=node["description"],
        seconds=result["execution_time"],
        status=status,
        upstream=tuple(sorted(_sources(node["unique_id"], manifest))),
    )


def _sources(unique_id: str, manifest: dict[str, Any]) -> set[str]:
    """The sources that a node depends on, by way of others too."""
    found: set[str] = set()
    left = [unique_id]
    seen: set[str] = set()
    while left:
        for parent in manifest["parent_map"].get(left.pop(), ()):
            if parent in manifest["sources"]:
                source = manifest["sources"][parent]
                found.add(f"{source['schema']}.{source['identifier']}")
            elif parent not in seen:
                seen.add(parent)
                left.append(parent)
    return found


def _failure(node: dict[str, Any], result: dict[str, Any], target: Path) -> Failure:
    folder = target / ("run" if result["status"] == "error" else "compiled") / node["package_name"]
    compiled = folder / node["original_file_path"]
    if node["resource_type"] == "test" and node.get("test_metadata"):
        compiled = compiled / node["path"]
    return Failure(
        name=node["name"],
        kind=node["resource_type"].replace("_", " "),
        message=" ".join((result["message"] or "").split()),
        compiled=compiled if compiled.exists() else None,
    )
