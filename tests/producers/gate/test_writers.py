"""Schemas of strangers: which can be read as the contract, and what reading them may cost."""

from __future__ import annotations

from typing import Any

import pytest

from producers.gate.writers import MOST_UNKNOWN, Sparing, UnknownSchema, UnreadableAvro, Writers, hazard
from schemas.catalogue import event
from schemas.errors import PoisonEvent, RegistryUnavailable
from tests.producers.gate.records import OLDER_ID, ORDER, Known, in_avro, typed


def recursive(name: str) -> dict[str, Any]:
    return {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", name]}]}


NODE = recursive("Node")
EMPTY = {"type": "record", "name": "Empty", "fields": [{"name": "a", "type": "null"}]}


def with_field(kind: Any) -> dict[str, Any]:
    field = {"name": "more", "type": kind}
    return {**ORDER.avro_schema, "fields": [*ORDER.avro_schema["fields"], field]}


def doubled(times: int) -> dict[str, Any]:
    """A record that is in the next twice, and so on: a few bytes for each of them, and 2 ** times values."""
    fields: list[dict[str, Any]] = [{"name": "x", "type": "int"}]
    kinds = []
    for number in range(times):
        kinds.append({"type": "record", "name": f"A{number}", "fields": fields})
        fields = [{"name": "x", "type": f"A{number}"}, {"name": "y", "type": f"A{number}"}]
    return {"type": "record", "name": "All", "fields": [{"name": each["name"], "type": each} for each in kinds]}


def nested(times: int) -> Any:
    return {"type": "array", "items": nested(times - 1)} if times else "int"


def changed(name: str, kind: Any) -> dict[str, Any]:
    fields = [{**each, "type": kind} if each["name"] == name else each for each in ORDER.avro_schema["fields"]]
    return {**ORDER.avro_schema, "fields": fields}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (with_field(NODE), "Node is made of itself"),
        (with_field({"type": "array", "items": "null"}), "values take no bytes"),
        (with_field({"type": "array", "items": EMPTY}), "values take no bytes"),
        (with_field({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}), "values take no bytes"),
        (with_field({"type": "array", "items": {"type": "fixed", "name": "F", "size": -1}}), "values take no bytes"),
        (with_field({"type": "array", "items": "float"}), "array of nothing but boolean, float"),
        (with_field({"type": "array", "items": "boolean"}), "array of nothing but boolean, float"),
        (with_field({"type": "array", "items": {"type": "double"}}), "array of nothing but boolean, float"),
        (with_field({"type": "array", "items": {"type": "fixed", "name": "F", "size": 9}}), "array of nothing but"),
        (with_field(["null", {"type": "map", "values": NODE}]), "made of itself"),
        (with_field({**NODE, "name": "x.Node"}), "x.Node is made of itself"),
        (with_field({**NODE, "type": "error"}), "Node is made of itself"),
        (with_field(recursive("insights.sales.Node")), "Node is made of itself"),
        (
            {**with_field(recursive("insights.sales.Node")), "__fastavro_parsed": True, "__named_schemas": {}},
            "Node is made of itself",
        ),
        (with_field(doubled(40)), "more than 1,000 types"),
        (with_field(nested(100)), "nested more than 64 levels"),
        ({**ORDER.avro_schema, "name": "Another"}, "Another"),
        ({**ORDER.avro_schema, "fields": ORDER.avro_schema["fields"][:4]}, "order_id"),
        (changed("tax_amount", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4}), "tax_amount"),
        (
            changed("occurred_at", {"type": "long", "logicalType": "timestamp-micros"}),
            "occurred_at is timestamp-micros",
        ),
        (changed("order_id", "int"), "order_id"),
        ('"string"', "it is no record"),
        ("{", "not Avro that can be read here"),
        ('syntax = "proto3";', "not Avro that can be read here"),
        ({"type": "record", "name": "OrderPlaced"}, "values take no bytes"),
        ({"type": "record", "name": "OrderPlaced", "fields": 1}, "not Avro that can be read here"),
    ],
)
def test_a_schema_that_is_not_the_contracts_is_judged_once_and_says_why(schema: Any, problem: str) -> None:
    known = Known({5: schema})
    writers = Writers(ORDER, known)
    for _ in range(3):
        with pytest.raises(UnreadableAvro, match=problem):
            writers.read(b"\0\0\0\0\5" + b"\xff" * 20)
    assert known.asked == [5]


def test_no_contract_has_a_hazard() -> None:
    from schemas.catalogue import avro_events

    assert [each.name for each in avro_events() if hazard(each.avro_schema)] == []


def test_of_a_flood_of_unknown_ids_few_are_looked_up_and_known_ones_are_read_all_the_same() -> None:
    known, now = Known(), [0.0]
    lookup = Sparing(known, lambda: now[0])
    writers, others = Writers(ORDER, lookup), Writers(event("sales.order_refunded"), lookup)
    for schema_id in range(1_000, 1_000 + 5 * MOST_UNKNOWN):
        with pytest.raises(UnknownSchema):
            (writers if schema_id % 2 else others).read(b"\0" + schema_id.to_bytes(4, "big") + b"abc")
    assert len(known.asked) == MOST_UNKNOWN
    now[0] = 61.0
    assert writers.read(in_avro(typed()))["order_id"] == "1"
    with pytest.raises(UnknownSchema, match="redrive this letter"):
        writers.read(b"\0\0\0\xff\xffabc")
    assert len(known.asked) == MOST_UNKNOWN + 2


def test_an_id_that_no_registry_can_have_is_not_looked_up() -> None:
    known = Known()
    with pytest.raises(UnknownSchema, match="no registry has a schema 4000000000"):
        Writers(ORDER, known).read(b"\0" + (4_000_000_000).to_bytes(4, "big") + b"abc")
    assert known.asked == []


def test_a_registry_that_is_away_is_no_fault_of_the_record() -> None:
    class Away:
        def schema_text(self, schema_id: int) -> str:
            raise RegistryUnavailable("away")

    writers = Writers(ORDER, Away())
    for _ in range(2):
        with pytest.raises(RegistryUnavailable):
            writers.read(in_avro(typed(), OLDER_ID))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "kind",
    [
        *("int", "long", "bytes", "string", ["null", "float"], {"type": "map", "values": "float"}),
        {"type": "enum", "name": "E", "symbols": ["A"]},
        {"type": "array", "items": "int"},
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": "float"}, {"name": "y", "type": "int"}]},
    ],
    ids=str,
)
def test_an_array_that_is_skipped_and_says_it_has_more_items_than_bytes_ends_at_once(kind: Any) -> None:
    writers = Writers(ORDER, Known({5: with_field({"type": "array", "items": kind})}))
    with pytest.raises(UnreadableAvro, match="does not match schema 5"):
        writers.read(in_avro(typed(), 5) + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f")


def test_an_array_that_says_it_has_more_items_than_bytes_ends_at_once() -> None:
    value = in_avro(typed())
    place = value.index(b"\x02\x04P1")  # one line, whose product is P1
    with pytest.raises(PoisonEvent):
        Writers(ORDER, Known()).read(value[:place] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + value[place + 1 :])
