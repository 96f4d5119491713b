"""The log by offsets, on the run's one stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from insights.settings import Settings
from replay.log import Log
from schemas.catalogue import event

YEAR_ONE = datetime.min.replace(tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("moment", [YEAR_ONE, EPOCH - timedelta(hours=1), EPOCH])
def test_a_time_before_the_log_began_means_its_beginning(stack: Settings, moment: datetime) -> None:
    log, orders = Log(stack.kafka), event("sales.order_placed")
    begins = {n: extent.begin for n, extent in log.extents(orders).items()}
    assert begins
    assert log.first_since(orders, moment) == begins


def test_a_time_that_is_to_come_means_the_logs_end(stack: Settings) -> None:
    log, orders = Log(stack.kafka), event("sales.order_placed")
    ends = {n: extent.end for n, extent in log.extents(orders).items()}
    assert log.first_since(orders, datetime(9999, 12, 31, tzinfo=UTC)) == ends
