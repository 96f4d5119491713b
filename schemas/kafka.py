"""How to reach a Kafka, defined once for librdkafka's clients and for Java's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers, as ``host:port`` and more after commas, and who asks them.

    Without a user everything is said in the clear, to a broker that believes it. With one it is SASL_SSL with
    SCRAM-SHA-512. ``ca_file`` has the certificates, as PEM, that the brokers' own are signed with; without it those
    that the system trusts, and Java.
    """

    bootstrap: str
    user: str | None = None
    password: str = field(default="", repr=False)
    ca_file: Path | None = None

    def __str__(self) -> str:
        return self.bootstrap

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each broker."""
        named = (at.rpartition(":") for at in self.bootstrap.split(","))
        return [(host, int(port)) for host, _, port in named]

    @property
    def librdkafka(self) -> dict[str, str]:
        """What confluent_kafka's clients need to reach it."""
        found = {"bootstrap.servers": self.bootstrap}
        if self.user:
            found |= {"security.protocol": "SASL_SSL", "sasl.mechanism": MECHANISM}
            found |= {"sasl.username": self.user, "sasl.password": self.password}
            found |= {"ssl.ca.location": str(self.ca_file) if self.ca_file else "probe"}
        return found

    def java_security(self, shaded: str = "") -> dict[str, str]:
        """What Java's clients need besides ``bootstrap.servers``, under Kafka's own names. Empty without a user.

        ``shaded`` is what comes before the names of Kafka's classes in a jar that brings Kafka under other names.
        The certificates themselves are in it, so that nobody else needs the file. Raises OSError without it.
        """
        if not self.user:
            return {}
        user, password = (text.replace("\\", "\\\\").replace('"', '\\"') for text in (self.user, self.password))
        login = f'{shaded}org.apache.kafka.common.security.scram.ScramLoginModule required username="{user}"'
        found = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.jaas.config": f'{login} password="{password}";',
        }
        if self.ca_file:
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": self.ca_file.read_text()}
        return found
