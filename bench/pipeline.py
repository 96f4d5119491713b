"""How fast the live job drains the log, and how soon an event is a row in Postgres.

Both talk to a stack that is up without producers (`insights up --no-producers`), found by the same settings as the
`insights` command's (INSIGHTS_HOME and the like). The events are the synthetic shop's own.

    python -m bench.pipeline drain --events 400000
    python -m bench.pipeline latency --rate 200 --seconds 60

drain    publishes encoded events as fast as Kafka takes them, faster than the job can, and from then on watches
         ops.event_counts until all are counted: how fast the backlog shrinks. In the same run, over the same records,
         its rival: one confluent-kafka consumer in Python that only decodes each record with fastavro. The first
         rounds are slower: Java compiles the job's code while it runs.
latency  publishes at a steady rate and polls the fact tables: the time from publishing until the row is seen by
         another connection, polling included.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.producer import machine
from insights.settings import Settings, load_settings
from insights.stack import part_states
from producers.publisher import PRODUCER_SETTINGS, Publisher
from producers.shop.occurrences import Occurrence
from producers.shop.simulation import Simulation
from producers.shop.visits import Shop
from schemas.codec import Decoder, Encoder
from schemas.registry import Registry

POLL_SECONDS = 0.01
SHOP_RATE = 400.0
COUNTED = "select coalesce(sum(on_time), 0) from ops.event_counts"
NEW_ROWS = """
select event_id from events.interactions where occurred_at > %(since)s
union all
select event_id from events.order_lines where occurred_at > %(since)s and line = 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """An event ready to publish."""

    topic: str
    key: str
    value: bytes
    header: bytes


def occurrences(start: datetime, seed: int) -> Iterator[Occurrence]:
    """The shop's events from ``start`` on, customers and first stock left out."""
    shop = Shop(seed=seed, rate=SHOP_RATE)
    simulation = Simulation(shop, lambda *_: None, origin=int(start.timestamp()) // 60, announce=False)
    while True:
        yield from simulation.advance().occurrences


def encoded(settings: Settings, count: int, start: datetime, seed: int) -> list[Encoded]:
    """``count`` events, encoded beforehand: the producer must not be what is measured."""
    registry = Registry(settings.registry_url)
    encoders: dict[str, Encoder] = {}
    found = []
    for occurrence in occurrences(start, seed):
        event = occurrence.event
        if event.name not in encoders:
            encoders[event.name] = Encoder(event, registry.schema_id(event))
        encoder = encoders[event.name]
        value = encoder.encode(occurrence.record)
        header = str(encoder.schema_id).encode()
        found.append(Encoded(topic=event.topic, key=occurrence.record[event.key], value=value, header=header))
        if len(found) == count:
            break
    return found


def publish(settings: Settings, events: list[Encoded]) -> None:
    """Publishes all. Blocks until they are acknowledged."""
    producer = Producer({**PRODUCER_SETTINGS, **settings.kafka.librdkafka})
    for event in events:
        while True:
            try:
                producer.produce(event.topic, event.value, event.key, headers=[("schema_id", event.header)])
                break
            except BufferError:
                producer.poll(0.05)
    if left := producer.flush(120):
        raise SystemExit(f"{left} events were not acknowledged")


def cpu_seconds(settings: Settings) -> dict[str, float]:
    """Processor time that each part has used so far, children included."""
    found = {}
    for state in part_states(settings):
        if state.pid is not None:
            parent = psutil.Process(state.pid)
            family = [parent, *parent.children(recursive=True)] if state.name != "supervisor" else [parent]
            found[state.name] = sum(sum(p.cpu_times()[:2]) for p in family)
    return found


def drain(settings: Settings, count: int, rounds: int) -> None:
    """Prints events a second of the whole job for each round, its processor time by part, and the rival's rate."""
    now = datetime.now(UTC)
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
        for number in range(rounds):
            start = now - timedelta(hours=12) + timedelta(minutes=30 * number)
            events = encoded(settings, count, start, seed=int(now.timestamp()) + number)
            target = _counted(connection) + count
            publish(settings, events)
            backlog, cpu, began = target - _counted(connection), cpu_seconds(settings), time.perf_counter()
            if backlog < count / 2:
                raise SystemExit(f"the job kept up with the publishing: {backlog:,} of {count:,} events were left")
            while _counted(connection) < target:
                time.sleep(POLL_SECONDS * 5)
            seconds = time.perf_counter() - began
            used = {part: (after - cpu.get(part, 0)) / backlog * 1e6 for part, after in cpu_seconds(settings).items()}
            costs = ", ".join(f"{part} {micros:.0f}" for part, micros in used.items() if micros >= 1)
            print(
                f"round {number + 1}: {backlog:,} events left when all were published,"
                f" {backlog / seconds:>9,.0f} events/s; µs of processor an event: {costs}",
                flush=True,
            )
    rival = python_consumer(settings, {event.topic for event in events}, count)
    print(f"rival:   {rival:>9,.0f} events/s, a Python consumer that only decodes")


def _counted(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute(COUNTED).fetchone()
    return int(row[0]) if row else 0


def python_consumer(settings: Settings, topics: set[str], count: int) -> float:
    """Records a second that one Python process reads and decodes, from the beginning of the topics."""
    consumer = Consumer({**settings.kafka.librdkafka, "group.id": "bench", "enable.auto.commit": False})
    partitions = consumer.list_topics(timeout=10).topics
    consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in partitions[topic].partitions])
    decoder, done = Decoder(Registry(settings.registry_url)), 0
    began = time.perf_counter()
    while done < count:
        for message in consumer.consume(1000, timeout=5):
            decoder.decode(message.value())
            done += 1
    seconds = time.perf_counter() - began
    consumer.close()
    return done / seconds


def latency(settings: Settings, rate: float, seconds: float) -> None:
    """Prints percentiles of the milliseconds from publishing to visible row."""
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    done = threading.Event()
    reader = threading.Thread(target=_watch, args=(settings, seen, done))
    reader.start()
    publisher = Publisher(settings.kafka, Registry(settings.registry_url), client_id="bench-latency")
    published = _publish_steadily(publisher, rate, seconds, sent)
    deadline = time.monotonic() + 30
    while len(sent.keys() - seen.keys()) and time.monotonic() < deadline:
        time.sleep(0.1)
    done.set()
    reader.join()
    waited = sorted((seen[key] - at) * 1000 for key, at in sent.items() if key in seen)
    cuts = statistics.quantiles(waited, n=1000)
    print(f"{published:,} events in {seconds:.0f} s, {len(waited):,} of {len(sent):,} rows seen")
    print(f"ms to visible row: p50 {cuts[499]:.0f}, p95 {cuts[949]:.0f}, p99 {cuts[989]:.0f}, max {waited[-1]:.0f}")


def _publish_steadily(publisher: Publisher, rate: float, seconds: float, sent: dict[str, float]) -> int:
    began = time.monotonic()
    published = 0
    for occurrence in occurrences(datetime.now(UTC), seed=int(time.time())):
        due = began + published / rate
        if due > began + seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        at = datetime.now(UTC)
        record = {**occurrence.record, "occurred_at": at.replace(microsecond=at.microsecond // 1000 * 1000)}
        if "session_started_at" in record:
            record["session_started_at"] = record["occurred_at"]
        if occurrence.event.name in ("web.interaction", "sales.order_placed"):
            sent[record["event_id"]] = time.monotonic()
        publisher.publish(occurrence.event, record)
        published += 1
    publisher.flush()
    return published


def _watch(settings: Settings, seen: dict[str, float], done: threading.Event) -> None:
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
        while not done.is_set():
            since = datetime.now(UTC) - timedelta(seconds=5)
            rows = connection.execute(NEW_ROWS, {"since": since}).fetchall()
            at = time.monotonic()
            for (event_id,) in rows:
                seen.setdefault(event_id, at)
            time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drains = commands.add_parser("drain")
    drains.add_argument("--events", type=int, default=400_000)
    drains.add_argument("--rounds", type=int, default=4)
    latencies = commands.add_parser("latency")
    latencies.add_argument("--rate", type=float, default=200.0)
    latencies.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    settings = load_settings()
    print(machine())
    if options.command == "drain":
        drain(settings, options.events, options.rounds)
    else:
        latency(settings, options.rate, options.seconds)


if __name__ == "__main__":
    main()
