"""A Kafka with MSK's login by IAM lets our clients in, those of librdkafka and those of Java, and keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import aws_msk_iam_sasl_signer.MSKAuthTokenProvider as signer
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from quixstreams.kafka import ConnectionConfig

from insights import doctor
from insights.stack.composition import create_topics
from insights.stack.elsewhere import servers_elsewhere
from reconciliation import dead_letters
from schemas.kafka import Kafka, logged_in, stays_logged_in
from tests.conftest import own_settings, wait_until
from tests.flink.iam_kafka import AWS, REGION, iam_kafka
from tests.flink.live_on_files import settings
from tests.flink.process import FlinkProcess, flink_process
from tests.flink.test_secure_kafka import TOPIC, reading

pytestmark = pytest.mark.engine
TOKEN_SECONDS = 20
"""What a token lasts in one test. Librdkafka looks every second whether one must be renewed: it needs some of them."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with iam_kafka(tmp_path_factory.mktemp("iam")) as (clear, found):
        create_topics(clear)
        yield found


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the one who may log in, and nothing else that AWS' clients could find."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("keys")
def test_every_client_logs_in_with_a_signed_address(kafka: Kafka) -> None:
    create_topics(kafka)
    assert logged_in(AdminClient({**kafka.librdkafka})).list_topics(timeout=10).brokers
    consumer = logged_in(Consumer({**kafka.librdkafka, "group.id": "test"}))
    assert consumer.list_topics(timeout=10).brokers
    consumer.close()
    assert dead_letters.listed(kafka) == []


@pytest.mark.usefixtures("keys")
def test_quixstreams_takes_the_login_as_it_is(kafka: Kafka) -> None:
    theirs = ConnectionConfig.from_librdkafka_dict(kafka.librdkafka).as_librdkafka_dict()
    assert logged_in(AdminClient(theirs)).list_topics(timeout=10).brokers


@pytest.mark.usefixtures("keys")
def test_a_client_that_is_idle_for_longer_than_a_token_lasts_is_still_logged_in(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "DEFAULT_TOKEN_EXPIRY_SECONDS", TOKEN_SECONDS)
    kept, alone = (AdminClient({**kafka.librdkafka, "log_level": 0}) for _ in range(2))
    for each in (stays_logged_in(kafka, kept), logged_in(alone)):
        each.list_topics(timeout=10)
    # The broker ends the connection of the one that nobody polls, and lets it in no more.
    wait_until(
        lambda: _is_refused(alone), seconds=4 * TOKEN_SECONDS, what="the client that nobody polls is refused", every=1
    )
    assert kept.list_topics(timeout=20).brokers


def _is_refused(client: AdminClient) -> bool:
    try:
        return not client.list_topics(timeout=1).brokers
    except KafkaException:
        return True


@pytest.fixture
def java(kafka: Kafka, keys: None, tmp_path: Path) -> Iterator[FlinkProcess]:
    """Flink, with the lake's jar on its class path, too: it brings AWS' SDK in another version."""
    with flink_process(tmp_path, more=("s3", "iam"), environment={**AWS, "AWS_REGION": REGION}) as found:
        yield found


def test_flink_logs_in_with_awss_own_jar(
    kafka: Kafka, java: FlinkProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer({**kafka.librdkafka, "log_level": 0})
    for number in range(10):
        producer.produce(TOPIC, f"order {number}".encode())
    assert producer.flush(30) == 0
    java.run(settings(), [reading(kafka, "by-iam", tmp_path / "read")])
    lines = [line for file in (tmp_path / "read").rglob("*") if file.is_file() for line in file.read_text().split("\n")]
    assert {json.loads(line)["value"] for line in lines if line} == {f"order {number}" for number in range(10)}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("variables", "region", "said"),
    [
        ({}, REGION, "1 broker at"),
        ({"AWS_SECRET_ACCESS_KEY": "wr0ng"}, REGION, "a wrong signature"),
        ({}, "eu-west-1", "another host: kafka.eu-west-1.amazonaws.com"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, REGION, "there are no AWS credentials"),
        ({"AWS_PROFILE": "nobody"}, REGION, "The config profile (nobody) could not be found"),
    ],
    ids=["well", "a wrong key", "a wrong region", "no key", "no profile"],
)
def test_doctor_says_why_it_is_not_let_in(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str, said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = {"external_kafka": kafka.bootstrap, "external_kafka_ca_file": kafka.ca_file}
    found = own_settings(tmp_path / "home", **given, external_kafka_iam_region=region)
    (finding,) = (doctor.check_elsewhere(server) for server in servers_elsewhere(found))
    assert said in finding.what
    assert finding.level == ("ok" if said == "1 broker at" else "error")
    assert finding.level == "ok" or "_IAM_REGION" in finding.what
    assert "wr0ng" not in finding.what


def test_doctor_reads_the_region_of_msks_names(tmp_path: Path) -> None:
    msk = "b-1.shop.abc123.c2.kafka.eu-central-1.amazonaws.com:9098"
    found = own_settings(tmp_path / "home", external_kafka=msk, external_kafka_iam_region="us-east-1")
    (finding,) = (doctor.check_elsewhere(server) for server in servers_elsewhere(found))
    assert "the brokers are in eu-central-1, and the login is for us-east-1" in finding.what
