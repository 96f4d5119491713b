"""The page of replays: on a real Postgres, in a real browser, with runs that the real functions noted."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from aggregates.catalogue import aggregates
from insights.settings import PROJECT
from replay.run_history import Run
from tests.conftest import wait_until
from tests.web import made_runs
from tests.web.browser import PHONE, Browser, needs_browser, running_page

pytestmark = needs_browser
DASHBOARDS = len(list((PROJECT / "dashboards").glob("*.yaml")))


@pytest.fixture(scope="module")
def postgres(new_database: Callable[[], str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(new_database(), autocommit=True) as connection:
        made_runs.make_tables(connection)
        yield connection


@pytest.fixture(scope="module")
def page(postgres: psycopg.Connection) -> Iterator[str]:
    with running_page(f"{postgres.info.dsn} password={postgres.info.password}") as address:
        yield address


@pytest.fixture(scope="module")
def runs(postgres: psycopg.Connection) -> dict[str, Run]:
    return made_runs.fill(postgres)


CELLS = """
const cell_text = cell => {
    const text = cell.textContent, beneath = cell.querySelector('.ih-beneath')?.textContent
    return beneath ? text.slice(0, -beneath.length) + '\\n' + beneath : text
}
return [...document.querySelectorAll('table[data-card=CARD] tbody tr')].map(row => [...row.cells].map(cell_text))
"""


def rows(browser: Browser, card: str) -> list[list[str]]:
    """A table's cells, row by row; what stands beneath a value is a line of its own."""
    return list(browser.run(CELLS.replace("CARD", card)))


def test_before_the_first_run_the_page_shows_how_to_begin_and_is_a_click_away(page: str, browse: Any) -> None:
    browser = browse()
    browser.chrome.get(page)
    wait_until(lambda: browser.run("return document.querySelectorAll('.ih-nav a').length") == DASHBOARDS, seconds=90)
    browser.run("[...document.querySelectorAll('.ih-nav a')].find(a => a.innerText === 'Replays').click()")
    wait_until(lambda: "No replays yet: start with insights replay plan" in browser.text(), seconds=60)
    assert browser.chrome.current_url.endswith("/?dashboard=replays")
    tables = len(aggregates())
    wait_until(
        lambda: len(rows(browser, "live_tables")) == tables, seconds=30, what="each table, without a certificate"
    )


def test_the_first_runs_appear_on_a_page_that_is_open(page: str, runs: dict[str, Run], browse: Any) -> None:
    picked = ["Run", f"{runs['different'].run}, differs, by alice"]
    wait_until(lambda: picked in rows(browse(), "certificate"), seconds=60, what="the newest certificate")


def test_the_page_shows_every_run_what_is_behind_each_table_and_late_events(
    page: str, runs: dict[str, Run], browse: Any
) -> None:
    browser = browse()
    browser.chrome.get(f"{page}?dashboard=replays")
    wait_until(lambda: len(rows(browser, "runs")) == 5, seconds=60, what="five runs")
    shown = {line[0]: line for line in rows(browser, "runs")}
    newest_first = ("running", "different", "failed", "restated", "equal")
    assert list(shown) == [runs[name].run for name in newest_first]
    assert [line[1] for line in shown.values()] == ["running", "differs", "failed", "promoted", "promoted"]
    assert shown[runs["equal"].run][9] == "equal\n214 excluded"
    assert shown[runs["different"].run][9] == "different\n2 differ"
    assert "Spark needs 1.5" in shown[runs["failed"].run][-1]

    # A card keeps what it had until it is due to be read again.
    wait_until(lambda: browser.value("late_restated") == "9", seconds=30, what="a tile that was empty")
    wait_until(lambda: rows(browser, "late_by_topic"), seconds=30, what="the last card")
    tables = {line[0]: line for line in rows(browser, "live_tables")}
    sales, lines = tables["live.sales_per_minute"], tables["events.order_lines"]
    assert (sales[1].split("\n")[0], sales[4]) == ("v1", runs["different"].run)
    assert lines[3:5] == ["equal\n1,607 rows", runs["restated"].run]
    assert (lines[7].split("\n")[0], lines[8].split("\n")[0]) == ("7", runs["restated"].run)
    whole = made_runs.sha256("order_lines")
    assert browser.run(f"return document.querySelector('td[title=\"{whole}\"]').innerText") == whole[:10]

    assert browser.value("late_waiting") == "14"
    assert rows(browser, "late_by_topic")[0][:3] == ["sales.order_placed.v1", "14", "9"]
    assert browser.hosts() == {"127.0.0.1"}
    assert browser.console() == []
    browser.picture("replays-desktop-light")


def test_a_click_on_a_run_shows_its_whole_certificate(page: str, runs: dict[str, Run], browse: Any) -> None:
    browser = browse()
    browser.chrome.get(f"{page}?dashboard=replays")
    wait_until(lambda: len(rows(browser, "differences")) == 3, seconds=60, what="the newest certificate")
    assert rows(browser, "differences")[0][2:] == ["sales_amount", "118.40", "121.90"]
    restated = runs["restated"]
    browser.run(
        f"[...document.querySelectorAll('table[data-card=runs] a')].find(a => a.innerText === '{restated.run}').click()"
    )
    wait_until(
        lambda: ["SHA256", made_runs.sha256(restated.run)] in rows(browser, "certificate"), seconds=60, what="its hash"
    )
    assert f"run={restated.run}" in browser.chrome.current_url
    assert ["Code", made_runs.CODE] in rows(browser, "certificate")
    # Cards are drawn one after the other.
    offsets = [["sales.order_placed.v1", "0", "0", "41,902", "2, 9"], ["sales.order_placed.v1", "1", "0", "75", "2, 9"]]
    wait_until(lambda: rows(browser, "offsets") == offsets, seconds=30, what="its offsets")
    tables = {"live.sales_per_minute", "events.order_lines"}
    wait_until(lambda: {line[0].split("\n")[0] for line in rows(browser, "compared")} == tables, seconds=30)


def test_the_rows_of_a_certificate_add_up(page: str, runs: dict[str, Run], browse: Any) -> None:
    browser = browse()
    for name in ("equal", "different"):
        certificate = runs[name].certificate or {}
        expected = {one["table"]: one["rows_on_either_side"] for one in certificate["aggregates"]}
        browser.chrome.get(f"{page}?dashboard=replays&run={runs[name].run}")
        wait_until(lambda wanted=expected: len(rows(browser, "compared")) == len(wanted), seconds=60, what=name)
        for line in rows(browser, "compared"):
            total, *parts = (int(cell.split("\n")[0].replace(",", "")) for cell in line[2:8])
            assert total == sum(parts) == expected[line[0].split("\n")[0]]


@pytest.mark.usefixtures("runs")
def test_a_phone_in_the_dark_has_room_for_it(page: str, browse: Any) -> None:
    browser = browse(PHONE, dark=True)
    browser.chrome.get(f"{page}?dashboard=replays")
    wait_until(lambda: rows(browser, "late_by_topic"), seconds=60, what="the last table")
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]
    tables = "[...document.querySelectorAll('.ih-rows')]"
    assert browser.run(f"return {tables}.filter(e => e.scrollWidth > e.clientWidth).length") == 0
    browser.picture("replays-phone-dark")
