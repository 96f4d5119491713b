"""Records that nobody should have put on the topics: the job goes on, names each, and every other number is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from flink.finality import watermarks
from flink.live_job import JOB_NAME
from flink.rest import FlinkRest
from insights.engines import engine_of
from insights.settings import Settings
from insights.status import status
from insights.wiring import replay_context
from replay.planning import Wish, make_plan
from replay.run import run
from replay.run_history import Status
from replay.verify import verify
from schemas.binary import zigzag
from schemas.catalogue import Event, event
from schemas.codec import Encoder
from schemas.registry import Registry
from tests.conftest import running_stack
from tests.e2e.made_events import made

ORDERS = event("sales.order_placed")
EDITS = event("public.wiki_edited")


@pytest.fixture(scope="module")
def hub(my_turn: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_stack(tmp_path_factory.mktemp("poison")) as settings:
        yield settings


def order(number: int, at: datetime) -> dict[str, Any]:
    price = Decimal("10.00")
    line = {"product_id": "P-1", "category": "Bells", "brand": None, "quantity": 1, "unit_price": price}
    return {
        "event_id": f"order-{number}",
        "occurred_at": at,
        "source": "somebody else's program",
        "trace": None,
        "order_id": f"O-{number}",
        "customer_id": "C-1",
        "region": "DE",
        "currency": "EUR",
        "channel": "web",
        "session_id": None,
        "lines": [{**line, "discount_amount": Decimal("0.00")}],
        "shipping_amount": Decimal("0.00"),
        "tax_amount": Decimal("0.00"),
    }


def counts(hub: Settings, of: Event = ORDERS) -> dict[str, int | None]:
    found = status(hub).topics[of.topic]
    return {name: getattr(found, name) for name in ("published", "counted", "duplicate", "late", "dead")}


def lines_without_end(encoder: Encoder, record: dict[str, Any]) -> Iterator[bytes]:
    """An order that says it has two billion lines, and one that ends within its first line."""
    whole = encoder.encode(record)
    count = whole.index(b"P-1") - 2  # before it the product's length, and before that the number of lines
    assert whole[count] == zigzag(1)[0]
    yield whole[:count] + zigzag(2_000_000_000) + whole[count + 1 :]
    yield whole[: count + 5]


@pytest.mark.timeout(900)
def test_poison_tombstones_and_events_ahead_of_the_clock_are_dead_by_name_and_all_else_counts(
    hub: Settings, until: Callable[..., Any]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    registry = Registry(hub.registry_url)
    # Who writes past our producers holds none of the contract's rules.
    ours = Encoder(replace(ORDERS, schema=ORDERS.avro_schema), registry.register(ORDERS))
    other = event("sales.order_refunded")
    good = ours.encode(order(0, now))
    theirs = registry.register(other).to_bytes(4, "big")
    foreign = ours.encode({**order(200, now), "currency": "USD"})
    ahead = [ours.encode(order(100 + n, now + timedelta(days=3))) for n in range(ORDERS.partitions)]
    poison = [
        b"garbage not avro",
        b"",
        b"\0",
        b"\0\0\x98\x96\x7f" + good[5:],
        b"\0" + theirs + good[5:],
        good[:20],
        good + b"\0",
        good[:5] + zigzag((1 << 31) - 1) + b"x" * 40,
        good[:5] + zigzag(2_000_000_000) + b"x" * 40,
        ours.encode(order(50, now)).replace(b"order-50", b"order\x0050"),
        *lines_without_end(ours, order(51, now)),
        None,
    ]
    ordinary = [ours.encode(order(n, now - timedelta(minutes=n))) for n in range(8)]
    producer = Producer({"bootstrap.servers": hub.kafka})
    for partition, value in enumerate(ahead):
        producer.produce(ORDERS.topic, value, key=b"ahead", partition=partition)
    for n, value in enumerate(poison):
        producer.produce(ORDERS.topic, value, key=b"poison", partition=n % ORDERS.partitions)
    producer.produce(ORDERS.topic, foreign, key=b"foreign", partition=0)
    producer.flush()
    for n, value in enumerate(ordinary):
        producer.produce(ORDERS.topic, value, key=b"good", partition=n % ORDERS.partitions)
    producer.flush()

    dead = len(ahead) + len(poison) + 1
    wanted = {"published": dead + 8, "counted": 8, "duplicate": 0, "late": 0, "dead": dead}
    until(lambda: counts(hub) == wanted, seconds=240, what=f"the books say {wanted}")
    with psycopg.connect(hub.postgres_dsn) as connection:
        rows = connection.execute("select reason, is_unreadable, value from ops.dead_records").fetchall()
    unreadable = [value for _, is_unreadable, value in rows if is_unreadable]
    assert sorted(unreadable, key=repr) == sorted(poison, key=repr)
    assert all(reason for reason, _, _ in rows)
    assert sum("after it was published" in reason for reason, _, _ in rows) == len(ahead)
    assert [reason for reason, _, _ in rows if "currency" in reason] == ["currency is USD; the shop has EUR"]
    rest = FlinkRest(hub.flink_url)
    job = rest.active_job(JOB_NAME)
    assert job is not None
    assert rest.why_failed(job) == "", "the job never fell over"
    final = [at for at in status(hub).final_until.values() if at]
    assert all(at <= datetime.now(UTC) for at in final)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["duckdb", "local"])
def test_a_replay_leaves_out_what_the_live_job_found_dead(hub: Settings, engine: str) -> None:
    """After the test above."""
    context = replay_context(hub)
    plan = make_plan(context, Wish(names=("order_lines", "sales_per_minute"), scope="beginning"))
    done = run(context, plan, engine_of(hub, engine, said), by="a test", say=said, heard=lambda event: None)
    found = verify(context, done.run, say=said)
    assert found.status is Status.VERIFIED, found.certificate
    assert found.certificate
    assert found.certificate["sums"][ORDERS.topic] == counts(hub)
    with psycopg.connect(hub.postgres_dsn) as connection:
        (orders,) = connection.execute("select count(distinct event_id) from events.order_lines").fetchone() or (0,)
    assert orders == 8


@pytest.mark.timeout(900)
def test_partitions_that_were_silent_make_nothing_late_that_comes_with_the_others(
    hub: Settings, until: Callable[..., Any]
) -> None:
    """After the tests above: of this topic all partitions have been silent for longer than the timeout."""
    rest = FlinkRest(hub.flink_url)
    job = rest.active_job(JOB_NAME)
    assert job is not None
    with psycopg.connect(hub.postgres_dsn) as connection:
        # The first replay began when the books said that the job had read everything.
        (read_since,) = connection.execute("select min(created_at) from ops.replays").fetchone() or (None,)
    assert read_since, "the tests above come first"
    timeout = timedelta(seconds=hub.idle_timeout_seconds)
    until(lambda: datetime.now(UTC) - read_since > timeout, seconds=120, what="it has read for so long")
    encoder = Encoder(EDITS, Registry(hub.registry_url).register(EDITS))
    producer = Producer({"bootstrap.servers": hub.kafka})
    now = datetime.now(UTC).replace(microsecond=0)

    def publish(partition: int, at: datetime) -> None:
        producer.produce(EDITS.topic, encoder.encode(made(EDITS, at)), key=b"an edit", partition=partition)
        producer.flush()

    def come_to(counted: int, late: int, seconds: float = 60) -> None:
        wanted = {"published": counted + late, "counted": counted, "duplicate": 0, "late": late, "dead": 0}
        until(lambda: counts(hub, EDITS) == wanted, seconds=seconds, what=f"the books say {wanted}")

    publish(0, now - timedelta(days=30))
    come_to(1, 0)
    publish(0, now)
    # It must have been read, and the next be read before the timeout is over: then that one is late by right.
    come_to(2, 0, seconds=hub.idle_timeout_seconds / 2)
    publish(1, now - timedelta(days=10))
    come_to(3, 0)
    newest = int(now.timestamp() * 1000) - 5_000
    until(lambda: watermarks(rest, job)[EDITS.table] == newest, seconds=120, what="the silent partition has followed")
    publish(1, now - timedelta(hours=23))
    come_to(4, 0)
    publish(1, now - timedelta(hours=25))
    come_to(4, 1)


def said(text: str) -> None:
    """Nobody listens."""
