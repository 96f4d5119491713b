"""The shop's days are those of its time zone, in Python and in SQL, whatever the zone and the instant."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregates.catalogue import ShopsClock, aggregate
from aggregates.render import Engine, macros, render
from aggregates.windows import end_of, floored
from aggregates.zones import Zone, zone
from schemas.binary import EPOCH
from schemas.errors import Misconfigured

ALL_DAY, MINUTE = timedelta(days=2), timedelta(minutes=1)
KINDS = [
    *("Europe/Berlin", "America/New_York", "Pacific/Auckland", "America/Havana", "Africa/Casablanca"),
    *("Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Asia/Tehran"),
]


def of(name: str) -> Zone:
    found = zone(name)
    assert found, name
    return found


def zones() -> st.SearchStrategy[Zone]:
    """One of each kind: to read the rules of all 598 takes two minutes."""
    return st.sampled_from(KINDS).map(of)


@st.composite
def places_and_times(draw: st.DrawFn) -> tuple[Zone, datetime]:
    """A zone and an instant, often one around which its clock is changed. Years 1900 to 2060."""
    there = draw(zones())
    since, until = datetime(1900, 1, 1, tzinfo=UTC), datetime(2060, 12, 31, tzinfo=UTC)
    changes = [at for seconds, _ in there.offsets[1:] if since < (at := EPOCH + timedelta(seconds=seconds)) < until]
    around = st.timedeltas(-ALL_DAY, ALL_DAY) | st.timedeltas(-MINUTE, MINUTE) | st.just(timedelta())
    anywhere = st.datetimes(since.replace(tzinfo=None), until.replace(tzinfo=None), timezones=st.just(UTC))
    at_a_change = st.builds(lambda at, by: at + by, st.sampled_from(changes), around) if changes else anywhere
    moment = draw(st.one_of(anywhere, at_a_change))
    return there, moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def rules_of(name: str) -> ZoneInfo:
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@settings(deadline=None)
@given(found=places_and_times())
def test_a_day_has_the_instants_of_one_date(found: tuple[Zone, datetime]) -> None:
    there, moment = found
    start, end = floored(moment, "day", there), end_of(moment, "day", there)
    assert start <= moment < end
    assert floored(start, "day", there) == start
    assert floored(end, "day", there) == end
    assert floored(end - timedelta(milliseconds=1), "day", there) == start
    dates = {at.astimezone(rules_of(there.name)).date() for at in (start, moment, end - timedelta(seconds=1))}
    assert len(dates) == 1 or is_put_back_over_midnight(there, start, end), (start, moment, end)
    assert there.wall_clock(start).date() == there.wall_clock(moment).date() in dates


def is_put_back_over_midnight(there: Zone, start: datetime, end: datetime) -> bool:
    """Whether, on this day, the zone's clock shows a date and then the one before it."""
    rules, step = rules_of(there.name), timedelta(minutes=1)
    minutes = [start + n * step for n in range((end - start) // step + 61)]
    dates = [at.astimezone(rules).date() for at in minutes]
    return any(later < earlier for earlier, later in zip(dates, dates[1:], strict=False))


@settings(deadline=None)
@given(found=places_and_times())
def test_an_hour_is_within_its_day_and_begins_with_the_shops(found: tuple[Zone, datetime]) -> None:
    there, moment = found
    if there.has_whole_hours:
        assert aggregate("funnel_per_hour").by(ShopsClock(zone=there)).zone is None
        return
    start, end = floored(moment, "hour", there), end_of(moment, "hour", there)
    assert start <= moment < end <= start + timedelta(hours=1)
    assert floored(end, "hour", there) == end
    assert floored(start, "day", there) == floored(moment, "day", there)
    is_full = there.wall_clock(start).minute == there.wall_clock(start).second == 0
    assert is_full or there.offset(start - timedelta(seconds=1)) != there.offset(start)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


@pytest.mark.parametrize("name", KINDS)
def test_sql_has_the_days_and_hours_that_python_has(database: duckdb.DuckDBPyConnection, name: str) -> None:
    there = of(name)
    moments = [
        EPOCH + timedelta(seconds=s, milliseconds=n) for s, _ in there.offsets[1:] for n in (-1, 0, 1, 7_200_001)
    ]
    moments += [datetime(1900, 1, 1, tzinfo=UTC) + n * timedelta(days=97, hours=5, minutes=7) for n in range(600)]
    database.register(
        "t", pa.table({"moment": pa.array([m.replace(tzinfo=None) for m in moments], pa.timestamp("us"))})
    )
    start = macros(Engine.DUCKDB, there)["window_start"]
    rows = database.execute(f"select moment, {start('day', 'moment')}, {start('hour', 'moment')} from t").fetchall()
    for moment, day, hour in ([at.replace(tzinfo=UTC) for at in row] for row in rows):
        assert day == floored(moment, "day", there)
        if not there.has_whole_hours:
            assert hour == floored(moment, "hour", there)


def test_a_shop_in_utc_has_the_definitions_of_one_without_a_zone() -> None:
    plain = aggregate("sales_per_day")
    assert zone("UTC") is zone("Etc/UTC") is None
    assert plain.by(ShopsClock()) == plain
    assert render(plain, Engine.FLINK).count("case when") == 1


def test_another_zone_is_another_definition_of_what_has_days_and_of_nothing_else() -> None:
    clock = ShopsClock(zone=of("Europe/Berlin"), changed_days=3)
    days, minutes = aggregate("sales_per_day"), aggregate("sales_per_minute")
    assert days.by(clock).version == days.version + 3
    assert days.by(clock).fingerprint != days.fingerprint
    assert minutes.by(clock) == minutes
    assert aggregate("orders").by(clock) == aggregate("orders")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Berlin", "did you mean Europe/Berlin"), ("Europe/Berln", "did you mean Europe/Berlin"), ("../x", "IANA name")],
)
def test_a_name_that_no_zone_has_is_refused_with_the_closest_ones(name: str, hint: str) -> None:
    with pytest.raises(Misconfigured, match=hint):
        zone(name)


def test_the_first_and_the_last_time_there_is_have_a_window() -> None:
    there = of("Pacific/Auckland")
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert floored(moment, "day", there) <= moment <= end_of(moment, "day", there)


def test_a_clock_that_is_set_to_hours_and_minutes_from_utc_is_a_zone() -> None:
    there, moment = of("-03:30"), datetime(2026, 3, 1, 3, 29, tzinfo=UTC)
    assert there.wall_clock(moment) == datetime(2026, 2, 28, 23, 59)
    assert end_of(moment, "day", there) == datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
    assert of("+05:45").wall_clock(moment) == datetime(2026, 3, 1, 9, 14)
    assert zone("+00:00") is None
    with pytest.raises(Misconfigured, match="'\\+5:45' is no time zone's IANA name"):
        zone("+5:45")
