"""Lengths of time in words, and read from words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.duration import duration, largest_unit, length_of_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-3, "0 s"), (0, "0 s"), (0.42, "0.4 s"), (45, "45 s"), (59.94, "59.9 s"), (59.96, "1 min")),
        *((200, "3 min 20 s"), (3599.7, "1 h"), (3660, "1 h 1 min"), (3661, "1 h 1 min"), (3605, "1 h")),
        *((187_200, "2 d 4 h"), (86_400 * 1_200, "1,200 d")),
    ],
)
def test_a_length_of_time_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_a_largest_unit_is_rounded_down(seconds: float, text: str) -> None:
    assert largest_unit(seconds) == text


@pytest.mark.parametrize("seconds", [1, 45, 90, 3_600, 5_400, 86_400, 129_600])
def test_what_is_written_can_be_read(seconds: int) -> None:
    assert length_of_time(duration(seconds).replace("min", "m")) == timedelta(seconds=seconds)
