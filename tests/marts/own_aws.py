"""AWS' S3, Glue and STS as moto plays them, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import requests

from tests.conftest import free_ports, wait_until

REGION, KEY, SECRET = "eu-central-1", "testing", "testing"
BUCKET = "lake"
SERVER = Path(__file__).with_name("moto_server.py")


@contextmanager
def own_aws(folder: Path) -> Iterator[str]:
    """The address of an AWS with an empty bucket, from here until it is left."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    with (folder / "aws.log").open("w") as log:
        command = [sys.executable, str(SERVER), "127.0.0.1", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: _is_up(address), what=f"moto is up; see {log.name}")
            client("s3", address).create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            yield address
        finally:
            process.kill()
            process.wait(30)


def _is_up(address: str) -> bool:
    try:
        return requests.get(f"{address}/moto-api/", timeout=5).ok
    except requests.RequestException:
        return False


def client(service: str, address: str) -> Any:
    """boto3's client of a service there."""
    return boto3.client(
        service, endpoint_url=address, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )
