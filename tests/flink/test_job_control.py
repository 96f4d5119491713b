"""Where the live job goes on from, and when it must not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from flink.job_control import LogIncomplete, Snapshot, StateTooOld, newest_snapshot, refuse_expired, refuse_incomplete
from tests.flink.live_on_files import DEPLOYMENT
from warehouse.deployment import Deployment

HOUR = 3600.0


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return replace(DEPLOYMENT, snapshots_dir=tmp_path / "snapshots")


def take(folder: Path, taken_at: float, *, complete: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(b"state")
    if complete:
        (folder / "_metadata").write_bytes(b"metadata")
        os.utime(folder / "_metadata", (taken_at, taken_at))
    return folder


def test_a_first_start_has_no_snapshot(deployment: Deployment) -> None:
    assert newest_snapshot(deployment) is None
    deployment.snapshots_dir.mkdir()
    assert newest_snapshot(deployment) is None


def test_the_newest_snapshot_is_the_last_that_was_completed_whatever_its_number(deployment: Deployment) -> None:
    """A resubmitted job counts its checkpoints on in a folder of its own, and may begin again with 1."""
    checkpoints = deployment.snapshots_dir / "checkpoints"
    take(checkpoints / "0aa0" / "chk-900", 1_000)
    newest = take(checkpoints / "0bb0" / "chk-3", 3_000)
    take(checkpoints / "0cc0" / "chk-41", 2_000)
    assert newest_snapshot(deployment) == Snapshot(path=newest, taken_at=3_000)


def test_a_checkpoint_that_was_not_completed_is_none(deployment: Deployment) -> None:
    checkpoints = deployment.snapshots_dir / "checkpoints" / "0aa0"
    complete = take(checkpoints / "chk-8", 1_000)
    take(checkpoints / "chk-9", 2_000, complete=False)
    (checkpoints / "shared").mkdir()
    found = newest_snapshot(deployment)
    assert found is not None
    assert found.path == complete


def test_a_savepoint_is_gone_on_from_when_it_is_newer_than_the_checkpoints(deployment: Deployment) -> None:
    take(deployment.snapshots_dir / "checkpoints" / "0aa0" / "chk-8", 1_000)
    savepoint = take(deployment.snapshots_dir / "savepoints" / "savepoint-0aa0-1", 1_001)
    found = newest_snapshot(deployment)
    assert found is not None
    assert found.path == savepoint


@pytest.mark.parametrize(("ttl", "horizon", "limit"), [(192, 24, 168), (48, 24, 24), (25, 24, 1)])
def test_a_snapshot_is_good_while_no_window_that_may_change_has_lost_its_state(
    deployment: Deployment, ttl: int, horizon: int, limit: int
) -> None:
    ours = replace(deployment, state_ttl_hours=ttl, horizon_hours=horizon)
    snapshot = Snapshot(path=Path("/somewhere"), taken_at=1_000_000.0)
    refuse_expired(ours, snapshot, snapshot.taken_at)
    refuse_expired(ours, snapshot, snapshot.taken_at + limit * HOUR)
    with pytest.raises(StateTooOld):
        refuse_expired(ours, snapshot, snapshot.taken_at + limit * HOUR + 1)


def test_a_refusal_names_the_age_the_limit_and_the_way_out(deployment: Deployment) -> None:
    snapshot = Snapshot(path=Path("/somewhere"), taken_at=0.0)
    with pytest.raises(StateTooOld) as caught:
        refuse_expired(deployment, snapshot, 200 * HOUR)
    assert "200 h old" in str(caught.value)
    assert "only valid for 168 h" in str(caught.value)
    assert "insights flink submit --from-beginning" in str(caught.value)


def test_starting_over_is_refused_when_the_log_has_lost_a_beginning() -> None:
    with pytest.raises(LogIncomplete, match=r"web\.interaction\.v1 \(1,200 records\)"):
        refuse_incomplete({"sales.order_placed.v1": 0, "web.interaction.v1": 1_200})


def test_starting_over_is_allowed_while_the_log_is_whole() -> None:
    refuse_incomplete({"sales.order_placed.v1": 0, "web.interaction.v1": 0})
