"""What the gate takes of other programs, as which event, and what it says of the rest. Without servers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from insights.settings import PROJECT
from producers.gate.check import BadMessage
from schemas.codec import Encoder
from schemas.errors import ContractBroken, PoisonEvent
from tests.producers.gate.records import (
    AT,
    OLDER,
    OLDER_ID,
    ORDER,
    Known,
    checker,
    in_avro,
    in_json,
    message,
    order,
    typed,
)

ENCODER = Encoder(ORDER, 1, "EUR")


def taken(value: bytes | None, key: bytes | None = None, known: Known | None = None) -> dict[str, Any]:
    """The event, as the publisher's codec takes it too."""
    record = checker(known).record(message(value, key))
    ENCODER.encode(record)
    return record


def refusal(value: bytes | None, key: bytes | None = None, known: Known | None = None) -> str:
    with pytest.raises(PoisonEvent) as poison:
        taken(value, key, known)
    return str(poison.value)


def test_an_order_in_json_becomes_the_event_that_the_same_in_avro_becomes() -> None:
    of_json, of_avro = taken(in_json(order())), taken(in_avro(typed()))
    assert ENCODER.encode(of_json) == ENCODER.encode(of_avro)
    assert (of_json["occurred_at"], of_json["lines"][0]["unit_price"]) == (AT, Decimal("10.00"))


def test_times_may_be_milliseconds_and_decimals_numbers_which_stay_exact() -> None:
    value = in_json(order(occurred_at=int(AT.timestamp() * 1000))).replace(b'"4.90"', b"4.90")
    found = taken(value)
    assert (found["occurred_at"], found["shipping_amount"]) == (AT, Decimal("4.90"))


def test_an_older_schema_is_read_and_what_it_lacks_is_null() -> None:
    found = taken(in_avro(typed(), OLDER_ID, OLDER))
    assert (found["paid_at"], found["order_id"]) == (None, "1")


def test_a_newer_schema_is_read_without_the_field_that_the_contract_does_not_have() -> None:
    gift = {"name": "gift", "type": ["null", "string"], "default": None}
    newer = {**ORDER.avro_schema, "fields": [*ORDER.avro_schema["fields"], gift]}
    assert "gift" not in taken(in_avro(typed(gift="yes"), 9, newer), known=Known({9: newer}))


def test_without_an_id_it_gets_the_same_one_whenever_it_is_read() -> None:
    value = in_json(order(event_id=...))
    first, again = taken(value)["event_id"], taken(value)["event_id"]
    other = checker().record(message(value, offset=8))["event_id"]
    assert first == again != other


def test_an_address_of_a_person_becomes_a_pseudonym(tmp_path: Any) -> None:
    from contextlib import closing

    from producers.gate.check import Checker
    from producers.gate.writers import Writers
    from producers.persons.keys import PersonKeys

    with closing(PersonKeys(tmp_path)) as persons:
        gate = Checker(ORDER, Writers(ORDER, Known()), persons)
        value = in_json(order(customer_id="anna@example.com"))
        found = gate.record(message(value, b"anna@example.com"))
        assert found["customer_id"] == persons.customer("till", "anna@example.com")
        assert "anna" not in found["customer_id"]
        assert gate.known(message(value)) == ("till", found["customer_id"])


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"lines": [{**order()["lines"][0], "quantity": 0}]}, "field lines[0].quantity is 0; the minimum is 1"),
        ({"lines": []}, "field lines has 0 items"),
        ({"order_id": ...}, "field order_id is missing"),
        ({"order_id": "a\0b"}, "field order_id has U+0000"),
        ({"order_id": "\ud800"}, "field order_id has U+D800"),
        ({"shop": "x"}, "field shop is not in the contract"),
        ({"occurred_at": "2026-11-27T09:00:00"}, "field occurred_at is "),
        ({"occurred_at": "yesterday"}, "field occurred_at is 'yesterday', which is not timestamp-millis"),
        ({"occurred_at": 1795770901}, "field occurred_at is 1970-01-21T18:49:30.901000+00:00, before 2000; send"),
        ({"occurred_at": 10**30}, "field occurred_at is "),
        ({"occurred_at": ...}, "field occurred_at is missing"),
        ({"shipping_amount": 4.905}, "field shipping_amount is "),
        ({"shipping_amount": "1e5"}, "field shipping_amount is '1e5', which is not a Decimal"),
        ({"currency": "XXX"}, "field currency "),
        ({"source": ...}, "field source is missing; name the program"),
        ({"source": "Shop 1"}, "field source is 'Shop 1'; name the program"),
        ({"event_id": "7"}, "field event_id is '7', which is not a UUID"),
        ({"event_id": 7}, "field event_id is 7, which is not a UUID"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused_with_the_field_and_what_to_do(
    said: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(in_json(order(**said)))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is empty"),
        (b"", "is empty"),
        (b"\0", "begins with a zero byte and has 1 bytes"),
        (b"\0\0\0\0\1", "does not match schema 1"),
        (in_avro(typed()) + b"\0", "bytes are left after a record of schema 1"),
        (in_avro(typed())[:-9], "does not match schema 1"),
        (b"\0\0\0\0\7abc", "no schema has the id 7; register the schema, and redrive"),
        (b"\xff\xfe{}", "neither Avro with a schema id nor JSON in UTF-8"),
        ("{}".encode("utf-16"), "neither Avro"),
        (b"[1]", "is JSON, but list and not one object"),
        (b"null", "is JSON, but NoneType"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"<order/>", "nor JSON"),
        (b"[" * 100_000, "nor JSON"),
        (b'{"a":' * 80 + b"1" + b"}" * 80, "nested more than 64 levels deep"),
        (b'{"shipping_amount": 1e999999}', "is out of range"),
        (b'{"shipping_amount": ' + b"9" * 5_000 + b"}", "nor JSON"),
    ],
)
def test_bytes_that_are_no_record_are_refused(value: bytes | None, problem: str) -> None:
    assert problem in refusal(value)


def test_the_key_is_the_contracts_or_none() -> None:
    value = in_json(order(customer_id="C1"))
    assert taken(value, b"C1") == taken(value, None)
    assert "field customer_id is 'C1', and the record's key is b'C2'; send the same, or no key" in refusal(value, b"C2")


def test_events_of_a_connected_shop_are_published_by_nobody_else() -> None:
    with pytest.raises(BadMessage, match="a connected shop, whose events are read from the shop alone"):
        checker(shops=frozenset({"till"})).record(message(in_json(order())))


def test_every_field_that_the_contract_has_can_be_sent_in_json() -> None:
    found = taken(json.dumps(order(discounts=[{"amount": "1.00"}], charged_rate_on="2026-11-26", version=3)).encode())
    assert found["discounts"][0]["code"] is None
    assert str(found["charged_rate_on"]) == "2026-11-26"


def test_what_the_codec_refuses_names_the_contract() -> None:
    with pytest.raises(ContractBroken):
        taken(in_json(order(lines=[])))


def test_the_order_in_the_docs_is_taken() -> None:
    (line,) = (
        line for line in (PROJECT / "docs" / "gate.md").read_text().splitlines() if line.startswith('{"event_id"')
    )
    assert taken(line.encode())["order_id"] == "till-1001"
