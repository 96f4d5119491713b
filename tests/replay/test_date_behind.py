"""After an update that counts more tables by payment date, those that are live by order date are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from aggregates.catalogue import aggregate, aggregates, go_by, shops_clock
from flink import live_job
from flink.live_job import LiveJob
from insights.doctor import check_sales_date
from insights.settings import Settings
from insights.shops_clock import keep
from insights.wiring import deployment
from replay.restate import restate_late
from schemas.errors import Misconfigured
from schemas.versions import ByPayment
from tests.flink.live_on_files import DEPLOYMENT

REFUNDS = ["refund_lines", "refunded_goods_per_day", "refunds", "refunds_per_day"]


@pytest.fixture
def by_payment() -> Iterator[None]:
    before = shops_clock()
    go_by(replace(before, payment=ByPayment(undated=("csv",)), changed_payment=1))
    yield
    go_by(before)


def of_an_update() -> LiveJob:
    """The job of a release whose refunds counted by their own date."""
    main = live_job.main_job()
    old = [replace(a, payment=None, version=a.version - 1) if a.name in REFUNDS else a for a in main.aggregates]
    return replace(main, aggregates=tuple(old))


def late(deployed: Path) -> object:
    """Counts late events with nothing but the jobs that are kept there."""
    context: Any = type("Context", (), {"deployment": replace(DEPLOYMENT, jobs_dir=deployed)})()
    return restate_late(context, cast("Any", None), by="test", say=print, on_event=print)


def test_tables_that_do_not_go_by_the_chosen_date_are_named_with_the_command(by_payment: None) -> None:
    lines = live_job.differences([of_an_update()], aggregates())
    assert [line.partition(":")[0] for line in lines] == REFUNDS
    assert all("`insights sales-by payment-date`, given again, counts it" in line for line in lines)


def test_late_events_that_wait_for_the_date_of_sales_fail_their_job(by_payment: None, tmp_path: Path) -> None:
    live_job.keep(replace(DEPLOYMENT, jobs_dir=tmp_path), of_an_update())
    with pytest.raises(Misconfigured, match=r"refund_lines, .*`insights sales-by payment-date`, given again"):
        late(tmp_path)


def test_the_doctor_names_them_too(by_payment: None, apart: Callable[..., Settings], tmp_path: Path) -> None:
    settings = apart(tmp_path / "home")
    live_job.keep(deployment(settings), of_an_update())
    keep(settings.home, shops_clock())
    (found,) = check_sales_date(settings)
    assert f"{', '.join(REFUNDS)} not yet, and no late event counts" in found.what
    assert "`insights sales-by payment-date`" in found.advice


def test_nothing_is_behind_once_it_is_counted_nor_while_the_date_changes(by_payment: None) -> None:
    assert live_job.behind_in_date([], aggregates()) == []
    assert live_job.behind_in_date([live_job.main_job()], aggregates()) == []
    second = live_job.handed_over(map(aggregate, REFUNDS), {})
    assert live_job.behind_in_date([of_an_update(), second], aggregates()) == []
    main = live_job.main_job()
    of_orders = [replace(a, payment=None, version=1) if a.has_orders else a for a in main.aggregates]
    assert live_job.behind_in_date([replace(main, aggregates=tuple(of_orders))], aggregates()) == []
