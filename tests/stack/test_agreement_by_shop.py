"""Two shops whose clocks differ: each is compared, and has its days, by its own. The tables are in days of a third."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from insights.agreement.compare import compare, first_day, learn_zone
from insights.shop_zones import publish, zone_of, zones_of_shops
from producers.connect.agreement import Totals
from producers.connect.connections import Connection, Connections
from producers.connect.zones import choose, note_said, zones
from tests.alerts.made_stack import make_stack
from tests.shops.woocommerce import WooCommerce
from tests.stack.compared_shop import Here, at_once, connected, count, history_is_read

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SINCE = datetime(2026, 3, 1, tzinfo=UTC)
ZONES = {"manhattan": "America/New_York", "thamel": "Asia/Kathmandu"}
FORWARD, BACK = date(2026, 3, 8), date(2026, 11, 1)  # New York's clocks are changed; those of Kathmandu never are


@pytest.fixture(scope="module")
def here(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Here:
    dsn, folder = new_database(), tmp_path_factory.mktemp("shops")
    make_stack(dsn)
    found = Here(home=folder / "home", database=dsn)
    found.producers_dir.mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def shops(here: Here) -> Iterator[dict[str, tuple[WooCommerce, Connection]]]:
    """Both, with an order of each hour around the days on which a clock is changed, and around all their midnights."""
    with (
        WooCommerce(seed=1, now=NOW).serving() as one,
        WooCommerce(seed=2, now=NOW).serving() as other,
        psycopg.connect(here.database, autocommit=True) as postgres,
    ):
        found = {}
        for (name, zone), shop in zip(ZONES.items(), (one, other), strict=True):
            shop.time_zone = {"timezone_string": zone}
            history_is_read(here, name)
            found[name] = (shop, connected(here, shop, name, days=300))
            for at in instants():
                order = shop.place(at=at)
                if order.id % 7 == 0:
                    shop.refund(order)
                count(postgres, name, order)
        yield found


def instants() -> list[datetime]:
    hours = [
        datetime(day.year, day.month, day.day, tzinfo=UTC) + n * HOUR for day in (FORWARD, BACK) for n in range(-30, 54)
    ]
    midnights = [
        datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for zone in (*ZONES.values(), "UTC")
        for day in (FORWARD, FORWARD + timedelta(days=1), BACK, BACK + timedelta(days=1))
    ]
    return [*hours, *(midnight + by for midnight in midnights for by in (-SECOND, SECOND))]


def by_plain_python(shop: WooCommerce, zone: str) -> dict[date, tuple[int, int]]:
    """By day of the zone how many orders, and their cents."""
    orders: Counter[date] = Counter()
    cents: Counter[date] = Counter()
    for order in shop.orders.values():
        day = order.created.astimezone(ZoneInfo(zone)).date()
        orders[day] += 1
        cents[day] += order.goods
    return {day: (orders[day], cents[day]) for day in orders}


def summed(totals: Totals) -> tuple[int, int]:
    return totals.orders, int(totals.measures["sales"] * 100)


@pytest.mark.parametrize("name", ZONES)
def test_each_shop_agrees_in_days_of_its_own_zone(
    name: str, here: Here, shops: dict[str, tuple[WooCommerce, Connection]]
) -> None:
    shop, connection = shops[name]
    learn_zone(here, connection)
    done = compare(here, connection, SINCE, pause=at_once)
    assert (done.agreement.result, done.zone_name) == ("equal", ZONES[name])
    wanted = by_plain_python(shop, ZONES[name])
    for side in (0, 1):
        assert {day: summed(both[side]) for day, both in done.agreement.days().items()} == wanted
    assert wanted != by_plain_python(shop, "UTC")


@pytest.mark.parametrize(("name", "hours"), [("manhattan", (23, 25)), ("thamel", (24, 24))])
def test_a_day_of_a_shop_has_as_many_hours_as_its_clock_shows(
    name: str, hours: tuple[int, int], here: Here, shops: dict[str, tuple[WooCommerce, Connection]]
) -> None:
    learn_zone(here, shops[name][1])
    with psycopg.connect(here.database, autocommit=True) as postgres:
        publish(postgres, here)
        query = (
            "select count(*) from generate_series(timestamptz '2026-01-01 00:15+00', '2026-12-31', '1 hour') as at"
            " where ops.shop_time(at, %s)::date = %s"
        )
        found = [postgres.execute(query, (name, day)).fetchone() for day in (FORWARD, BACK)]
        assert [row[0] for row in found if row] == list(hours)
        assert postgres.execute("select ops.shop_zone(%s)", (name,)).fetchone() == (ZONES[name],)
        # What is of no connected shop has the days of all shops together.
        others = "select ops.shop_zone('a file'), ops.shop_time(timestamptz '2026-03-08 23:59+00', 'a file')"
        assert postgres.execute(others).fetchone() == ("UTC", datetime(2026, 3, 8, 23, 59))


def test_a_comparison_begins_at_midnight_of_the_shop(
    here: Here, shops: dict[str, tuple[WooCommerce, Connection]]
) -> None:
    _, connection = shops["manhattan"]
    note_said(here.producers_dir, "manhattan", "America/New_York")
    zone = zone_of(here, "manhattan")
    assert first_day(connection, datetime(2026, 11, 2, 4, 59, tzinfo=UTC), zone, 2) == datetime(
        2026, 10, 31, 4, tzinfo=UTC
    )
    assert first_day(connection, datetime(2026, 11, 2, 5, tzinfo=UTC), zone, 2) == datetime(2026, 11, 1, 4, tzinfo=UTC)


def test_a_shop_whose_zone_changes_is_compared_by_the_new_one_unless_another_was_chosen(
    here: Here, shops: dict[str, tuple[WooCommerce, Connection]]
) -> None:
    shop, connection = shops["thamel"]
    learn_zone(here, connection)
    assert learn_zone(here, connection) is None
    shop.time_zone = {"timezone_string": "Europe/Berlin"}
    assert learn_zone(here, connection) == "Europe/Berlin"
    done = compare(here, connection, SINCE, pause=at_once)
    assert (done.agreement.result, done.zone_name) == ("equal", "Europe/Berlin")
    choose(here.producers_dir, "thamel", "Australia/Lord_Howe")
    learn_zone(here, connection)
    done = compare(here, connection, SINCE, pause=at_once)
    assert (done.agreement.result, done.zone_name) == ("equal", "Australia/Lord_Howe")
    wanted = by_plain_python(shop, "Australia/Lord_Howe")
    assert {day: summed(both[1]) for day, both in done.agreement.days().items()} == wanted
    choose(here.producers_dir, "thamel", None)
    assert zones(here.producers_dir)["thamel"].name == "Europe/Berlin"
    shop.time_zone = {"timezone_string": ZONES["thamel"]}
    learn_zone(here, connection)


def test_a_shop_that_does_not_answer_keeps_its_days_and_so_does_a_removed_one(
    here: Here, shops: dict[str, tuple[WooCommerce, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.connect.asking.FIRST_PAUSE_SECONDS", 0.0)
    with WooCommerce(seed=3, now=NOW).serving() as shop:
        connection = connected(here, shop, "soho")
        assert learn_zone(here, connection) == "Europe/Berlin"
        shop.faults.extend(["500"] * 10)
        shop.time_zone = {}
        assert learn_zone(here, connection) is None
    Connections(here.producers_dir).remove("soho")
    assert [zone and zone.name for zone in [zones_of_shops(here)["soho"]]] == ["Europe/Berlin"]


def test_connections_of_before_have_the_days_of_all_shops_until_they_are_asked(here: Here, tmp_path: Path) -> None:
    old = Here(home=tmp_path, database=here.database)
    assert zones_of_shops(old) == {}
    assert zone_of(old, "manhattan") is None
    note_said(old.producers_dir, "manhattan", "Mars/Olympus_Mons")  # newer than what is known of zones here
    assert zones_of_shops(old) == {}
