"""How many order events a second one producer process encodes and has acknowledged.

The project's codec against confluent-kafka's AvroSerializer, in the same run: the same records, the same client
settings, the same topic, turn by turn so that the machine's moods hit both. Orders are the synthetic shop's own.

    python -m bench.producer --kafka 127.0.0.1:19092 --registry http://127.0.0.1:19081/apis/ccompat/v7

With ``--codecs`` it compares compressions of the project's publisher instead, bytes on the wire next to the speed: as
fast as it can (``--rate 0``), or so many orders a second, as a shop has them in small batches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import confluent_kafka
import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from producers.publisher import PRODUCER_SETTINGS, Publisher
from producers.shop.occurrences import ORDER_PLACED
from producers.shop.simulation import Simulation
from producers.shop.visits import Shop
from schemas.catalogue import Event
from schemas.kafka import Kafka
from schemas.registry import Registry

CODECS: Mapping[str, Mapping[str, Any]] = {
    "none": {"compression.type": "none"},
    "gzip": {"compression.type": "gzip"},
    "gzip, level 1": {"compression.type": "gzip", "compression.level": 1},
    "snappy": {"compression.type": "snappy"},
    "lz4": {"compression.type": "lz4"},
    "zstd": {"compression.type": "zstd"},
}
STATISTICS_MS = 50
PACED = 2  # orders between two looks at the clock
TOPIC_BYTES = 256 * 1024 * 1024
DISTINCT = 10_000  # more than any memo of strings holds
START = datetime(2025, 11, 3, tzinfo=UTC)  # long past: the publisher refuses what is ahead of the clock

Records = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One pass over the records: seconds until all were encoded and queued, and until all were acknowledged.

    ``cpu``: seconds of processor time that this process spent, librdkafka's threads included.
    """

    queued: float
    acknowledged: float
    cpu: float


@dataclass(slots=True)
class Stopwatch:
    """Runs from its making. ``queued()`` is called when all is queued, ``acknowledged()`` when all is acknowledged."""

    began: float = field(default_factory=time.perf_counter)
    cpu_began: float = field(default_factory=time.process_time)
    queued_after: float = 0.0

    def queued(self) -> None:
        self.queued_after = time.perf_counter() - self.began

    def acknowledged(self) -> Timed:
        return Timed(
            queued=self.queued_after,
            acknowledged=time.perf_counter() - self.began,
            cpu=time.process_time() - self.cpu_began,
        )


def orders(count: int) -> Records:
    """Orders of the synthetic shop, in order; DISTINCT of them, again and again."""
    shop = Simulation(
        Shop(seed=1, rate=400), lambda number, field, text: None, origin=int(START.timestamp()) // 60, announce=False
    )
    found: Records = []
    while len(found) < min(DISTINCT, count):
        found += [o.record for o in shop.advance().occurrences if o.event is ORDER_PLACED]
    return list(islice(cycle(found[:DISTINCT]), count))


def through_publisher(kafka: str, registry: str, event: Event, records: Records) -> Timed:
    publisher = Publisher(Kafka(kafka), Registry(registry), client_id="bench")
    publisher.publish(event, records[0])  # connects and registers before the clock starts
    publisher.flush()
    publish = publisher.publish
    watch = Stopwatch()
    for record in records:
        publish(event, record)
    watch.queued()
    publisher.flush()
    return watch.acknowledged()


def through_codec(
    kafka: str, registry: str, event: Event, records: Records, *, codec: str, rate: int
) -> tuple[Timed, float]:
    """And the bytes on the wire for an order: keys, headers and all."""
    sent = 0

    def count(statistics: str) -> None:
        nonlocal sent
        sent = json.loads(statistics)["tx_bytes"]

    settings = {**CODECS[codec], "statistics.interval.ms": STATISTICS_MS, "stats_cb": count}
    publisher = Publisher(Kafka(kafka), Registry(registry), client_id="bench", settings=settings)
    publisher.publish(event, records[0])  # connects and registers before the clock starts
    publisher.flush()
    tell(publisher)
    sent_before, watch = sent, Stopwatch()
    for n, record in enumerate(records):
        if rate and n % PACED == 0:
            time.sleep(max(0.0, watch.began + n / rate - time.perf_counter()))
            publisher.poll()
        publisher.publish(event, record)
    watch.queued()
    publisher.flush()
    timed = watch.acknowledged()
    tell(publisher)
    return timed, (sent - sent_before) / len(records)


def tell(publisher: Publisher) -> None:
    """Have the client's statistics be of now."""
    time.sleep(3 * STATISTICS_MS / 1000)
    publisher.poll()


def through_avro_serializer(kafka: str, registry: str, event: Event, records: Records) -> Timed:
    failures: list[Any] = []
    producer = Producer(
        {
            **PRODUCER_SETTINGS,
            "bootstrap.servers": kafka,
            "on_delivery": lambda error, _message: failures.append(error) if error else None,
        }
    )
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), event.schema_text)
    context = SerializationContext(event.topic, MessageField.VALUE)
    headers = [("schema_id", b"1")]
    producer.produce(event.topic, serialize(records[0], context), records[0][event.key], headers=headers)
    producer.flush()
    watch = Stopwatch()
    for n, record in enumerate(records):
        value = serialize(record, context)
        while True:
            try:
                producer.produce(event.topic, value, record[event.key], headers=headers)
                break
            except BufferError:
                producer.poll(0.05)
        if not n & 0xFF:
            producer.poll(0)
    watch.queued()
    left = producer.flush(60)
    if left or failures:
        raise SystemExit(f"{left} events not acknowledged, {len(failures)} refused: {failures[:1]}")
    return watch.acknowledged()


WAYS: dict[str, Callable[[str, str, Event, Records], Timed]] = {
    "publisher": through_publisher,
    "AvroSerializer": through_avro_serializer,
}


def bench_topic(kafka: str) -> Event:
    """A topic of its own with the contract of orders, so that no order of the bench is in any table."""
    event = replace(ORDER_PLACED, topic="bench.order_placed.v1")
    admin = AdminClient({"bootstrap.servers": kafka})
    config = {"retention.bytes": str(TOPIC_BYTES), "segment.bytes": str(TOPIC_BYTES // 4), "retention.ms": "600000"}
    future = admin.create_topics([NewTopic(event.topic, event.partitions, 1, config=config)])[event.topic]
    try:
        future.result()
    except confluent_kafka.KafkaException as error:
        if error.args[0].code() != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
            raise
    return event


def machine() -> str:
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), model)
    client = f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"
    return (
        f"{os.cpu_count()} × {model}, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()},"
        f" confluent-kafka {client}, fastavro {fastavro.__version__}"
    )


def compare_codecs(options: argparse.Namespace, event: Event, records: Records) -> None:
    """Turn by turn, so that the machine's moods hit all of them."""
    found: dict[str, list[tuple[float, float, float]]] = {codec: [] for codec in options.codecs}
    for repeat in range(options.repeats):
        for codec in options.codecs if repeat % 2 else reversed(options.codecs):
            timed, wire = through_codec(options.kafka, options.registry, event, records, codec=codec, rate=options.rate)
            found[codec].append((len(records) / timed.acknowledged, timed.cpu / len(records) * 1e6, wire))
    print(f"{'':15} {'orders/s':>9} {'µs of CPU':>9} {'bytes':>7}   medians; a microsecond and a byte are an order's")
    for codec, turns in found.items():
        rate, cpu, wire = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"{codec:15} {rate:>9,.0f} {cpu:>9.1f} {wire:>7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default="127.0.0.1:19092")
    parser.add_argument("--registry", default="http://127.0.0.1:19081/apis/ccompat/v7")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--codecs", nargs="*", choices=CODECS, help="compare these; without names all of them")
    parser.add_argument("--rate", type=int, default=0, help="orders a second, with --codecs; 0 is as fast as it can")
    options = parser.parse_args()
    print(machine())
    event, records = bench_topic(options.kafka), orders(options.records)
    lines = sum(len(record["lines"]) for record in records) / len(records)
    print(f"{len(records):,} orders of {lines:.2f} lines, {options.repeats} repeats in turn")
    if options.codecs is not None:
        options.codecs = options.codecs or list(CODECS)
        return compare_codecs(options, event, records)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(options.repeats):
        for way in WAYS if repeat % 2 else reversed(WAYS):
            timed = WAYS[way](options.kafka, options.registry, event, records)
            rates[way].append(len(records) / timed.acknowledged)
            print(
                f"  {repeat + 1} {way:15} {len(records) / timed.queued:>9,.0f}/s queued"
                f" {rates[way][-1]:>9,.0f}/s acknowledged {timed.cpu / len(records) * 1e6:>6.1f} µs of CPU an order",
                flush=True,
            )
    medians = {way: statistics.median(found) for way, found in rates.items()}
    ratios = [ours / theirs for ours, theirs in zip(rates["publisher"], rates["AvroSerializer"], strict=True)]
    for way, median in medians.items():
        print(f"{way:15} median {median:>9,.0f} orders/s acknowledged")
    print(f"ratio           median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
