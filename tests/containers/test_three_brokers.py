"""Three brokers and two TaskManagers: one after the other goes away, and nothing is lost and nothing counted twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

import docker
from tests.conftest import wait_until
from tests.containers.deployment import Deployment, compose_command, deployment

pytestmark = [pytest.mark.containers, pytest.mark.stack, pytest.mark.timeout(2400)]
# Of every partition of every topic, its own and Kafka's: how many copies there are, and how many of them are in step.
COPIES = """
import json
from confluent_kafka.admin import AdminClient
from insights.settings import load_settings
topics = AdminClient(load_settings().kafka.librdkafka).list_topics(timeout=10).topics.values()
partitions = [p for t in topics for p in t.partitions.values()]
copies, least = sorted({len(p.replicas) for p in partitions}), min(len(p.isrs) for p in partitions)
print(json.dumps({"copies": copies, "least": least}))
"""


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    compose_command()
    request.getfixturevalue("my_turn")
    with deployment("compose.yaml", "compose.three-brokers.yaml", INSIGHTS_RATE="3", INSIGHTS_HISTORY="1h") as found:
        yield found


def copies(deployed: Deployment) -> dict[str, object]:
    found: dict[str, object] = json.loads(deployed.inside("python", "-", given=COPIES))
    return found


def in_step(deployed: Deployment, least: int) -> Callable[[], bool]:
    return lambda: copies(deployed)["least"] == least


def flows_on(deployed: Deployment, events: int = 60) -> None:
    """So many more are published, and counted."""

    def sums() -> tuple[int, int]:
        topics = deployed.topics().values()
        return sum(t["published"] for t in topics), sum(t["counted"] for t in topics)

    published, counted = sums()
    wait_until(lambda: sums()[0] >= published + events, seconds=240, every=2, what=f"{events} events are published")
    wait_until(lambda: sums()[1] >= counted + events, seconds=240, every=2, what=f"{events} events are counted")


def test_every_topic_has_three_copies(deployed: Deployment) -> None:
    wait_until(in_step(deployed, 3), seconds=120, every=2, what="all copies are in step")
    assert copies(deployed)["copies"] == [3]
    assert "3 brokers at kafka:19092,kafka-2:19092,kafka-3:19092" in deployed.inside("insights", "doctor")


def test_a_broker_off_the_network_another_killed_and_a_taskmanager_killed_lose_and_double_nothing(
    deployed: Deployment,
) -> None:
    with closing(docker.from_env()) as engine:
        (network,) = engine.networks.list(names=[f"{deployed.name}_default"])
        (cut_off,) = engine.containers.list(filters={"name": f"{deployed.name}-kafka-2-1"})
        network.disconnect(cut_off)
        wait_until(in_step(deployed, 2), seconds=120, every=2, what="the cluster does without the one cut off")
        flows_on(deployed)
        network.connect(cut_off, aliases=["kafka-2"])
    wait_until(in_step(deployed, 3), seconds=240, every=2, what="it has caught up")
    deployed.run("kill", "--signal", "KILL", "kafka")
    wait_until(in_step(deployed, 2), seconds=120, every=2, what="the cluster does without the one killed")
    flows_on(deployed)
    deployed.run("start", "kafka")
    wait_until(in_step(deployed, 3), seconds=240, every=2, what="it has caught up")
    deployed.run("kill", "--signal", "KILL", "taskmanager")
    flows_on(deployed)
    deployed.run("start", "taskmanager")
    wait_until(deployed.is_settled, seconds=240, every=1, what="all that was published is accounted for")
    deployed.assert_exact()
    assert {name: t for name, t in deployed.topics().items() if t["late"] or t["dead"]} == {}
