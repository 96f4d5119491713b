"""A hub whose live job runs on Managed Flink: it waits for the application, goes by its definitions, and records it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from aggregates.catalogue import aggregate
from flink.handover import prepare_version
from flink.health import HealthRecorder
from flink.live_job import JOB_NAME, kept_jobs, main_job
from insights.cli.main import app
from insights.deploy.deployed import pieces
from insights.doctor import check_elsewhere
from insights.server_metrics import ServerMetrics
from insights.settings import Settings, Stream
from insights.stack import managed_job
from insights.stack.composition import UpPlan, everything
from insights.stack.elsewhere import ServerAway
from insights.stack.live_jobs import savepoint
from insights.stack.managed_job import ManagedJob
from insights.stack.part import Part
from insights.status import Observer
from insights.wiring import deployment
from schemas.errors import Misconfigured
from tests.conftest import environment_of, own_settings
from tests.deploy.conftest import ELSEWHERE
from tests.deploy.managed_flink import ManagedFlink
from warehouse.deployment import Deployment
from warehouse.postgres import connected
from warehouse.tables import make_postgres_tables
from warehouse.versions import seen_versions


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A hub with tables of its own, and the application that it goes by."""

    settings: Settings
    stream: Stream
    service: ManagedFlink
    target: Deployment

    def job(self) -> ManagedJob:
        return ManagedJob(self.settings, self.stream)

    def deploy(self, **changed: int) -> None:
        settings = self.settings.model_copy(update=changed)
        (piece,) = pieces(settings, lambda text: None)
        piece.apply()


@pytest.fixture
def hub(
    stream: Stream,
    service: ManagedFlink,
    endpoint: str,
    new_database: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Hub:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setattr(managed_job, "LOOK_SECONDS", 0.0)
    # The settings' own check wants an address that the application reaches; tables are made by what is here.
    settings = own_settings(tmp_path, deploy_stream=stream, **{**ELSEWHERE, "external_postgres": new_database()})
    monkeypatch.setattr("insights.deploy.deployed.refuse_here", lambda settings: None)
    found = Hub(settings=settings, stream=stream, service=service, target=deployment(settings))
    with psycopg.connect(found.target.postgres_dsn) as connection:
        make_postgres_tables(connection)
    return found


def test_before_it_is_deployed_the_hub_waits_for_it(hub: Hub) -> None:
    with pytest.raises(
        ServerAway, match="there is no application live .* yet: `insights deploy apply` makes it"
    ) as found:
        hub.job().run()
    assert check_elsewhere(hub.job().server).what == str(found.value)


def test_the_hub_goes_by_the_definitions_that_were_deployed_and_readers_see_what_it_writes(hub: Hub) -> None:
    hub.deploy()
    assert kept_jobs(hub.target) == []
    job = hub.job()
    assert job.run() == "application live of Managed Service for Apache Flink runs as version 1"
    assert kept_jobs(hub.target) == [main_job()]
    with connected(hub.target) as connection:
        assert seen_versions(connection) == {a.name: a.version for a in main_job().aggregates}
    assert job.still_done()
    assert not hub.job().still_done(), "of another one nothing was taken over"


def test_one_that_stopped_is_waited_for_and_recorded(hub: Hub) -> None:
    hub.deploy()
    job = hub.job()
    job.run()
    hub.service.status = "READY"
    assert not job.still_done()
    with pytest.raises(ServerAway, match=r"is READY: `insights deploy apply` starts it, and its log is arn:aws:logs"):
        job.run()


@pytest.mark.parametrize(("status", "is_down"), [("RUNNING", False), ("READY", True)])
def test_its_state_is_recorded_and_shown_without_what_cannot_be_asked(hub: Hub, status: str, is_down: bool) -> None:
    hub.deploy()
    hub.job().run()
    recorder = HealthRecorder(hub.target, look=hub.job().health)
    recorder.step()
    hub.service.status = status
    recorder.step()
    with connected(hub.target) as connection:
        rows = connection.execute(
            "select job, state, not_running_since is not null, checkpoint_at from ops.live_jobs"
        ).fetchall()
    assert rows == [(JOB_NAME, status, is_down, None)]
    observer = Observer(hub.settings)
    observer._postgres = psycopg.connect(hub.target.postgres_dsn)
    (shown,) = observer._read_jobs()
    observer.close()
    assert (shown.name, shown.state, shown.is_asked) == (JOB_NAME, status, False)


def test_that_aws_cannot_be_asked_is_recorded_with_the_reason(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.deploy()
    hub.job().run()

    def refused(operation: str) -> None:
        raise Misconfigured("there are no credentials")

    hub.service.before = refused
    HealthRecorder(hub.target, look=hub.job().health).step()
    with connected(hub.target) as connection:
        state, why = connection.execute("select state, why from ops.live_jobs").fetchone() or ("", "")
    assert state == "not known"
    assert "INSIGHTS_DEPLOY_STREAM has it" in why
    assert "there are no credentials" in why


def test_the_hub_starts_no_flink_and_upgrades_no_job(hub: Hub) -> None:
    things = {thing.name: thing for thing in everything(hub.settings, UpPlan())}
    assert not {name for name, thing in things.items() if isinstance(thing, Part)} & {"jobmanager", "taskmanager"}
    assert {"jobmanager", "job", "finality", "health"} <= things.keys()
    assert "upgrade" not in things
    assert savepoint(hub.settings).run() == "the live job goes on, as live on AWS"


def test_its_page_of_metrics_has_all_but_flinks(hub: Hub) -> None:
    found = {family.name for family in ServerMetrics(hub.settings).collect()}
    assert "insights_postgres_bytes" in found
    assert not {name for name in found if name.startswith("insights_flink")}


@pytest.mark.parametrize("command", ["submit", "stop", "list", "savepoint"])
def test_what_needs_flink_itself_says_what_does_it_instead(hub: Hub, command: str) -> None:
    environment = {**environment_of(hub.settings), "INSIGHTS_DEPLOY_STREAM": hub.stream.model_dump_json()}
    found = CliRunner().invoke(app, ["flink", command], env=environment)
    assert found.exit_code == 1
    assert "which has no REST interface: `insights deploy` starts it" in " ".join(found.stderr.split())


def test_a_hand_over_is_refused_before_anything_is_made(hub: Hub) -> None:
    with pytest.raises(Misconfigured, match="has no REST interface"):
        prepare_version(hub.target, aggregate("sales_per_minute"))


def test_a_job_runs_on_one_flink(stream: Stream, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="INSIGHTS_DEPLOY_STREAM and INSIGHTS_EXTERNAL_FLINK are set"):
        own_settings(tmp_path, deploy_stream=stream, external_flink="http://f:8081")
