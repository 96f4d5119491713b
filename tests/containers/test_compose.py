"""The whole system in containers, as compose.yaml has it: its numbers are those of the embedded stack, to the cent.

Needs an engine at DOCKER_HOST or Docker's own socket, a compose command, and the images: `make test-containers`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from insights.settings import PROJECT
from tests.conftest import free_ports

pytestmark = [pytest.mark.containers, pytest.mark.stack, pytest.mark.timeout(1500)]
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

    def __init__(self, compose: list[str], port: int) -> None:
        self.port = port
        self._compose = [*compose, "--project-name", f"insights-test-{port}", "--file", str(PROJECT / "compose.yaml")]
        self._environment = {
            **os.environ,
            "INSIGHTS_PAGE_PORT": str(port),
            "INSIGHTS_DATABASE_PORT": str(port + 1),
            "INSIGHTS_HISTORY": "2d",
        }

    def run(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            [*self._compose, *arguments], env=self._environment, input=given, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout

    def inside(self, *command: str, given: str | None = None) -> str:
        return self.run("exec", "-T", "hub", *command, given=given)


def compose_command() -> list[str] | None:
    """The one that is installed, or None."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    return ["docker", "compose"] if shutil.which("docker") else None


def engine_answers() -> bool:
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(path)
        return True
    return False


@pytest.fixture(scope="module")
def compose() -> list[str]:
    command = compose_command()
    if command is None or not engine_answers():
        pytest.skip("no container engine answers at DOCKER_HOST, or there is no docker-compose")
    return command


@pytest.fixture(scope="module")
def deployed(compose: list[str], request: pytest.FixtureRequest, until: Callable[..., Any]) -> Iterator[Deployment]:
    request.getfixturevalue("my_turn")  # asked for by name it would be waited for before anything is skipped
    port = free_ports(2)[0]
    found = Deployment(compose, port)
    try:
        found.run("up", "--detach", "--no-build")
        until(lambda: page_answers(port), seconds=420, every=1, what="the page answers")
        until(lambda: settled(found), seconds=420, every=2, what="all that was published is accounted for")
        yield found
    finally:
        logs = PROJECT / "test-results" / "containers.log"
        logs.parent.mkdir(exist_ok=True)
        logs.write_text(found.run("logs", "--no-color"))
        found.run("down", "--volumes", "--timeout", "60")


def page_answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as response:
        return bool(response.status == 200)
    return False


def settled(deployment: Deployment) -> bool:
    """Is there what was published, and all of it accounted for?"""
    topics = json.loads(deployment.inside("insights", "status", "--json"))["topics"]
    orders = topics["sales.order_placed.v1"]
    return orders["published"] > 100 and all(
        t["published"] == t["counted"] + t["duplicate"] + t["late"] + t["dead"] for t in topics.values()
    )


def test_every_minute_of_sales_is_what_was_published(deployed: Deployment) -> None:
    found = json.loads(deployed.inside("python", "-", given=COMPARED))
    assert found["differing"] == []
    assert found["rows"] > 100


def test_a_replay_proves_the_live_tables(deployed: Deployment) -> None:
    plan = "/var/lib/insights/plan.yaml"
    deployed.inside("insights", "replay", "plan", "sales_per_minute", "--from-beginning", "--out", plan)
    deployed.inside("insights", "replay", "run", plan, "--engine", "duckdb")
    assert "sales_per_minute" in deployed.inside("insights", "replay", "verify", "r1")  # ends with 1 if a cell differs


def test_the_doctor_finds_every_server_well(deployed: Deployment) -> None:
    shown = deployed.inside("insights", "doctor")
    for text in (
        "1 broker at kafka:19092",
        "subjects at http://registry",
        "PostgreSQL 18 at postgres",
        "1 TaskManager",
    ):
        assert text in shown


def test_a_container_runs_as_nobody_and_cannot_change_its_image(deployed: Deployment) -> None:
    assert deployed.inside("id", "-u").strip() == "10001"
    assert deployed.inside("sh", "-c", "touch /opt/insights/x 2>/dev/null || echo refused").strip() == "refused"
