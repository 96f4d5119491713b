"""A row that is to be explained is named by its key, as people type it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aggregates.catalogue import aggregate
from replay.explain import parse_key
from schemas.errors import Misconfigured

TEN = datetime(2026, 3, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("2026-03-02 10:00, true, spring", (TEN, True, "spring")),
        ("2026-03-02T11:00+01:00,True,(none)", (TEN, True, "(none)")),
        ("2026-03-02 10:00, false, ", (TEN, False, "")),
        ('2026-03-02 10:00, true, "one, two"', (TEN, True, "one, two")),
    ],
)
def test_a_key_is_read_by_the_types_of_its_columns(typed: str, key: tuple[Any, ...]) -> None:
    assert tuple(parse_key(aggregate("funnel_per_hour"), typed).values()) == key


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("2026-03-02 10:00, perhaps, spring", "has_campaign of funnel_per_hour is a boolean, and 'perhaps' is not one"),
        ("yesterday, true, spring", "window_start of funnel_per_hour is a timestamp, and 'yesterday' is not one"),
        ("2026-03-02 10:00, spring", "named by 3 values, window_start, has_campaign, campaign"),
        ("2026-03-02 10:30, true, spring", "the one around it starts at 2026-03-02 10:00"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason(typed: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        parse_key(aggregate("funnel_per_hour"), typed)
