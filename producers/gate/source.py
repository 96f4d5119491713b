"""Runs the gate: ``insights produce gate --events sales.order_placed``."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from quixstreams import Application
from quixstreams.exceptions import QuixException
from quixstreams.kafka import ConnectionConfig
from quixstreams.sinks.base import BaseSink

from producers.connect import connections
from producers.gate.check import Checker
from producers.gate.intake import Intake
from producers.gate.letters import SentLetters
from producers.gate.writers import Sparing, Writers
from producers.persons.keys import PersonKeys
from producers.persons.letters import Letters
from producers.runner import Run
from schemas import catalogue
from schemas.catalogue import Event
from schemas.errors import BrokerUnavailable, Misconfigured
from schemas.kafka import Kafka, logged_in
from schemas.registry import Registry

GROUP: Final = "insights-gate"
KAFKA_SECONDS: Final = 10.0
CLOCK, BROKERS = "message.timestamp.type", "LogAppendTime"
COMMIT_SECONDS: Final = 1.0
# Of a batch: Kafka's own default, below which every client's batches are by default. A letter holds nearly as much.
MOST_BYTES: Final = 1_048_588
# A server may be away for so long before the group takes the partitions away, which are then read again.
AWAY_MS: Final = 1_800_000
STOP_SECONDS: Final = 0.2
GONE_MS: Final = 10_000  # after which the group gives the partitions of a gate that was killed to another


def served(names: Sequence[str]) -> list[Event]:
    """The contracts that the gate is asked to serve. Raises Misconfigured listing those that it can."""
    known = [each.name for each in catalogue.avro_events() if each.ingress_days]
    if not names:
        raise Misconfigured(f"gate needs to know for which events it is: give --events, of {', '.join(known)}")
    if strange := [name for name in names if name not in known]:
        raise Misconfigured(f"--events {strange[0]!r} is no event that other programs may publish: {', '.join(known)}")
    return [catalogue.event(name) for name in dict.fromkeys(names)]


def create_topics(kafka: Kafka, events: Sequence[Event], admin: AdminClient | None = None) -> None:
    """Create the ingress topics that are missing; those that are there stay as they are.

    The broker's time is the records': a program's own could be long past, and retention would delete them at once.
    Which letters a record may have is found by it, too. Raises BrokerUnavailable, and Misconfigured for a topic
    without it. ``admin`` is a client of this Kafka.
    """
    admin = admin or logged_in(AdminClient({**kafka.librdkafka, "log_level": 0}))
    try:
        there = admin.list_topics(timeout=KAFKA_SECONDS).topics
        new = [
            NewTopic(each.ingress, each.partitions, config=topic_config(each))
            for each in events
            if each.ingress not in there
        ]
        for future in admin.create_topics(new).values() if new else ():
            future.result()
        _check_clocks(admin, [each.ingress for each in events if each.ingress in there])
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka at {kafka} could not create or describe the ingress topics: {error}") from error


def _check_clocks(admin: AdminClient, topics: Sequence[str]) -> None:
    asked = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    for topic, future in admin.describe_configs(asked, request_timeout=KAFKA_SECONDS).items() if asked else ():
        if future.result()[CLOCK].value != BROKERS:
            raise Misconfigured(
                f"{topic.name} dates records by the clocks of who sends them, and the gate needs the broker's; run"
                f" `kafka-configs --alter --entity-type topics --entity-name {topic.name}"
                f" --add-config {CLOCK}={BROKERS}` with your --bootstrap-server"
            )


def topic_config(event: Event) -> dict[str, str]:
    """Kafka's settings of an event's ingress topic."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str((event.ingress_days or 0) * 86_400_000),
        "max.message.bytes": str(MOST_BYTES),
        CLOCK: BROKERS,
    }


def run(this: Run) -> None:
    """Check what comes until told to stop. Raises Misconfigured, DeliveryFailed, BrokerUnavailable."""
    events = served(this.options.events)
    create_topics(this.options.kafka, events)
    with closing(PersonKeys(this.options.state)) as persons:
        registry = Sparing(Registry(this.options.registry_url))
        checkers = {e.ingress: (e, Checker(e, Writers(e, registry), persons)) for e in events}
        intake = Intake(
            this,
            checkers,
            Letters(this.publisher, persons, this.clock),
            SentLetters(this.options.kafka, lambda: this.stop.requested),
            lambda: frozenset(connections.names(this.options.state)),
            _keeping_signals(),
        )
        try:
            app = application(this, checkers, intake)
            app.assigned = intake.assigned
            with _stopping(this, app):
                app.run()
        except (KafkaException, QuixException) as error:
            raise BrokerUnavailable(
                f"the ingress topics can't be read from Kafka at {this.options.kafka}: {error}; what was not"
                " committed is read again when the gate is started again"
            ) from error


class Reading(Application):
    """quixstreams' application, which says when it was given partitions: of that it has no public hook."""

    assigned: Callable[[], None] = staticmethod(lambda: None)

    def _on_assign(self, consumer: Any, topic_partitions: list[TopicPartition]) -> None:
        self.assigned()
        super()._on_assign(consumer, topic_partitions)


def application(this: Run, topics: Iterable[str], intake: BaseSink, group: str = GROUP) -> Reading:
    """What reads the topics and hands their records to the intake, as bytes."""
    logging.getLogger("quixstreams").setLevel(logging.WARNING)
    app = Reading(
        ConnectionConfig.from_librdkafka_dict(this.options.kafka.librdkafka),
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=COMMIT_SECONDS,
        consumer_extra_config={"max.poll.interval.ms": AWAY_MS, "session.timeout.ms": GONE_MS},
        state_dir=this.options.state / "gate",
        auto_create_topics=False,
        loglevel=None,
        broker_availability_timeout=0,  # it waits; librdkafka connects again by itself
    )
    for topic in topics:
        # A deserializer's error could be dropped without a trace: bytes are checked by the intake.
        app.dataframe(app.topic(topic, value_deserializer="bytes", key_deserializer="bytes")).sink(intake)
    return app


def _keeping_signals() -> Callable[[], None]:
    """Gives SIGTERM and SIGINT back to who has them now: quixstreams takes them, and who waits must hear."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def give_back() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    return give_back


@contextmanager
def _stopping(this: Run, app: Application) -> Iterator[None]:
    """Stop the application once this run is asked to stop."""

    def wait() -> None:
        select.select([this.stop.fileno(), ended], [], [])
        # quixstreams forgets a stop that it was asked for while it starts, so it is asked until it has ended.
        while not select.select([ended], [], [], STOP_SECONDS)[0]:
            app.stop()

    ended, end = os.pipe()
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    try:
        yield
    finally:
        os.write(end, b"\0")
        waiting.join()
        os.close(ended)
        os.close(end)
