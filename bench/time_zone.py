"""How long a change of the shop's time zone takes over a year of orders, and its steps.

Talks to a stack that is up without producers and builds no marts by itself (`INSIGHTS_DBT_MINUTES=0 insights up
--no-producers`), and has counted nothing yet; found by the same settings as the `insights` command's.

    python -m bench.time_zone --orders 1000000 Asia/Kolkata America/New_York UTC

The orders are the synthetic shop's, spread evenly over a year until now. When all are counted and the marts are built,
each zone is chosen in turn, as `insights time-zone` does it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg

from aggregates.zones import zone
from bench.producer import machine, orders
from insights.dbt_run import build
from insights.engines import engine_of
from insights.settings import Settings, load_settings
from insights.time_zone import choose, recount
from insights.wiring import replay_context
from producers.publisher import Publisher
from producers.shop.occurrences import ORDER_PLACED
from replay.planning import final_until
from schemas.registry import Registry

COUNTED = "select coalesce(sum(on_time), 0) from ops.event_counts"
PATIENCE_SECONDS = 1200.0


def publish(settings: Settings, count: int) -> None:
    """The orders, each with an id and a time of its own. Blocks until they are acknowledged."""
    publisher = Publisher(settings.kafka, Registry(settings.registry_url), client_id="bench")
    began, step = datetime.now(UTC) - timedelta(days=365), timedelta(days=365) / count
    for number, record in enumerate(orders(count)):
        at = began + number * step
        own = {"event_id": f"bench-{number}", "order_id": f"B{number}"}
        publisher.publish(ORDER_PLACED, {**record, **own, "occurred_at": at.replace(microsecond=0)})
    publisher.flush()


def await_final(settings: Settings, count: int) -> None:
    """Until all are counted, and windows of the last weeks are final."""
    context, deadline = replay_context(settings), time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
        while True:
            (counted,) = connection.execute(COUNTED).fetchone() or (0,)
            final = final_until(context).get("sales_per_day")
            if counted >= count and final and final > datetime.now(UTC) - timedelta(days=7):
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"{counted:,} of {count:,} orders are counted after {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.5)


def timed(step: str, do: Callable[[], object]) -> None:
    """Prints the step's seconds."""
    began = time.monotonic()
    do()
    print(f"{time.monotonic() - began:8.1f} s  {step}", flush=True)


def change(settings: Settings, name: str) -> None:
    """Prints a line a step: its seconds are from what was said to what was said next."""
    began = last = time.monotonic()
    said = "started"

    def say(line: str) -> None:
        nonlocal last, said
        now = time.monotonic()
        print(f"{now - last:8.1f} s  {said}", flush=True)
        last, said = now, line

    choose(settings, zone(name))
    engine = engine_of(settings, "duckdb", say)
    proof = recount(replay_context(settings), engine, change="another time zone", by="bench", say=say)
    say("building the marts")
    build(settings, None, full_refresh=False, say=lambda line: None)
    say("done")
    print(f"{last - began:8.1f} s  in all to {name}; {proof.run} is {proof.status}", flush=True)


def main() -> None:
    """Prints a line a step and the sum of each zone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zones", nargs="+")
    parser.add_argument("--orders", type=int, default=1_000_000)
    options = parser.parse_args()
    settings = load_settings()
    print(machine())
    timed(f"publishing {options.orders:,} orders", lambda: publish(settings, options.orders))
    timed("until they are counted and final", lambda: await_final(settings, options.orders))
    timed(
        "building the marts for the first time", lambda: build(settings, None, full_refresh=False, say=lambda _: None)
    )
    for name in options.zones:
        change(settings, name)


if __name__ == "__main__":
    main()
