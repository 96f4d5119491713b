"""A lake on real files, filled as the live job fills it: an append a checkpoint, with its id in the snapshot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from schemas.catalogue import event
from schemas.errors import Retryable
from tests.e2e.made_events import made
from tests.flink.live_on_files import DEPLOYMENT
from warehouse import compaction, maintenance, retention
from warehouse.maintenance import MaintenanceRuns, Rules, Tidied, maintain, rules, tidy
from warehouse.tables import create_lake_table

ORDERS = event("sales.order_placed")
TABLE = ("events", ORDERS.table)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TOMORROW = NOON + timedelta(days=1)
PARTITIONS = 3


class Lake:
    """One table, and a job that appends to it."""

    def __init__(self, folder: Path) -> None:
        properties = {"uri": f"sqlite:///{folder}/catalog.sqlite", "warehouse": (folder / "files").as_uri()}
        self.catalog = SqlCatalog("lake", **properties)
        self.another = OvertakenCatalog("lake", **properties)
        self.folder = folder / "files"
        create_lake_table(self.catalog, ORDERS)
        self._offsets = count()
        self._checkpoints = count(1)

    @property
    def table(self) -> Table:
        return self.catalog.load_table(TABLE)

    def append(self, at: datetime = NOON, rows: int = 6, job: str = "job-1") -> None:
        """What one checkpoint brings, last offset first."""
        records = [self._record(at) for _ in range(rows)][::-1]
        table = self.table
        rows = pa.Table.from_pylist(records, schema=table.schema().as_arrow())
        file = compaction.write(table, rows, at.date())
        summary = {retention.JOB_ID: job, "flink.max-committed-checkpoint-id": str(next(self._checkpoints))}
        with table.transaction() as transaction, transaction.update_snapshot(summary).fast_append() as change:
            change.append_data_file(file)

    def _record(self, at: datetime) -> dict[str, Any]:
        number = next(self._offsets)
        log = {"kafka_partition": number % PARTITIONS, "kafka_offset": number // PARTITIONS, "schema_id": 1}
        return {**made(ORDERS, at, number), **log, "kafka_timestamp": at + timedelta(milliseconds=number)}

    def tidy(self, now: datetime = TOMORROW, keep_hours: float = 24 * 365 * 100) -> Tidied:
        return tidy(self.catalog, TABLE, self.rules(now, keep_hours))

    def rules(self, now: datetime, keep_hours: float) -> Rules:
        """Compaction goes by the day of ``now``; how old snapshots and files are, by the clock that wrote them."""
        return replace(rules(DEPLOYMENT, datetime.now(UTC), keep_hours), now=now)

    def rows(self, snapshot: int | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.table.scan(snapshot_id=snapshot).to_arrow().to_pylist()
        return sorted(found, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))

    def data_files(self) -> list[str]:
        return [task.file.file_path.removeprefix("file://") for task in self.table.scan().plan_files()]

    def on_disk(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}


class OvertakenCatalog(SqlCatalog):
    """Before it commits, somebody else does, a given number of times."""

    overtakers: Sequence[Any] = ()

    def commit_table(self, *arguments: Any, **named: Any) -> Any:
        if self.overtakers:
            first, self.overtakers = self.overtakers[0], self.overtakers[1:]
            first()
        return super().commit_table(*arguments, **named)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    lake = Lake(tmp_path)
    yield lake
    lake.catalog.close()
    lake.another.close()


def test_small_files_of_a_day_that_is_over_become_one_with_the_same_rows_sorted_by_their_place_in_the_log(
    lake: Lake,
) -> None:
    for _ in range(5):
        lake.append()
    before = lake.rows()
    done = lake.tidy()
    assert (done.before.files, done.after.files) == (5, 1)
    assert lake.rows() == before
    (path,) = lake.data_files()
    written = pq.read_table(path, columns=["kafka_partition", "kafka_offset"]).to_pylist()
    places = [(row["kafka_partition"], row["kafka_offset"]) for row in written]
    assert places == sorted(places)
    assert len(places) == 30


def test_a_second_run_changes_nothing(lake: Lake) -> None:
    for _ in range(5):
        lake.append()
    lake.tidy(keep_hours=0)
    metadata, files = lake.table.metadata_location, lake.on_disk()
    done = lake.tidy(keep_hours=0)
    assert (done.before, done.expired, done.removed) == (done.after, 0, 0)
    assert (lake.table.metadata_location, lake.on_disk()) == (metadata, files)


def test_files_come_out_full_and_full_ones_are_left_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "TARGET_ROWS", 40)
    for _ in range(20):
        lake.append(rows=7)
    rows = lake.rows()
    lake.tidy()
    sizes = sorted(task.file.record_count for task in lake.table.scan().plan_files())
    assert sizes == [35, 35, 35, 35]
    kept = set(lake.data_files())
    for _ in range(2):
        lake.append(rows=7)
    rows = lake.rows()
    lake.tidy()
    assert kept < set(lake.data_files())
    assert len(lake.data_files()) == len(kept) + 1
    assert lake.rows() == rows


def test_days_stay_apart_and_a_day_that_goes_on_waits_until_it_has_many_files(lake: Lake) -> None:
    for _ in range(compaction.FEWEST_OF_TODAY - 1):
        lake.append(at=TOMORROW)
    for _ in range(3):
        lake.append(at=NOON)
    assert lake.tidy(now=TOMORROW).after.files == 1 + compaction.FEWEST_OF_TODAY - 1
    lake.append(at=TOMORROW)
    assert lake.tidy(now=TOMORROW).after.files == 2


def test_what_does_not_fit_into_memory_as_one_becomes_several_or_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        lake.append()
    one = pq.read_table(lake.data_files()[0]).nbytes
    rows = lake.rows()
    monkeypatch.setattr(compaction, "MEMORY_BYTES", 3.5 * one)
    assert lake.tidy().after.files == 2
    files = lake.on_disk()
    assert lake.tidy().after.files == 2
    assert lake.on_disk() == files
    assert lake.rows() == rows


def test_columns_that_the_contract_gained_since_are_null(lake: Lake) -> None:
    lake.append()
    from pyiceberg.types import StringType

    with lake.table.update_schema() as update:
        update.add_column("colour", StringType())
    lake.append()
    rows = lake.rows()
    assert lake.tidy().after.files == 1
    assert lake.rows() == rows
    assert {row["colour"] for row in rows} == {None}


@pytest.mark.parametrize("times", [1, 3])
def test_a_job_that_commits_first_keeps_its_rows_and_the_compaction_comes_after_it(lake: Lake, times: int) -> None:
    for _ in range(5):
        lake.append()
    lake.another.overtakers = [lake.append] * times
    done = tidy(lake.another, TABLE, lake.rules(TOMORROW, 24 * 365))
    assert done.after.files == 1 + times
    assert len({(r["kafka_partition"], r["kafka_offset"]) for r in lake.rows()}) == len(lake.rows()) == 6 * (5 + times)


def test_a_job_that_always_commits_first_is_left_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ATTEMPTS", 2)
    for _ in range(5):
        lake.append()
    lake.another.overtakers = [lake.append] * 100
    with pytest.raises(Retryable, match=r"2 times another commit came first; nothing was changed"):
        tidy(lake.another, TABLE, lake.rules(TOMORROW, 24 * 365))
    assert len(lake.rows()) == 6 * len(lake.data_files())
    # Nothing that it had written stays behind.
    assert {str(path) for path in lake.on_disk() if path.suffix == ".parquet"} == set(lake.data_files())


def test_old_snapshots_go_with_the_files_that_were_theirs_alone(lake: Lake) -> None:
    for _ in range(5):
        lake.append()
    lake.tidy()
    lake.append()
    rows = lake.rows()
    done = lake.tidy(keep_hours=0)
    assert (done.before.snapshots, done.expired, done.after.snapshots) == (7, 6, 2)
    assert lake.rows() == rows
    on_disk = {str(path) for path in lake.on_disk() if path.suffix == ".parquet"}
    # The newest snapshot of the job has them still: a file of its own, and the one that was compacted before.
    assert len(on_disk) == 3
    assert set(lake.data_files()) < on_disk


def test_the_way_from_the_newest_snapshot_back_to_the_jobs_last_commit_stays_whole(lake: Lake) -> None:
    for _ in range(3):
        lake.append(job="job-1")
    lake.append(job="job-2")
    last = lake.table.current_snapshot()
    lake.tidy(keep_hours=0)
    lake.tidy(keep_hours=0)
    newest = lake.table.current_snapshot()
    assert newest is not None
    assert last is not None
    assert newest.snapshot_id != last.snapshot_id
    assert newest.parent_snapshot_id == last.snapshot_id
    assert {s.snapshot_id for s in lake.table.snapshots()} == {newest.snapshot_id, last.snapshot_id}


def test_snapshots_that_are_young_stay(lake: Lake) -> None:
    for _ in range(5):
        lake.append()
    assert (lake.tidy(keep_hours=1).expired, lake.tidy(keep_hours=1).after.snapshots) == (0, 6)


def test_a_pinned_snapshot_and_its_files_stay_until_it_is_let_go(lake: Lake) -> None:
    for _ in range(5):
        lake.append()
    pinned = retention.pin(lake.table, "r1")
    rows = lake.rows()
    lake.append()
    assert retention.pin(lake.table, "r1") == pinned
    for _ in range(2):
        lake.tidy(keep_hours=0)
        lake.append()
    assert lake.rows(pinned) == rows
    retention.unpin(lake.table, "r1")
    retention.unpin(lake.table, "r1")
    lake.tidy(keep_hours=0)
    assert pinned not in {s.snapshot_id for s in lake.table.snapshots()}


def test_orphans_go_when_they_are_so_old_that_no_job_could_commit_them(lake: Lake) -> None:
    for _ in range(3):
        lake.append()
    known = lake.on_disk()
    data = Path(lake.data_files()[0]).parent
    for name, hours in (("young", DEPLOYMENT.state_ttl_hours - 1), ("old", DEPLOYMENT.state_ttl_hours + 1)):
        (data / f"{name}.parquet").write_bytes(b"12345")
        aged(data / f"{name}.parquet", hours)
    for path in known:
        aged(path, 24 * 365)
    done = lake.tidy(now=NOON)
    assert (done.orphans, done.orphan_bytes) == (1, 5)
    assert lake.on_disk() == known | {data / "young.parquet"}


def aged(path: Path, hours: float) -> None:
    at = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
    os.utime(path, (at, at))


def test_what_a_run_that_was_killed_left_behind_is_an_orphan_and_the_next_run_does_the_rest(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        lake.append()
    rows = lake.rows()

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    for place, name in ((compaction, "_exchange"), (retention, "remove")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, killed)
            with pytest.raises(Killed):
                lake.tidy(keep_hours=0)
        assert lake.rows() == rows
    assert lake.tidy(keep_hours=0).after.files == 1
    for path in lake.on_disk():
        aged(path, 24 * 365)
    assert lake.tidy(keep_hours=0).orphans > 0
    assert lake.rows() == rows
    assert set(lake.data_files()) <= {str(path) for path in lake.on_disk()}


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(lake: Lake) -> None:
    for _ in range(5):
        lake.append()
    metadata, files = lake.table.metadata_location, lake.on_disk()
    said = maintenance.look(lake.catalog, TABLE, lake.rules(TOMORROW, 0))
    assert (said.before.files, said.after.files, said.expired) == (5, 1, 4)
    assert (lake.table.metadata_location, lake.on_disk()) == (metadata, files)
    done = lake.tidy(keep_hours=0)
    assert (done.after.files, done.expired, done.after.snapshots) == (1, 4, said.after.snapshots)


def test_a_second_run_at_the_same_time_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    deployment = replace(DEPLOYMENT, work_dir=tmp_path)
    rule = rules(deployment, NOON)
    with (
        maintenance._one_at_a_time(deployment),
        pytest.raises(MaintenanceRuns, match=rf"process {os.getpid()} is already"),
    ):
        list(maintain(deployment, rule))


def test_an_unavailable_catalog_is_reported_in_words(tmp_path: Path) -> None:
    with pytest.raises(Retryable, match=r"Postgres at 127\.0\.0\.1:9, which has the lake's catalog, is unreachable"):
        list(maintain(replace(DEPLOYMENT, work_dir=tmp_path), rules(DEPLOYMENT, NOON)))
