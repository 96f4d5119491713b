"""The gate: what reaches the page's server comes through here, with a session, and says who it is from.

It listens where the page would. The page's server listens on a socket in a folder that only this user may enter.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from aiohttp import web

from dashboards.gate import pages
from dashboards.gate.access import Access, is_password
from dashboards.gate.attempts import Attempts
from dashboards.gate.oidc import PENDING_SECONDS, LoginRefused, Oidc, ProviderAway
from dashboards.gate.proxy import Page
from dashboards.gate.sockets import Sockets, TooManyPages
from dashboards.visitor import Visitor

LOG = logging.getLogger(__name__)
Login = Literal["password", "oidc"]
HEALTH = "/_stcore/health"
STREAM = "/_stcore/stream"
# What the page in the browser asks for, and nothing else that Streamlit offers.
PASSED_ON = re.compile(r"/|/favicon\.png|/_stcore/host-config|/(static|media|component)/.+|/_stcore/bidi-components/.+")
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
LARGEST_FORM = 8 * 1024
CHECKS_AT_ONCE = 2  # each takes 32 MB and a tenth of a second
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers don't say where a form comes from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
OWN_POLICY = (
    "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Streamlit's page styles elements itself, and Vega compiles a chart's expressions.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'{inline}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:;"
    " object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """``address`` is how browsers reach the gate, ``folder`` where Access keeps its file."""

    login: Login
    address: str
    folder: Path

    @property
    def is_secure(self) -> bool:
        """Does a proxy in front encrypt? Then it also says whom a request is from."""
        return self.address.startswith("https://")

    @property
    def cookie(self) -> str:
        """A browser refuses ``__Host-`` from elsewhere, as from a neighbour of the same domain."""
        return "__Host-insights" if self.is_secure else "insights-session"


class Gate:
    """The application. ``page`` passes requests on, ``clock`` gives Unix seconds."""

    def __init__(
        self, settings: GateSettings, access: Access, page: Page, clock: Callable[[], float], oidc: Oidc | None = None
    ) -> None:
        self._settings = settings
        self._access = access
        self._page = page
        self._clock = clock
        self._oidc = oidc
        self._attempts = Attempts(clock)
        self._sockets = Sockets()
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    def application(self) -> web.Application:
        """Serve it with ``web.AppRunner``."""
        application = web.Application(middlewares=[self._guarded], client_max_size=LARGEST_FORM)
        application.router.add_get("/login", self._show_login)
        if self._oidc is None:
            application.router.add_post("/login", self._log_in)
        else:
            application.router.add_get("/login/oidc", self._begin_oidc)
            application.router.add_get("/login/callback", self._finish_oidc)
        application.router.add_post("/logout", self._log_out)
        application.router.add_get("/account", self._account)
        application.router.add_get("/share/{token}", self._follow, allow_head=False)
        application.router.add_get(HEALTH, self._page.health)
        application.router.add_get("/{path:.*}", self._pass_on)
        application.cleanup_ctx.append(self._page.connected)
        return application

    # Every request -----------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            if has_strange_path(request):
                raise web.HTTPBadRequest(text="This address can't be read.")
            if request.method == "POST" and not self._is_from_here(request):
                raise web.HTTPForbidden(text="This form was sent from elsewhere.")
            response = await handler(request)
        except web.HTTPException as refused:
            response = _page(pages.notice(refused.reason, refused.text or ""), refused.status)
            response.headers.update({name: refused.headers[name] for name in ("Allow",) if name in refused.headers})
        except Exception:
            LOG.exception("a request failed")
            response = _page(pages.notice("Something went wrong", "The log of the page says what. Try again."), 500)
        if not response.prepared:
            response.headers.update(SECURITY_HEADERS)
            response.headers.setdefault("Content-Security-Policy", OWN_POLICY.format(nonce=""))
            if self._settings.is_secure:
                response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response

    def _is_from_here(self, request: web.Request) -> bool:
        """Browsers name where a form or a connection comes from, and no script of another site can change that."""
        try:
            origin = urlsplit(request.headers.get("Origin", ""))
        except ValueError:
            return False
        is_http = origin.scheme == "https" or (origin.scheme == "http" and not self._settings.is_secure)
        return is_http and origin.netloc == request.host

    def _visitor(self, request: web.Request) -> Visitor | None:
        token = request.cookies.get(self._settings.cookie, "")
        return self._access.visitor(token, self._clock()) if token else None

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        visitor = self._visitor(request)
        is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        if visitor is None:
            if is_websocket or "text/html" not in request.headers.get("Accept", ""):
                raise web.HTTPUnauthorized(text="Log in first.")
            return _to(f"/login?next={quote(request.path_qs, safe='')}")
        if is_websocket and request.path == STREAM:
            if not self._is_from_here(request):
                raise web.HTTPForbidden(text="This connection was opened from elsewhere.")
            return await self._talk(request, visitor)
        if not PASSED_ON.fullmatch(request.path):
            raise web.HTTPNotFound(text="There is nothing here.")
        response = await self._page.fetch(request, visitor)
        response.headers["Content-Security-Policy"] = PAGE_POLICY.format(inline=_inline(response))
        return response

    async def _talk(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        session = request.cookies[self._settings.cookie]
        try:
            with self._sockets.open(session, is_guest=visitor.only is not None):
                return await self._page.talk(request, visitor, lambda: self._visitor(request) == visitor)
        except TooManyPages as refused:
            raise web.HTTPTooManyRequests(text=str(refused)) from refused

    # Log in and out ----------------------------------------------------------------------------------------------

    async def _show_login(self, request: web.Request) -> web.Response:
        onwards = own_path(request.query.get("next", "/"))
        if (visitor := self._visitor(request)) and visitor.only is None:
            return _to(onwards)
        return _page(pages.login(with_password=self._oidc is None, onwards=onwards))

    async def _log_in(self, request: web.Request) -> web.Response:
        try:
            form = await request.post()
        except (ValueError, LookupError) as error:
            raise web.HTTPBadRequest(text="This form can't be read.") from error
        name, password = (str(form.get(field, "")) for field in ("name", "password"))
        name, onwards, address = name.strip().lower()[:64], own_path(str(form.get("next", "/"))), self._address(request)
        if wait := self._attempts.wait_seconds(name, address):
            return self._refused(name, onwards, f"Too many attempts. Try again in {-(-wait // 60)} min.", wait)
        self._attempts.failed(name, address)
        async with self._checks:
            is_right = await asyncio.to_thread(is_password, password, self._access.password_hash(name))
        token = self._access.begin_of_user(name, self._clock()) if is_right else None
        if token is None:
            return self._refused(name, onwards, "Name or password is wrong.")
        self._attempts.succeeded(name, address)
        return self._begun(request, token, onwards)

    def _refused(self, name: str, onwards: str, wrong: str, wait: int = 0) -> web.Response:
        shown = pages.login(with_password=True, onwards=onwards, wrong=wrong, name=name)
        response = _page(shown, 429 if wait else 401)
        if wait:
            response.headers["Retry-After"] = str(wait)
        return response

    def _address(self, request: web.Request) -> str:
        """Whom it is from: a proxy that encrypts names it last, be it in a line of its own."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", [])) if self._settings.is_secure else ""
        return forwarded.rpartition(",")[2].strip() or request.remote or ""

    def _begun(self, request: web.Request, token: str, onwards: str) -> web.Response:
        """A login never goes on with the session that was there before."""
        if there := request.cookies.get(self._settings.cookie):
            self._access.end(there)
        response = _to(onwards)
        self._give(response, self._settings.cookie, token)
        return response

    def _give(self, response: web.Response, name: str, value: str, max_age: int | None = None) -> None:
        response.set_cookie(
            name, value, max_age=max_age, path="/", httponly=True, samesite="Lax", secure=self._settings.is_secure
        )

    async def _begin_oidc(self, request: web.Request) -> web.Response:
        assert self._oidc
        try:
            url, login = await asyncio.to_thread(self._oidc.begin, own_path(request.query.get("next", "/")))
        except ProviderAway as away:
            return _away(away)
        response = _to(url)
        self._give(response, f"{self._settings.cookie}-login", login, PENDING_SECONDS)
        return response

    async def _finish_oidc(self, request: web.Request) -> web.Response:
        assert self._oidc
        login = request.cookies.get(f"{self._settings.cookie}-login", "")
        try:
            name, role, onwards = await asyncio.to_thread(self._oidc.finish, dict(request.query), login)
        except LoginRefused as refused:
            shown = pages.login(with_password=False, onwards="/", wrong=f"{str(refused)[0].upper()}{str(refused)[1:]}.")
            return _page(shown, 403)
        except ProviderAway as away:
            return _away(away)
        response = self._begun(request, self._access.begin(name, role, self._clock()), onwards)
        self._give(response, f"{self._settings.cookie}-login", "", 0)
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        self._access.end(request.cookies.get(self._settings.cookie, ""))
        response = _to("/login")
        self._give(response, self._settings.cookie, "", 0)
        return response

    async def _account(self, request: web.Request) -> web.Response:
        visitor = self._visitor(request)
        return _page(pages.account(visitor.name, visitor.role)) if visitor else _to("/login?next=%2Faccount")

    async def _follow(self, request: web.Request) -> web.Response:
        """Anyone who has the link sees its dashboard. Who is logged in stays so, and sees what their role may."""
        share = self._access.share_of(request.match_info["token"], self._clock())
        if share is None:
            return _no_link()
        visitor, onwards = self._visitor(request), f"/?dashboard={quote(share.dashboard)}"
        there = request.cookies.get(self._settings.cookie, "")
        if visitor and (visitor.only is None or self._access.is_of_share(there, share, self._clock())):
            return _to(onwards)
        token = self._access.begin_of_share(share, self._clock())
        return self._begun(request, token, onwards) if token else _no_link()


def own_path(wanted: str) -> str:
    r"""Where to go after a login: a path of this page, or else its beginning.

    Browsers take ``//host``, ``/\host`` and a tab or newline in between for another host.
    """
    is_plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    is_own = wanted.startswith("/") and not wanted.startswith("//") and not wanted.startswith(("/login", "/logout"))
    return wanted if is_plain and is_own and len(wanted) <= 2000 else "/"


def has_strange_path(request: web.Request) -> bool:
    """Does it lead up, or mean something else than it says? Browsers never send such paths."""
    path = request.rel_url.path
    raw = request.raw_path.partition("?")[0].lower()
    return (
        not raw.startswith("/")
        or "//" in raw
        or ".." in path.split("/")
        or any(sign in raw for sign in ("%2e", "%2f", "%5c", "%00", "\\", "%25"))
        or not path.isprintable()
    )


def _inline(page: web.Response) -> str:
    """Which scripts within Streamlit's own page may run, by their hashes: those and no others."""
    if page.content_type != "text/html" or not isinstance(page.body, bytes):
        return ""
    hashes = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE.findall(page.body))
    return "".join(f" 'sha256-{found}'" for found in hashes)


def _no_link() -> web.Response:
    text = "It has expired, or was revoked. Ask the person who gave it to you for a new one."
    return _page(pages.notice("This link is no longer valid", text), 404)


def _away(away: ProviderAway) -> web.Response:
    """What is wrong is for whoever reads the log: a stranger sees this page."""
    LOG.warning("%s", away)
    return _page(pages.notice("You can't log in at the moment", "The login provider does not answer. Try later."), 502)


def _to(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def _page(html: str, status: int = 200) -> web.Response:
    nonce = secrets.token_urlsafe(16)
    headers = {"Content-Security-Policy": OWN_POLICY.format(nonce=nonce), "Cache-Control": "no-store"}
    return web.Response(
        text=html.replace('nonce="NONCE"', f'nonce="{nonce}"', 1),
        content_type="text/html",
        status=status,
        headers=headers,
    )
