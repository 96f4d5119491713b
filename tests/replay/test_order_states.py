"""A late event of an order that counts by payment touches the windows of every state of its order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aggregates.catalogue import ShopsClock, aggregates, go_by, shops_clock
from replay.late_events import Touched, _touched, ripe
from replay.order_states import counted_times
from replay.planning import _windows
from schemas.catalogue import event
from schemas.versions import ByPayment
from tests.e2e.made_events import made
from tests.flink.live_on_files import DEPLOYMENT
from tests.replay import own_lake
from tests.replay.duckdb_task import archived_rows
from tests.replay.own_lake import OwnContext

ORDERS = event("sales.order_placed")
PLACED = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
DAY = timedelta(days=1)


@contextmanager
def by_payment() -> Iterator[None]:
    before = shops_clock()
    go_by(replace(before, payment=ByPayment(undated=("csv",)), changed_payment=1))
    try:
        yield
    finally:
        go_by(before)


def state(order_id: str, **fields: Any) -> dict[str, Any]:
    found = made(ORDERS, PLACED)
    return {**found, "source": "shop", "order_id": order_id, "version": 1, "paid_at": None, **fields}


def with_lake(folder: Path, *records: dict[str, Any]) -> OwnContext:
    own_lake.archive(folder, ORDERS, archived_rows(records))
    return OwnContext(deployment=DEPLOYMENT, work_dir=folder, code="unknown", texts=())


def test_an_order_counts_at_the_times_of_all_its_states_that_are_paid(tmp_path: Path) -> None:
    context = with_lake(
        tmp_path,
        state("O-1", paid_at=PLACED + 2 * DAY),
        state("O-1", version=2),
        state("O-1", version=3, paid_at=PLACED + 5 * DAY),
        state("O-1", occurred_at=PLACED + DAY, version=4, paid_at=PLACED + 9 * DAY),  # another order of that number
        state("O-2"),
        state("O-3", paid_at=PLACED - DAY),
        state("O-4", source="csv"),
        state("O-5", version=None),
    )
    found = counted_times(context, ORDERS, ByPayment(undated=("csv",)), {(0, n) for n in (1, 4, 5, 6, 7)})
    assert found == {
        (0, 1): {PLACED + 2 * DAY, PLACED + 5 * DAY},
        (0, 4): set(),
        (0, 5): {PLACED},
        (0, 6): {PLACED},
        (0, 7): {PLACED},
    }


def test_a_late_payment_waits_until_the_day_of_payment_is_final_and_restates_that_day_too(tmp_path: Path) -> None:
    context = with_lake(tmp_path, state("O-1"), state("O-1", version=2, paid_at=PLACED + 5 * DAY), state("O-2"))
    with by_payment():
        late: list[Touched] = list(_touched(context, ORDERS, {(0, 1): PLACED, (0, 2): PLACED}))
        assert [t.moments["sales_per_day"] for t in late] == [(PLACED, PLACED + 5 * DAY), (PLACED,)]

        def final(at: datetime) -> dict[str, datetime]:
            return {a.name: at for a in aggregates()}

        assert [t.offset for t in ripe(late, final(PLACED + 5 * DAY))] == [2], "the day of payment is not over"
        assert [t.offset for t in ripe(late, final(PLACED + 7 * DAY))] == [1, 2]
        (days,) = [a for a in aggregates() if a.name == "sales_per_day"]
        assert [stretch.since for stretch in _windows(days, late)] == [
            PLACED.replace(hour=0, minute=0),
            PLACED.replace(hour=0, minute=0) + 5 * DAY,
        ]


def test_a_change_of_the_date_of_sales_is_a_new_version_of_what_is_computed_of_orders_and_of_nothing_else() -> None:
    before = {a.name: a for a in aggregates()}
    clock = ShopsClock(payment=ByPayment(), changed_payment=1)
    after = {name: a.by(clock) for name, a in before.items()}
    changed = {name for name, a in after.items() if a.version != before[name].version}
    assert changed == {name for name, a in after.items() if a.fingerprint != before[name].fingerprint}
    assert changed == {
        "customer_orders_per_day",
        "order_discounts",
        "order_lines",
        "orders",
        "product_activity_per_hour",
        "refund_lines",
        "refunded_goods_per_day",
        "refunds",
        "refunds_per_day",
        "sales_per_day",
        "sales_per_minute",
    }
    back = {name: a.by(ShopsClock(changed_payment=2)) for name, a in before.items()}
    assert all(a.fingerprint == before[name].fingerprint for name, a in back.items())
    assert {back[name].version - before[name].version for name in changed} == {2}
