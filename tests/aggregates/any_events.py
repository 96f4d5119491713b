"""Awkward logs by the seed: copies, contradicting copies, out of order by days, edges of windows and of the horizon,
amounts and counts at the contract's limits, nulls, empty arrays, any script. They fit their Avro schemas all the same,
though not the rules that our producers hold: others write to the log too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

from aggregates.catalogue import Aggregate, ShopsClock, aggregates
from schemas.binary import kind_of
from schemas.catalogue import Event, Versions, avro_events
from schemas.versions import ByPayment
from spark.task import Chunk
from tests.aggregates.oracle import HORIZON, OUT_OF_ORDER, Dealt, day, place

MILLISECOND = timedelta(milliseconds=1)
BEGINNING = datetime(2026, 2, 28, 22, 59, 58, tzinfo=UTC)

TEXTS = (
    "",
    "a",
    "A",
    "é",
    "e\u0301",
    "ß",
    "自転車 🚲",
    "𝒜",
    "\uffff",
    'it\'s "so"\\',
    "line\nbreak\ttab",
    " a",
    "x" * 300,
)
# Few of each, so that they meet; the ones of strange letters are there too.
POOLS: dict[str, tuple[str, ...]] = {
    "order_id": tuple(f"A-{n}" for n in range(60)),
    "refund_id": tuple(f"R-{n}" for n in range(60)),
    "customer_id": ("C-1", "C-2", "C-３", "c-1"),
    "user_id": ("C-1", "C-2", "ü", "z"),
    "product_id": ("P-1", "P-2", "p-1", "P-１", ""),
    "session_id": tuple(f"S-{n}" for n in range(25)),
    "region": ("EU", "US", "eu", "日本"),
    "category": ("Bikes", "Vélos", "Ve\u0301los", ""),
    "campaign": ("spring", "", "été", "(none)"),
    "warehouse": ("Paris", "Łódź"),
    "shop": ("shop.example", "SHOP.example"),
    "currency": ("EUR",),  # the shop's: a sale in another one is dead
}
INT_MAX = (1 << 31) - 1


def any_log(seed: int, *, events_a_topic: int) -> dict[str, Dealt]:
    """Event name to records in the order of their arrival, for every contract. The same seed gives the same.

    The partitions of a topic drift apart by days, as they do when a job reads one faster than another.
    """
    return {e.name: _topic(e, Random(f"{seed} {e.name}"), events_a_topic) for e in avro_events()}


def paying(*undated: str) -> list[Aggregate]:
    """All that is computed of orders and refunds, of a shop whose sales are by payment date."""
    clock = ShopsClock(payment=ByPayment(undated=undated), changed_payment=1)
    return [a.by(clock) for a in aggregates() if a.has_orders]


def chunks_of(records: Sequence[Mapping[str, Any]], every: int) -> tuple[Chunk, ...]:
    """All of time, cut before each so many-th day on which something happened."""
    days = sorted({day(r["occurred_at"]) for r in records})[1::every]
    ends = [None, *(at.isoformat() for at in days), None]
    return tuple(Chunk(name=str(n), from_time=a, until_time=b) for n, (a, b) in enumerate(pairwise(ends)))


def _topic(e: Event, rng: Random, size: int) -> Dealt:
    log = Dealt()
    clocks = [BEGINNING] * Dealt.partitions
    for number in range(size):
        partition, _ = place(log, len(log))
        pace = (4 * partition + 1) * rng.choice((0, 1, 999, 60_000, rng.randrange(3_600_000)))
        clocks[partition] += timedelta(milliseconds=pace)
        now = clocks[partition]
        before = log[partition :: Dealt.partitions]
        if before and rng.random() < 0.1:
            log.append(rng.choice(before))  # a copy has its twin's key, and so its partition
            continue
        record = any_record(e.avro_schema, rng, _some_time(rng, now, before))
        if e.versions:
            record |= _as_a_state(e.versions, rng, before)
        record["event_id"] = f"{e.name} {number}"
        if log and rng.random() < 0.05:
            record["event_id"] = rng.choice(log)["event_id"]
        log.append(record)
    return log


def _as_a_state(versions: Versions, rng: Random, before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What makes a record a state of something, often of what a record before it in its partition is of."""
    fields: dict[str, Any] = {versions.void: rng.choice((None, None, False, False, False, True))}
    fields[versions.by] = rng.choice((None, 0, 1, 1, 2, -(1 << 63), (1 << 63) - 1))
    if before and rng.random() < 0.4:
        earlier = rng.choice(before[-4:])
        fields |= {name: earlier[name] for name in versions.of}
    return fields


def _some_time(rng: Random, now: datetime, before: Sequence[Mapping[str, Any]]) -> datetime:
    edge = max((r["occurred_at"] for r in before), default=now) - OUT_OF_ORDER - HORIZON
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    hour = now.replace(minute=0, second=0, microsecond=0)
    kinds = (
        (60, now),
        (10, now - timedelta(milliseconds=rng.randrange(86_400_000))),
        (8, now - timedelta(milliseconds=rng.randrange(40 * 3_600_000))),
        (4, edge),
        (4, edge - MILLISECOND),
        (4, edge + MILLISECOND),
        (5, hour),
        (5, hour - MILLISECOND),
        (3, midnight),
        (3, midnight - MILLISECOND),
    )
    return rng.choices([at for _, at in kinds], [weight for weight, _ in kinds])[0]


def any_record(schema: Mapping[str, Any], rng: Random, at: datetime) -> dict[str, Any]:
    """A record that fits the Avro schema, of an event that happened then."""
    record = {f["name"]: _value(f["type"], f["name"], rng, at) for f in schema["fields"]}
    if "occurred_at" in record:
        record["occurred_at"] = at
    return record


def _value(schema: Any, name: str, rng: Random, at: datetime) -> Any:
    match kind_of(schema):
        case "union":
            return None if rng.random() < 0.3 else _value(schema[1], name, rng, at)
        case "record":
            return any_record(schema, rng, at)
        case "array":
            return [_value(schema["items"], name, rng, at) for _ in range(rng.choice((0, 1, 1, 2, 5)))]
        case "map":
            return {rng.choice(TEXTS): rng.choice(TEXTS) for _ in range(rng.randrange(3))}
        case "enum":
            return rng.choice(schema["symbols"])
        case "string":
            return rng.choice(POOLS.get(name, TEXTS))
        case "bytes":
            return rng.randbytes(rng.choice((0, 1, 40)))
        case "decimal":
            return _amount(schema["precision"], schema["scale"], rng)
        case "int" | "long":
            extremes = (0, 1, INT_MAX, -INT_MAX - 1)
            return rng.choice(extremes) if rng.random() < 0.1 else rng.randrange(-20, 200)
        case "boolean":
            return rng.random() < 0.5
        case "double" | "float":
            return rng.choice((0.0, -0.5, 48.8584, 1e-300 if schema == "double" else 0.25))
        case "date":
            return rng.choice((date(1969, 12, 31), date(2026, 3, 1), date(2028, 2, 29)))
        case "timestamp-millis":
            back = rng.choice((0, 1, 3_600_000, 86_399_999, 86_400_000, 86_400_001, -5_000, rng.randrange(90_000_000)))
            # Mostly an order is paid after it was placed.
            return at - timedelta(milliseconds=-back if name == "paid_at" and rng.random() < 0.8 else back)
        case kind:
            raise AssertionError(f"a contract uses {kind}, which this test does not know")


def _amount(precision: int, scale: int, rng: Random) -> Decimal:
    most = 10**precision - 1
    cents = rng.choice((0, 1, most, -most)) if rng.random() < 0.1 else rng.randrange(-100, 200_000)
    return Decimal(cents).scaleb(-scale)
