"""Settings whose values AWS keeps, against moto's Secrets Manager and Parameter Store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.core.exceptions import JsonRESTError
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.ssm.responses import SimpleSystemManagerResponse

from insights import aws_settings
from insights.aws_settings import SettingAway
from insights.settings import PROJECT, Settings, load_settings
from schemas.errors import Misconfigured
from tests.own_aws import moto_server

REGION = "eu-central-1"
VALUE = "postgresql://hub:S0SECRET@db.example:5432/insights"
STREAM = {
    "application": "live",
    "region": REGION,
    "bucket": "s3://packages",
    "role": "arn:aws:iam::123456789012:role/live",
    "secret": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:live",
    "subnets": ["subnet-1"],
    "security_groups": ["sg-1"],
    "log_stream": "arn:aws:logs:eu-central-1:123456789012:log-group:live:log-stream:flink",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(autouse=True)
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """AWS is moto, and nothing of it is known yet."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    """What a new process does not know either."""
    aws_settings._fetched.cache_clear()
    aws_settings._client.cache_clear()


@pytest.fixture
def secret(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """``secret(text)``: the ARN of a new secret with it."""
    made = boto3.client("secretsmanager", region_name=REGION)
    return lambda text: str(made.create_secret(Name=request.node.name, SecretString=text)["ARN"])


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """``given(external_postgres="ssm:/x")``: the settings that the environment then makes."""

    def load(**settings: str) -> Settings:
        for name, value in settings.items():
            monkeypatch.setenv(Settings.variable(name), value)
        return load_settings()

    return load


def refused(given: Callable[..., Settings], **settings: str) -> str:
    """What is said of them, in which no secret is."""
    with pytest.raises(Misconfigured) as caught:
        given(**settings)
    assert "S0SECRET" not in str(caught.value)
    return str(caught.value)


def test_a_setting_may_be_a_secret_by_its_name_or_its_arn(
    secret: Callable[[str], str], given: Callable[..., Settings], request: pytest.FixtureRequest
) -> None:
    arn = secret(VALUE)
    assert given(external_postgres=f"secretsmanager:{request.node.name}").external_postgres == VALUE
    assert given(external_postgres=f"secretsmanager:{arn}").external_postgres == VALUE


def test_an_arn_brings_its_region(
    secret: Callable[[str], str], given: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = secret(VALUE)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert given(external_postgres=f"secretsmanager:{arn}").external_postgres == VALUE


def test_a_setting_may_be_one_value_of_a_secret_in_json(
    secret: Callable[[str], str], given: Callable[..., Settings]
) -> None:
    arn = secret(json.dumps({"url": VALUE, "port": 20123, "canary": False, "stream": STREAM}))
    found = given(
        external_postgres=f"secretsmanager:{arn}#url",
        page_port=f"secretsmanager:{arn}#port",
        canary=f"secretsmanager:{arn}#canary",
        deploy_stream=f"secretsmanager:{arn}#stream",
    )
    assert (found.external_postgres, found.page_port, found.canary) == (VALUE, 20123, False)
    assert found.deploy_stream is not None
    assert found.deploy_stream.subnets == ("subnet-1",)


def test_a_setting_may_be_a_parameter_also_an_encrypted_one(given: Callable[..., Settings]) -> None:
    parameters = boto3.client("ssm", region_name=REGION)
    parameters.put_parameter(Name="/shop/postgres", Value=VALUE, Type="SecureString")
    parameters.put_parameter(Name="/shop/currency", Value="USD", Type="String")
    found = given(external_postgres="ssm:/shop/postgres", currency="ssm:/shop/currency")
    assert (found.external_postgres, found.currency) == (VALUE, "USD")


def test_a_file_may_say_where_a_secret_is(secret: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "insights_external_postgres").write_text(f"secretsmanager:{secret(VALUE)}\n")
    assert Settings(_secrets_dir=tmp_path).external_postgres == VALUE


def test_only_the_setting_that_counts_is_looked_up(tmp_path: Path, given: Callable[..., Settings]) -> None:
    (tmp_path / "insights_external_postgres").write_text("secretsmanager:there/is/none")
    given(external_postgres=VALUE)
    assert Settings(_secrets_dir=tmp_path).external_postgres == VALUE


def test_a_secret_is_asked_for_once_and_a_new_value_is_for_the_next_process(
    secret: Callable[[str], str], given: Callable[..., Settings]
) -> None:
    arn = secret(json.dumps({"key": "one"}))
    reference = f"secretsmanager:{arn}#key"
    assert given(metabase_password=reference, metabase_api_key=reference).metabase_api_key == "one"
    assert aws_settings._fetched.cache_info().misses == 1
    boto3.client("secretsmanager", region_name=REGION).put_secret_value(SecretId=arn, SecretString='{"key": "two"}')
    assert given().metabase_password == "one"
    program = "from insights.settings import load_settings; print(load_settings().metabase_password)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert done.stdout == "two\n", done.stderr


def test_what_the_stack_hands_down_is_the_value(secret: Callable[[str], str], given: Callable[..., Settings]) -> None:
    found = given(external_postgres=f"secretsmanager:{secret(VALUE)}", deploy_stream=json.dumps(STREAM))
    forget()
    handed = json.loads(json.dumps(found.model_dump(mode="json")))
    assert Settings.model_validate(handed) == found
    assert aws_settings._fetched.cache_info().misses == 0
    assert "S0SECRET" not in repr(found)


def test_a_command_of_a_supervisor_gets_every_setting_as_its_variable(
    given: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = given(deploy_stream=json.dumps(STREAM), canary="false")
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == found


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("secretsmanager:none", "it is not there, in eu-central-1 and the account of these AWS credentials"),
        ("ssm:/none", "it is not there, in eu-central-1 and the account of these AWS credentials"),
        ("secretsmanager:", "write secretsmanager:NAME_OR_ARN"),
        ("ssm:", "write secretsmanager:NAME_OR_ARN"),
        ("secretsmanager:shop#", "write secretsmanager:NAME_OR_ARN"),
    ],
)
def test_a_secret_that_is_not_there_is_named_with_its_setting(
    reference: str, said: str, given: Callable[..., Settings]
) -> None:
    text = refused(given, external_postgres=reference)
    assert f"INSIGHTS_EXTERNAL_POSTGRES={reference}: {said}" in text


def test_all_that_can_not_be_looked_up_is_said_at_once(given: Callable[..., Settings]) -> None:
    text = refused(given, external_postgres="secretsmanager:none", external_registry="ssm:/none")
    assert "INSIGHTS_EXTERNAL_POSTGRES=secretsmanager:none" in text
    assert "INSIGHTS_EXTERNAL_REGISTRY=ssm:/none" in text


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (json.dumps({"user": "hub", "password": "S0SECRET"}), "url", "has no value url; it has password, user"),
        (json.dumps({"url": None}), "url", "has no value url; it has url"),
        (json.dumps(["S0SECRET"]), "url", "has no value url; it is no JSON object"),
        ("S0SECRET", "url", "the secret is not JSON; leave out #url to take all of it"),
    ],
    ids=["another key", "null", "a list", "no JSON"],
)
def test_a_key_that_a_secret_lacks_is_named_and_no_value_is_told(
    text: str, key: str, said: str, secret: Callable[[str], str], given: Callable[..., Settings]
) -> None:
    assert said in refused(given, external_postgres=f"secretsmanager:{secret(text)}#{key}")


def test_a_value_that_reads_as_a_place_itself_is_refused_and_not_told(
    secret: Callable[[str], str], given: Callable[..., Settings]
) -> None:
    said = refused(given, external_postgres=f"secretsmanager:{secret('ssm:S0SECRET')}")
    assert "the value there begins with ssm: or secretsmanager: itself" in said
    assert "S0SECRET" not in said


def test_a_binary_secret_is_refused(given: Callable[..., Settings]) -> None:
    made = boto3.client("secretsmanager", region_name=REGION).create_secret(Name="binary", SecretBinary=b"S0SECRET")
    assert "is binary; store it as text" in refused(given, external_postgres=f"secretsmanager:{made['ARN']}")


@pytest.mark.parametrize("setting", ["page_port", "currency", "external_lake", "deploy_stream", "external_postgres"])
def test_a_value_that_a_setting_does_not_take_is_not_told(
    setting: str, secret: Callable[[str], str], given: Callable[..., Settings]
) -> None:
    reference = f"secretsmanager:{secret('S0SECRET')}"
    assert f"{Settings.variable(setting)}={reference}: " in refused(given, **{setting: reference})


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``answered("AccessDeniedException")``: how AWS answers. moto's own refusal is XML, and AWS' is not."""

    def with_error(code: str) -> None:
        def refuse(self: object) -> str:
            raise JsonRESTError(code, "as AWS says it")

        monkeypatch.setattr(SecretsManagerResponse, "get_secret_value", refuse)
        monkeypatch.setattr(SimpleSystemManagerResponse, "get_parameter", refuse)
        monkeypatch.setattr(aws_settings, "TRIES", 1)

    return with_error


@pytest.mark.parametrize(
    ("code", "reference", "said"),
    [
        ("AccessDeniedException", "secretsmanager:shop", "need secretsmanager:GetSecretValue for it, and kms:Decrypt"),
        ("AccessDeniedException", "ssm:/shop", "need ssm:GetParameter for it, and kms:Decrypt if"),
        ("DecryptionFailure", "secretsmanager:shop", "and kms:Decrypt if it is encrypted with a key of your own"),
        ("InvalidKeyId", "ssm:/shop", "and kms:Decrypt if it is encrypted with a key of your own"),
        ("UnrecognizedClientException", "ssm:/shop", "does not take these credentials"),
        ("ExpiredTokenException", "secretsmanager:shop", "Renew them"),
        ("InvalidRequestException", "secretsmanager:shop", "refuses the request (InvalidRequestException: as AWS says"),
    ],
)
def test_what_the_role_lacks_is_named(
    code: str, reference: str, said: str, answered: Callable[[str], None], given: Callable[..., Settings]
) -> None:
    answered(code)
    text = refused(given, external_postgres=reference)
    assert f"INSIGHTS_EXTERNAL_POSTGRES={reference}: AWS in eu-central-1 " in text
    assert code in text
    assert said in text


def test_an_overloaded_aws_is_something_to_try_again(
    answered: Callable[[str], None], given: Callable[..., Settings]
) -> None:
    answered("ThrottlingException")
    with pytest.raises(SettingAway, match=r"EXTERNAL_POSTGRES=ssm:/shop: AWS in eu-central-1 is overloaded"):
        given(external_postgres="ssm:/shop")


def test_without_credentials_it_is_said_where_they_may_come_from(
    given: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    text = refused(given, external_postgres="secretsmanager:shop")
    assert "INSIGHTS_EXTERNAL_POSTGRES=secretsmanager:shop: there are no AWS credentials" in text


def test_without_a_region_it_is_said_what_names_one(
    given: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    assert "set AWS_REGION, or name the secret by its ARN" in refused(given, external_postgres="secretsmanager:shop")


def test_an_aws_that_does_not_answer_is_something_to_try_again(
    given: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(aws_settings, "TRIES", 1)
    with pytest.raises(SettingAway, match=r"EXTERNAL_POSTGRES=ssm:/shop: AWS in eu-central-1 does not answer"):
        given(external_postgres="ssm:/shop")


def test_settings_of_which_aws_keeps_none_do_not_load_its_client() -> None:
    program = (
        "import sys; from insights.settings import load_settings; load_settings(); print('botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert done.stdout == "False\n", done.stderr
