"""How many web events a second the collector takes onto the log, and how long a batch waits for its answer.

Batches of 50 events as the tracker sends them, each from another visitor, over connections that stay open; a batch is
done when it is answered, which is when Kafka has it. The collector has one core, who sends has the other. Against a
handler as one writes it by hand (aiohttp, json.loads, fastavro, confluent-kafka's Producer with the same settings): it
checks no field, knows no visit, bot, limit or clock that is wrong, and waits for Kafka batch by batch. Turn by turn, on
a Kafka and a registry of the bench's own, on the ports of the settings (INSIGHTS_KAFKA_PORT and the like).

    python -m bench.collect --seconds 10 --repeats 5
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import fastavro
from aiohttp import web
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient

from bench.order_file import log_of_its_own
from bench.producer import machine
from insights.settings import Settings, load_settings
from producers.collect import keys
from producers.collect.intake import INTERACTION
from producers.publisher import PRODUCER_SETTINGS
from schemas.registry import Registry

BATCH = 50
SHOPS = 10
PAGE = "https://bikes.example"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"
UP_SECONDS = 60.0
WAYS = ("collector", "by hand")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Events that were answered in some seconds, the collector's seconds of processor, and each batch's wait."""

    events: int
    seconds: float
    cpu: float
    waits: list[float]

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def wait_99(self) -> float:
        return statistics.quantiles(self.waits, n=100)[98]


def batch(number: int) -> bytes:
    at = int(time.time() * 1000)
    kinds = ("page_view", "product_view", "add_to_cart", "product_view", "checkout")
    events = [
        {
            "id": f"{number:016x}{n:016x}",
            "at": at - n,
            "interaction": kinds[n % 5],
            "page": f"/product/bike-{(number * BATCH + n) % 2_000}/",
            "product_id": f"P{(number * BATCH + n) % 2_000:05}",
            "referrer": "search.example",
            "campaign": "spring" if number % 3 else None,
        }
        for n in range(BATCH)
    ]
    return json.dumps({"sent_at": at, "events": events}).encode()


async def send(
    urls: list[str], connections: int, seconds: float, rate: float, first: int
) -> tuple[int, float, list[float]]:
    """As many batches as are answered in time, or ``rate`` events a second. Events, seconds, and each batch's wait."""
    waits: list[float] = []
    began = time.perf_counter()
    numbers = iter(range(first, sys.maxsize))

    async def visitor(session: aiohttp.ClientSession) -> None:
        while True:
            number = next(numbers)
            due = began + (number - first) * BATCH / rate if rate else time.perf_counter()
            if due - began > seconds or time.perf_counter() - began > seconds:
                return
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            headers = {
                "Origin": PAGE,
                "Content-Type": "text/plain",
                "User-Agent": CHROME.format(100 + number % 40),
                "X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            }
            body, sent = batch(number), time.perf_counter()
            async with session.post(urls[number % len(urls)], data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
            waits.append(time.perf_counter() - sent)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(visitor(session) for _ in range(connections)))
    return len(waits) * BATCH, time.perf_counter() - began, waits


def by_hand(port: int, kafka: str, registry: str) -> None:
    """The rival: serves until it is stopped."""
    version = SchemaRegistryClient({"url": registry}).get_latest_version(f"{INTERACTION.topic}-value")
    schema = fastavro.parse_schema(json.loads(version.schema.schema_str))
    header = struct.pack(">bI", 0, version.schema_id)
    producer = Producer({**PRODUCER_SETTINGS, "bootstrap.servers": kafka})

    async def take(request: web.Request) -> web.Response:
        sent = json.loads(await request.read())
        for event in sent["events"]:
            value = io.BytesIO()
            value.write(header)
            session = request.headers["X-Forwarded-For"]
            record: dict[str, Any] = {
                **{"event_id": event["id"], "occurred_at": event["at"], "source": "bikes", "trace": None},
                **{"session_id": session, "session_started_at": event["at"], "interaction": event["interaction"]},
                **{"user_id": None, "product_id": event["product_id"], "order_id": None, "page": event["page"]},
                **{"referrer": event["referrer"], "campaign": event["campaign"], "region": "unknown"},
            }
            fastavro.schemaless_writer(value, schema, record)
            producer.produce(INTERACTION.topic, value.getvalue(), session)
        await asyncio.get_running_loop().run_in_executor(None, producer.flush)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/events", take)
    app.router.add_get("/health", lambda request: web.Response())  # type: ignore[arg-type,return-value]
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


@contextmanager
def serving(way: str, settings: Settings, folder: Path, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    where = ["--kafka", str(settings.kafka), "--registry", settings.registry_url]
    port = str(settings.collect_port)
    command = {
        "collector": ["-m", "producers.main", "collect", "--collect-port", port, "--state", str(folder), *where],
        "by hand": ["-m", "bench.collect", "--by-hand", port, *where],
    }[way]
    with (folder / f"{way}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        deadline = time.monotonic() + UP_SECONDS
        while not _answers(f"{settings.collect_url}/health"):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{way} does not answer:\n{(folder / f'{way}.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 our own
            return bool(answer.status == 200)
    except OSError:
        return False


def turn(way: str, settings: Settings, folder: Path, shops: list[str], options: argparse.Namespace, first: int) -> Turn:
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if len(cores) > 1 else None
    urls = [f"{settings.collect_url}/v1/events?key={key}" for key in shops]
    with serving(way, settings, folder, core) as process:
        asyncio.run(send(urls, 4, 1.0, 0.0, first))  # what is loaded and compiled by the first batches
        before = _cpu(process.pid)
        events, seconds, waits = asyncio.run(
            send(urls, options.connections, options.seconds, options.rate, first + 1_000_000)
        )
        return Turn(events=events, seconds=seconds, cpu=_cpu(process.pid) - before, waits=waits)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(settings: Settings, folder: Path, options: argparse.Namespace) -> None:
    """Both, turn by turn; prints each turn, the medians and their ratio."""
    Registry(settings.registry_url).register(INTERACTION)
    shops = [keys.add(folder, f"bikes-{n}", [PAGE]).key for n in range(SHOPS)]  # each is held to 20,000 a second
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[0]})
    found: dict[str, list[Turn]] = {way: [] for way in WAYS}
    for repeat in range(options.repeats):
        for way in WAYS:
            each = turn(way, settings, folder, shops, options, first=repeat * 10_000_000)
            found[way].append(each)
            print(
                f"  {repeat + 1} {way:10} {each.rate:>7,.0f} events/s by the clock, {each.events / each.cpu:>7,.0f} a"
                f" second of processor; a batch waits {statistics.median(each.waits) * 1000:.1f} ms, 99 % at most"
                f" {each.wait_99 * 1000:.1f}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for way, turns in found.items():
        print(
            f"{way:10} median {statistics.median(t.rate for t in turns):,.0f} events/s by the clock,"
            f" {statistics.median(t.events / t.cpu for t in turns):,.0f} a second of processor,"
            f" 99 % within {statistics.median(t.wait_99 for t in turns) * 1000:.1f} ms"
        )
    ratios = [(a.events / a.cpu) / (b.events / b.cpu) for a, b in zip(*(found[way] for way in WAYS), strict=True)]
    print(f"ratio by the processor: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0 is as fast as it can")
    parser.add_argument("--by-hand", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--kafka", help=argparse.SUPPRESS)
    parser.add_argument("--registry", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.by_hand:
        by_hand(options.by_hand, options.kafka, options.registry)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="collect-") as folder:
        settings = load_settings().model_copy(update={"home": Path(folder) / "home"})
        with log_of_its_own(settings):
            compare(settings, Path(folder), options)


if __name__ == "__main__":
    main()
