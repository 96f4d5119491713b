"""How many orders a second the gate takes from an ingress topic to the clean one, acknowledged by Kafka.

In the same run, turn by turn, so that the machine's moods hit all of them:

* the gate, with orders in Avro of the contract, in Avro of an older schema, in JSON, and with bytes that are none;
* quixstreams with nothing behind it: each record is published as it came;
* a loop around confluent-kafka with AvroDeserializer and AvroSerializer, which checks no rule and no key, and drops
  what it can't read: what one would write by hand.

Use a stack that may be thrown away: its dead letters get those of the bench.

    python -m bench.gate --kafka 127.0.0.1:19092 --registry http://127.0.0.1:19081/apis/ccompat/v7
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import struct
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import structlog
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from quixstreams.sinks.base import BaseSink

from bench.producer import bench_topic, machine, orders
from producers.gate.check import Checker
from producers.gate.intake import Intake
from producers.gate.letters import SentLetters
from producers.gate.source import application, topic_config
from producers.gate.writers import Writers
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.publisher import PRODUCER_SETTINGS, Publisher
from producers.runner import Options, Run, Stop
from producers.sources import source
from schemas.catalogue import Event
from schemas.codec import Encoder
from schemas.kafka import Kafka
from schemas.registry import Registry

NOTHING = "nothing of it"
OLDER_FIELDS = 15  # those that the first contract of orders had


@dataclass(frozen=True, slots=True)
class At:
    kafka: Kafka
    registry: str
    event: Event
    records: int


@dataclass(frozen=True, slots=True)
class Timed:
    """From the first record until all are acknowledged: seconds, and of processor time of this process."""

    seconds: float
    cpu: float


class Watch(BaseSink):
    """Hands records on, and stops the application after so many."""

    def __init__(self, inner: Any, records: int) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self.inner = inner
        self.left = records
        self.app: Any = None
        self.timed: Timed | None = None
        self._began = (0.0, 0.0)

    def add(self, *args: Any, **named: Any) -> None:
        if not self._began[0]:
            self._began = time.perf_counter(), time.process_time()
        self.inner.add(*args, **named)
        self.left -= 1
        if not self.left:
            self.inner.flush()
            self.timed = Timed(time.perf_counter() - self._began[0], time.process_time() - self._began[1])
            self.app.stop()

    def flush(self) -> None:
        self.inner.flush()


class AsItCame:
    """Publishes bytes, and looks at nothing."""

    def __init__(self, at: At) -> None:
        self._producer = Producer({**PRODUCER_SETTINGS, **at.kafka.librdkafka})
        self._topic = at.event.topic
        self._n = 0

    def add(self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers)
                break
            except BufferError:
                self._producer.poll(0.05)
        self._n += 1
        if not self._n & 0xFF:
            self._producer.poll(0)

    def flush(self) -> None:
        if self._producer.flush(60):
            raise SystemExit("not all was acknowledged")


@contextmanager
def gate(at: At) -> Iterator[tuple[Run, Intake]]:
    with tempfile.TemporaryDirectory() as folder, closing(PersonKeys(Path(folder))) as persons:
        registry = Registry(at.registry)
        publisher = Publisher(at.kafka, registry, client_id="bench")
        publisher.open([at.event])
        options = Options(kafka=at.kafka, state=Path(folder))
        log = structlog.get_logger()
        this = Run(source=source("gate"), options=options, publisher=publisher, stop=Stop(), log=log)
        checkers = {at.event.ingress: (at.event, Checker(at.event, Writers(at.event, registry), persons))}
        yield this, Intake(this, checkers, Letters(publisher, persons, time.time), SentLetters(at.kafka))


def through_quixstreams(at: At, *, checked: bool) -> Timed:
    with gate(at) as (this, intake):
        watch = Watch(intake if checked else AsItCame(at), at.records)
        watch.app = application(this, [at.event.ingress], watch, group=f"bench-{uuid.uuid4()}")
        watch.app.run()
    assert watch.timed is not None
    return watch.timed


def by_hand(at: At) -> Timed:
    client = SchemaRegistryClient({"url": at.registry})
    read, write = AvroDeserializer(client), AvroSerializer(client, at.event.schema_text)
    whence = SerializationContext(at.event.ingress, MessageField.VALUE)
    whither = SerializationContext(at.event.topic, MessageField.VALUE)
    settings = {"group.id": f"bench-{uuid.uuid4()}", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**at.kafka.librdkafka, **settings})
    producer = Producer({**PRODUCER_SETTINGS, **at.kafka.librdkafka})
    consumer.subscribe([at.event.ingress])
    left, began = at.records, (0.0, 0.0)
    while left:
        message = consumer.poll(10)
        if message is None:
            raise SystemExit(f"{left} records did not come")
        if not began[0]:
            began = time.perf_counter(), time.process_time()
        left -= 1
        try:
            value = write(read(message.value(), whence), whither)
        except Exception:  # noqa: BLE001, S112 it drops what it can't read
            continue
        while True:
            try:
                producer.produce(at.event.topic, value, message.key(), headers=[("schema_id", b"1")])
                break
            except BufferError:
                producer.poll(0.05)
        if not left & 0xFF:
            producer.poll(0)
    producer.flush(60)
    consumer.commit(asynchronous=False)
    timed = Timed(time.perf_counter() - began[0], time.process_time() - began[1])
    consumer.close()
    return timed


def plain(value: Any) -> Any:
    return (
        str(value) if isinstance(value, Decimal) else value.isoformat() if isinstance(value, datetime | date) else None
    )


def inputs(at: At) -> dict[str, list[bytes]]:
    """The same orders in each form."""
    found = orders(at.records)
    client, registry = SchemaRegistryClient({"url": at.registry}), Registry(at.registry)
    own = Encoder(at.event, registry.register(at.event))
    older = {**at.event.avro_schema, "fields": at.event.avro_schema["fields"][:OLDER_FIELDS]}
    older_id = client.register_schema(f"{at.event.ingress}-value", Schema(json.dumps(older), "AVRO"))
    parsed = fastavro.parse_schema(older)

    def in_older(record: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, record)
        return struct.pack(">bI", 0, older_id) + body.getvalue()

    return {
        "Avro": [own.encode(each) for each in found],
        "older Avro": [in_older({"session_id": None, **each}) for each in found],
        "JSON": [
            json.dumps({k: v for k, v in each.items() if v is not None}, default=plain).encode() for each in found
        ],
        NOTHING: [b"<order>%d" % n for n in range(len(found))],
    }


def fill(at: At, values: list[bytes]) -> None:
    """The ingress topic with these records alone."""
    admin = AdminClient(at.kafka.librdkafka)
    if at.event.ingress in admin.list_topics(timeout=10).topics:
        admin.delete_topics([at.event.ingress])[at.event.ingress].result()
        while at.event.ingress in admin.list_topics(timeout=10).topics:
            time.sleep(0.2)
    admin.create_topics([NewTopic(at.event.ingress, at.event.partitions, config=topic_config(at.event))])[
        at.event.ingress
    ].result()
    producer = Producer({**PRODUCER_SETTINGS, **at.kafka.librdkafka})
    for n, value in enumerate(values):
        while True:
            try:
                producer.produce(at.event.ingress, value, on_delivery=None)
                break
            except BufferError:
                producer.poll(0.1)
        if not n & 0xFF:
            producer.poll(0)
    producer.flush(60)


WAYS: dict[str, Callable[[At], Timed]] = {
    "the gate": lambda at: through_quixstreams(at, checked=True),
    "quixstreams, as it came": lambda at: through_quixstreams(at, checked=False),
    "by hand, unchecked": by_hand,
}
OF = {
    "Avro": list(WAYS),
    "older Avro": ["the gate", "by hand, unchecked"],
    "JSON": ["the gate"],
    NOTHING: ["the gate"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default="127.0.0.1:19092")
    parser.add_argument("--registry", default="http://127.0.0.1:19081/apis/ccompat/v7")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    event = replace(bench_topic(options.kafka), ingress_days=1)
    at = At(Kafka(options.kafka), options.registry, event, options.records)
    print(machine())
    print(f"{at.records:,} orders, {options.repeats} repeats in turn; load {os.getloadavg()[0]:.1f}")
    for form, values in inputs(at).items():
        fill(at, values)
        found: dict[str, list[Timed]] = {way: [] for way in OF[form]}
        for repeat in range(options.repeats):
            for way in OF[form] if repeat % 2 else reversed(OF[form]):
                found[way].append(WAYS[way](at))
            if form == NOTHING:
                fill(at, values)  # a record gets a letter once
        for way, turns in found.items():
            rate = statistics.median(at.records / each.seconds for each in turns)
            cpu = statistics.median(each.cpu / at.records * 1e6 for each in turns)
            print(f"{form:14} {way:24} {rate:>9,.0f}/s {cpu:>7.1f} µs of processor time each", flush=True)


if __name__ == "__main__":
    main()
