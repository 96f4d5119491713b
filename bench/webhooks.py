"""How long a shop waits for the answer to a webhook, at so many deliveries a second: it comes when Kafka has the order.

Orders of a stand-in shop, signed, a fifth of them sent twice, each at its time whatever became of those before (a wait
is counted from when the delivery was due), over connections that stay open. The receiver has one core, who sends has
the other. On a Kafka and a registry of the bench's own, on the ports of the settings (INSIGHTS_KAFKA_PORT and so on).

    python -m bench.webhooks --rate 1000 --seconds 10 --repeats 3
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp

from bench.order_file import log_of_its_own
from bench.producer import machine
from insights.settings import Settings, load_settings
from producers.connect.connections import Connections, Credentials
from producers.connect.memory import progress
from tests.shops.serving import Delivery
from tests.shops.shopify import Shopify
from tests.shops.woocommerce import WooCommerce

PLATFORMS = ("woocommerce", "shopify")
CONNECTIONS_OPEN = 64
UP_SECONDS = 60.0
DOUBLED = 5  # each fifth is sent twice


async def send(url: str, deliveries: list[Delivery], rate: float) -> tuple[list[float], Counter[int]]:
    """Each at its time. How long each waited, in seconds, and how many had which answer."""
    waits: list[float] = []
    answers: Counter[int] = Counter()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_OPEN)
    async with aiohttp.ClientSession(connector=connector) as session:
        began = time.perf_counter()

        async def deliver(delivery: Delivery, due: float) -> None:
            async with session.post(url, data=delivery.body, headers=delivery.headers) as answer:
                await answer.read()
            waits.append(time.perf_counter() - due)
            answers[answer.status] += 1

        async with asyncio.TaskGroup() as sending:
            for n, delivery in enumerate(deliveries):
                due = began + n / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                sending.create_task(deliver(delivery, due))
    return waits, answers


def shop_of(platform: str, seed: int) -> tuple[WooCommerce | Shopify, Credentials]:
    """A stand-in shop, and its credentials."""
    if platform == "woocommerce":
        woo = WooCommerce(seed=seed)
        return woo, Credentials(key=woo.consumer_key, secret=woo.consumer_secret, webhook_secret=woo.webhook_secret)
    shopify = Shopify(seed=seed)
    secret = shopify.client_secret
    return shopify, Credentials(key=shopify.client_id, secret=secret, webhook_secret=secret)


def deliveries_of(shop: WooCommerce | Shopify, number: int) -> list[Delivery]:
    """So many, of as many orders as a fifth sent twice leaves."""
    found: list[Delivery] = []
    while len(found) < number:
        delivery = shop.delivery(shop.place())  # type: ignore[arg-type]
        found += [delivery] * (2 if len(found) % DOUBLED == 0 else 1)
    return found[:number]


@contextmanager
def receiving(settings: Settings, folder: Path, shop: str, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """The process that follows shops, from when the shop's history is read."""
    command = ["-m", "producers.main", "connections", "--hooks-port", str(settings.hooks_port), "--state", str(folder)]
    command += ["--kafka", str(settings.kafka), "--registry", settings.registry_url]
    log = folder / "connections.log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, *command], stdout=out, stderr=out)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        deadline = time.monotonic() + UP_SECONDS
        while not progress(folder, shop).is_history_done:
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"the shop is not followed:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        time.sleep(1.0)  # the reading of changes is over, too
        yield process
    finally:
        process.terminate()
        process.wait(30)


def turn(platform: str, settings: Settings, folder: Path, options: argparse.Namespace, seed: int) -> list[float]:
    """The waits of one turn; prints them."""
    shop, credentials = shop_of(platform, seed)
    name = f"{platform}-{seed}"
    folder /= name
    folder.mkdir()
    cores = sorted(os.sched_getaffinity(0))
    with shop.serving():
        since = shop.now - timedelta(days=1)
        Connections(folder).add(name=name, platform=platform, url=shop.url, since=since, credentials=credentials)
        deliveries = deliveries_of(shop, int(options.rate * options.seconds))
        url = f"{settings.hooks_url}/hooks/{platform}/{name}"
        shop.orders.clear()  # none of them is history, and the stand-in has little to do
        with receiving(settings, folder, name, cores[-1] if len(cores) > 1 else None) as process:
            before = _cpu(process.pid)
            waits, answers = asyncio.run(send(url, deliveries, options.rate))
            cpu = _cpu(process.pid) - before
    ms = [wait * 1000 for wait in waits]
    print(
        f"  {platform:11} {options.rate:,.0f}/s: half within {statistics.median(ms):.1f} ms, 99 % within"
        f" {statistics.quantiles(ms, n=100)[98]:.1f}, all within {max(ms):.0f}; answers {dict(answers)};"
        f" processor {cpu / options.seconds:.0%}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return ms


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000.0, help="deliveries a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="webhooks-") as folder:
        settings = load_settings().model_copy(update={"home": Path(folder) / "home"})
        with log_of_its_own(settings):
            for repeat in range(options.repeats):
                for platform in PLATFORMS:
                    turn(platform, settings, Path(folder), options, repeat)


if __name__ == "__main__":
    main()
