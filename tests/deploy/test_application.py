"""The live job as an application of Managed Flink: what each step asks for, and what is so when one fails."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from insights.managed_flink.application import Application, ChangedMeanwhile, DeployFailed
from insights.managed_flink.configuration import Wanted
from insights.settings import Stream
from schemas.errors import Misconfigured
from spark.aws import TRIES, Aws
from tests.deploy.managed_flink import REGION, ManagedFlink, Refused

STREAM = Stream(
    application="live",
    region=REGION,
    bucket="s3://packages/insights",
    role="arn:aws:iam::123456789012:role/live",
    secret="arn:aws:secretsmanager:eu-central-1:123456789012:secret:live",  # noqa: S106
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    log_stream="arn:aws:logs:eu-central-1:123456789012:log-group:live:log-stream:flink",
)
WANTED = Wanted(
    code="s3://packages/insights/live-job/1/one.zip",
    job="s3://packages/insights/live-job/1/job.json",
    role=STREAM.role,
    secret=STREAM.secret,
    secret_version="1",  # noqa: S106
    parallelism=2,
    checkpoint_seconds=60,
    subnets=STREAM.subnets,
    security_groups=STREAM.security_groups,
)
NEXT = replace(WANTED, code="s3://packages/insights/live-job/2/two.zip", parallelism=4)


class Stopped(BaseException):
    """As a kill: nothing of ours catches it."""


@pytest.fixture
def service() -> ManagedFlink:
    return ManagedFlink()


def application(service: ManagedFlink, monkeypatch: pytest.MonkeyPatch, *, clock: Any = lambda: 0.0) -> Application:
    aws = Aws(region=REGION, endpoint_url=None, sleep=lambda seconds: None, rng=Random(1), page="docs/deploy.md")
    client = service.client()
    monkeypatch.setattr(aws, "_client", lambda name: client)
    return Application(aws, STREAM, lambda text: None, clock=clock)


@pytest.fixture
def app(service: ManagedFlink, monkeypatch: pytest.MonkeyPatch) -> Application:
    return application(service, monkeypatch)


def code(service: ManagedFlink) -> str:
    return str(service.versions[service.version]["code"]["FileKey"]).rpartition("/")[2]


def test_the_first_apply_makes_the_application_and_starts_it_without_state(
    app: Application, service: ManagedFlink
) -> None:
    assert app.changes(WANTED)[0] == "application live: new, and it reads the log from its beginning"
    assert app.apply(WANTED) == "live runs as version 1"
    assert service.status == "RUNNING"
    assert service.restored == ["SKIP_RESTORE_FROM_SNAPSHOT"]
    assert app.changes(WANTED) == []


def test_nothing_is_asked_for_when_it_runs_as_wanted(app: Application, service: ManagedFlink) -> None:
    app.apply(WANTED)
    service.asked.clear()
    assert "nothing was changed" in app.apply(WANTED)
    assert set(service.asked) == {"DescribeApplication"}


def test_an_update_stops_with_a_snapshot_and_starts_from_it(app: Application, service: ManagedFlink) -> None:
    app.apply(WANTED)
    assert app.changes(NEXT) == [f"code: {WANTED.code} → {NEXT.code}", "parallelism: 2 → 4"]
    assert app.apply(NEXT) == "live runs as version 2"
    assert (service.status, code(service), service.snapshots) == ("RUNNING", "two.zip", [1])
    assert service.restored[-1] == "RESTORE_FROM_LATEST_SNAPSHOT"


def test_a_version_that_does_not_start_is_replaced_by_the_one_before_from_the_same_snapshot(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    service.broken = {"two.zip"}
    with pytest.raises(DeployFailed) as caught:
        app.apply(NEXT)
    assert "version 2 of live did not start: the jar lacks a class. Its log is arn:aws:logs" in str(caught.value)
    assert "The version before runs again from its own snapshot: live runs as version 3" in str(caught.value)
    assert (service.status, code(service), service.snapshots) == ("RUNNING", "one.zip", [1])
    assert app.changes(WANTED) == []


def test_when_neither_starts_the_message_says_so_and_what_keeps_the_state(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    service.broken = {".zip"}
    with pytest.raises(
        DeployFailed,
        match=r"could not be started again, either .* does not run: it is READY. Its newest snapshot has its",
    ):
        app.apply(NEXT)


def test_an_application_that_can_not_be_stopped_with_a_snapshot_goes_on(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    service.can_stop = False
    with pytest.raises(DeployFailed, match=r"could not be stopped with a snapshot: .* nothing was changed"):
        app.apply(NEXT)
    assert (service.status, service.version) == ("RUNNING", 1)


@pytest.mark.parametrize("operation", ["UpdateApplication", "StartApplication"])
@pytest.mark.parametrize(
    "refused", [Refused("CodeValidationException"), Refused("ServiceUnavailable", status=503)], ids=["refused", "away"]
)
def test_whatever_aws_refuses_after_the_stop_the_version_before_runs_again(
    app: Application, service: ManagedFlink, operation: str, refused: Refused
) -> None:
    app.apply(WANTED)
    refusals = iter(range(TRIES if refused.status == 503 else 1))

    def refuse(asked: str) -> None:
        if asked == operation and next(refusals, None) is not None:
            raise refused

    service.before = refuse
    with pytest.raises(DeployFailed, match=rf"{refused.code}.* (runs|started) again.*: live runs as version") as caught:
        app.apply(NEXT)
    assert str(caught.value).endswith(f"live runs as version {service.version}")
    assert (service.status, code(service), service.snapshots) == ("RUNNING", "one.zip", [1])
    assert app.apply(NEXT) == f"live runs as version {service.version}"


def test_when_aws_refuses_everything_after_the_stop_the_message_says_that_it_does_not_run(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)

    def refuse(asked: str) -> None:
        if asked in ("UpdateApplication", "StartApplication"):
            raise Refused("AccessDeniedException")

    service.before = refuse
    with pytest.raises(DeployFailed, match=r"AccessDenied.* does not run: it is READY.* run `insights deploy apply`"):
        app.apply(NEXT)
    service.before = lambda _: None
    assert app.apply(NEXT) == "live runs as version 2"


def test_when_aws_does_not_even_say_what_is_so_the_message_says_that(app: Application, service: ManagedFlink) -> None:
    app.apply(WANTED)

    def refuse(asked: str) -> None:
        if "StopApplication" in service.asked:
            raise Refused("AccessDeniedException")

    service.before = refuse
    with pytest.raises(DeployFailed, match="Whether the application runs is not known"):
        app.apply(NEXT)


@pytest.mark.parametrize(
    "lost", ["CreateApplication", "StopApplication", "UpdateApplication", "StartApplication", "DescribeApplication"]
)
def test_a_request_whose_answer_was_lost_is_done_once(app: Application, service: ManagedFlink, lost: str) -> None:
    if lost != "CreateApplication":
        app.apply(WANTED)
    service.lost = {lost}
    app.apply(NEXT)
    assert (service.status, code(service), service.lost) == ("RUNNING", "two.zip", set())
    assert app.changes(NEXT) == []


class Kill:
    """Kills at an operation: before the request came, or after its answer, at the next one."""

    def __init__(self, service: ManagedFlink, at: str, *, answered: bool) -> None:
        self._service, self._at, self._answered = service, at, answered
        self._done: list[str] = []

    def __call__(self, operation: str) -> None:
        if (self._at in self._done) if self._answered else (operation == self._at):
            self._service.before = lambda _: None
            raise Stopped
        self._done.append(operation)


@pytest.mark.parametrize(
    "killed_at", ["StopApplication", "UpdateApplication", "StartApplication", "DescribeApplication"]
)
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("broken", [False, True])
def test_an_update_that_was_killed_anywhere_is_finished_by_the_next(
    app: Application, service: ManagedFlink, killed_at: str, answered: bool, broken: bool
) -> None:
    app.apply(WANTED)
    service.broken = {"two.zip"} if broken else set()
    service.before = Kill(service, killed_at, answered=answered)
    with pytest.raises(Stopped):
        app.apply(NEXT)
    if broken:
        with pytest.raises(DeployFailed, match="The version before runs again from its own snapshot: live runs"):
            app.apply(NEXT)
    else:
        app.apply(NEXT)
    assert (service.status, code(service)) == ("RUNNING", "one.zip" if broken else "two.zip")
    assert service.snapshots == [1]
    assert set(service.restored[1:]) == {"RESTORE_FROM_LATEST_SNAPSHOT"}


@pytest.mark.parametrize("killed_at", ["CreateApplication", "StartApplication"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_first_apply_that_was_killed_is_finished_by_the_next_without_state(
    app: Application, service: ManagedFlink, killed_at: str, answered: bool
) -> None:
    service.before = Kill(service, killed_at, answered=answered)
    with pytest.raises(Stopped):
        app.apply(WANTED)
    app.apply(WANTED)
    assert (service.status, service.version) == ("RUNNING", 1)
    assert service.restored == ["SKIP_RESTORE_FROM_SNAPSHOT"]


def test_a_first_package_that_does_not_start_is_repaired_by_the_next_apply(
    app: Application, service: ManagedFlink
) -> None:
    service.broken = {"one.zip"}
    for _ in range(2):
        with pytest.raises(DeployFailed, match=r"did not start: .* does not run: it is READY, and it never ran"):
            app.apply(WANTED)
    assert app.apply(NEXT) == "live runs as version 2"
    assert set(service.restored) == {"SKIP_RESTORE_FROM_SNAPSHOT"}


@pytest.mark.parametrize("earlier_snapshot", [False, True])
def test_one_that_was_stopped_by_force_is_not_started_from_an_older_moment(
    app: Application, service: ManagedFlink, earlier_snapshot: bool
) -> None:
    app.apply(WANTED)
    if earlier_snapshot:
        app.apply(NEXT)
    service.stopped_by_force()
    starts, version = list(service.restored), service.version
    for wanted in (WANTED, NEXT):
        with pytest.raises(DeployFailed, match=r"stopped by force\. A start would read again .* Nothing was changed"):
            app.apply(wanted)
    assert (service.restored, service.version) == (starts, version)


def test_of_two_updates_at_once_one_is_refused_and_the_other_runs(
    app: Application, service: ManagedFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.apply(WANTED)
    other = application(service, monkeypatch)
    theirs = replace(NEXT, code="s3://packages/insights/live-job/3/three.zip")

    def meanwhile(operation: str) -> None:
        if operation == "StopApplication":
            service.before = lambda _: None
            other.apply(theirs)

    service.before = meanwhile
    with pytest.raises(ChangedMeanwhile, match=r"Nothing of this deployment is in it.*live runs as version 2"):
        app.apply(NEXT)
    assert (service.status, code(service)) == ("RUNNING", "three.zip")


def test_an_application_that_moved_before_the_stop_is_not_stopped(
    app: Application, service: ManagedFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.apply(WANTED)
    other, looks = application(service, monkeypatch), iter(range(10))
    theirs = replace(NEXT, code="s3://packages/insights/live-job/3/three.zip")

    def meanwhile(operation: str) -> None:
        if operation == "DescribeApplication" and next(looks) == 2:
            service.before = lambda _: None
            other.apply(theirs)
            service.asked.clear()

    service.before = meanwhile
    with pytest.raises(ChangedMeanwhile, match="It is RUNNING, version 2"):
        app.apply(NEXT)
    assert set(service.asked) == {"DescribeApplication"}


def test_another_runtime_is_an_update_and_then_nothing_is_left_to_change(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    service.versions[1]["runtime"] = "FLINK-1_20"
    assert app.changes(WANTED) == ["runtime: FLINK-1_20 → FLINK-2_2"]
    app.apply(WANTED)
    assert app.changes(WANTED) == []
    app.roll_back()
    assert service.versions[3]["runtime"] == "FLINK-1_20"


def test_the_bucket_is_named_in_the_partition_of_the_role(app: Application, service: ManagedFlink) -> None:
    in_china = "arn:aws-cn:iam::123456789012:role/live"
    app.apply(replace(WANTED, role=in_china))
    app.apply(replace(NEXT, role=in_china))
    assert {version["code"]["BucketARN"] for version in service.versions.values()} == {"arn:aws-cn:s3:::packages"}


def test_roll_back_takes_the_version_before_the_update_with_the_newest_state(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    app.apply(NEXT)
    assert app.roll_back() == "live runs as version 3"
    assert (code(service), service.snapshots) == ("one.zip", [1, 2])
    assert app.changes(WANTED) == []


def test_after_a_failed_update_roll_back_does_not_take_the_failed_version(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    app.apply(NEXT)
    service.broken = {"three.zip"}
    with pytest.raises(DeployFailed):
        app.apply(replace(NEXT, code="s3://packages/insights/live-job/3/three.zip"))
    app.roll_back()
    assert code(service) == "one.zip"


def test_without_a_version_before_there_is_no_way_back(app: Application) -> None:
    with pytest.raises(DeployFailed, match="`insights deploy apply` makes it"):
        app.roll_back()
    app.apply(WANTED)
    with pytest.raises(DeployFailed, match="has no version before it"):
        app.roll_back()


def test_an_application_with_unaligned_checkpoints_in_its_properties_is_not_touched(
    app: Application, service: ManagedFlink
) -> None:
    app.apply(WANTED)
    strange = {"PropertyGroupId": "theirs", "PropertyMap": {"execution.checkpointing.unaligned": "true"}}
    service.versions[1]["groups"].append(strange)
    for asked in (app.changes, app.apply):
        with pytest.raises(Misconfigured, match="property group theirs has execution.checkpointing.unaligned=true"):
            asked(NEXT)
    assert (service.status, service.version) == ("RUNNING", 1)


def test_one_that_is_under_way_for_too_long_is_named_with_its_log(
    service: ManagedFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 100_000, 1_000))
    app = application(service, monkeypatch, clock=lambda: float(next(times)))
    app.apply(WANTED)
    service.status, service.after = "UPDATING", ""
    with pytest.raises(DeployFailed, match=r"live is UPDATING since 30 minutes\. Its log is arn:aws:logs"):
        app.apply(NEXT)
