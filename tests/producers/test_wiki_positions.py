"""Positions in the stream of edits: where reading goes on, and that it never goes back."""

from __future__ import annotations

import json
import time

import pytest

from producers.wiki import positions
from producers.wiki.positions import BadPosition


def at(first: int | None, second: int | None = None) -> str:
    """A position with these seconds in its two parts."""
    said = [{"offset": -1} if s is None else {"timestamp": 1_796_000_000_000 + s * 1000} for s in (first, second)]
    return json.dumps([{"topic": "a", "partition": 0} | said[0], {"topic": "b", "partition": 0} | said[1]])


@pytest.mark.parametrize(
    ("kept", "reached", "expected"),
    [
        pytest.param(at(60), None, at(30), id="a part without a time has none"),
        pytest.param(at(60, 90), at(60, 90), at(30, 60), id="each part has its own"),
        pytest.param(at(60), at(50), at(49), id="what was read again in part is not read again from the start"),
        pytest.param(at(60, 90), at(70, 60), at(30, 60), id="a quiet part does not go back for ever"),
    ],
)
def test_reading_goes_on_from_before_the_cut(kept: str, reached: str | None, expected: str) -> None:
    assert json.loads(positions.resumed(kept, reached, 30)) == json.loads(expected)


@pytest.mark.parametrize(
    ("kept", "said", "expected"),
    [
        (None, at(5), at(5)),
        (at(60), at(50), at(60)),
        (at(60, 10), at(50, 70), at(60, 70)),
        (at(60, 9), at(61), at(61, 9)),
    ],
)
def test_the_kept_position_never_goes_back(kept: str | None, said: str, expected: str) -> None:
    assert json.loads(positions.furthest(kept, said)) == json.loads(expected)


@pytest.mark.parametrize(
    "position",
    ["", "x", "[]", "{}", "[1]", '[{"topic":1}]', '[{"topic":"a","timestamp":"1"}]', '[{"topic":"a","timestamp":-1}]']
    + ['[{"topic":"a","timestamp":253402300799999}]', '[{"topic":"a","timestamp":1e400}]']
    + ["[" * 3000, '[{"topic":"a","timestamp":9e99}]', "[" + "1," * 5000 + "1]"],
)
def test_a_position_that_says_no_time_is_refused(position: str) -> None:
    with pytest.raises(BadPosition):
        positions.checked(position, time.time())
