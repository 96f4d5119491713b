"""A Kafka that asks who is there lets our clients in, those of librdkafka and those of Java, and no stranger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from flink.source_sql import with_options
from insights import doctor
from insights.stack.composition import create_topics
from insights.stack.elsewhere import servers_elsewhere
from schemas.kafka import SHADED, Kafka
from tests.conftest import own_settings
from tests.flink.live_on_files import settings
from tests.flink.process import FlinkProcess, FlinkRefused, Part
from tests.flink.secure_kafka import secure_kafka

TOPIC = "sales.order_placed.v1"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as found:
        create_topics(found)
        yield found


def reading(kafka: Kafka, name: str, into: Path) -> Part:
    """A job that reads what is on the topic now, by the properties that the live job's sources are given."""
    source = {
        "connector": "kafka",
        "topic": TOPIC,
        "properties.bootstrap.servers": kafka.bootstrap,
        **{f"properties.{key}": value for key, value in kafka.java_security(SHADED).items()},
        "properties.request.timeout.ms": "10000",
        "properties.default.api.timeout.ms": "15000",
        "scan.startup.mode": "earliest-offset",
        "scan.bounded.mode": "latest-offset",
        "format": "raw",
    }
    sink = {"connector": "filesystem", "path": into.as_uri(), "format": "json"}
    statements = [
        f"create temporary table `{table}` (`value` string) with (\n{with_options(options)}\n)"
        for table, options in (("source", source), ("sink", sink))
    ]
    return Part(name=name, statements=statements, inserts=["insert into `sink` select `value` from `source`"])


def test_what_one_client_writes_the_job_reads(kafka: Kafka, flink: FlinkProcess, tmp_path: Path) -> None:
    producer = Producer({**kafka.librdkafka, "log_level": 0})
    for number in range(10):
        producer.produce(TOPIC, f"order {number}".encode())
    assert producer.flush(30) == 0
    flink.run(settings(), [reading(kafka, "secure", tmp_path / "read")])
    lines = [line for file in (tmp_path / "read").rglob("*") if file.is_file() for line in file.read_text().split("\n")]
    assert {json.loads(line)["value"] for line in lines if line} == {f"order {number}" for number in range(10)}


def test_a_job_with_a_wrong_password_does_not_get_in(kafka: Kafka, flink: FlinkProcess, tmp_path: Path) -> None:
    with pytest.raises(FlinkRefused, match="SaslAuthenticationException"):
        flink.run(settings(), [reading(replace(kafka, password="wr0ng"), "stranger", tmp_path / "read")])


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"external_kafka_password": "wr0ng"}, "uthentication"), ({"external_kafka_ca_file": None}, "certificate")],
    ids=["a wrong password", "an authority that nobody knows"],
)
def test_doctor_says_why_it_is_not_let_in(
    kafka: Kafka, tmp_path: Path, changed: dict[str, str | None], said: str
) -> None:
    given = {
        "external_kafka": kafka.bootstrap,
        "external_kafka_user": kafka.user,
        "external_kafka_password": kafka.password,
        "external_kafka_ca_file": kafka.ca_file,
    }
    well, wrong = (own_settings(tmp_path / "home", **each) for each in (given, {**given, **changed}))
    (finding,) = (doctor.check_elsewhere(server) for server in servers_elsewhere(well))
    assert finding.level == "ok"
    (finding,) = (doctor.check_elsewhere(server) for server in servers_elsewhere(wrong))
    assert finding.level == "error"
    assert said in finding.what
    assert "INSIGHTS_EXTERNAL_KAFKA, _USER, _PASSWORD and _CA_FILE" in finding.what
    assert "wr0ng" not in finding.what
