"""How long an order takes from a shop's webhook until its row is seen in Postgres, polling included.

Orders of a stand-in shop, signed, each at its time; the receiver's process is started here. A Shopify webhook names an
order, which is then read from the shop; a WooCommerce webhook contains it. Some of Shopify's orders get no row: test
orders, and those of gift cards only. Talks to a stack that is up without
producers (`insights up --no-producers`), found by the same settings as the `insights` command's.

    python -m bench.webhook_rows --rate 20 --seconds 30 --repeats 2
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import aiohttp
import psycopg

from bench.producer import machine
from bench.webhooks import PLATFORMS, receiving, shop_of
from insights.settings import Settings, load_settings
from producers.connect.connections import Connections
from tests.shops.serving import Delivery

ROWS = "select order_id from events.orders where source = %(shop)s"
POLL_SECONDS, PATIENCE_SECONDS = 0.01, 60.0


async def send(url: str, deliveries: list[Delivery], shop: str, rate: float) -> dict[str, float]:
    """Each at its time; when each order was due to be sent, by monotonic clock."""
    sent: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        began = time.monotonic()

        async def deliver(delivery: Delivery) -> None:
            async with session.post(url, data=delivery.body, headers=delivery.headers) as answer:
                answer.raise_for_status()

        async with asyncio.TaskGroup() as sending:
            for n, delivery in enumerate(deliveries):
                due = began + n / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                sent[f"{shop}-{delivery.order_id}"] = due
                sending.create_task(deliver(delivery))
    return sent


def watch(settings: Settings, shop: str, seen: dict[str, float], done: threading.Event) -> None:
    """When each order's row was seen first, by monotonic clock."""
    with psycopg.connect(settings.postgres_dsn, autocommit=True) as connection:
        while not done.wait(POLL_SECONDS):
            rows = connection.execute(ROWS, {"shop": shop}).fetchall()
            at = time.monotonic()
            for (order_id,) in rows:
                seen.setdefault(order_id, at)


def turn(platform: str, settings: Settings, folder: Path, options: argparse.Namespace, seed: int) -> None:
    """Prints the waits of one turn."""
    name = f"{platform}-rows-{os.getpid()}-{seed}"
    folder /= name
    folder.mkdir()
    shop, credentials = shop_of(platform, seed)
    with shop.serving():
        since = shop.now - timedelta(days=1)
        Connections(folder).add(name=name, platform=platform, url=shop.url, since=since, credentials=credentials)
        placed = [shop.place() for _ in range(int(options.rate * options.seconds))]
        deliveries = [shop.delivery(order) for order in placed]  # type: ignore[arg-type]
        later = dict(shop.orders)
        shop.orders.clear()  # none of them is history
        seen: dict[str, float] = {}
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(settings, name, seen, done))
        with receiving(settings, folder, name, None):
            shop.orders.update(later)
            watcher.start()
            sent = asyncio.run(send(f"{settings.hooks_url}/hooks/{platform}/{name}", deliveries, name, options.rate))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while sent.keys() - seen.keys() and time.monotonic() < deadline:
                time.sleep(0.1)
        done.set()
        watcher.join()
    ms = [(seen[order] - due) * 1000 for order, due in sent.items() if order in seen]
    cuts = statistics.quantiles(ms, n=100)
    print(
        f"  {platform:11} {options.rate:,.0f}/s: {len(ms):,} rows of {len(sent):,} orders; half within"
        f" {cuts[49]:.0f} ms, 95 % within {cuts[94]:.0f}, 99 % within {cuts[98]:.0f}, all within {max(ms):.0f};"
        f" load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    """Each platform in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20.0, help="orders a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    settings = load_settings()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="webhook-rows-") as folder:
        for repeat in range(options.repeats):
            for platform in PLATFORMS:
                turn(platform, settings, Path(folder), options, repeat)


if __name__ == "__main__":
    main()
