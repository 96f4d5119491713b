"""A lake whose tables AWS Glue lists: the same tables, and nothing of others is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from flink.job_sql import lake_catalog
from insights.settings import Settings
from insights.stack import elsewhere
from insights.stack.elsewhere import ServerAway
from insights.wiring import deployment
from replay.lake_files import lake_files, open_catalog
from schemas.catalogue import event
from schemas.errors import Misconfigured
from spark.task import Slice
from tests.conftest import own_settings
from tests.own_aws import moto_server
from tests.warehouse.test_maintenance import Lake
from warehouse.deployment import Deployment
from warehouse.glue import GlueAway, glue_answers
from warehouse.maintenance import maintain, rules, sizes
from warehouse.tables import create_lake_table, open_lake

ORDERS = event("sales.order_placed")
REGION, BUCKET = "eu-central-1", "shop"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto's S3 and Glue, as every client of AWS finds them."""
    with moto_server() as url:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "of-tests",
            "AWS_SECRET_ACCESS_KEY": "of-tests",
            "AWS_ENDPOINT_URL": url,
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        place = {"LocationConstraint": REGION}
        boto3.client("s3", region_name=REGION).create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        yield url


@pytest.fixture
def settings(aws: str, tmp_path: Path) -> Settings:
    return own_settings(
        tmp_path / "home",
        external_lake=f"s3://{BUCKET}/lake",
        external_lake_region=REGION,
        external_lake_endpoint=aws,
        external_lake_catalog="glue",
    )


@pytest.fixture
def target(settings: Settings) -> Deployment:
    return deployment(settings)


def in_glue(target: Deployment, folder: Path) -> Lake:
    """The maintenance's lake, with this one's catalog."""
    found = Lake(folder)
    found.catalog.close()
    found.catalog = open_lake(target)  # type: ignore[assignment]
    create_lake_table(found.catalog, ORDERS)
    return found


def test_every_client_is_sent_to_glue(target: Deployment) -> None:
    assert target.lake_properties["type"] == "glue"
    assert target.lake_properties["client.region"] == REGION
    assert "password" not in "".join(target.lake_properties)
    statement = lake_catalog(target)
    assert "'catalog-impl' = 'org.apache.iceberg.aws.glue.GlueCatalog'" in statement
    assert "'warehouse' = 's3://shop/lake'" in statement
    assert "jdbc" not in statement


def test_the_log_is_kept_read_and_compacted_there(target: Deployment, tmp_path: Path) -> None:
    lake = in_glue(target, tmp_path)
    for _ in range(3):
        lake.append()
    with open_catalog(target.lake_properties) as catalog:
        slices = [Slice(partition=n, from_offset=0, until_offset=99) for n in range(ORDERS.partitions)]
        files = lake_files(catalog, ORDERS.table, slices)
    assert [file.path.startswith("s3://shop/lake/") for file in files] == [True] * 3
    rows = lake.rows()
    rule = replace(rules(target, datetime.now(UTC)), now=datetime.now(UTC) + timedelta(days=3650))
    (done,) = maintain(target, rule)
    assert (done.table, done.before.files, done.after.files) == ("events.order_placed", 3, 1)
    assert lake.rows() == rows


def test_tables_of_others_are_neither_listed_nor_tidied(target: Deployment, tmp_path: Path) -> None:
    lake = in_glue(target, tmp_path)
    schema = lake.table.schema()
    lake.catalog.create_namespace("theirs")
    lake.catalog.create_table("theirs.visits", schema, location=f"s3://{BUCKET}/theirs/visits")
    lake.catalog.create_table("events.theirs", schema, location=f"s3://{BUCKET}/lake-of-others/theirs")
    assert set(sizes(target)) == {"events.order_placed"}


def of_service(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetTable")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (NoCredentialsError(), Misconfigured, "there are no AWS credentials"),
        (
            ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetTable"),
            Misconfigured,
            "refuses",
        ),
        (
            ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "GetTable"),
            GlueAway,
            "can't be used",
        ),
        (EndpointConnectionError(endpoint_url="https://glue"), GlueAway, "can't be used"),
    ],
)
def test_what_glue_does_not_do_is_said_with_the_setting(
    target: Deployment, error: Exception, kind: type[Exception], said: str
) -> None:
    with (
        pytest.raises(kind, match=f"AWS Glue in {REGION}.*INSIGHTS_EXTERNAL_LAKE_CATALOG.*{said}"),
        glue_answers(target),
    ):
        raise error


def test_the_check_from_outside_asks_bucket_and_glue(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "may be read and written" in elsewhere.lake(settings).ask()
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:9")
    with pytest.raises(ServerAway, match=r"AWS Glue in eu-central-1 can't be used, as INSIGHTS_EXTERNAL_LAKE_CATALOG"):
        elsewhere.lake(settings).ask()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "INSIGHTS_EXTERNAL_LAKE must be set, too"),
        (
            {"external_lake": "s3://shop/lake", "external_lake_key_id": "k", "external_lake_secret": "s"},
            "INSIGHTS_EXTERNAL_LAKE_KEY_ID must not be set",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(given: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        own_settings(tmp_path, external_lake_catalog="glue", **given)
