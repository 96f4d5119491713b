"""A deployment in containers that a test brings up, and what its tables must come to."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import pytest

from insights.settings import PROJECT
from tests.conftest import free_ports, wait_until

# What the source wrote down of what it published, beside the tables, for minutes that are over.
COMPARED = """
import json, psycopg
from insights.settings import load_settings
from producers.answer_key import answers
settings = load_settings()
expected = answers(settings.producers_dir / "shop.sqlite")["sales_per_minute"]
with psycopg.connect(settings.postgres_dsn) as connection:
    until, = connection.execute("select now() - interval '3 minutes'").fetchone()
    names = [c.name for c in connection.execute("select * from live.sales_per_minute limit 0").description]
    rows = connection.execute("select * from live.sales_per_minute").fetchall()
found = {tuple(row[:3]): tuple(row[3:3 + len(next(iter(expected.values())))]) for row in rows if row[0] < until}
expected = {key: value for key, value in expected.items() if key[0] < until}
differing = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
shown = [str((key, expected.get(key), found.get(key))) for key in differing[:5]]
print(json.dumps({"rows": len(expected), "differing": shown}))
"""


class Deployment:
    """One that runs under a name of its own, with its page on ``port``."""

    def __init__(self, files: Sequence[str], port: int, variables: Mapping[str, str]) -> None:
        self.port, self.name = port, f"insights-test-{port}"
        named = [part for file in files for part in ("--file", str(PROJECT / file))]
        self._compose = [*compose_command(), "--project-name", self.name, *named]
        own = {"INSIGHTS_PAGE_PORT": str(port), "INSIGHTS_DATABASE_PORT": str(port + 1)}
        self._environment = {**os.environ, **own, **variables}

    def run(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            [*self._compose, *arguments], env=self._environment, input=given, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout

    def inside(self, *command: str, given: str | None = None) -> str:
        return self.run("exec", "-T", "hub", *command, given=given)

    def topics(self) -> dict[str, dict[str, int]]:
        """Of each topic what was published and what became of it, as ``insights status`` has it."""
        found: dict[str, dict[str, int]] = json.loads(self.inside("insights", "status", "--json"))["topics"]
        return found

    def is_settled(self) -> bool:
        """Is there what was published, and all of it accounted for?"""
        try:
            topics = self.topics()
        except AssertionError:  # the hub begins again where something took too long to come up
            return False
        fates = ("counted", "duplicate", "late", "dead")
        if any(topic[name] is None for topic in topics.values() for name in ("published", *fates)):
            return False  # a server is not there yet
        return topics["sales.order_placed.v1"]["published"] > 100 and all(
            t["published"] == sum(t[name] for name in fates) for t in topics.values()
        )

    def assert_exact(self) -> None:
        """Every minute of sales that is over is what the source wrote down of what it published."""
        found = json.loads(self.inside("python", "-", given=COMPARED))
        assert found["differing"] == []
        assert found["rows"] > 100


def compose_command() -> list[str]:
    """The one that is installed. Skips the test that asks when there is none, or no engine for it."""
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if not shutil.which(command[0]) or not engine_answers():
        pytest.skip("no container engine answers at DOCKER_HOST, or there is no docker-compose")
    return command


def engine_answers() -> bool:
    """Does something take connections where Docker's clients look?"""
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(path)
        return True
    return False


@contextmanager
def deployment(*files: str, **variables: str) -> Iterator[Deployment]:
    """One of these files of Compose, with its past counted, of two days. It and its volumes end with the block."""
    port = free_ports(2)[0]
    found = Deployment(files, port, {"INSIGHTS_HISTORY": "2d", **variables})
    try:
        found.run("up", "--detach", "--no-build")
        wait_until(lambda: page_answers(port), seconds=600, every=1, what="the page answers")
        wait_until(found.is_settled, seconds=900, every=2, what="all that was published is accounted for")
        yield found
    finally:
        logs = PROJECT / "test-results" / f"containers-{len(files)}.log"
        logs.parent.mkdir(exist_ok=True)
        logs.write_text(found.run("logs", "--no-color"))
        found.run("down", "--volumes", "--timeout", "60")


def page_answers(port: int) -> bool:
    """Is the page up?"""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as response:
        return bool(response.status == 200)
    return False
