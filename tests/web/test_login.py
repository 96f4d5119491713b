"""The page behind its login, in a real browser, on a Postgres that has the stack's tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from dashboards.gate.access import opened
from dashboards.visitor import Role
from tests.conftest import wait_until
from tests.web.browser import (
    DESKTOP,
    ENVIRONMENT,
    PHONE,
    PROJECT,
    Browse,
    Browser,
    answers,
    free_port,
    needs_browser,
    stop,
)
from warehouse.logins import Role as PostgresRole
from warehouse.logins import login
from warehouse.tables import make_postgres_tables

pytestmark = [needs_browser, pytest.mark.engine]
PASSWORD = "correct horse battery"  # noqa: S105
FILL = """
document.querySelector('#name').value = arguments[0]
document.querySelector('#password').value = arguments[1]
document.querySelector('button').click()
"""


@dataclass
class Guarded:
    """A page behind the gate: where it is, its process, and its folder."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path


@pytest.fixture(scope="module")
def page(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    dsn, folder, port = new_database(), tmp_path_factory.mktemp("gate") / "page", free_port()
    with psycopg.connect(dsn) as connection:
        make_postgres_tables(connection)
    with opened(folder) as access:
        for name, role in (("vera", Role.VIEWER), ("anna", Role.ANALYST), ("otto", Role.OPERATOR)):
            access.put_user(name, role, PASSWORD)
    at, url = urlsplit(dsn), f"http://127.0.0.1:{port}"
    reader = login(PostgresRole.READER, at.path[1:], at.password or "")
    named = at._replace(netloc=f"{reader.user}@{at.hostname}:{at.port}").geturl()
    command = [sys.executable, "-m", "dashboards.gate", f"--port={port}", "--login=password", f"--address={url}"]
    command += [f"--folder={folder}", f"--dsn={named}"]
    environment = {**os.environ, **ENVIRONMENT, "PGPASSWORD": reader.password}
    process = subprocess.Popen(command, cwd=PROJECT, env=environment)
    try:
        wait_until(lambda: answers(f"{url}/_stcore/health"), seconds=90, what="the page behind the gate answers")
        yield Guarded(url=url, process=process, folder=folder)
    finally:
        stop(process)


def log_in(browser: Browser, page: Guarded, name: str, password: str = PASSWORD, path: str = "/") -> None:
    """From no session to the page, or to the form again."""
    browser.chrome.delete_all_cookies()
    browser.chrome.get(f"{page.url}{path}")
    wait_until(lambda: browser.run("return !!document.querySelector('#password')"), what="the form is there")
    browser.chrome.execute_script(FILL, name, password)


def drawn(browser: Browser) -> None:
    wait_until(
        lambda: browser.run("return !!document.querySelector('.ih-clock')"), seconds=90, what="the page is drawn"
    )


def links(browser: Browser) -> list[str]:
    return list(browser.run("return [...document.querySelectorAll('.ih-nav a')].map(a => a.innerText)"))


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop light", "phone dark"])
def test_the_login_can_be_used_by_anybody(
    page: Guarded, browse: Browse, size: tuple[int, int], dark: bool, request: pytest.FixtureRequest
) -> None:
    browser = browse(size, dark=dark)
    log_in(browser, page, "anna", "wrong password")
    wait_until(lambda: "wrong" in browser.text(), what="it says that the password is wrong")
    assert browser.run("return document.querySelector('#name').value") == "anna"
    assert browser.run("return document.activeElement.id") == "password"
    assert browser.axe() == []
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.picture_of_window(f"login-{request.node.callspec.id.replace(' ', '-')}")


def test_who_logs_in_sees_the_page_refresh_itself_until_they_log_out(page: Guarded, browse: Browse) -> None:
    browser = browse(DESKTOP)
    browser.console()
    log_in(browser, page, "vera", path="/?dashboard=stock")
    drawn(browser)
    assert "dashboard=stock" in browser.chrome.current_url
    browser.show(f"{page.url}/?dashboard=sales_overview")
    before = browser.read_at()
    wait_until(lambda: browser.read_at() not in ("", before), seconds=30, what="the page has newer numbers")
    assert [line for line in browser.console() if "401" not in line] == []  # nothing that the policy had to block
    assert browser.hosts() == {"127.0.0.1"}
    browser.chrome.get(f"{page.url}/account")
    assert "vera" in browser.text()
    browser.picture_of_window("account")
    browser.run("document.querySelector('button').click()")
    wait_until(lambda: browser.chrome.current_url == f"{page.url}/login", what="the form again")
    browser.chrome.get(f"{page.url}/")
    assert browser.run("return !!document.querySelector('#password')")


def test_a_page_that_is_open_ends_when_its_session_does(page: Guarded, browse: Browse) -> None:
    browser = browse(DESKTOP)
    log_in(browser, page, "otto")
    drawn(browser)
    with opened(page.folder) as access:
        access.put_user("otto", Role.OPERATOR, PASSWORD)
    wait_until(lambda: _stopped(browser), seconds=60, what="the page's numbers stand still")
    browser.chrome.get(f"{page.url}/")
    assert browser.run("return !!document.querySelector('#password')")


def _stopped(browser: Browser) -> bool:
    return bool(browser.run("return /connecti/i.test(document.body.innerText)"))


def test_each_role_sees_its_dashboards_and_no_address_gives_more(page: Guarded, browse: Browse) -> None:
    browser = browse(DESKTOP)
    log_in(browser, page, "vera")
    drawn(browser)
    assert {"Sales Overview", "vera"} <= set(links(browser))
    assert {"Operations", "Replays", "Agreement"}.isdisjoint(links(browser))
    for more in ("", "&role=operator", "&visitor=otto"):
        browser.chrome.get(f"{page.url}/?dashboard=operations{more}")
        wait_until(lambda: "is not for the role viewer" in browser.text(), seconds=60, what="it is refused")
    log_in(browser, page, "otto", path="/?dashboard=operations")
    drawn(browser)
    assert {"Operations", "Replays", "Agreement"} <= set(links(browser))


def test_rows_can_be_downloaded_by_an_analyst_and_not_by_a_viewer(page: Guarded, browse: Browse) -> None:
    browser, found = browse(DESKTOP), {}
    asked = "return [...document.querySelectorAll('[class*=st-key-csv-]')].length"
    button = "document.querySelector('[class*=st-key-about-freshness] button')"
    for name in ("anna", "vera"):
        log_in(browser, page, name)
        drawn(browser)
        wait_until(lambda: browser.run(f"return !!{button}"), seconds=30, what="a card's About")
        browser.run(f"{button}.click()")
        wait_until(lambda: browser.run("return !!document.querySelector('.ih-about')"), what="About is open")
        if name == "anna":
            wait_until(lambda: browser.run(asked), seconds=30, what="the button for the rows")
        found[name] = browser.run(asked)
    assert found == {"vera": 0, "anna": 1}


def test_a_link_shows_one_dashboard_without_a_login(page: Guarded, browse: Browse) -> None:
    with opened(page.folder) as access:
        share = access.share("stock", 4e9)
    browser = browse(DESKTOP)
    browser.chrome.delete_all_cookies()
    browser.chrome.get(f"{page.url}/share/{share.token}")
    drawn(browser)
    assert share.token not in browser.chrome.current_url
    assert links(browser) == []
    browser.chrome.get(f"{page.url}/?dashboard=orders")
    wait_until(lambda: "has a link to another dashboard" in browser.text(), seconds=60, what="it is refused")


def test_the_pages_own_server_can_be_reached_by_nobody_else(page: Guarded) -> None:
    """It has no port, and its socket is in a folder of this user."""
    gate = psutil.Process(page.process.pid)
    family = [gate, *gate.children(recursive=True)]
    assert len(family) > 1
    ports = {c.laddr.port for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert ports == {urlsplit(page.url).port}
    (socket,) = {Path(c.laddr) for p in family for c in p.net_connections("unix") if str(c.laddr).endswith("/page")}
    assert socket.parent.stat().st_mode & 0o077 == 0


def test_the_secrets_are_on_no_command_line(page: Guarded) -> None:
    gate = psutil.Process(page.process.pid)
    shown = " ".join(word for p in (gate, *gate.children(recursive=True)) for word in p.cmdline())
    assert gate.environ()["PGPASSWORD"] not in shown
