"""Notebooks on the run's stack: what they show, against what was published and against SQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from insights import dbt_run
from insights.settings import Settings
from insights.wiring import deployment
from producers.publisher import Publisher
from reconciliation.recorder import ReconciliationRecorder
from schemas.catalogue import Event, avro_events, event
from schemas.codec import Record
from schemas.registry import Registry
from tests.conftest import wait_until
from tests.e2e import table_contents
from tests.e2e.made_events import made, now
from tests.notebooks.executing import executed

ORDER_PLACED, ORDER_REFUNDED = OF_SALES = (event("sales.order_placed"), event("sales.order_refunded"))


@dataclass(frozen=True, slots=True)
class Sold:
    """A stack at rest. ``published`` are the orders of ``region``; ``counting`` are those that count, by event id."""

    stack: Settings
    postgres: psycopg.Connection[Any]
    region: str
    published: list[Record]
    counting: dict[str, Record]

    def one(self, query: str, *values: Any) -> Any:
        row = self.postgres.execute(query.encode(), values).fetchone()
        assert row
        return row[0]


@pytest.fixture(scope="module")
def sold(stack: Settings) -> Iterator[Sold]:
    region = f"notebooks-{uuid.uuid4()}"
    publisher = Publisher(stack.kafka, Registry(stack.registry_url), client_id="notebooks")
    # Of one customer, for one partition: what comes after this is judged by it.
    newest = made(ORDER_PLACED, now()) | {"region": region}
    counting, others = orders_like(newest)
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as postgres:
        published = [newest, *counting, *others]
        found = Sold(stack, postgres, region, published, {e["event_id"]: e for e in (newest, *counting)})
        publish(publisher, [newest])
        rest(found)
        publish(publisher, published[1:])
        publisher.publish(ORDER_REFUNDED, made(ORDER_REFUNDED, now() - timedelta(hours=23.5)))
        publisher.flush(60)
        rest(found)
        dbt_run.build(stack, "+daily_sales", full_refresh=False, say=lambda line: None)
        yield found


def orders_like(first: Record) -> tuple[list[Record], list[Record]]:
    """Further orders of an order's customer: those that count; and copies, former states, cancelled and late ones."""
    same = {"customer_id": first["customer_id"], "region": first["region"]}

    def order(hours: float, **more: Any) -> Record:
        return made(ORDER_PLACED, now() - timedelta(hours=hours)) | same | more

    plain, former = order(23.5), order(23.5, version=1)
    changed = former | {"event_id": str(uuid.uuid4()), "version": 2, "lines": former["lines"][:1]}
    late = [order(24.5), order(24.6)]
    return [plain, changed, order(0)], [plain, former, order(23.5, version=3, is_cancelled=True), *late]


def publish(publisher: Publisher, orders: list[Record]) -> None:
    for order in orders:
        publisher.publish(ORDER_PLACED, order)
    publisher.flush(60)


def rest(sold: Sold) -> None:
    """Wait until all that was published is judged, and is in the lake; then note the log's counts."""
    recorder = ReconciliationRecorder(deployment(sold.stack))

    def all_judged() -> bool:
        recorder.step()
        accounted = "bool_and(published = counted + duplicate + late + dead)"
        topics = [e.topic for e in OF_SALES]
        return bool(sold.one(f"select {accounted} from ops.log_counts where topic = any(%s)", topics))

    wait_until(all_judged, what="each order and refund has its fate", seconds=120, every=1)
    wait_until(lambda: not any(missing(sold, e) for e in OF_SALES), what="the lake has them", seconds=120, every=1)


def missing(sold: Sold, e: Event) -> int:
    """Readable records on the log that are not in the lake."""
    on_the_log = sum(table_contents.log_ends(sold.stack, e).values())
    unreadable = sold.one("select count(*) from ops.dead_records where topic = %s and is_unreadable", e.topic)
    return int(on_the_log - unreadable - table_contents.lake_rows(sold.stack, e))


def test_explore_the_lake_counts_what_is_on_the_log(sold: Sold) -> None:
    found = executed(
        "explore-the-lake",
        sold.stack,
        **{"tables": "tables.rows_by_key('table')", "same": "same", "rows_now": "rows_now"},
        **{"regions": "dict(by_duckdb.rows())", "rows_before": "rows_before"},
        **{"missing": "dict(against_log.select('topic', 'missing').rows())"},
    )
    assert found["same"] is True
    assert found["regions"][sold.region] == len(sold.published)
    in_lake = len(table_contents.lake(sold.stack, ORDER_PLACED))
    assert found["tables"][ORDER_PLACED.table][0][0] == in_lake == found["rows_now"]
    assert 0 < found["rows_before"] < in_lake
    assert found["missing"] == {e.topic: missing(sold, e) for e in avro_events()}
    assert {found["missing"][e.topic] for e in OF_SALES} == {0}


def test_from_event_to_mart_comes_to_the_facts_of_the_day_three_times(sold: Sold) -> None:
    names = ("day", "net_from_events", "net_live", "net_in_mart", "sales", "refunded", "is_final")
    found = executed(
        "from-event-to-mart",
        sold.stack,
        **{name: name for name in names},
        counting="orders['event_id'].to_list()",
        on_the_log="raw_orders['event_id'].to_list()",
    )
    of_day = "(occurred_at at time zone 'UTC')::date = %s"
    sales = sold.one(f"select sum(sales_amount) from events.order_lines where {of_day}", found["day"])
    refunded = sold.one(f"select coalesce(sum(amount), 0) from events.refunds where {of_day}", found["day"])
    assert (Decimal(found["sales"]), Decimal(found["refunded"])) == (sales, refunded)
    assert {Decimal(found[f"net_{name}"]) for name in ("from_events", "live", "in_mart")} == {sales - refunded}
    # Near midnight, the older ones are of several days.
    of_the_day = [e for e in sold.published if f"{e['occurred_at']:%Y-%m-%d}" == found["day"]]
    ours = {e["event_id"] for e in of_the_day}
    assert ours & set(found["counting"]) == ours & sold.counting.keys()
    assert sorted(id_ for id_ in found["on_the_log"] if id_ in ours) == sorted(e["event_id"] for e in of_the_day)
