"""How to reach a Kafka and log in there, defined once for librdkafka's clients and for Java's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar
from weakref import ref

from schemas.errors import Misconfigured

# Flink's Kafka connector brings Kafka's classes under names of its own.
SHADED = "org.apache.flink.kafka.shaded."
MECHANISM = "SCRAM-SHA-512"
POLL_SECONDS = 1.0
# Kafka's login by token. MSK takes a signed address of AWS' for one: from Java, too.
TOKEN_MECHANISM = "OAUTHBEARER"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers, as ``host:port`` and more after commas, and who asks them.

    Without a login everything is said in the clear, to a broker that believes it. With a user it is SASL_SSL with
    SCRAM-SHA-512. With ``iam_region`` it is SASL_SSL with IAM, for brokers of MSK in that region: as who AWS' clients
    find that they are (AWS_PROFILE, keys, a role). ``ca_file`` has the certificates, as PEM, that the brokers' own are
    signed with; without it those that the system trusts, and Java.
    """

    bootstrap: str
    user: str | None = None
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    iam_region: str | None = None

    def __str__(self) -> str:
        return self.bootstrap

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each broker."""
        named = (at.rpartition(":") for at in self.bootstrap.split(","))
        return [(host, int(port)) for host, _, port in named]

    @property
    def librdkafka(self) -> dict[str, Any]:
        """What confluent_kafka's clients need to reach it. See ``logged_in``."""
        found: dict[str, Any] = {"bootstrap.servers": self.bootstrap}
        if not self.user and not self.iam_region:
            return found
        found |= {"security.protocol": "SASL_SSL", "ssl.ca.location": str(self.ca_file) if self.ca_file else "probe"}
        if self.iam_region:
            return found | {"sasl.mechanism": TOKEN_MECHANISM, "oauth_cb": partial(_token, self.iam_region)}
        return found | {"sasl.mechanism": MECHANISM, "sasl.username": self.user, "sasl.password": self.password}

    def java_security(self, shaded: str = "") -> dict[str, str]:
        """What Java's clients need besides ``bootstrap.servers``, under Kafka's own names. Empty without a login.

        ``shaded`` is what comes before the names of Kafka's classes in a jar that brings Kafka under other names.
        The certificates themselves are in it, so that nobody else needs the file. Raises OSError without it.
        """
        if not self.user and not self.iam_region:
            return {}
        found = {
            "security.protocol": "SASL_SSL",
            **(self._java_iam(shaded) if self.iam_region else self._scram(shaded)),
        }
        if self.ca_file:
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": self.ca_file.read_text()}
        return found

    @staticmethod
    def _java_iam(shaded: str) -> dict[str, str]:
        """The jar with the class is part ``iam`` of insights/jars.toml. It takes the region from AWS' own settings."""
        module = f"{shaded}org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
        return {
            "sasl.mechanism": TOKEN_MECHANISM,
            "sasl.jaas.config": f"{module} required;",
            "sasl.login.callback.handler.class": "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler",
        }

    def _scram(self, shaded: str) -> dict[str, str]:
        user, password = (text.replace("\\", "\\\\").replace('"', '\\"') for text in (self.user or "", self.password))
        login = f'{shaded}org.apache.kafka.common.security.scram.ScramLoginModule required username="{user}"'
        return {"sasl.mechanism": MECHANISM, "sasl.jaas.config": f'{login} password="{password}";'}


class Polled(Protocol):
    """A client of confluent_kafka: producer, consumer or admin."""

    def poll(self, timeout: float, /) -> Any:
        """Serve callbacks."""
        ...


Client = TypeVar("Client", bound=Polled)


def logged_in(client: Client) -> Client:
    """The same client, which has asked for its first token if it needs one. Does not block, unless for AWS' keys.

    Librdkafka asks for a token only while a client is polled, and most requests poll nothing.
    """
    client.poll(0)
    return client


def stays_logged_in(kafka: Kafka, client: Client) -> Client:
    """The same, for a producer or an admin that may be idle for longer than the quarter of an hour that a token lasts.

    Left alone, it would try to log in with the old token, less and less often, and miss its next request's deadline.
    A thread polls it until nobody has it any more: its callbacks may be called there.
    """
    if kafka.iam_region:
        Thread(target=_keep_polling, args=(ref(client),), daemon=True, name="kafka-login").start()
    return logged_in(client)


def _keep_polling(client: ref[Polled]) -> None:
    while (found := client()) is not None:
        found.poll(0)
        del found  # while this sleeps, it may go
        time.sleep(POLL_SECONDS)


def iam_token(region: str) -> tuple[str, float]:
    """What logs in at MSK, and until when (seconds since 1970). Asks AWS for no more than who we are, if that.

    Raises Misconfigured with the reason when AWS' clients can't find who we are.
    """
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # both take a quarter of a second to load
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import Session

    try:
        if Session().get_credentials() is None:
            raise Misconfigured(
                "there are no AWS credentials: `aws configure` or `aws sso login` provides them, or set AWS_PROFILE, or"
                " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        token, until_ms = MSKAuthTokenProvider.generate_auth_token(region)
    except (BotoCoreError, ClientError, RuntimeError, ValueError) as error:  # RuntimeError: keys that have expired
        raise Misconfigured(f"the AWS credentials can't be used: {error}") from error
    return token, until_ms / 1000


def _token(region: str, _config: str) -> tuple[str, float]:
    try:
        return iam_token(region)
    except Misconfigured as error:
        import structlog  # servers in containers have none, and no such login

        # Librdkafka would say only that there was an error. It asks again in ten seconds.
        structlog.get_logger().warning("no login for Kafka", reason=str(error))
        raise
