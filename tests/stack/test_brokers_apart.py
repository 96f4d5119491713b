"""Three real brokers of one cluster: one, then another goes away, and what is published is there, each record once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from insights.settings import Settings
from insights.stack.composition import create_topics
from insights.stack.servers import kafka
from producers.publisher import PRODUCER_SETTINGS
from schemas.catalogue import event
from schemas.kafka import Kafka
from tests.conftest import free_ports, own_settings, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
TOPIC = event("sales.order_placed").topic
RECORDS = 300


class Brokers:
    """Processes on addresses of loopback, as each would be on a machine of its own."""

    def __init__(self, folder: Path, resources: ExitStack) -> None:
        port, controller = free_ports(2)
        quorum = ",".join(f"{host}:{controller}" for host in HOSTS)
        self.at = Kafka(",".join(f"{host}:{port}" for host in HOSTS))
        self._settings = {
            host: own_settings(
                folder / host, listen=host, advertise=host, kafka_quorum=quorum, kafka_port=port, kafka_heap_mb=256
            )
            for host in HOSTS
        }
        self._resources, self.processes = resources, dict[str, subprocess.Popen[bytes]]()
        self._admin = AdminClient({**self.at.librdkafka, "log_level": 0})

    def start(self, host: str) -> None:
        settings: Settings = self._settings[host]
        for needed in (settings.run_dir, settings.logs_dir):
            needed.mkdir(parents=True, exist_ok=True)
        part = kafka(settings)
        assert part.prepare is not None
        part.prepare()
        log = self._resources.enter_context((settings.logs_dir / "broker.log").open("ab"))
        environment = {**os.environ, **part.environment}
        process = subprocess.Popen(list(part.command), env=environment, stdout=log, stderr=log, cwd=settings.run_dir)
        self._resources.callback(process.wait)
        self._resources.callback(process.kill)
        self.processes[host] = process

    def answering(self) -> int:
        """How many brokers there are; 0 while none answers."""
        try:
            return len(self._admin.list_topics(timeout=10).brokers)
        except KafkaException:
            return 0

    def in_step(self) -> int:
        """How many copies the partition has that has the fewest in step, of all topics; 0 before there is any.

        Also 0 where the broker that is asked just hangs.
        """
        try:
            topics = self._admin.list_topics(timeout=10).topics.values()
        except KafkaException:
            return 0
        return min((len(p.isrs) for t in topics for p in t.partitions.values()), default=0)

    def copies(self) -> set[int]:
        topics = self._admin.list_topics(timeout=10).topics.values()
        return {len(p.replicas) for t in topics for p in t.partitions.values()}

    def until_in_step(self, copies: int) -> None:
        wait_until(lambda: self.in_step() == copies, seconds=120, every=0.5, what=f"{copies} copies are in step")

    def publish(self, phase: str) -> list[bytes]:
        """As every source does. Blocks until all is acknowledged."""
        sent = [f"{phase} {number}".encode() for number in range(RECORDS)]
        producer = Producer({**self.at.librdkafka, **PRODUCER_SETTINGS, "log_level": 0})
        for value in sent:
            producer.produce(TOPIC, value, key=value)
        assert producer.flush(120) == 0
        return sent

    def read(self) -> Counter[bytes]:
        """How often each record is there."""
        consumer = Consumer({**self.at.librdkafka, "group.id": "reader", "enable.auto.commit": False})
        partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        ends = {n: consumer.get_watermark_offsets(TopicPartition(TOPIC, n), timeout=10)[1] for n in partitions}
        consumer.assign([TopicPartition(TOPIC, n, OFFSET_BEGINNING) for n in partitions])
        found: Counter[bytes] = Counter()
        while sum(found.values()) < sum(ends.values()):
            messages = consumer.consume(500, timeout=30)
            assert messages, "no record came for half a minute"
            found.update(message.value() for message in messages)
        consumer.close()
        return found


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with ExitStack() as resources:
        found = Brokers(tmp_path_factory.mktemp("brokers"), resources)
        for host in HOSTS:
            found.start(host)
        wait_until(lambda: found.answering() == 3, seconds=300, every=0.5, what="three brokers answer")
        create_topics(found.at)
        yield found


def test_each_topic_is_made_with_three_copies(brokers: Brokers) -> None:
    brokers.until_in_step(3)
    assert brokers.copies() == {3}


@pytest.mark.faults
def test_a_broker_that_hangs_and_another_that_is_killed_lose_and_double_nothing(brokers: Brokers) -> None:
    sent = brokers.publish("all well")
    hanging = brokers.processes[HOSTS[1]]
    hanging.send_signal(signal.SIGSTOP)  # its connections stay, and nothing comes: as behind a network that is cut
    sent += brokers.publish("one hangs")
    brokers.until_in_step(2)
    sent += brokers.publish("two of three")
    hanging.send_signal(signal.SIGCONT)
    brokers.until_in_step(3)
    brokers.processes[HOSTS[0]].kill()
    sent += brokers.publish("another is killed")
    brokers.processes[HOSTS[0]].wait()
    brokers.start(HOSTS[0])
    brokers.until_in_step(3)
    assert brokers.read() == Counter(sent)
