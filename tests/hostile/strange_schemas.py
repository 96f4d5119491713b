"""Schemas that strangers may register, with bytes for them. A process of its own: what goes wrong here may end it.

``python -m tests.hostile.strange_schemas FIRST LAST`` reads a record under each and prints how many were read.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from random import Random
from typing import Any

from producers.gate.writers import Writers
from schemas.errors import PoisonEvent
from tests.hostile.spoiling import spoiled
from tests.producers.gate.records import ORDER, Known, in_avro, typed

BODY = in_avro(typed())[5:]
TEXT = ORDER.schema_text.encode()
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
NAMES = ("A", "B", "C", "x.A", "x.B", "insights.sales.A", "insights.sales.OrderPlaced", "OrderPlaced", "OrderLine")
SECONDS = 20


def kind(rng: Random, depth: int) -> Any:
    """A type, most of which are Avro; names may stand before they are defined, inside themselves, or for nothing."""
    what = rng.choice(("primitive", "name", "record", "error", "array", "map", "union", "fixed", "wrapped"))
    if depth == 0 or what == "primitive":
        return rng.choice(PRIMITIVES)
    if what == "name":
        return rng.choice(NAMES)
    if what in ("record", "error"):
        space = {"namespace": rng.choice(("", "x", "insights.sales"))} if rng.random() < 0.3 else {}
        fields = [{"name": f"f{n}", "type": kind(rng, depth - 1)} for n in range(rng.choice((0, 1, 1, 2, 3)))]
        return {"type": what, "name": rng.choice(NAMES), **space, "fields": fields}
    if what == "array":
        return {"type": "array", "items": kind(rng, depth - 1)}
    if what == "map":
        return {"type": "map", "values": kind(rng, depth - 1)}
    if what == "union":
        return ["null", kind(rng, depth - 1)]
    if what == "fixed":
        return {"type": "fixed", "name": f"F{rng.randrange(99)}", "size": rng.choice((-1, 0, 1, 4, 2**40))}
    return {"type": kind(rng, depth - 1)}


def schema(rng: Random) -> str:
    if rng.random() < 0.2:
        return spoiled(rng, [TEXT]).decode(errors="replace")
    more = [{"name": f"more{n}", "type": kind(rng, rng.randrange(1, 6))} for n in range(rng.choice((1, 1, 2, 4)))]
    strange: dict[str, Any] = {**ORDER.avro_schema, "fields": [*ORDER.avro_schema["fields"], *more]}
    if rng.random() < 0.1:
        strange |= {"__fastavro_parsed": True, "__named_schemas": {}}
    return json.dumps(strange)


def body(rng: Random) -> bytes:
    """An order and a tail in which each byte is a branch, a count, or a length: as deep as there are bytes."""
    return (
        BODY + rng.choice((b"\0", b"\2", b"\2\0", b"\xfe\xff\xff\xff\xff\x7f")) * rng.choice((0, 1, 9, 60_000)) + b"\0"
    )


def main(first: int, last: int) -> None:
    read = 0
    for seed in range(first, last):
        rng = Random(seed)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        writers = Writers(ORDER, Known({5: schema(rng)}))
        for _ in range(4):
            try:
                print(seed, end="\r", file=sys.stderr)
                writers.read(b"\0\0\0\0\5" + body(rng))
                read += 1
            except PoisonEvent:
                pass
    print(read)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
