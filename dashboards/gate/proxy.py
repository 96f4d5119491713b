"""Passes requests and websockets on to the page's server, which listens on a socket in the file system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    DummyCookieJar,
    UnixConnector,
    WSCloseCode,
    WSMsgType,
    web,
)

from dashboards.gate.messages import is_passed_on
from dashboards.visitor import HEADER, Visitor

# All that is passed on: what a visitor sends beyond this, cookies and names above all, ends here.
REQUEST_HEADERS = ("Accept", "Accept-Encoding", "Accept-Language", "If-Modified-Since", "If-None-Match", "Range")
WEBSOCKET_HEADERS = ("Accept-Language", "User-Agent")
RESPONSE_HEADERS = (
    *("Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Range"),
    *("Content-Type", "ETag", "Last-Modified", "Vary"),
)
HOST = "page.internal"
PROTOCOL = "streamlit"
LARGEST_FROM_BROWSER = 1024 * 1024
LARGEST_FROM_PAGE = 200 * 1024 * 1024  # Streamlit's own limit
CHECK_SECONDS = 2.0
HEARTBEAT_SECONDS = 30.0
PIECE = 64 * 1024


class Page:
    """The page's server behind ``socket``. The methods are handlers of an application that has ``connected``."""

    def __init__(self, socket: Path, check_seconds: float = CHECK_SECONDS) -> None:
        self._socket = socket
        self._check_seconds = check_seconds
        self._session: ClientSession | None = None

    async def connected(self, _: web.Application) -> AsyncIterator[None]:
        """For ``cleanup_ctx``."""
        connector = UnixConnector(path=str(self._socket), limit=0)
        timeout = ClientTimeout(total=None, sock_connect=5, sock_read=60)
        # No cookies: one visitor's would be sent with the next one's requests.
        async with ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=DummyCookieJar()
        ) as self._session:
            yield

    async def health(self, request: web.Request) -> web.StreamResponse:
        """For load balancers and supervisors, which log in nowhere."""
        try:
            async with self._there.get(f"http://{HOST}/_stcore/health") as found:
                return web.Response(text="ok" if found.ok else "", status=200 if found.ok else 503)
        except ClientConnectionError:
            return web.Response(status=503)

    async def fetch(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Nothing but reading: the page takes no files, so there is nothing to send it. HTML comes uncompressed."""
        headers = {name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers}
        if "text/html" in headers.get("Accept", ""):
            headers["Accept-Encoding"] = "identity"
        try:
            async with self._there.get(
                f"http://{HOST}{request.raw_path}",
                headers={**headers, HEADER: visitor.header},
                allow_redirects=False,
                skip_auto_headers=("User-Agent",),
            ) as found:
                kept = {name: found.headers[name] for name in RESPONSE_HEADERS if name in found.headers}
                body = await found.read()
        except ClientError as error:
            raise web.HTTPBadGateway(text="The page is starting, or not running.") from error
        kept.pop("Content-Length", None)
        if not visitor.may_export and "attachment" in kept.get("Content-Disposition", "").lower():
            raise web.HTTPForbidden(text="Your role does not include exports.")
        if request.path.startswith("/media/"):  # a file of this visitor's, which is gone when its page is closed
            kept["Cache-Control"] = "private, no-store"
        return web.Response(body=body, status=found.status, headers=kept)

    async def talk(
        self, request: web.Request, visitor: Visitor, is_still_in: Callable[[], bool]
    ) -> web.WebSocketResponse:
        """Passes messages on both ways, until one side ends it, or until ``is_still_in`` says no."""
        headers = {name: request.headers[name] for name in WEBSOCKET_HEADERS if name in request.headers}
        # Not the browser's further ones: they would attach to a session that the page's server knows.
        try:
            far = await self._there.ws_connect(
                f"http://{HOST}{request.path}",
                headers={**headers, HEADER: visitor.header},
                protocols=(PROTOCOL,),
                max_msg_size=LARGEST_FROM_PAGE,
            )
        except ClientError as error:
            raise web.HTTPBadGateway(text="The page is starting, or not running.") from error
        near = web.WebSocketResponse(
            protocols=(PROTOCOL,), max_msg_size=LARGEST_FROM_BROWSER, heartbeat=HEARTBEAT_SECONDS, compress=False
        )
        async with far:
            await near.prepare(request)
            await self._until_one_ends(near, far, visitor, is_still_in)
        return near

    async def _until_one_ends(
        self,
        near: web.WebSocketResponse,
        far: ClientWebSocketResponse,
        visitor: Visitor,
        is_still_in: Callable[[], bool],
    ) -> None:
        tasks = {
            asyncio.create_task(_ask(near, far, may_export=visitor.may_export)),
            asyncio.create_task(_answer(far, near)),
            asyncio.create_task(self._watch(is_still_in)),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await near.close(code=WSCloseCode.OK if is_still_in() else WSCloseCode.POLICY_VIOLATION)

    async def _watch(self, is_still_in: Callable[[], bool]) -> None:
        while is_still_in():
            await asyncio.sleep(self._check_seconds)

    @property
    def _there(self) -> ClientSession:
        assert self._session, "the application has `connected`"
        return self._session


async def _ask(near: web.WebSocketResponse, far: ClientWebSocketResponse, *, may_export: bool) -> None:
    """Passes on what a reader needs, and drops the rest in silence: Streamlit's script in the browser sends more."""
    async for message in near:
        if message.type == WSMsgType.BINARY and is_passed_on(message.data, may_export=may_export):
            await far.send_bytes(message.data)


async def _answer(far: ClientWebSocketResponse, near: web.WebSocketResponse) -> None:
    async for message in far:
        if message.type == WSMsgType.BINARY:
            await near.send_bytes(message.data)
        elif message.type == WSMsgType.TEXT:
            await near.send_str(message.data)
