"""Every mart on random histories: built whole, and brought up to date as events come and as replays restate windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import psycopg
import pytest

from aggregates.catalogue import ShopsClock
from aggregates.zones import zone
from insights.shops_clock import keep
from producers.connect.zones import note_said
from schemas.catalogue import event
from tests.aggregates.oracle import shop_in
from tests.marts import sources
from tests.marts.any_shop import Log, any_shop
from tests.marts.compare import wrong_marts, wrong_quality_marts
from tests.marts.oracle import exact
from tests.marts.oracle.history import History
from tests.marts.oracle.quality import DeadLetter
from tests.marts.process import Dbt, copied, relations
from tests.marts.sources import COUNTED_AT, Came
from warehouse.shop_days import make_shop_time, make_times_of_shops

pytestmark = pytest.mark.timeout(600)
STILL_OPEN = timedelta(hours=24)
DATABASE = "any_shop"


@pytest.fixture
def shop(server: str) -> str:
    """A database in which nothing has come and nothing is built."""
    return copied(server, "insights", DATABASE)


def assert_marts_are_right(shop: str, dbt: Dbt, came: Came) -> None:
    """After this has come and the marts were built."""
    with psycopg.connect(shop) as connection:
        sources.fill(connection, came)
    dbt.run(DATABASE, "build", "--exclude-resource-type", "unit_test")
    with psycopg.connect(shop) as connection:
        problems = wrong_marts(connection, History(came.counts()))
        problems += wrong_quality_marts(connection, sources.recorded(came))
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("seed", range(2))
def test_every_mart_of_any_history_is_what_plain_python_makes_of_the_log(shop: str, dbt: Dbt, seed: int) -> None:
    assert_marts_are_right(shop, dbt, Came(any_shop(seed, size=150)))


def test_marts_of_nothing_are_empty(shop: str, dbt: Dbt) -> None:
    assert_marts_are_right(shop, dbt, Came(dict.fromkeys(any_shop(0), [])))


def test_marts_brought_up_to_date_are_those_built_whole(shop: str, dbt: Dbt) -> None:
    """As events come in; as late ones come to count, of windows that were final; and as that is taken back."""
    rng = Random(7)
    log = any_shop(7, size=150)
    line = max(record["occurred_at"] for records in log.values() for record in records) - timedelta(days=15)
    late = {
        name: {n for n, r in enumerate(records) if r["occurred_at"] < line - STILL_OPEN and rng.random() < 0.06}
        for name, records in log.items()
    }
    came = Came(log, late, dead=some_dead_letters())
    assert_marts_are_right(shop, dbt, replace(came, log=until(line, log, rng)))
    assert_marts_are_right(shop, dbt, came)

    run = sources.late_run(came, COUNTED_AT)
    assert_marts_are_right(shop, dbt, replace(came, restated=late, runs=[run]))

    run |= {"status": "rolled back", "rolled_back_at": COUNTED_AT + timedelta(hours=1)}
    assert_marts_are_right(shop, dbt, replace(came, runs=[run]))


def test_marts_of_a_shop_elsewhere_go_by_its_days(shop: str, dbt: Dbt) -> None:
    """Within the history its clock is put forward. Brought up to date as above."""
    log = any_shop(7, size=150)
    line = max(record["occurred_at"] for records in log.values() for record in records) - timedelta(days=15)
    late = {name: {n for n, r in enumerate(records) if n % 17 == 3} for name, records in log.items()}
    late = {name: {n for n in ns if log[name][n]["occurred_at"] < line - STILL_OPEN} for name, ns in late.items()}
    came = Came(log, late)
    with going_by("America/New_York", shop, dbt):
        assert_marts_are_right(shop, dbt, replace(came, log=until(line, log, Random(7))))
        assert_marts_are_right(shop, dbt, came)
        restated = replace(came, restated=late, runs=[sources.late_run(came, COUNTED_AT)])
        assert_marts_are_right(shop, dbt, restated)
    assert_marts_are_right(shop, dbt, replace(restated, runs=[sources.late_run(came, COUNTED_AT)]))


def test_a_shop_whose_zone_is_another_has_its_days_anew_and_no_other_mart_changes(
    shop: str, dbt: Dbt, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = Came(any_shop(3, size=60))
    assert_marts_are_right(shop, dbt, came)
    before = relations(shop)
    monkeypatch.setitem(exact.OF_SHOPS, "thamel", ZoneInfo("Pacific/Auckland"))
    note_said(dbt.settings.producers_dir, "thamel", "Pacific/Auckland")
    with psycopg.connect(shop) as connection:
        make_times_of_shops(connection, sources.zones_of_shops())
    try:
        assert_marts_are_right(shop, dbt, came)
    finally:
        note_said(dbt.settings.producers_dir, "thamel", "Asia/Kathmandu")
    after = relations(shop)
    assert {name for name, rows in after.items() if rows != before[name]} == {"marts.shop_daily_sales"}


@contextmanager
def going_by(name: str, shop: str, dbt: Dbt) -> Iterator[None]:
    """Within it the definitions, the database, dbt and plain Python go by this time zone."""

    def choose(clock: ShopsClock) -> None:
        keep(dbt.settings.home, clock)
        with psycopg.connect(shop) as connection:
            make_shop_time(connection)

    choose(ShopsClock(zone=zone(name)))
    try:
        with shop_in(name):
            yield
    finally:
        choose(ShopsClock())


def until(line: datetime, log: Log, rng: Random) -> Log:
    """What has come when events up to the line do. Of the day before it, half is still under way."""
    return {
        name: [r for r in records if r["occurred_at"] < line - (STILL_OPEN if rng.random() < 0.5 else timedelta(0))]
        for name, records in log.items()
    }


def some_dead_letters() -> list[DeadLetter]:
    topics = [event(name).topic for name in ("sales.order_placed", "web.interaction")]
    return [
        DeadLetter(at=COUNTED_AT - n * timedelta(hours=7), topic=topics[n % 2], reason=f"… is no amount, {n % 3}")
        for n in range(12)
    ]
