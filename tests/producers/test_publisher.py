"""The one way onto the log, on a real Kafka and a real registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from producers import withdrawn
from producers.metrics import PublisherMetrics
from producers.publisher import DeliveryFailed, Publisher
from schemas import catalogue
from schemas.catalogue import Event
from schemas.codec import Decoder
from schemas.errors import BrokerUnavailable, ContractBroken, EventTooLarge
from schemas.kafka import Kafka
from schemas.registry import Registry

ORDER_PLACED = catalogue.event("sales.order_placed")
MOVED = catalogue.event("inventory.stock_moved")
LETTERS = catalogue.event("ops.dead_letter")
# A year before everything else in the tests: no table of theirs shows it.
AT = datetime(2025, 3, 1, 12, tzinfo=UTC)


def move(product: str = "P1", **changes: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid4()),
        "occurred_at": AT,
        "source": "test",
        "trace": None,
        "product_id": product,
        "delta": -1,
        "reason": "sale",
        "warehouse": "W",
        "order_id": None,
        **changes,
    }


@pytest.fixture
def open_publisher(stack: Any) -> Iterator[Callable[..., Publisher]]:
    def opened(kafka: Kafka = stack.kafka, **settings: Any) -> Publisher:
        return Publisher(
            kafka,
            Registry(stack.registry_url),
            client_id="test",
            settings={key.replace("_", "."): value for key, value in settings.items()},
        )

    return opened


class Numbered:
    """Schema ids without a registry."""

    def register(self, event: Event) -> int:
        return 1


class Clock:
    """Shows a time until it is set to another."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at.timestamp()


def timed_publisher(clock: Clock) -> Publisher:
    """A publisher by that clock; no Kafka answers it."""
    return Publisher(Kafka("127.0.0.1:9"), Numbered(), client_id="test", clock=clock)


def metrics_of(publisher: Publisher) -> dict[str, float]:
    """{metric with its labels: value}"""
    registry = CollectorRegistry()
    registry.register(PublisherMetrics(publisher, "test"))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_an_event_arrives_whole_under_its_key_with_its_schema_id_in_value_and_header(
    open_publisher: Callable[..., Publisher], log_of: Callable[..., Any], stack: Any
) -> None:
    log, publisher, record = log_of(MOVED), open_publisher(), move("Pé")
    before = time.time()
    publisher.publish(MOVED, record)
    publisher.flush()
    (message,) = log.messages(MOVED.topic)
    schema_id, decoded = Decoder(Registry(stack.registry_url)).decode(message.value())
    assert decoded == record
    assert message.key() == "Pé".encode()
    assert message.headers() == [("schema_id", str(schema_id).encode())]
    assert schema_id == Registry(stack.registry_url).schema_id(MOVED)
    assert message.timestamp()[1] >= int(before * 1000)  # when it was published, not when it happened


def test_an_event_that_breaks_its_contract_is_refused_by_the_field_and_nothing_arrives(
    open_publisher: Callable[..., Publisher], log_of: Callable[..., Any]
) -> None:
    log, publisher = log_of(MOVED), open_publisher()
    with pytest.raises(ContractBroken, match=r"inventory\.stock_moved: field delta is '1'") as refused:
        publisher.publish(MOVED, move(delta="1"))
    publisher.flush()
    assert refused.value.field == "delta"
    assert log.messages(MOVED.topic) == []
    assert publisher.counts[MOVED.topic].refused == 1


def test_an_event_past_its_topics_limit_is_refused_and_counted_and_the_next_one_arrives(
    open_publisher: Callable[..., Publisher], log_of: Callable[..., Any]
) -> None:
    log, publisher = log_of(MOVED), open_publisher()
    with pytest.raises(EventTooLarge):
        publisher.publish(MOVED, move(warehouse="W" * 70_000))
    publisher.publish(MOVED, move(warehouse="W" * 60_000))
    publisher.flush()
    assert len(log.messages(MOVED.topic)) == 1
    assert publisher.counts[MOVED.topic].too_large == 1


def test_an_event_more_than_an_hour_ahead_of_the_clock_is_refused_and_counted_as_such() -> None:
    publisher = timed_publisher(Clock(AT))
    publisher.publish(MOVED, move(occurred_at=AT + timedelta(hours=1)))
    says = (
        r"inventory\.stock_moved: field occurred_at is 2025-03-01T13:00:00\.001000\+00:00, more than 1 h ahead of"
        r" this machine's clock \('2025-03-01T12:00:00\+00:00'\): .* Correct the time or the clock; the event was not"
        r" published"
    )
    with pytest.raises(ContractBroken, match=says) as refused:
        publisher.publish(MOVED, move(occurred_at=AT + timedelta(hours=1, milliseconds=1)))
    assert refused.value.field == "occurred_at"
    found = metrics_of(publisher)
    labels = f'{{source="test",topic="{MOVED.topic}"}}'
    assert found[f"insights_producer_published_total{labels}"] == 1
    assert found[f"insights_producer_refused_total{labels}"] == 1


def test_an_order_that_is_paid_more_than_an_hour_ahead_of_the_clock_is_refused_by_that_field() -> None:
    """By payment date, it would count then."""
    publisher = timed_publisher(Clock(AT))
    placed = {"event_id": "E", "occurred_at": AT, "source": "test", "trace": None, "version": 1}
    order = {**placed, **withdrawn.order(dict.fromkeys(withdrawn.HEAD, "EUR")), "is_cancelled": False}
    for paid_at in (None, AT, AT + timedelta(hours=1)):
        publisher.publish(ORDER_PLACED, {**order, "paid_at": paid_at})
    says = r"field paid_at is 2099-03-01T12:00:00\+00:00, more than 1 h ahead of .*: it would count in the future"
    with pytest.raises(ContractBroken, match=says) as refused:
        publisher.publish(ORDER_PLACED, {**order, "paid_at": AT.replace(year=2099)})
    assert refused.value.field == "paid_at"
    counts = publisher.counts[ORDER_PLACED.topic]
    assert (counts.accepted, counts.refused) == (3, 1)


@pytest.mark.parametrize("years", [1, 7973])
def test_no_time_is_too_far_ahead_to_be_refused(years: int) -> None:
    publisher = timed_publisher(Clock(AT))
    with pytest.raises(ContractBroken):
        publisher.publish(MOVED, move(occurred_at=AT.replace(year=AT.year + years)))


def test_an_event_that_was_ahead_of_the_clock_is_taken_when_its_time_is_near() -> None:
    clock = Clock(AT)
    publisher = timed_publisher(clock)
    early = move(occurred_at=AT + timedelta(hours=3))
    with pytest.raises(ContractBroken):
        publisher.publish(MOVED, early)
    clock.at += timedelta(hours=2)
    publisher.publish(MOVED, early)
    assert publisher.counts[MOVED.topic].accepted == 1


def test_a_clock_that_was_wrong_and_is_set_back_is_believed_from_the_next_poll_on() -> None:
    clock = Clock(AT + timedelta(days=365))
    publisher = timed_publisher(clock)
    wrong = move(occurred_at=clock.at)
    publisher.publish(MOVED, wrong)
    clock.at = AT
    publisher.poll()
    with pytest.raises(ContractBroken):
        publisher.publish(MOVED, wrong)


def test_a_full_queue_holds_the_source_back_and_loses_nothing(
    open_publisher: Callable[..., Publisher], log_of: Callable[..., Any]
) -> None:
    log, publisher = log_of(MOVED), open_publisher(queue_buffering_max_messages=20)
    sent = [move(f"P{n % 7}", delta=n) for n in range(3000)]
    for record in sent:
        publisher.publish(MOVED, record)
    publisher.flush()
    arrived = log.records(MOVED.topic)
    for product in {record["product_id"] for record in sent}:
        deltas = [record["delta"] for record in arrived if record["product_id"] == product]
        assert deltas == [record["delta"] for record in sent if record["product_id"] == product]


def test_bytes_that_are_no_event_become_a_dead_letter_unchanged_with_the_reason(
    open_publisher: Callable[..., Publisher], log_of: Callable[..., Any]
) -> None:
    log, publisher = log_of(LETTERS), open_publisher()
    error = ContractBroken(MOVED.name, "delta", "is missing")
    publisher.dead_letter(
        MOVED, b"\xff\x00rubbish", key=b"k", error=error, stage="VALUE_CONVERTER", origin={"file": "a.csv", "line": "7"}
    )
    publisher.flush()
    (message,) = log.messages(LETTERS.topic)
    headers = {name.removeprefix("__connect.errors."): value.decode() for name, value in message.headers()}
    assert (message.value(), message.key()) == (b"\xff\x00rubbish", b"k")
    assert headers["topic"] == MOVED.topic
    assert headers["exception.class.name"] == "schemas.errors.ContractBroken"
    assert "field delta is missing" in headers["exception.message"]
    assert (headers["stage"], headers["file"], headers["line"]) == ("VALUE_CONVERTER", "a.csv", "7")


def test_bytes_too_many_for_a_dead_letter_are_truncated_with_their_original_length(
    open_publisher: Callable[..., Publisher], log_of: Callable[..., Any]
) -> None:
    log, publisher = log_of(LETTERS), open_publisher()
    error = ValueError("\ud800" * 10_000)  # a message may quote anything
    publisher.dead_letter(MOVED, b"x" * 3_000_000, key=None, error=error, stage="VALUE_CONVERTER")
    publisher.flush()
    (message,) = log.messages(LETTERS.topic)
    assert message.value() == b"x" * LETTERS.max_bytes
    assert dict(message.headers())["__connect.errors.truncated.from"] == b"3000000"


def test_a_broker_that_does_not_answer_is_named_when_the_deadline_is_over(
    open_publisher: Callable[..., Publisher],
) -> None:
    publisher = open_publisher(Kafka("127.0.0.1:9"))
    publisher.publish(MOVED, move())
    with pytest.raises(BrokerUnavailable, match=r"1 event was not acknowledged by Kafka at 127\.0\.0\.1:9"):
        publisher.flush(1)


def test_an_event_that_kafka_will_never_take_stops_the_source_instead_of_being_lost(
    open_publisher: Callable[..., Publisher],
) -> None:
    publisher = open_publisher(Kafka("127.0.0.1:9"), message_timeout_ms=500)
    publisher.publish(MOVED, move())
    with pytest.raises(DeliveryFailed, match=rf"rejected events \({MOVED.topic}"):
        publisher.flush(20)
    with pytest.raises(DeliveryFailed):
        publisher.poll()
    assert publisher.counts[MOVED.topic].failed == 1


def test_prometheus_gets_what_became_of_the_events_by_topic(open_publisher: Callable[..., Publisher]) -> None:
    publisher = open_publisher()
    for _ in range(3):
        publisher.publish(MOVED, move())
    with pytest.raises(ContractBroken):
        publisher.publish(MOVED, {})
    publisher.dead_letter(MOVED, b"x", key=None, error=ValueError("no"), stage="VALUE_CONVERTER")
    publisher.flush()
    found = metrics_of(publisher)
    labels = f'{{source="test",topic="{MOVED.topic}"}}'
    assert found[f"insights_producer_published_total{labels}"] == 3
    assert found[f"insights_producer_refused_total{labels}"] == 1
    assert found[f"insights_producer_failed_total{labels}"] == 0
    assert found[f"insights_producer_bytes_total{labels}"] == publisher.counts[MOVED.topic].bytes > 100
    assert found['insights_producer_dead_total{source="test"}'] == 1
    assert found['insights_producer_queue{source="test"}'] == 0


def test_an_observation_with_variants_is_counted_by_the_live_job(
    open_publisher: Callable[..., Publisher], stack: Any, until: Callable[..., Any]
) -> None:
    publisher, observed = open_publisher(), catalogue.event("catalog.product_observed")
    now = datetime.now(UTC).replace(microsecond=0)
    variant = dict.fromkeys(("sku", "name", "list_price", "url")) | {
        "price": Decimal("40.00"),
        "currency": "EUR",
        "availability": "in_stock",
    }
    record = {
        **{name: str(uuid4()) for name in ("event_id", "product_id", "content_hash")},
        **dict.fromkeys(("trace", "sku", "brand", "list_price", "previous_price", "stock_quantity")),
        **dict.fromkeys(("source", "shop", "name", "description", "url"), "test"),
        **{"occurred_at": now, "price": Decimal("40.00"), "currency": "EUR", "availability": "in_stock"},
        **{"category_path": [], "image_urls": [], "specs": {}, "variants": [variant, variant | {"price": None}]},
    }
    publisher.publish(observed, record)
    publisher.flush()
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        asked = "select price from events.product_observations where event_id = %s"
        row = until(lambda: connection.execute(asked, (record["event_id"],)).fetchone(), seconds=120)
    assert row == (Decimal("40.00"),)
