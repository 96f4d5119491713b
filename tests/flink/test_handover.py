"""A second job that starts in mid-log writes the very cells that one of the whole log would write."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregates.catalogue import Aggregate, Column, aggregate, aggregates
from aggregates.windows import LENGTH
from flink import live_job
from flink.handover import start_versions
from flink.job_sql import live_plan
from flink.source_sql import first_published
from schemas import catalogue
from schemas.binary import EPOCH
from schemas.catalogue import MOST_AHEAD
from schemas.errors import Misconfigured
from tests.aggregates import oracle
from tests.aggregates.any_events import any_log, paying
from tests.flink.live_on_files import DEPLOYMENT, Arrival, Row, created, final_rows, on_files, plan, settings
from tests.flink.process import FlinkProcess, Part

LINE = datetime(2026, 3, 2, tzinfo=UTC)
SALES = replace(aggregate("sales_per_minute"), version=2)
Log = dict[str, oracle.Dealt]


def with_true_copies(log: Log) -> Log:
    """Records with one event_id are one event. Any log has others too, whose times differ."""
    return {name: _with_true_copies(records) for name, records in log.items()}


def _with_true_copies(records: oracle.Dealt) -> oracle.Dealt:
    first: dict[str, Any] = {}
    found = oracle.Dealt()
    for number, record in enumerate(records):
        twin = first.setdefault(record["event_id"], record)
        found.append(record if twin == record else {**record, "event_id": f"{record['event_id']} at {number}"})
    return found


def published(records: Sequence[oracle.Record]) -> list[datetime]:
    """As early as they may be: no event is ahead of the clock by more than MOST_AHEAD."""
    clock, found = datetime(2026, 1, 1, tzinfo=UTC), []
    for record in records:
        clock = max(clock, record["occurred_at"] - MOST_AHEAD)
        found.append(clock)
    return found


def read_by(job: live_job.LiveJob, event: str, records: oracle.Dealt) -> list[Arrival]:
    """What Kafka hands to the job: of each partition, all from the first record on that was published late enough."""
    since, begun, found = first_published(job, catalogue.event(event)), set(), []
    for number, (record, at) in enumerate(zip(records, published(records), strict=True)):
        partition, offset = oracle.place(records, number)
        if since is None or at >= since:
            begun.add(partition)
        if partition in begun:
            found.append(Arrival(record=record, published_at=at, place=(partition, offset)))
    return found


def line_of(a: Aggregate) -> datetime:
    """An edge of a window, and of no larger one."""
    return LINE if a.window == "day" else LINE + 3 * LENGTH[a.window or "minute"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [5])
def test_from_the_line_on_every_cell_is_as_if_the_whole_log_had_been_read(
    seed: int, flink: FlinkProcess, tmp_path: Path
) -> None:
    log = with_true_copies(any_log(seed, events_a_topic=600))
    parts, left_out = [], 0
    for a in aggregates():
        job = live_job.handed_over([replace(a, version=2)], {a.name: line_of(a)})
        arrivals = {name: read_by(job, name, log[name]) for name in a.inputs}
        left_out += sum(len(log[name]) - len(read) for name, read in arrivals.items())
        parts.append(on_files(f"{a.name}_v2", arrivals, tmp_path / a.name, job.aggregates[0], job=job))
    assert left_out > 500, "the jobs must start in mid-log for this to show anything"
    flink.run(settings(), parts)
    for a in aggregates():
        at = "occurred_at" if a.is_fact else "window_start"
        wanted = [row for row in oracle.table(a.name, a.key, log) if row[at] >= line_of(a)]
        assert len(wanted) > 10, a.name
        assert_same(a, final_rows(tmp_path / a.name, replace(a, version=2)), wanted)


def assert_same(a: Aggregate, found: Sequence[Row], wanted: Sequence[Row]) -> None:
    odd = next(((f, w) for f, w in zip(found, wanted, strict=False) if f != w), None)
    assert odd is None, f"{a.name}: found {odd and odd[0]}, wanted {odd and odd[1]}"
    assert len(found) == len(wanted), a.name


@pytest.mark.timeout(900)
def test_one_job_of_several_new_versions_has_of_each_its_own_windows_alone(flink: FlinkProcess, tmp_path: Path) -> None:
    """Those that share a topic have other lines, go by other times, or have none: then all windows are the job's."""
    log = with_true_copies(any_log(5, events_a_topic=600))
    windowed = [a for a in aggregates() if a.window]
    lines = {a.name: line_of(a) for a in windowed if a.name != "product_activity_per_hour"}
    assert len({*lines.values()}) == 3, "days, hours and minutes"
    job = live_job.handed_over([replace(a, version=2) for a in windowed], lines)
    arrivals = {name: read_by(job, name, log[name]) for name in job.inputs}
    flink.run(settings(), [on_files("several", arrivals, tmp_path / "all", None, job=job)])
    for a in windowed:
        every = oracle.table(a.name, a.key, log)
        wanted = [row for row in every if a.name not in lines or row["window_start"] >= lines[a.name]]
        assert len(wanted) > 10, a.name
        assert_same(a, final_rows(tmp_path / "all", replace(a, version=2)), wanted)


@pytest.mark.timeout(900)
def test_by_payment_a_second_job_has_the_orders_that_are_paid_from_the_line_on_whenever_they_were_placed(
    flink: FlinkProcess, tmp_path: Path
) -> None:
    log = with_true_copies(any_log(5, events_a_topic=600))
    new = paying("a")
    lines = {a.name: line_of(a) for a in new}
    job = live_job.handed_over(new, lines)
    assert first_published(job, catalogue.event("sales.order_placed")) is None
    assert first_published(job, catalogue.event("web.interaction")) is not None, "of what it counts nothing is paid"
    arrivals = {name: read_by(job, name, log[name]) for name in job.inputs}
    flink.run(settings(), [on_files("by_payment", arrivals, tmp_path / "all", None, job=job)])
    for a in new:
        at = "occurred_at" if a.is_fact else "window_start"
        with oracle.by_payment("a"):
            wanted = [row for row in oracle.table(a.name, a.key, log) if row[at] >= lines[a.name]]
        assert len(wanted) > 10, a.name
        assert_same(a, final_rows(tmp_path / "all", a), wanted)


def test_one_job_has_one_rule_of_when_orders_count() -> None:
    mixed = live_job.handed_over([aggregate("sales_per_minute"), *paying("a")[:1]], {})
    with pytest.raises(Misconfigured, match=r"computes of sales.order_placed counts by two rules"):
        plan(job=mixed)


def test_a_topic_is_read_from_what_may_be_of_the_first_line_or_all_of_it_for_one_without_a_line() -> None:
    refunds, days = (replace(aggregate(name), version=2) for name in ("refunds_per_day", "sales_per_day"))
    found = plan(job=live_job.handed_over([SALES, refunds, days], {SALES.name: LINE + MOST_AHEAD, days.name: LINE}))
    assert found.name == "insights-live-refunds_per_day-v2-and-2-more"
    orders, returned = sorted(s for s in found.statements if "'event-log'" in s)
    since = int((LINE - MOST_AHEAD).timestamp() * 1000)
    assert f"'scan.startup.timestamp-millis' = '{since}'" in orders
    assert "'scan.startup.mode' = 'earliest-offset'" in returned


def test_a_log_of_this_test_has_late_ones_and_copies_on_both_sides_of_the_line() -> None:
    for name, records in with_true_copies(any_log(5, events_a_topic=600)).items():
        judged = oracle.Judged(records)
        for some in (judged.duplicates, [record for _, _, record, _ in judged.late], judged.counted):
            assert min(r["occurred_at"] for r in some) < LINE < max(r["occurred_at"] for r in some), name


def test_a_second_job_reads_its_own_topics_alone_from_what_may_be_of_its_windows() -> None:
    """No event is published before its time by more than an hour."""
    found = plan(job=live_job.handed_over([SALES], {SALES.name: LINE}))
    assert found.name == "insights-live-sales_per_minute-v2"
    (source,) = [s for s in found.statements if "'event-log'" in s]
    assert "'topic' = 'sales.order_placed.v1'" in source
    assert "'properties.group.id' = 'insights-live-sales_per_minute-v2'" in source
    since = int((LINE - timedelta(hours=1)).timestamp() * 1000)
    assert f"'scan.startup.timestamp-millis' = '{since}'" in source
    assert [i.split("\n")[0] for i in found.inserts] == ["insert into `versions.sales_per_minute_v2`"]
    assert found.settings["execution.checkpointing.dir"].endswith("/jobs/insights-live-sales_per_minute-v2/checkpoints")


@pytest.mark.parametrize("line", [EPOCH - timedelta(days=400), EPOCH, EPOCH + timedelta(hours=1)])
def test_a_line_before_the_log_can_have_begun_means_its_beginning(line: datetime) -> None:
    """Kafka knows no time before 1970, and takes none."""
    (source,) = [
        s for s in plan(job=live_job.handed_over([SALES], {SALES.name: line})).statements if "'event-log'" in s
    ]
    assert "'scan.startup.mode' = 'earliest-offset'" in source
    assert "'scan.startup.timestamp-millis'" not in source


def test_a_line_that_cuts_a_window_is_refused() -> None:
    """Its job would overwrite a whole window with a part of it."""
    with pytest.raises(Misconfigured, match="is inside a minute of sales_per_minute"):
        start_versions(DEPLOYMENT, [SALES], {SALES.name: LINE + timedelta(seconds=1)})


def test_what_goes_by_another_time_than_the_events_own_is_read_from_the_beginning() -> None:
    """Nothing holds the time at which a session began to the clock."""
    found = plan(job=live_job.handed_over([replace(aggregate("sessions"), version=2)], {"sessions": LINE}))
    (source,) = [s for s in found.statements if "'event-log'" in s]
    assert "'scan.startup.mode' = 'earliest-offset'" in source
    assert any(f"`session_started_at` >= timestamp '{LINE:%Y-%m-%d} 00:00:00.000'" in s for s in found.statements)


def test_a_main_job_that_no_longer_writes_an_aggregate_has_the_same_shape(flink: FlinkProcess) -> None:
    """Its state is found again by the shape of its plan."""
    main = live_job.main_job()
    shapes = []
    for job in (main, live_job.with_retired(main, ["sales_per_minute"])):
        ours = [s for s in live_plan(DEPLOYMENT, job=job).statements if created(s).split(".")[-1] != "lake"]
        inserts = [i for i in live_plan(DEPLOYMENT, job=job).inserts if "`lake`" not in i]
        text = flink.explain(plan().settings, [Part(name="live", statements=ours, inserts=inserts)])
        shapes.append(text.replace("retired.sales_per_minute_v1", "versions.sales_per_minute_v1"))
    assert "versions.sales_per_minute_v1" in shapes[0]
    assert re.sub(r"\d+", "", shapes[0]) == re.sub(r"\d+", "", shapes[1])


def test_a_job_is_kept_as_it_was_deployed(tmp_path: Path) -> None:
    deployment = replace(DEPLOYMENT, jobs_dir=tmp_path / "jobs")
    assert live_job.kept(deployment) is None
    assert live_job.kept_jobs(deployment) == []
    main, second = live_job.main_job(), live_job.handed_over([SALES], {SALES.name: LINE})
    for job in (second, main):
        live_job.keep(deployment, job)
    assert live_job.kept_jobs(deployment) == [main, second]
    live_job.forget(deployment, second.name)
    live_job.forget(deployment, second.name)
    assert live_job.kept_jobs(deployment) == [main]


def test_a_job_that_was_kept_with_one_line_for_its_one_aggregate_is_still_known(tmp_path: Path) -> None:
    deployment = replace(DEPLOYMENT, jobs_dir=tmp_path / "jobs")
    second = live_job.handed_over([SALES], {SALES.name: LINE})
    live_job.keep(deployment, second)
    path = deployment.jobs_dir / f"{second.name}.json"
    kept = json.loads(path.read_text())
    kept["from_line"] = kept.pop("lines")[SALES.name]
    path.write_text(json.dumps(kept))
    assert live_job.kept_jobs(deployment) == [second]
    assert not second.is_main


def test_the_versions_that_are_written_are_those_of_all_jobs_but_what_is_retired(tmp_path: Path) -> None:
    deployment = replace(DEPLOYMENT, jobs_dir=tmp_path / "jobs")
    assert live_job.written(deployment) == []
    main, second = live_job.main_job(), live_job.handed_over([SALES], {SALES.name: LINE})
    live_job.keep(deployment, live_job.with_retired(main, [SALES.name]))
    live_job.keep(deployment, second)
    found = live_job.written(deployment)
    assert [a.version for a in found if a.name == SALES.name] == [SALES.version]
    assert sorted(a.name for a in found) == sorted(a.name for a in aggregates())
    assert live_job.second_job(deployment, SALES.name, SALES.version) == second
    assert live_job.second_job(deployment, SALES.name, 1) is None, "the main job wrote it"


def test_a_difference_from_what_is_deployed_is_one_line() -> None:
    main = live_job.main_job()
    assert live_job.differences([main], aggregates()) == []
    assert live_job.differences([], aggregates()) == []
    assert live_job.differences([main], (SALES,)) == [
        "sales_per_minute: version 2 in aggregates/, version 1 is live: `insights replay` hands over"
    ]
    second = live_job.handed_over([SALES], {SALES.name: LINE})
    assert live_job.differences([main, second], (SALES,)) == []
    assert live_job.differences([live_job.with_retired(main, ["sales_per_minute"]), second], (SALES,)) == []
    edited = replace(aggregate("sessions"), query="select 1")
    (said,) = live_job.differences([main], (edited,))
    assert said.startswith("sessions: its folder differs from version 1, which is live")
    (said,) = live_job.differences([main], (replace(SALES, name="new_ones"),))
    assert said == "new_ones: new in aggregates/, not in a live job; `insights replay` adds it with its history"


def test_two_definitions_have_one_fingerprint_when_they_compute_the_same() -> None:
    a = aggregate("sales_per_minute")
    said_otherwise = {name: column.model_copy(update={"doc": "Otherwise."}) for name, column in a.columns.items()}
    assert replace(a, columns=said_otherwise, description="Otherwise.", version=9).fingerprint == a.fingerprint
    assert replace(a, query=a.query + " where true").fingerprint != a.fingerprint
    more = {**a.columns, "more": Column(type="count", doc="More.", nullable=True)}
    assert replace(a, columns=more).fingerprint != a.fingerprint
