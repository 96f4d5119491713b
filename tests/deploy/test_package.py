"""What is in the package for Managed Service for Apache Flink, and what is not."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from flink.job_sql import settings
from flink.live_job import main_job
from insights.managed_flink import package
from insights.managed_flink.package import (
    JAR,
    MAIN,
    PLAN,
    RUN_OPTIONS,
    ManagedPlan,
    TooLarge,
    build,
    managed_plan,
    refuse_unaligned,
)
from schemas.errors import Misconfigured
from schemas.kafka import Kafka
from tests.flink.live_on_files import DEPLOYMENT
from warehouse.deployment import Deployment

KAFKA_PASSWORD, LAKE_SECRET = 'it\'s \\ a "kafkaword"', "S3SECRET+/ of the lake"
REGISTRY = "https://reader:of+the-registry@registry.example.com/api"


@pytest.fixture
def secured() -> Deployment:
    """One with a secret of each kind."""
    return replace(
        DEPLOYMENT,
        kafka=Kafka("broker.example.com:9096", "hub", KAFKA_PASSWORD),
        registry=REGISTRY,
        lake_warehouse="s3://shop/lake",
        lake_storage={"s3.access-key-id": "hub", "s3.secret-access-key": LAKE_SECRET},
    )


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instead of the jar of all connectors, whose making takes half a minute."""
    path = tmp_path / "insights-on-aws-0123.jar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("org/Some.class", b"class")
    monkeypatch.setattr(package, "whole_jar", lambda *_: path)
    return path


def built(plan: ManagedPlan, folder: Path) -> Path:
    return build(plan, flink_home=Path("/nowhere"), jar_folder=Path("/nowhere"), folder=folder)


def everything_in(path: Path) -> bytes:
    """Every byte of every file, unpacked, that of the jar too."""
    with zipfile.ZipFile(path) as archive:
        texts = [archive.read(name) for name in archive.namelist()]
        with archive.open(JAR) as file, zipfile.ZipFile(file) as inner:
            return b"".join([*texts, *(inner.read(name) for name in inner.namelist())])


@pytest.mark.usefixtures("jar")
def test_the_package_has_a_main_and_one_jar_with_the_plan(tmp_path: Path) -> None:
    plan = managed_plan(DEPLOYMENT, main_job())
    path = built(plan, tmp_path / "packages")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [MAIN, JAR]
        assert archive.read(MAIN) == Path("flink/job.py").read_bytes()
        with archive.open(JAR) as file, zipfile.ZipFile(file) as inner:
            assert inner.namelist() == ["org/Some.class", PLAN]
            assert json.loads(inner.read(PLAN))["inserts"] == plan.plan.inserts
    assert set(RUN_OPTIONS.values()) == {MAIN, JAR}


@pytest.mark.usefixtures("jar")
def test_the_same_input_makes_the_same_bytes_under_the_same_name(tmp_path: Path) -> None:
    one, other = (built(managed_plan(DEPLOYMENT, main_job()), tmp_path / folder) for folder in ("one", "other"))
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("jar")
def test_another_plan_is_another_package_and_the_earlier_one_is_not_kept(tmp_path: Path) -> None:
    longer = replace(DEPLOYMENT, horizon_hours=48)
    one, other = (built(managed_plan(d, main_job()), tmp_path / "deploy") for d in (DEPLOYMENT, longer))
    assert one.name != other.name
    assert list((tmp_path / "deploy").iterdir()) == [other]


@pytest.mark.usefixtures("jar")
def test_no_secret_is_in_the_package(secured: Deployment, tmp_path: Path) -> None:
    plan = managed_plan(secured, main_job())
    assert set(plan.secrets) == set(plan.values) == {"kafka_password", "lake_secret", "postgres_password", "registry"}
    contents = everything_in(built(plan, tmp_path))
    for hidden in ("kafkaword", "of+the-registry", "S3SECRET", secured.flink_login.password):
        assert hidden.encode() not in contents
        assert hidden not in repr(plan)


def test_with_its_secrets_in_place_a_plan_says_what_the_hub_would_submit(secured: Deployment) -> None:
    from flink.job_sql import live_plan

    secured = replace(secured, flink_url="")  # where its progress is reported
    plan = managed_plan(secured, main_job())
    filled = []
    for statement in plan.plan.statements:
        for name, place in plan.secrets.items():
            statement = statement.replace(place, plan.values[name].replace("'", "''"))
        filled.append(statement)
    assert filled == live_plan(secured).statements


def test_a_secret_that_is_a_word_of_the_sql_is_refused(secured: Deployment) -> None:
    with pytest.raises(Misconfigured, match=r"kafka_password would be readable .* choose a longer one"):
        managed_plan(replace(secured, kafka=Kafka("broker.example.com:9096", "hub", "select")), main_job())


def test_of_the_jobs_settings_only_those_that_a_program_may_set_are_in_it() -> None:
    kept = managed_plan(DEPLOYMENT, main_job()).plan.settings
    assert kept.items() <= settings(DEPLOYMENT).items()
    assert {key.partition(".")[0] for key in kept} == {"pipeline", "table"}
    assert kept["table.exec.state.ttl"] == "192 h"


@pytest.mark.parametrize(
    "key",
    [
        "execution.checkpointing.unaligned",
        "execution.checkpointing.unaligned.enabled",
        "execution.checkpointing.unaligned.forced",
        "flink.execution.checkpointing.unaligned ",
    ],
)
@pytest.mark.parametrize("value", ["true", "TRUE", " yes", ""])
def test_unaligned_checkpoints_are_refused_wherever_they_are_set(key: str, value: str) -> None:
    with pytest.raises(Misconfigured, match="the lake loses rows .* Nothing was changed"):
        refuse_unaligned({"aligned": {"execution.checkpointing.interval": "10 s"}, "the group": {key: value}})


def test_checkpoints_that_are_said_to_be_aligned_are_not_refused() -> None:
    refuse_unaligned({"the live job": settings(DEPLOYMENT)})
    refuse_unaligned({"the group": {"execution.checkpointing.unaligned": "False "}})


def test_a_live_job_with_unaligned_checkpoints_has_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(deployment: Deployment) -> dict[str, str]:
        return {**settings(deployment), "execution.checkpointing.unaligned.enabled": "true"}

    monkeypatch.setattr("flink.job_sql.settings", changed)
    with pytest.raises(Misconfigured, match=r"the live job has execution\.checkpointing\.unaligned\.enabled=true"):
        managed_plan(DEPLOYMENT, main_job())


@pytest.mark.usefixtures("jar")
def test_a_package_that_the_service_does_not_take_is_refused_and_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MOST_MB", 0)
    with pytest.raises(TooLarge, match="the service takes 0 MB at most"):
        built(managed_plan(DEPLOYMENT, main_job()), tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def test_merged_jars_have_each_class_once_all_services_and_no_signatures(tmp_path: Path) -> None:
    lists = "META-INF/services/org.Factory"
    contents = [
        {"a/A.class": "first", lists: "# ours\na.A\n", "META-INF/SIGNED.SF": "x", "META-INF/MANIFEST.MF": "x"},
        {"a/A.class": "second", lists: "b.B # theirs\na.A", "META-INF/versions/11/a/A.class": "x", "b/B.class": "b"},
    ]
    for number, files in enumerate(contents):
        with zipfile.ZipFile(tmp_path / f"{number}.jar", "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    package._merge([tmp_path / "0.jar", tmp_path / "1.jar"], tmp_path / "whole.jar")
    with zipfile.ZipFile(tmp_path / "whole.jar") as whole:
        assert sorted(whole.namelist()) == sorted(["META-INF/MANIFEST.MF", lists, "a/A.class", "b/B.class"])
        assert whole.read("a/A.class") == b"first"
        assert whole.read(lists) == b"a.A\nb.B\n"
