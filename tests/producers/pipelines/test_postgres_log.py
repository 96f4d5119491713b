"""A shop's Postgres, read from its log by the example of docs/sources.md."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry

from producers.metrics import SLOT_BYTES
from producers.pipelines import postgres
from producers.pipelines.pgoutput import Decoder
from producers.pipelines.postgres import hidden_by
from producers.pipelines.source import SourceFailed
from schemas import catalogue
from schemas.errors import Misconfigured
from tests.conftest import wait_until
from tests.producers.connect.kept import Kept
from tests.producers.pipelines.conftest import Pipeline
from tests.producers.pipelines.documented import example
from tests.producers.pipelines.test_database import Shop
from tests.replay.own_postgres import own_postgres

ORDERS = catalogue.event("sales.order_placed").topic


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a Postgres of the module's own, whose log says what changed."""
    home = tmp_path_factory.mktemp("postgres") / "home"
    with own_postgres(home, "wal_level=logical", "max_replication_slots=20") as dsn:
        yield dsn


@pytest.fixture
def shop(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Shop]:
    name = f"shop_{abs(hash(request.node.name))}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    made = Shop(server.rpartition("/")[0] + f"/{name}")
    made.do("create publication insights for table orders, order_lines")
    monkeypatch.setenv("SHOP_DATABASE", made.dsn)
    yield made
    with psycopg.connect(made.dsn, autocommit=True) as connection:
        connection.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'insights'"
        )


@pytest.fixture
def bikes(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path, example("python", "import changes"))


def said(bikes: Pipeline) -> list[tuple[Any, ...]]:
    """Of each event its order, its region, and whether it is withdrawn."""
    return [(each["order_id"], each["region"], each["is_cancelled"]) for each in bikes.log.records(ORDERS)]


def asked(shop: Shop, query: str) -> Any:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        (found,) = connection.execute(query.encode()).fetchone() or (None,)
        return found


@contextmanager
def a_standby_awaited(shop: Shop) -> Iterator[None]:
    """From here until it is left, a commit waits for a standby that there is not."""
    names = "alter system set synchronous_standby_names = '{}'"
    shop.do(names.format("nobody"))
    shop.do("select pg_reload_conf()")
    wait_until(lambda: asked(shop, "show synchronous_standby_names") == "nobody")
    try:
        yield
    finally:
        shop.do(names.format(""))
        shop.do("select pg_reload_conf()")


def test_what_was_there_is_read_first_and_then_what_changes(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    bikes.read()
    shop.order(2, "lamp", "bell")
    shop.do("update orders set country = 'FR' where id = 1")
    bikes.read()
    bikes.read()
    assert sorted(said(bikes)) == [("1", "DE", None), ("1", "FR", None), ("2", "DE", None)]
    two = next(each for each in bikes.log.records(ORDERS) if each["order_id"] == "2")
    assert [line["unit_price"] for line in two["lines"]] == [Decimal("19.99"), Decimal("19.99")]


def test_a_change_of_a_line_alone_is_a_new_state_of_its_order(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell", "lamp")
    bikes.read()
    shop.do("delete from order_lines where sku = 'lamp'")
    bikes.read()
    assert [len(each["lines"]) for each in bikes.log.records(ORDERS)] == [2, 1]


def test_a_deleted_order_is_withdrawn_with_the_time_that_it_had(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    shop.order(2, "bell")
    bikes.read()
    shop.do("delete from order_lines where order_id = 1; delete from orders where id = 1")
    bikes.read()
    first, _, gone = bikes.log.records(ORDERS)
    assert (gone["order_id"], gone["is_cancelled"], gone["occurred_at"]) == ("1", True, first["occurred_at"])


def test_an_order_whose_number_changes_is_withdrawn_and_is_another(shop: Shop, bikes: Pipeline) -> None:
    shop.do("alter table order_lines drop constraint order_lines_order_id_fkey")
    shop.order(1, "bell")
    bikes.read()
    shop.do("update orders set id = 3; update order_lines set order_id = 3")
    bikes.read()
    assert sorted(said(bikes)[1:]) == [("1", "DE", True), ("3", "DE", None)]


def test_what_is_rolled_back_or_of_another_table_is_nothing(shop: Shop, bikes: Pipeline) -> None:
    bikes.read()
    with shop.transaction() as connection:
        connection.execute("insert into orders values (1, 'C1', '2026-07-01 12:00', 'DE', 0, 0)")
        connection.rollback()
    shop.do("update products set price = price + 1")
    bikes.read()
    assert said(bikes) == []


def test_a_transaction_that_is_open_while_others_commit_is_read_when_it_commits(shop: Shop, bikes: Pipeline) -> None:
    bikes.read()
    with shop.transaction() as late:
        late.execute("insert into orders values (1, 'C1', '2026-07-01 12:00', 'DE', 0, 0)")
        late.execute("insert into order_lines values (1, 0, 'bell', 1, 1.00)")
        shop.order(2, "bell")
        bikes.read()
        bikes.read()
    bikes.read()
    assert [each[0] for each in said(bikes)] == ["2", "1"]


def test_a_truncated_table_withdraws_all_its_orders(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    bikes.read()
    shop.do("truncate orders, order_lines")
    bikes.read()
    assert [each[2] for each in said(bikes)] == [None, True]


def test_many_rows_that_a_truncation_took_are_withdrawn_a_day_later(shop: Shop, bikes: Pipeline) -> None:
    for number in range(6):
        shop.order(number, "bell")
    bikes.read()
    shop.do("truncate orders, order_lines")
    bikes.read()
    shop.order(5, "bell")
    bikes.clock.now += 86_400
    bikes.read()
    assert sorted(each[0] for each in said(bikes) if each[2]) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("kind", "key"), [("bytea", "'\\x00ff'"), ("double precision", "7"), ("numeric(9, 2)", "7")])
def test_a_key_is_what_the_log_writes_whatever_its_type_is(shop: Shop, bikes: Pipeline, kind: str, key: str) -> None:
    view = example("sql", "create view hub_orders").split(";")[0]
    shop.do("drop view hub_orders; alter table order_lines drop constraint order_lines_order_id_fkey")
    for table, column in (("orders", "id"), ("order_lines", "order_id")):
        shop.do(f"alter table {table} alter {column} drop identity if exists")
        shop.do(f"alter table {table} alter {column} type {kind} using {key}::{kind}")
    shop.do(view)
    bikes.read()
    shop.do(f"insert into orders values ({key}, 'C1', '2026-07-01 12:00', 'DE', 0, 0)")
    shop.do(f"insert into order_lines values ({key}, 0, 'bell', 1, 1.00)")
    bikes.read()
    assert [each[2] for each in said(bikes)] == [None]
    shop.do("delete from order_lines; delete from orders")
    bikes.read()
    assert [each[2] for each in said(bikes)] == [None, True]


def test_the_password_in_a_url_that_postgres_can_not_read_is_not_said(
    bikes: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", "postgresql+psycopg://reader:hunter2@db.example/shop")
    with pytest.raises(SourceFailed) as failed:
        bikes.read()
    assert "hunter2" not in str(failed.value)
    assert "hunter2" not in repr(postgres.changes("hunter2", view="v", key="k", tables={})._pipe.gen)


def test_a_log_of_a_database_without_an_encoding_is_read() -> None:
    relation = b"R" + b"\0\0\0\1" + b"public\0t\0d" + b"\0\2" + b"\1id\0" + b"\0" * 8 + b"\0name\0" + b"\0" * 8
    insert = b"I" + b"\0\0\0\1" + b"N" + b"\0\2" + b"t\0\0\0\1" + b"7" + b"t\0\0\0\1" + b"\xff"
    decoder = Decoder()
    assert [*decoder.decode(relation), *decoder.decode(insert)][0].row == {"id": "7", "name": "\udcff"}


def test_the_log_is_confirmed_after_kafka_has_it_and_not_before(shop: Shop, bikes: Pipeline) -> None:
    class Away(Kept):
        def flush(self, deadline_seconds: float = 1) -> None:
            raise OSError("Kafka is away")

    confirmed = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'insights'"
    bikes.read()
    shop.order(1, "bell")
    before = asked(shop, confirmed)
    with pytest.raises(OSError, match="away"):
        bikes.read(Away(bikes.clock))
    assert asked(shop, confirmed) == before
    bikes.read()
    assert asked(shop, confirmed) != before
    assert said(bikes) == [("1", "DE", None)]


def test_a_slot_does_not_keep_what_other_tables_write(shop: Shop, bikes: Pipeline) -> None:
    bikes.read()
    shop.do("create table other as select generate_series(1, 100000) as n")
    end = asked(shop, "select pg_current_wal_flush_lsn()::text")
    bikes.read()
    confirmed = f"select confirmed_flush_lsn >= '{end}' from pg_replication_slots where slot_name = 'insights'"
    assert asked(shop, confirmed) is True


def test_a_slot_that_was_dropped_is_made_again_and_what_was_deleted_meanwhile_is_withdrawn(
    shop: Shop, bikes: Pipeline
) -> None:
    shop.order(1, "bell")
    shop.order(2, "bell")
    bikes.read()
    shop.do("select pg_drop_replication_slot('insights')")
    shop.do("delete from order_lines where order_id = 1; delete from orders where id = 1")
    bikes.read()
    assert said(bikes) == [("1", "DE", None), ("2", "DE", None), ("1", "DE", True)]


def test_how_much_the_slot_keeps_is_a_metric(shop: Shop, bikes: Pipeline) -> None:
    bikes.read()
    shop.do("create table other as select generate_series(1, 100000) as n")
    bikes.read()
    registry = CollectorRegistry()
    registry.register(SLOT_BYTES)
    (line,) = [each for each in generate_latest(registry).decode().splitlines() if not each.startswith("#")]
    assert line.startswith('insights_producer_slot_bytes{slot="insights"}')
    assert float(line.split()[1]) > 1_000_000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("drop publication insights", "the publication insights has no table public.order_lines, public.orders"),
        ("alter table order_lines rename column order_id to number", "public.order_lines has no column order_id"),
        ("alter table order_lines drop constraint order_lines_pkey", "public.order_lines replica identity full"),
    ],
)
def test_a_database_that_can_not_say_what_changed_is_refused_with_what_to_do(
    shop: Shop, bikes: Pipeline, change: str, named: str
) -> None:
    shop.order(1, "bell")
    bikes.read()
    shop.do(change)
    with pytest.raises(Misconfigured, match=named):
        bikes.read()


def test_a_table_with_another_key_is_read_once_it_tells_whole_rows(shop: Shop, bikes: Pipeline) -> None:
    shop.do("alter table order_lines drop constraint order_lines_pkey; alter table order_lines replica identity full")
    shop.order(1, "bell", "lamp")
    bikes.read()
    shop.do("delete from order_lines where sku = 'lamp'")
    bikes.read()
    assert [len(each["lines"]) for each in bikes.log.records(ORDERS)] == [2, 1]


def test_a_log_without_changes_is_refused_with_what_to_do(
    shared_postgres: str, bikes: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", shared_postgres)
    with pytest.raises(Misconfigured, match="wal_level is replica.*alter system set wal_level = logical"):
        bikes.read()


def test_a_new_column_of_the_view_is_read_and_a_view_that_is_gone_is_said(shop: Shop, bikes: Pipeline) -> None:
    shop.order(1, "bell")
    bikes.read()
    shop.do("alter table orders add column paid_at timestamptz default '2026-07-02T00:00Z'")
    view = example("sql", "create view hub_orders").split(";")[0]
    shop.do(view.replace("create view", "create or replace view").replace("changed_at\n", "changed_at, paid_at\n"))
    shop.do("update orders set country = 'FR'")
    bikes.read()
    assert bikes.log.records(ORDERS)[-1]["paid_at"].isoformat() == "2026-07-02T00:00:00+00:00"
    shop.do("drop view hub_orders; update orders set country = 'IT'")
    with pytest.raises(SourceFailed, match='relation "hub_orders" does not exist'):
        bikes.read()


def test_a_transaction_that_is_in_the_log_and_not_yet_visible_is_waited_for(
    shop: Shop, bikes: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    bikes.read()
    with a_standby_awaited(shop), ThreadPoolExecutor() as pool:
        ordering = pool.submit(shop.order, 1, "bell")
        wait_until(lambda: asked(shop, "select true from pg_stat_activity where wait_event = 'SyncRep'"))
        monkeypatch.setattr(postgres, "VISIBLE_SECONDS", 0.1)
        with pytest.raises(SourceFailed, match="nobody can see yet what it wrote"):
            bikes.read()
        shop.do("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
        ordering.result(60)
    bikes.read()
    assert said(bikes) == [("1", "DE", None)]


@pytest.mark.parametrize(
    ("snapshot", "transactions", "hidden"),
    [
        ("100:110:100,105", {99, 100, 104, 105, 109, 110}, {100, 105, 110}),
        ("4294967300:4294967310:4294967305", {4, 9, 14, 4_294_967_290}, {9, 14}),
        ("4294967290:4294967295:", {4_294_967_294, 4_294_967_295, 3}, {4_294_967_295, 3}),
    ],
)
def test_a_snapshot_does_not_see_what_runs_and_what_began_later(
    snapshot: str, transactions: set[int], hidden: set[int]
) -> None:
    assert hidden_by(snapshot, transactions) == hidden
