"""Which events the gate serves, and from which topics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Producer
from quixstreams.models import TopicConfig
from quixstreams.models.topics.admin import TopicAdmin
from quixstreams.sinks.base import BaseSink

from insights.settings import Settings
from insights.stack.composition import UpPlan, daemons
from insights.stack.part import Part
from producers.gate.source import _stopping, application, create_topics, served, topic_config
from producers.runner import Options, Run, Stop
from schemas import catalogue
from schemas.errors import Misconfigured
from schemas.kafka import Kafka
from tests.producers.gate.records import ORDER


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "give --events, of catalog.product_observed, .*sales.order_refunded"),
        (["web.interaction"], "'web.interaction' is no event that other programs may publish: catalog"),
        (["sales.order_placed", "orders"], "'orders' is no event"),
    ],
)
def test_what_it_can_not_serve_is_refused_with_what_it_can(names: list[str], problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem):
        served(names)


def test_an_event_that_is_named_twice_is_served_once() -> None:
    assert served([ORDER.name, ORDER.name]) == [ORDER]


def test_an_ingress_topic_keeps_records_for_as_long_as_the_contract_says_by_the_brokers_clock() -> None:
    config = topic_config(ORDER)
    assert (config["retention.ms"], config["message.timestamp.type"]) == ("604800000", "LogAppendTime")
    assert int(config["max.message.bytes"]) > 1_000_000  # librdkafka's batches


def test_what_came_by_an_ingress_topic_was_meant_for_the_clean_one() -> None:
    assert catalogue.meant_for("ingress.sales.order_placed.v1") == "sales.order_placed.v1"
    assert catalogue.meant_for("ingress.snowplow") == "ingress.snowplow"
    assert catalogue.meant_for("sales.order_placed.v1") == "sales.order_placed.v1"


def test_no_event_with_encrypted_fields_may_come_from_others() -> None:
    kinds = [field["type"] for each in catalogue.avro_events() if each.ingress_days for field in each.schema["fields"]]
    assert not any(kind in ("bytes", ["null", "bytes"]) for kind in kinds)


def test_the_stack_runs_it_if_it_is_told_for_which_events(tmp_path: Path) -> None:
    def parts(**settings: str) -> dict[str, Part]:
        found = daemons(Settings(home=tmp_path / "home", **settings), UpPlan())  # type: ignore[arg-type]
        return {part.name: part for part in found}

    assert "gate" not in parts()
    gate = parts(gate_events="sales.order_placed")["gate"]
    assert gate.command[-2:] == ["--events", "sales.order_placed"]
    assert gate.endpoint == "http://127.0.0.1:19408/metrics"


class Sink(BaseSink):
    def add(self, *_: Any, **__: Any) -> None: ...

    def flush(self) -> None: ...


@pytest.fixture
def this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run of the gate on librdkafka's broker in memory, which does not describe topics."""
    broker = Producer({"bootstrap.servers": "nowhere:1", "test.mock.num.brokers": 1})
    (node,) = broker.list_topics(timeout=10).brokers.values()
    broker.list_topics(ORDER.ingress, timeout=10)
    known = TopicConfig(num_partitions=4, replication_factor=1, extra_config={})
    monkeypatch.setattr(TopicAdmin, "inspect_topics", lambda _, topics, timeout=None: dict.fromkeys(topics, known))
    yield cast(
        Run, SimpleNamespace(options=Options(kafka=Kafka(f"{node.host}:{node.port}"), state=tmp_path), stop=Stop())
    )
    del broker


@pytest.mark.timeout(60)
def test_a_stop_that_is_asked_for_before_it_reads_is_heard(this: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(this, [ORDER.ingress], Sink())
    asked, stop = threading.Event(), app.stop

    def noted(fail: bool = False) -> None:
        stop(fail)
        asked.set()

    monkeypatch.setattr(app, "stop", noted)
    this.stop.request()
    with _stopping(this, app):
        assert asked.wait(30)  # quixstreams forgets that when it runs
        app.run()


@pytest.mark.timeout(60)
def test_when_partitions_are_given_to_it_it_is_told(this: Run) -> None:
    app = application(this, [ORDER.ingress], Sink())
    app.assigned = this.stop.request
    with _stopping(this, app):
        app.run()


class Admin:
    """Kafka with an ingress topic that somebody else made."""

    def __init__(self, clock: str) -> None:
        self._clock = clock

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={ORDER.ingress: None})

    def describe_configs(self, asked: list[Any], request_timeout: float) -> dict[Any, Future[Any]]:
        answer: Future[Any] = Future()
        answer.set_result({"message.timestamp.type": SimpleNamespace(value=self._clock)})
        return dict.fromkeys(asked, answer)


def test_an_ingress_topic_that_dates_records_by_their_senders_clocks_is_refused_with_what_to_do() -> None:
    with pytest.raises(Misconfigured, match=rf"{ORDER.ingress} --add-config message.timestamp.type=LogAppendTime"):
        create_topics(Kafka("nowhere:1"), [ORDER], cast(Any, Admin("CreateTime")))
    create_topics(Kafka("nowhere:1"), [ORDER], cast(Any, Admin("LogAppendTime")))
