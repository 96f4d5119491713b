"""The contracts have only what every part of the system can handle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.binary import PRIMITIVES
from schemas.catalogue import HERE, Event, avro_events, event, events, parse_event
from schemas.errors import Misconfigured
from tests.schemas.thing_happened import THING_HAPPENED, of

FILES = [pytest.param(path, id=path.stem) for path in sorted(HERE.glob("*.avsc"))]
CONTRACTS = [pytest.param(e, id=e.name) for e in events()]
AVRO_CONTRACTS = [pytest.param(e, id=e.name) for e in avro_events()]
ENVELOPE = {
    "event_id": "string",
    "occurred_at": {"type": "long", "logicalType": "timestamp-millis"},
    "source": "string",
    "trace": ["null", "string"],
}
LOGICAL = {"timestamp-millis": "long", "date": "int", "decimal": "bytes"}
COLUMN = re.compile(r"[a-z][a-z0-9_]*")
IN_THE_LAKE_BESIDE = {"kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_headers", "schema_id", "headers"}


@pytest.mark.parametrize("path", FILES)
def test_a_contracts_file_is_called_as_its_topic_without_the_version(path: Path) -> None:
    topic = json.loads(path.read_text())["topic"]
    assert re.fullmatch(re.escape(path.stem) + r"\.v[1-9][0-9]*", topic)


@pytest.mark.parametrize("contract", AVRO_CONTRACTS)
def test_a_contract_begins_with_the_envelope(contract: Event) -> None:
    fields = contract.avro_schema["fields"][: len(ENVELOPE)]
    assert {field["name"]: field["type"] for field in fields} == ENVELOPE


@pytest.mark.parametrize("contract", AVRO_CONTRACTS)
def test_a_contracts_key_is_a_text_that_is_always_there(contract: Event) -> None:
    (kind,) = [field["type"] for field in contract.avro_schema["fields"] if field["name"] == contract.key]
    assert kind == "string"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_contract_uses_only_what_codec_flink_and_lake_know(contract: Event) -> None:
    problems = list(unsupported(contract.avro_schema, contract.name))
    assert problems == []


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_field_of_a_contract_has_a_description(contract: Event) -> None:
    silent = [field["name"] for field in contract.avro_schema["fields"] if not field.get("doc", "").strip()]
    assert silent == []
    assert contract.schema["doc"]


def test_topics_tables_and_records_have_distinct_names() -> None:
    for names in ([e.topic for e in events()], [e.table for e in events()], [e.schema["name"] for e in events()]):
        assert len(names) == len(set(names))


def unsupported(schema: Any, path: str) -> Iterator[str]:
    """What one of the parts does not know, each with its place."""
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null" or isinstance(schema[1], list):
            yield f'{path}: a union is ["null", T] and nothing else'
        else:
            yield from unsupported(schema[1], path)
        return
    kind = schema["type"] if isinstance(schema, dict) else schema
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    if logical and LOGICAL.get(logical) != kind:
        yield f"{path}: {logical} of {kind}"
    elif kind == "record":
        yield from unsupported_fields(schema, path)
    elif kind == "array":
        yield from unsupported(schema["items"], f"{path}[]")
    elif kind == "map":
        yield from unsupported(schema["values"], f"{path}{{}}")
    elif kind == "enum":
        if "default" not in schema:
            yield f"{path}: an enum without a default can never gain a symbol"
    elif kind not in PRIMITIVES:
        yield f"{path}: {kind}"


def unsupported_fields(record: Any, path: str) -> Iterator[str]:
    for field in record["fields"]:
        where = f"{path}.{field['name']}"
        if not COLUMN.fullmatch(field["name"]) or field["name"] in IN_THE_LAKE_BESIDE:
            yield f"{where}: not a name for a column"
        if isinstance(field["type"], list) and field.get("default", "") is not None:
            yield f"{where}: nullable without default null"
        yield from unsupported(field["type"], where)


@pytest.mark.parametrize(
    ("avro", "problem"),
    [
        (["string", "null"], 'a union is ["null", T]'),
        (["null", "string", "int"], 'a union is ["null", T]'),
        ("OrderLine", ": OrderLine"),
        ({"type": "fixed", "name": "F", "size": 2}, ": fixed"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "timestamp-micros of long"),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, "can never gain a symbol"),
        ({"type": "array", "items": "null"}, "[]: null"),
    ],
)
def test_this_check_finds_what_is_not_supported(avro: Any, problem: str) -> None:
    (found,) = unsupported(avro, "somewhere")
    assert problem in found


def without(attribute: str) -> str:
    return json.dumps({name: value for name, value in THING_HAPPENED.items() if name != attribute})


@pytest.mark.parametrize("attribute", ["key", "partitions", "retention_days", "cleanup", "max_bytes"])
def test_a_contract_that_lacks_an_attribute_is_refused_by_its_name(attribute: str) -> None:
    with pytest.raises(Misconfigured, match=f"thing.avsc: the contract has no attribute '{attribute}'"):
        parse_event(without(attribute), "thing.avsc")


@pytest.mark.parametrize("topic", ["thing_happened.v1", "tests.thing_happened", "tests.thing.happened.v1", "a.b.v1x"])
def test_a_topic_that_is_not_called_as_topics_are_is_refused(topic: str) -> None:
    with pytest.raises(Misconfigured, match=r"is not <domain>.<event>.v<major>"):
        parse_event(json.dumps({**THING_HAPPENED, "topic": topic}), "thing.avsc")


def test_what_is_not_json_is_refused_by_its_name() -> None:
    with pytest.raises(Misconfigured, match="thing.avsc: not JSON"):
        parse_event("{", "thing.avsc")


def test_an_unknown_contract_is_answered_with_those_there_are() -> None:
    with pytest.raises(Misconfigured, match="no contract 'sales.order_plced'.*sales.order_placed"):
        event("sales.order_plced")


def test_what_is_registered_holds_none_of_our_own_attributes() -> None:
    registered = json.loads(of(THING_HAPPENED).schema_text)
    assert set(registered) == {"type", "name", "namespace", "doc", "fields"}


def test_what_is_kept_for_ever_is_kept_for_ever_in_kafka_too() -> None:
    assert of(THING_HAPPENED).topic_config["retention.ms"] == "86400000"
    assert of({**THING_HAPPENED, "retention_days": None}).topic_config["retention.ms"] == "-1"
