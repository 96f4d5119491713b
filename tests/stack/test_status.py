from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flink.job_control import JobStatus
from flink.live_job import JOB_NAME
from insights.status import Observed, Observer, Status, judge
from reconciliation.topic_counts import Log, Recorded, Tally, TopicCounts
from tests.conftest import own_settings
from tests.replay.own_postgres import own_postgres

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ORDERS = "sales.order_placed.v1"
CLICKS = "web.interaction.v1"
LETTERS = "ops.dead_letter.v1"
SINKS = {"live.sales_per_minute": (ORDERS,), "live.product_activity_per_hour": (CLICKS, ORDERS)}
WHERE: dict[str, Any] = {name: "" for name in ("kafka", "registry", "postgres", "flink", "page", "shop")} | {
    "lake": None
}


def observed(**parts: Any) -> Observed:
    return Observed(**({"at": NOW, "parts": (), "log": None, "recorded": None, "jobs": None, "away": ()} | parts))


def recorded(late: dict[str, int] | None = None, **tallies: Any) -> Recorded:
    known = {"tallies": {}, "final_until": {}, **tallies}
    return Recorded(late=late or {}, **known)


def tally(on_time: int, counted: int, age: timedelta = timedelta(0)) -> Tally:
    return Tally(on_time=on_time, counted=counted, last_event_at=NOW - age)


def judged(**parts: Any) -> Status:
    return judge(observed(**parts), WHERE, SINKS)


amounts = st.integers(0, 10**9)


@given(counted=amounts, duplicate=amounts, late=amounts, dead=amounts)
def test_the_sum_comes_out_whatever_became_of_the_events(counted: int, duplicate: int, late: int, dead: int) -> None:
    log = Log(records={ORDERS: counted + duplicate + late, LETTERS: dead}, dead={ORDERS: dead})
    recorded_ = recorded({ORDERS: late}, tallies={ORDERS: tally(counted + duplicate, counted)})
    topic = judged(log=log, recorded=recorded_).topics[ORDERS]
    assert topic == TopicCounts(
        published=counted + duplicate + late + dead, counted=counted, duplicate=duplicate, late=late, dead=dead
    )
    assert topic.unaccounted == 0


def test_an_event_that_is_not_read_yet_is_unaccounted() -> None:
    topics = judged(log=Log(records={ORDERS: 5}, dead={}), recorded=recorded(tallies={ORDERS: tally(3, 3)})).topics
    assert topics[ORDERS].unaccounted == 2


def test_dead_letters_count_as_their_own_topics_events() -> None:
    topics = judged(log=Log(records={LETTERS: 4}, dead={ORDERS: 4}), recorded=recorded()).topics
    on_the_log = judged(log=Log(records={ORDERS: 3}, dead={ORDERS: 4}), recorded=recorded(dead={ORDERS: 3})).topics
    assert on_the_log[ORDERS] == TopicCounts(published=7, counted=0, duplicate=0, late=0, dead=7)
    assert topics[LETTERS] == TopicCounts(published=4, counted=4, duplicate=0, late=0, dead=0)
    assert topics[ORDERS] == TopicCounts(published=4, counted=0, duplicate=0, late=0, dead=4)


def test_what_an_absent_part_would_know_is_null_and_the_rest_is_there() -> None:
    without_postgres = judged(log=Log(records={ORDERS: 5}, dead={}))
    # Some of the dead are in Postgres: without it nobody knows how many there are.
    assert without_postgres.topics[ORDERS] == TopicCounts(
        published=5, counted=None, duplicate=None, late=None, dead=None
    )
    assert without_postgres.topics[ORDERS].unaccounted is None
    assert without_postgres.freshness_seconds == dict.fromkeys(SINKS)
    without_kafka = judged(recorded=recorded(tallies={ORDERS: tally(2, 1)}))
    assert without_kafka.topics[ORDERS] == TopicCounts(published=None, counted=1, duplicate=1, late=0, dead=None)


def test_a_job_is_listed_with_nulls_while_flink_is_away() -> None:
    assert judged().as_json()["jobs"] == [
        {
            "name": JOB_NAME,
            "state": None,
            "last_checkpoint_age_seconds": None,
            "lag": None,
            "failing": None,
            "is_asked": True,
        }
    ]


def test_a_table_is_as_fresh_as_its_newest_input() -> None:
    tallies = {ORDERS: tally(1, 1, timedelta(seconds=30)), CLICKS: tally(1, 1, timedelta(seconds=2))}
    assert judged(recorded=recorded(tallies=tallies)).freshness_seconds == {
        "live.sales_per_minute": 30.0,
        "live.product_activity_per_hour": 2.0,
    }


def test_a_table_that_counted_nothing_has_no_freshness() -> None:
    assert judged(recorded=recorded()).freshness_seconds["live.sales_per_minute"] is None


def test_an_event_from_a_clock_that_runs_ahead_is_fresh_and_no_more() -> None:
    ahead = {ORDERS: tally(1, 1, timedelta(seconds=-5))}
    assert judged(recorded=recorded(tallies=ahead)).freshness_seconds["live.sales_per_minute"] == 0.0


def test_every_aggregate_has_the_time_until_which_it_is_final_or_null() -> None:
    final = judged(recorded=recorded(final_until={"sales_per_minute": NOW})).as_json()["final_until"]
    assert final["sales_per_minute"] == "2026-11-23T12:00:00Z"
    assert final["sessions"] is None
    assert "order_lines" not in final


def test_the_json_has_the_shape_that_programs_rely_on() -> None:
    log = Log(records={}, dead={})
    found = json.loads(
        json.dumps(judged(log=log, recorded=recorded(), jobs=(JobStatus(name="j", state="RUNNING"),)).as_json())
    )
    assert set(found) == {
        "endpoints",
        "currency",
        "topics",
        "jobs",
        "freshness_seconds",
        "final_until",
        "marts",
        "canary",
        "hold",
    }
    assert set(found["endpoints"]) == {"kafka", "registry", "postgres", "flink", "lake", "page", "shop"}
    for counts in found["topics"].values():
        assert set(counts) == {"published", "counted", "duplicate", "late", "dead"}
    assert set(found["jobs"][0]) == {"name", "state", "last_checkpoint_age_seconds", "lag", "failing", "is_asked"}


def test_what_answers_on_the_ports_and_is_of_another_home_is_named_and_not_shown(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with own_postgres(theirs) as dsn:
        port = int(dsn.rpartition(":")[2].split("/")[0])
        found = {}
        for home in (ours, theirs):
            observer = Observer(own_settings(home, postgres_port=port))
            found[home] = observer.look(NOW)
            observer.close()
    (said,) = found[ours].away
    assert f"port {port} belongs to the Postgres of another stack, in {theirs}" in said
    assert (found[ours].recorded, found[ours].log, found[ours].jobs) == (None, None, None)
    assert not any("another stack" in line for line in found[theirs].away)
