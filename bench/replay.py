"""How fast a replay recomputes archived events and has the result in Postgres.

    python -m bench.replay duckdb --events 5000000
    python -m bench.replay spark --events 5000000
    python -m bench.replay slope

duckdb   the DuckDB engine and the loading of its results, against a script as one would write it by hand: DuckDB reads
         the same files, keeps the first record of each event_id, computes the same three tables into CSV files, and
         COPY takes them into Postgres. The rival checks no offset, knows no late event and can't be taken up again.
         Turn by turn in the same run; at the end the tables must be equal.
spark    the same with Spark on this machine, its start included.
slope    Spark over 1, 3 and 10 million events: seconds, the most memory that it had, and the slope of the logarithms.

The lake is made once in a folder of its own. Postgres is the stack's (`insights up --no-producers`), unless --postgres
names another; tables are made in a schema bench_replay, and the lake's catalog in a database bench_lake, and dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import psutil
import psycopg
import pyiceberg

from aggregates.catalogue import aggregate
from aggregates.render import Engine
from bench.archive import Archive, make_archive
from insights.engines import DuckDb, LocalSpark
from insights.settings import load_settings
from insights.wiring import spark_runtime
from replay.duckdb.engine import compute
from replay.result import load
from replay.run import computation
from spark import local
from spark.task import Chunk, Task
from warehouse.columns import postgres_type

TABLES = ("funnel_per_hour", "sales_per_minute", "sessions")
CHUNK_RECORDS = {Engine.DUCKDB: DuckDb.chunk_records, Engine.SPARK: LocalSpark.chunk_records}
SCHEMA, CATALOG = "bench_replay", "bench_lake"
SLOPE_EVENTS = (1_000_000, 3_000_000, 10_000_000)

FIRST_RECORDS = """
create table {table} as
select {columns} from read_parquet({files})
qualify row_number() over (partition by event_id order by kafka_partition, kafka_offset) = 1
"""
READ = {
    "interaction": "occurred_at, session_id, session_started_at, interaction, user_id, campaign, region",
    "order_placed": "occurred_at, order_id, region, lines",
}
BY_HAND = {
    "funnel_per_hour": """
        select date_trunc('hour', occurred_at), campaign is not null, coalesce(campaign, ''),
            count(distinct session_id),
            count(distinct session_id) filter (where interaction = 'product_view'),
            count(distinct session_id) filter (where interaction = 'add_to_cart'),
            count(distinct session_id) filter (where interaction = 'checkout'),
            count(distinct session_id) filter (where interaction = 'purchase')
        from interaction group by 1, 2, 3""",
    "sales_per_minute": """
        select date_trunc('minute', occurred_at), region, l.category, count(distinct order_id), sum(l.quantity),
            sum(l.quantity * l.unit_price), sum(l.discount_amount), sum(l.quantity * l.unit_price - l.discount_amount)
        from (select *, unnest(lines) as l from order_placed) group by 1, 2, 3""",
    "sessions": """
        select date_trunc('day', session_started_at), session_id, max(user_id), min(region), min(campaign),
            min(session_started_at), max(occurred_at), count(*) filter (where interaction = 'page_view'),
            count(*) filter (where interaction = 'product_view'), count(*) filter (where interaction = 'add_to_cart'),
            count(*) filter (where interaction = 'checkout'), count(*) filter (where interaction = 'purchase')
        from interaction where occurred_at < session_started_at + interval 24 hour group by 1, 2""",
}


def with_duckdb(archive: Archive, dsn: str, work: Path) -> None:
    task = task_of(archive, work, Engine.DUCKDB)
    compute(task, lambda progress: None)
    load_all(task, dsn)


def with_spark(archive: Archive, dsn: str, work: Path) -> None:
    task = task_of(archive, work, Engine.SPARK)
    path = work / "task.json"
    path.write_text(task.to_json())
    local.run(spark_runtime(load_settings(), work / "spark"), local.JOB, [str(path)])
    load_all(task, dsn)


def load_all(task: Task, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for computation in task.computations:
            for chunk in computation.chunks:
                load(connection, task, "live", computation.aggregate, chunk, f"{SCHEMA}.engine_{computation.aggregate}")


def task_of(archive: Archive, output: Path, dialect: Engine) -> Task:
    """The three tables, in chunks of about as many records as a run has."""
    pieces = math.ceil(archive.events / CHUNK_RECORDS[dialect])
    step = math.ceil(archive.days / pieces)
    edges = [archive.first_day + timedelta(days=n) for n in range(0, archive.days + step, step)]
    chunks = tuple(
        Chunk(name=f"{n:04}", from_time=since.isoformat(), until_time=until.isoformat())
        for n, (since, until) in enumerate(zip(edges, edges[1:], strict=False))
    )
    computations = tuple(computation(aggregate(name), dialect, chunks) for name in TABLES)
    return Task(
        run="bench",
        kafka="",
        lake=archive.lake,
        inputs=archive.inputs,
        variants=("live",),
        computations=computations,
        output=(output / "results").as_uri(),
    )


def by_hand(archive: Archive, dsn: str, work: Path) -> None:
    with duckdb.connect() as database, psycopg.connect(dsn) as connection:
        database.execute("set TimeZone = 'UTC'")
        for table, columns in READ.items():
            database.execute(FIRST_RECORDS.format(table=table, columns=columns, files=archive.files[table]))
        for name, query in BY_HAND.items():
            path = work / f"{name}.csv"
            database.execute(f"copy ({query}) to '{path}' (format csv, header false, force_quote *)")
            copying = connection.cursor().copy(f"copy {SCHEMA}.rival_{name} from stdin (format csv)")
            with copying as copy, path.open("rb") as file:
                while data := file.read(1 << 20):
                    copy.write(data)


Way = Callable[[Archive, str, Path], None]
ENGINES: dict[str, Way] = {"duckdb": with_duckdb, "spark": with_spark}


def measure(archive: Archive, dsn: str, repeats: int, engine: Way) -> None:
    ways = {"engine": engine, "rival": by_hand}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats):
        for way in ways if repeat % 2 else reversed(ways):
            seconds = timed(ways[way], way, archive, dsn)
            rates[way].append(archive.events / seconds)
            print(f"  {repeat + 1} {way:7} {rates[way][-1]:>9,.0f} events/s {seconds:>6.1f} s", flush=True)
    for way, found in rates.items():
        print(f"{way:9} median {statistics.median(found):>9,.0f} events/s, from files to rows in Postgres")
    ratios = [ours / theirs for ours, theirs in zip(rates["engine"], rates["rival"], strict=True)]
    print(f"ratio     median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")


def timed(way: Way, name: str, archive: Archive, dsn: str) -> float:
    """Seconds, from files to rows in Postgres."""
    make_tables(dsn, name)
    work = Path(tempfile.mkdtemp(prefix="bench-replay-"))
    began = time.perf_counter()
    way(archive, dsn, work)
    seconds = time.perf_counter() - began
    shutil.rmtree(work)
    return seconds


class Memory(threading.Thread):
    """The most memory of this process' children together, in MB, looked at ten times a second.

    What processes share counts once (PSS): a Java that spawns a process is two of its size for a moment.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self.most = 0.0

    def run(self) -> None:
        while not self._ended.wait(0.1):
            with contextlib.suppress(psutil.Error):
                children = psutil.Process().children(recursive=True)
                self.most = max(self.most, sum(child.memory_full_info().pss for child in children) / 1e6)

    def stop(self) -> float:
        self._ended.set()
        self.join()
        return self.most


def slope(dsn: str) -> None:
    sizes, took = [], []
    for events in SLOPE_EVENTS:
        with lake_of(dsn, events) as archive:
            memory = Memory()
            memory.start()
            seconds = timed(with_spark, "engine", archive, dsn)
            most = memory.stop()
        print(f"{archive.events:>11,} events {seconds:>6.1f} s {most:>6,.0f} MB at most", flush=True)
        sizes.append(math.log(archive.events))
        took.append(math.log(seconds))
    print(f"slope of the logarithms {statistics.linear_regression(sizes, took).slope:.2f}")


@contextlib.contextmanager
def lake_of(dsn: str, events: int) -> Iterator[Archive]:
    """A lake whose catalog is in Postgres, where Spark finds it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-lake-"))
    base = dsn.rpartition("/")[0]
    lake = {
        "type": "sql",
        "uri": f"{base}/{CATALOG}".replace("postgresql://", "postgresql+psycopg://"),
        "warehouse": (folder / "lake").as_uri(),
        "init_catalog_tables": "true",
    }
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"drop database if exists {CATALOG} with (force)")
            connection.execute(f"create database {CATALOG}")
        yield make_archive(folder / "lake", events, lake)
    finally:
        shutil.rmtree(folder)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"drop schema if exists {SCHEMA} cascade")
            connection.execute(f"drop database if exists {CATALOG} with (force)")


def make_tables(dsn: str, way: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"create schema if not exists {SCHEMA}")
        for name in TABLES:
            columns = ", ".join(f"{n} {postgres_type(c)}" for n, c in aggregate(name).columns.items())
            connection.execute(f"drop table if exists {SCHEMA}.{way}_{name}")
            connection.execute(f"create table {SCHEMA}.{way}_{name} ({columns})")


def compare(dsn: str) -> None:
    """Ends the bench when the two ways came to different tables."""
    with psycopg.connect(dsn) as connection:
        for name in TABLES:
            ours, theirs = f"{SCHEMA}.engine_{name}", f"{SCHEMA}.rival_{name}"
            query = (
                f"select (select count(*) from {ours}), (select count(*) from ((table {ours} except all table {theirs})"
                f" union all (table {theirs} except all table {ours})) as d)"
            )
            rows, different = connection.execute(query).fetchall()[0]
            print(f"{name:17} {rows:>9,} rows, {different} of them different")
            if different or not rows:
                raise SystemExit(f"{ours} and {theirs} differ")


def machine() -> str:
    return (
        f"{os.cpu_count()} × {platform.machine()}, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()},"
        f" DuckDB {duckdb.__version__}, pyiceberg {pyiceberg.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*ENGINES, "slope"])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--postgres", help="DSN; the stack's by default")
    options = parser.parse_args()
    dsn = options.postgres or load_settings().postgres_dsn
    print(machine())
    if options.what == "slope":
        slope(dsn)
        return
    with lake_of(dsn, options.events) as archive:
        files = sum(map(len, archive.files.values()))
        print(f"{archive.events:,} events of {archive.days} days in {files} files, {options.repeats} repeats in turn")
        measure(archive, dsn, options.repeats, ENGINES[options.what])
        compare(dsn)


if __name__ == "__main__":
    main()
