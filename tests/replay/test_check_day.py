"""Which stretch of time a day is that is checked. What the check finds: test_on_a_stack.py."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aggregates.zones import zone
from replay.check_day import day_of
from replay.plan_file import Stretch
from schemas.errors import Misconfigured

NOON = datetime(2026, 11, 8, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "place", "now", "since", "until"),
    [
        ("yesterday", "UTC", NOON, "2026-11-07T00:00", "2026-11-08T00:00"),
        ("yesterday", "UTC", datetime(2026, 11, 8, tzinfo=UTC), "2026-11-07T00:00", "2026-11-08T00:00"),
        ("2026-11-07", "UTC", NOON, "2026-11-07T00:00", "2026-11-08T00:00"),
        ("yesterday", "Europe/Berlin", NOON, "2026-11-06T23:00", "2026-11-07T23:00"),
        ("2026-10-25", "Europe/Berlin", NOON, "2026-10-24T22:00", "2026-10-25T23:00"),
        ("2026-03-29", "Europe/Berlin", NOON, "2026-03-28T23:00", "2026-03-29T22:00"),
        ("yesterday", "Pacific/Auckland", NOON, "2026-11-07T11:00", "2026-11-08T11:00"),
        ("2026-11-07", "America/Los_Angeles", NOON, "2026-11-07T08:00", "2026-11-08T08:00"),
    ],
)
def test_a_day_is_the_shops_from_midnight_to_midnight(
    text: str, place: str, now: datetime, since: str, until: str
) -> None:
    edges = (datetime.fromisoformat(edge).replace(tzinfo=UTC) for edge in (since, until))
    assert day_of(text, now, zone(place)) == Stretch(since=next(edges), until=next(edges))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tomorrow", "'tomorrow' is no day: write yesterday, or a date as 2026-11-08"),
        ("2026-11-31", "'2026-11-31' is no day"),
        ("2026-11-08", "2026-11-08 is not over yet"),
        ("2027-01-01", "2027-01-01 is not over yet"),
    ],
)
def test_what_is_no_day_or_not_over_is_refused(text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        day_of(text, NOON, None)
