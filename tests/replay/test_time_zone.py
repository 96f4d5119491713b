"""The shop's time zone is changed on a stack that runs: all days are counted anew, proven, and shown.

Its shop has no event of one topic, so no window of what counts that one is ever final.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flink.job_control import all_run
from flink.live_job import LiveJob, kept_jobs, written
from insights.wiring import deployment
from tests.conftest import environment_of
from tests.e2e.hub import Hub, connect, quiet_hub

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

Counted = tuple[int, Decimal]
NEW_YORK, KATHMANDU, BERLIN = "America/New_York", "Asia/Kathmandu", "Europe/Berlin"
TAKES_OVER = "a live job takes over"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Hub]:
    """A stack with three days of a shop, that is quiet."""
    # No event may be late here, however busy the machine: a second job may count one that the first found late.
    folder = tmp_path_factory.mktemp("time-zone")
    with quiet_hub(folder, idle_timeout_seconds=120, seed=5, rate=0.5, history="72h") as found:
        yield found


def changing(hub: Hub, zone: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / "time-zone.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "insights", "time-zone", zone],
            env={**os.environ, **environment_of(hub.settings)},
            stdout=out,
            stderr=out,
        )
    return process, log


def change(hub: Hub, zone: str, folder: Path) -> None:
    done, log = changing(hub, zone, folder)
    assert done.wait(1200) == 0, log.read_text()[-3000:]
    assert "equal to the live jobs' results, in every cell" in " ".join(log.read_text().split())


def day_in(zone: str, moment: datetime) -> datetime:
    """The instant at which the day began there."""
    local = moment.astimezone(ZoneInfo(zone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def hour_in(zone: str, moment: datetime) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def by_window(moments: list[tuple[Any, ...]], start: Callable[[datetime], datetime]) -> dict[datetime, Counted]:
    """Rows and their sum by the instant at which their window began."""
    rows: Counter[datetime] = Counter()
    sums: dict[datetime, Decimal] = {}
    for moment, amount in moments:
        rows[start(moment)] += 1
        sums[start(moment)] = sums.get(start(moment), Decimal(0)) + amount
    return {at: (count, sums[at]) for at, count in rows.items()}


def assert_counts_by(zone: str, hub: Hub) -> None:
    with connect(hub.settings) as connection:
        placed = connection.execute(
            "select min(occurred_at), sum(sales_amount) from events.order_lines group by order_id"
        ).fetchall()
        lines = connection.execute("select occurred_at, sales_amount from events.order_lines").fetchall()
        days = connection.execute(
            "select window_start, sum(orders_once)::int, sum(sales_amount) from live.sales_per_day group by 1"
        ).fetchall()
        hours = connection.execute(
            "select window_start, sum(sales_amount) from live.product_activity_per_hour"
            " group by 1 having sum(units) > 0"
        ).fetchall()
        marts = connection.execute(
            "select day, orders, gross_amount - discount_amount from marts.daily_sales"
            " where level = 'all' and orders > 0"
        ).fetchall()
    expected = by_window(placed, partial(day_in, zone))
    assert {at: (orders, amount) for at, orders, amount in days} == expected
    by_hour = by_window(lines, partial(hour_in, zone))
    assert dict(hours) == {at: amount for at, (_, amount) in by_hour.items()}
    there, some_hours = ZoneInfo(zone), timedelta(hours=6)
    assert {day: (orders, amount) for day, orders, amount in marts} == {
        (start + some_hours).astimezone(there).date(): found for start, found in expected.items()
    }


def second_jobs(hub: Hub) -> list[LiveJob]:
    return [job for job in kept_jobs(deployment(hub.settings)) if not job.is_main]


def test_days_become_the_shops_and_are_proven_although_the_command_is_killed_in_between(
    hub: Hub, tmp_path: Path
) -> None:
    killed, log = changing(hub, NEW_YORK, tmp_path)
    hub.until(lambda: TAKES_OVER in log.read_text(), "the history is written", seconds=600)
    killed.kill()
    killed.wait()
    change(hub, NEW_YORK, tmp_path)
    assert_counts_by(NEW_YORK, hub)
    (job,) = second_jobs(hub)
    assert {a.window for a in job.aggregates} == {"day"}, "hours are UTC's"


def test_hours_become_the_shops_too_where_they_are_not_utcs_by_one_job_that_ends_the_one_before(
    hub: Hub, tmp_path: Path
) -> None:
    """In Kathmandu an hour begins at a quarter past UTC's."""
    change(hub, KATHMANDU, tmp_path)
    assert_counts_by(KATHMANDU, hub)
    (job,) = second_jobs(hub)
    assert {a.window for a in job.aggregates} == {"day", "hour"}
    assert "price_changes" not in job.lines, "none was observed: it is computed from the log's beginning"
    assert "price_changes" in {a.name for a in job.aggregates}


def have_own_hours_once(hub: Hub, folder: Path) -> None:
    """A second job counts hours: the work of the test before, or done here."""
    if not any(a.window == "hour" for job in second_jobs(hub) for a in job.aggregates):
        change(hub, KATHMANDU, folder)


def test_going_back_to_utc_leaves_no_trace_of_the_zones_before(hub: Hub, tmp_path: Path) -> None:
    have_own_hours_once(hub, tmp_path)
    change(hub, "UTC", tmp_path)
    assert_counts_by("UTC", hub)
    assert len(second_jobs(hub)) == 1
    assert_tables_are_those_written(hub)


def test_a_job_of_days_and_hours_goes_on_with_the_hours_when_days_change_alone(hub: Hub, tmp_path: Path) -> None:
    have_own_hours_once(hub, tmp_path)
    change(hub, "UTC", tmp_path)
    change(hub, BERLIN, tmp_path)
    assert_counts_by(BERLIN, hub)
    assert [job.retired for job in second_jobs(hub)].count(()) == 1
    assert len(second_jobs(hub)) == 2
    assert_tables_are_those_written(hub)
    assert all_run(deployment(hub.settings))


def assert_tables_are_those_written(hub: Hub) -> None:
    wanted = {a.table for a in written(deployment(hub.settings))}
    with connect(hub.settings) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'versions'").fetchall()
    assert {f"versions.{name}" for (name,) in tables} == wanted
