"""Rows drawn by chance: each becomes an event or a dead letter, and none ends a reading."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from producers.persons.keys import PersonKeys
from producers.pipelines import values
from producers.pipelines.intake import EVENTS, Intake, Row, Table
from producers.pipelines.memory import Memory, Place
from producers.runner import Options, Run, Stop
from producers.sources import source
from tests.producers.connect.kept import Kept
from tests.producers.pipelines.test_reading import LETTERS, a_product, an_order

NOW_MS = 1_800_000_000_000
GOOD: dict[str, Any] = {
    **a_product(),
    **an_order(),
    "lines": [{**an_order()["lines"][0], "amount": "1.00"}],
    "refund_id": "r1",
    "amount": Decimal("1.00"),
    "reason": "other",
    "signup_date": "2026-01-02",
    "id": 1,
    "delta": 5,
    "warehouse": "A",
}
HOSTILE = st.sampled_from(
    ["", "0", "NaN", "1e999999999", "0001-01-01T00:00+01:00", "[" * 50_000, '[{"a": 1e400}]', "{}", "\ud800"]
)
TEXTS = st.text(st.characters(), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4_000)
    | st.floats()
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.binary(max_size=4)
    | TEXTS
)
VALUES = HOSTILE | st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


@st.composite
def some_rows(draw: st.DrawFn) -> tuple[Any, list[dict[str, Any]]]:
    """A contract, and rows that are good for it but for some columns."""
    event = draw(st.sampled_from(EVENTS))
    names = st.sampled_from(["id", "gone", *(field["name"] for field in event.schema["fields"])]) | TEXTS
    odd = draw(st.lists(st.dictionaries(names, VALUES, min_size=1, max_size=4), min_size=1, max_size=5))
    return event, [GOOD | each for each in odd]


@pytest.mark.fuzz
@given(some_rows())
def test_any_row_is_an_event_or_a_letter_and_none_ends_a_reading(given: tuple[Any, list[dict[str, Any]]]) -> None:
    event, rows = given
    clock = datetime.fromtimestamp(NOW_MS / 1000, UTC).timestamp
    with tempfile.TemporaryDirectory() as folder:
        state, log = Path(folder), Kept(clock)
        this = Run(
            source=source("dlt"),
            options=Options(state=state),
            publisher=log,
            stop=Stop(),
            log=structlog.get_logger(),
            clock=clock,
        )
        with closing(Memory(state / "bikes.sqlite")) as memory, closing(PersonKeys(state)) as keys:
            intake = Intake(this, "bikes", memory, keys)
            table = Table(name="rows", event=event, key=("id",), deleted={"gone": False}, is_whole=True)
            for read_ms, taken in enumerate((rows, []), NOW_MS):
                texts = [values.written(row) for row in taken]
                intake.take(table, [Row(text, Place(read_ms, nth), read_ms) for nth, text in enumerate(texts)])
                assert sum(intake.tally.counts.values()) >= len(rows)
                intake.withdraw_unseen(table, read_ms, read_ms)
        assert len(log.messages(LETTERS)) <= intake.tally.counts["refused"]
