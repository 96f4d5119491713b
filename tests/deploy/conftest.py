"""AWS for the tests of `insights deploy`: moto's server, and a stand-in for Managed Flink."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from insights.deploy import deployed
from insights.managed_flink import package
from insights.settings import Stream
from spark.aws import Aws
from tests.deploy.managed_flink import REGION, ManagedFlink
from tests.own_aws import moto_server

BUCKET = "packages"
PASSWORD = "kafkaword-of-tests"
ELSEWHERE = {
    "external_kafka": "broker.example.com:9096",
    "external_kafka_user": "hub",
    "external_kafka_password": PASSWORD,
    "external_registry": "https://registry.example.com",
    "external_postgres": "postgresql://hub:secret-of-tests@db.example.com/insights",
    "external_lake": "s3://shop/lake",
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-tests")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with moto_server() as url:
        place = {"LocationConstraint": REGION}
        boto3.client("s3", region_name=REGION, endpoint_url=url).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration=place
        )
        yield url


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> ManagedFlink:
    """Managed Flink; all other services are moto's."""
    found, others = ManagedFlink(), Aws._new_client

    def client(self: Aws, name: str) -> Any:
        return found.client() if name == "kinesisanalyticsv2" else others(self, name)

    monkeypatch.setattr(Aws, "_new_client", client)
    monkeypatch.setattr(Aws, "pause", lambda self, seconds: None)
    return found


@pytest.fixture
def stream(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Its secret is there and has no value yet; the jar of all connectors is a small one."""
    jar = tmp_path / "insights-on-aws-0123.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("org/Some.class", b"class")
    monkeypatch.setattr(package, "whole_jar", lambda *_: jar)
    monkeypatch.setattr(deployed.jars, "fetch", lambda *_, **__: 0)
    secrets = boto3.client("secretsmanager", region_name=REGION, endpoint_url=endpoint)
    return Stream(
        application="live",
        region=REGION,
        bucket=f"s3://{BUCKET}/insights",
        role="arn:aws:iam::123456789012:role/live",
        secret=secrets.create_secret(Name="live")["ARN"],
        subnets=("subnet-1",),
        security_groups=("sg-1",),
        log_stream="arn:aws:logs:eu-central-1:123456789012:log-group:live:log-stream:flink",
    )
