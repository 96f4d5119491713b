"""Reading back what was published, and running producers as the processes they are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from schemas.codec import Decoder
from schemas.kafka import Kafka
from schemas.registry import Registry

PROJECT = Path(__file__).parents[2]
READ_SECONDS = 90


class Log:
    """The log since a moment: what came onto a topic after this was made."""

    def __init__(self, kafka: Kafka, registry_url: str, topics: tuple[str, ...]) -> None:
        reading = {"group.id": "test", "enable.auto.commit": False}
        # It reads one partition after the other, and each waits for the question about the one before.
        self._consumer = Consumer({**kafka.librdkafka, "fetch.wait.max.ms": 10, **reading})
        self._decoder = Decoder(Registry(registry_url))
        self._starts = {topic: self._ends(topic) for topic in topics}

    def messages(self, topic: str) -> list[Message]:
        """Everything on a topic since, partition by partition in order."""
        found: list[Message] = []
        for partition, start in self._starts[topic].items():
            end = self._ends(topic)[partition]
            if end == start:
                continue
            self._consumer.assign([TopicPartition(topic, partition, start)])
            offset, deadline = start, time.monotonic() + READ_SECONDS
            while offset < end:
                assert time.monotonic() < deadline, f"{topic} was not read in {READ_SECONDS} s"
                for message in self._consumer.consume(min(10_000, end - offset), timeout=1):
                    assert message.error() is None, message.error()
                    offset = message.offset() + 1
                    if offset <= end:
                        found.append(message)
        return found

    def records(self, topic: str) -> list[dict[str, Any]]:
        return [self._decoder.decode(message.value() or b"")[1] for message in self.messages(topic)]

    def close(self) -> None:
        self._consumer.close()

    def _ends(self, topic: str) -> dict[int, int]:
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)[1]
            for partition in partitions
        }


@pytest.fixture
def log_of(stack: Any) -> Iterator[Callable[..., Log]]:
    """``log_of(event, …)``: the topics of these contracts from now on."""
    opened: list[Log] = []

    def open_log(*events: Any) -> Log:
        opened.append(Log(stack.kafka, stack.registry_url, tuple(event.topic for event in events)))
        return opened[-1]

    yield open_log
    for log in opened:
        log.close()


@dataclass
class Running:
    """A producer's process."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def said(self) -> list[dict[str, Any]]:
        """Its structured log so far."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> dict[str, Any] | None:
        return next((line for line in self.said() if line["event"] == event), None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@pytest.fixture
def produce(stack: Any, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """``produce("shop", "--rate", "5")``: a process that publishes to the stack; state and logs under tmp_path."""
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        log_file = tmp_path / f"producer-{len(started)}.log"
        where = ["--kafka", str(stack.kafka), "--registry", stack.registry_url, "--state", str(tmp_path / "state")]
        with log_file.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "producers.main", *arguments, *where], cwd=PROJECT, stderr=stderr
            )
        started.append(Running(process, log_file))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.kill()
