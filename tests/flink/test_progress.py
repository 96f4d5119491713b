"""What a source reports is certain once its offsets are committed, and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flink import progress
from flink.committed import Offsets
from flink.live_job import main_job
from flink.progress import NO_CHECKPOINT, Reading, Reported
from tests.flink.live_on_files import DEPLOYMENT
from warehouse.tables import make_postgres_tables

JOB = main_job()
ORDERS, MOVES = "sales.order_placed.v1", "inventory.stock_moved.v1"
Report = Callable[..., None]


class Job:
    """A job that reports, and commits; ``witness`` reads it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.committed: dict[tuple[str, int], int] = {}
        at = conninfo_to_dict(dsn)
        self.witness = Reported(
            replace(
                DEPLOYMENT,
                flink_url="",
                postgres_host=str(at["host"]),
                postgres_port=int(str(at["port"])),
                postgres_database=str(at["dbname"]),
                postgres_user=str(at["user"]),
                postgres_password=str(at["password"]),
            )
        )
        with psycopg.connect(dsn) as connection:
            make_postgres_tables(connection)

    def reports(
        self, watermark: int | None, until: str, *, run: str = "a", subtask: int = 0, of: int = 1, topic: str = ORDERS
    ) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute(
                "insert into ops.job_progress"
                " (job, topic, subtask, run, subtasks, watermark, read_until, reported_at) values"
                " (%s, %s, %s, %s, %s, timestamptz 'epoch' + %s * interval '1 millisecond', %s, clock_timestamp())"
                " on conflict (job, topic, subtask) do update set run = excluded.run, subtasks = excluded.subtasks,"
                " watermark = excluded.watermark, read_until = excluded.read_until, reported_at = excluded.reported_at",
                (JOB.name, topic, subtask, run, of, watermark, until),
            )

    def reading(self) -> Reading | None:
        run = self.witness.runs([JOB]).get(JOB.name)
        return self.witness.read(JOB, run) if run else None


@pytest.fixture
def job(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Job:
    found = Job(new_database())

    def committed(*_: object) -> Offsets:
        return found.committed

    monkeypatch.setattr(progress, "committed", committed)
    return found


@pytest.mark.parametrize(
    ("committed", "is_certain"),
    [
        ({}, False),
        ({(ORDERS, 0): 12}, False),
        ({(ORDERS, 0): 12, (ORDERS, 1): 6}, False),
        ({(ORDERS, 0): 12, (ORDERS, 1): 7}, True),
        ({(ORDERS, 0): 99, (ORDERS, 1): 99}, True),
    ],
    ids=["nothing", "one partition", "one too few", "all", "more"],
)
def test_a_report_is_certain_when_all_that_had_been_read_is_committed(
    job: Job, committed: dict[tuple[str, int], int], is_certain: bool
) -> None:
    job.reports(1_700_000_000_123, "0:12 1:7")
    found = job.reading()
    assert found is not None
    assert found.watermarks == {"order_placed": 1_700_000_000_123}
    job.committed = committed
    assert job.witness.checkpoint_after(JOB, found) == (NO_CHECKPOINT if is_certain else None)


def test_the_slowest_subtask_says_how_far_a_topic_is_and_none_does_while_one_has_not_reported(job: Job) -> None:
    job.reports(3000, "0:5", subtask=0, of=2)
    assert job.reading() is None
    job.reports(2000, "1:4", subtask=1, of=2)
    found = job.reading()
    assert found is not None
    assert (found.watermarks, found.read_until) == ({"order_placed": 2000}, {(ORDERS, 0): 5, (ORDERS, 1): 4})


def test_a_subtask_of_a_larger_number_before_is_none_of_now(job: Job) -> None:
    job.reports(2000, "1:4", subtask=1, of=2)
    job.reports(3000, "0:5 1:9", subtask=0, of=1)
    found = job.reading()
    assert found is not None
    assert (found.watermarks, found.read_until) == ({"order_placed": 3000}, {(ORDERS, 0): 5, (ORDERS, 1): 9})


def test_a_run_that_has_just_begun_takes_back_what_the_one_before_had_only_reported(job: Job) -> None:
    job.reports(9000, "0:50")
    job.reports(8000, "0:1", topic=MOVES)
    before = job.reading()
    job.reports(None, "", run="b")
    found = job.reading()
    assert before is not None
    assert found is not None
    assert found.run != before.run
    assert found.watermarks == {"stock_moved": 8000}
    job.reports(4000, "0:20", run="b")
    later = job.reading()
    assert later is not None
    assert later.watermarks == {"stock_moved": 8000, "order_placed": 4000}
