"""Servers that run elsewhere: settings say where, every client gets there, and what is wrong names its setting."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from insights import doctor, jars
from insights.cli.main import app
from insights.dbt_run import environment
from insights.settings import Settings, load_settings
from insights.stack.composition import UpPlan, everything
from insights.stack.elsewhere import servers_elsewhere
from insights.stack.part import Part, Task
from insights.status import status
from insights.wiring import deployment, dsn_as, login_of, producer_environment, spark_runtime
from schemas.errors import Misconfigured
from schemas.kafka import SHADED, Kafka
from schemas.registry import Registry
from tests.conftest import environment_of, own_settings
from warehouse.logins import Role

POSTGRES = "postgresql://me:s%2Fcret@db.example:6432/shop?sslmode=verify-full&sslrootcert=/etc/db-ca.pem"
SECURE = {
    "external_kafka": "b-1.example:9096,b-2.example:9096",
    "external_kafka_user": "hub",
    "external_kafka_password": 'K0SEC"RET\\',
}
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1)


@pytest.fixture
def apart_of(tmp_path: Path) -> Callable[..., Settings]:
    return lambda **given: own_settings(tmp_path / "home", **given)


def names(settings: Settings, kind: type) -> set[str]:
    return {thing.name for thing in everything(settings, UpPlan()) if isinstance(thing, kind)}


def test_a_server_that_runs_elsewhere_is_waited_for_and_not_started(apart_of: Callable[..., Settings]) -> None:
    here, away = (
        apart_of(),
        apart_of(external_kafka="b:9092", external_postgres=POSTGRES, external_flink="http://f:8081"),
    )
    assert names(here, Part) - names(away, Part) == {"kafka", "postgres", "jobmanager", "taskmanager"}
    assert names(away, Task) - names(here, Task) == {"kafka", "postgres", "jobmanager"}


def test_its_ports_need_not_be_free_here(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of(external_kafka="127.0.0.1:9")
    with socket.create_server(("127.0.0.1", settings.kafka_port)):
        errors = [finding.what for finding in doctor.check(settings) if finding.level == "error"]
    assert [text for text in errors if "port" in text and "is used" in text] == []


def test_postgres_elsewhere_is_reached_by_all_with_its_tls(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of(external_postgres=POSTGRES)
    target = deployment(settings)
    assert target.postgres_dsn == POSTGRES
    assert target.lake_dsn == POSTGRES.replace("/shop", "/lake")
    assert target.postgres_jdbc_url.startswith("jdbc:postgresql://db.example:6432/shop?")
    assert "&sslmode=verify-full&sslrootcert=/etc/db-ca.pem" in target.lake_jdbc_url
    assert (target.postgres_user, target.postgres_password) == ("me", "s/cret")
    dbt = environment(settings)
    assert (dbt["PGSSLMODE"], dbt["PGSSLROOTCERT"]) == ("verify-full", "/etc/db-ca.pem")
    assert (dbt["INSIGHTS_POSTGRES_HOST"], dbt["INSIGHTS_POSTGRES_USER"]) == ("db.example", "shop_dbt")
    assert dsn_as(settings, Role.READER, with_password=False) == POSTGRES.replace("me:s%2Fcret", "shop_reader")


def test_a_database_whose_name_needs_quoting_has_one_name_for_all(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of(external_postgres=POSTGRES.replace("/shop?", "/My.Shop%20x+%2F?"))
    target = deployment(settings)
    assert target.postgres_database == environment(settings)["INSIGHTS_POSTGRES_DATABASE"] == "My.Shop x+/"
    assert conninfo_to_dict(target.postgres_dsn)["dbname"] == conninfo_to_dict(settings.postgres_dsn)["dbname"]
    assert "/My.Shop%20x%2B%2F?" in target.postgres_jdbc_url  # Java takes a plus for a space
    reader = conninfo_to_dict(dsn_as(settings, Role.READER))["user"]
    assert reader == login_of(settings, Role.READER).user == "My.Shop x+/_reader"
    assert environment(settings)["INSIGHTS_POSTGRES_USER"] == "My.Shop x+/_dbt"
    assert target.flink_login.user == "My.Shop x+/_flink"


@given(user=TEXTS, password=TEXTS)
def test_any_user_and_password_of_kafka_is_quoted_for_java(user: str, password: str) -> None:
    login = Kafka("b:9096", user, password).java_security()["sasl.jaas.config"]
    read, rest = [], login.partition("required ")[2]
    for name in ("username=", " password="):
        assert rest.startswith(name)
        value, end = json_like(rest[len(name) :])
        read, rest = [*read, value], end
    assert (read, rest) == ([user, password], ";")


def json_like(text: str) -> tuple[str, str]:
    """A text in quotes, as Java's login configuration has it, and what follows it."""
    value, at = "", 1
    while text[at] != '"':
        at += text[at] == "\\"
        value, at = value + text[at], at + 1
    return value, text[at + 1 :]


def test_each_client_of_kafka_gets_what_it_needs_of_one_place(
    apart_of: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    settings = apart_of(**SECURE, external_kafka_ca_file=tmp_path / "ca.pem")
    assert settings.kafka.librdkafka == {
        "bootstrap.servers": "b-1.example:9096,b-2.example:9096",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "hub",
        "sasl.password": 'K0SEC"RET\\',
        "ssl.ca.location": str(tmp_path / "ca.pem"),
    }
    assert settings.kafka.java_security()["ssl.truststore.certificates"].startswith("-----BEGIN")
    assert Kafka("b:9092").java_security() == {}
    assert "K0SEC" not in repr(settings.kafka)


def test_a_login_by_iam_reaches_each_client_too(apart_of: Callable[..., Settings], tmp_path: Path) -> None:
    settings = apart_of(external_kafka="b-1.example:9098", external_kafka_iam_region="eu-central-1")
    assert settings.kafka.librdkafka["sasl.mechanism"] == "OAUTHBEARER"
    for shaded in ("", SHADED):
        java = settings.kafka.java_security(shaded)
        assert java["sasl.jaas.config"].startswith(f"{shaded}org.apache.kafka.common.security.oauthbearer.")
    assert producer_environment(settings)["INSIGHTS_EXTERNAL_KAFKA_IAM_REGION"] == "eu-central-1"
    assert "-Daws.region=eu-central-1" in spark_runtime(settings, tmp_path).java_options
    assert "iam" in jars.of_stack(settings)
    assert "iam" not in jars.of_stack(apart_of(**SECURE))


def test_no_password_is_on_a_command_line(apart_of: Callable[..., Settings]) -> None:
    settings = apart_of(**SECURE, external_registry="https://u:R0SECRET@r.example/x", external_postgres=POSTGRES)
    parts = [thing for thing in everything(settings, UpPlan()) if isinstance(thing, Part)]
    shown = json.dumps([list(part.command) for part in parts])
    assert not [secret for secret in ("K0SEC", "R0SECRET", "s%2Fcret", "s/cret") if secret in shown]
    assert producer_environment(settings)["INSIGHTS_EXTERNAL_KAFKA_PASSWORD"] == 'K0SEC"RET\\'


def test_the_registrys_user_is_shown_nowhere() -> None:
    assert Registry("https://u:R0SECRET@r.example/apis/ccompat/v7").url == "https://r.example/apis/ccompat/v7"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"EXTERNAL_KAFKA": "broker"}, "INSIGHTS_EXTERNAL_KAFKA=broker: String should match"),
        ({"EXTERNAL_KAFKA_USER": "hub"}, "INSIGHTS_EXTERNAL_KAFKA_PASSWORD must be, too"),
        ({"EXTERNAL_KAFKA_CA_FILE": "/x"}, "INSIGHTS_EXTERNAL_KAFKA_USER or INSIGHTS_EXTERNAL_KAFKA_IAM_REGION must"),
        ({"EXTERNAL_KAFKA_IAM_REGION": "eu-central-1"}, "INSIGHTS_EXTERNAL_KAFKA must be, too"),
        (
            {"EXTERNAL_KAFKA": "b:9098", "EXTERNAL_KAFKA_IAM_REGION": "x", "EXTERNAL_KAFKA_USER": "hub"},
            "INSIGHTS_EXTERNAL_KAFKA_PASSWORD must be, too",
        ),
        (
            {"EXTERNAL_POSTGRES": "postgresql://me:S0SECRET@db"},
            "should be postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
        (
            {"EXTERNAL_POSTGRES": "postgresql://me:S0SECRET@db/shop?sslkey=/k"},
            "INSIGHTS_EXTERNAL_POSTGRES: Value error, supports only the parameters sslmode and sslrootcert, not sslkey",
        ),
        ({"EXTERNAL_FLINK": "jobmanager:8081"}, "INSIGHTS_EXTERNAL_FLINK"),
    ],
)
def test_a_wrong_setting_is_named_and_a_secret_is_not_shown(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"INSIGHTS_{name}", value)
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "S0SECRET" not in str(caught.value)


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "insights_external_postgres").write_text(f"{POSTGRES}\n")
    assert Settings(_secrets_dir=tmp_path).postgres_dsn == POSTGRES


def test_what_does_not_answer_is_named_with_its_setting(apart_of: Callable[..., Settings]) -> None:
    nowhere = apart_of(
        external_kafka="127.0.0.1:9",
        external_registry="http://u:R0SECRET@127.0.0.1:9/apis",
        external_postgres="postgresql://me:S0SECRET@127.0.0.1:9/shop",
        external_flink="http://127.0.0.1:9",
    )
    found = {server.name: doctor.check_elsewhere(server) for server in servers_elsewhere(nowhere)}
    assert {finding.level for finding in found.values()} == {"error"}
    named = {"jobmanager": "FLINK", "postgres": "POSTGRES", "kafka": "KAFKA", "registry": "REGISTRY"}
    for name, setting in named.items():
        assert f"INSIGHTS_EXTERNAL_{setting}" in found[name].what
        assert "SECRET" not in found[name].what


@pytest.fixture
def second(stack: Settings, tmp_path: Path) -> Settings:
    """A home of its own on the servers of the run's one stack, with its snapshots under their path."""
    return own_settings(
        tmp_path / "home",
        external_kafka=str(stack.kafka),
        external_registry=stack.registry_url,
        external_postgres=f"{stack.postgres_dsn}?sslmode=prefer",
        external_flink=stack.flink_url,
        currency=stack.currency,
    )


def test_a_second_home_on_a_stacks_servers_sees_what_the_stack_sees(stack: Settings, second: Settings) -> None:
    seen, own = status(second), status(stack)
    assert seen.away == own.away == ()
    assert {n: t.published for n, t in seen.topics.items()} == {n: t.published for n, t in own.topics.items()}
    assert [job.state for job in seen.jobs] == ["RUNNING"]


def test_its_doctor_says_how_each_server_is(second: Settings, stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(second).items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, ["doctor"]).output
    assert f"1 broker at {stack.kafka}" in shown
    assert f"at {stack.registry_url}" in shown
    assert "PostgreSQL 18 at" in shown
    assert "share one folder under the same path, or set INSIGHTS_HOME" in " ".join(
        shown.split()
    )  # of Flink's snapshots


def test_a_wrong_password_is_said_with_the_setting(stack: Settings, apart_of: Callable[..., Settings]) -> None:
    wrong = stack.postgres_dsn.replace(f":{quote(stack.postgres_password)}@", ":wr0ng@")
    settings = apart_of(external_postgres=wrong)
    (finding,) = [doctor.check_elsewhere(server) for server in servers_elsewhere(settings)]
    assert "password authentication failed" in finding.what
    assert "INSIGHTS_EXTERNAL_POSTGRES" in finding.what
    assert "wr0ng" not in finding.what
