"""How long a million rows take to be compared with what is live, and to be swapped in under a reader who never rests.

    python -m bench.verify --rows 1000000

verify    what `insights replay verify` does in Postgres: the full outer join over all rows, and their hash
promote   what `insights replay promote` does there, with rows of which every eleventh differs, while a reader asks for
          the sum of an hour again and again: the longest that an answer took, and whether one was ever of a half
rival     a plain count of both tables in the same Postgres, for the machine's mood

Postgres is the stack's (`insights up --no-producers`), unless --postgres names another; tables are made in a schema
bench_verify, which is dropped again.
"""

from __future__ import annotations

import argparse
import threading
import time
from decimal import Decimal

import psycopg

from aggregates.catalogue import aggregate
from bench.producer import machine
from insights.settings import load_settings
from replay.compare import canonical_hash, compare
from replay.plan_file import Stretch
from replay.swap import swap
from warehouse.sinks import Sink
from warehouse.tables import sink_ddl

SALES = aggregate("sales_per_minute")
ALL = (Stretch(since=None, until=None),)
IDLE_SECONDS = 5.0
HERE, THERE = "bench_verify.replayed", "bench_verify.live"
FILL = """
insert into {table}
select timestamptz '2026-01-01 00:00Z' + (n / 20) * interval '1 minute', 'R' || n %% 4, 'category ' || n %% 20 / 4,
    n %% 7, n %% 11, n %% 1000 + 0.25, n %% 10, n %% 1000 + 0.25 - n %% 10
from generate_series(0, %s) as n
"""


class Reader(threading.Thread):
    """Asks again and again. ``longest`` is in seconds; ``answers`` are all that it ever got."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._ended = threading.Event()
        self.longest = 0.0
        self.asked = 0
        self.answers: set[Decimal] = set()

    def run(self) -> None:
        query = (
            "select count(*), sum(sales_amount) from bench_verify.live where window_start >= %s and window_start < %s"
        )
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._ended.is_set():
                began = time.perf_counter()
                row = connection.execute(query, ("2026-01-02 00:00Z", "2026-01-02 01:00Z")).fetchone()
                self.longest = max(self.longest, time.perf_counter() - began)
                self.asked += 1
                assert row is not None
                self.answers.add(row[1])

    def stop(self) -> None:
        self._ended.set()
        self.join()


def measure(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop schema if exists bench_verify cascade")
        connection.execute("create schema bench_verify")
        for table in (HERE, THERE):
            sink = Sink(table=table, description="", columns=SALES.columns, key=SALES.key)
            for statement in sink_ddl(sink):
                connection.execute(statement.encode())
            connection.execute(FILL.format(table=table).encode(), (rows - 1,))
            connection.execute(f"analyze {table}".encode())
        connection.execute("set time zone 'UTC'")
        began = time.perf_counter()
        for table in (HERE, THERE):
            connection.execute(f"select count(*) from {table} where sales_amount > -1".encode())
        counted = time.perf_counter() - began
        began = time.perf_counter()
        found = compare(connection, SALES, HERE, THERE, ALL)
        compared = time.perf_counter() - began
        assert (found.equal, found.mismatches) == (rows, 0)
        hashed, _ = canonical_hash(connection, SALES, HERE, ALL)
        took = time.perf_counter() - began
        assert hashed == rows
        cells = rows * len(SALES.columns)
        print(f"verify    {took:.1f} s for {rows:,} rows ({cells:,} cells): {compared:.1f} s join, the rest its hash")
        print(f"rival     {counted:.1f} s to count both tables")
        connection.execute(f"update {HERE} set sales_amount = sales_amount + 1 where units = 3".encode())
        promote(dsn, connection)
        connection.execute("drop schema bench_verify cascade")


def promote(dsn: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    idle = Reader(dsn)
    idle.start()
    time.sleep(IDLE_SECONDS)
    idle.stop()
    reader = Reader(dsn)
    reader.start()
    began = time.perf_counter()
    with connection.transaction():
        done = swap(connection, SALES, THERE, HERE, ALL)
    took = time.perf_counter() - began
    time.sleep(1)
    reader.stop()
    print(
        f"promote   {took:.1f} s to swap {done.added:,} rows; the reader's longest answer of {reader.asked:,} took"
        f" {reader.longest * 1000:.1f} ms (of {idle.asked:,} before it: {idle.longest * 1000:.1f} ms)"
    )
    assert len(reader.answers) == 2, f"before and after, and nothing between: {reader.answers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgres", metavar="DSN", help="Instead of the stack's.")
    options = parser.parse_args()
    print(machine())
    measure(options.postgres or load_settings().postgres_dsn, options.rows)


if __name__ == "__main__":
    main()
