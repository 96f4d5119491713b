"""A pipeline on a real Kafka, killed while the shop's database changes: nothing is lost, and nothing doubles."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from producers.pipelines.intake import ORDER_PLACED
from tests.producers.pipelines.documented import example
from tests.producers.pipelines.test_database import Shop
from tests.replay.own_postgres import own_postgres

ORDERS = 40
WRITES = 400


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with own_postgres(tmp_path / "postgres", "wal_level=logical") as dsn:
        made = Shop(dsn)
        made.do("create publication insights for table orders, order_lines")
        monkeypatch.setenv("SHOP_DATABASE", dsn)
        yield made


class Writer(threading.Thread):
    """Orders, changes and deletes until it has done so often enough."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(daemon=True)
        self._shop = shop
        self._chance = random.Random(7)
        self.written = 0

    def run(self) -> None:
        for write in range(WRITES):
            number = self._chance.randrange(ORDERS)
            with self._shop.transaction() as connection:
                self._write(connection, number, write)
            self.written += 1
            time.sleep(self._chance.random() / 20)  # as customers do

    def _write(self, connection: psycopg.Connection[Any], number: int, write: int) -> None:
        known = connection.execute("select 1 from orders where id = %s", (number,)).fetchone()
        if known and self._chance.random() < 0.3:
            connection.execute("delete from order_lines where order_id = %s", (number,))
            connection.execute("delete from orders where id = %s", (number,))
        elif known:
            connection.execute("update order_lines set quantity = %s where order_id = %s", (write + 1, number))
        else:
            order = "insert into orders values (%s, %s, '2026-07-01 12:00', 'DE', 4.90, 0.30)"
            connection.execute(order, (number, f"C{number}"))
            line = "insert into order_lines values (%s, 0, 'bell', %s, 19.99)"
            connection.execute(line, (number, write + 1))


def states(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the log says of each order, by version, each event once."""
    events = {each["event_id"]: each for each in records}
    assert all(events[each["event_id"]] == each for each in records)  # what has one id is one event
    found: dict[str, list[dict[str, Any]]] = {}
    for each in sorted(events.values(), key=lambda event: event["version"]):
        found.setdefault(each["order_id"], []).append(each)
    return found


def counted(state: dict[str, Any]) -> int:
    """The quantity that counts by this state; 0 where the order is withdrawn."""
    return 0 if state["is_cancelled"] else state["lines"][0]["quantity"]


@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.faults)])
def test_the_log_has_each_orders_last_state_and_no_state_twice_however_often_the_reader_is_killed(
    shop: Shop,
    produce: Callable[..., Any],
    log_of: Callable[..., Any],
    until: Callable[..., Any],
    tmp_path: Path,
    kills: int,
) -> None:
    log = log_of(ORDER_PLACED)
    file = tmp_path / "shop_log.py"
    file.write_text(example("python", "import changes"))
    chance, writer = random.Random(kills), Writer(shop)
    writer.start()
    for kill in range(kills):
        running = produce("dlt", "--pipeline", str(file), "--every", "1s")
        until(lambda run=running: run.logged("read"), seconds=120, what="the pipeline reads")
        written = min(WRITES, (kill + 1) * WRITES // kills + chance.randrange(20))
        until(lambda count=written: writer.written >= count, every=0.01, what=f"{written} changes")
        running.kill()
    writer.join(120)
    assert produce("dlt", "--pipeline", str(file)).process.wait(120) == 0
    found = states(log.records(ORDER_PLACED.topic))
    with psycopg.connect(shop.dsn) as connection:
        now = dict(connection.execute("select order_id::text, max(quantity) from order_lines group by 1").fetchall())
    assert {number: counted(each[-1]) for number, each in found.items() if counted(each[-1])} == now
    for number, each in found.items():
        versions = [state["version"] for state in each]
        assert len(set(versions)) == len(versions), number
        quantities = [counted(state) for state in each]
        assert all(before != after for before, after in zip(quantities, quantities[1:], strict=False)), number
