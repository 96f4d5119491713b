"""Flink's REST interface, as far as this project uses it (https://nightlies.apache.org/flink/flink-docs-release-2.2/docs/ops/rest_api/)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import requests

from schemas.errors import InsightsError, Misconfigured, Retryable

ENDED = frozenset({"FAILED", "CANCELED", "FINISHED", "SUSPENDED"})
PACKAGES = re.compile(r"\b(?:[a-z_][a-z0-9_]*\.)+(?=[A-Z]\w*(?:Exception|Error)\b)")
NO_WATERMARK = -(1 << 63)


class FlinkUnavailable(Retryable):
    """The JobManager did not answer."""


class JobFailed(InsightsError):
    """A job, savepoint or submission failed; the text holds Flink's first reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertex:
    """One box of the job's graph."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A completed checkpoint. Times in milliseconds since the epoch."""

    id: int
    triggered_at_ms: int
    completed_at_ms: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """``problem`` is why the newest one failed, if it began after the newest complete one."""

    newest: Checkpoint | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One time that a job fell over. ``root`` is the deepest cause in one line, without its packages' names."""

    at_ms: int
    root: str


def _short(error: requests.RequestException) -> str:
    """What happened, without the client's own objects."""
    match error:
        case requests.Timeout():
            return "timed out"
        case requests.ConnectionError():
            return "connection refused" if "refused" in str(error) else "the connection was lost"
    return str(error)


def root_cause(stacktrace: str) -> str:
    """The last "Caused by" of a Java stack trace, or its first line: ``PSQLException: ERROR: relation …``."""
    lines = stacktrace.splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    # Package names mean little to people.
    return PACKAGES.sub("", (causes or lines[:1] or [""])[-1])[:800].strip()


class FlinkRest:
    """One JobManager. Every call may raise FlinkUnavailable.

    Raises Misconfigured where Flink can't be asked.
    """

    def __init__(self, url: str) -> None:
        if not url:
            raise Misconfigured(
                "the live job runs on Managed Service for Apache Flink, which has no REST interface: `insights deploy`"
                " starts it, updates it and takes an update back. What needs Flink itself does not work there"
                " (docs/deploy.md)"
            )
        self._url = url
        self._metric_names: dict[tuple[str, str, str], list[str]] = {}

    def _answer(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        try:
            return requests.request(method, f"{self._url}{path}", timeout=10, **kwargs)
        except requests.RequestException as error:
            raise FlinkUnavailable(
                f"Flink's JobManager at {self._url} is not responding ({_short(error)}); `insights status`"
                " shows whether it is running, `insights up` starts what is not"
            ) from error

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        response = self._answer(method, path, **kwargs)
        if response.status_code >= 400:
            raise JobFailed(f"Flink refused {method} {path}: {response.text.strip()[:600]}")
        return response.json()

    def ask(self, path: str, **parameters: str) -> Any:
        """What Flink answers at a path that this class has no name for. Raises FlinkUnavailable and JobFailed."""
        return self._call("GET", path, params=parameters)

    def task_managers(self) -> frozenset[str]:
        """Resource ids of the registered TaskManagers. A dead one stays registered until its heartbeat is missed."""
        return frozenset(str(known["id"]) for known in self._call("GET", "/taskmanagers")["taskmanagers"])

    def configuration(self) -> dict[str, str]:
        """The JobManager's own configuration. Raises FlinkUnavailable, and JobFailed if Flink does not return it."""
        return {str(entry["key"]): str(entry["value"]) for entry in self._call("GET", "/jobmanager/config")}

    def jobs(self) -> list[tuple[str, str, str]]:
        """(job id, name, state) of every job that the JobManager knows, newest first."""
        found = sorted(self._call("GET", "/jobs/overview")["jobs"], key=lambda j: -int(j["start-time"]))
        return [(j["jid"], j["name"], j["state"]) for j in found]

    def active_job(self, name: str) -> str | None:
        """Id of the job of this name that has not ended, or None."""
        return next((job for job, called, state in self.jobs() if called == name and state not in ENDED), None)

    def active_jobs(self) -> dict[str, str]:
        """Name to id of all jobs that have not ended."""
        return {name: job for job, name, state in reversed(self.jobs()) if state not in ENDED}

    def vertices(self, job: str) -> list[Vertex]:
        """The operators of a job's graph. Raises FlinkUnavailable."""
        return [Vertex(id=v["id"], name=v["name"]) for v in self._call("GET", f"/jobs/{job}")["vertices"]]

    def all_tasks_running(self, job: str) -> bool:
        """Is every task of the job running? Raises FlinkUnavailable."""
        tasks = self._call("GET", f"/jobs/{job}")["vertices"]
        return all(v["status"] == "RUNNING" for v in tasks)

    def started_since(self, job: str, since_ms: float) -> bool:
        """Does every task run, all of them started after that time?"""
        tasks = self._call("GET", f"/jobs/{job}")["vertices"]
        return all(v["status"] == "RUNNING" and v["start-time"] > since_ms for v in tasks)

    def metrics(self, job: str, vertex: str, suffix: str) -> dict[str, float]:
        """Every metric of the vertex's subtasks whose name ends in ``suffix``."""
        path = f"/jobs/{job}/vertices/{vertex}/metrics"
        # A vertex has hundreds of metrics, and listing them costs the JobManager more than reading a few.
        names = self._metric_names.get((job, vertex, suffix))
        if not names:
            names = [m["id"] for m in self._call("GET", path) if m["id"].endswith(suffix)]
            self._metric_names[job, vertex, suffix] = names
        if not names:
            return {}
        values = self._call("GET", path, params={"get": ",".join(names)})
        return {m["id"]: float(m["value"]) for m in values if m["value"] not in ("NaN", "")}

    def started_at_ms(self, job: str) -> int:
        """When the job started, in milliseconds since 1970. Raises FlinkUnavailable."""
        return int(self._call("GET", f"/jobs/{job}")["start-time"])

    def newest_checkpoint(self, job: str) -> Checkpoint | None:
        """The newest completed one of this run of the job, or None."""
        return self.checkpoints(job).newest

    def checkpoints(self, job: str) -> Checkpoints:
        """The newest completed one of this run of the job, and what is wrong since."""
        latest = self._call("GET", f"/jobs/{job}/checkpoints").get("latest", {})
        done, failed = latest.get("completed"), latest.get("failed")
        newest = done and Checkpoint(
            id=int(done["id"]),
            triggered_at_ms=int(done["trigger_timestamp"]),
            completed_at_ms=int(done["latest_ack_timestamp"]),
            path=str(done["external_path"]),
        )
        is_news = failed and (newest is None or int(failed["id"]) > newest.id)
        return Checkpoints(
            newest=newest, problem=str(failed.get("failure_message") or "it failed")[:800] if is_news else None
        )

    def failures(self, job: str) -> tuple[list[Failure], bool]:
        """The failures that Flink remembers, newest first, and whether there were more."""
        history = self._call("GET", f"/jobs/{job}/exceptions").get("exceptionHistory", {})
        found = [
            Failure(at_ms=int(entry["timestamp"]), root=root_cause(str(entry.get("stacktrace", ""))))
            for entry in history.get("entries", [])
        ]
        return sorted(found, key=lambda failure: -failure.at_ms), bool(history.get("truncated"))

    def why_failed(self, job: str) -> str:
        """The root cause of the newest failure of the job, or an empty text."""
        history, _ = self.failures(job)
        return history[0].root if history else ""

    def savepoint(self, job: str, folder: str, *, timeout_seconds: float = 120) -> str:
        """Takes a savepoint and returns its path. Blocks. Raises JobFailed when it fails or takes too long."""
        body = {"target-directory": folder, "cancel-job": False, "formatType": "NATIVE"}
        return str(self._await_snapshot(job, "savepoints", body, timeout_seconds)["location"])

    def checkpoint(self, job: str, *, timeout_seconds: float = 120) -> None:
        """Takes a checkpoint now, in addition to the job's own. Blocks. Raises JobFailed as ``savepoint`` does."""
        self._await_snapshot(job, "checkpoints", {"checkpointType": "CONFIGURED"}, timeout_seconds)

    def stop(self, job: str, folder: str, *, timeout_seconds: float = 120) -> str:
        """Stops the job with a savepoint and returns its path. Blocks. Raises JobFailed as ``savepoint`` does."""
        body = {"targetDirectory": folder, "drain": False, "formatType": "NATIVE"}
        return str(self._await_snapshot(job, "savepoints", body, timeout_seconds, by="stop")["location"])

    def cancel(self, job: str) -> None:
        """Ends the job without a savepoint; its newest checkpoint stays."""
        response = self._answer("PATCH", f"/jobs/{job}?mode=cancel")
        if response.status_code >= 400:
            raise JobFailed(f"Flink refused to cancel {job}: {response.text.strip()[:600]}")

    def _await_snapshot(
        self, job: str, kind: str, body: dict[str, Any], timeout_seconds: float, *, by: str | None = None
    ) -> dict[str, Any]:
        """Asks for one, and what Flink has to say of it once it is complete."""
        request = self._call("POST", f"/jobs/{job}/{by or kind}", json=body)["request-id"]
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            answer = self._call("GET", f"/jobs/{job}/{kind}/{request}")
            if answer["status"]["id"] == "COMPLETED":
                operation: dict[str, Any] = answer["operation"]
                if "failure-cause" in operation:
                    cause = str(operation["failure-cause"].get("stack-trace", "")).splitlines()
                    raise JobFailed(f"the {kind[:-1]} of {job} failed: {(cause or ['no reason given'])[0][:600]}")
                return operation
            time.sleep(0.1)
        raise JobFailed(f"the {kind[:-1]} of {job} was not complete after {timeout_seconds:.0f} s")
