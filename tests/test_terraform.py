"""What terraform/ says of the system's containers is what these read, listen on and are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from insights.settings import PROJECT, HubService, Settings, Stream
from insights.stack.serve import SERVERS

TERRAFORM = PROJECT / "terraform"
CONTAINERS = (TERRAFORM / "modules" / "hub" / "containers.tf").read_text()
DOCKERFILE = (PROJECT / "docker" / "Dockerfile").read_text()
FILES = [*TERRAFORM.rglob("*.tf"), *TERRAFORM.rglob("*.tfvars"), PROJECT / ".ci" / "terraform" / "check.py"]


def _read_by_the_code() -> set[str]:
    of_dbt = re.findall(r"env_var\('(\w+)'", (PROJECT / "dbt" / "profiles.yml").read_text())
    return {Settings.variable(field) for field in Settings.model_fields} | set(of_dbt)


def _default(field: str) -> str:
    return str(Settings.model_fields[field].default)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_every_setting_that_is_named_is_one_that_the_code_reads(file: Path) -> None:
    named = set(re.findall(r"\bINSIGHTS_[A-Z_]*[A-Z]\b", file.read_text()))
    assert named <= _read_by_the_code()


@pytest.mark.parametrize("size", ["dev", "prod"])
def test_the_sizes_are_values_that_the_settings_take(size: str) -> None:
    named = re.findall(r"^ +(INSIGHTS_\w+) += var\.(\w+)$", CONTAINERS, re.M)
    text = (TERRAFORM / f"{size}.tfvars").read_text()
    given = {setting: re.search(rf"^{name} += (\S+)$", text, re.M) for setting, name in named}
    values = {setting.removeprefix("INSIGHTS_").lower(): found[1] for setting, found in given.items() if found}
    assert {"parallelism", "taskmanager_memory_mb"} <= set(values)
    settings = Settings.model_validate(values)
    assert settings.parallelism == int(values["parallelism"])


def test_the_containers_get_the_servers_that_run_elsewhere() -> None:
    wanted = {f"INSIGHTS_EXTERNAL_{name}" for name in ("KAFKA", "KAFKA_USER", "KAFKA_PASSWORD", "REGISTRY", "POSTGRES")}
    assert wanted | {"INSIGHTS_EXTERNAL_FLINK"} <= set(re.findall(r"INSIGHTS_\w+", CONTAINERS))


def test_every_server_that_is_started_is_one_of_ours() -> None:
    started = re.findall(r'\["insights", "serve", "(\w+)"\]', CONTAINERS)
    assert sorted(started) == ["jobmanager", "registry", "taskmanager"]
    assert set(started) <= set(SERVERS)


def test_the_ports_are_those_on_which_our_servers_listen() -> None:
    for name, field in (("registry", "registry_port"), ("jobmanager", "flink_port")):
        assert f"{name} = {_default(field)}" in CONTAINERS
    assert f'"http://127.0.0.1:{_default("flink_port")}"' in CONTAINERS
    assert f'"http://127.0.0.1:{_default("registry_port")}/apis/ccompat/v7"' in CONTAINERS
    assert f"page_port  = {_default('page_port')}" in (TERRAFORM / "main.tf").read_text()


def test_folders_and_user_are_the_images() -> None:
    (home,) = re.findall(r"INSIGHTS_HOME=(\S+)", DOCKERFILE)
    assert f'home        = "{home}"' in CONTAINERS
    (snapshots,) = re.findall(r'snapshots +  ?= "(\S+)"', CONTAINERS)
    assert Path(snapshots.replace("${local.home}", home)) == Settings(home=Path(home)).snapshots_dir
    (user,) = re.findall(r"useradd --uid (\d+)", DOCKERFILE)
    assert f'"{user}"' in CONTAINERS
    assert f"owner = {user}" in (TERRAFORM / "modules" / "files" / "main.tf").read_text()


@pytest.mark.parametrize(("output", "module", "model"), [("stream", "stream", Stream), ("service", "hub", HubService)])
def test_insights_deploy_reads_the_fields_that_are_put_out(output: str, module: str, model: type[BaseModel]) -> None:
    files = [(TERRAFORM / "modules" / module / name).read_text() for name in ("main.tf", "outputs.tf")]
    found = r'^(?:output "target" \{[^{}]*value|  target) = \{\n(.*?)\n  \}'
    (target,) = re.findall(found, "\n".join(files), re.M | re.S)
    assert set(re.findall(r"^    (\w+) +=", target, re.M)) == set(model.model_fields)
    of_root = (TERRAFORM / "outputs.tf").read_text()
    assert re.search(rf'^output "{output}" {{[^}}]*jsonencode\(module\.{module}\.target\)', of_root, re.M)


def test_insights_deploy_gets_the_servers_that_the_live_job_reaches() -> None:
    (given,) = re.findall(r'^output "deploy_settings" \{(.*?)^\}', (TERRAFORM / "outputs.tf").read_text(), re.M | re.S)
    wanted = {f"INSIGHTS_EXTERNAL_{name}" for name in ("KAFKA", "KAFKA_USER", "KAFKA_PASSWORD", "REGISTRY", "POSTGRES")}
    assert wanted | {"INSIGHTS_DEPLOY_SERVICE"} <= set(re.findall(r"(INSIGHTS_\w+) +=", given))
    assert {"module.lake.settings", "local.of_stream"} <= set(re.findall(r"\w+(?:\.\w+)+", given))


def test_the_hub_gets_all_settings_of_replays_on_emr() -> None:
    given = set(re.findall(r"INSIGHTS_\w+", (TERRAFORM / "modules" / "batch" / "outputs.tf").read_text()))
    assert given == {Settings.variable(field) for field in Settings.model_fields if field.startswith("emr_")}


def test_a_replays_folders_in_its_bucket_are_those_that_its_roles_name() -> None:
    roles = (TERRAFORM / "modules" / "batch" / "roles.tf").read_text()
    code = (PROJECT / "spark" / "emr.py").read_text()
    folders = set(re.findall(r'_home\("(\w+)"\)', code))
    assert folders == {"files", "replays"} == set(re.findall(r"\{module\.bucket\.arn\}/(\w+)/\*", roles))


def test_the_bucket_of_packages_is_where_insights_deploy_puts_them() -> None:
    deployed = (PROJECT / "insights" / "deploy" / "deployed.py").read_text()
    (folder,) = re.findall(r"bucket\.rstrip\('/'\)\}/([\w-]+)\"", deployed.partition("class _Stream")[2])
    assert f'"${{module.bucket.arn}}/{folder}/*"' in (TERRAFORM / "modules" / "stream" / "role.tf").read_text()


def test_the_images_are_targets_of_the_dockerfile() -> None:
    (listed,) = re.findall(r"for image in \[(.*?)\]", (TERRAFORM / "main.tf").read_text())
    images = re.findall(r'"(\w+)"', listed)
    assert set(images) <= set(re.findall(r"^FROM base AS (\w+)", DOCKERFILE, re.M))
    bootstrap = (TERRAFORM / "bootstrap" / "main.tf").read_text()
    assert all(f'"insights-{image}"' in bootstrap for image in images)
