"""Marts that are built by day: what incremental builds leave is what one build of everything would."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from insights.settings import PROJECT
from tests.conftest import wait_until
from tests.marts.made_shop import DAY, FIRST_DAY, PRODUCTS, Shop, opened
from tests.marts.process import Dbt, copied, relations


@pytest.fixture(scope="module")
def built(server: str, dbt: Dbt) -> str:
    """The database ``begun``: a shop of ten days, eight of them final, and all marts built from it."""
    dsn = copied(server, "insights", "begun")
    opened(dsn, seed=7).final_until(FIRST_DAY + 8 * DAY)
    dbt.run("begun", "run")
    return dsn


@pytest.fixture
def shop(server: str, built: str, request: pytest.FixtureRequest) -> Shop:
    """A shop of its own for a test, a copy of ``begun``: its database is called ``shop``."""
    return Shop(dsn=copied(server, "begun", "shop"), rng=random.Random(request.node.name), number=100_000)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the dbt project, to be changed."""
    return Path(shutil.copytree(PROJECT / "dbt", tmp_path / "dbt"))


def assert_as_if_built_whole(shop: Shop, dbt: Dbt, step: str = "") -> None:
    """What is there is what a full refresh makes of the same sources."""
    whole = copied(shop.dsn, "shop", "whole")
    dbt.run("whole", "run", "--full-refresh")
    found, wanted = relations(shop.dsn), relations(whole)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == [], step
    assert found["marts.daily_sales"]


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.nightly) for n in (2, 3, 4))])
def test_builds_after_random_changes_are_as_one_of_everything(shop: Shop, dbt: Dbt, seed: int) -> None:
    rng = shop.rng = random.Random(seed)
    final = FIRST_DAY + 8 * DAY
    runs: list[str] = []
    for number in range(3):
        steps = []
        for change in rng.sample(["trade", "restate", "lose", "roll back", "final", "cost"], k=2):
            first = FIRST_DAY + rng.randrange(9) * DAY
            last = min(first + rng.randrange(1, 3) * DAY, final)
            steps.append(f"{change} {first:%m-%d} {last:%m-%d}")
            if change == "trade":
                shop.trade(final, FIRST_DAY + (10 + number) * DAY, visits=15)
            elif change in ("restate", "lose") and first < last:
                shop.lose(first, last)
                if change == "restate":
                    shop.trade(first, last - timedelta(hours=9), visits=8)
                # A session may have begun the day before; what follows from it comes up to two days later.
                runs.append(shop.note_replay(first - DAY, last + 2 * DAY))
            elif change == "roll back" and runs:
                run = runs.pop()
                shop.trade(FIRST_DAY, FIRST_DAY + DAY / 2, visits=3)
                shop.note_replay(FIRST_DAY, FIRST_DAY + 3 * DAY)
                shop.note_rollback(run)
            elif change == "cost":
                shop.state_cost(rng.choice(list(PRODUCTS)), first, last)
            elif change == "final":
                final = final + DAY
                shop.final_until(final)
        dbt.run("shop", "run")
        assert_as_if_built_whole(shop, dbt, f"seed {seed}, step {number}: {steps}")


def written(shop: Shop) -> Any:
    """What shows whether orders of the first eight days, which are final, were written again."""
    with psycopg.connect(shop.dsn) as connection:
        return connection.execute(
            "select max(xmin::text::bigint) from intermediate.int_orders where order_day < %s",
            ((FIRST_DAY + 8 * DAY).date(),),
        ).fetchone()


def test_a_second_build_changes_nothing_and_writes_no_final_day(shop: Shop, dbt: Dbt) -> None:
    before, were_written = relations(shop.dsn), written(shop)
    dbt.run("shop", "run")
    assert relations(shop.dsn) == before
    assert written(shop) == were_written
    dbt.run("shop", "run", "--full-refresh", "--select", "int_orders")
    assert written(shop) != were_written


def test_only_rows_of_customers_and_days_that_changed_are_written_again(shop: Shop, dbt: Dbt) -> None:
    """Days that are not final are looked at each time, so their customers are written each time as well."""
    dbt.run("shop", "run")
    with psycopg.connect(shop.dsn) as connection:
        (last,) = connection.execute("select max(xmin::text::bigint) from intermediate.int_orders").fetchone() or (0,)
        for table, condition in (
            ("intermediate.int_customers", "last_day >= %s"),
            ("marts.stock_levels", "day >= %s"),
            ("marts.product_conversions", "day >= %s"),
        ):
            day = (FIRST_DAY + 8 * DAY).date()
            written = connection.execute(
                f"select {condition}, bool_or(xmin::text::bigint >= %s) from {table} group by 1 order by 1",  # noqa: S608
                (day, last),
            ).fetchall()
            assert written == [(False, False), (True, True)], table


def test_a_restated_window_reaches_every_mart_and_a_lost_day_vanishes(shop: Shop, dbt: Dbt) -> None:
    before = relations(shop.dsn)
    shop.lose(FIRST_DAY + 2 * DAY, FIRST_DAY + 3 * DAY)
    dbt.run("shop", "run")
    # No replay recorded a change of final windows: models built by day do not notice it.
    assert relations(shop.dsn)["intermediate.int_orders"] == before["intermediate.int_orders"]
    shop.note_replay(FIRST_DAY + DAY, FIRST_DAY + 5 * DAY)
    dbt.run("shop", "run")
    after = relations(shop.dsn)
    day = FIRST_DAY.date() + 2 * DAY
    assert not [row for row in after["intermediate.int_sales_by_day"] if row[0] == day]
    assert [row for row in before["intermediate.int_sales_by_day"] if row[0] == day]
    same = {name for name in after if after[name] == before[name]}
    # What a restated day of sales and visits has no part in.
    quality = {f"marts.{name}" for name in ("accounting", "canary", "certificates", "dead_letters", "late_events")}
    assert same <= quality | {"marts.price_history", "marts.dim_products"}
    assert_as_if_built_whole(shop, dbt)


def test_a_rolled_back_replay_is_taken_back_in_every_mart(shop: Shop, dbt: Dbt) -> None:
    before = relations(shop.dsn)
    with psycopg.connect(shop.dsn) as connection:
        connection.execute("create table kept as select * from versions.order_lines_v1")
    shop.trade(FIRST_DAY + 4 * DAY, FIRST_DAY + 4.5 * DAY, visits=9)
    run = shop.note_replay(FIRST_DAY + 3 * DAY, FIRST_DAY + 6 * DAY)
    dbt.run("shop", "run")
    assert relations(shop.dsn)["marts.daily_sales"] != before["marts.daily_sales"]
    with psycopg.connect(shop.dsn) as connection:
        connection.execute("delete from versions.order_lines_v1")
        connection.execute("insert into versions.order_lines_v1 select * from kept")
    shop.trade(FIRST_DAY + 9 * DAY, FIRST_DAY + 10 * DAY, visits=0)
    shop.note_rollback(run)
    dbt.run("shop", "run")
    assert relations(shop.dsn)["intermediate.int_orders"] == before["intermediate.int_orders"]
    assert_as_if_built_whole(shop, dbt)


def test_a_replay_that_proved_everything_equal_touches_nothing(shop: Shop, dbt: Dbt) -> None:
    were_written = written(shop)
    shop.note_replay(None, None, changed_rows=0)
    dbt.run("shop", "run")
    assert written(shop) == were_written


def test_another_version_of_a_source_is_read_from_its_beginning(shop: Shop, dbt: Dbt) -> None:
    with psycopg.connect(shop.dsn) as connection:
        connection.execute(
            "delete from versions.order_lines_v1 where order_id in (select order_id from events.order_lines"
            " order by occurred_at limit 5)"
        )
        connection.execute("update ops.versions set since = now() where aggregate = 'order_lines'")
    dbt.run("shop", "run")
    assert_as_if_built_whole(shop, dbt)


@pytest.mark.parametrize(
    ("path", "text", "changed"),
    [
        ("models/staging/stg_order_lines.sql", "    discount_amount,", "    discount_amount + 1 as discount_amount,"),
        ("macros/cross_database.sql", "'coalesce(sum(' ~ amount ~ '), 0)'", "'coalesce(sum(' ~ amount ~ ' + 1), 0)'"),
    ],
    ids=["view", "macro"],
)
def test_a_view_or_a_macro_that_changes_brings_all_days_of_what_is_built_on_it(
    shop: Shop, dbt: Dbt, project: Path, path: str, text: str, changed: str
) -> None:
    before = (project / path).read_text()
    (project / path).write_text(before.replace(text, changed))
    assert text in before
    asked = "select sum(discount_amount), sum(lines) from intermediate.int_orders where order_day < %s"
    day = (FIRST_DAY + 8 * DAY).date()
    dbt.run("shop", "run")
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        discounts, lines = connection.execute(asked, (day,)).fetchone() or (0, 0)
        dbt.run("shop", "run", "--select", "stg_order_lines", "int_orders", project=project)
        now, _ = connection.execute(asked, (day,)).fetchone() or (0, 0)
    assert lines
    assert now == discounts + lines


def test_a_macro_that_changes_brings_all_keys_of_a_model_that_is_built_by_itself(
    shop: Shop, dbt: Dbt, project: Path
) -> None:
    macros = project / "macros" / "cross_database.sql"
    macros.write_text(macros.read_text().replace("'coalesce(sum(' ~ amount ~ ')", "'coalesce(sum(' ~ amount ~ ' + 1)"))
    dbt.run("shop", "run")
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        asked = "select sum(sales_amount), sum(orders) from intermediate.int_customer_months"
        before, orders = connection.execute(asked).fetchone() or (0, 0)
        dbt.run("shop", "run", "--select", "int_customer_months", project=project)
        assert connection.execute(asked).fetchone() == (before + orders, orders)
    assert orders


def test_tables_that_were_emptied_and_are_filled_again_are_read_from_the_beginning(shop: Shop, dbt: Dbt) -> None:
    with psycopg.connect(shop.dsn) as connection:
        connection.execute("truncate versions.order_lines_v1, versions.customer_orders_per_day_v1, ops.finality")
        connection.execute("update ops.versions set since = now()")
    dbt.run("shop", "run")
    assert relations(shop.dsn)["marts.rfm"] == []
    shop.trade(FIRST_DAY, FIRST_DAY + 3 * DAY, visits=30)
    dbt.run("shop", "run")
    # Nothing is known to be final: all of it is still looked at, each time.
    shop.trade(FIRST_DAY, FIRST_DAY + DAY, visits=5)
    dbt.run("shop", "run")
    assert_as_if_built_whole(shop, dbt)


def test_a_build_that_is_killed_within_a_model_leaves_it_as_it_was(shop: Shop, dbt: Dbt) -> None:
    """As the server sees it: the connection is gone after rows were deleted and before the commit."""
    before = relations(shop.dsn)
    shop.trade(FIRST_DAY + 8 * DAY, FIRST_DAY + 10 * DAY, visits=20)
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        connection.execute(
            "create function killed() returns trigger language plpgsql as"
            " 'begin perform pg_terminate_backend(pg_backend_pid()); return new; end'"
        )
        for model in ("int_orders", "int_customers", "stock_levels"):
            table = next(name for name in before if name.endswith(f".{model}"))
            connection.execute(f"create trigger killed before insert on {table} for each row execute function killed()")
            dbt.run("shop", "run", "--select", f"+{model}", expect=False)
            assert relations(shop.dsn)[table] == before[table], model
            connection.execute(f"drop trigger killed on {table}")
    dbt.run("shop", "run")
    assert_as_if_built_whole(shop, dbt)


def test_a_shop_without_a_single_event_has_marts_without_a_row(server: str, dbt: Dbt) -> None:
    dsn = copied(server, "insights", "empty")
    dbt.run("empty", "build")
    found = relations(dsn)
    assert {"marts.daily_sales", "marts.rfm", "marts.cohorts"} <= found.keys()
    assert {name: rows for name, rows in found.items() if rows} == {}


def test_what_a_build_by_day_must_not_read_is_refused_by_name(dbt: Dbt, shop: Shop, project: Path) -> None:
    """A table that a build made before: a replay promoted in between would be missed for good."""
    (project / "models" / "intermediate" / "int_wrong.sql").write_text(
        "{{ config(materialized='by_day', day='order_day') }}\nselect order_day from {{ ref('int_orders') }}"
    )
    dbt.run("shop", "run", "--select", "int_wrong", project=project, expect=False)
    assert "int_wrong is built by day and reads int_orders" in dbt.results["int_wrong"]["message"]


def test_two_builds_of_one_model_take_turns(shop: Shop, dbt: Dbt) -> None:
    """The second waits until the first has committed, and then sees what that knew."""
    waiting = "select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted"
    with psycopg.connect(shop.dsn, autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        other.execute("select pg_advisory_lock(hashtextextended('insights.dbt.int_orders', 0))")
        build = pool.submit(dbt.run, "shop", "run", "--select", "int_orders")
        wait_until(lambda: (other.execute(waiting).fetchone() or (False,))[0], what="a build waits for the other one")
        assert not build.done()
        other.execute("select pg_advisory_unlock_all()")
        assert build.result()["int_orders"]["status"] == "success"


def test_a_view_stays_through_builds_and_one_that_is_gone_comes_back_with_all_that_read_it(
    shop: Shop, dbt: Dbt
) -> None:
    query = "select 'marts.fct_order_lines'::regclass::oid, to_regclass('marts.fct_orders') is not null"
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        before = connection.execute(query).fetchone()
        dbt.run("shop", "run", "--full-refresh", "--select", "staging")
        # Views that read it were not dropped with it.
        assert connection.execute(query).fetchone() == before
        connection.execute("drop view staging.stg_order_lines cascade")
    dbt.run("shop", "run")
    assert_as_if_built_whole(shop, dbt)


@pytest.mark.parametrize(
    ("path", "text", "changed"),
    [
        (
            "marts/catalog/dim_products.sql",
            "    seen.stock_quantity,",
            "    seen.stock_quantity::text as stock_quantity,",
        ),
        ("staging/stg_product_looks.sql", "    stock_quantity,\n    url\nfrom", "    stock_quantity::text, url\nfrom"),
    ],
    ids=["its SQL", "a view"],
)
def test_a_contract_is_asked_when_the_sql_or_that_of_a_model_before_it_is_another(
    shop: Shop, dbt: Dbt, project: Path, path: str, text: str, changed: str
) -> None:
    model = project / "models" / path
    assert text in model.read_text()
    model.write_text(model.read_text().replace(text, changed))
    dbt.run("shop", "run", "--select", "dim_products")
    before = relations(shop.dsn)["marts.dim_products"]
    dbt.run("shop", "run", "--select", "stg_product_looks", "dim_products", project=project, expect=False)
    assert "stock_quantity" in dbt.results["dim_products"]["message"]
    assert "contract" in dbt.results["dim_products"]["message"]
    assert relations(shop.dsn)["marts.dim_products"] == before


def test_a_table_built_whole_keeps_its_comments_and_is_another_only_when_it_is_done(shop: Shop, dbt: Dbt) -> None:
    asked = (
        "select 'marts.rfm'::regclass::oid, obj_description('marts.rfm'::regclass),"
        " (select count(*) from pg_attribute where attrelid = 'marts.rfm'::regclass and attnum > 0"
        " and col_description(attrelid, attnum) is null), (select count(*) from marts.rfm)"
    )
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        before = connection.execute(asked).fetchone() or ()
        dbt.run("shop", "run", "--select", "rfm")
        after = connection.execute(asked).fetchone() or ()
        assert after[0] != before[0]
        assert after[1:] == before[1:]
        assert "quintile" in after[1]
        assert after[2] == 0
        connection.execute("alter table marts.dim_customers alter column orders type text")
        dbt.run("shop", "run", "--select", "rfm", expect=False)
        assert connection.execute(asked).fetchone() == after


def test_a_session_of_dbt_has_room_and_neither_compiles_queries_nor_waits_for_the_disk(
    shop: Shop, dbt: Dbt, project: Path
) -> None:
    names = ["work_mem", "jit", "synchronous_commit"]
    (project / "models" / "intermediate" / "int_settings.sql").write_text(
        "select " + ", ".join(f"current_setting('{name}') as {name}" for name in names)
    )
    dbt.run("shop", "run", "--select", "int_settings", project=project)
    with psycopg.connect(shop.dsn) as connection:
        assert connection.execute("select * from intermediate.int_settings").fetchone() == ("48MB", "off", "off")
