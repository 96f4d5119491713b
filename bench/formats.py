"""How fast the live job's format decodes records, against Flink's own `avro-confluent`, which fails on a bad one.

Both in one Java and one run, turn by turn, so that the machine's moods hit both: the same events of the synthetic shop,
every field decoded into a row. Needs no stack.

    python -m bench.formats --records 200000 --rounds 11
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from bench.pipeline import occurrences
from bench.producer import machine
from schemas.catalogue import avro_events
from schemas.codec import Encoder
from tests.flink.decoding import command, framed, registry

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
SEED = 7
# Until Java has compiled both.
WARM_UP = 3


def encoded(count: int) -> bytes:
    """The shop's events as DecodeMany reads them; a contract's schema has its number as its id."""
    numbers = {e.name: n for n, e in enumerate(avro_events())}
    encoders = {e.name: Encoder(e, numbers[e.name]) for e in avro_events()}
    return framed(
        [
            (numbers[o.event.name], encoders[o.event.name].encode(o.record))
            for o in islice(occurrences(START, SEED), count)
        ]
    )


def times(count: int, rounds: int) -> list[tuple[float, float]]:
    """Seconds of ours and of Flink's own, a pair a round."""
    contracts = [e.schema_text for e in avro_events()]
    with tempfile.TemporaryDirectory() as folder, registry(dict(enumerate(contracts))) as url:
        asked = command(contracts, url, Path(folder), "--time", str(rounds + WARM_UP))
        done = subprocess.run(asked, input=encoded(count), stdout=subprocess.PIPE, check=True)  # noqa: S603
    pairs = [line.split() for line in done.stdout.decode().splitlines()]
    return [(int(ours) / 1e9, int(flinks) / 1e9) for ours, flinks in pairs[WARM_UP:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    print(machine())
    pairs = times(options.records, options.rounds)
    for name, seconds in (("avro-or-reason", [p[0] for p in pairs]), ("avro-confluent", [p[1] for p in pairs])):
        rates = sorted(options.records / s for s in seconds)
        print(f"{name}  {statistics.median(rates):,.0f} records/s  ({rates[0]:,.0f} to {rates[-1]:,.0f})")
    ratios = sorted(flinks / ours for ours, flinks in pairs)
    print(f"ratio  {statistics.median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
