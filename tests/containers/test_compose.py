"""The whole system in containers, as compose.yaml has it: its numbers are those of the embedded stack, to the cent.

Needs an engine at DOCKER_HOST or Docker's own socket, a compose command, and the images: `make test-containers`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers.deployment import Deployment, compose_command, deployment

pytestmark = [pytest.mark.containers, pytest.mark.stack, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    compose_command()
    request.getfixturevalue("my_turn")  # asked for by name it would be waited for before anything is skipped
    with deployment("compose.yaml") as found:
        yield found


def test_every_minute_of_sales_is_what_was_published(deployed: Deployment) -> None:
    deployed.assert_exact()


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
