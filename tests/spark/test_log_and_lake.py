"""On the real stack: one half of a topic from the lake and the other from the log give what the live job has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from aggregates.catalogue import Aggregate, aggregate
from insights.settings import Settings
from insights.wiring import deployment, spark_runtime
from schemas.binary import written
from schemas.catalogue import Event, event
from schemas.registry import Registry
from spark.local import JOB, SparkFailed, run
from spark.task import Input, Slice, Task
from tests.aggregates.any_events import any_log
from tests.spark.replay_on_files import VARIANT, computation, rows, task
from warehouse.tables import open_lake

EVENTS = ("sales.order_placed", "web.interaction")
AGGREGATES = ("sales_per_minute", "order_lines", "product_activity_per_hour", "sessions")

Bounds = dict[int, tuple[int, int]]


@pytest.fixture(scope="module")
def published(stack: Settings, until: Callable[..., Any]) -> dict[str, Bounds]:
    """Awkward events, in the lake and in the tables; of each event the offsets of its partitions."""
    registry, producer = Registry(stack.registry_url), Producer({**stack.kafka.librdkafka})
    log = any_log(11, events_a_topic=1_500)
    for name in EVENTS:
        e, number = event(name), registry.register(event(name))
        for record in alike(log[name]):
            # Straight onto the log: some have quantities that a publisher refuses.
            value = b"\0" + number.to_bytes(4, "big") + written(e.avro_schema, record)
            key, headers = str(record[e.key]).encode(), {"schema_id": str(number).encode()}
            producer.produce(e.topic, value, key=key, headers=headers)
            producer.poll(0)
    producer.flush()
    found = {name: bounds(stack, event(name)) for name in EVENTS}
    ends = {name: length(found[name]) for name in EVENTS}
    until(lambda: {n: archived(stack, event(n)) for n in EVENTS} == ends, seconds=120, what="all is in the lake")
    until(lambda: {n: accounted(stack, event(n)) for n in EVENTS} == ends, what="all records are accounted for")
    return found


def alike(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those with other contents under an id: of two partitions' records it is unknown which is read first."""
    first: dict[str, dict[str, Any]] = {}
    return [record for record in records if first.setdefault(record["event_id"], record) == record]


def length(of: Bounds) -> int:
    return sum(most - least for least, most in of.values())


def bounds(stack: Settings, e: Event) -> Bounds:
    consumer = Consumer({**stack.kafka.librdkafka, "group.id": "test-bounds"})
    try:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(e.topic, number), timeout=20)
            for number in range(e.partitions)
        }
    finally:
        consumer.close()


def archived(stack: Settings, e: Event) -> int:
    with open_lake(deployment(stack)) as lake:
        return int(lake.load_table(f"events.{e.table}").scan().count())


def accounted(stack: Settings, e: Event) -> int:
    with psycopg.connect(stack.postgres_dsn) as connection:
        row = connection.execute(
            "select (select coalesce(sum(on_time), 0) from ops.event_counts where topic = %(topic)s)"
            " + (select count(*) from ops.late_events where topic = %(topic)s)"
            " + (select count(*) from ops.dead_records where topic = %(topic)s)",
            {"topic": e.topic},
        ).fetchone()
    assert row is not None
    return int(row[0])


def whole(stack: Settings, published: dict[str, Bounds], folder: Path) -> Task:
    inputs = [half_and_half(stack, event(name), published[name], folder) for name in EVENTS]
    given = task(folder, inputs, [computation(aggregate(name)) for name in AGGREGATES])
    return replace(given, kafka=stack.kafka.bootstrap, lake=deployment(stack).lake_properties)


def half_and_half(stack: Settings, e: Event, of: Bounds, folder: Path) -> Input:
    seams = {number: (least + most) // 2 for number, (least, most) in of.items()}
    late = folder / f"late-{e.name}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(stack.postgres_dsn) as connection:
        # Of the dead, those that other tests left on the stack: sales in another currency than its shop's.
        places = connection.execute(
            "select kafka_partition, kafka_offset from ops.late_events where topic = %(topic)s"
            " union select kafka_partition, kafka_offset from ops.dead_records where topic = %(topic)s",
            {"topic": e.topic},
        ).fetchall()
    columns = [pa.array([p for p, _ in places], pa.int32()), pa.array([o for _, o in places], pa.int64())]
    pq.write_table(pa.table(columns, names=["partition", "offset"]), late)
    registry = Registry(stack.registry_url)
    number = registry.register(e)
    return Input(
        event=e.name,
        table=e.table,
        topic=e.topic,
        schema=e.schema_text,
        schemas={number: registry.schema_text(number)},
        lake=tuple(Slice(partition=n, from_offset=of[n][0], until_offset=seams[n]) for n in of),
        log=tuple(Slice(partition=n, from_offset=seams[n], until_offset=of[n][1]) for n in of),
        late={VARIANT: str(late)},
        versions=e.schema.get("versions"),
    )


def live_rows(stack: Settings, a: Aggregate) -> list[dict[str, Any]]:
    with psycopg.connect(stack.postgres_dsn) as connection:
        connection.execute("set time zone 'UTC'")
        found = connection.execute(f"select {', '.join(a.columns)} from {a.sink}").fetchall()
    named = [dict(zip(a.columns, row, strict=True)) for row in found]
    return sorted(named, key=lambda row: tuple(row[name] for name in a.key))


def replay(stack: Settings, given: Task, folder: Path) -> list[dict[str, Any]]:
    path = folder / "task.json"
    path.write_text(given.to_json())
    received: list[dict[str, Any]] = []
    run(spark_runtime(stack, folder / "work"), JOB, [str(path)], on_event=received.append)
    return received


def test_log_and_lake_together_give_what_the_live_job_has(
    stack: Settings, published: dict[str, Bounds], tmp_path: Path
) -> None:
    replay(stack, whole(stack, published, tmp_path), tmp_path)
    for a in map(aggregate, AGGREGATES):
        expected = live_rows(stack, a)
        assert len(expected) > 100, a.name
        assert rows(tmp_path, a) == expected, a.name


def test_offsets_that_the_lake_lacks_are_named(stack: Settings, published: dict[str, Bounds], tmp_path: Path) -> None:
    given = whole(stack, published, tmp_path)
    partition, (_, most) = max(published[EVENTS[0]].items())
    ahead = Slice(partition=partition, from_offset=most, until_offset=most + 5)
    inputs = tuple(i if i.event != EVENTS[0] else replace(i, lake=(*i.lake, ahead)) for i in given.inputs)
    named = f"the lake's table events.order_placed lacks 5 of .* partition {partition} offset {most}"
    with pytest.raises(SparkFailed, match=named):
        replay(stack, replace(given, inputs=inputs), tmp_path)
