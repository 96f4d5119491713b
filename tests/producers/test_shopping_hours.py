"""When people shop."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.shop.shopping_hours import (
    OPENED,
    REGIONS,
    WEEK_MINUTES,
    count_until,
    intensity,
    minute_of,
    region_sums,
    season,
)

MONDAY = OPENED + 600 * WEEK_MINUTES


def test_a_week_has_the_mean_of_one() -> None:
    assert abs(mean(intensity(MONDAY + minute) for minute in range(WEEK_MINUTES)) - 1) < 1e-9


def test_evenings_are_busier_than_nights_and_weekends_than_mondays() -> None:
    def day(n: int) -> float:
        return mean(intensity(MONDAY + n * 1440 + minute) for minute in range(1440))

    assert intensity(MONDAY + 18 * 60) > 1.5 * intensity(MONDAY + 3 * 60)
    assert day(6) > 1.1 * day(0)


def test_a_year_has_the_mean_of_one_and_spring_is_its_busiest_time() -> None:
    def day(month: int, of_month: int) -> float:
        return season(int(datetime(2026, month, of_month, tzinfo=UTC).timestamp()) // 60)

    days = [season(MONDAY + 1440 * n) for n in range(365)]
    assert mean(days) == pytest.approx(1, abs=0.01)
    assert max(abs(after / before - 1) for before, after in pairwise(days)) < 0.02
    assert day(5, 15) > 1.5 * day(1, 15)


def test_each_region_has_its_evening_by_its_own_clock() -> None:
    def busiest_hour(region: int) -> int:
        def weight(hour: int) -> int:
            sums = (0, *region_sums(MONDAY + 24 * 60 + hour * 60))
            return sums[region + 1] - sums[region]

        return max(range(24), key=weight)

    for n, region in enumerate(REGIONS):
        assert (busiest_hour(n) + region.utc_offset_hours) % 24 == 20, region.name


@given(st.integers(1, 10**6), st.integers(0, 10**8))
def test_the_minute_of_a_number_is_the_one_that_counted_it(per_week: int, number: int) -> None:
    minute = minute_of(number, per_week)
    assert count_until(minute, per_week) <= number < count_until(minute + 1, per_week)


@given(st.integers(1, 10**6), st.integers(OPENED, OPENED + 10**7))
def test_a_week_counts_what_comes_in_a_week(per_week: int, minute: int) -> None:
    assert count_until(minute + WEEK_MINUTES, per_week) - count_until(minute, per_week) == per_week
