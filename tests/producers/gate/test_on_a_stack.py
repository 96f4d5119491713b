"""The gate on a running stack: what other programs send counts or is a dead letter, once, also when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from insights.cli.main import app
from insights.privacy.letters import readable
from insights.settings import PROJECT, Settings
from insights.status import Status, watching
from producers.gate.source import GROUP, create_topics
from reconciliation import dead_letters
from reconciliation.dead_letters import DeadLetter
from schemas.codec import Decoder
from schemas.registry import Registry
from tests.conftest import wait_until
from tests.producers.gate.records import OLDER, ORDER, in_avro, in_json, order, typed

RUNNER = CliRunner()


@dataclass
class Till:
    """A program that publishes orders to the ingress topic, on a stack of which it knows Kafka and registry alone."""

    stack: Settings
    name: str
    folder: Path
    look: Callable[[], Status]

    def sends(self, *values: bytes | None, key: bytes | None = None) -> None:
        create_topics(self.stack.kafka, [ORDER])
        producer = Producer(self.stack.kafka.librdkafka)
        refused: list[str] = []
        for value in values:
            producer.produce(
                ORDER.ingress,
                value,
                key,
                headers=[("traceparent", b"00-1-2-01"), ("odd", b"\xff")],
                on_delivery=lambda error, _: refused.append(str(error)) if error else None,
            )
            producer.poll(0)
        assert (producer.flush(30), refused) == (0, [])

    def order(self, number: int, **said: Any) -> dict[str, Any]:
        """An order of now, without an id of its own."""
        now = datetime.now(UTC).isoformat()
        return order(
            **{"event_id": ..., "source": self.name, "order_id": f"{self.name}-{number}", "occurred_at": now, **said}
        )

    @property
    def log(self) -> str:
        """What its gates said."""
        return (self.folder / "gate.log").read_text()

    @contextmanager
    def gate(self, registry: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "producers.main", "gate", "--events", ORDER.name]
        command += ["--kafka", str(self.stack.kafka), "--registry", registry or self.stack.registry_url]
        command += ["--state", str(self.stack.producers_dir), "--currency", self.stack.currency]
        with (self.folder / "gate.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=PROJECT, stderr=log, env={**os.environ, "PYTHONPATH": str(PROJECT)})
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)

    def is_read(self) -> bool | None:
        """Whether the gate has committed all that there is."""
        admin = AdminClient(self.stack.kafka.librdkafka)
        asked = [TopicPartition(ORDER.ingress, n) for n in range(ORDER.partitions)]
        group = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, asked)])[GROUP].result()
        committed = {each.partition: max(each.offset, 0) for each in group.topic_partitions}
        return all(self.end(ORDER.ingress, n) == committed.get(n, 0) for n in range(ORDER.partitions)) or None

    def end(self, topic: str, partition: int) -> int:
        consumer = Consumer({**self.stack.kafka.librdkafka, "group.id": "test"})
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1])
        finally:
            consumer.close()

    def letters(self) -> list[DeadLetter]:
        """This program's, which say its name."""
        found = readable(self.stack, dead_letters.every(self.stack.kafka, ORDER.name), with_bytes=True)
        return [each for each in found if self.name.encode() in each.value]

    def events(self) -> list[dict[str, Any]]:
        """Its events on the clean topic, those that are there twice among them."""
        decoder, found = Decoder(Registry(self.stack.registry_url)), []
        consumer = Consumer({**self.stack.kafka.librdkafka, "group.id": "test", "enable.auto.commit": False})
        try:
            for n in range(ORDER.partitions):
                _, end = consumer.get_watermark_offsets(TopicPartition(ORDER.topic, n), timeout=10)
                consumer.assign([TopicPartition(ORDER.topic, n, 0)])
                for message in consumer.consume(end, timeout=10) if end else []:
                    if (value := message.value()) and self.name.encode() in value:
                        found.append(decoder.decode(value)[1])
        finally:
            consumer.close()
        return found

    @property
    def counts(self) -> dict[str, int]:
        """What became of the orders of all, once every one is accounted for."""

        def rested() -> dict[str, int] | None:
            found = self.look().topics[ORDER.topic]
            names = ("published", "counted", "duplicate", "late", "dead")
            return {name: getattr(found, name) or 0 for name in names} if found.unaccounted == 0 else None

        return wait_until(rested, seconds=120, what="every order is accounted for")


@pytest.fixture
def till(stack: Settings, stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in {**stack_environment, "COLUMNS": "10000"}.items():
        monkeypatch.setenv(name, value)
    with watching(stack) as look:
        yield Till(stack=stack, name=f"till-{time.monotonic_ns()}", folder=tmp_path, look=look)


def run(*arguments: str) -> Result:
    return RUNNER.invoke(app, ["dead-letters", *arguments])


def test_what_other_programs_send_counts_or_is_a_dead_letter_that_can_be_redriven(till: Till, tmp_path: Path) -> None:
    before = till.counts
    schema_id = Registry(till.stack.registry_url).schema_id(ORDER)
    avro = typed(source=till.name, order_id=f"{till.name}-2", occurred_at=datetime.now(UTC))
    avro |= {"event_id": "019a4704-25de-7f51-a52e-%012x" % (time.monotonic_ns() % 2**48)}
    sent = [
        *(in_json(till.order(1)), in_avro(avro, schema_id)),
        *(in_json(till.order(3, shipping_amount="free")), b"<order>" + till.name.encode()),
        in_avro(avro, 4_000_000_000),
    ]
    till.sends(*sent, key=b"C1")
    with till.gate():
        wait_until(till.is_read, seconds=60, what="the gate has read all")
    assert sorted(each["order_id"] for each in till.events()) == [f"{till.name}-1", f"{till.name}-2"]
    after = till.counts
    assert {name: after[name] - before[name] for name in after} == {
        **{"published": 5, "counted": 2, "duplicate": 0, "late": 0, "dead": 3}
    }
    letters = till.letters()
    assert Counter(each.value for each in letters) == Counter(sent[2:])
    free = next(each for each in letters if b"free" in each.value)
    said = free.headers
    assert (said["topic"], said["key"], said["header.traceparent"]) == (ORDER.ingress, "C1", "00-1-2-01")
    assert (said["header.odd"], said["connector.name"], said["stage"]) == (
        "base64:/w==",
        "insights-gate",
        "VALUE_CONVERTER",
    )
    assert said["exception.class.name"] == "schemas.errors.ContractBroken"
    assert "field shipping_amount is 'free'" in said["exception.message"]
    assert free.source_offset is not None

    recipe = tmp_path / "free-shipping.yaml"
    recipe.write_text(
        "title: Free shipping is no amount\n"
        "event: sales.order_placed\n"
        "where: value.shipping_amount == 'free'\n"
        "steps:\n"
        "  - replace: {field: shipping_amount, pattern: free, by: '0.00'}\n"
        "examples:\n"
        f"  - given: {json.dumps(order(shipping_amount='free'))}\n"
        f"    expected: {json.dumps(order(shipping_amount='0.00'))}\n"
    )
    where = ("--where", f"contains(value.source, '{till.name}')")
    done = run("redrive", "--fix", str(recipe), *where)
    assert done.exit_code == 0, done.output
    assert sorted(each["order_id"][-1] for each in till.events()) == ["1", "2", "3"]
    again = till.counts
    assert (again["published"] - after["published"], again["counted"] - after["counted"]) == (1, 1)


def test_a_gate_that_is_killed_loses_nothing_and_sends_no_letter_twice(till: Till) -> None:
    values = [
        in_json(till.order(n, **({"currency": "euro"} if n % 3 == 0 else {"customer_id": f"C{n}"})))
        for n in range(3_000)
    ]
    till.sends(*values)
    with till.gate() as process:
        wait_until(lambda: len(till.letters()) or None, seconds=60, what="the first letters are sent", every=0.02)
        process.kill()
        process.wait(30)
    with till.gate():
        wait_until(till.is_read, seconds=90, what="the gate has read all")
    per_letter = Counter(json.loads(each.value)["order_id"] for each in till.letters())
    assert per_letter == {f"{till.name}-{n}": 1 for n in range(0, 3_000, 3)}
    events = till.events()
    assert len({each["order_id"] for each in events}) == len({each["event_id"] for each in events}) == 2_000
    with psycopg.connect(till.stack.postgres_dsn) as connection:
        till.counts  # noqa: B018 waits until all are counted
        rows = connection.execute(
            "select count(*), count(distinct order_id) from events.orders where order_id like %s", (f"{till.name}-%",)
        ).fetchone()
    assert rows == (2_000, 2_000)


class Relay(ThreadingHTTPServer):
    """The registry at another address, which can be away."""

    def __init__(self, url: str) -> None:
        self.behind = url
        self.is_away = False
        super().__init__(("127.0.0.1", 0), _Relaying)

    @contextmanager
    def serving(self) -> Iterator[str]:
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{self.server_port}"
        finally:
            self.shutdown()
            self.server_close()


class _Relaying(BaseHTTPRequestHandler):
    def _relay(self) -> None:
        assert isinstance(self.server, Relay)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        if self.server.is_away:
            self.send_error(503)
            return
        answer = requests.request(self.command, self.server.behind + self.path, data=body, headers=headers, timeout=10)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = _relay  # noqa: N815 the names that http.server asks for

    def log_message(self, *_: object) -> None: ...


def test_while_the_registry_is_away_the_gate_waits_can_be_stopped_and_loses_nothing(till: Till) -> None:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    with SchemaRegistryClient({"url": till.stack.registry_url}) as client:
        older_id = client.register_schema(f"{ORDER.ingress}-value", Schema(json.dumps(OLDER), "AVRO"))
    event_id = "019a4704-25de-7f51-a52e-%012x" % (time.monotonic_ns() % 2**48)
    record = typed(source=till.name, order_id=f"{till.name}-1", occurred_at=datetime.now(UTC), event_id=event_id)
    relay = Relay(till.stack.registry_url)
    with relay.serving() as url:
        with till.gate(url) as gate:
            wait_until(lambda: '"started"' in till.log or None, what="it runs")
            relay.is_away = True
            till.sends(in_avro(record, older_id, OLDER))
            wait_until(lambda: '"waiting"' in till.log or None, what="it waits")
            gate.send_signal(signal.SIGTERM)
            gate.wait(20)
        assert (till.events(), till.letters()) == ([], [])
        relay.is_away = False
        with till.gate(url):
            wait_until(till.is_read, seconds=60, what="the gate has read all")
    assert [each["event_id"] for each in till.events()] == [event_id]
    assert till.letters() == []
