"""Values of settings that AWS keeps: in Secrets Manager, or in Systems Manager's Parameter Store.

The setting then says where: ``secretsmanager:NAME_OR_ARN``, with ``#KEY`` for one value of a secret that is JSON, or
``ssm:NAME``. No message says a value.
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from schemas.aws import EXPIRED
from schemas.errors import InsightsError, Misconfigured, Retryable

# By the prefix: boto3's name of the service, and the permission that a look-up needs.
SERVICES = {
    "secretsmanager": ("secretsmanager", "secretsmanager:GetSecretValue"),
    "ssm": ("ssm", "ssm:GetParameter"),
}
SECONDS, TRIES = 5, 3
NOT_THERE = ("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound")
# InvalidKeyId is what the Parameter Store says when the parameter's key may not be used.
REFUSED = ("AccessDeniedException", "AccessDenied", "DecryptionFailure", "InvalidKeyId")


class SettingAway(Retryable):
    """AWS, which keeps a setting's value, does not answer."""


class LookedUp(str):
    """A value that AWS keeps. ``reference`` is what the setting says, ``region`` where it was found."""

    reference: str
    region: str


def is_reference(text: str) -> bool:
    """Does a setting with this value say where its value is?"""
    return text.partition(":")[0] in SERVICES and ":" in text


def looked_up(variable: str, reference: str) -> LookedUp:
    """The value that ``variable`` refers to. Asks AWS once a process and secret; blocks for 20 seconds at most.

    Raises Misconfigured with what is wrong, and SettingAway when AWS does not answer.
    """
    prefix, _, rest = reference.partition(":")
    name, _, key = rest.partition("#") if prefix == "secretsmanager" else (rest, "", "")
    said = f"{variable}={reference}"
    if not name or rest.endswith("#"):
        raise Misconfigured(f"{said}: write secretsmanager:NAME_OR_ARN, secretsmanager:NAME_OR_ARN#KEY or ssm:NAME")
    region = _region_of(name, said)
    text = _asked(prefix, name, region, said)
    found = LookedUp(_value_of(text, key, said) if key else text)
    if is_reference(found):  # handed to a child by value, it would be looked up again, and be in messages
        raise Misconfigured(f"{said}: the value there begins with ssm: or secretsmanager: itself, which no value may")
    found.reference, found.region = reference, region
    return found


def _value_of(text: str, key: str, said: str) -> str:
    """One value of a secret that is JSON. What is no text stays JSON: a number, or a setting that is JSON itself."""
    try:
        document = json.loads(text)
    except ValueError:
        raise Misconfigured(f"{said}: the secret is not JSON; leave out #{key} to take all of it") from None
    if not isinstance(document, dict) or document.get(key) is None:
        there = f"it has {', '.join(sorted(document))}" if isinstance(document, dict) else "it is no JSON object"
        raise Misconfigured(f"{said}: the secret has no value {key}; {there}")
    value = document[key]
    return value if isinstance(value, str) else json.dumps(value)


def _region_of(name: str, said: str) -> str:
    """An ARN has its own; AWS' containers set AWS_REGION, which boto3 does not read."""
    if name.startswith("arn:") and name.count(":") > 4:
        return name.split(":")[3]
    import boto3

    region = os.environ.get("AWS_REGION") or boto3.session.Session().region_name
    if not region:
        raise Misconfigured(f"{said}: the region is not known; set AWS_REGION, or name the secret by its ARN")
    return str(region)


def _asked(prefix: str, name: str, region: str, said: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = _fetched(prefix, name, region)
    except ClientError as error:
        raise _of_service(error.response, prefix, region, said) from error
    except BotoCoreError as error:
        raise _of_client(error, region, said) from error
    if text is None:
        raise Misconfigured(f"{said}: the secret is binary; store it as text")
    return text


@cache
def _fetched(prefix: str, name: str, region: str) -> str | None:
    """The text that AWS keeps there. Raises what boto3 does."""
    client = _client(SERVICES[prefix][0], region)
    if prefix == "ssm":
        return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    text: str | None = client.get_secret_value(SecretId=name).get("SecretString")
    return text


@cache
def _client(service: str, region: str) -> Any:
    import boto3  # a third of a second to load, which no other setting should pay
    from botocore.config import Config

    patience = Config(
        connect_timeout=SECONDS, read_timeout=SECONDS, retries={"mode": "standard", "total_max_attempts": TRIES}
    )
    return boto3.session.Session().client(service, region_name=region, config=patience)


def _of_client(error: Exception, region: str, said: str) -> InsightsError:
    """What went wrong on this side of the wire."""
    from botocore import exceptions as e

    if isinstance(error, e.NoCredentialsError):
        return Misconfigured(
            f"{said}: there are no AWS credentials. `aws sso login` provides them, or AWS_PROFILE, or AWS_ACCESS_KEY_ID"
            " and AWS_SECRET_ACCESS_KEY, or a container's role"
        )
    if isinstance(error, e.ConnectionError | e.HTTPClientError):
        return SettingAway(f"{said}: AWS in {region} does not answer ({error}). Check the network and try again")
    return Misconfigured(f"{said}: AWS in {region} can't be asked: {error}")


def _of_service(response: dict[str, dict[str, object]], prefix: str, region: str, said: str) -> InsightsError:
    """The error that AWS returned."""
    code = str(response["Error"].get("Code", ""))
    told = f"{code}: {response['Error'].get('Message', '')}".rstrip(": ")
    status = response["ResponseMetadata"].get("HTTPStatusCode", 0)
    if code in NOT_THERE:
        return Misconfigured(
            f"{said}: it is not there, in {region} and the account of these AWS credentials ({told}). Create it, or"
            " correct the name or AWS_REGION"
        )
    if code in REFUSED:
        return Misconfigured(
            f"{said}: AWS in {region} refuses to tell it ({told}). These AWS credentials need {SERVICES[prefix][1]}"
            " for it, and kms:Decrypt if it is encrypted with a key of your own"
        )
    if code in EXPIRED:
        return Misconfigured(f"{said}: AWS in {region} does not take these credentials ({told}). Renew them")
    if (isinstance(status, int) and status >= 500) or "Throttl" in code:
        return SettingAway(f"{said}: AWS in {region} is overloaded ({told}). Try again later")
    return Misconfigured(f"{said}: AWS in {region} refuses the request ({told})")
