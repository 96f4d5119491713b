"""How fast a replay decodes records of three schema ids, mixed, against Spark's own from_avro on one id.

Both in one run and one Spark, turn by turn, so that the machine's moods hit both: the same orders, from the same kind
of file, every field decoded and thrown away. Needs no stack.

    python -m bench.decode --records 1000000
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.producer import DISTINCT, ORDER_PLACED, machine, orders
from insights.settings import load_settings
from insights.wiring import spark_runtime
from schemas.catalogue import Event
from schemas.codec import Encoder
from spark.local import run

WAYS = ("three ids", "from_avro")
HERE = Path(__file__).parent


def versions() -> tuple[Event, ...]:
    """The contract of orders, and it before two of its nullable fields came."""
    return (ORDER_PLACED, without("trace"), without("session_id"))


def without(name: str) -> Event:
    fields = [field for field in ORDER_PLACED.schema["fields"] if field["name"] != name]
    return replace(ORDER_PLACED, schema={**ORDER_PLACED.schema, "fields": fields})


def write(path: Path, count: int, encoders: list[Encoder]) -> None:
    """A file of ``count`` records with their places, DISTINCT of them again and again, by the encoders in turn."""
    values = []
    for record, encoder in zip(orders(min(count, DISTINCT)), cycle(encoders), strict=False):
        known = {field["name"] for field in encoder.event.avro_schema["fields"]}
        values.append(encoder.encode({name: value for name, value in record.items() if name in known}))
    columns: dict[str, Any] = {
        "partition": pa.array([0] * count, pa.int32()),
        "offset": pa.array(range(count), pa.int64()),
        "timestamp": pa.array([0] * count, pa.timestamp("us", "UTC")),
        "value": pa.array(list(islice(cycle(values), count)), pa.binary()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=100_000)


def decode(records: int, repeats: int) -> None:
    encoders = [Encoder(e, number) for number, e in enumerate(versions(), start=1)]
    with tempfile.TemporaryDirectory(prefix="bench-replay-") as name:
        folder = Path(name)
        write(folder / "three ids.parquet", records, encoders)
        write(folder / "from_avro.parquet", records, encoders[:1])
        request = folder / "request.json"
        schemas = {encoder.schema_id: encoder.event.schema_text for encoder in encoders}
        request.write_text(json.dumps({"folder": name, "schemas": schemas, "repeats": repeats, "ways": WAYS}))
        received: list[dict[str, Any]] = []
        run(
            spark_runtime(load_settings(), folder / "work"),
            HERE / "decode_in_spark.py",
            [str(request)],
            on_event=received.append,
        )
    rates = {way: [records / e["seconds"] for e in received if e["way"] == way] for way in WAYS}
    for way, found in rates.items():
        print(f"{way:10} median {statistics.median(found):>9,.0f} records/s of {', '.join(f'{r:,.0f}' for r in found)}")
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    print(f"ratio      median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    decode(options.records, options.repeats)


if __name__ == "__main__":
    main()
