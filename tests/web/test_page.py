"""The page on the real stack: events through Kafka and Flink into Postgres, drawn in a real browser."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from producers.collect import keys
from producers.demo_shop.__main__ import KEY
from tests.conftest import running_stack, wait_until
from tests.web.browser import (
    DESKTOP,
    ENVIRONMENT,
    PHONE,
    PROJECT,
    SCREENSHOTS,
    Browser,
    answers,
    free_port,
    needs_browser,
    running_page,
    stop,
)

pytestmark = needs_browser


class Wire:
    """Passes connections on to a port until it is cut; once repaired it passes new ones on."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.port = 0
        self.mend()

    def mend(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def cut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def one(postgres: psycopg.Connection, sql: str) -> Decimal:
    row = postgres.execute(sql).fetchone()  # type: ignore[call-overload]
    assert row
    return Decimal(row[0])


def published(log: bytes) -> int:
    """How many events a source has published, by its metrics."""
    last: dict[str, Any] = json.loads(log.splitlines()[-1])
    return int(last["published"])


def producer(stack: Any, state: Path, source: str, *more: str) -> list[str]:
    """The command that runs a source."""
    arguments = [sys.executable, "-m", "producers.main", source, "--kafka", str(stack.kafka)]
    return [*arguments, "--registry", stack.registry_url, "--state", str(state), *more]


def sell(stack: Any, state: Path, live: Callable[[], bool], until: Callable[..., Any]) -> int:
    """Run the synthetic shop through its past and into the present. Returns how many events it published."""
    command_line = producer(stack, state, "shop", "--history", "20h", "--rate", "0.3")
    with (state / "shop.log").open("wb") as log:
        shop = subprocess.Popen(command_line, cwd=PROJECT, env=ENVIRONMENT, stderr=log)
        try:
            said = state / "shop.log"
            until(lambda: '"event": "live"' in said.read_text() and live(), seconds=240, what="the shop sells now")
        finally:
            stop(shop)
    return published((state / "shop.log").read_bytes())


def look(stack: Any, state: Path, until: Callable[..., Any]) -> int:
    """Let the catalog source look at the whole demo shop once. Returns how many events it published."""
    port = free_port()
    site = [sys.executable, "-m", "producers.demo_shop", "--port", str(port), "--state", str(state)]
    running = subprocess.Popen([*site, "--crawl-delay", "0"], cwd=PROJECT, env=ENVIRONMENT)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/robots.txt"), seconds=60, what="the demo shop answers")
        command_line = producer(
            stack, state, "catalog", "--url", url, "--private", "--max-events", "300", "--rate", "500"
        )
        done = subprocess.run(command_line, cwd=PROJECT, env=ENVIRONMENT, capture_output=True, timeout=300, check=True)
    finally:
        stop(running)
    return published(done.stderr)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, my_turn: None) -> Iterator[Any]:
    """One of its own: other tests publish an order under two ids, and then the page counts two where there is one."""
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as settings:
        yield settings


@pytest.fixture(scope="module")
def sold(
    stack: Any, until: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection]:
    """Postgres after hours of the synthetic shop and one look at its site came through the whole pipeline."""
    state = tmp_path_factory.mktemp("state")
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as postgres:

        def counted() -> Decimal:
            return one(postgres, "select coalesce(sum(on_time), 0) from ops.event_counts")

        def live() -> bool:
            newest = "select count(*) from events.interactions where occurred_at > now() - interval '90 seconds'"
            return one(postgres, newest) > 0

        before = counted()
        sent = sell(stack, state, live, until) + look(stack, state, until)
        until(lambda: counted() >= before + sent, seconds=240, what=f"{sent} events are counted")
        yield postgres


@pytest.fixture(scope="module")
def wire(stack: Any) -> Wire:
    return Wire(stack.postgres_port)


@pytest.fixture(scope="module")
def page(stack: Any, sold: Any, wire: Wire) -> Iterator[str]:
    """Address of the page, whose way to Postgres can be cut."""
    with running_page(stack.postgres_dsn.replace(f":{stack.postgres_port}/", f":{wire.port}/")) as address:
        yield address


def test_the_numbers_on_the_page_are_those_of_the_events(page: str, sold: Any, browse: Any) -> None:
    browser = browse()
    browser.open(f"{page}?range=73000+days")
    net = one(sold, "select sum(quantity * unit_price - discount_amount) from events.order_lines")
    back = one(sold, "select coalesce(sum(amount), 0) from events.refunds")
    orders = one(sold, "select count(distinct order_id) from events.order_lines")
    assert orders > 20
    assert Decimal(browser.value("net_sales")) == net - back
    assert Decimal(browser.value("orders")) == orders
    assert Decimal(browser.value("units")) == one(sold, "select sum(quantity) from events.order_lines")
    assert Decimal(browser.value("average_order")) == round(net / orders, 2)
    ranked = "select product_id from events.order_lines group by product_id order by sum(sales_amount) desc, product_id"
    best = sold.execute(f"{ranked} limit 1").fetchone()
    name = sold.execute("select name from events.product_observations where product_id = %s", best).fetchone()[0]
    for said in (name, "sales by order date"):
        wait_until(lambda said=said: said in browser.text(), seconds=30, what=f"the page says {said}")  # type: ignore[misc]
    assert browser.console() == []


def test_an_order_with_two_categories_counts_once(page: str, sold: Any, browse: Any) -> None:
    summed = one(sold, "select sum(orders) from live.sales_per_minute")
    browser = browse()
    browser.open(f"{page}?range=73000+days")
    assert Decimal(browser.value("orders")) < summed


def test_the_page_refreshes_itself_without_redrawing_its_charts(page: str, browse: Any, until: Any) -> None:
    browser = browse()
    browser.open(page)
    browser.run("window.seen = [...document.querySelectorAll('canvas, .vega-embed svg')]")
    for _ in range(3):
        read_at = browser.read_at()
        until(lambda before=read_at: browser.read_at() != before, seconds=30, what="a refresh")
    assert browser.run("return window.seen.length > 3 && window.seen.every(chart => chart.isConnected)")


def test_the_page_asks_nobody_but_its_own_server(page: str, browse: Any) -> None:
    browser = browse()
    browser.open(page)
    assert browser.hosts() == {"127.0.0.1"}


def test_a_range_in_the_address_is_the_range_of_the_numbers(page: str, sold: Any, browse: Any, until: Any) -> None:
    browser = browse()
    for address, interval in (("1+hour", "1 hour"), ("24+hours", "24 hours"), ("73000+days", "73000 days")):
        browser.open(f"{page}?range={address}")
        since = f"date_trunc('minute', now()) + interval '1 minute' - interval '{interval}'"
        orders = f"select count(distinct order_id) from events.order_lines where occurred_at >= {since}"
        # The minute may change between the two looks.
        until(
            lambda sql=orders: Decimal(browser.value("orders") or 0) == one(sold, sql),
            seconds=30,
            what=f"{interval} equal",
        )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_a_picture_of_the_page(page: str, browse: Any, name: str, size: tuple[int, int], dark: bool) -> None:
    browser = browse(size, dark=dark)
    browser.open(page)
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    browser.picture(f"sales-overview-{name}-{'dark' if dark else 'light'}")


CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


@pytest.fixture
def tracked_shop(stack: Any, tmp_path: Path, until: Callable[..., Any]) -> Iterator[str]:
    """Address of the demo shop, whose pages send what visitors do to a collector."""
    port, collect = free_port(), free_port()
    state, url, collector = tmp_path / "state", f"http://127.0.0.1:{port}", f"http://127.0.0.1:{collect}"
    site = [sys.executable, "-m", "producers.demo_shop", "--port", str(port), "--state", str(state)]
    commands = ([*site, "--collector", collector], producer(stack, state, "collect", "--collect-port", str(collect)))
    running = [subprocess.Popen(each, cwd=PROJECT, env=ENVIRONMENT, stderr=subprocess.DEVNULL) for each in commands]
    try:
        for health in (f"{url}/robots.txt", f"{collector}/health"):
            until(lambda at=health: answers(at), seconds=60, what=f"{health} answers")
        yield url
    finally:
        for each in running:
            stop(each)


def buy(shop: str, profile: Path, until: Callable[..., Any], done: Callable[[], Any]) -> None:
    """Come by a campaign, put a product into the cart, check out, and buy it; until it is done."""
    visitor = Browser(profile, DESKTOP, dark=False, agent=CHROME)

    def click(link: str, leads_to: str) -> None:
        visitor.run(f"document.querySelector('{link}').click()")
        until(lambda: visitor.run(f"return location.pathname.startsWith('{leads_to}')"), what=leads_to)

    try:
        visitor.chrome.get(f"{shop}/?utm_campaign=on_the_radio")
        click("ul.products .instock a", "/product/")
        click("form.cart button", "/cart/")
        click(".checkout-button", "/checkout/")
        visitor.run("insights('purchase', {order_id: '1001', user_id: '7'})")
        done()
    finally:
        visitor.chrome.quit()


def test_clicks_in_a_shop_move_the_page(
    page: str, tracked_shop: str, sold: Any, browse: Any, until: Any, tmp_path: Path
) -> None:
    browser = browse()
    browser.chrome.get(tracked_shop)  # as the headless browser that it is, and so as a bot
    until(lambda: keys.tallies(tmp_path / "state", 0).get((KEY, "bot")), seconds=30, what="the bot is counted")
    visit = "select product_views, carts, checkouts, purchases, user_id from live.sessions where region = 'unknown'"

    def counted() -> None:
        until(lambda: sold.execute(f"{visit} and purchases > 0").fetchall(), what="the purchase is counted")

    buy(tracked_shop, tmp_path / "profile", until, counted)
    assert sold.execute(visit).fetchall() == [(1, 1, 1, 1, f"{KEY}-7")]
    assert sold.execute(f"{visit} and campaign = 'on_the_radio'").fetchall() != []
    browser.open(page)
    now = "select count(distinct session_id) from events.interactions where occurred_at > now() - interval '5 minutes'"
    until(lambda: Decimal(browser.value("visitors_now") or 0) == one(sold, now) >= 1, seconds=30, what="it is shown")


def test_an_unavailable_postgres_is_shown_and_the_page_recovers_by_itself(
    page: str, wire: Wire, browse: Any, until: Any
) -> None:
    browser = browse()
    browser.show(page)
    orders, places = browser.value("orders"), browser.places()
    wire.cut()
    try:
        told = "return document.querySelectorAll('.ih-notice-loss').length"
        until(lambda: browser.run(told), seconds=60, what="the notice")
        assert "Postgres is not responding" in browser.text()
        assert browser.value("orders") == orders
        assert browser.places() == places
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        browser.chrome.save_screenshot(str(SCREENSHOTS / "sales-overview-postgres-away.png"))
    finally:
        wire.mend()
    until(lambda: "Postgres is not responding" not in browser.text(), seconds=60, what="the page heals")
    read_at = browser.read_at()
    until(lambda: browser.read_at() != read_at, seconds=30, what="numbers are read again")
