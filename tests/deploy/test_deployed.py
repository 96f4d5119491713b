"""`insights deploy` as a whole: what the settings name, against moto's server and a stand-in for Managed Flink."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from insights.cli.main import app
from insights.deploy.deployed import Piece, pieces
from insights.engines import EmrSpark
from insights.managed_flink.application import DeployFailed
from insights.settings import Settings, Stream
from schemas.errors import Misconfigured
from spark.aws import AwsRefused
from tests.conftest import own_settings
from tests.deploy.conftest import BUCKET, ELSEWHERE, PASSWORD
from tests.deploy.managed_flink import REGION, ManagedFlink

EMR = {
    "emr_application": "00abc",
    "emr_role": "arn:aws:iam::123456789012:role/replays",
    "emr_bucket": f"s3://{BUCKET}/replays",
    "emr_region": REGION,
}


def live_job(settings: Settings, endpoint: str) -> Piece:
    (found,) = pieces(settings, lambda text: None, endpoint_url=endpoint)
    return found


def test_the_live_job_is_planned_deployed_and_then_nothing_is_left_to_change(
    stream: Stream, service: ManagedFlink, endpoint: str, tmp_path: Path
) -> None:
    piece = live_job(own_settings(tmp_path, deploy_stream=stream, **ELSEWHERE), endpoint)
    planned = piece.changes()
    assert planned[0] == "application live: new, and it reads the log from its beginning"
    assert {"secret kafka_password: new", "secret postgres_password: new"} <= set(planned)
    s3 = boto3.client("s3", region_name=REGION, endpoint_url=endpoint)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    assert piece.apply() == "live runs as version 1"
    assert piece.changes() == []
    assert "live: RUNNING, version 1" in piece.status()
    there = {
        entry["Key"].rpartition("/")[2].partition("-")[0] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    }
    assert there == {"insights"}
    secrets = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint)
    assert json.loads(secrets.get_secret_value(SecretId=stream.secret)["SecretString"])["kafka_password"] == PASSWORD


def test_another_setting_is_an_update_with_the_definitions_that_were_deployed(
    stream: Stream, service: ManagedFlink, endpoint: str, tmp_path: Path
) -> None:
    live_job(own_settings(tmp_path, deploy_stream=stream, **ELSEWHERE), endpoint).apply()
    changed = live_job(own_settings(tmp_path, deploy_stream=stream, horizon_hours=48, **ELSEWHERE), endpoint)
    (line,) = changed.changes()
    assert line.startswith("code: s3://packages/insights/live-job/")
    assert changed.apply() == "live runs as version 2"
    assert changed.roll_back() == "live runs as version 3"


def kept_password(service: ManagedFlink, stream: Stream, endpoint: str) -> str:
    """Kafka's, as the job is given it when it starts."""
    (own,) = [
        g["PropertyMap"] for g in service.versions[service.version]["groups"] if g["PropertyGroupId"] == "insights"
    ]
    secrets = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint)
    found = secrets.get_secret_value(SecretId=stream.secret, VersionId=own["secret_version"])
    return str(json.loads(found["SecretString"])["kafka_password"])


def test_a_changed_password_is_an_update_and_is_taken_back_like_one(
    stream: Stream, service: ManagedFlink, endpoint: str, tmp_path: Path
) -> None:
    live_job(own_settings(tmp_path, deploy_stream=stream, **ELSEWHERE), endpoint).apply()
    changed = {**ELSEWHERE, "external_kafka_password": "another-of-tests"}
    piece = live_job(own_settings(tmp_path, deploy_stream=stream, **changed), endpoint)
    version, secret = piece.changes()
    assert version.startswith("property insights secret_version: ")
    assert version.endswith("→ a new one")
    assert secret == "secret kafka_password: changed"
    service.failures = 1
    with pytest.raises(DeployFailed, match="The version before runs again"):
        piece.apply()
    assert kept_password(service, stream, endpoint) == PASSWORD
    assert piece.apply() == "live runs as version 4"
    assert kept_password(service, stream, endpoint) == "another-of-tests"
    assert piece.changes() == []
    assert piece.roll_back() == "live runs as version 5"
    assert kept_password(service, stream, endpoint) == PASSWORD


def test_a_changed_password_is_not_written_when_the_application_may_not_be_changed(
    stream: Stream, service: ManagedFlink, endpoint: str, tmp_path: Path
) -> None:
    live_job(own_settings(tmp_path, deploy_stream=stream, **ELSEWHERE), endpoint).apply()
    strange = {"PropertyGroupId": "theirs", "PropertyMap": {"execution.checkpointing.unaligned": "true"}}
    service.versions[1]["groups"].append(strange)
    changed = {**ELSEWHERE, "external_kafka_password": "another-of-tests"}
    with pytest.raises(Misconfigured, match="unaligned"):
        live_job(own_settings(tmp_path, deploy_stream=stream, **changed), endpoint).apply()
    secrets = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint)
    assert json.loads(secrets.get_secret_value(SecretId=stream.secret)["SecretString"])["kafka_password"] == PASSWORD


def test_a_bucket_that_is_not_there_is_named_and_nothing_is_made(
    stream: Stream, service: ManagedFlink, endpoint: str, tmp_path: Path
) -> None:
    wrong = stream.model_copy(update={"bucket": "s3://elsewhere-entirely"})
    with pytest.raises(AwsRefused, match=r"NoSuchBucket.*docs/deploy\.md"):
        live_job(own_settings(tmp_path, deploy_stream=wrong, **ELSEWHERE), endpoint).apply()
    assert service.status == ""


def test_what_the_live_job_on_aws_can_not_reach_is_named_with_its_settings(
    stream: Stream, endpoint: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured) as caught:
        live_job(own_settings(tmp_path, deploy_stream=stream), endpoint).changes()
    for name in ("KAFKA", "REGISTRY", "POSTGRES", "LAKE"):
        assert f"INSIGHTS_EXTERNAL_{name}" in str(caught.value)


def test_a_login_by_iam_which_the_package_lacks_is_refused(stream: Stream, endpoint: str, tmp_path: Path) -> None:
    by_iam = {name: value for name, value in ELSEWHERE.items() if not name.startswith("external_kafka")}
    settings = own_settings(
        tmp_path,
        deploy_stream=stream,
        external_kafka="b-1.example.com:9098",
        external_kafka_iam_region=REGION,
        **by_iam,
    )
    with pytest.raises(
        Misconfigured, match="no login by IAM yet: use a user of Kafka's in INSIGHTS_EXTERNAL_KAFKA_USER"
    ):
        live_job(settings, endpoint).apply()


@pytest.mark.parametrize(
    ("options", "works"),
    [
        ("?sslmode=verify-full&sslrootcert=/run/rds.pem", False),
        ("?sslmode=require&sslrootcert=/run/rds.pem", False),
        ("?sslmode=verify-ca", False),
        ("?sslmode=require", True),
    ],
)
def test_certificates_that_the_live_job_on_aws_does_not_have_are_refused_by_the_settings_name(
    stream: Stream, service: ManagedFlink, endpoint: str, tmp_path: Path, options: str, works: bool
) -> None:
    address = {"external_postgres": ELSEWHERE["external_postgres"] + options}
    settings = own_settings(tmp_path, deploy_stream=stream, **{**ELSEWHERE, **address})
    piece = live_job(settings, endpoint)
    if works:
        assert piece.apply() == "live runs as version 1"
        return
    for asked in (piece.changes, piece.apply):
        with pytest.raises(Misconfigured, match=r"INSIGHTS_EXTERNAL_POSTGRES with sslmode=require and no sslrootcert"):
            asked()
    assert "there is no application live" in piece.status()[0]


def test_files_of_replays_are_uploaded_once(
    endpoint: str, service: ManagedFlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = tmp_path / "some.jar"
    jar.write_bytes(b"jar")
    monkeypatch.setattr(EmrSpark, "jars", lambda self: (jar,))
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    (piece,) = pieces(own_settings(tmp_path, **EMR), lambda text: None)
    assert len(piece.changes()) == 3
    assert piece.apply() == f"3 files uploaded to s3://{BUCKET}/replays"
    assert piece.changes() == []
    assert piece.apply() == "all files are there already"


def test_without_settings_the_command_names_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["deploy", "plan"])
    assert shown.exit_code == 1
    assert "INSIGHTS_DEPLOY_STREAM" in shown.output
    assert "docs/deploy.md" in shown.output


def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INSIGHTS_HOME", str(tmp_path))
    monkeypatch.setenv("INSIGHTS_DEPLOY_SERVICE", json.dumps({"cluster": "insights", "region": "eu-central-1"}))
    shown = CliRunner().invoke(app, ["deploy", "status"])
    assert shown.exit_code == 1
    assert "INSIGHTS_DEPLOY_SERVICE" in shown.output
