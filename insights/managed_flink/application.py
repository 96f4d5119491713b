"""The live job as an application of Managed Service for Apache Flink: made, brought up to date, taken back.

An update stops the application with a snapshot, exchanges the package, and starts it from that snapshot: nothing is
read twice, so nothing is in the lake twice. Every step looks first at where the application is, so an update that was
killed is finished by the next one. Whatever fails from the stop on, what is there is looked at, taken back and started,
and the error says whether it runs. The service counts versions of the application, and refuses a change of one that is
no longer current: of two updates at once, one is refused.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flink.live_job import JSON, LiveJob
from insights.managed_flink.configuration import (
    OWN_GROUP,
    RUNTIME,
    Found,
    Wanted,
    differences,
    first,
    restoring,
    update_of,
)
from insights.managed_flink.package import refuse_unaligned
from insights.settings import Stream
from schemas.errors import InsightsError
from spark.aws import Aws, AwsRefused, NotThere

SERVICE = "kinesisanalyticsv2"
RESTING = ("READY", "RUNNING", "ROLLED_BACK")
FROM_LATEST = {"ApplicationRestoreType": "RESTORE_FROM_LATEST_SNAPSHOT"}
FROM_NOTHING = {"ApplicationRestoreType": "SKIP_RESTORE_FROM_SNAPSHOT"}
# After one of these, a snapshot that is older is not of its last moment.
RAN = ("StartApplication", "StopApplication")
CHANGING = ("ConcurrentModificationException", "ResourceInUseException")
DEADLINE_SECONDS, POLL_SECONDS = 1800.0, 10.0
Say = Callable[[str], None]


class DeployFailed(InsightsError):
    """The application does not run as it should; the text says what is so now, and what to do."""


class Stuck(DeployFailed):
    """A change of state is under way for too long."""


class ChangedMeanwhile(InsightsError):
    """Somebody else changed the application at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a failure is taken back by. ``ours``: facts of what is wanted; ``before``: what ran last, if anything did.

    ``restore``: where a start takes its state from.
    """

    ours: Mapping[str, str]
    before: Found | None
    restore: Mapping[str, str]


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

    def refuse_unaligned(self) -> None:
        """Raises Misconfigured when its properties have unaligned checkpoints, and what Aws raises."""
        if (found := self.found()) is not None:
            self._refuse_unaligned(found)

    def changes(self, wanted: Wanted) -> list[str]:
        """One line for each difference; none when it runs as wanted. Raises Misconfigured for unaligned checkpoints."""
        found = self.found()
        if found is None:
            made = f"application {self._stream.application}: new, and it reads the log from its beginning"
            return [made, *(f"{name}: {value}" for name, value in wanted.facts.items())]
        self._refuse_unaligned(found)
        return [
            *differences(found.facts, wanted.facts),
            *([] if found.status == "RUNNING" else [f"it is {found.status}"]),
        ]

    def apply(self, wanted: Wanted) -> str:
        """Makes it, or brings it up to date, and waits until it runs; a line. Blocks for minutes.

        Whatever fails from the stop on, the version before is started again from the same snapshot, and the error says
        whether it runs. Raises DeployFailed with the reason, ChangedMeanwhile, Misconfigured for unaligned checkpoints,
        and what Aws raises.
        """
        found = self.found()
        if found is None:
            return self._make(wanted)
        self._refuse_unaligned(found)
        version, found = found.version, self._at_rest()
        if differences(found.facts, wanted.facts):
            return self._exchange(found, version, wanted.facts, lambda before: self._update_of(found, before, wanted))
        if found.status == "RUNNING":
            return f"{self._stream.application} runs as wanted already (version {found.version}); nothing was changed"
        # An update that was killed before this step.
        change = self._change_of(found, wanted.facts)
        return self._carried_out(change, lambda: self._start(change.restore))

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
        target = self._version(int(previous))
        self._refuse_unaligned(target)
        return self._exchange(found, version, target.facts, lambda _: restoring(found, target))

    # ---- steps ----

    def _make(self, wanted: Wanted) -> str:
        self._say("making the application")
        logging = [{"LogStreamARN": self._stream.log_stream}]
        try:
            self._ask("create_application", **first(wanted), CloudWatchLoggingOptions=logging)
        except AwsRefused as error:
            if error.code not in CHANGING:
                raise
        found = self._at_rest()
        if differences(found.facts, wanted.facts):
            raise ChangedMeanwhile(f"{self._stream.application} was made by somebody else at the same time")
        change = Change(ours=wanted.facts, before=None, restore=FROM_NOTHING)
        return self._carried_out(change, lambda: self._start(change.restore))

    def _exchange(
        self, found: Found, version: int, ours: Mapping[str, str], update: Callable[[Found], Mapping[str, Any]]
    ) -> str:
        """Stop, update, start. ``version``: the one that was seen first; ``update``: the request, given what ran."""
        change = self._change_of(found, ours)
        wanted = update(change.before or found)

        def steps() -> str:
            if found.status == "RUNNING":
                self._stop()
            self._say("exchanging the package")
            self._update(version, wanted, ours)
            return self._start(change.restore)

        if (now := self._at_rest()).version != version:
            raise self._changed_meanwhile(f"It is {now.status}, version {now.version}")
        return self._carried_out(change, steps)

    def _change_of(self, found: Found, ours: Mapping[str, str]) -> Change:
        """What is known before anything is touched. Raises DeployFailed where a start would read records again."""
        if found.status == "RUNNING":
            return Change(ours=ours, before=found, restore=FROM_LATEST)
        newest = max(self._snapshots(), key=lambda each: each["SnapshotCreationTimestamp"], default=None)
        ran = max((each["StartTime"] for each in self._operations() if each["Operation"] in RAN), default=None)
        if newest is None and ran is None:
            return Change(ours=ours, before=None, restore=FROM_NOTHING)
        if newest is None or (ran is not None and newest["SnapshotCreationTimestamp"] < ran):
            known = f"the newest is of {newest['SnapshotCreationTimestamp']:%Y-%m-%d %H:%M:%S}" if newest else "none"
            raise DeployFailed(
                f"{self._stream.application} is {found.status}, and has no snapshot of the moment when it stopped"
                f" ({known}): it was stopped by force. A start would read again what is in the lake already, and write"
                " it twice. Nothing was changed. If that is acceptable, start it in AWS' console from a snapshot, and"
                " run `insights deploy apply` again"
            )
        return Change(ours=ours, before=self._version(newest["ApplicationVersionId"]), restore=FROM_LATEST)

    def _carried_out(self, change: Change, steps: Callable[[], str]) -> str:
        """The steps' line. When they fail, what is there is started or taken back, and the error says what is so."""
        try:
            return steps()
        except Stuck:
            raise
        except InsightsError as error:
            kind = ChangedMeanwhile if isinstance(error, ChangedMeanwhile) else DeployFailed
            raise kind(f"{str(error).rstrip('.')}. {self._afterwards(change)}") from error

    def _afterwards(self, change: Change) -> str:
        """Makes it run again; what came of it, for people. Raises nothing of ours."""
        try:
            found = self._at_rest()
            is_ours = not differences(found.facts, change.ours)
            if found.status == "RUNNING":
                changes = "with" if is_ours else "without"
                return (
                    f"{self._stream.application} runs as version {found.version}, {changes} this deployment's changes"
                )
            if change.before is None:
                return f"{self._whether()}, and it never ran: repair the cause, and run `insights deploy apply`"
            if not is_ours or not differences(found.facts, change.before.facts):
                return f"What was there is started again: {self._start(change.restore)}"
            self._say("going back to the version before")
            self._update(found.version, restoring(found, change.before), change.before.facts)
            return f"The version before runs again from its own snapshot: {self._start(change.restore)}"
        except InsightsError as error:
            return (
                f"It could not be started again, either ({error}). {self._whether()}. Its newest snapshot has its"
                " state: repair the cause, and run `insights deploy apply`"
            )

    def _whether(self) -> str:
        try:
            found = self.found()
        except InsightsError:
            return "Whether the application runs is not known: `insights deploy status` shows it"
        if found is not None and found.status == "RUNNING":
            return f"The application runs as version {found.version}"
        return f"The application does not run: it is {found.status if found else 'not there'}"

    def _stop(self) -> None:
        self._say("stopping the application with a snapshot")
        operation = self._change("stop_application", Force=False)
        stopped = self._at_rest()
        if stopped.status == "RUNNING":
            raise DeployFailed(
                f"{self._stream.application} could not be stopped with a snapshot: {self._reason(operation)}."
                " It goes on as before, and nothing was changed"
            )

    def _update(self, version: int, update: Mapping[str, Any], ours: Mapping[str, str]) -> None:
        """Blocks until it is done. A request whose answer was lost is refused when it is repeated, and was ours."""
        try:
            self._ask("update_application", CurrentApplicationVersionId=version, **update)
        except AwsRefused as error:
            if error.code not in CHANGING:
                raise
            if differences(self._at_rest().facts, ours):
                raise self._changed_meanwhile("`insights deploy apply` may be run again") from error
        self._at_rest()

    def _changed_meanwhile(self, more: str) -> ChangedMeanwhile:
        return ChangedMeanwhile(
            f"{self._stream.application} was changed by somebody else at the same time. Nothing of this deployment is"
            f" in it. {more}"
        )

    def _start(self, restore: Mapping[str, str]) -> str:
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
                raise Stuck(
                    f"{self._stream.application} is {found.status} since {DEADLINE_SECONDS / 60:.0f} minutes."
                    f" Its log is {self._stream.log_stream}. `insights deploy apply` continues when it is done"
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

    def _version(self, number: int) -> Found:
        """An earlier version of it."""
        answer = self._ask("describe_application_version", ApplicationVersionId=number)
        return Found(status="READY", version=number, detail=answer["ApplicationVersionDetail"])

    def _snapshots(self) -> Iterator[dict[str, Any]]:
        found = self._listed("list_application_snapshots", "SnapshotSummaries")
        return (each for each in found if each["SnapshotStatus"] == "READY")

    def _operations(self) -> Iterator[dict[str, Any]]:
        return self._listed("list_application_operations", "ApplicationOperationInfoList", OperationStatus="SUCCESSFUL")

    def _listed(self, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        following: dict[str, str] = {}
        while True:
            page = self._ask(operation, **arguments, **following)
            yield from page.get(key, ())
            if not page.get("NextToken"):
                return
            following = {"NextToken": page["NextToken"]}

    def _refuse_unaligned(self, found: Found) -> None:
        groups = {f"the application's property group {name}": group for name, group in found.properties.items()}
        refuse_unaligned(groups)

    def _update_of(self, found: Found, before: Found, wanted: Wanted) -> dict[str, Any]:
        own = {**wanted.properties[OWN_GROUP], "previous": str(before.version)}
        return update_of(
            found,
            runtime=RUNTIME,
            code=wanted.code,
            role=wanted.role,
            parallelism=wanted.parallelism,
            checkpoint_ms=wanted.checkpoint_seconds * 1000,
            properties={**wanted.properties, OWN_GROUP: own},
            network=(wanted.subnets, wanted.security_groups),
        )
