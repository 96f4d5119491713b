"""A real S3 for tests: versitygw, on a folder of this machine.

``go install`` of MODULE builds it. It is looked for on the path and where Go puts it. A test without it is skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import free_ports, wait_until

BUCKET = "shop"
KEY_ID, SECRET = "hub", "S3SECRET+/ of the hub"
PROGRAM = "versitygw"
MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"


def program() -> str:
    """Where it is. Skips the test that asks, when it is nowhere."""
    of_go = Path(os.environ.get("GOPATH", Path.home() / "go")) / "bin"
    if found := shutil.which(PROGRAM, path=f"{os.environ['PATH']}{os.pathsep}{of_go}"):
        return found
    pytest.skip(f"there is no S3 server here: `go install {MODULE}` builds one")


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """One with an empty bucket until the block ends, as settings of a stack name it. ``folder`` keeps its objects."""
    command, (port,) = program(), free_ports(1)
    (folder / BUCKET).mkdir(parents=True)
    login = {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET}
    arguments = ["--port", f"127.0.0.1:{port}", "--quiet", "posix", str(folder)]
    with (
        (folder.parent / "s3.log").open("w") as log,
        subprocess.Popen([command, *arguments], env={**os.environ, **login}, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: listens(port), what="the S3 server listens")
            yield {
                "external_lake": f"s3://{BUCKET}/lake",
                "external_lake_endpoint": f"http://127.0.0.1:{port}",
                "external_lake_key_id": KEY_ID,
                "external_lake_secret": SECRET,
            }
        finally:
            process.terminate()


def listens(port: int) -> bool:
    """Does something there take connections?"""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
