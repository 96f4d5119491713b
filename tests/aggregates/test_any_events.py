"""The live job, a replay and plain arithmetic agree on every cell of every table, whatever events arrive."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from aggregates.catalogue import Aggregate, aggregate, aggregates, touched_by
from flink.live_job import JOB_NAME, LiveJob
from schemas.catalogue import avro_events, event
from schemas.codec import Encoder
from spark.task import Chunk
from tests.aggregates import oracle
from tests.aggregates.any_events import TEXTS, any_log, chunks_of, paying
from tests.flink.live_on_files import (
    Arrival,
    archived,
    dead_records,
    event_counts,
    final_rows,
    late_events,
    on_files,
    settings,
)
from tests.flink.process import FlinkProcess
from tests.spark import replay_on_files
from tests.spark.process import SparkProcess

PUBLISHED_AT = datetime(2026, 4, 20, 7, 30, 0, 250_000, tzinfo=UTC)
AFTER_ALL = datetime(2026, 6, 20, 7, 30, 0, 250_000, tzinfo=UTC)  # of a log of 4,000 events a topic
TOPICS = {e.name: e.topic for e in avro_events()}
TOUCHED = {e.name: ", ".join(touched_by(e)) for e in avro_events()}
DEAD_LETTERS = [{"key": b"\x00C-1", "value": b"\xff not Avro"}, {"key": None, "value": b""}]

Log = Mapping[str, Sequence[Mapping[str, Any]]]


def run_live_job(flink: FlinkProcess, log: Log, folder: Path) -> None:
    newest = max(record["occurred_at"] for records in log.values() for record in records)
    assert newest < AFTER_ALL, "such a long log runs ahead of the clock, and the oracle knows no such records"
    arrivals = arrivals_of({**log, "ops.dead_letter": DEAD_LETTERS})
    flink.run(settings(), [on_files("live", arrivals, folder, None)])


def arrivals_of(log: Log) -> dict[str, list[Arrival]]:
    return {
        name: [
            Arrival(
                record=record,
                published_at=AFTER_ALL + timedelta(milliseconds=n),
                schema_id=n % 3 + 1,
                place=oracle.place(records, n),
            )
            for n, record in enumerate(records)
        ]
        for name, records in log.items()
    }


def replay(
    spark: SparkProcess,
    log: Log,
    ledger: list[dict[str, Any]],
    folder: Path,
    found: Sequence[Aggregate],
    chunks: tuple[Chunk, ...] = replay_on_files.EVER,
) -> None:
    """Tables from the log's bytes, of many versions of each contract, and from what Flink's ledger calls late."""
    inputs = [
        replay_on_files.with_late(
            replay_on_files.write_log(folder / "raw", name, records, AFTER_ALL),
            [(row["kafka_partition"], row["kafka_offset"]) for row in ledger if row["topic"] == TOPICS[name]],
            folder,
        )
        for name, records in log.items()
    ]
    used = {name for a in found for name in a.inputs}
    task = replay_on_files.task(
        folder, (i for i in inputs if i.event in used), (replay_on_files.computation(a, chunks) for a in found)
    )
    spark.recompute(task, folder / "raw")


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]], what: str) -> None:
    """As ``==``, with a message of one row and not of a thousand."""
    odd = next(((f, e) for f, e in zip(found, expected, strict=False) if f != e), None)
    assert odd is None, f"{what}: there is {odd[0]}, expected is {odd[1]}"
    assert len(found) == len(expected), f"{what}: there are {len(found)} rows, expected are {len(expected)}"


def assert_published_is_accounted_for(log: Log, counts: list[dict[str, Any]], late: list[dict[str, Any]]) -> None:
    """published = counted + duplicate + late, for every topic."""
    for name, topic in TOPICS.items():
        on_time = sum(row["on_time"] for row in counts if row["topic"] == topic)
        behind = sum(row["topic"] == topic for row in late)
        assert on_time + behind == len(log[name]), topic


def assert_archive_is_the_log(log: Log, folder: Path) -> None:
    for name, records in log.items():
        rows = archived(folder, event(name))
        places = [oracle.place(records, number) for number in range(len(records))]
        assert [(row["kafka_partition"], row["kafka_offset"]) for row in rows] == places, name
        assert [row["event_id"] for row in rows] == [record["event_id"] for record in records], name
        assert {row["schema_id"] for row in rows} == {1, 2, 3}, name
        first = datetime.fromisoformat(rows[0]["kafka_timestamp"])
        assert first == AFTER_ALL, name
        times = [datetime.fromisoformat(row["occurred_at"]) for row in rows]
        assert times == [record["occurred_at"] for record in records], name
    letters = archived(folder, event("ops.dead_letter"))
    assert [base64.b64decode(row["value"]) for row in letters] == [letter["value"] for letter in DEAD_LETTERS]


# Most of the time goes into planning the job, so one log, and a long one.
@examples(max_examples=1, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, (1 << 32) - 1))
@pytest.mark.timeout(900)
def test_flink_spark_and_the_oracle_agree_on_every_cell(
    seed: int, flink: FlinkProcess, spark: SparkProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = any_log(seed, events_a_topic=4_000)
    folder = tmp_path_factory.mktemp("any-events")
    run_live_job(flink, log, folder)
    counts, late = event_counts(folder), late_events(folder)
    replay(spark, log, late, folder / "replay", aggregates())
    for a in aggregates():
        expected = oracle.table(a.name, a.key, log)
        assert_same(final_rows(folder, a), expected, f"{a.name} by Flink with the seed {seed}")
        assert_same(replay_on_files.rows(folder / "replay", a), expected, f"{a.name} by Spark with the seed {seed}")
    assert_same(counts, oracle.event_counts(TOPICS, log), f"ops.event_counts by Flink with the seed {seed}")
    assert_same(late, oracle.late_events(TOPICS, TOUCHED, log), f"ops.late_events by Flink with the seed {seed}")
    assert_published_is_accounted_for(log, counts, late)
    assert_archive_is_the_log(log, folder)


@examples(max_examples=1, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, (1 << 32) - 1))
@pytest.mark.timeout(900)
def test_by_payment_flink_spark_and_the_oracle_agree_on_every_cell_of_orders(
    seed: int, flink: FlinkProcess, spark: SparkProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    undated = Random(seed).choice(TEXTS)
    found = paying(undated)
    used = {name for a in found for name in a.inputs}
    log = {name: records for name, records in any_log(seed, events_a_topic=2_000).items() if name in used}
    folder = tmp_path_factory.mktemp("by-payment")
    job = LiveJob(name=JOB_NAME, aggregates=tuple(found), events=tuple(used))
    flink.run(settings(), [on_files("by_payment", arrivals_of(log), folder, None, job=job)])
    replay(spark, log, late_events(folder), folder / "replay", found, chunks_of(log["sales.order_placed"], 10))
    for a in found:
        with oracle.by_payment(undated):
            expected = oracle.table(a.name, a.key, log)
        assert_same(final_rows(folder, a), expected, f"{a.name} by payment by Flink with the seed {seed}")
        replayed = replay_on_files.rows(folder / "replay", a)
        assert_same(replayed, expected, f"{a.name} by payment by Spark with the seed {seed}")


def test_the_logs_of_this_test_hold_what_is_hard() -> None:
    log = any_log(1, events_a_topic=400)
    for name, records in log.items():
        encoder = Encoder(replace(event(name), schema=event(name).avro_schema), 1)
        assert all(encoder.encode(record) for record in records), name
        judged = oracle.Judged(records)
        assert len(judged.late) > 10, name
        assert len(judged.duplicates) > 10, name
        assert len(judged.counted) > 200, name
        behind = [watermark - record["occurred_at"] for _, _, record, watermark in judged.late]
        assert min(behind) == timedelta(hours=24, milliseconds=1), name
        newest = [max(r["occurred_at"] for r in records[n :: oracle.Dealt.partitions]) for n in (0, 2)]
        assert newest[1] - newest[0] > timedelta(hours=25), f"{name}: one watermark for all would do as well"


def test_a_late_event_and_the_ones_that_just_make_it_are_a_millisecond_apart() -> None:
    newest = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
    edge = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    times = [newest, edge, edge - timedelta(milliseconds=1)]
    judged = oracle.Judged([{"event_id": str(n), "occurred_at": at} for n, at in enumerate(times)])
    assert [record["event_id"] for record in judged.counted] == ["0", "1"]
    assert [offset for _, offset, _, _ in judged.late] == [2]


def test_a_partition_that_is_behind_the_others_is_not_late() -> None:
    """The order in which a job reads them is arbitrary."""
    ahead, behind = datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    judged = oracle.Judged(
        oracle.Dealt({"event_id": str(n), "occurred_at": at} for n, at in enumerate([ahead, behind, ahead] * 2))
    )
    assert not judged.late


def test_what_was_final_when_a_job_was_submitted_stays_so(flink: FlinkProcess, tmp_path: Path) -> None:
    """Its partition's watermark may be lost."""
    floor = datetime(2026, 3, 2, 12, 0, 0, 500_000, tzinfo=UTC)
    edge = floor - timedelta(hours=24)
    moves, record = aggregate("stock_moves_per_hour"), any_log(1, events_a_topic=1)["inventory.stock_moved"][0]
    arrivals = [
        Arrival(record={**record, "event_id": name, "warehouse": name, "occurred_at": at}, published_at=PUBLISHED_AT)
        for name, at in (("late", edge - timedelta(milliseconds=1)), ("just in time", edge))
    ]
    part = on_files("floor", {"inventory.stock_moved": arrivals}, tmp_path, moves, {"inventory.stock_moved": floor})
    flink.run(settings(), [part])
    assert [row["warehouse"] for row in final_rows(tmp_path, moves)] == ["just in time"]


def test_what_is_ahead_of_the_clock_or_in_another_currency_is_dead_by_name_and_makes_no_ordinary_event_late(
    flink: FlinkProcess, tmp_path: Path
) -> None:
    log = any_log(1, events_a_topic=1)
    moves, record, order = aggregate("stock_moves_per_hour"), log["inventory.stock_moved"][0], "sales.order_placed"
    most = PUBLISHED_AT + timedelta(hours=1)
    times = {
        "three days ahead": PUBLISHED_AT + timedelta(days=3),
        "a millisecond too far ahead": most + timedelta(milliseconds=1),
        "as far ahead as it may be": most,
        "ordinary": PUBLISHED_AT,
        "in time": PUBLISHED_AT - timedelta(hours=22),
    }
    arrivals = [
        Arrival(record={**record, "event_id": name, "warehouse": name, "occurred_at": at}, published_at=PUBLISHED_AT)
        for name, at in times.items()
    ]
    unreadable = {"unreadable_value": b"garbage not avro", "unreadable_reason": "it begins with the byte 67"}
    arrivals.insert(1, Arrival(record=unreadable, published_at=PUBLISHED_AT))
    sales = [
        Arrival(
            record={**log[order][0], "event_id": code, "occurred_at": PUBLISHED_AT, "currency": code},
            published_at=PUBLISHED_AT,
        )
        for code in ("USD", "EUR", "eur")
    ]
    part = on_files("ahead", {"inventory.stock_moved": arrivals, order: sales}, tmp_path, None)
    flink.run(settings(), [part])
    counted = {row["warehouse"] for row in final_rows(tmp_path, moves)}
    assert counted == {"as far ahead as it may be", "ordinary", "in time"}
    assert late_events(tmp_path) == []
    found = dead_records(tmp_path)
    foreign = [row for row in found if row["topic"] == event(order).topic]
    assert [(row["kafka_offset"], row["reason"]) for row in foreign] == [
        (0, "currency is USD; the shop has EUR"),
        (2, "currency is eur; the shop has EUR"),
    ]
    ahead = [row for row in found if row not in foreign]
    dead = [(row["kafka_offset"], row["is_unreadable"], row["value"]) for row in ahead]
    assert dead == [(0, False, None), (1, True, b"garbage not avro"), (2, False, None)]
    assert [row["reason"] for row in ahead] == [
        "it is dated 2026-04-23 07:30:00.250, more than 1 h after it was published",
        "it begins with the byte 67",
        "it is dated 2026-04-20 08:30:00.251, more than 1 h after it was published",
    ]
