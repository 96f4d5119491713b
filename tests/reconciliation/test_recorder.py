"""The log's counts, copied to Postgres: against a real log."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from insights.settings import Settings
from insights.status import status
from insights.wiring import deployment
from reconciliation.dead_letters import DeadLetters
from reconciliation.recorder import ReconciliationRecorder
from schemas.catalogue import event, events
from schemas.kafka import Kafka
from schemas.quoted import without_values
from warehouse.postgres import Connection

LETTERS = event("ops.dead_letter").topic
EDITS = event("public.wiki_edited").topic
SECRET = "ada@example.org"
HEADERS = {
    "topic": EDITS,
    "exception.class.name": "schemas.errors.ContractBroken",
    "exception.message": f"public.wiki_edited: field page is {SECRET!r}, which is not a record",
}


def dead_letter(stack: Settings, **more: str) -> None:
    producer = Producer({**stack.kafka.librdkafka})
    headers = [(f"__connect.errors.{name}", text.encode()) for name, text in {**HEADERS, **more}.items()]
    producer.produce(LETTERS, value=SECRET.encode(), key=SECRET.encode(), headers=headers)
    assert producer.flush(30) == 0


def letters_end(stack: Settings) -> int:
    end = status(stack).topics[LETTERS].published
    assert end
    return end


def rows(stack: Settings, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.postgres_dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


@pytest.fixture
def recorder(stack: Settings) -> ReconciliationRecorder:
    return ReconciliationRecorder(deployment(stack))


def test_every_dead_letter_is_copied_once_however_often_it_is_looked(
    stack: Settings, recorder: ReconciliationRecorder
) -> None:
    for _ in range(3):
        dead_letter(stack)
        recorder.step()
        recorder.step()
    offsets = [offset for (offset,) in rows(stack, "select kafka_offset from ops.dead_letters order by kafka_offset")]
    assert offsets == list(range(letters_end(stack)))


def test_a_copy_has_reason_and_place_and_no_contents_of_the_letter(
    stack: Settings, recorder: ReconciliationRecorder
) -> None:
    dead_letter(stack, partition="1", offset="42")
    recorder.step()
    *_, newest = rows(stack, "select d.*, d::text from ops.dead_letters as d order by kafka_offset")
    assert newest[3:8] == (
        *(EDITS, "schemas.errors.ContractBroken"),
        *("public.wiki_edited: field page is …, which is not a record", 1, 42),
    )
    assert SECRET not in newest[-1]


def test_each_topics_sum_is_kept_as_status_shows_it(stack: Settings, recorder: ReconciliationRecorder) -> None:
    dead_letter(stack)
    recorder.step()
    kept = rows(stack, "select topic, published, counted, duplicate, late, dead from ops.log_counts")
    shown = status(stack).topics
    assert {e.topic for e in events()} == {topic for topic, *_ in kept}
    assert kept
    for topic, *numbers in kept:
        counts = shown[topic]
        assert numbers == [counts.published, counts.counted, counts.duplicate, counts.late, counts.dead]


OTHER_LOGS = {
    "shorter than what was copied": "insert into ops.dead_letters values (0, %s + 1000, now(), 't', 'e', 'r')",
    "as long, with other letters": "update ops.dead_letters set topic = 'other' where kafka_offset = %s - 1",
}


@pytest.mark.parametrize("statement", OTHER_LOGS.values(), ids=OTHER_LOGS)
def test_letters_of_a_log_that_was_there_before_go(
    stack: Settings, recorder: ReconciliationRecorder, statement: str
) -> None:
    dead_letter(stack)
    recorder.step()
    before = letters(stack)
    with psycopg.connect(stack.postgres_dsn) as connection:
        change(connection, statement, letters_end(stack))
    recorder.step()
    assert letters(stack) == before


def letters(stack: Settings) -> list[tuple[Any, ...]]:
    return rows(stack, "select * from ops.dead_letters order by kafka_offset")


def change(connection: Connection, statement: str, end: int) -> None:
    assert connection.execute(statement, (end,)).rowcount == 1  # type: ignore[arg-type]


def test_dead_letters_that_were_counted_are_not_read_again(stack: Settings, tmp_path: Path) -> None:
    dead_letter(stack)
    end = letters_end(stack)
    counted = DeadLetters(stack.kafka, tmp_path / "memory.json").count(end)
    nowhere = DeadLetters(Kafka("127.0.0.1:1"), tmp_path / "memory.json")
    assert nowhere.count(end) == counted


def test_dead_letters_of_a_recreated_log_are_counted_from_zero(stack: Settings, tmp_path: Path) -> None:
    dead_letter(stack)
    end = letters_end(stack)
    memory = tmp_path / "memory.json"
    memory.write_text(json.dumps({"offset": end + 1_000, "counts": {str(uuid.uuid4()): 1_000}}))
    assert sum(DeadLetters(stack.kafka, memory).count(end).values()) == end


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("field page is 'it\\'s \"me\"', which is not a string", "field page is …, which is not a string"),
        ("field name is \"it's\", which can't be", "field name is …, which can't be"),
        ("it can't be 'me', can't it", "it can't be …, can't it"),
        ("field lines[2].quantity is b'x'", "field lines[…].quantity is …"),
        ("is 2026-11-24T10:00:00+00:00, more than 1 h ahead", "is … more than … h ahead"),
        ("has U+0000 as its character 3", "has U+… as its character …"),
        ("an order of C00000001", "an order of C00000001"),
    ],
)
def test_a_reason_quotes_no_value(message: str, reason: str) -> None:
    assert without_values(message) == reason
