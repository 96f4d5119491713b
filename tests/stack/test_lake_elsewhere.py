"""A lake in S3: one set of settings reaches every client, and what is wrong with it names its setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flink.job_sql import lake_catalog
from insights import doctor, jars
from insights.settings import Settings, load_settings
from insights.stack.composition import UpPlan, everything
from insights.stack.elsewhere import servers_elsewhere
from insights.wiring import deployment
from schemas.errors import Misconfigured
from tests.conftest import own_settings
from tests.own_s3 import s3_server

LAKE = {
    "external_lake": "s3://shop/lake",
    "external_lake_endpoint": "https://s3.example",
    "external_lake_key_id": "hub",
    "external_lake_secret": "S0SECRET",
}


@pytest.fixture
def apart_of(tmp_path: Path) -> Callable[..., Settings]:
    return lambda **given: own_settings(tmp_path / "home", **given)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    with s3_server(tmp_path / "objects") as found:
        yield found


def test_every_client_of_the_lake_gets_what_it_needs_of_one_place(apart_of: Callable[..., Settings]) -> None:
    target = deployment(apart_of(**LAKE))
    reached = {
        "client.region": "us-east-1",
        "s3.endpoint": "https://s3.example",
        "s3.path-style-access": "true",
        "s3.access-key-id": "hub",
        "s3.secret-access-key": "S0SECRET",
    }
    assert reached.items() <= target.lake_properties.items()
    assert target.lake_properties["warehouse"] == "s3://shop/lake"
    for name, value in (reached | {"io-impl": "org.apache.iceberg.aws.s3.S3FileIO"}).items():
        assert f"'{name}' = '{value}'" in lake_catalog(target)
    assert "S0SECRET" not in repr(target)


def test_without_keys_and_endpoint_each_client_finds_aws_in_its_own_way(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of(external_lake="s3://shop/lake", external_lake_region="eu-central-1")
    assert settings.lake_storage == {"client.region": "eu-central-1"}


def test_a_lake_here_needs_nothing_of_s3(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of()
    assert deployment(settings).lake_properties["warehouse"] == (settings.home / "lake").as_uri()
    assert not deployment(settings).lake_storage
    assert "s3" not in jars.of_stack(settings)
    assert "s3" in jars.of_stack(apart_of(**LAKE))


def test_tables_wait_for_the_bucket(apart_of: Callable[..., Settings]) -> None:
    here, away = ({t.name: t for t in everything(apart_of(**given), UpPlan())} for given in ({}, LAKE))
    assert away.keys() - here.keys() == {"bucket"}
    assert set(away["tables"].after) - set(here["tables"].after) == {"bucket"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"": "shop/lake"}, "INSIGHTS_EXTERNAL_LAKE=shop/lake: String should match"),
        ({"_ENDPOINT": "http://s3.example"}, "INSIGHTS_EXTERNAL_LAKE_ENDPOINT is set: INSIGHTS_EXTERNAL_LAKE must be"),
        ({"": "s3://shop", "_SECRET": "S0SECRET"}, "INSIGHTS_EXTERNAL_LAKE_SECRET one is set: set both"),
        ({"": "s3://shop", "_ENDPOINT": "s3.example:80"}, "INSIGHTS_EXTERNAL_LAKE_ENDPOINT=s3.example:80: String"),
    ],
)
def test_a_wrong_setting_is_named_and_the_secret_is_not_shown(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"INSIGHTS_EXTERNAL_LAKE{name}", value)
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "S0SECRET" not in str(caught.value)


def test_its_secret_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "insights_external_lake_secret").write_text("S0SECRET\n")
    settings = Settings(_secrets_dir=tmp_path, **{k: v for k, v in LAKE.items() if k != "external_lake_secret"})
    assert settings.lake_storage["s3.secret-access-key"] == "S0SECRET"


def found_by_the_doctor(settings: Settings) -> doctor.Finding:
    (finding,) = (doctor.check_elsewhere(server) for server in servers_elsewhere(settings))
    return finding


def test_the_doctor_says_that_the_lake_is_well_and_leaves_nothing_in_it(
    s3: dict[str, str], apart_of: Callable[..., Settings], tmp_path: Path
) -> None:
    finding = found_by_the_doctor(apart_of(**s3))
    assert finding.level == "ok"
    assert "s3://shop/lake at http://127.0.0.1" in finding.what
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"external_lake_endpoint": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
        ({"external_lake_key_id": "nobody"}, "access key ID"),
        ({"external_lake_secret": "wr0ng"}, "SignatureDoesNotMatch"),
        ({"external_lake": "s3://nowhere/lake"}, "NoSuchBucket"),
    ],
    ids=["endpoint", "key id", "secret", "bucket"],
)
def test_the_doctor_says_what_is_wrong_with_the_lake_and_names_its_settings(
    s3: dict[str, str], apart_of: Callable[..., Settings], wrong: dict[str, str], said: str
) -> None:
    finding = found_by_the_doctor(apart_of(**{**s3, **wrong}))
    assert finding.level == "error"
    assert said in finding.what
    assert "INSIGHTS_EXTERNAL_LAKE, _ENDPOINT, _REGION, _KEY_ID and _SECRET" in finding.what
    assert not [secret for secret in (s3["external_lake_secret"], "wr0ng") if secret in finding.what]
