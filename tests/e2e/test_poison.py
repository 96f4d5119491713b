"""Records that nobody should have put on the topics: the job goes on, names each, and every other number is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from flink.live_job import JOB_NAME
from flink.progress import watermarks
from flink.rest import FlinkRest
from insights.engines import engine_of
from insights.settings import Settings
from insights.status import Status as Seen
from insights.status import watching
from insights.wiring import replay_context
from replay.planning import Wish, make_plan
from replay.restate import restate_late
from replay.run import run
from replay.run_history import Status
from replay.verify import verify
from schemas.binary import zigzag
from schemas.catalogue import Event, event
from schemas.codec import Encoder
from schemas.registry import Registry
from tests.conftest import running_stack
from tests.e2e import table_contents
from tests.e2e.hub import LOOK_SECONDS
from tests.e2e.made_events import made

ORDERS = event("sales.order_placed")
EDITS = event("public.wiki_edited")
VISITS = event("web.interaction")
Look = Callable[[], Seen]
pytestmark = pytest.mark.timeout(900)


def order(number: int, at: datetime) -> dict[str, Any]:
    price = Decimal("10.00")
    line = {"product_id": "P-1", "category": "Bells", "brand": None, "quantity": 1, "unit_price": price}
    return {
        "event_id": f"order-{number}",
        "occurred_at": at,
        "source": "somebody else's program",
        "trace": None,
        "order_id": f"after-poison-{number}",
        "customer_id": "C-1",
        "region": "DE",
        "currency": "EUR",
        "channel": "web",
        "session_id": None,
        "lines": [{**line, "discount_amount": Decimal("0.00")}],
        "shipping_amount": Decimal("0.00"),
        "tax_amount": Decimal("0.00"),
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Settings]:
    """One of its own: others hold the lake against the log, and no lake has what is unreadable."""
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as settings:
        yield settings


@pytest.fixture(scope="module")
def look(stack: Settings) -> Iterator[Look]:
    with watching(stack) as found:
        yield found


def counts(look: Look, of: Event = ORDERS) -> dict[str, int | None]:
    found = look().topics[of.topic]
    return {name: getattr(found, name) for name in ("published", "counted", "duplicate", "late", "dead")}


def lines_without_end(encoder: Encoder, record: dict[str, Any]) -> Iterator[bytes]:
    """An order that claims to have two billion lines, and one that ends within its first line."""
    whole = encoder.encode(record)
    count = whole.index(b"P-1") - 2  # before it the product's length, and before that the number of lines
    assert whole[count] == zigzag(1)[0]
    yield whole[:count] + zigzag(2_000_000_000) + whole[count + 1 :]
    yield whole[: count + 5]


@dataclass(frozen=True, slots=True)
class Poisoned:
    """What was put on the topic of orders, besides eight good ones, and when the job had read all of it."""

    unreadable: list[bytes | None]
    ahead: int
    rise: dict[str, int]
    wanted: dict[str, int]
    dead: list[tuple[str, bool, bytes | None]]
    read_at: datetime


def at_rest(look: Look, until: Callable[..., Any], of: Event = ORDERS) -> dict[str, int]:
    """The counts of a topic once each of its records has its fate."""

    def balanced() -> dict[str, int] | None:
        found = {name: number or 0 for name, number in counts(look, of).items()}
        return found if found["published"] == sum(found.values()) - found["published"] else None

    return dict(until(balanced, seconds=240, every=LOOK_SECONDS, what=f"every record of {of.topic} has its fate"))


@pytest.fixture(scope="module")
def poisoned(stack: Settings, look: Look, until: Callable[..., Any]) -> Poisoned:
    hub = stack
    before, ends = at_rest(look, until), table_contents.log_ends(hub, ORDERS)
    now = datetime.now(UTC).replace(microsecond=0)
    registry = Registry(hub.registry_url)
    # Who writes past our producers holds none of the contract's rules.
    ours = Encoder(replace(ORDERS, schema=ORDERS.avro_schema), registry.register(ORDERS))
    other = event("sales.order_refunded")
    good = ours.encode(order(0, now))
    theirs = registry.register(other).to_bytes(4, "big")
    foreign = ours.encode({**order(200, now), "currency": "USD"})
    ahead = [ours.encode(order(100 + n, now + timedelta(days=3))) for n in range(ORDERS.partitions)]
    poison: list[bytes | None] = [
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
    producer = Producer({**hub.kafka.librdkafka})
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
    until(
        lambda: counts(look)["published"] == before["published"] + dead + 8,
        every=LOOK_SECONDS,
        what="all is on the log",
    )
    after = at_rest(look, until)
    with psycopg.connect(hub.postgres_dsn) as connection:
        rows = connection.execute(
            "select kafka_partition, kafka_offset, reason, is_unreadable, value from ops.dead_records where topic = %s",
            [ORDERS.topic],
        ).fetchall()
    return Poisoned(
        unreadable=poison,
        ahead=len(ahead),
        rise={name: number - before[name] for name, number in after.items()},
        wanted={"published": dead + 8, "counted": 8, "duplicate": 0, "late": 0, "dead": dead},
        dead=[tuple(row[2:]) for row in rows if row[1] >= ends[row[0]]],
        read_at=datetime.now(UTC),
    )


def test_poison_tombstones_and_events_ahead_of_the_clock_are_dead_by_name_and_all_else_counts(
    stack: Settings, look: Look, poisoned: Poisoned
) -> None:
    assert poisoned.rise == poisoned.wanted
    unreadable = [value for _, is_unreadable, value in poisoned.dead if is_unreadable]
    assert sorted(unreadable, key=repr) == sorted(poisoned.unreadable, key=repr)
    reasons = [reason for reason, _, _ in poisoned.dead]
    assert all(reasons)
    assert sum("after it was published" in reason for reason in reasons) == poisoned.ahead
    assert [reason for reason in reasons if "currency" in reason] == ["currency is USD; the shop has EUR"]
    rest = FlinkRest(stack.flink_url)
    job = rest.active_job(JOB_NAME)
    assert job is not None
    assert rest.why_failed(job) == "", "the job never fell over"
    final = [at for at in look().final_until.values() if at]
    assert all(at <= datetime.now(UTC) for at in final)


@pytest.mark.parametrize("engine", ["duckdb", pytest.param("local", marks=pytest.mark.nightly)])
def test_a_replay_leaves_out_what_the_live_job_found_dead(
    stack: Settings, look: Look, poisoned: Poisoned, engine: str
) -> None:
    context = replay_context(stack)
    plan = make_plan(context, Wish(names=("order_lines", "sales_per_minute"), scope="beginning"))
    done = run(context, plan, engine_of(stack, engine, said), by="a test", say=said, on_event=lambda event: None)
    found = verify(context, done.run, say=said)
    assert found.status is Status.VERIFIED, found.certificate
    assert found.certificate
    assert found.certificate["sums"][ORDERS.topic] == counts(look)
    orders = "select count(distinct order_id) from events.order_lines where order_id like 'after-poison-%'"
    with psycopg.connect(stack.postgres_dsn) as connection:
        assert connection.execute(orders).fetchone() == (8,)


def test_partitions_that_were_silent_make_nothing_late_that_comes_with_the_others(
    stack: Settings, look: Look, poisoned: Poisoned, until: Callable[..., Any]
) -> None:
    hub, rest = stack, FlinkRest(stack.flink_url)
    job = rest.active_job(JOB_NAME)
    assert job is not None
    before = at_rest(look, until, EDITS)
    assert not before["counted"], "of this topic all partitions must have been silent"
    timeout = timedelta(seconds=hub.idle_timeout_seconds)
    until(lambda: datetime.now(UTC) - poisoned.read_at > timeout, seconds=120, what="the job has read for so long")
    encoder = Encoder(EDITS, Registry(hub.registry_url).register(EDITS))
    producer = Producer({**hub.kafka.librdkafka})
    now = datetime.now(UTC).replace(microsecond=0)

    def publish(partition: int, at: datetime) -> None:
        producer.produce(EDITS.topic, encoder.encode(made(EDITS, at)), key=b"an edit", partition=partition)
        producer.flush()

    def come_to(counted: int, late: int, seconds: float = 60) -> None:
        rise = {"published": counted + late, "counted": counted, "duplicate": 0, "late": late, "dead": 0}
        wanted = {name: before[name] + number for name, number in rise.items()}
        until(
            lambda: counts(look, EDITS) == wanted, seconds=seconds, every=LOOK_SECONDS, what=f"the counts are {wanted}"
        )

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


def test_a_late_order_counts_where_there_was_never_a_web_event_and_a_later_one_of_before_is_late(
    stack: Settings, look: Look, poisoned: Poisoned, until: Callable[..., Any]
) -> None:
    """Both are counted in product_activity_per_hour, whose hours would not become final without web events."""
    before = at_rest(look, until, VISITS)
    assert not before["published"], "no web event may have been there"
    then = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    publish(stack, ORDERS, order(300, then), replace(ORDERS, schema=ORDERS.avro_schema))
    context = replay_context(stack)

    def restated() -> list[tuple[int, ...]]:
        """What the order counts in, after what can be restated has been; the late edit of a wiki may come first."""
        restate_late(context, engine_of(stack, "duckdb", said), by="a test", say=said, on_event=lambda event: None)
        with psycopg.connect(stack.postgres_dsn) as connection:
            units = "select units from live.product_activity_per_hour where window_start = %s"
            return connection.execute(units, [then.replace(minute=0, second=0)]).fetchall()

    late = counts(look)["late"] or 0
    until(lambda: (counts(look)["late"] or 0) > late, seconds=120, every=LOOK_SECONDS, what="the order is late")
    until(lambda: restated() == [(1,)], seconds=240, every=LOOK_SECONDS, what="the late order is counted")
    publish(stack, VISITS, made(VISITS, then))
    publish(stack, VISITS, made(VISITS, datetime.now(UTC)))
    wanted = {"published": 2, "counted": 1, "duplicate": 0, "late": 1, "dead": 0}
    until(lambda: counts(look, VISITS) == wanted, seconds=120, every=LOOK_SECONDS, what=f"the counts are {wanted}")


def publish(stack: Settings, of: Event, record: dict[str, Any], written_by: Event | None = None) -> None:
    registry = Registry(stack.registry_url)
    encoder = Encoder(written_by or of, registry.register(of))
    producer = Producer({**stack.kafka.librdkafka})
    producer.produce(of.topic, encoder.encode(record), key=str(record[of.key]).encode())
    producer.flush()


def said(text: str) -> None:
    """Nobody listens."""
