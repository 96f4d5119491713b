"""The hub as a service of ECS: another release of its images, and the way back.

A release is a new revision of the service's task definition with the same containers, and images of another tag. ECS
stops the task and starts the new one. When its tasks do not stay up, ECS itself puts the revision before in its place
(terraform's service has a circuit breaker with rollback), or, where it doesn't, this does. Each revision has the one
before it as a tag of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from insights.managed_flink.application import DEADLINE_SECONDS, POLL_SECONDS, DeployFailed, Say
from insights.settings import HubService
from spark.aws import Aws

SERVICE = "ecs"
PREVIOUS = "insights-previous"
# What AWS adds to a task definition by itself, and takes from nobody.
OF_AWS = (
    *("taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities"),
    *("registeredAt", "registeredBy", "deregisteredAt"),
)


class WentBack(DeployFailed):
    """Another revision was put in the place of the one that was rolled out."""


class Hub:
    """The service. ``clock`` and the pauses of ``aws`` make its deadlines; ``say`` is told what is under way."""

    def __init__(self, aws: Aws, service: HubService, say: Say, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._aws = aws
        self._service = service
        self._say = say
        self._clock = clock

    def status(self) -> tuple[str, dict[str, str]]:
        """The task definition that is to run, and image by container. Raises DeployFailed without a service."""
        definition = self._definition(self._described()["taskDefinition"])["taskDefinition"]
        return definition["taskDefinitionArn"], {c["name"]: c["image"] for c in definition["containerDefinitions"]}

    def changes(self, release: str) -> list[str]:
        """One line for each container whose image would be another."""
        _, images = self.status()
        return [
            f"{name}: {image} → {new}" for name, image in images.items() if (new := tagged(image, release)) != image
        ]

    def apply(self, release: str) -> str:
        """Rolls this release's images out, and waits until they run; a line. Blocks for minutes.

        When the tasks of the new revision do not stay up, the previous one is rolled out again. Raises DeployFailed
        with the reason.
        """
        current = self._described()["taskDefinition"]
        found = self._definition(current)
        if not self.changes(release):
            line = f"{self._service.service} has release {release} already; nothing was changed"
            return self._steady_or_back(current, _tags(found).get(PREVIOUS), line)
        kept = {name: value for name, value in found["taskDefinition"].items() if name not in OF_AWS}
        kept["containerDefinitions"] = [
            {**c, "image": tagged(c["image"], release)} for c in kept["containerDefinitions"]
        ]
        tags = [tag for tag in found.get("tags", ()) if tag["key"] != PREVIOUS]
        self._say(f"rolling out release {release}")
        made = self._ask("register_task_definition", **kept, tags=[*tags, {"key": PREVIOUS, "value": current}])
        return self._exchange(current, made["taskDefinition"]["taskDefinitionArn"])

    def roll_back(self) -> str:
        """Rolls out the revision before the current one; a line. Raises DeployFailed as ``apply``, and without one."""
        current = self._described()["taskDefinition"]
        tags = _tags(self._definition(current))
        if PREVIOUS not in tags:
            raise DeployFailed(f"{current} was not made by `insights deploy`, so it is not known what was before it")
        self._say(f"going back to {tags[PREVIOUS]}")
        return self._exchange(current, tags[PREVIOUS])

    def _exchange(self, before: str, after: str) -> str:
        self._switch(after)
        return self._steady_or_back(after, before, f"{self._service.service} runs as {_short(after)}")

    def _steady_or_back(self, after: str, before: str | None, line: str) -> str:
        """The line, once ``after`` runs. Raises DeployFailed when it does not; ``before`` runs then, if it can."""
        try:
            self._steady(after)
            return line
        except WentBack:  # ECS did it
            raise
        except DeployFailed as error:
            if before is None:
                raise DeployFailed(f"{error}. What was before it is not known") from error
            self._say(f"going back to {_short(before)}")
            self._switch(before)
            try:
                self._steady(before)
            except DeployFailed as again:
                raise DeployFailed(f"{error}. {_short(before)} does not come up again, either: {again}") from error
            raise DeployFailed(f"{error}. {_short(before)} runs again") from error

    def _switch(self, definition: str) -> None:
        at = {"cluster": self._service.cluster, "service": self._service.service}
        self._ask("update_service", **at, taskDefinition=definition)

    def _steady(self, definition: str) -> None:
        """Returns once all tasks run as this revision. Blocks.

        Raises WentBack when ECS has put another in its place, and DeployFailed past the deadline.
        """
        deadline, was_other = self._clock() + DEADLINE_SECONDS, False
        while True:
            found = self._described()
            newest = next(each for each in found["deployments"] if each["status"] == "PRIMARY")
            state = newest.get("rolloutState")
            if newest["taskDefinition"] != definition:
                if was_other:  # at one look, it may be that ECS has not got to it yet
                    raise WentBack(self._replaced(found, definition, newest["taskDefinition"]))
                was_other = True
            elif state == "FAILED" or self._clock() > deadline:
                said = newest.get("rolloutStateReason") or next((e["message"] for e in found.get("events", ())), "")
                raise DeployFailed(
                    f"{_short(found['taskDefinition'])} of {self._service.service}"
                    f" {'failed' if state == 'FAILED' else f'is not steady after {DEADLINE_SECONDS / 60:.0f} minutes'}:"
                    f" {said or 'ECS gives no reason'}".rstrip(".")
                )
            elif len(found["deployments"]) == 1 and newest["runningCount"] == newest["desiredCount"]:
                return
            self._say(f"{newest['runningCount']} of {newest['desiredCount']} tasks run")
            self._aws.pause(POLL_SECONDS)

    def _replaced(self, found: Mapping[str, Any], definition: str, by: str) -> str:
        """What is so when ECS' circuit breaker, or somebody else, has put another revision in its place."""
        ours = (each for each in found["deployments"] if each["taskDefinition"] == definition)
        said = next((each.get("rolloutStateReason") for each in ours), None)
        said = said or next((each["message"] for each in found.get("events", ())), "ECS gives no reason")
        return (
            f"{_short(definition)} of {self._service.service} was replaced by {_short(by)}, by ECS or somebody else:"
            f" {said.rstrip('.')}. `insights deploy status` shows what is to run"
        )

    def _described(self) -> Mapping[str, Any]:
        answer = self._ask("describe_services", cluster=self._service.cluster, services=[self._service.service])
        found = [each for each in answer["services"] if each["status"] == "ACTIVE"]
        if not found:
            raise DeployFailed(
                f"ECS has no service {self._service.service} in the cluster {self._service.cluster}:"
                " INSIGHTS_DEPLOY_SERVICE names it (docs/deploy.md)"
            )
        return dict(found[0])

    def _definition(self, arn: str) -> dict[str, Any]:
        return self._ask("describe_task_definition", taskDefinition=arn, include=["TAGS"])

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._aws.ask(SERVICE, operation, **arguments)


def tagged(image: str, release: str) -> str:
    """The image of that release, where it is one of ours: ``…/insights-hub:1.2`` and not ``…/caddy:2``."""
    registry, slash, name = image.partition("@")[0].rpartition("/")
    repository = name.partition(":")[0]
    return f"{registry}{slash}{repository}:{release}" if repository.startswith("insights-") else image


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in found.get("tags", ())}


def _short(arn: str) -> str:
    return arn.rpartition("/")[2]
