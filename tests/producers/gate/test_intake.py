"""Every record becomes one event or one dead letter, whatever comes and whoever is away. Without servers."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.gate import letters
from producers.gate.intake import Intake
from producers.gate.letters import SentLetters, place_in
from producers.persons.letters import Letters
from producers.runner import Run
from schemas.errors import RegistryUnavailable, Retryable
from schemas.kafka import Kafka
from tests.producers.gate.in_memory import Hub, NeverAsked, hand
from tests.producers.gate.records import OLDER, OLDER_ID, ORDER, Known, checker, in_avro, in_json, message, order, typed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([field["name"] for field in ORDER.schema["fields"]])
ORDERS = st.dictionaries(FIELDS, JSON, max_size=3).map(lambda odd: json.dumps(order(**odd)).encode())
WHOLE = [in_json(order()), in_avro(typed()), in_avro(typed(), OLDER_ID, OLDER)]


@st.composite
def damaged(draw: Any) -> bytes:
    """A whole record with a piece of it replaced."""
    value = draw(st.sampled_from(WHOLE))
    start = draw(st.integers(0, len(value)))
    return bytes(value[:start] + draw(st.binary(max_size=8)) + value[start + draw(st.integers(0, 8)) :])


ANYTHING = st.none() | st.binary(max_size=64) | JSON.map(lambda v: json.dumps(v).encode()) | ORDERS | damaged()


@pytest.mark.fuzz
@given(st.lists(st.tuples(ANYTHING, st.none() | st.binary(max_size=4) | st.just(b"C1")), max_size=8))
def test_whatever_comes_is_one_event_or_one_letter_with_its_bytes(
    records: list[tuple[bytes | None, bytes | None]],
) -> None:
    hub = Hub()
    intake = hub.intake()
    for offset, (value, key) in enumerate(records):
        before = len(hub.events), len(hub.letters)
        hand(intake, offset, value, key)
        assert sorted((len(hub.events) - before[0], len(hub.letters) - before[1])) == [0, 1]
        if len(hub.letters) > before[1]:
            original, error, origin = hub.letters[-1]
            assert (original, origin["offset"]) == (value or b"", str(offset))
            assert str(error)


def test_while_the_registry_is_away_it_waits_and_no_record_is_a_dead_letter() -> None:
    class Away(Known):
        def schema_text(self, schema_id: int) -> str:
            if len(self.asked) < 3:
                self.asked.append(schema_id)
                raise RegistryUnavailable("away")
            return super().schema_text(schema_id)

    hub = Hub(lookup=Away())
    hand(hub.intake(), 0, in_avro(typed()))
    assert (len(hub.events), hub.letters, hub.stop.waits) == (1, [], 3)


def test_while_kafka_is_away_a_flush_waits_and_one_that_is_asked_to_stop_ends_without_having_committed() -> None:
    hub = Hub(away=3)
    intake = hub.intake()
    intake.flush()
    assert hub.away == 0
    hub = Hub(away=3, stop=NeverAsked(asked_after=2))
    with pytest.raises(Retryable):
        hub.intake().flush()


def test_a_record_that_has_a_letter_gets_no_second_one_and_the_log_is_read_once_for_each_reader() -> None:
    hub = Hub(known_letters={7})
    intake = hub.intake()
    for offset in (7, 8, 9):
        hand(intake, offset, b"<")
    assert [origin["offset"] for _, _, origin in hub.letters] == ["8", "9"]
    assert hub.catch_ups == 1
    hand(intake, 20, b"<")  # somebody else read up to here
    assert hub.catch_ups == 2


class Letter:
    """A record of the dead-letter topic."""

    def __init__(self, offset: int, headers: dict[str, str]) -> None:
        self._offset = offset
        self._headers = headers

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def headers(self) -> list[tuple[str, bytes]]:
        return [(f"__connect.errors.{name}", text.encode()) for name, text in self._headers.items()]


class Topic:
    """The dead-letter topic, of which every letter was sent long ago. ``read`` are the offsets that were read.

    ``at`` is what the gates committed, of every partition.
    """

    def __init__(self, letters: list[dict[str, str]], at: int = 0) -> None:
        self.letters = letters
        self.at = at
        self.read: list[int] = []
        self._at = 0

    def offsets_for_times(self, asked: list[Any], timeout: float) -> list[Any]:
        asked[0].offset = 0
        return asked

    def committed(self, asked: list[Any], timeout: float) -> list[Any]:
        asked[0].offset = self.at
        return asked

    def get_watermark_offsets(self, _: Any, timeout: float) -> tuple[int, int]:
        return 0, len(self.letters)

    def assign(self, asked: list[Any]) -> None:
        self._at = asked[0].offset

    def consume(self, most: int, timeout: float) -> list[Letter]:
        found = [Letter(n, self.letters[n]) for n in range(self._at, min(len(self.letters), self._at + most))]
        self._at += len(found)
        self.read += [each.offset() for each in found]
        return found

    def close(self) -> None: ...

    def poll(self, timeout: float) -> None: ...


def test_of_the_letters_on_the_log_each_is_read_once_and_those_of_others_are_none_of_the_gates() -> None:
    record = message(b"<")
    mine = {"topic": ORDER.ingress, "partition": "0", "offset": "7", "connector.name": "insights-gate"}
    mine |= {"record.timestamp": str(record.at_ms)}
    topic = Topic([{"topic": ORDER.topic}, mine, {**mine, "offset": "8", "record.timestamp": "1"}])
    sent = SentLetters(Kafka("nowhere:1"), open_consumer=lambda _: topic)
    sent.catch_up(record, {(ORDER.ingress, 0): 7})
    assert sent.has(record)
    assert not sent.has(message(b"<", offset=8))  # that one is of another topic by the same name
    sent.catch_up(record, {})
    assert topic.read == [0, 1, 2]


def letters_of(*offsets: int, partition: int = 0) -> list[dict[str, str]]:
    headers = {"topic": ORDER.ingress, "partition": str(partition), "connector.name": "insights-gate"}
    return [{**headers, "offset": str(n), "record.timestamp": str(message(b"<").at_ms)} for n in offsets]


def test_of_partitions_that_are_not_read_yet_it_keeps_the_letters_of_what_is_not_committed_and_no_more_than_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic(letters_of(*range(5_000), partition=1) + letters_of(3, 7), at=4_990)
    sent = SentLetters(Kafka("nowhere:1"), open_consumer=lambda _: topic)
    sent.catch_up(message(b"<"), {(ORDER.ingress, 0): 7})
    assert sorted(offset for _, _, offset, _ in sent._found) == [7, *range(4_990, 5_000)]
    monkeypatch.setattr(letters, "MOST_FOUND", 3)
    sent = SentLetters(Kafka("nowhere:1"), open_consumer=lambda _: topic)
    sent.catch_up(message(b"<"), {(ORDER.ingress, 0): 7})
    assert len(sent._found) == 3


def test_a_gate_that_reads_letters_hears_that_it_should_stop() -> None:
    topic = Topic(letters_of(*range(5_000)))
    sent = SentLetters(Kafka("nowhere:1"), lambda: len(topic.read) >= 2_000, lambda _: topic)
    with pytest.raises(Retryable, match="told to stop at dead letter 2000 of 5000"):
        sent.catch_up(message(b"<"), {})


def test_a_gate_that_is_given_a_partition_back_knows_the_letters_that_another_sent_meanwhile() -> None:
    hub, topic = Hub(), Topic([])

    class Sends:
        def send(self, *_: Any, origin: dict[str, str], **__: Any) -> None:
            topic.letters.append(origin)

    def gate() -> Intake:
        sent = SentLetters(Kafka("nowhere:1"), open_consumer=lambda _: topic)
        checkers = {ORDER.ingress: (ORDER, checker())}
        return Intake(cast(Run, hub), checkers, cast(Letters, Sends()), sent)

    first, second = gate(), gate()
    first.assigned()
    hand(first, 0, b"<")  # and is committed
    second.assigned()
    for offset in (1, 2):
        hand(second, offset, b"<")  # which dies before it commits them
    first.assigned()
    for offset in (1, 2, 3):
        hand(first, offset, b"<")
    assert [each["offset"] for each in topic.letters] == ["0", "1", "2", "3"]


def test_a_letter_whose_place_is_no_place_is_left_out() -> None:
    assert place_in([("__connect.errors.connector.name", b"insights-gate"), ("__connect.errors.offset", b"x")]) is None
    assert place_in(None) is None
