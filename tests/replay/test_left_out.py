"""One late event that can't be made to count is named with its reason, and keeps no other from counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.catalogue import aggregate, aggregates, touched_by
from aggregates.windows import end_of, floored, later
from replay import late_events
from replay.late_events import Touched
from replay.left_out import in_words, lost, not_over, published_since, without_unreachable
from replay.plan_file import LeftOut
from replay.planning import _why_nothing
from schemas.catalogue import MOST_AHEAD, event

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
ORDER, VISIT = event("sales.order_placed"), event("web.interaction")


def touched(offset: int, at: datetime, *, began: datetime | None = None) -> Touched:
    """A late order; with ``began`` a late step of a session that began then."""
    e = VISIT if began else ORDER
    readers = [aggregate(name) for name in touched_by(e, aggregates())]
    moments = {a.name: (at if a.time == "occurred_at" else began or at,) for a in readers}
    return Touched(event=e, partition=0, offset=offset, occurred_at=at, moments=moments)


def offsets(found: Sequence[Touched] | Sequence[LeftOut]) -> list[int]:
    return [one.offset for one in found]


def test_an_event_whose_windows_need_what_is_gone_is_left_out_and_all_others_count() -> None:
    begins = NOW - timedelta(days=30)
    events = [touched(n, at) for n, at in enumerate([FIRST, NOW - timedelta(days=31), NOW - timedelta(days=20), NOW])]
    found = without_unreachable(events, lambda name, since: since is not None and since >= begins)
    assert offsets(found.kept) == [2, 3]
    assert offsets(found.left_out) == [0, 1]
    assert "neither log nor lake has everything published of sales.order_placed" in found.left_out[0].reason
    assert str(found.left_out[1]).startswith("sales.order_placed.v1 partition 0 offset 1, of 2026-01-30 12:00:00: ")


def test_what_goes_by_another_time_than_the_events_own_needs_the_topic_from_its_beginning() -> None:
    step, order = touched(0, NOW, began=NOW), touched(1, NOW)
    assert published_since(step)["web.interaction"] is None
    found = without_unreachable([step, order], lambda name, since: name != "web.interaction" or since is not None)
    assert offsets(found.left_out) == [0]
    assert offsets(found.kept) == [1]


def test_an_event_is_read_from_an_hour_before_the_earliest_of_its_windows() -> None:
    day = NOW.replace(hour=0)
    assert published_since(touched(0, NOW))["sales.order_placed"] == day - MOST_AHEAD


moments = st.integers(0, 400).map(lambda hours: NOW - timedelta(hours=hours))


@given(
    times=st.lists(moments, min_size=1, max_size=20),
    begins=st.dictionaries(st.sampled_from(["sales.order_placed", "web.interaction"]), moments),
)
def test_exactly_those_whose_every_topic_reaches_far_enough_back_are_kept(
    times: list[datetime], begins: Mapping[str, datetime]
) -> None:
    asked: list[str] = []

    def holds(name: str, since: datetime | None) -> bool:
        asked.append(name)
        return since is not None and since >= begins.get(name, FIRST)

    events = [touched(n, at) for n, at in enumerate(times)]
    found = without_unreachable(events, holds)
    assert len(asked) <= 2 * 5, "each topic is asked about a few of the times, not about all"
    wanted = [t.offset for t in events if all(holds(name, since) for name, since in published_since(t).items())]
    assert offsets(found.kept) == wanted
    assert sorted(offsets(found.kept) + offsets(found.left_out)) == list(range(len(events)))


@pytest.mark.parametrize("began", [NOW + timedelta(days=2), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), LAST])
def test_an_event_of_a_window_that_is_to_come_is_named_and_is_never_ripe(began: datetime) -> None:
    wrong, right = touched(0, NOW - timedelta(days=3), began=began), touched(1, NOW - timedelta(days=3), began=NOW)
    (one,) = not_over([wrong, right], NOW)
    assert one.offset == 0
    assert f"its session_started_at is {began:%Y-%m-%d}" in one.reason
    final = {a.name: NOW + timedelta(days=1) for a in aggregates()}
    assert offsets(late_events.ripe([wrong, right], final)) == [1]


def test_an_event_that_retention_has_taken_is_named() -> None:
    (one,) = lost([touched(0, NOW), touched(1, NOW)], {(0, 0)}.__contains__)
    assert (one.offset, one.reason) == (0, "the event itself is no longer in the log or the lake")


@pytest.mark.parametrize("window", ["minute", "hour", "day", None])
@pytest.mark.parametrize("moment", [FIRST, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), NOW, LAST])
def test_every_time_that_an_event_can_have_has_a_window(moment: datetime, window: object) -> None:
    start, end = floored(moment, window), end_of(moment, window)  # type: ignore[arg-type]
    assert start <= moment <= end
    assert later(start, -MOST_AHEAD) <= start


def test_a_few_of_those_left_out_are_named_and_all_are_counted() -> None:
    (one,) = lost([touched(7, NOW)], {(0, 7)}.__contains__)
    assert list(in_words([])) == []
    first, *others = in_words([one] * 12)
    assert first == "12 late events can't be counted, and stay in ops.late_events:"
    assert others[0] == f"  {one}"
    assert others[-1] == "  and 2 more"
    assert len(others) == 11


def test_one_event_that_waits_or_is_left_out_is_spoken_of_as_one() -> None:
    (one,) = lost([touched(7, NOW)], {(0, 7)}.__contains__)
    assert next(in_words([one])) == "1 late event can't be counted, and stays in ops.late_events:"
    final = {name: NOW for name in touched_by(ORDER, aggregates())}
    assert _why_nothing([touched(7, NOW)], final).startswith(
        "1 late event is pending, and it touches a window that is not"
    )
    assert _why_nothing([touched(7, NOW)] * 2, final).startswith(
        "2 late events are pending, and each of them touches a window"
    )
    assert _why_nothing([touched(7, NOW)], {"other": NOW}).startswith("1 late event is pending, and of ")
