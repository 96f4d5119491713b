"""A Kafka that asks who is there, by SASL_SSL, with a certificate of an authority of its own.

By SCRAM-SHA-512 here; by IAM in iam_kafka.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from insights.stack import servers
from schemas.kafka import MECHANISM, Kafka
from tests import watcher
from tests.conftest import free_ports, own_settings, wait_until

USER, PASSWORD = "hub", 'it\'s "secret" \\ 1'
DAY = timedelta(days=1)
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


@contextmanager
def secure_kafka(folder: Path) -> Iterator[Kafka]:
    """How it is reached, from here until it is left."""
    login = {f"{MECHANISM.lower()}.sasl.jaas.config": f"{SCRAM} required;"}
    with listening(folder, MECHANISM, login) as (clear, secure):
        _make_user(clear)
        yield replace(secure, user=USER, password=PASSWORD)


@contextmanager
def listening(
    folder: Path,
    mechanism: str,
    login: Mapping[str, str],
    classes: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[Kafka, Kafka]]:
    """Its listener in the clear, for whoever makes users and topics, and the other, which is asked with ``mechanism``.

    ``login`` are options of the second, ``classes`` a jar that they name.
    """
    settings = own_settings(folder / "home")
    for needed in (settings.run_dir, settings.logs_dir):
        needed.mkdir(parents=True)
    (port,) = free_ports(1)
    ca_file, chain, key = _certificates(folder)
    part = servers.kafka(settings)
    assert part.prepare
    part.prepare()
    with (settings.conf_dir / "kafka" / "server.properties").open("a") as properties:
        own = {
            "listeners": f"PLAINTEXT://127.0.0.1:{settings.kafka_port},SASL_SSL://127.0.0.1:{port},"
            f"CONTROLLER://127.0.0.1:{settings.kafka_controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{settings.kafka_port},SASL_SSL://127.0.0.1:{port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
            "sasl.enabled.mechanisms": mechanism,
            **{f"listener.name.sasl_ssl.{name}": value for name, value in login.items()},
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": chain.replace("\n", "\\n"),
            "ssl.keystore.key": key.replace("\n", "\\n"),
        }
        properties.writelines(f"{name}={value}\n" for name, value in own.items())
    command = [
        f"{word}:{classes}" if classes and before == "-cp" else word for before, word in pairwise(["", *part.command])
    ]
    tag = {watcher.TAG: os.environ[watcher.TAG]}
    with (folder / "kafka.log").open("w") as log:
        process = subprocess.Popen(
            command, env={**part.environment, **tag, **(environment or {})}, stdout=log, stderr=log
        )
    try:
        wait_until(part.healthy, seconds=60, what=f"Kafka is up; see {folder / 'kafka.log'}")
        yield settings.kafka, Kafka(f"127.0.0.1:{port}", ca_file=ca_file)
    finally:
        process.terminate()
        process.wait(60)


def _make_user(at: Kafka) -> None:
    credential = UserScramCredentialUpsertion(
        USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
    )
    admin = AdminClient(at.librdkafka)
    (done,) = admin.alter_user_scram_credentials([credential]).values()
    done.result(30)


def _certificates(folder: Path) -> tuple[Path, str, str]:
    """The authority's file; the server's certificate and its key, as PEM."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)

    def built(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - DAY).not_valid_after(now + DAY)

    ca = built(issuer, authority).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    where = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM))
    signed = built(name, server).add_extension(where, critical=False).sign(authority, hashes.SHA256())
    key = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ca_file, signed.public_bytes(Encoding.PEM).decode(), key.decode()
