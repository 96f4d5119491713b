"""The dashboards on marts that dbt built, in a real browser.

Longer than 400 lines, because its tests share one shop and one page, which take half a minute to start.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg
import pytest
import yaml
from selenium.webdriver.common.by import By

from dashboards.folder import Folder
from dashboards.model import load
from dashboards.query import question
from tests.conftest import wait_until
from tests.marts.oracle.exact import OF_SHOPS
from tests.marts.oracle.marts import MARTS
from tests.replay.own_postgres import standing_still
from tests.web.browser import DESKTOP, PHONE, Browser, needs_browser, running_page
from tests.web.marts_shop import Shop, marts_shop

pytestmark = [needs_browser, pytest.mark.engine]
FOLDER = Path(__file__).parents[2] / "dashboards"
NAMES = Folder(FOLDER / "sales_overview.yaml").names
ALL_TIME = "range=73000+days&period=73000+days"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with marts_shop(tmp_path_factory.mktemp("shop")) as found:
        yield found


@pytest.fixture(scope="module")
def page(shop: Shop) -> Iterator[str]:
    with running_page(shop.dsn) as address:
        yield address


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


def one(shop: Shop, sql: str) -> Any:
    row = shop.postgres.execute(sql.encode()).fetchone()
    assert row
    return row[0]


def pick(browser: Browser, parameter: str, title: str) -> None:
    """Choose from a list as a reader does."""
    browser.chrome.find_element(By.CSS_SELECTOR, f".st-key-parameter-{parameter} input").click()
    option = f"[...document.querySelectorAll('[role=option]')].find(o => o.innerText === {title!r})"
    wait_until(lambda: browser.run(f"return !!{option}"), seconds=20, what=f"{title} among the choices")
    browser.run(f"{option}.click()")


def about(browser: Browser, card: str) -> str:
    """What a card shows of itself when its corner is clicked."""
    browser.run(f"document.querySelector('.st-key-about-{card} button').click()")
    wait_until(lambda: browser.run("return !!document.querySelector('.ih-behind')"), seconds=20, what="about the card")
    return str(browser.run("return document.querySelector('.stPopoverBody, [data-testid=stPopoverBody]').innerText"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("device", "size", "dark"),
    [
        pytest.param("desktop", DESKTOP, False, id="desktop-light"),
        pytest.param("phone", PHONE, True, id="phone-dark"),
        pytest.param("desktop", DESKTOP, True, id="desktop-dark", marks=pytest.mark.nightly),
        pytest.param("phone", PHONE, False, id="phone-light", marks=pytest.mark.nightly),
    ],
)
def test_every_page_is_whole_readable_by_all_and_without_a_fault(
    page: str, browse: Any, name: str, device: str, size: tuple[int, int], dark: bool
) -> None:
    browser = browse(size, dark=dark)
    browser.show(f"{page}?dashboard={name}&{ALL_TIME}")
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    drawn = set(browser.run("return [...document.querySelectorAll('[class*=st-key-card-]')].map(c => c.className)"))
    assert len(drawn) == len(load(FOLDER / f"{name}.yaml").cards)
    text = browser.text()
    for fault in ("is not built yet", "does not exist", "statement timeout", "is not responding"):
        assert fault not in text
    assert browser.axe() == []
    assert browser.console() == []
    assert browser.hosts() == {"127.0.0.1"}
    browser.picture(f"{name.replace('_', '-')}-of-marts-{device}-{'dark' if dark else 'light'}")


def test_prices_are_those_of_one_shop_and_one_currency_for_a_product(page: str, shop: Shop, browse: Any) -> None:
    changes = "select count(*) from marts.price_history as p where previous_price is not null"
    own = " and exists (select from marts.dim_products as d where (d.shop, d.product_id) = (p.shop, p.product_id){})"
    of_its_shop, compared = own.format(""), own.format(" and d.price_currency = p.currency")
    assert one(shop, changes + of_its_shop) < one(shop, changes), "two shops have a product of the same id"
    assert one(shop, changes + compared) < one(shop, changes + of_its_shop), "a page has prices in two currencies"
    browser = browse()
    browser.show(f"{page}?dashboard=catalog&{ALL_TIME}")
    assert Decimal(browser.value("price_changes")) == one(shop, changes + compared)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_relations_of_a_card_are_those_that_postgres_reads(shop: Shop, path: Path) -> None:
    dashboard = load(path)
    values = {p.name: p.default or "7 days" for p in dashboard.parameters}
    for card in dashboard.cards:
        seen: set[str] = set()
        for sql in card.statements.values():
            asked = question(dashboard.expanded(sql), values)
            text = psycopg.ClientCursor(shop.postgres).mogrify(asked.sql.encode(), dict(asked.values))
            with shop.postgres.transaction(force_rollback=True):
                shop.postgres.execute(f"create temp view read_by_a_card as {text}".encode())
                seen |= {
                    str(name)
                    for (name,) in shop.postgres.execute(
                        "select distinct n.nspname || '.' || c.relname from pg_rewrite r"
                        " join pg_depend d on d.objid = r.oid and d.refclassid = 'pg_class'::regclass"
                        " join pg_class c on c.oid = d.refobjid join pg_namespace n on n.oid = c.relnamespace"
                        " where r.ev_class = 'pg_temp.read_by_a_card'::regclass and c.oid <> r.ev_class"
                        " and n.nspname <> 'information_schema'"
                    )
                }
        assert set(dashboard.relations(card)) == seen, card.id


def test_orders_are_counted_through_their_life_and_their_money_from_gross_to_total(
    page: str, shop: Shop, browse: Any
) -> None:
    browser = browse()
    browser.show(f"{page}?dashboard=orders&{ALL_TIME}")
    assert Decimal(browser.value("placed")) == one(shop, "select count(*) from events.orders")
    assert Decimal(browser.value("refunded")) == one(shop, "select count(distinct order_id) from events.refunds")
    middle = "select percentile_cont(0.5) within group (order by extract(epoch from fulfilled_at - occurred_at))"
    assert float(browser.value("time_to_fulfilled")) == one(shop, middle + " from events.orders")

    browser.show(f"{page}?{ALL_TIME}")
    days = MARTS["daily_sales_breakdown"].rows(shop.history)
    for name in ("gross", "returned", "net_of_returns", "shipping", "tax", "total", "tip"):
        amount = sum(row[f"{name}_amount"] for row in days)
        assert f"{abs(amount):,.2f}" in browser.text(), name
    shops = MARTS["shop_daily_sales"].rows(shop.history)
    assert {row["shop"] for row in shops} == {"any", *OF_SHOPS}
    for name in ("any", *OF_SHOPS):
        assert f"{sum(row['total_amount'] for row in shops if row['shop'] == name):,.2f}" in browser.text(), name
    for zone in OF_SHOPS.values():
        assert f"days of {zone.key}" in browser.text()
    codes = {row["name"] for row in MARTS["daily_discounts"].rows(shop.history) if row["is_code"]}
    assert "SUMMER" in codes
    assert "SUMMER" in browser.text()


def test_a_region_that_is_chosen_changes_the_numbers_and_stays_in_the_address(
    page: str, shop: Shop, browse: Any
) -> None:
    browser = browse()
    browser.show(f"{page}?{ALL_TIME}")
    sold = "select sum(sales_amount) from events.order_lines"
    back = "select coalesce(sum(amount), 0) from events.refunds"
    assert Decimal(browser.value("net_sales")) == one(shop, sold) - one(shop, back)

    pick(browser, "region", "日本")
    here = " where region = '日本'"
    net = one(shop, sold + here) - one(shop, back + here)
    wait_until(lambda: Decimal(browser.value("net_sales")) == net, seconds=20, what="net sales of the region")
    orders = one(shop, f"select count(distinct order_id) from events.order_lines {here}")
    wait_until(lambda: Decimal(browser.value("orders")) == orders, seconds=20)
    days = MARTS["daily_sales"].rows(shop.history)
    new = sum(d["new_customers"] for d in days if (d["level"], d["region"]) == ("region", "日本"))
    wait_until(lambda: Decimal(browser.value("new_customers")) == new, seconds=20, what="new customers of the region")

    address = browser.chrome.current_url
    assert parse_qs(urlsplit(address).query)["region"] == ["日本"]
    links = browser.run("return [...document.querySelectorAll('.ih-nav a')].map(a => a.href)")
    kept = {parse_qs(urlsplit(link).query)["dashboard"][0] for link in links if "region=" in link}
    assert kept == {"sales_overview", "orders", "customers", "web"}

    browser.show(address)
    assert Decimal(browser.value("net_sales")) == net


def test_names_that_read_like_a_total_or_like_none_are_names_like_any_other(page: str, shop: Shop, browse: Any) -> None:
    def total(mart: str, column: str, **of: str | None) -> int:
        rows = MARTS[mart].rows(shop.history)
        return sum(row[column] for row in rows if all(row[name] == value for name, value in of.items()))

    cell: dict[str, str | None] = {"region": "(all)", "category": "(all)"}
    browser = browse()
    browser.show(f"{page}?{ALL_TIME}")
    assert Decimal(browser.value("new_customers")) == total("daily_sales", "new_customers", level="all")
    browser.show(f"{page}?{ALL_TIME}&{urlencode(cell)}")
    assert Decimal(browser.value("new_customers")) == total("daily_sales", "new_customers", **cell)

    for choice, campaign in (("has none", None), ("is (none)", "(none)"), ("is ", "")):
        browser.show(f"{page}?dashboard=web&{ALL_TIME}&{urlencode({'campaign': choice})}")
        assert Decimal(browser.value("sessions")) == total("funnel", "sessions", campaign=campaign), choice


def test_bars_are_in_the_order_of_their_numbers_when_a_choice_has_moved_them(
    page: str, shop: Shop, browse: Any
) -> None:
    def wanted(where: str) -> list[str]:
        moved = (
            "select category, sales_amount from events.order_lines"
            " union all select category, -amount from events.refund_lines"
        )
        moved = moved.replace(" union", f" {where} union") + f" {where}"
        sums = f"select category from ({moved}) as moved group by category order by sum(sales_amount) desc, category"
        return [name for (name,) in shop.postgres.execute(sums.encode())][:10]

    def drawn() -> list[str]:
        texts = "[...document.querySelectorAll('.st-key-card-by_category svg text')]"
        found = browser.run(f"return {texts}.map(t => [t.getBoundingClientRect().y, t.textContent])")
        return [text for _, text in sorted(found) if text in wanted("")]

    regions = shop.postgres.execute("select distinct region from events.order_lines order by region").fetchall()
    of = {region: wanted(f"where region = '{region}'") for (region,) in regions if "'" not in region}
    region = next(r for r, names in of.items() if names != [name for name in wanted("") if name in names])
    browser = browse()
    browser.show(f"{page}?{ALL_TIME}")
    wait_until(lambda: drawn() == wanted(""), seconds=20, what="categories by their numbers")
    pick(browser, "region", region)
    wait_until(lambda: drawn() == of[region], seconds=20, what=f"{of[region]} in this order")


def test_an_order_counts_once_in_a_category_and_a_choice_of_both_is_of_both(page: str, shop: Shop, browse: Any) -> None:
    browser = browse()
    browser.show(f"{page}?{ALL_TIME}&category=Bikes")
    bikes = "select count(distinct order_id) from events.order_lines where category = 'Bikes'"
    assert Decimal(browser.value("orders")) == one(shop, bikes)
    browser.show(f"{page}?{ALL_TIME}&category=Bikes&region=EU")
    assert Decimal(browser.value("orders")) == one(shop, f"{bikes} and region = 'EU'")
    browser.show(f"{page}?{ALL_TIME}&category=nothing+of+ours")
    assert parse_qs(urlsplit(browser.chrome.current_url).query).get("category") is None


def test_an_unknown_choice_in_an_address_is_shown_until_something_is_chosen(page: str, browse: Any) -> None:
    browser = browse()
    browser.show(f"{page}?{ALL_TIME}&region=XX&category=Bikes")
    told = browser.run("return [...document.querySelectorAll('.ih-notice')].map(n => n.innerText)")
    assert told == ["Region XX not found\nShowing All regions instead."]
    assert browser.axe() == []
    pick(browser, "category", "All categories")
    wait_until(lambda: "category" not in browser.chrome.current_url, seconds=20, what="another category")
    assert "Region XX not found" in browser.text()
    pick(browser, "region", "EU")
    wait_until(lambda: "Region XX not found" not in browser.text(), seconds=20, what="the note is gone")


def test_a_suspended_postgres_is_shown_within_seconds_and_the_page_recovers_by_itself(
    page: str, shop: Shop, browse: Any
) -> None:
    browser = browse()
    browser.show(f"{page}?dashboard=customers")  # which reads its numbers every fifteen seconds
    value, places = browser.value("customers"), browser.places()
    notice = "return (document.querySelector('.ih-notice') || {innerText: ''}).innerText"
    with standing_still(shop.dsn):
        wait_until(
            lambda: "The numbers below are not being updated" in browser.run(notice), seconds=8, what="the notice"
        )
        assert browser.value("customers") == value
        assert browser.places() == places
    wait_until(lambda: not browser.run(notice), seconds=8, what="the page heals")


def test_a_button_below_a_long_table_shows_all_its_rows_and_hides_them_again(
    page: str, shop: Shop, browse: Any
) -> None:
    customers = len(MARTS["rfm"].rows(shop.history))
    first = next(card.first for card in load(FOLDER / "customers.yaml").cards if card.id == "best")
    browser = browse()
    browser.show(f"{page}?dashboard=customers")
    button = "document.querySelector('.st-key-rows-best button')"
    rows = "return document.querySelectorAll('table[data-card=best] tbody tr').length"
    assert browser.run(f"return {button}.innerText") == f"Show all {customers}"
    for number, offer in ((customers, f"Show first {first}"), (first, f"Show all {customers}")):
        browser.run(f"{button}.click()")
        wait_until(lambda number=number: browser.run(rows) == number, seconds=20, what=f"{number} customers")
        assert browser.run(f"return {button}.innerText") == offer


def test_the_csv_of_a_card_has_its_rows(page: str, shop: Shop, browse: Any, downloads: Path) -> None:
    browser = browse()
    browser.chrome.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    browser.show(f"{page}?dashboard=customers")
    about(browser, "segments")
    button = "document.querySelector('.st-key-csv-segments button')"
    wait_until(lambda: browser.run(f"return {button} !== null"), seconds=20, what="the button")
    browser.run(f"{button}.click()")
    found = wait_until(lambda: [*downloads.glob("customers_segments*.csv")], seconds=20, what="the file")
    text = wait_until(lambda: found[0].read_bytes(), seconds=10).decode("utf-8-sig")
    rows = list(csv.DictReader(text.splitlines()))
    expected = {s["segment"]: s for s in MARTS["rfm_segments"].rows(shop.history)}
    assert {row["segment"]: int(row["customers"]) for row in rows} == {n: s["customers"] for n, s in expected.items()}
    assert {row["segment"]: Decimal(row["lifetime_value"]) for row in rows} == {
        n: s["lifetime_value"] for n, s in expected.items()
    }
    shown = browser.run(
        "return [...document.querySelectorAll('table[data-card=segments] tbody tr')].map(r => r.cells[0].innerText)"
    )
    assert [row["segment"] for row in rows] == shown


def test_a_card_shows_when_its_mart_was_built_and_its_certificates(page: str, shop: Shop, browse: Any) -> None:
    browser = browse()
    browser.show(f"{page}?{ALL_TIME}")
    said = about(browser, "new_customers")
    assert "marts.daily_sales" in said
    assert "Built by dbt" in said
    different, restated = shop.runs["different"].run, shop.runs["restated"].run
    assert f"Certificate of {restated}" in said  # of order_lines, on which the mart stands
    link = "[...document.querySelectorAll('.ih-behind a')].find(a => a.innerText.endsWith(RUN))"
    browser.run(f"{link.replace('RUN', repr(restated))}.click()")
    wait_until(lambda: f"run={restated}" in browser.chrome.current_url, seconds=30)
    wait_until(lambda: browser.run("return !!document.querySelector('table[data-card=certificate]')"), seconds=60)

    browser.show(f"{page}?{ALL_TIME}")
    said = about(browser, "units")
    assert "live.sales_per_minute" in said
    assert "2 rows differ" in said
    assert f"Certificate of {different}" in said


def test_the_cohorts_are_those_of_the_log(page: str, shop: Shop, browse: Any) -> None:
    browser = browse()
    browser.show(f"{page}?dashboard=customers")
    cohorts = MARTS["cohorts"].rows(shop.history)
    cells = browser.run(
        "return [...document.querySelectorAll('table[data-card=retention] td.ih-cell')].map(c => c.title)"
    )
    expected = [
        f"{c['active_customers']} of {c['cohort_customers']} customers"
        for c in sorted(cohorts, key=lambda c: (c["cohort_month"], c["months_since"]))
        if c["months_since"] > 0
    ]
    assert cells == expected


def test_segments_of_a_short_history_are_marked_as_unreliable(page: str, shop: Shop, browse: Any) -> None:
    caution = "Only 2 days of orders so far. Scores rank customers against each other"
    drawn = "return [...document.querySelectorAll('.ih-caution')].map(c => c.innerText)"
    browser = browse()
    browser.show(f"{page}?dashboard=customers")
    days = one(shop, "select max(last_order_at)::date - min(first_order_at)::date + 1 from marts.dim_customers")
    assert days >= 30
    assert browser.run(drawn) == []
    shop.postgres.execute("create table marts.as_it_was as table marts.dim_customers")
    try:
        newest = "(select max(last_order_at) from marts.as_it_was)"
        shop.postgres.execute(f"update marts.dim_customers set first_order_at = {newest} - interval '1 day'".encode())
        wait_until(lambda: len(browser.run(drawn)) == 2, seconds=40, what="the caution on two cards")
        assert all(text.startswith(caution) for text in browser.run(drawn))
        assert browser.axe() == []
        browser.picture("customers-short-history")
    finally:
        shop.postgres.execute(
            "update marts.dim_customers as d set first_order_at = w.first_order_at from marts.as_it_was as w"
            " where d.customer_id = w.customer_id"
        )
        shop.postgres.execute("drop table marts.as_it_was")


def test_a_click_on_a_customer_shows_what_they_bought(page: str, shop: Shop, browse: Any) -> None:
    browser = browse()
    browser.show(f"{page}?dashboard=customers")
    best = MARTS["rfm"].rows(shop.history)
    second = sorted(best, key=lambda c: (-c["monetary"], c["customer_id"]))[1]["customer_id"]
    links = "[...document.querySelectorAll('table[data-card=best] a')]"
    browser.run(f"{links}.find(a => a.innerText === {second!r}).click()")
    orders = sum(1 for o in MARTS["fct_orders"].rows(shop.history) if o["customer_id"] == second)
    rows = "return document.querySelectorAll('table[data-card=purchases] tbody tr').length"
    wait_until(lambda: browser.run(rows) == min(orders, 10), seconds=60, what="their orders")
    assert parse_qs(urlsplit(browser.chrome.current_url).query)["customer"] == [second]


def test_an_order_is_on_the_page_three_seconds_after_it_is_in_the_table(page: str, shop: Shop, browse: Any) -> None:
    browser = browse()
    browser.show(page)
    browser.run("window.drawnBefore = [...document.querySelectorAll('canvas, .vega-embed svg')]")
    before = int(browser.value("orders_now") or 0)
    now = datetime.now(UTC)
    shop.postgres.execute(
        "insert into versions.order_lines_v1 select (jsonb_populate_record(l, jsonb_build_object("
        "'event_id', 'live', 'order_id', 'live', 'line', 1, 'occurred_at', %s::timestamptz))).*"
        " from events.order_lines l limit 1",
        (now,),
    )
    wait_until(lambda: int(browser.value("orders_now") or 0) == before + 1, seconds=3, what="one order more")
    assert browser.run("return window.drawnBefore.length >= 3 && window.drawnBefore.every(chart => chart.isConnected)")
    shop.postgres.execute("delete from versions.order_lines_v1 where order_id = 'live'")


def test_only_a_card_that_can_not_be_read_shows_an_error_with_what_to_do(
    shop: Shop, browse: Any, tmp_path: Path
) -> None:
    def card(place: int, sql: str) -> dict[str, Any]:
        layout = {"row": 0, "col": place * 6, "width": 6, "height": 4}
        return {"id": f"card_{place}", "kind": "number", "title": f"Card {place}", "sql": sql, "layout": layout}

    cards = [
        card(0, "select 42 as value"),
        card(1, "select sum(units) as value from marts.not_built"),
        card(2, "select 1 as value from pg_sleep(60)"),
        card(3, "select units as value from live.sales_per_minute where no_such_column"),
    ]
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump({"title": "Broken", "refresh_seconds": 1, "cards": cards}))
    with running_page(shop.dsn, path) as address:
        browser = browse()
        browser.chrome.get(address)
        wait_until(
            lambda: "stopped; choose a shorter range" in browser.text(), seconds=60, what="the slow one is stopped"
        )
        text = browser.text()
        assert browser.value("card_0") == "42"
        assert "marts.not_built is not built yet" in text
        assert "The marts are not built yet" in text
        assert "To build them now, run insights dbt build" in text
        assert 'column "no_such_column" does not exist' in text
        assert "Postgres is not responding" not in text


def test_dead_records_are_counted_by_topic_and_reason_and_the_newest_stand_with_their_place(
    page: str, shop: Shop, browse: Any
) -> None:
    def rows(card: str) -> list[list[str]]:
        table = f"[...document.querySelectorAll('table[data-card={card}] tbody tr')]"
        return list(browser.run(f"return {table}.map(r => [...r.cells].map(c => c.innerText))"))

    shop.postgres.execute(
        "insert into ops.dead_records values"
        " ('web.interaction.v1', 0, 7, '2026-03-01 10:00Z', 'the registry has no Avro schema 9', true, '\\x00'),"
        " ('web.interaction.v1', 1, 3, '2026-03-02 10:00Z', 'the registry has no Avro schema 12', true, '\\x00'),"
        " ('sales.order_placed.v1', 2, 41, '2026-03-03 10:00Z', 'currency is USD; the shop has EUR', false, null)"
    )
    browser = browse()
    try:
        browser.show(f"{page}?dashboard=operations")
        wait_until(lambda: browser.value("dead") == "3", seconds=20, what="the number of the dead")
        assert [line[:3] for line in rows("dead_by_reason")] == [
            ["web.interaction.v1", "the registry has no Avro schema …", "2"],
            ["sales.order_placed.v1", "currency is USD; the shop has EUR", "1"],
        ]
        newest = rows("dead_records")[0]
        assert newest[0] == "3 Mar 2026, 10:00"
        assert newest[1].split("\n") == ["sales.order_placed.v1", "partition 2, offset 41"]
        assert newest[2] == "currency is USD; the shop has EUR"
    finally:
        shop.postgres.execute("delete from ops.dead_records")


def test_open_dead_letters_stand_by_cause_with_an_example_and_how_to_fix_them(
    page: str, shop: Shop, browse: Any
) -> None:
    web, order = "'web.interaction.v1', 'producers.collect.batch.BadEvent'", "'sales.order_placed.v1'"
    shop.postgres.execute(
        "insert into ops.dead_letters values"
        f" (0, 1, '2026-03-01 10:00Z', {web}, 'product_id: Expected …', null, null),"
        f" (0, 2, '2026-03-01 11:00Z', {web}, 'product_id: Expected …', null, null),"
        f" (0, 3, '2026-03-01 12:00Z', {web}, 'product_id: Expected …', null, null),"
        f" (0, 4, '2026-03-01 13:00Z', {order}, 'producers.connect.orders.BadOrder', 'no lines', null, null),"
        f" (0, 5, '2026-03-01 14:00Z', {order}, 'producers.order_file.values.BadValue', 'no date', null, null),"
        # A shop's, a file's or another source's.
        f" (0, 6, '2026-03-01 15:00Z', {order}, 'schemas.errors.ContractBroken', 'no lines', null, null);"
        "insert into ops.redrives values"
        " (0, 1, '2026-03-01 10:00Z', 'web.interaction.v1', 'redriven', 'e', 'r', 'x', null, 'anna', now()),"
        " (0, 2, '2026-03-01 11:00Z', 'web.interaction.v1', 'failed', null, 'r', 'x', 'no', 'anna', now()),"
        # Of another log: another letter had this offset there.
        " (0, 3, '2025-01-01 00:00Z', 'web.interaction.v1', 'redriven', 'e', 'r', 'x', null, 'anna', now())"
    )
    table = "[...document.querySelectorAll('table[data-card=open_dead_letters] tbody tr')]"
    browser = browse()
    try:
        browser.show(f"{page}?dashboard=operations")
        rows = f"return {table}.map(r => [...r.cells].map(c => c.innerText))"
        wait_until(lambda: len(browser.run(rows)) == 4, seconds=20, what="the open letters")
        first, *others = browser.run(rows)
        assert first[0] == "2"
        assert first[1].split("\n") == ["web.interaction.v1", "product_id: Expected …"]
        assert (first[2], first[3], first[4]) == ("Redrive it with a recipe, as the example says", "1", "3")
        assert sorted(line[2] for line in others) == [
            "As `insights dead-letters show` says of the example",
            "Correct it in the shop, and redrive: the order is read again",
            "Correct the file, and import it again",
        ]
    finally:
        shop.postgres.execute("delete from ops.dead_letters; delete from ops.redrives")
