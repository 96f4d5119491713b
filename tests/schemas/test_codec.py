"""What the codec writes is Avro as fastavro reads and writes it; what does not fit is refused by the field's name."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import catalogue, compiled
from schemas.binary import kind_of
from schemas.catalogue import Event
from schemas.codec import Decoder, Encoder
from schemas.errors import ContractBroken, EventTooLarge, PoisonEvent

SCHEMA_ID = 259
CONTRACTS = [pytest.param(event, id=event.name) for event in catalogue.avro_events()]
INT = 1 << 31
LONG = 1 << 63
STORABLE = st.characters(codec="utf-8", exclude_characters="\0")


def values(schema: Any, rule: Mapping[str, Any] = MappingProxyType({})) -> st.SearchStrategy[Any]:
    """Values that fit a schema and the rule of their field, awkward ones among them."""
    least = rule.get("minimum")
    if "currency" in rule:
        return st.sampled_from(["EUR", "USD", "JPY", "KWD"])
    match kind_of(schema):
        case "union":
            return st.none() | values(schema[1], rule)
        case "record":
            fields = {field["name"]: values(field["type"], field) for field in schema["fields"]}
            return st.fixed_dictionaries(fields).map(lambda record: within_bounds(schema, record))
        case "array":
            return st.lists(values(schema["items"]), min_size=rule.get("min_items", 0), max_size=4)
        case "map":
            return st.dictionaries(st.text(STORABLE, max_size=8), values(schema["values"]), max_size=4)
        case "enum":
            return st.sampled_from(schema["symbols"])
        case "decimal":
            most = 10 ** schema["precision"] - 1
            few, many = (-most, most) if least is None else (least, most // 8)  # four lines have a sum that fits
            return st.integers(few, many).map(lambda cents: Decimal(cents).scaleb(-schema["scale"]))
        case "string":
            return st.text(STORABLE, max_size=20) | st.text("az", min_size=1020, max_size=1030) | st.just("Étape")
        case "bytes":
            return st.binary(max_size=20)
        case "int":
            return st.integers(-INT if least is None else least, INT - 1)
        case "long":
            return st.integers(-LONG, LONG - 1)
        case "boolean":
            return st.booleans()
        case "double":
            return st.floats(allow_nan=False)
        case "float":
            return st.floats(allow_nan=False, width=32)
        case "date":
            return st.dates()
        case "timestamp-millis":
            # fastavro truncates and reads back through floats; whole milliseconds are what both agree on.
            instants = st.integers(-10_000_000_000_000, 100_000_000_000_000)
            return instants.map(lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
        case kind:
            raise AssertionError(f"a contract uses {kind}, which this test does not know")


def within_bounds(schema: Any, record: dict[str, Any]) -> dict[str, Any]:
    """The record with a discount that is at most the price, and a refund of at least its lines and its other parts."""
    match schema["name"]:
        case "OrderLine":
            most = record["quantity"] * record["unit_price"]
            return record | {"discount_amount": min(record["discount_amount"], most)}
        case "OrderRefunded":
            goods = sum((line["amount"] for line in record["lines"]), Decimal("0.00"))
            parts = (record[name] or Decimal("0.00") for name in ("shipping_amount", "tax_amount"))
            return record | {"amount": max(record["amount"], goods, *parts)}
    return record


def by_fastavro(event: Event, record: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(event.avro_schema), record)
    return body.getvalue()


class Registered:
    """Knows the schema of one contract, under SCHEMA_ID."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def schema_text(self, schema_id: int) -> str:
        if schema_id != SCHEMA_ID:
            raise PoisonEvent(f"no schema has the id {schema_id}")
        return self._event.schema_text


@pytest.mark.parametrize("event", CONTRACTS)
def test_every_record_is_written_as_fastavro_writes_it_and_read_back(event: Event) -> None:
    encoder, decoder = Encoder(event, SCHEMA_ID), Decoder(Registered(event))

    @settings(max_examples=120, deadline=None)
    @given(values(event.schema))
    def holds(record: dict[str, Any]) -> None:
        encoded = encoder.encode(record)
        assert encoded[:5] == struct.pack(">bI", 0, SCHEMA_ID)
        assert encoded[5:] == by_fastavro(event, record)
        assert decoder.decode(encoded) == (SCHEMA_ID, record)

    holds()


@pytest.mark.parametrize("event", CONTRACTS)
def test_nullable_fields_may_be_left_out(event: Event) -> None:
    encoder = Encoder(event, SCHEMA_ID)

    @settings(max_examples=30, deadline=None)
    @given(values(event.schema))
    def holds(record: dict[str, Any]) -> None:
        sparse = {name: value for name, value in record.items() if value is not None}
        assert encoder.encode(sparse) == encoder.encode(record)

    holds()


def test_strings_beyond_what_is_remembered_are_written_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "REMEMBERED_STRINGS", 3)
    event = catalogue.event("sales.order_placed")
    encoder = Encoder(event, SCHEMA_ID)
    for n in range(20):
        record = an_order() | {"order_id": f"O{n}", "session_id": f"Séance {n}" if n % 2 else None}
        record["lines"][0]["brand"] = f"Pavé {n}"
        assert encoder.encode(record)[5:] == by_fastavro(event, record)


def an_order() -> dict[str, Any]:
    line = {
        "product_id": "P0001",
        "category": "Brakes",
        "brand": None,
        "quantity": 1,
        "unit_price": Decimal("19.00"),
        "discount_amount": Decimal("0.00"),
    }
    return {
        "event_id": "0196f3a0-0000-7000-8000-000000000000",
        "occurred_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
        "source": "test",
        "trace": None,
        "order_id": "O1",
        "customer_id": "C1",
        "region": "EU",
        "currency": "EUR",
        "channel": "web",
        "session_id": None,
        "lines": [dict(line), dict(line), dict(line)],
        "shipping_amount": Decimal("4.90"),
        "tax_amount": Decimal("3.61"),
    }


MISFITS = {
    "a missing field": (lambda order: order.pop("region"), "region"),
    "an unknown field": (lambda order: order.update(colour="red"), "colour"),
    "an unknown field in place of a nullable one": (
        lambda order: (order.pop("trace"), order.update(colour="red")),
        "colour",
    ),
    "an unknown field of a line": (lambda order: order["lines"][1].update(colour="red"), "lines[1].colour"),
    "null where there must be a value": (lambda order: order.update(region=None), "region"),
    "a number for a string": (lambda order: order.update(order_id=7), "order_id"),
    "bytes for a string": (lambda order: order.update(order_id=b"O1"), "order_id"),
    "half a character": (lambda order: order.update(order_id="\ud800"), "order_id"),
    "a string for a number": (lambda order: order["lines"][2].update(quantity="3"), "lines[2].quantity"),
    "a truth for a number": (lambda order: order["lines"][2].update(quantity=True), "lines[2].quantity"),
    "a number past 32 bits": (lambda order: order["lines"][0].update(quantity=INT), "lines[0].quantity"),
    "an int for money": (lambda order: order["lines"][0].update(unit_price=19), "lines[0].unit_price"),
    "a float for money": (lambda order: order["lines"][0].update(unit_price=19.0), "lines[0].unit_price"),
    "a third digit of money": (lambda order: order.update(tax_amount=Decimal("3.615")), "tax_amount"),
    "too many digits of money": (lambda order: order.update(tax_amount=Decimal("1e11")), "tax_amount"),
    "no number at all": (lambda order: order.update(tax_amount=Decimal("nan")), "tax_amount"),
    "a time without a zone": (lambda order: order.update(occurred_at=datetime(2026, 11, 23)), "occurred_at"),  # noqa: DTZ001
    "a day for a time": (lambda order: order.update(occurred_at=date(2026, 11, 23)), "occurred_at"),
    "a string for an array": (lambda order: order.update(lines="three"), "lines"),
    "a number for a record": (lambda order: order["lines"].append(4), "lines[3]"),
}


@pytest.mark.parametrize(("breaks", "field"), MISFITS.values(), ids=MISFITS.keys())
def test_a_record_that_does_not_fit_is_refused_by_the_fields_name(breaks: Any, field: str) -> None:
    encoder = Encoder(catalogue.event("sales.order_placed"), SCHEMA_ID)
    encoder.encode(an_order())  # so that the memos know the order's values
    order = an_order()
    breaks(order)
    with pytest.raises(ContractBroken) as refused:
        encoder.encode(order)
    assert refused.value.field == field
    assert field in str(refused.value)


def filled(schema: Any, text: Callable[[str], str], path: str = "") -> Any:
    """A value with one item in every array and map. ``text`` gives the text at a path, ``specs[key]`` for a key."""
    match kind_of(schema):
        case "union":
            return filled(schema[1], text, path)
        case "record":
            prefix = f"{path}." if path else ""
            return {field["name"]: filled(field["type"], text, prefix + field["name"]) for field in schema["fields"]}
        case "array":
            return [filled(schema["items"], text, f"{path}[0]")]
        case "map":
            key = text(f"{path}[key]")
            return {key: filled(schema["values"], text, f"{path}[{key!r}]")}
        case "string":
            return "EUR" if path == "currency" else text(path)
        case "enum":
            return schema["symbols"][0]
        case kind:
            return PLAIN[kind]


PLAIN: dict[str, Any] = {
    "decimal": Decimal("1.00"),
    "bytes": b"\0",
    "int": 1,
    "long": 1,
    "boolean": True,
    "double": 1.0,
    "float": 1.0,
    "date": date(2026, 11, 23),
    "timestamp-millis": datetime(2026, 11, 23, tzinfo=UTC),
}


def with_one_odd_text(event: Event, odd: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """For every place of a text in a contract: its path when it is odd, and a record in which it alone is."""
    places: list[str] = []

    def noted(path: str) -> str:
        places.append(path)
        return path

    filled(event.avro_schema, noted)
    for place in places:
        record = filled(event.avro_schema, lambda path, place=place: odd if path == place else path)
        yield (place.removesuffix("[key]") + f"[{odd!r}]" if place.endswith("[key]") else place), record


@pytest.mark.parametrize("remembered", [0, compiled.REMEMBERED_STRINGS], ids=["many texts", "few texts"])
@pytest.mark.parametrize("odd", ["\0", "Brakes\0", "Étape\0", "Brakes\ud800", "\udfffÉtape"], ids=ascii)
@pytest.mark.parametrize("event", CONTRACTS)
def test_a_text_that_postgres_would_refuse_is_refused_wherever_it_stands(
    event: Event, odd: str, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "REMEMBERED_STRINGS", remembered)
    encoder = Encoder(event, SCHEMA_ID)
    for _ in range(2):  # so that the encoder is compiled as it will stay
        assert encoder.encode(filled(event.avro_schema, lambda path: path))
    for place, record in with_one_odd_text(event, odd):
        with pytest.raises(ContractBroken) as refused:
            encoder.encode(record)
        assert refused.value.field == place


def test_a_text_that_postgres_would_refuse_is_refused_by_its_character() -> None:
    order = an_order()
    order["lines"][2]["category"] = "Bra\0kes"
    says = r"field lines\[2\]\.category has U\+0000 as its character 4, which Postgres can't store: remove it"
    with pytest.raises(ContractBroken, match=says):
        Encoder(catalogue.event("sales.order_placed"), SCHEMA_ID).encode(order)


def test_a_symbol_that_an_enum_lacks_is_refused_with_those_it_has() -> None:
    event = catalogue.event("inventory.stock_moved")
    move = {
        "event_id": "e",
        "occurred_at": datetime(2026, 11, 23, tzinfo=UTC),
        "source": "test",
        "product_id": "P",
        "delta": -1,
        "reason": "theft",
        "warehouse": "W",
    }
    with pytest.raises(ContractBroken, match=r"reason is 'theft', which is not one of sale, restock, adjustment"):
        Encoder(event, SCHEMA_ID).encode(move)


def test_an_event_past_its_topics_limit_is_refused_with_both_sizes() -> None:
    order = an_order() | {"order_id": "O" * 300_000}
    with pytest.raises(EventTooLarge, match=r"300,\d{3} bytes and its topic takes 262,144"):
        Encoder(catalogue.event("sales.order_placed"), SCHEMA_ID).encode(order)


def test_a_union_in_a_contract_is_null_and_one_type() -> None:
    def unions(schema: Any) -> list[list[Any]]:
        if isinstance(schema, list):
            return [schema, *unions(schema[1])]
        if isinstance(schema, dict):
            inner = [field["type"] for field in schema.get("fields", ())]
            inner += [schema[name] for name in ("items", "values") if name in schema]
            return [found for each in inner for found in unions(each)]
        return []

    for event in catalogue.avro_events():
        assert all(len(union) == 2 and union[0] == "null" for union in unions(event.avro_schema))


RUBBISH = {
    "nothing": b"",
    "text": b"not an event",
    "another magic byte": b"\x01\x00\x00\x01\x03abc",
    "no body": struct.pack(">bI", 0, SCHEMA_ID),
    "half a body": Encoder(catalogue.event("sales.order_placed"), SCHEMA_ID).encode(an_order())[:-9],
    "a body and more": Encoder(catalogue.event("sales.order_placed"), SCHEMA_ID).encode(an_order()) + b"x",
    "an id that nobody registered": Encoder(catalogue.event("sales.order_placed"), 7).encode(an_order()),
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH.keys())
def test_the_decoder_refuses_what_is_no_event(rubbish: bytes) -> None:
    with pytest.raises(PoisonEvent):
        Decoder(Registered(catalogue.event("sales.order_placed"))).decode(rubbish)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_whatever_make_the_decoder_fail_otherwise(rubbish: bytes) -> None:
    decoder = Decoder(Registered(catalogue.event("sales.order_placed")))
    try:
        decoder.decode(struct.pack(">bI", 0, SCHEMA_ID) + rubbish)
    except PoisonEvent:
        pass
