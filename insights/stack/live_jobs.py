"""The task that keeps the live jobs running, and the one that stops them before their servers are stopped."""

from __future__ import annotations

from flink import job_control
from flink.hold import Hold, held
from insights.settings import Settings
from insights.stack.part import Task
from insights.wiring import deployment
from warehouse.deployment import Deployment


class LiveJobs:
    """The live jobs run, or somebody stopped them and the task's detail names who."""

    def __init__(self, target: Deployment) -> None:
        self._target = target
        self._known_hold: Hold | None = None

    def run(self) -> str:
        """Blocks until they run. Raises what ``job_control.submit`` does, but does not end a hold."""
        line = job_control.keep_running(self._target)
        self._known_hold = held(self._target)
        return line

    def still_done(self) -> bool:
        """May raise FlinkUnavailable."""
        hold = held(self._target)
        return hold == self._known_hold and (hold is not None or job_control.all_run(self._target))


def savepoint(settings: Settings) -> Task:
    """Stops the live jobs, before their servers are stopped."""

    def run() -> str:
        if settings.deploy_stream:
            return f"the live job goes on, as {settings.deploy_stream.application} on AWS"
        return f"the job's state is in {', '.join(job_control.stop(deployment(settings), hold=False))}"

    return Task(name="savepoint", run=run)
