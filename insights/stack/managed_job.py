"""The live job where Managed Service for Apache Flink runs it: the hub waits for it, and records how it is.

`insights deploy` makes, updates and stops it. The hub takes the job's definitions from where that left them, so that
finality, late events and replays go by what really runs.
"""

from __future__ import annotations

import time
from random import Random

from flink.health import NOT_KNOWN, NOT_THERE, Health
from flink.job_control import one_at_a_time, show_deployed
from flink.live_job import keep
from insights.managed_flink.application import Application
from insights.managed_flink.configuration import Found
from insights.settings import Settings, Stream
from insights.stack.elsewhere import Server, ServerAway
from insights.wiring import deployment
from schemas.errors import InsightsError
from spark.aws import Aws
from warehouse.postgres import connected
from warehouse.versions import seen_versions

LOOK_SECONDS = 30.0
"""No oftener is the service asked: it has a limit for all that an account does."""


class ManagedJob:
    """One application. ``look`` blocks for a request to AWS, now and then."""

    def __init__(self, settings: Settings, stream: Stream) -> None:
        self._target = deployment(settings)
        self._stream = stream
        aws = Aws(region=stream.region, endpoint_url=None, rng=Random(), page="docs/deploy.md")  # noqa: S311  of pauses
        self._app = Application(aws, stream, lambda text: None)
        self._last: tuple[float, Found] | None = None
        self._kept: str | None = None

    @property
    def server(self) -> Server:
        """As one that is checked from outside."""
        return Server(name="jobmanager", ask=self.ask)

    def look(self) -> Found:
        """The application, as it was within the last seconds. Raises ServerAway."""
        now = time.monotonic()
        if self._last is None or now - self._last[0] >= LOOK_SECONDS:
            try:
                found = self._app.found()
            except InsightsError as error:
                raise ServerAway(f"{self._named} can't be asked, as INSIGHTS_DEPLOY_STREAM has it: {error}") from error
            if found is None:
                raise ServerAway(f"there is no {self._named} yet: `insights deploy apply` makes it")
            self._last = now, found
        return self._last[1]

    def ask(self) -> str:
        """How it is, in a line. Raises ServerAway when it doesn't run."""
        found = self.look()
        if found.status != "RUNNING":
            raise ServerAway(
                f"{self._named} is {found.status}: `insights deploy apply` starts it, and its log is"
                f" {self._stream.log_stream}"
            )
        return f"{self._named} runs as version {found.version}"

    def run(self) -> str:
        """Takes over the definitions of the application that runs; a line. Raises ServerAway."""
        found, line = self.look(), self.ask()
        job = self._app.job(found)
        if job is None:
            raise ServerAway(f"{self._named} was not made by `insights deploy`: it says nothing of what it computes")
        with one_at_a_time(self._target):
            keep(self._target, job)
            with connected(self._target) as connection:
                is_first = not seen_versions(connection)
            if is_first:
                show_deployed(self._target, job)
        self._kept = found.definition
        return line

    def still_done(self) -> bool:
        """Does it run with the definitions that were taken over? May raise ServerAway."""
        found = self.look()
        return found.status == "RUNNING" and found.definition == self._kept

    def health(self, name: str) -> Health:
        """For ops.live_jobs: there is one job."""
        try:
            return Health(state=self.look().status)
        except ServerAway as error:
            state = NOT_KNOWN if error.__cause__ else NOT_THERE
            return Health(state=state, why=str(error)[:800])

    @property
    def _named(self) -> str:
        return f"application {self._stream.application} of Managed Service for Apache Flink"
