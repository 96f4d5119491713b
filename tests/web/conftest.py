from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from producers.demo_shop.shelf import Shelf, imagined_stock
from producers.demo_shop.web_server import Site
from producers.scraping.memory import Memory
from tests.web.browser import Browse

SEED = 7


@dataclass
class Moment:
    """A clock that stands still until a test moves it."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


@dataclass
class RunningSite:
    """A site on a free port, and what was asked of it."""

    base: str
    asked: list[str] = field(default_factory=list)
    shelf: Shelf | None = None


@contextmanager
def running(application: web.Application, port: int) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application, access_log=None)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _noting(asked: list[str]) -> Any:
    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        asked.append(request.path)
        response: web.StreamResponse = await handler(request)
        return response

    return note


@pytest.fixture
def moment() -> Moment:
    return Moment(datetime(2026, 3, 4, 10, 30, tzinfo=UTC))


@pytest.fixture
def shop(moment: Moment) -> Iterator[RunningSite]:
    """The demo shop with the moment's prices and stock, without a crawl delay."""
    port = unused_port()
    site = RunningSite(base=f"http://127.0.0.1:{port}", shelf=Shelf(SEED, imagined_stock))
    assert site.shelf
    application = Site(site.shelf, site.base, moment, crawl_delay_seconds=0).application()
    application.middlewares.append(_noting(site.asked))
    with running(application, port):
        yield site


@pytest.fixture
def site_of() -> Iterator[Any]:
    """Serves a mapping of paths to texts, bytes, statuses or (where to,), as it is then. None is a 500."""
    with ExitStack() as stack:

        def serve(pages: dict[str, Any]) -> RunningSite:
            port = unused_port()
            site = RunningSite(base=f"http://127.0.0.1:{port}")

            async def answer(request: web.Request) -> web.Response:
                if request.path not in pages:
                    raise web.HTTPNotFound
                body = pages[request.path]
                if body is None:
                    raise web.HTTPInternalServerError
                if isinstance(body, tuple):
                    raise web.HTTPFound(*body)
                if isinstance(body, int):
                    return web.Response(status=body)
                if isinstance(body, bytes):
                    return web.Response(body=body, content_type="text/html")
                return web.Response(text=body.replace("BASE", site.base), content_type="text/html")

            application = web.Application(middlewares=[_noting(site.asked)])
            application.router.add_get("/{path:.*}", answer)
            stack.enter_context(running(application, port))
            return site

        yield serve


@pytest.fixture
def serving_of() -> Iterator[Any]:
    """Serves whatever a handler answers, on a free port; gives the address."""
    with ExitStack() as stack:

        def serve(handler: Any) -> str:
            port = unused_port()
            application = web.Application()
            application.router.add_get("/{path:.*}", handler)
            stack.enter_context(running(application, port))
            return f"http://127.0.0.1:{port}"

        yield serve


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    memory = Memory(tmp_path / "catalog.sqlite")
    yield memory
    memory.close()


@pytest.fixture(scope="session")
def the_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browse]:
    """One for all modules: to start Chromium costs more than most pages."""
    browse = Browse(lambda: tmp_path_factory.mktemp("profile"))
    yield browse
    browse.close()


@pytest.fixture(scope="module")
def browse(the_browser: Browse) -> Browse:
    """``browse(size, dark=…)``: a browser, on the page where it was left, or on none when it looked different there."""
    the_browser.forget()
    return the_browser
