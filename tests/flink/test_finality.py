"""A window is called final when nothing can change it any more, and not before."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from confluent_kafka import Producer
from psycopg import sql

from aggregates.catalogue import aggregate, aggregates
from flink.final_windows import final_until, floors
from flink.finality import FinalityRecorder
from flink.live_job import JOB_NAME, keep, main_job
from flink.rest import FlinkRest, FlinkUnavailable
from insights.settings import Settings
from insights.wiring import deployment as deployment_of
from schemas.catalogue import event
from schemas.codec import Encoder
from schemas.registry import Registry
from tests.flink.live_on_files import DEPLOYMENT
from warehouse.deployment import Deployment
from warehouse.tables import make_postgres_tables

STOCK_MOVED = event("inventory.stock_moved")
WATERMARK = datetime(2026, 3, 3, 12, tzinfo=UTC)


def test_a_window_is_final_when_the_watermark_passed_its_end_by_the_horizon() -> None:
    assert final_until(aggregate("sales_per_minute"), WATERMARK, 24) == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert final_until(aggregate("sales_per_minute"), WATERMARK, 1) == datetime(2026, 3, 3, 11, tzinfo=UTC)


def test_a_day_of_sessions_waits_for_the_sessions_that_began_in_it() -> None:
    """One that began at its last moment may go on for another day."""
    assert final_until(aggregate("sessions"), WATERMARK, 24) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_only_sessions_outlast_their_window() -> None:
    assert {a.name for a in aggregates() if a.overrun_hours} == {"sessions"}


def test_a_flink_that_is_away_may_be_tried_again(tmp_path: Path) -> None:
    deployed = replace(DEPLOYMENT, jobs_dir=tmp_path)
    keep(deployed, main_job())
    with pytest.raises(FlinkUnavailable):
        FinalityRecorder(deployed).step()


# On the real job ------------------------------------------------------------------------------------------------------


@pytest.fixture
def deployment(stack: Settings) -> Iterator[Deployment]:
    """The stack's job, with a ledger of our own: the stack keeps one too."""
    theirs = deployment_of(stack)
    ours = replace(theirs, postgres_database=f"finality_{uuid.uuid4().hex}")
    name = sql.Identifier(ours.postgres_database)
    with psycopg.connect(theirs.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(name))
        with psycopg.connect(ours.postgres_dsn) as own:
            make_postgres_tables(own)
        yield ours
        connection.execute(sql.SQL("drop database {} with (force)").format(name))


def moved_in_every_partition(stack: Settings, at: datetime) -> None:
    """A stock move on each partition: a watermark is the least of all partitions'."""
    encoder = Encoder(STOCK_MOVED, Registry(stack.registry_url).schema_id(STOCK_MOVED))
    producer = Producer({**stack.kafka.librdkafka})
    for partition in range(STOCK_MOVED.partitions):
        record: dict[str, Any] = {
            "event_id": str(uuid.uuid4()),
            "occurred_at": at,
            "source": "tests",
            "trace": None,
            "product_id": f"finality-{partition}",
            "delta": 1,
            "reason": "restock",
            "warehouse": "tests",
            "order_id": None,
        }
        producer.produce(
            STOCK_MOVED.topic,
            key=record["product_id"].encode(),
            value=encoder.encode(record),
            partition=partition,
            headers=[("schema_id", str(encoder.schema_id).encode())],
        )
    assert producer.flush(30) == 0


def recorded(deployment: Deployment, name: str) -> tuple[datetime, datetime, int] | None:
    with psycopg.connect(deployment.postgres_dsn) as connection:
        row = connection.execute(
            "select final_until, watermark, checkpoint_id from ops.finality where aggregate = %s", (name,)
        ).fetchone()
    return row


def triggered_at_ms(deployment: Deployment, checkpoint_id: int) -> int:
    job = FlinkRest(deployment.flink_url).active_job(JOB_NAME)
    found = requests.get(f"{deployment.flink_url}/jobs/{job}/checkpoints/details/{checkpoint_id}", timeout=10).json()
    return int(found["trigger_timestamp"])


def test_what_was_read_becomes_final_with_a_checkpoint_that_began_later(
    stack: Settings, deployment: Deployment, until: Callable[..., Any]
) -> None:
    happened_at = datetime.now(UTC).replace(microsecond=0)
    moved_in_every_partition(stack, happened_at)
    recorder = FinalityRecorder(deployment)
    read_at_ms = int(time.time() * 1000)
    recorder.step()
    assert recorded(deployment, "stock_moves_per_hour") is None, "a reading alone makes nothing final"

    def known() -> tuple[datetime, datetime, int] | None:
        recorder.step()
        return recorded(deployment, "stock_moves_per_hour")

    _, _, first_checkpoint = until(known, seconds=120, what="stock_moves_per_hour is in ops.finality")
    assert triggered_at_ms(deployment, first_checkpoint) > read_at_ms

    def caught_up() -> tuple[datetime, datetime, int] | None:
        row = known()
        return row if row and row[1] >= happened_at - timedelta(seconds=deployment.out_of_order_seconds) else None

    finally_until, watermark, checkpoint = until(caught_up, seconds=120, what="the watermark is at the events' time")
    assert finally_until == watermark - timedelta(hours=deployment.horizon_hours)
    assert watermark <= datetime.now(UTC)
    assert checkpoint >= first_checkpoint


def test_what_is_final_stays_final(stack: Settings, deployment: Deployment, until: Callable[..., Any]) -> None:
    """A reading that is older than what stands there, as after a restart, takes nothing back."""
    far = datetime(2100, 1, 1, tzinfo=UTC)
    with psycopg.connect(deployment.postgres_dsn) as connection:
        connection.execute("insert into ops.finality values ('stock_moves_per_hour', %s, %s, 1, now())", (far, far))
    moved_in_every_partition(stack, datetime.now(UTC).replace(microsecond=0))
    recorder = FinalityRecorder(deployment)

    def others_known() -> object:
        recorder.step()
        checkpoint = FlinkRest(deployment.flink_url).newest_checkpoint(
            FlinkRest(deployment.flink_url).active_job(JOB_NAME) or ""
        )
        return checkpoint and checkpoint.triggered_at_ms > started_ms

    recorder.step()
    started_ms = int(time.time() * 1000)
    until(others_known, seconds=60, what="a checkpoint after the reading")
    recorder.step()
    assert recorded(deployment, "stock_moves_per_hour") == (far, far, 1)


def test_a_topic_was_as_far_as_the_furthest_of_what_counts_it(deployment: Deployment) -> None:
    """product_activity_per_hour waits for its orders too; funnel_per_hour is of interactions alone."""
    orders, interactions = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, 0, 0, 0, 1_000, tzinfo=UTC)
    with psycopg.connect(deployment.postgres_dsn) as connection:
        for name, at in (("product_activity_per_hour", orders), ("funnel_per_hour", interactions)):
            connection.execute("insert into ops.finality values (%s, %s, %s, 1, now())", (name, at, at))
    assert floors(deployment) == {"sales.order_placed": orders, "web.interaction": interactions}
