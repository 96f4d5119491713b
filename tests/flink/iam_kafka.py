"""A Kafka that is logged in to as Amazon's MSK is, by IAM: with a signed address of AWS' as the token.

Its half of the login is our own (java_iam/), which checks the signature as AWS would. It knows one key, and no policy.
"""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from insights import jars
from insights.java import java_home
from insights.settings import load_settings
from schemas.kafka import TOKEN_MECHANISM, Kafka
from tests.flink.secure_kafka import listening

SOURCE = Path(__file__).parent / "java_iam" / "SignedAddresses.java"
REGION = "eu-central-1"
AWS = {"AWS_ACCESS_KEY_ID": "AKIDOFTHETEST", "AWS_SECRET_ACCESS_KEY": "its/secret+key"}
BEARER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
LOGIN = {
    "oauthbearer.sasl.jaas.config": f'{BEARER} required unsecuredLoginStringClaim_sub="broker";',
    "oauthbearer.sasl.server.callback.handler.class": "insights.tests.SignedAddresses",
    # It ends a connection whose token has expired, as MSK does, unless the client has logged in again.
    "oauthbearer.connections.max.reauth.ms": "3600000",
}


@contextmanager
def iam_kafka(folder: Path) -> Iterator[tuple[Kafka, Kafka]]:
    """Its listener in the clear, and the one with the login, which takes tokens signed with the key in AWS."""
    environment = {**AWS, "AWS_REGION": REGION}
    with listening(folder, TOKEN_MECHANISM, LOGIN, _compiled(folder), environment) as (clear, secure):
        yield clear, replace(secure, iam_region=REGION)


def _compiled(folder: Path) -> Path:
    lib, jar = load_settings().jars, folder / "tests.jar"
    jars.fetch(lib)
    (compiler,), kafka = jars.of_part("compiler", lib), jars.of_part("kafka", lib)
    classes = folder / "classes"
    command = [str(java_home() / "bin" / "java"), "-jar", str(compiler), "-17", "-proc:none", "-nowarn"]
    subprocess.run([*command, "-cp", ":".join(map(str, kafka)), "-d", str(classes), str(SOURCE)], check=True)
    with zipfile.ZipFile(jar, "w") as archive:
        for path in classes.rglob("*.class"):
            archive.write(path, path.relative_to(classes))
    return jar
