"""The gate on a port of its own, with a stand-in for the page's server behind it that says what it was asked."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from aiohttp import web

from dashboards.gate.access import Access
from dashboards.gate.oidc import Oidc, OidcSettings
from dashboards.gate.proxy import Page
from dashboards.gate.server import Gate, GateSettings
from dashboards.visitor import HEADER, Role
from tests.gate.provider import CLIENT_ID, CLIENT_SECRET, Provider

PASSWORD = "correct horse battery"  # noqa: S105


@dataclass
class Clock:
    """Stands still until a test moves it."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Loop:
    """An event loop in a thread."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@contextmanager
def a_loop() -> Iterator[Loop]:
    found = Loop()
    thread = threading.Thread(target=found.loop.run_forever)
    thread.start()
    try:
        yield found
    finally:
        found.loop.call_soon_threadsafe(found.loop.stop)
        thread.join(10)
        found.loop.close()


def page_stand_in() -> web.Application:
    """Says in JSON what reached it; over a websocket, too, and then echoes."""

    async def said(request: web.Request) -> web.StreamResponse:
        heard = {"method": request.method, "path": request.raw_path, "headers": dict(request.headers)}
        if request.headers.get("Upgrade", "").lower() != "websocket":
            headers = {"Set-Cookie": "inner=1", "Server": "inner", "Cache-Control": "no-cache"}
            if request.path.startswith("/media/rows"):  # whatever its suffix, as Streamlit does
                headers["Content-Disposition"] = 'attachment; filename="rows.csv"'
            return web.json_response(heard, headers=headers)
        talk = web.WebSocketResponse(protocols=("streamlit",))
        await talk.prepare(request)
        await talk.send_str(json.dumps(heard))
        async for message in talk:
            await talk.send_bytes(message.data)
        return talk

    made = web.Application()
    made.router.add_route("*", "/{path:.*}", said)
    return made


@dataclass
class Running:
    """A gate, what it knows, and a client of it."""

    url: str
    access: Access
    clock: Clock
    loop: Loop
    cookie: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def origin(self) -> str:
        """What browsers say that its forms come from."""
        return self.url.replace("http:", "https:") if self.cookie.startswith("__Host-") else self.url

    def client(self) -> requests.Session:
        """A browser without cookies. It names where its forms come from, as browsers do."""
        made = requests.Session()
        made.headers.update({"Accept": "text/html", "Origin": self.origin})
        return made

    def log_in(self, name: str, password: str = PASSWORD, **more: Any) -> tuple[requests.Session, requests.Response]:
        client = self.client()
        form = {"name": name, "password": password, **more}
        return client, client.post(f"{self.url}/login", data=form, allow_redirects=False)

    def put_user(self, name: str, role: Role, password: str = PASSWORD) -> None:
        self.doing(lambda: self.access.put_user(name, role, password))

    def doing(self, act: Callable[[], Any]) -> Any:
        """Its result, in the gate's own thread."""

        async def done() -> Any:
            return act()

        return self.loop.run(done())

    def raw(self, request: bytes) -> bytes:
        """What it answers to these very bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            line.sendall(request)
            answer = b""
            while piece := line.recv(65_536):
                answer += piece
        return answer


@contextmanager
def served(loop: Loop, application: web.Application, unix: Path | None = None) -> Iterator[str]:
    """Its address, from here until it is left."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def start() -> str:
        await runner.setup()
        if unix:
            await web.UnixSite(runner, str(unix)).start()
            return str(unix)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield loop.run(start())
    finally:
        loop.run(runner.cleanup())


@contextmanager
def a_gate(folder: Path, *, is_secure: bool = False, provider: Provider | None = None) -> Iterator[Running]:
    """A gate with the users vera, anna and otto: viewer, analyst and operator."""
    clock = Clock()
    with a_loop() as loop, tempfile.TemporaryDirectory() as private:
        socket_path = Path(private) / "page"
        with served(loop, page_stand_in(), socket_path):

            async def make() -> Access:
                return Access(folder)

            access = loop.run(make())
            settings = GateSettings(
                login="oidc" if provider else "password",
                address="https://insights.example" if is_secure else "http://127.0.0.1",
                folder=folder,
            )
            with _gate(loop, settings, access, socket_path, clock, provider) as url:
                running = Running(url=url, access=access, clock=clock, loop=loop, cookie=settings.cookie)
                yield running

            async def close() -> None:
                access.close()

            loop.run(close())


@contextmanager
def _gate(
    loop: Loop, settings: GateSettings, access: Access, page: Path, clock: Clock, provider: Provider | None
) -> Iterator[str]:
    port = _free_port()
    oidc = None
    if provider:
        import time

        found = OidcSettings(issuer=provider.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        oidc = Oidc(found, f"http://127.0.0.1:{port}/login/callback", time.time)
    gate = Gate(settings, access, Page(page, check_seconds=0.05), clock, oidc)
    runner = web.AppRunner(gate.application(), access_log=None, shutdown_timeout=1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    try:
        loop.run(start())
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.run(runner.cleanup())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def visitor_of(heard: dict[str, Any]) -> dict[str, Any]:
    """What the page's server was told about who is there."""
    found: dict[str, Any] = json.loads(heard["headers"][HEADER])
    return found
