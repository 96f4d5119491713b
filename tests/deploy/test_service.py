"""The hub on ECS, against moto's server: another release, one that does not come up, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import boto3
import pytest

from insights.deploy.service import Hub, tagged
from insights.managed_flink.application import DeployFailed
from insights.settings import HubService
from spark.aws import Aws
from tests.own_aws import moto_server

REGION = "eu-central-1"
SERVICE = HubService(cluster="insights", service="hub", region=REGION)
KEYS = {"aws_access_key_id": "of-tests", "aws_secret_access_key": "of-tests"}


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with moto_server() as url:
        client = boto3.client("ecs", region_name=REGION, endpoint_url=url, **KEYS)
        client.create_cluster(clusterName="insights")
        containers = [
            {"name": "hub", "image": "1.dkr.ecr/insights-hub:1", "memory": 1},
            {"name": "tls", "image": "caddy:2", "memory": 1},
        ]
        client.register_task_definition(family="hub", containerDefinitions=containers)
        client.create_service(cluster="insights", serviceName="hub", taskDefinition="hub", desiredCount=0)
        yield client


@pytest.fixture
def hub(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """moto leaves a service's deployment as it was made; in ECS the newest has the service's own revision."""
    described = Hub._described

    def as_ecs(self: Hub) -> dict[str, Any]:
        found = dict(described(self))
        (newest,) = found["deployments"]
        found["deployments"] = [{**newest, "taskDefinition": found["taskDefinition"]}]
        return found

    monkeypatch.setattr(Hub, "_described", as_ecs)
    aws = Aws(region=REGION, endpoint_url=ecs.meta.endpoint_url, sleep=lambda seconds: None, rng=Random(1))
    return Hub(aws, SERVICE, lambda text: None, clock=lambda: 0.0)


def images(hub: Hub) -> dict[str, str]:
    return hub.status()[1]


def test_a_release_changes_our_images_and_no_others(hub: Hub) -> None:
    assert hub.changes("2") == ["hub: 1.dkr.ecr/insights-hub:1 → 1.dkr.ecr/insights-hub:2"]
    assert hub.apply("2") == "hub runs as hub:2"
    assert images(hub) == {"hub": "1.dkr.ecr/insights-hub:2", "tls": "caddy:2"}
    assert hub.changes("2") == []
    assert "nothing was changed" in hub.apply("2")


def test_roll_back_takes_the_revision_before(hub: Hub) -> None:
    hub.apply("2")
    assert hub.roll_back() == "hub runs as hub:1"
    assert images(hub)["hub"].endswith(":1")
    with pytest.raises(DeployFailed, match="not known what was before"):
        hub.roll_back()


def failing(hub: Hub) -> Callable[[], dict[str, Any]]:
    """What ECS says of the service while its second revision does not come up, and ECS does not go back."""
    described = hub._described

    def with_failure() -> dict[str, Any]:
        found = dict(described())
        if found["taskDefinition"].endswith(":2"):
            failed = {"rolloutState": "FAILED", "rolloutStateReason": "tasks failed to start."}
            found["deployments"] = [{**found["deployments"][0], **failed}]
        return found

    return with_failure


def test_a_release_whose_tasks_do_not_stay_up_is_replaced_by_the_one_before(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_described", failing(hub))
    with pytest.raises(DeployFailed, match=r"hub:2 of hub failed: tasks failed to start\. hub:1 runs again"):
        hub.apply("2")
    assert images(hub)["hub"].endswith(":1")


def test_a_release_that_ecs_itself_replaced_by_the_one_before_is_not_said_to_run(
    hub: Hub, ecs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = hub._switch

    def then_ecs_goes_back(definition: str) -> None:
        switch(definition)
        ecs.update_service(cluster="insights", service="hub", taskDefinition="hub:1")

    monkeypatch.setattr(hub, "_switch", then_ecs_goes_back)
    with pytest.raises(DeployFailed, match="hub:2 of hub was replaced by hub:1, by ECS or somebody else"):
        hub.apply("2")
    assert images(hub)["hub"].endswith(":1")


def test_a_roll_out_that_was_killed_and_does_not_come_up_is_taken_back_by_the_next_apply(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(definition: str) -> None:
        raise Killed

    with monkeypatch.context() as until_killed:
        until_killed.setattr(hub, "_steady", killed)
        with pytest.raises(Killed):
            hub.apply("2")
    monkeypatch.setattr(hub, "_described", failing(hub))
    with pytest.raises(DeployFailed, match=r"hub:2 of hub failed: tasks failed to start\. hub:1 runs again"):
        hub.apply("2")
    assert images(hub)["hub"].endswith(":1")


def test_a_service_that_is_not_there_is_named_with_its_setting(hub: Hub, ecs: Any) -> None:
    ecs.delete_service(cluster="insights", service="hub", force=True)
    with pytest.raises(DeployFailed, match=r"no service hub in the cluster insights: INSIGHTS_DEPLOY_SERVICE"):
        hub.apply("2")


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("host:5000/insights-hub", "host:5000/insights-hub:2"),
        ("host/insights-flink:1", "host/insights-flink:2"),
        ("insights-hub@sha256:ab", "insights-hub:2"),
        ("host/insights/caddy:1", "host/insights/caddy:1"),
    ],
)
def test_an_image_is_ours_by_its_name(image: str, wanted: str) -> None:
    assert tagged(image, "2") == wanted
