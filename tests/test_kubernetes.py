"""What helm/ says of the system's containers is what these read, listen on and are called."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from insights.settings import PROJECT, Settings
from insights.stack.serve import SERVERS
from insights.wiring import replay_context
from spark.local import JOB

CHART = PROJECT / "helm" / "insights-hub"
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
DOCKERFILE = (PROJECT / "docker" / "Dockerfile").read_text()
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FILES = [path for path in sorted(CHART.rglob("*")) if path.is_file()]


def _default(field: str) -> str:
    return str(Settings.model_fields[field].default)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CHART)))
def test_every_setting_that_is_named_is_one_that_the_code_reads(file: Path) -> None:
    read = {Settings.variable(field) for field in Settings.model_fields} | {"INSIGHTS_EXTERNAL_LAKE"}
    named = set(re.findall(r"\bINSIGHTS_[A-Z_]*[A-Z]\b", file.read_text()))
    assert named <= read


def test_every_server_that_is_started_is_one_of_ours() -> None:
    started = {name for text in TEMPLATES.values() for name in re.findall(r"\[insights, serve, (\w+)\]", text)}
    assert started == {"postgres", "registry"}
    assert started | {"jobmanager", "taskmanager"} <= set(SERVERS)


def test_the_ports_are_those_on_which_our_servers_listen() -> None:
    for file, fields in {
        "registry.yaml": ("registry_port",),
        "postgres.yaml": ("postgres_port",),
        "flink.yaml": ("flink_port", "flink_rpc_port"),
        "hub.yaml": ("page_port", "hooks_port", "collect_port", "stack_metrics_port"),
    }.items():
        assert all(re.search(rf"\b{_default(field)}\b", TEMPLATES[file]) for field in fields), file


def test_prometheus_reaches_every_port_of_metrics_and_no_other() -> None:
    (ranges,) = re.findall(r"ports: (\[\{port: 19400.*\])", TEMPLATES["network.yaml"])
    admitted = {port for of in yaml.safe_load(ranges) for port in range(of["port"], of["endPort"] + 1)}
    metrics = {int(_default(name)) for name in Settings.model_fields if name.endswith("metrics_port")}
    assert metrics | {int(_default("alerts_port"))} <= admitted
    assert not {int(_default(name)) for name in ("hooks_port", "collect_port", "page_port")} & admitted


def test_folders_and_user_are_the_images() -> None:
    (home,) = re.findall(r"INSIGHTS_HOME=(\S+)", DOCKERFILE)
    (user,) = re.findall(r"useradd --uid (\d+)", DOCKERFILE)
    settings = Settings(home=Path(home))
    pods = TEMPLATES["_pods.tpl"]
    assert f"runAsUser: {user}" in pods
    assert f"fsGroup: {user}" in pods
    assert f"mountPath: {settings.snapshots_dir}}}" in pods
    assert f"mountPath: {home}/lake}}" in pods
    assert f"- {{name: home, mountPath: {home}}}" in TEMPLATES["hub.yaml"]


def test_the_images_are_targets_of_the_dockerfile() -> None:
    named = {name for text in TEMPLATES.values() for name in re.findall(r'include "image" \(list \. "(\w+)"\)', text)}
    assert named == set(re.findall(r"^FROM base AS (\w+)", DOCKERFILE, re.M))


def test_spark_reads_a_run_where_the_hub_prepares_it() -> None:
    text = TEMPLATES["spark.yaml"]
    (home,) = re.findall(r"INSIGHTS_HOME=(\S+)", DOCKERFILE)
    work = f"{home}/{replay_context(Settings(home=Path(home))).work_dir.relative_to(home)}"
    assert f"- {{name: replays, mountPath: {work}}}" in text
    assert f"- {{name: replays, mountPath: {work}}}" in TEMPLATES["hub.yaml"]
    assert set(re.findall(r"(/var\S+?)[,\]}\s]", text)) - {f"{home}/lake"} == {
        *(work, f"{work}/files/*", f"{work}/files/{JOB.name}", f"{work}/files/task.py"),
    } | {f"{work}/{{{{"}
    (version,) = re.findall(r"^pyspark==(\S+)", (PROJECT / "requirements" / "spark.txt").read_text(), re.M)
    assert f"sparkVersion: {version}\n" in text


def test_flinks_image_has_the_program_that_the_operator_starts() -> None:
    (entry,) = re.findall(r"kubernetes.entry.path: (\S+)", TEMPLATES["flink.yaml"])
    assert f"COPY docker/flink-entry {entry}\n" in DOCKERFILE
    program = PROJECT / "docker" / "flink-entry"
    assert program.stat().st_mode & 0o111
    assert program.read_text().endswith('exec insights serve "$1"\n')
    assert "!docker/flink-entry\n" in (PROJECT / ".dockerignore").read_text()


@pytest.mark.parametrize("half", ["jobmanager", "taskmanager"])
def test_flink_gets_no_less_memory_than_its_setting_allows(half: str) -> None:
    least = SCHEMA["properties"]["flink"]["properties"][half]["properties"]["memoryMb"]["minimum"]
    (bound,) = (of.ge for of in Settings.model_fields[f"{half}_memory_mb"].metadata if hasattr(of, "ge"))
    assert least == bound


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], at: str) -> None:
        assert values.keys() == schema["properties"].keys() - {"global"}, at
        for name, of in schema["properties"].items():
            if "properties" in of:
                compare(values[name], of, f"{at}.{name}")

    compare(VALUES, SCHEMA, "values")
