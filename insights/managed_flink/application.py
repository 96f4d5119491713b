"""The live job as an application of Managed Service for Apache Flink: made, brought up to date, taken back.

An update stops the application with a snapshot, exchanges the package, and starts it from that snapshot: nothing is
read twice, so nothing is in the lake twice. Every step looks first at where the application is, so an update that was
killed is finished by the next one. The service counts versions of the application, and refuses a change of one that is
no longer current: of two updates at once, one is refused.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flink.live_job import JSON, LiveJob
from insights.managed_flink.configuration import OWN_GROUP, Found, Wanted, differences, first, restoring, update_of
from insights.managed_flink.package import refuse_unaligned
from insights.settings import Stream
from schemas.errors import InsightsError
from spark.aws import Aws, AwsRefused, NotThere

SERVICE = "kinesisanalyticsv2"
RESTING = ("READY", "RUNNING", "ROLLED_BACK")
FROM_LATEST = {"ApplicationRestoreType": "RESTORE_FROM_LATEST_SNAPSHOT"}
FROM_NOTHING = {"ApplicationRestoreType": "SKIP_RESTORE_FROM_SNAPSHOT"}
DEADLINE_SECONDS, POLL_SECONDS = 1800.0, 10.0
Say = Callable[[str], None]


class DeployFailed(InsightsError):
    """The application does not run as it should; the text says what is so now, and what to do."""


class ChangedMeanwhile(InsightsError):
    """Somebody else changed the application at the same time."""


class Application:
    """One application. ``clock`` and the pauses of ``aws`` make its deadlines; ``say`` is told what is under way."""

    def __init__(self, aws: Aws, stream: Stream, say: Say, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._aws = aws
        self._stream = stream
        self._say = say
        self._clock = clock

    def found(self) -> Found | None:
        """As it is now; None when there is none. Raises what Aws raises."""
        try:
            detail = self._ask("describe_application")["ApplicationDetail"]
        except NotThere:
            return None
        return Found(status=detail["ApplicationStatus"], version=detail["ApplicationVersionId"], detail=detail)

    def job(self, found: Found) -> LiveJob | None:
        """What it computes, as it was deployed; None when it says nothing of it. Raises what Aws raises."""
        if found.definition is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.json"
            self._aws.get(found.definition, path)
            return JSON.validate_json(path.read_bytes())

    def changes(self, wanted: Wanted) -> list[str]:
        """One line for each difference; none when it runs as wanted. Raises Misconfigured for unaligned checkpoints."""
        found = self.found()
        if found is None:
            return [f"application {self._stream.application}: new", *(f"{n}: {v}" for n, v in wanted.facts.items())]
        self._refuse_unaligned(found)
        return [
            *differences(found.facts, wanted.facts),
            *([] if found.status == "RUNNING" else [f"it is {found.status}"]),
        ]

    def apply(self, wanted: Wanted) -> str:
        """Makes it, or brings it up to date, and waits until it runs; a line. Blocks for minutes.

        When the new version does not start, the previous one is started again from the same snapshot. Raises
        DeployFailed with the reason, ChangedMeanwhile, Misconfigured for unaligned checkpoints, and what Aws raises.
        """
        found = self.found()
        if found is None:
            return self._make(wanted)
        self._refuse_unaligned(found)
        version = found.version
        found = self._at_rest()
        if not differences(found.facts, wanted.facts):
            if found.status == "RUNNING":
                return (
                    f"{self._stream.application} runs as wanted already (version {found.version}); nothing was changed"
                )
            return self._start(found, FROM_LATEST)  # an update that was killed before this step
        return self._exchange(found, version, self._update_of(found, wanted))

    def roll_back(self) -> str:
        """Exchanges the package and settings for those of the version before the last update; a line. Blocks.

        State is kept: it stops with a snapshot and starts from that. Raises what ``apply`` does.
        """
        found = self.found()
        if found is None:
            raise DeployFailed(f"there is no application {self._stream.application}: `insights deploy apply` makes it")
        version, found = found.version, self._at_rest()
        previous = found.properties.get(OWN_GROUP, {}).get("previous")
        if not previous:
            raise DeployFailed(
                f"version {found.version} of {self._stream.application} has no version before it to go back to"
            )
        before = self._ask("describe_application_version", ApplicationVersionId=int(previous))
        detail = before["ApplicationVersionDetail"]
        target = Found(status=found.status, version=int(previous), detail=detail)
        self._refuse_unaligned(target)
        return self._exchange(found, version, restoring(found, target))

    # ---- steps ----

    def _make(self, wanted: Wanted) -> str:
        self._say("making the application")
        self._ask(
            "create_application",
            **first(wanted),
            CloudWatchLoggingOptions=[{"LogStreamARN": self._stream.log_stream}],
        )
        found = self._at_rest()
        return self._start(found, FROM_NOTHING)

    def _exchange(self, found: Found, version: int, update: Mapping[str, Any]) -> str:
        if found.status == "RUNNING":
            self._stop()
        self._say("exchanging the package")
        self._update(version, update)
        updated = self._at_rest()
        try:
            return self._start(updated, FROM_LATEST)
        except DeployFailed as error:
            raise DeployFailed(f"{error}. {self._taken_back(found, updated)}") from error

    def _taken_back(self, before: Found, failed: Found) -> str:
        """Starts what ran before, from the snapshot of its stop; what came of it, for people."""
        self._say("going back to the version before")
        try:
            self._update(failed.version, restoring(failed, before))
            line = self._start(self._at_rest(), FROM_LATEST)
        except InsightsError as error:
            return (
                f"The version before could not be started again, either ({error}). The application does not run, and"
                " its newest snapshot has its state: repair the cause, and run `insights deploy apply`"
            )
        return f"The version before runs again from its own snapshot: {line}"

    def _stop(self) -> None:
        self._say("stopping the application with a snapshot")
        operation = self._change("stop_application", Force=False)
        stopped = self._at_rest()
        if stopped.status == "RUNNING":
            raise DeployFailed(
                f"{self._stream.application} could not be stopped with a snapshot: {self._reason(operation)}."
                " It goes on as before, and nothing was changed"
            )

    def _update(self, version: int, update: Mapping[str, Any]) -> None:
        try:
            self._ask("update_application", CurrentApplicationVersionId=version, **update)
        except AwsRefused as error:
            if error.code in ("ConcurrentModificationException", "ResourceInUseException"):
                raise ChangedMeanwhile(
                    f"{self._stream.application} was changed by somebody else at the same time. Nothing of this"
                    " deployment is in it; `insights deploy status` shows what is, and `insights deploy apply` may be"
                    " run again"
                ) from error
            raise

    def _start(self, found: Found, restore: Mapping[str, str]) -> str:
        self._say("starting the application")
        operation = self._change(
            "start_application", RunConfiguration={"ApplicationRestoreConfiguration": dict(restore)}
        )
        started = self._at_rest()
        if started.status != "RUNNING":
            raise DeployFailed(
                f"version {started.version} of {self._stream.application} did not start: {self._reason(operation)}."
                f" Its log is {self._stream.log_stream}"
            )
        return f"{self._stream.application} runs as version {started.version}"

    def _change(self, operation: str, **arguments: Any) -> str | None:
        """Asks for a change of state; its operation's id. None when that change is under way: its answer was lost."""
        try:
            return self._ask(operation, **arguments).get("OperationId")
        except AwsRefused as error:
            if error.code != "ResourceInUseException":
                raise
            return None

    def _at_rest(self) -> Found:
        """As it is when nothing is under way. Blocks. Raises DeployFailed past the deadline."""
        deadline = self._clock() + DEADLINE_SECONDS
        while True:
            found = self.found()
            if found is None:
                raise DeployFailed(f"the application {self._stream.application} was deleted")
            if found.status in RESTING:
                return found
            self._say(f"the application is {found.status.lower()}")
            if self._clock() > deadline:
                raise DeployFailed(
                    f"{self._stream.application} is {found.status} since {DEADLINE_SECONDS / 60:.0f} minutes."
                    f" Its log is {self._stream.log_stream}. `insights deploy apply` continues when it is done;"
                    " AWS' console can stop it by force, and it then starts from its newest snapshot or checkpoint"
                )
            self._aws.pause(POLL_SECONDS)

    def _reason(self, operation: str | None) -> str:
        if operation is None:
            return "AWS gives no reason"
        try:
            answer = self._ask("describe_application_operation", OperationId=operation)
        except InsightsError as error:
            return f"AWS gives no reason ({error})"
        failure = answer["ApplicationOperationInfoDetails"].get("OperationFailureDetails", {}).get("ErrorInfo", {})
        return str(failure.get("ErrorString") or "AWS gives no reason").rstrip(".")

    # ---- small things ----

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._aws.ask(SERVICE, operation, ApplicationName=self._stream.application, **arguments)

    def _refuse_unaligned(self, found: Found) -> None:
        groups = {f"the application's property group {name}": group for name, group in found.properties.items()}
        refuse_unaligned(groups)

    def _update_of(self, found: Found, wanted: Wanted) -> dict[str, Any]:
        own = {**wanted.properties[OWN_GROUP], "previous": str(found.version)}
        return update_of(
            found,
            code=wanted.code,
            role=wanted.role,
            parallelism=wanted.parallelism,
            checkpoint_ms=wanted.checkpoint_seconds * 1000,
            properties={**wanted.properties, OWN_GROUP: own},
            network=(wanted.subnets, wanted.security_groups),
        )
