"""The tracker in a real browser, on pages of a small shop: what it sends, when, and what it leaves on the device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from producers.collect.collector import TRACKER
from tests.web.browser import Browse, needs_browser
from tests.web.conftest import running

pytestmark = needs_browser
PAGE = """<!doctype html><title>{title}</title>
<script>window.insights = window.insights || function () {{ (insights.q = insights.q || []).push(arguments) }}</script>
<script async src="/v1/tracker.js" data-key="wk_1" data-region="DE"></script>
<script>insights('product_view', {{product_id: 'P1'}})</script><a href="/other">other</a>"""


@dataclass
class Shop:
    """Pages with the tracker, and what came of them; ``status`` is what the next batches are answered."""

    base: str
    batches: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200

    def events(self, interaction: str) -> list[dict[str, Any]]:
        return [e for batch in self.batches for e in batch["events"] if e["interaction"] == interaction]


@pytest.fixture(scope="module")
def serving() -> Iterator[Shop]:
    port = unused_port()
    shop = Shop(base=f"http://127.0.0.1:{port}")

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE.format(title=request.path), content_type="text/html")

    async def tracker(request: web.Request) -> web.Response:
        return web.Response(body=TRACKER, content_type="text/javascript")

    async def take(request: web.Request) -> web.Response:
        assert request.query["key"] == "wk_1"
        if shop.status == 200:
            shop.batches.append(json.loads(await request.read()))
        return web.Response(status=shop.status)

    app = web.Application()
    app.add_routes([web.post("/v1/events", take), web.get("/v1/tracker.js", tracker), web.get("/{path:.*}", page)])
    with running(app, port):
        yield shop


@pytest.fixture
def shop(serving: Shop, browse: Browse) -> Shop:
    """With nothing sent yet, and a browser that has never been there."""
    chrome = browse().chrome
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": serving.base, "storageTypes": "all"})
    serving.batches.clear()
    serving.status = 200
    return serving


def test_a_page_is_seen_and_nothing_is_left_on_the_device(
    shop: Shop, browse: Browse, until: Callable[..., Any]
) -> None:
    browser = browse()
    browser.chrome.get(f"{shop.base}/bike?utm_campaign=spring&email=a")
    until(lambda: shop.events("product_view"), what="a batch")
    events = [event for batch in shop.batches for event in batch["events"]]
    assert [(e["interaction"], e["page"], e["campaign"], e["region"]) for e in events] == [
        ("page_view", "/bike", "spring", "DE"),
        ("product_view", "/bike", "spring", "DE"),
    ]
    for batch in shop.batches:
        assert "visitor" not in batch
        assert batch["sent_at"] >= max(e["at"] for e in batch["events"])
    assert browser.run("return [document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]


def test_with_consent_an_id_is_kept_and_without_it_is_gone(
    shop: Shop, browse: Browse, until: Callable[..., Any]
) -> None:
    browser = browse()
    browser.chrome.get(shop.base)
    browser.run("insights('consent', true); insights('user', '1001'); insights('checkout')")
    until(lambda: shop.events("checkout"), what="the checkout")
    visitor = shop.batches[-1]["visitor"]
    assert shop.events("checkout")[0]["user_id"] == "1001"
    browser.chrome.get(f"{shop.base}/other")
    until(lambda: [e for e in shop.events("page_view") if e["page"] == "/other"], what="the other page")
    assert (shop.batches[-1]["visitor"], shop.events("page_view")[-1]["user_id"]) == (visitor, "1001")
    browser.run("insights('consent', false)")
    assert browser.run("return localStorage.length") == 0


def test_what_was_not_taken_is_sent_again_and_what_is_left_is_sent_on_leaving(
    shop: Shop, browse: Browse, until: Callable[..., Any]
) -> None:
    shop.status = 503
    browser = browse()
    browser.chrome.get(shop.base)
    until(lambda: browser.run("return performance.getEntriesByType('resource').length") >= 3, what="a refusal")
    shop.status = 200
    until(lambda: shop.events("product_view"), what="it comes again", seconds=20)
    browser.run("insights('add_to_cart', {product_id: 'P1'}); location.href = '/other'")
    until(lambda: shop.events("add_to_cart"), what="what was left is sent", seconds=20)
    ids = [e["id"] for batch in shop.batches for e in batch["events"]]
    assert len(set(ids)) == len(ids)
    browser.console()


@pytest.mark.parametrize("signal", ["globalPrivacyControl", "doNotTrack"])
def test_a_visitor_who_does_not_want_it_is_not_tracked(shop: Shop, browse: Browse, signal: str) -> None:
    chrome = browse().chrome
    wish = f"Object.defineProperty(navigator, '{signal}', {{get: () => '1'}})"
    added = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": wish})
    try:
        chrome.get(shop.base)
        chrome.execute_async_script("insights('purchase', {order_id: '1'}); setTimeout(arguments[0], 600)")
        chrome.get(f"{shop.base}/other")
    finally:
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert shop.batches == []
