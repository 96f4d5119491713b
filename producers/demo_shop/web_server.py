"""The shop's web server: addresses to pages, with ETag and Last-Modified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from aiohttp import web

from producers.demo_shop.pages import Pages, Tracker
from producers.demo_shop.pictures import VIEWS, picture
from producers.demo_shop.shelf import Article, Shelf

Clock = Callable[[], datetime]
HTML, XML, SVG = "text/html", "application/xml", "image/svg+xml"
STYLE = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="11" fill="none"'
    ' stroke="#1f6f5c" stroke-width="5"/></svg>'
)


class Site:
    """Answers requests from a shelf. Remembers since when each offer stands as it does, for Last-Modified."""

    def __init__(
        self, shelf: Shelf, base: str, clock: Clock, crawl_delay_seconds: float, tracker: Tracker | None = None
    ) -> None:
        self._shelf = shelf
        self._pages = Pages(shelf, base, tracker)
        self._clock = clock
        self._crawl_delay_seconds = crawl_delay_seconds
        self._since: dict[str, tuple[object, datetime]] = {}

    def application(self) -> web.Application:
        """The server's routes; anything else is a 404 with a page."""
        app = web.Application(middlewares=[self._lost])
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/product-category/{key}/", self._category),
                web.get(r"/product-category/{key}/page/{page:\d+}/", self._category),
                web.get("/product/{slug}/", self._product),
                web.get("/cart/", self._cart),
                web.get("/checkout/", self._checkout),
                web.get(r"/images/{product_id}-{view:\d}.svg", self._picture),
                web.get("/sitemap_index.xml", self._sitemap_index),
                web.get("/product-sitemap.xml", self._product_sitemap),
                web.get("/product_cat-sitemap.xml", self._category_sitemap),
                web.get("/robots.txt", self._robots),
                web.get("/style.css", self._style),
                web.get("/favicon.svg", self._icon),
            ]
        )
        return app

    @web.middleware
    async def _lost(self, request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[misc,no-any-return]
        except web.HTTPNotFound:
            return web.Response(status=404, text=self._pages.not_found(), content_type=HTML)

    def _now(self) -> list[Article]:
        articles = self._shelf.articles(self._clock())
        for article in articles:
            self._changed_at(article)
        return articles

    def _changed_at(self, article: Article) -> datetime:
        known = self._since.get(article.slug)
        if known is None or known[0] != article.offer:
            known = self._since[article.slug] = (article.offer, self._clock().replace(microsecond=0))
        return known[1]

    async def _home(self, request: web.Request) -> web.Response:
        return _answer(request, self._pages.home(self._now()), HTML)

    async def _category(self, request: web.Request) -> web.Response:
        page = int(request.match_info.get("page", 1))
        html = self._pages.category(request.match_info["key"], self._now(), page)
        if html is None:
            raise web.HTTPNotFound
        return _answer(request, html, HTML)

    async def _product(self, request: web.Request) -> web.Response:
        article = self._shelf.find(request.match_info["slug"], self._clock())
        if article is None:
            raise web.HTTPNotFound
        html = self._pages.product(article, self._shelf.related(article.product, self._clock()))
        return _answer(request, html, HTML, self._changed_at(article))

    async def _cart(self, request: web.Request) -> web.Response:
        wanted = request.query.get("add-to-cart")
        product = next((p for p in self._shelf.products if p.product_id == wanted), None)
        if product is None:
            raise web.HTTPNotFound
        return _answer(request, self._pages.cart(self._shelf.article(product, self._clock())), HTML)

    async def _checkout(self, request: web.Request) -> web.Response:
        return _answer(request, self._pages.checkout(), HTML)

    async def _picture(self, request: web.Request) -> web.Response:
        wanted, view = request.match_info["product_id"], int(request.match_info["view"])
        product = next((p for p in self._shelf.products if p.product_id == wanted), None)
        if product is None or view >= VIEWS:
            raise web.HTTPNotFound
        return _answer(request, picture(product, view), SVG)

    async def _sitemap_index(self, request: web.Request) -> web.Response:
        newest = max(self._changed_at(article) for article in self._now())
        return _answer(request, self._pages.sitemap_index(newest), XML)

    async def _product_sitemap(self, request: web.Request) -> web.Response:
        changed = {article.slug: self._changed_at(article) for article in self._now()}
        return _answer(request, self._pages.product_sitemap(changed), XML)

    async def _category_sitemap(self, request: web.Request) -> web.Response:
        newest = max(self._changed_at(article) for article in self._now())
        return _answer(request, self._pages.category_sitemap(newest), XML)

    async def _robots(self, request: web.Request) -> web.Response:
        return _answer(request, self._pages.robots(self._crawl_delay_seconds), "text/plain")

    async def _style(self, request: web.Request) -> web.Response:
        return _answer(request, STYLE, "text/css")

    async def _icon(self, request: web.Request) -> web.Response:
        return _answer(request, ICON, SVG)


def _answer(request: web.Request, text: str, kind: str, changed_at: datetime | None = None) -> web.Response:
    """The text, or 304 without it when the client has the same. ``changed_at`` is sent, but the ETag decides."""
    tag = hashlib.sha256(text.encode()).hexdigest()[:24]
    held = request.if_none_match or ()
    same = any(entry.value in (tag, "*") for entry in held)
    response = web.Response(status=304) if same else web.Response(text=text, content_type=kind)
    response.etag = tag
    response.last_modified = changed_at
    response.headers["Cache-Control"] = "no-cache"
    return response
