"""How many orders a second come onto the log from an order file: whole processes, to the last acknowledgement.

CDNOW's 69,659 orders, one after the other as often as asked for, through `insights produce orders --from-file` and
through a script as one writes it by hand (pandas.read_csv, fastavro, confluent-kafka's Producer with the same
settings): it checks no row, gives other ids when it is run again, remembers nothing and keeps no answer key. Turn by
turn, on a Kafka and a registry of the bench's own, on the ports of the settings (INSIGHTS_KAFKA_PORT and the like).

    python -m bench.order_file --times 5 --repeats 5
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.producer import machine
from insights.settings import Settings, load_settings
from insights.stack.composition import create_topics
from insights.stack.part import Task
from insights.stack.process_record import read_state
from insights.stack.servers import servers
from insights.stack.supervisor import Supervisor

ORDERS = 69_659
SERVERS = ("postgres", "kafka", "registry")
UP_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A process from its start to its end: seconds by the clock, and of processor time, its threads included."""

    wall: float
    cpu: float


def cdnow() -> Path:
    """The file, found without importing the package that ships it."""
    found = importlib.util.find_spec("lifetimes")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the package lifetimes is not installed; `make test` does it")
    return Path(found.submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"


@contextmanager
def log_of_its_own(settings: Settings) -> Iterator[None]:
    """Kafka with its topics, and the registry with what it stands on."""
    topics = Task(name="topics", run=partial(create_topics, settings.kafka), after=("kafka",))
    parts = [*(part for part in servers(settings) if part.name in SERVERS), topics]
    for folder in (settings.run_dir, settings.logs_dir):
        folder.mkdir(parents=True)
    supervisor = Supervisor(parts, run_dir=settings.run_dir, logs_dir=settings.logs_dir)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        deadline = time.monotonic() + UP_SECONDS
        while not _is_up(settings):
            if time.monotonic() > deadline:
                raise SystemExit(f"the servers are not up after {UP_SECONDS:g} s; see {settings.logs_dir}")
            time.sleep(0.2)
        yield
    finally:
        supervisor.request_stop()
        thread.join()


def _is_up(settings: Settings) -> bool:
    states = {name: record.state for name, record in read_state(settings.run_dir).items()}
    return bool(states) and all(states.get(name) in ("running", "done") for name in (*SERVERS, "topics"))


def timed(command: list[str], log: Path) -> Timed:
    """Run a command to its end. Raises SystemExit when it fails."""
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    return Timed(wall=time.perf_counter() - began, cpu=usage.ru_utime + usage.ru_stime)


def by_hand(file: Path, kafka: str, registry: str) -> None:
    """The rival."""
    import json
    import uuid
    from datetime import UTC
    from decimal import Decimal

    import fastavro
    import pandas
    from confluent_kafka import Producer
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from producers.publisher import PRODUCER_SETTINGS
    from producers.shop.occurrences import ORDER_PLACED

    version = SchemaRegistryClient({"url": registry}).get_latest_version(f"{ORDER_PLACED.topic}-value")
    header = b"\0" + version.schema_id.to_bytes(4, "big")
    schema = fastavro.parse_schema(json.loads(ORDER_PLACED.schema_text))
    producer = Producer({**PRODUCER_SETTINGS, "bootstrap.servers": kafka})
    rows = pandas.read_csv(file, sep=r"\s+", dtype={"customer_id": str, "date": str, "dollar_value": str})
    rows["at"] = pandas.to_datetime(rows["date"], format="%Y%m%d", utc=True)
    none, cent = Decimal("0.00"), Decimal("0.01")
    for number, row in enumerate(rows.itertuples(index=False)):
        price = (Decimal(row.dollar_value) / row.number_of_cds).quantize(cent)
        line = {"product_id": "cd", "category": "Music", "brand": None, "quantity": row.number_of_cds}
        order = {
            **{"event_id": str(uuid.uuid4()), "occurred_at": row.at.to_pydatetime().astimezone(UTC), "source": "cdnow"},
            **{"trace": None, "order_id": f"cdnow-{number}", "customer_id": row.customer_id, "region": "NA"},
            **{"currency": "USD", "channel": "web", "session_id": None, "shipping_amount": none, "tax_amount": none},
            "lines": [{**line, "unit_price": price, "discount_amount": none}],
        }
        value = io.BytesIO(header)
        value.seek(len(header))
        fastavro.schemaless_writer(value, schema, order)
        producer.produce(ORDER_PLACED.topic, value.getvalue(), row.customer_id)
        if not number % 256:
            producer.poll(0)
    producer.flush()


def several(file: Path, times: int, folder: Path) -> Path:
    """The file with its rows so many times over; each is an order of its own."""
    header, _, rows = file.read_bytes().partition(b"\n")
    found = folder / file.name
    found.write_bytes(header + b"\n" + b"\n".join([rows.strip(b"\r\n")] * times))
    return found


def compare(settings: Settings, folder: Path, repeats: int, times: int) -> None:
    """Both, turn by turn; prints each turn, the medians and their ratio."""
    file, orders = several(cdnow(), times, folder), ORDERS * times
    where = ["--kafka", str(settings.kafka), "--registry", settings.registry_url]
    ours = [sys.executable, "-m", "producers.main", "orders", "--from-file", str(file), *where]
    ours += ["--mapping", str(Path(__file__).parents[1] / "producers" / "mappings" / "cdnow.toml"), "--currency", "USD"]
    ways = {"order file": ours, "by hand": [sys.executable, "-m", "bench.order_file", "--by-hand", str(file), *where]}
    found: dict[str, list[Timed]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, command in ways.items():
            state = ["--state", str(folder / f"state-{repeat}")] if way == "order file" else []
            each = timed([*command, *state], folder / "out.log")
            if repeat == 0:  # the first registers the contract, and warms what both read
                continue
            found[way].append(each)
            print(
                f"  {repeat} {way:10} {orders / each.wall:>7,.0f} orders/s by the clock,"
                f" {orders / each.cpu:>7,.0f} a second of processor, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for way, runs in found.items():
        wall, cpu = statistics.median(r.wall for r in runs), statistics.median(r.cpu for r in runs)
        print(
            f"{way:10} median {wall:.2f} s by the clock and {cpu:.2f} s of processor: {orders / wall:,.0f} and"
            f" {orders / cpu:,.0f} orders a second"
        )
    pairs = zip(found["order file"], found["by hand"], strict=True)
    ratios = [(theirs.wall / our.wall, theirs.cpu / our.cpu) for our, theirs in pairs]
    for name, each in zip(("clock", "processor"), zip(*ratios, strict=True), strict=True):
        print(f"ratio by the {name}: median {statistics.median(each):.2f}, from {min(each):.2f} to {max(each):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--by-hand", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kafka", help=argparse.SUPPRESS)
    parser.add_argument("--registry", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.by_hand:
        by_hand(options.by_hand, options.kafka, options.registry)
        return
    print(machine())
    with tempfile.TemporaryDirectory(prefix="order-file-") as folder:
        settings = load_settings().model_copy(update={"home": Path(folder) / "home"})
        with log_of_its_own(settings):
            compare(settings, Path(folder), options.repeats, options.times)


if __name__ == "__main__":
    main()
