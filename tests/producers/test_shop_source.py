"""The shop's processes on a real Kafka: killed at any time, nothing is lost, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from producers import runner
from producers.answer_key import answers
from producers.runner import Options
from producers.shop.customer_keys import KeyStore
from producers.shop.occurrences import (
    COST_STATED,
    CUSTOMER_CHANGED,
    FEE_CHARGED,
    INTERACTION,
    MINUTE_MS,
    ORDER_PLACED,
    ORDER_REFUNDED,
    SPEND_STATED,
    STOCK_MOVED,
    Occurrence,
)
from producers.shop.people import person
from producers.shop.shop_state import Cursor, ShopState, stock_levels
from producers.shop.simulation import Simulation
from producers.shop.visits import Shop
from producers.sources import source
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import Misconfigured
from schemas.registry import Registry

EVENTS = (
    *(ORDER_PLACED, ORDER_REFUNDED, CUSTOMER_CHANGED, INTERACTION, STOCK_MOVED),
    *(COST_STATED, FEE_CHARGED, SPEND_STATED),
)


def cursor_of(state: Path) -> Cursor | None:
    if not state.exists():
        return None
    shop_state = ShopState(state, {})
    try:
        return shop_state.cursor()
    finally:
        shop_state.close()


def drawn(shop: Shop, cursor: Cursor, *events: Any) -> list[Occurrence]:
    """What a shop that went live at the cursor's origin has to have published up to the cursor."""
    simulation = Simulation(shop, lambda number, field, text: None, origin=cursor.origin)
    found = []
    while simulation.minute < cursor.minute:
        found += [o for o in simulation.advance().occurrences if o.event in events]
    return found + [o for o in simulation.advance().occurrences if o.event in events][: cursor.done]


def progress(state: Path) -> int:
    cursor = cursor_of(state)
    return 0 if cursor is None else cursor.minute * 1_000_000 + cursor.done


@pytest.mark.parametrize(
    "kills",
    [pytest.param(1, id="once"), pytest.param(3, id="again and again", marks=pytest.mark.faults)],
)
def test_a_producer_that_is_killed_publishes_every_event_and_its_answer_key_is_exact(
    produce: Callable[..., Any], until: Callable[..., Any], log_of: Callable[..., Any], tmp_path: Path, kills: int
) -> None:
    log, state = log_of(*EVENTS), tmp_path / "state" / "shop.sqlite"
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    arguments = ("shop", "--rate", "3", "--seed", "11", "--start", start.isoformat())
    for _ in range(kills):
        before = progress(state)
        running = produce(*arguments)
        until(lambda before=before: progress(state) > before, seconds=120, what="the cursor moves")
        running.kill()
    last = produce(*arguments)
    until(lambda: last.logged("live"), seconds=180, what="the history is over")
    assert last.terminate() == 0

    cursor = cursor_of(state)
    assert cursor is not None
    expected = drawn(Shop(seed=11, rate=3), cursor, *EVENTS)
    published = {event.topic: log.records(event.topic) for event in EVENTS}
    ids = {record["event_id"] for records in published.values() for record in records}
    assert ids == {occurrence.event_id for occurrence in expected}
    found = answers(state)
    for event in EVENTS:
        days = {key: count for key, count in found["events_per_day"].items() if key[0] == event.topic}
        assert sum(count for (count,) in days.values()) == sum(o.event is event for o in expected)
    net = sum(
        line["quantity"] * line["unit_price"] - line["discount_amount"]
        for order in {order["event_id"]: order for order in published[ORDER_PLACED.topic]}.values()
        for line in order["lines"]
    )
    assert net == sum(measures[-1] for measures in found["sales_per_minute"].values()) > 0
    levels: dict[str, int] = {}
    for move in {move["event_id"]: move for move in published[STOCK_MOVED.topic]}.values():
        levels[move["product_id"]] = levels.get(move["product_id"], 0) + move["delta"]
    unfinished = {
        o.record["product_id"] for o in expected if o.event is STOCK_MOVED and o.at_ms >= cursor.minute * MINUTE_MS
    }
    written = stock_levels(state)
    assert {p: n for p, n in levels.items() if p not in unfinished} == {
        p: n for p, n in written.items() if p not in unfinished
    }


@pytest.fixture
def publish(stack: Any, tmp_path: Path) -> Callable[..., int]:
    """``publish("orders", max_events=10, …)``: run a source in this process; its state under tmp_path."""

    def run(name: str, clock: Callable[[], float] | None = None, **options: Any) -> int:
        given = Options(
            **{"kafka": stack.kafka, "registry_url": stack.registry_url, "state": tmp_path / "state", **options}
        )
        extra = {} if clock is None else {"clock": clock}
        return runner.run(source(name), given, Registry(stack.registry_url), stop=runner.Stop(), **extra)

    return run


START = datetime(2025, 3, 3, 6, tzinfo=UTC)


@pytest.mark.parametrize("name", ["orders", "customers", "clickstream", "stock", "finance"])
def test_a_part_of_the_shop_publishes_its_part_of_the_same_story(
    name: str, publish: Callable[..., int], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    events = [event for event in EVENTS if event.name in source(name).events]
    log = log_of(*events)
    assert publish(name, start=START, seed=12, rate=2.0, max_events=700) == 700
    cursor = cursor_of(tmp_path / "state" / f"{name}.sqlite")
    assert cursor is not None
    expected = drawn(Shop(seed=12, rate=2), cursor, *events)
    assert len(expected) == 700
    published = {record["event_id"]: record for event in events for record in log.records(event.topic)}
    hidden = {"name_encrypted", "email_encrypted"}
    # What is null may be left out where a record is made, and comes back from the log.
    assert {o.event_id: {k: v for k, v in o.record.items() if k not in hidden and v is not None} for o in expected} == {
        event_id: {k: v for k, v in record.items() if k not in hidden and v is not None}
        for event_id, record in published.items()
    }


def test_names_on_the_log_are_read_with_the_customers_key_and_only_while_it_exists(
    publish: Callable[..., int], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    log = log_of(CUSTOMER_CHANGED)
    publish("customers", start=START, seed=13, rate=2.0, max_events=5)
    keys = KeyStore(tmp_path / "state" / "keys.sqlite")
    for record in log.records(CUSTOMER_CHANGED.topic):
        number = int(record["customer_id"][1:])
        assert keys.unseal(number, "name", record["name_encrypted"]) == person(13, number, 0).name
        assert keys.unseal(number, "email", record["email_encrypted"]) == person(13, number, 0).email
        keys.delete(number)
        assert keys.unseal(number, "name", record["name_encrypted"]) is None
    keys.close()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 15}, "holds the cursor of a shop with seed 14, this run has seed 15"),
        ({"rate": 3.0}, "with rate 2, this run has rate 3"),
        ({"start": START + timedelta(hours=1)}, "use the same --start, or another --state folder"),
    ],
)
def test_a_cursor_of_another_shop_is_refused(publish: Callable[..., int], changed: dict[str, Any], says: str) -> None:
    options: dict[str, Any] = {"start": START, "seed": 14, "rate": 2.0, "max_events": 3}
    publish("stock", **options)
    with pytest.raises(Misconfigured, match=says):
        publish("stock", **{**options, **changed})


def test_a_shop_that_was_down_for_long_continues_at_the_present_and_reports_it(
    publish: Callable[..., int], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    state = tmp_path / "state" / "shop.sqlite"
    options: dict[str, Any] = {"seed": 16, "rate": 0.2, "history": timedelta(hours=1)}
    opened, closed = START.timestamp(), (START + timedelta(hours=20)).timestamp()
    publish("shop", clock=lambda: opened, max_events=2500, **options)
    before = cursor_of(state)
    log = log_of(*EVENTS)
    publish("shop", clock=lambda: closed, max_events=30, **options)
    after = cursor_of(state)
    assert before is not None
    assert after is not None
    assert after.origin * 60 == closed - 3600
    times = [record["occurred_at"] for event in EVENTS for record in log.records(event.topic)]
    assert len(times) == 30
    assert min(times) >= EPOCH + after.origin * MINUTE_MS * MILLISECOND


def test_a_shop_that_was_away_for_a_while_catches_up(publish: Callable[..., int], tmp_path: Path) -> None:
    state = tmp_path / "state" / "stock.sqlite"
    options: dict[str, Any] = {"seed": 17, "rate": 2.0, "history": timedelta(hours=1)}
    publish("stock", clock=START.timestamp, max_events=1520, **options)
    before = cursor_of(state)
    publish("stock", clock=(START + timedelta(hours=5)).timestamp, max_events=10, **options)
    after = cursor_of(state)
    assert before is not None
    assert after is not None
    assert after.origin == before.origin
    assert (after.minute, after.done) > (before.minute, before.done)
    assert len(drawn(Shop(seed=17, rate=2), after, STOCK_MOVED)) == 1530
