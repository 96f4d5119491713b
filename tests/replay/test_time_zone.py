"""The shop's time zone is changed on a stack that runs: all days are counted anew, proven, and shown."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import environment_of
from tests.e2e.hub import Hub, connect, quiet_hub

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

NAME = "America/New_York"
COUNTS = "counting its history by the shop's days"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Hub]:
    """A stack with three days of a shop, that is quiet."""
    with quiet_hub(tmp_path_factory.mktemp("time-zone"), seed=5, rate=0.5, history="72h") as found:
        yield found


def changing(hub: Hub, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / "time-zone.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "insights", "time-zone", NAME],
            env={**os.environ, **environment_of(hub.settings)},
            stdout=out,
            stderr=out,
        )
    return process, log


def by_shops_day(moments: list[tuple[datetime, Decimal]]) -> dict[datetime, tuple[int, Decimal]]:
    """Orders and their sum by the instant at which their day began in New York."""
    orders: Counter[datetime] = Counter()
    sums: dict[datetime, Decimal] = {}
    for moment, amount in moments:
        local = moment.astimezone(ZoneInfo(NAME))
        day = local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(moment.tzinfo)
        orders[day] += 1
        sums[day] = sums.get(day, Decimal(0)) + amount
    return {day: (count, sums[day]) for day, count in orders.items()}


def test_days_become_the_shops_and_are_proven_although_the_command_is_killed_in_between(
    hub: Hub, tmp_path: Path
) -> None:
    killed, log = changing(hub, tmp_path)
    hub.until(lambda: log.read_text().count(COUNTS) >= 2, "the second table is being counted", seconds=600)
    killed.kill()
    killed.wait()
    done, log = changing(hub, tmp_path)
    assert done.wait(1200) == 0, log.read_text()[-3000:]
    assert "equal to what the live job counts, in every cell" in " ".join(log.read_text().split())

    with connect(hub.settings) as connection:
        placed = connection.execute(
            "select min(occurred_at), sum(sales_amount) from events.order_lines group by order_id"
        ).fetchall()
        counted = connection.execute(
            "select window_start, sum(orders_once)::int, sum(sales_amount) from live.sales_per_day group by 1"
        ).fetchall()
        marts = connection.execute(
            "select day, orders, gross_amount - discount_amount from marts.daily_sales"
            " where level = 'all' and orders > 0"
        ).fetchall()
    expected = by_shops_day(placed)
    assert {day: (orders, amount) for day, orders, amount in counted} == expected
    zone, some_hours = ZoneInfo(NAME), timedelta(hours=6)
    assert {day: (orders, amount) for day, orders, amount in marts} == {
        (start + some_hours).astimezone(zone).date(): found for start, found in expected.items()
    }
