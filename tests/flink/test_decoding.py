"""Whatever bytes stand on a topic, the live job's format gives a row that equals fastavro's, or a reason."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.binary import EPOCH, kind_of, zigzag
from schemas.catalogue import avro_events
from schemas.codec import Decoder
from schemas.errors import PoisonEvent
from tests.aggregates.any_events import any_record
from tests.flink.decoding import Decoding, Told, decoding

CONTRACTS = [e.avro_schema for e in avro_events()]
OLDER = 100
"""Added to the id of a contract's schema: the contract before its nullable fields were added."""


def older(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = deepcopy(dict(schema))
    kept["fields"] = [f for f in kept["fields"] if f["name"] == "trace" or "default" not in f]
    return kept


SCHEMAS = {
    **{n: schema for n, schema in enumerate(CONTRACTS)},
    **{OLDER + n: older(schema) for n, schema in enumerate(CONTRACTS)},
}
PARSED = {number: fastavro.parse_schema(deepcopy(schema)) for number, schema in SCHEMAS.items()}
READERS = [PARSED[n] for n in range(len(CONTRACTS))]


@pytest.fixture(scope="module")
def java() -> Iterator[Decoding]:
    texts = [json.dumps(schema) for schema in CONTRACTS]
    with decoding(texts, {number: json.dumps(schema) for number, schema in SCHEMAS.items()}) as process:
        yield process


class Lookup:
    def schema_text(self, schema_id: int) -> str:
        if schema_id not in SCHEMAS:
            raise PoisonEvent("unknown")
        return json.dumps(SCHEMAS[schema_id])


def wrapped(number: int, body: bytes) -> bytes:
    return struct.pack(">bI", 0, number) + body


def good(contract: int, rng: Random) -> bytes:
    """A record at the contract's limits, of its schema or of an older one."""
    number = contract + (OLDER if rng.random() < 0.2 else 0)
    at = rng.choice((EPOCH, EPOCH - timedelta(days=400), datetime(2026, 3, 2, tzinfo=UTC)))
    record = any_record(SCHEMAS[number], rng, at)
    record["event_id"] = str(rng.random())
    body = io.BytesIO()
    fastavro.schemaless_writer(body, PARSED[number], record)
    return wrapped(number, body.getvalue())


def damaged(value: bytes, rng: Random) -> bytes | None:
    """The value with one thing wrong in it."""
    at = rng.randrange(len(value) + 1)
    number = rng.choice((1, -1, 63, 64, 1 << 20, 1 << 31, -(1 << 31), (1 << 31) - 1, (1 << 62), -(1 << 63), 4_000_001))
    match rng.randrange(9):
        case 0:
            return value[:at]
        case 1:
            return value[:at] + bytes([rng.randrange(256)]) + value[at + 1 :]
        case 2:
            bit = 1 << rng.randrange(8)
            return value[:at] + bytes(b ^ bit for b in value[at : at + 1]) + value[at + 1 :]
        case 3:
            return value[:at] + zigzag(number) + value[at + 1 :]
        case 4:
            return value[:at] + rng.randbytes(rng.choice((1, 3, 40))) + value[at:]
        case 5:
            return value[:at] + value[at + rng.choice((1, 2, 9)) :]
        case 6:
            return struct.pack(">bI", 0, rng.choice([*SCHEMAS, 77, 0xFFFFFFFF])) + value[5:]
        case 7:
            return value[:at] + b"\xff" * rng.choice((1, 5, 10, 11)) + value[at:]
        case _:
            return None if rng.random() < 0.1 else value + value[at:]


def plain(schema: Any, value: Any) -> Any:
    """A value of fastavro's as DecodeMany writes it."""
    match kind_of(schema):
        case "union":
            return None if value is None else plain(schema[1], value)
        case "record":
            return {f["name"]: plain(f["type"], value[f["name"]]) for f in schema["fields"]}
        case "array":
            return [plain(schema["items"], item) for item in value]
        case "map":
            return {key: plain(schema["values"], item) for key, item in value.items()}
        case "decimal":
            return format(value, "f")
        case "timestamp-millis":
            return (value - EPOCH) // timedelta(milliseconds=1)
        case "date":
            return (value - date(1970, 1, 1)).days
        case "double":
            return struct.unpack(">q", struct.pack(">d", value))[0]
        case "float":
            return struct.unpack(">i", struct.pack(">f", value))[0]
        case "bytes":
            return value.hex()
    return value


class NotStorable(Exception):
    """No table has room for it; fastavro takes it, or something near it."""


def check_storable(schema: Any, value: Any) -> None:
    match kind_of(schema):
        case "union" if value is not None:
            check_storable(schema[1], value)
        case "record":
            for f in schema["fields"]:
                check_storable(f["type"], value[f["name"]])
        case "array":
            for item in value:
                check_storable(schema["items"], item)
        case "map":
            for key, item in value.items():
                check_storable("string", key)
                check_storable(schema["values"], item)
        case "decimal":
            # fastavro rounds to the precision, and so has another scale then.
            if len(value.as_tuple().digits) > schema["precision"] or value.as_tuple().exponent != -schema["scale"]:
                raise NotStorable
        case "int":
            if not -(1 << 31) <= value < 1 << 31:
                raise NotStorable
        case "string":
            if "\0" in value:
                raise NotStorable


def expected(contract: int, value: bytes | None) -> dict[str, Any] | None:
    """The row by fastavro, or None when the record is dead."""
    if value is None or len(value) < 5 or value[0] != 0:
        return None
    number = int.from_bytes(value[1:5], "big")
    if number not in PARSED:
        return None
    body = io.BytesIO(value[5:])
    try:
        record = fastavro.schemaless_reader(body, PARSED[number], READERS[contract])
        if body.read(1):
            return None
        check_storable(CONTRACTS[contract], record)
    except Exception:  # noqa: BLE001 -- fastavro promises nothing about what it raises
        return None
    found: dict[str, Any] = plain(CONTRACTS[contract], record)
    return found


Drawn = tuple[int, int, int]
draws = st.tuples(st.integers(0, len(CONTRACTS) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, 3))


def values(drawn: Sequence[Drawn]) -> list[tuple[int, bytes | None]]:
    found = []
    for contract, seed, wounds in drawn:
        rng = Random(seed)
        value: bytes | None = good(contract, rng)
        for _ in range(wounds):
            value = damaged(value, rng) if value else value
        found.append((contract, value))
    return found


# What fastavro takes, and Avro's specification does not.
LENIENT = (
    "a true or false in it is the byte",
    "a choice in it",
    "Invalid int encoding",
    "Invalid long encoding",
    "larger than its type",
    "Zero length BigInteger",
)


def is_lenient(value: bytes, told: Told) -> bool:
    """Whether fastavro alone takes it: as something that is written in another way."""
    if told[0] != "dead" or not any(reason in told[1] for reason in LENIENT):
        return False
    number, body = int.from_bytes(value[1:5], "big"), io.BytesIO()
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), PARSED[number], None)
    fastavro.schemaless_writer(body, PARSED[number], record)
    return body.getvalue() != value[5:]


def assert_right(java: Decoding, records: Sequence[tuple[int, bytes | None]]) -> None:
    for (contract, value), told in zip(records, java.decode(records), strict=True):
        wanted, what = expected(contract, value), f"{avro_events()[contract].name} {value.hex() if value else value}"
        if wanted is None or is_lenient(value or b"", told):
            assert told[0] == "dead", what
            assert told[1], what
            assert told[2] == (value or b"").hex(), what
        else:
            assert told == ["row", wanted], what


@pytest.mark.fuzz
@given(drawn=st.lists(draws, min_size=1, max_size=12))
def test_a_damaged_record_is_what_fastavro_reads_or_dead_with_a_reason(java: Decoding, drawn: list[Drawn]) -> None:
    assert_right(java, values(drawn))


@pytest.mark.fuzz
@given(
    records=st.lists(
        st.tuples(
            st.integers(0, len(CONTRACTS) - 1),
            st.one_of(st.none(), st.binary(max_size=80), st.builds(wrapped, st.sampled_from([*SCHEMAS]), st.binary())),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_bytes_are_what_fastavro_reads_or_dead_with_a_reason(
    java: Decoding, records: list[tuple[int, bytes | None]]
) -> None:
    assert_right(java, records)


@pytest.mark.fuzz
@given(drawn=draws)
def test_a_replay_reads_a_damaged_record_or_calls_it_poison(drawn: Drawn) -> None:
    """As it looks for the cells that newer events touch: it must not fail on what the live job went past."""
    ((contract, value),) = values([drawn])
    try:
        _, record = Decoder(Lookup()).decode(value or b"")
    except PoisonEvent:
        assert expected(contract, value) is None
    else:
        assert isinstance(record, dict)


def test_every_record_that_is_whole_is_a_row(java: Decoding) -> None:
    """So that the tests above can't pass because all is dead."""
    drawn = [(n % len(CONTRACTS), n, 0) for n in range(400)]
    told = java.decode(values(drawn))
    assert {one[0] for one in told} == {"row"}
