"""The comparison of a connected shop with the tables: a real Postgres, the shop's API over HTTP, no other server.

Longer than 400 lines, because all of it needs the same shop and the same tables, which are made here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from dashboards.model import load
from dashboards.query import question
from insights.agreement import record
from insights.agreement.compare import Comparison, HistoryUnread, compare, first_day
from insights.agreement.repair import counted_by, doubts, repair
from insights.cli import agree_command
from insights.cli.agree_views import days_apart, verdict
from insights.settings import PROJECT
from producers.connect.agreement import MEASURES, Agreement, Difference, Sold
from producers.connect.asking import ShopAway
from producers.connect.connections import Connection, Connections
from producers.connect.memory import FILE, Known, Memory
from producers.connect.orders import event_id_of_state
from producers.connect.rereads import Doubt
from producers.persons import requests
from schemas.binary import EPOCH, MILLISECOND
from schemas.errors import InsightsError, Misconfigured
from tests.alerts.made_stack import make_stack
from tests.shops.woocommerce import WooCommerce
from tests.shops.woocommerce_orders import Order
from tests.stack.compared_shop import Here, at_once, connected, count, history_is_read

DAY = timedelta(days=1)
NAME = "bikes"


@pytest.fixture
def shop() -> Iterator[WooCommerce]:
    with WooCommerce().serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str]) -> str:
    dsn = new_database()
    make_stack(dsn)
    return dsn


@pytest.fixture
def postgres(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "truncate ops.late_events, ops.connected_shops, ops.agreement_runs, ops.agreement_days,"
            " ops.agreement_orders; delete from events.orders; delete from events.order_lines;"
            " delete from events.refunds"
        )
        yield connection


@pytest.fixture
def here(database: str, tmp_path: Path, postgres: psycopg.Connection[Any]) -> Here:
    found = Here(home=tmp_path / "home", database=database)
    found.producers_dir.mkdir(parents=True)
    return found


@pytest.fixture
def connection(here: Here, shop: WooCommerce) -> Connection:
    """Of the shop, whose history is read."""
    history_is_read(here, NAME)
    return connected(here, shop, NAME)


def past(shop: WooCommerce, postgres: psycopg.Connection[Any], orders: int = 230) -> list[Order]:
    placed = [shop.place(at=shop.now - timedelta(hours=6 * n + 1)) for n in range(orders)]
    for order in placed:
        if order.id % 3 == 0:
            shop.refund(order)
        count(postgres, NAME, order)
    return placed


def compared(here: Here, connection: Connection, **more: Any) -> Comparison:
    return compare(here, connection, first_day(connection, datetime.now(UTC), None), pause=at_once, **more)


def noted(postgres: psycopg.Connection[Any], columns: str = "result, orders, different, pending, unread") -> Any:
    return postgres.execute(
        f"select {columns} from ops.agreement_runs order by compared_at".encode()  # noqa: S608 a test's own
    ).fetchall()


def test_a_shop_that_agrees_is_recorded_with_the_totals_of_every_day(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    past(shop, postgres)
    done = compared(here, connection)
    assert (done.agreement.result, done.agreement.orders) == ("equal", 230)
    assert f"{NAME} agrees: 230 orders placed since" in verdict(done)
    record.note(postgres, done)
    assert noted(postgres) == [("equal", 230, 0, 0, 0)]
    days = postgres.execute("select day, measure, in_shop, here from ops.agreement_days").fetchall()
    assert len(days) == 5 * len(done.agreement.days())
    assert all(there == ours for _, _, there, ours in days)
    sums = {name: sum(row[2] for row in days if row[1] == name) for name in ("orders", *MEASURES)}
    assert sums["sales"] == Decimal(sum(order.goods for order in shop.orders.values())) / 100
    assert sums["shipping"] == Decimal(sum(order.shipping for order in shop.orders.values())) / 100
    assert sums["tax"] == Decimal(sum(order.tax for order in shop.orders.values())) / 100
    assert sums["refunds"] == Decimal(sum(r.amount for order in shop.orders.values() for r in order.refunds)) / 100
    assert sums["orders"] == 230


def test_a_newer_comparison_replaces_days_and_orders_and_old_runs_go(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    edited, trashed, *_ = past(shop, postgres, 12)
    shop.place(at=shop.now - DAY, spoilt={"total": "much"})
    edited.fee += 100
    edited.modified = shop.now - timedelta(hours=3)
    shop.trash(trashed)
    record.note_failure(postgres, NAME, datetime.now(UTC) - 91 * DAY, "it was away")
    done = compared(here, connection)
    record.note(postgres, done)
    assert noted(postgres) == [("different", 13, 2, 0, 1)]
    rows = "select order_id, state, differs, in_shop, here, known from ops.agreement_orders order by in_shop is null"
    first, *others = postgres.execute(rows).fetchall()
    assert first[:3] == (str(edited.id), "different", "sales")
    assert Decimal(first[3]["sales"]) - Decimal(first[4]["sales"]) == 1
    assert {(row[0], row[1], row[2]) for row in others} >= {(str(trashed.id), "different", "missing in the shop")}
    assert {row[1] for row in others} == {"different", "unread"}
    assert days_apart(done.agreement).keys() == {edited.created.date(), trashed.created.date()}
    shop.trashed.clear()
    shop.orders = {order.id: order for order in shop.orders.values() if not order.spoilt}
    count(postgres, NAME, edited)
    record.note(postgres, compared(here, connection))
    assert [row[0] for row in noted(postgres)] == ["different", "equal"]
    assert postgres.execute("select count(*) from ops.agreement_orders").fetchone() == (0,)
    assert postgres.execute("select count(*) from ops.agreement_days where here <> in_shop").fetchone() == (0,)


def test_orders_that_change_while_they_are_compared_are_looked_at_again(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    placed = past(shop, postgres, 150)
    asked: list[int] = []
    new: list[Order] = []

    def meanwhile() -> None:
        """Behind what was read: an edit, an order that goes, and one that comes and is not in the tables yet."""
        asked.append(1)
        if len(asked) == 2:
            placed[-1].fee += 100
            count(postgres, NAME, shop.change(placed[-1]))
            shop.trash(placed[-2])
            postgres.execute("delete from events.order_lines where order_id = %s", (f"{NAME}-{placed[-2].id}",))
            new.append(shop.place(at=shop.now - 30 * DAY))

    async def counts_new(seconds: float) -> None:
        count(postgres, NAME, new[0])

    shop.before_list = meanwhile
    count(postgres, NAME, shop.place(at=shop.now - 20 * DAY))
    done = compare(here, connection, first_day(connection, datetime.now(UTC), None), pause=counts_new)
    assert (done.agreement.result, done.agreement.orders) == ("equal", 150)
    assert len(asked) == 3  # two pages, and once what differed


def test_what_the_next_reading_or_the_late_run_brings_is_pending_and_no_agreement(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    changed, *_ = past(shop, postgres, 4)
    changed.fee += 100
    shop.change(changed)
    done = compared(here, connection)
    assert (done.agreement.result, done.agreement.orders) == ("pending", 4)
    assert "3 of 4 orders placed since" in verdict(done)
    later = datetime.now(UTC) + timedelta(hours=2)
    assert compared(here, connection, clock=lambda: later).agreement.result == "different"
    memory = Memory(here.producers_dir / FILE)
    ms = int(shop.now.timestamp() * 1000)
    memory.keep(NAME, str(changed.id), Known(ms, 5, b"digest", {}, int(changed.created.timestamp() * 1000), {}))
    memory.commit()
    memory.close()
    (apart,) = compared(here, connection).agreement.differences
    assert (apart.cause, apart.is_pending) == ("apart", False)
    event_id = event_id_of_state(NAME, str(changed.id), 5, b"digest", int(changed.created.timestamp() * 1000))
    postgres.execute(
        "insert into ops.late_events (topic, kafka_partition, kafka_offset, event_id, occurred_at, watermark,"
        " aggregates) values ('sales.order_placed.v1', 0, 1, %s, now(), now(), '')",
        (event_id,),
    )
    (late,) = compared(here, connection).agreement.differences
    assert (late.cause, late.is_pending) == ("late", True)
    postgres.execute("insert into ops.restated_events values ('sales.order_placed.v1', 0, 1, 'r1')")
    (apart,) = compared(here, connection).agreement.differences
    assert apart.cause == "apart"
    postgres.execute("truncate ops.restated_events")


def test_a_shop_that_is_away_is_recorded_as_not_compared_and_is_due_again(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    past(shop, postgres, 4)
    agree_command.agree_due(here)
    agree_command.agree_due(here)
    assert noted(postgres) == [("equal", 4, 0, 0, 0)]  # once a day is enough
    postgres.execute("update ops.agreement_runs set compared_at = compared_at - interval '25 hours'")
    key, shop.consumer_key = shop.consumer_key, "ck_other"
    for _ in range(2):
        with pytest.raises(InsightsError, match=rf"{NAME}: .*does not accept the consumer key"):
            agree_command.agree_due(here)
    assert [row[0] for row in noted(postgres)] == ["equal", "failed", "failed"]
    assert noted(postgres, "since, orders, error like '%does not accept%'")[-1] == (None, None, True)
    assert key not in str(noted(postgres, "error"))
    assert postgres.execute("select count(*) from ops.agreement_days").fetchone() != (0,)
    shop.consumer_key = key
    agree_command.agree_due(here)
    assert noted(postgres)[-1] == ("equal", 4, 0, 0, 0)


def test_a_shop_whose_history_is_being_read_is_not_compared_and_keeps_no_other(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    past(shop, postgres, 2)
    unread = connected(here, shop, "accessories")
    with pytest.raises(HistoryUnread, match="the history of accessories is still being read"):
        compared(here, unread)
    agree_command.agree_due(here)
    assert noted(postgres, "shop, result") == [(NAME, "equal")]
    shops = "select shop from ops.connected_shops order by shop"
    assert postgres.execute(shops).fetchall() == [("accessories",), (NAME,)]
    Connections(here.producers_dir).remove(NAME)
    agree_command.agree_due(here)
    assert postgres.execute(shops).fetchall() == [("accessories",)]
    assert noted(postgres) == []


def test_the_open_requests_about_persons_are_recorded_for_the_alert_until_they_are_answered(
    postgres: psycopg.Connection[Any], here: Here
) -> None:
    asked_ms = 1_790_000_000_123
    for wish, who in (("erase", "bikes-17"), ("export", "bikes-18"), ("remove", "bikes")):
        assert requests.ask(here.producers_dir, wish, who, "customers/redact", asked_ms)
    recorded = "select answer from ops.privacy_requests order by number"
    for _ in range(2):
        agree_command.agree_due(here)
        assert postgres.execute(recorded).fetchall() == [
            ("insights privacy erase bikes-17",),
            ("insights privacy export bikes-18",),
            ("insights connect remove bikes",),
        ]
    (asked_at,) = postgres.execute("select distinct asked_at from ops.privacy_requests").fetchall()
    assert asked_at == (EPOCH + asked_ms * MILLISECOND,)
    requests.answer(here.producers_dir, "erase", {"bikes-17"}, asked_ms + 1)
    assert requests.close(here.producers_dir, 3, asked_ms + 1)
    agree_command.agree_due(here)
    assert postgres.execute(recorded).fetchall() == [("insights privacy export bikes-18",)]


def test_only_what_differs_of_an_order_is_read_again_and_not_what_is_late() -> None:
    day = datetime(2026, 11, 20, tzinfo=UTC).date()
    sold = Sold(day, Decimal(10), Decimal(5), Decimal(2), Decimal(0))

    def differs(there: Sold | None, here: Sold | None, cause: Any = "missed") -> Difference:
        return Difference(order_id="7", there=there, here=here, cause=cause)

    def found(*differences: Difference) -> list[Doubt]:
        return doubts(Agreement(there={}, here={}, differences=differences, unread={"?": "no id"}))

    assert found(differs(sold, None)) == [Doubt("7", order=True, refunds=True)]
    assert found(differs(None, sold)) == [Doubt("7", order=True, refunds=False)]
    assert found(differs(sold, sold._replace(sales=Decimal(9)))) == [Doubt("7", order=True, refunds=False)]
    assert found(differs(sold, sold._replace(refunds=Decimal(1)))) == [Doubt("7", order=False, refunds=True)]
    assert found(differs(sold, None, "late")) == []
    unread = Agreement(there={}, here={}, differences=(), unread={"9": "no total"})
    assert doubts(unread) == [Doubt("9", order=True, refunds=True)]
    assert found(differs(sold, None, "recent")) == [Doubt("7", order=True, refunds=True)]


def test_a_repair_where_nothing_reads_the_shop_says_so(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    past(shop, postgres, 2)
    done = compared(here, connection)
    assert repair(here, connection, done, say=lambda text: None) == 0
    shop.place(at=shop.now - timedelta(hours=5))
    with pytest.raises(Misconfigured, match="nothing reads the shop"):
        repair(here, connection, compared(here, connection), say=lambda text: None)


def test_late_orders_are_counted_once_their_day_is_final(here: Here) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    sold = Sold((now - 2 * DAY).date(), Decimal(10), Decimal(5), Decimal(2), Decimal(0))
    old, new = (Difference(order_id="7", there=each, here=None) for each in (sold, sold._replace(day=now.date())))
    assert counted_by(here, [old], now) == now + timedelta(hours=1)
    assert counted_by(here, [old, new], now) == datetime(2026, 11, 22, 1, tzinfo=UTC)


def test_a_shop_that_gives_up_in_the_middle_is_no_comparison(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection, monkeypatch: Any
) -> None:
    past(shop, postgres, 150)
    monkeypatch.setattr("producers.connect.asking.FIRST_PAUSE_SECONDS", 0.0)
    shop.before_list = lambda: shop.faults.extend(["500"] * 10)
    with pytest.raises(ShopAway):
        agree_command.compare_and_note(here, connection, first_day(connection, datetime.now(UTC), None))
    assert noted(postgres)[-1] == ("failed", None, None, None, None)


def on_the_page(postgres: psycopg.Connection[Any], shop: str = "") -> dict[str, list[dict[str, Any]]]:
    """What each card of the page shows."""
    dashboard = load(PROJECT / "dashboards" / "agreement.yaml")
    found = {}
    for card in dashboard.cards:
        asked = question(dashboard.expanded(card.sql), {"shop": shop})
        with postgres.cursor(row_factory=dict_row) as cursor:
            found[card.id] = cursor.execute(asked.sql.encode(), dict(asked.values)).fetchall()
    return found


def test_the_page_shows_the_newest_comparison_of_each_shop_and_what_to_do(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    before = on_the_page(postgres)
    assert [before[name] for name in ("shops", "days", "orders", "comparisons")] == [[], [], [], []]
    assert [before[name][0]["value"] for name in ("orders_compared", "comparison_age")] == [None, None]
    agree_command.note_shops(here)
    (waiting,) = on_the_page(postgres)["shops"]
    assert (waiting["result"], waiting["said"].partition(":")[0]) == ("waiting", "Not compared yet")
    edited, lost, *_ = past(shop, postgres, 30)
    edited.fee += 100
    for order in (edited, lost):
        order.modified = shop.now - timedelta(hours=3)
    postgres.execute("delete from events.order_lines where order_id = %s", (f"{NAME}-{lost.id}",))
    connected(here, shop, "accessories")
    agree_command.agree_due(here)
    shown = on_the_page(postgres)
    assert [(row["shop"], row["result"]) for row in shown["shops"]] == [("accessories", "waiting"), (NAME, "different")]
    assert shown["shops"][1]["said"].endswith(f"insights agree {NAME} --repair")
    assert [shown[name][0]["value"] for name in ("orders_compared", "orders_different")] == [30, 2]
    assert {(row["measure"], row["difference"]) for row in shown["days"]} >= {("orders", "-1")}
    assert {row["order_id"] for row in shown["orders"]} == {str(edited.id), str(lost.id)}
    assert all("not read since it was changed" in row["known"] for row in shown["orders"])
    sides = {row["order_id"]: row["sides"] for row in shown["orders"]}
    assert re.fullmatch(r"sales: shop [0-9.]+, tables none", sides[str(lost.id)])
    assert re.fullmatch(r"sales: shop [0-9.]+, tables [0-9.]+", sides[str(edited.id)])
    assert on_the_page(postgres, "accessories")["days"] == []
    record.note_failure(postgres, NAME, datetime.now(UTC), "it answered 503")
    failed = on_the_page(postgres, NAME)
    assert failed["shops"][0]["result"] == "failed"
    record.note_failure(postgres, NAME, datetime.now(UTC) + timedelta(hours=1), "it answered 500")
    (row,) = postgres.execute("select min(compared_at) from ops.agreement_runs where result = 'failed'").fetchall()
    since = row[0].astimezone(UTC).strftime("%H:%M")
    said = on_the_page(postgres, NAME)["shops"][0]["said"]
    assert said.startswith("Could not be compared since ")
    assert said.endswith(f"{since} UTC, and is tried again every hour: it answered 500")
    assert failed["orders_different"] == [{"value": 2}]  # what was found before is no agreement now


def test_an_order_in_another_currency_is_compared_as_it_was_charged_and_added_to_no_other(
    shop: WooCommerce, postgres: psycopg.Connection[Any], here: Here, connection: Connection
) -> None:
    then = shop.now - DAY
    euros, dollars = shop.place(at=then), shop.place(at=then, currency="USD")
    refund = shop.refund(dollars, at=then)
    for order in (euros, dollars):
        count(postgres, NAME, order)
    charged = [Decimal(units) / 100 for units in (dollars.total, dollars.shipping, dollars.tax)]
    for amounts, result in ((charged, "equal"), ([charged[0] + 1, *charged[1:]], "different")):
        # In euros it is something else, which the shop says nowhere.
        postgres.execute(
            "update events.orders set shipping_amount = 1, tax_amount = 1, charged_currency = 'USD',"
            " charged_total_amount = %s, charged_shipping_amount = %s, charged_tax_amount = %s where order_id = %s",
            (*amounts, f"{NAME}-{dollars.id}"),
        )
        postgres.execute(
            "update events.refunds set amount = 1, charged_amount = %s where refund_id = %s",
            (Decimal(refund.amount) / 100, str(refund.id)),
        )
        found = compared(here, connection).agreement
        assert found.result == result
    ((there, ours),) = found.days().values()
    assert there.measures["sales"] == ours.measures["sales"] == Decimal(euros.goods) / 100
    assert there.measures["sales USD"] == Decimal(dollars.goods) / 100 == ours.measures["sales USD"] - 1
    assert there.measures["refunds USD"] == Decimal(refund.amount) / 100
    (difference,) = found.differences
    assert (difference.order_id, difference.what) == (str(dollars.id), "sales")
