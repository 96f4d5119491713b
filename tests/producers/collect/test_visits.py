"""Which events are one visit, and when they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from producers.collect.batch import Sent
from producers.collect.visits import DAY_MS, DRIFT_MS, IDLE_MS, Visit, Visits

NOON = 20_000 * DAY_MS + DAY_MS // 2
WHO = ("from", "192.0.2.1", "Browser/1")
MINUTE = 60_000


def visits() -> Visits:
    return Visits(sqlite3.connect(":memory:", isolation_level=None))


def sent(at: int, campaign: str | None = None, referrer: str | None = None) -> Sent:
    return Sent(id="e", at=at, interaction="page_view", page="/", campaign=campaign, referrer=referrer)


def place(kept: Visits, *ats: int, who: tuple[str, ...] = WHO, behind: int = 0, after: int = 0) -> list[Visit]:
    """Send events as soon as the last has happened, by a clock that is so much behind ours."""
    events = [sent(at - behind) for at in ats]
    now = ats[-1] + after
    return [visit for _, visit in kept.place("bikes", who, events, now - behind, now).events]


def test_events_within_half_an_hour_are_one_visit_and_later_ones_another() -> None:
    kept = visits()
    first, second = place(kept, NOON, NOON + IDLE_MS)
    (third,) = place(kept, NOON + 2 * IDLE_MS)
    (later,) = place(kept, NOON + 3 * IDLE_MS + 1)
    assert first.session_id == second.session_id == third.session_id
    assert {first.started_ms, second.started_ms, third.started_ms} == {NOON}
    assert later.session_id != first.session_id
    assert later.started_ms == NOON + 3 * IDLE_MS + 1


def test_a_visit_lasts_a_day_at_most() -> None:
    kept = visits()
    step = 20 * MINUTE
    found = [place(kept, NOON + n * step)[0] for n in range(DAY_MS // step + 1)]
    assert len({visit.session_id for visit in found[:-1]}) == 1
    assert found[-1].started_ms == NOON + DAY_MS


def test_another_campaign_begins_another_visit_and_none_keeps_the_one_that_was() -> None:
    kept = visits()

    def visit(minute: int, campaign: str | None) -> Visit:
        at = NOON + minute * MINUTE
        return kept.place("bikes", WHO, [sent(at, campaign, "mail.example")], at, at).events[0][1]

    first, second, third = visit(0, "spring"), visit(1, None), visit(2, "spring")
    assert first.session_id == second.session_id == third.session_id
    assert (second.campaign, second.referrer) == ("spring", "mail.example")
    other = visit(3, "summer")
    assert other.session_id != first.session_id
    assert visit(4, None).campaign == "summer"


def test_a_campaign_that_comes_after_what_it_led_to_is_the_visits_own() -> None:
    kept = visits()
    (second,) = place(kept, NOON + 500)
    first = kept.place("bikes", WHO, [sent(NOON, "spring", "mail.example")], NOON, NOON).events[0][1]
    (third,) = place(kept, NOON + MINUTE)
    assert first.session_id == second.session_id == third.session_id
    assert (first.campaign, third.campaign, third.referrer) == ("spring", "spring", "mail.example")


def test_visitors_are_told_apart_and_sources_too() -> None:
    kept = visits()
    ids = {
        place(kept, NOON)[0].session_id,
        place(kept, NOON, who=("from", "192.0.2.2", "Browser/1"))[0].session_id,
        place(kept, NOON, who=("from", "192.0.2.1", "Browser/2"))[0].session_id,
        place(kept, NOON, who=("id", "192.0.2.1"))[0].session_id,
        kept.place("chains", WHO, [sent(NOON)], NOON, NOON).events[0][1].session_id,
    }
    assert len(ids) == 5


def test_a_visit_goes_on_past_midnight_although_the_salt_changes() -> None:
    kept = visits()
    midnight = 20_001 * DAY_MS
    (before,) = place(kept, midnight - MINUTE)
    (after,) = place(kept, midnight + MINUTE)
    assert before.session_id == after.session_id
    (much_later,) = place(kept, midnight + 10 * IDLE_MS)
    assert much_later.visitor != before.visitor


def test_nothing_says_who_came_and_after_two_days_nothing_is_left() -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    kept = Visits(database)
    place(kept, NOON)
    assert not any(part in "\n".join(database.iterdump()) for part in WHO)
    kept.forget_old(NOON + 2 * DAY_MS + 1)
    assert database.execute("select count(*) from visits").fetchone() == (0,)
    assert database.execute("select count(*) from salts").fetchone() == (0,)


def test_a_wrong_clock_is_put_right_by_what_the_first_batch_says() -> None:
    kept = visits()
    behind = 3 * 3_600_000
    events = [sent(NOON - behind)]
    ((at, visit),) = kept.place("bikes", WHO, events, NOON - behind, NOON).events
    assert (at, visit.started_ms) == (NOON, NOON)
    # A slower way here later changes nothing, and a clock that is set anew does.
    ((at, _),) = kept.place("bikes", WHO, events, NOON - behind + 500, NOON + 40_000).events
    assert at == NOON
    ((at, _),) = kept.place("bikes", WHO, [sent(NOON + MINUTE)], NOON + MINUTE, NOON + MINUTE).events
    assert at == NOON + MINUTE


LATENCIES = st.integers(0, DRIFT_MS // 2)
STEPS = st.lists(st.tuples(st.integers(0, 3 * IDLE_MS), LATENCIES), min_size=1, max_size=8)


@given(STEPS, st.integers(-DAY_MS, DAY_MS), LATENCIES)
def test_what_is_sent_again_has_the_same_time_and_visits_do_not_overlap(
    steps: Sequence[tuple[int, int]], skew: int, latency_again: int
) -> None:
    database, now, found = sqlite3.connect(":memory:", isolation_level=None), NOON, []
    for step, latency in steps:
        now += step
        events = [sent(now + skew - age) for age in (2_000, 0)]
        first = Visits(database).place("bikes", WHO, events, now + skew, now + latency).events
        again = Visits(database).place("bikes", WHO, events, now + skew + 5, now + 5 + latency_again).events
        assert [at for at, _ in again] == [at for at, _ in first]
        found += first
        now += DRIFT_MS
    for (at, visit), (later_at, later) in zip(found, found[1:], strict=False):
        assert at <= later_at
        assert visit.started_ms <= at
        assert (later.started_ms == visit.started_ms) == (later.session_id == visit.session_id)
        assert later.session_id == visit.session_id or later_at - at > IDLE_MS or later_at - visit.started_ms >= DAY_MS
