"""By which date sales count is changed on a stack that runs: orders are counted anew, proven, and shown.

Some orders are paid when they are placed, some later, some not; one is so late that only a restatement counts it. An
order that is paid later and one that never is are refunded before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from schemas.catalogue import event
from tests.conftest import environment_of
from tests.e2e import table_contents
from tests.e2e.hub import Hub, connect, quiet_hub
from tests.e2e.made_events import made, now

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

ORDER_PLACED, ORDER_REFUNDED = event("sales.order_placed"), event("sales.order_refunded")
PAYMENT, ORDER = "payment-date", "order-date"
# The orders of this file, in days ago: of a shop that says when they are paid, and of a file that never does.
SHOP, FILE = "made-shop", "made-file"
REGION = "made-by-payment"
WAITS = """
select l.event_id from ops.late_events as l
left join ops.restated_events as r using (topic, kafka_partition, kafka_offset) where r.topic is null
"""

Sums = dict[datetime, Decimal]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Hub]:
    """A stack with three days of a shop, and orders of another."""
    folder = tmp_path_factory.mktemp("sales-by")
    with quiet_hub(folder, idle_timeout_seconds=120, seed=7, rate=0.5, history="72h") as found:
        yield found


def order(at: datetime, source: str = SHOP, **fields: Any) -> dict[str, Any]:
    return made(ORDER_PLACED, at) | {"region": REGION, "source": source, "version": 1, "paid_at": None, **fields}


def later_state(of: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return of | {"event_id": str(uuid.uuid4()), "version": of["version"] + 1, **changes}


def refund(of: dict[str, Any], refund_id: str) -> dict[str, Any]:
    own = {"region": REGION, "source": of["source"], "order_id": of["order_id"], "refund_id": refund_id}
    return made(ORDER_REFUNDED, of["occurred_at"] + timedelta(minutes=1)) | own | {"version": 1, "order_paid_at": None}


def publish(hub: Hub, *records: dict[str, Any], late: bool = False) -> None:
    for record in records:
        hub.publish(ORDER_REFUNDED if "refund_id" in record else ORDER_PLACED, record, "late" if late else "counted")
    hub.flush()
    hub.come_to_rest()


def change(hub: Hub, date: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "insights", "sales-by", date],
        env={**os.environ, **environment_of(hub.settings)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "equal to the live jobs' results, in every cell" in said
    return said


def counted_at(record: dict[str, Any], date: str) -> datetime | None:
    placed, paid = record["occurred_at"], record["paid_at"]
    if date == ORDER or record["version"] is None or record["source"] == FILE:
        return max(placed, paid) if date == PAYMENT and paid else placed
    return max(placed, paid) if paid else None


def expected(hub: Hub, date: str, window: Callable[[datetime], datetime]) -> Sums:
    """Sales by window, from the lake's records alone: of each order its newest state that is not waiting to count."""
    with connect(hub.settings) as connection:
        waiting = {event_id for (event_id,) in connection.execute(WAITS)}
    fields = ("event_id", "occurred_at", "source", "order_id", "version", "is_cancelled", "paid_at", "lines")
    records = {r["event_id"]: r for r in table_contents.lake(hub.settings, ORDER_PLACED, *fields)}
    newest: dict[Any, dict[str, Any]] = {}
    for each in records.values():
        thing = (each["source"], each["order_id"]) if each["version"] is not None else each["event_id"]
        if each["event_id"] not in waiting and (each["version"] or 0) >= (newest.get(thing, each)["version"] or 0):
            newest[thing] = each
    sums: Sums = defaultdict(Decimal)
    for each in newest.values():
        at = counted_at(each, date)
        if at is not None and not each["is_cancelled"]:
            sums[window(at)] += sum(x["quantity"] * x["unit_price"] - x["discount_amount"] for x in each["lines"])
    return dict(sums)


def day(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def assert_sales_are_by(date: str, hub: Hub, *, marts: bool = False) -> None:
    with connect(hub.settings) as connection:

        def sums(query: str) -> Sums:
            return dict(connection.execute(query).fetchall())

        wanted = expected(hub, date, day)
        assert sums("select window_start, sum(sales_amount) from live.sales_per_day group by 1") == wanted
        by_minute = sums("select window_start, sum(sales_amount) from live.sales_per_minute group by 1")
        assert by_minute == expected(hub, date, minute)
        lines = "select date_trunc('day', occurred_at, 'UTC'), sum(sales_amount) from events.order_lines group by 1"
        assert sums(lines) == wanted
        if marts:
            in_marts = (
                "select day::timestamp at time zone 'UTC', sales_amount from marts.daily_sales"
                " where level = 'all' and orders > 0"
            )
            assert sums(in_marts) == wanted


def sold_on(hub: Hub, at: datetime) -> Decimal | None:
    with connect(hub.settings) as connection:
        row = connection.execute(
            "select sum(sales_amount) from live.sales_per_day where region = %s and window_start = %s",
            (REGION, day(at)),
        ).fetchone()
    return row[0] if row else None


def refunds_counted(hub: Hub) -> dict[str, datetime]:
    """The refunds that were made here, by their id: when each counts. The days' sums are of the same."""
    with connect(hub.settings) as connection:
        rows = connection.execute("select refund_id, occurred_at from events.refunds where region = %s", (REGION,))
        found = dict(rows.fetchall())
        sums = "select coalesce(sum(refunds), 0) from live.refunds_per_day where region = %s"
        assert connection.execute(sums, (REGION,)).fetchone() == (len(found),)
    return found


def test_orders_count_when_they_are_paid_and_then_when_they_are_placed_again(hub: Hub) -> None:
    at = now()
    midnight = day(at) - timedelta(days=2)
    long_ago, paid = order(midnight - timedelta(hours=1)), midnight + timedelta(hours=10)
    paid_later, unpaid = order(at - timedelta(minutes=50)), order(at - timedelta(minutes=40))
    publish(hub, paid_later, unpaid, order(at - timedelta(minutes=30), FILE), order(at, version=None))
    never, later, of_file = refund(unpaid, "R-never"), refund(paid_later, "R-later"), refund(order(at, FILE), "R-file")
    publish(hub, never, later, of_file)
    publish(hub, long_ago, later_state(long_ago, paid_at=paid), late=True)
    assert_sales_are_by(ORDER, hub)
    assert refunds_counted(hub).keys() == {"R-never", "R-later", "R-file"}

    assert f"Orders of {FILE} count by order date" in change(hub, PAYMENT)
    assert_sales_are_by(PAYMENT, hub, marts=True)
    with connect(hub.settings) as connection:
        assert connection.execute("select ops.sales_by()").fetchone() == ("payment date",)

    assert refunds_counted(hub).keys() == {"R-file"}

    before, paid_now = sold_on(hub, at), now()
    publish(hub, later_state(paid_later, paid_at=paid_now), later_state(later, order_paid_at=paid_now))
    assert_sales_are_by(PAYMENT, hub)
    assert refunds_counted(hub) == {"R-file": of_file["occurred_at"], "R-later": paid_now}
    assert sold_on(hub, at) != before, "it was paid after the change, and counts at once"

    hub.command("replay", "late")  # a process that knows the new date
    assert_sales_are_by(PAYMENT, hub)
    assert sold_on(hub, long_ago["occurred_at"]) is None
    assert sold_on(hub, paid), "it came too late for both days"

    change(hub, ORDER)
    assert_sales_are_by(ORDER, hub, marts=True)
    assert refunds_counted(hub)["R-later"] == later["occurred_at"]
    assert refunds_counted(hub).keys() == {"R-never", "R-later", "R-file"}
    assert sold_on(hub, long_ago["occurred_at"])
    assert sold_on(hub, paid) is None
    with connect(hub.settings) as connection:
        reasons = "select reason from ops.replays where reason like 'another%' order by promoted_at"
        assert [reason for (reason,) in connection.execute(reasons)] == [
            "another date of sales: by payment date, in days of UTC",
            "another date of sales: by order date, in days of UTC",
        ]
