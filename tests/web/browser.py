"""The page's server and a real browser, for tests that look at it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dashboards.launch import command
from tests.conftest import wait_until

PROJECT = Path(__file__).parents[2]
SCREENSHOTS = PROJECT / "test-results" / "screenshots"
DESKTOP, PHONE = (1440, 900), (390, 844)
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}

AXE = Path(str(find_spec("axe_playwright_python").submodule_search_locations[0])) / "axe.min.js"  # type: ignore[union-attr,index]
RUN_AXE = """
const done = arguments[arguments.length - 1]
axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => ({rule: v.id, impact: v.impact, where: v.nodes.map(n => n.target.join(' ') + ': ' + n.failureSummary)}))))
"""
# The page's last line is there, no card is still loading, and every chart has its canvas.
DRAWN = """
return !!document.querySelector('.ih-clock') && ![...document.querySelectorAll('.ih-empty')].some(
    e => e.innerText.includes('Loading')) && [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')].every(
    c => c.querySelector('canvas, svg')) && !document.querySelector('[data-testid="stSkeleton"]')
"""

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="NO BROWSER: install chromium and chromium-driver; the page is NOT TESTED"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def running_page(dsn: str, dashboard: Path | None = None) -> Iterator[str]:
    """Address of the page's server, from here until it is left. ``dashboard`` is shown first, with its neighbours."""
    port = free_port()
    server = subprocess.Popen(
        command(port=port, dsn=dsn, dashboard=dashboard),
        cwd=PROJECT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        health = f"http://127.0.0.1:{port}/_stcore/health"
        wait_until(lambda: answers(health), seconds=90, what="the page's server answers")
        yield f"http://127.0.0.1:{port}/"
    finally:
        stop(server)


class Browser:
    """A headless Chromium of a size, in light or dark; with an ``agent`` it does not say that it is one."""

    def __init__(self, profile: Path, size: tuple[int, int], *, dark: bool, agent: str | None = None) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        switches = (
            "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
            " disable-component-update disable-sync hide-scrollbars disable-dev-shm-usage"
        )
        for switch in switches.split():
            options.add_argument(f"--{switch}")
        options.add_argument(f"--user-data-dir={profile}")
        if agent is not None:
            options.add_argument(f"--user-agent={agent}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.chrome = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.begin_anew(size, dark=dark)

    def begin_anew(self, size: tuple[int, int], *, dark: bool) -> None:
        """As a browser of that size that has just been opened: on no page, and with nothing noted of any."""
        self.chrome.get("about:blank")
        self._width, self._height = size
        self._resize(self._height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.console()
        self.hosts()

    def _resize(self, height: int) -> None:
        metrics = {"width": self._width, "height": height, "deviceScaleFactor": 1, "mobile": self._width < 600}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script: str) -> Any:
        return self.chrome.execute_script(script)

    def open(self, url: str) -> None:
        """The Sales Overview, until all of it is there."""
        self.chrome.get(url)
        wait_until(lambda: self.run("return document.querySelectorAll('.ih-fresh-list li').length"), seconds=90)
        wait_until(
            lambda: self.run("return document.querySelectorAll('canvas, .vega-embed svg, .ih-empty').length") >= 4,
            seconds=90,
        )

    def show(self, url: str) -> None:
        """Any dashboard, until all of its cards have something to show and nothing moves any more."""
        self.chrome.get(url)
        wait_until(lambda: self.run(DRAWN), seconds=90, what=f"every card of {url}")

    def axe(self) -> list[dict[str, Any]]:
        """What axe-core finds that keeps people out: violations of serious and critical impact."""
        self.run(AXE.read_text(encoding="utf-8"))
        return list(self.chrome.execute_async_script(RUN_AXE))

    def console(self) -> list[str]:
        """What stands on the console since this was last called: every warning and every error."""
        noted = self.chrome.get_log("browser")
        return [f"{entry['level']} {entry['message']}" for entry in noted if entry["level"] not in ("INFO", "DEBUG")]

    def hosts(self) -> set[str | None]:
        """Whom the page asked, since this was last called."""
        sent = [json.loads(entry["message"])["message"] for entry in self.chrome.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).hostname for url in urls if url.startswith(("http", "ws"))}

    def value(self, card: str) -> str:
        """Of a card, once it is there: a page that is being drawn again may lack it for a moment."""
        found = f"const card = document.querySelector('[data-card={card}]'); return card ? [card.dataset.value] : []"
        return str(wait_until(lambda: self.run(found), seconds=30, what=f"the card {card}")[0])

    def places(self) -> list[Any]:
        """Every card with its left edge and what it is made of, in order."""
        cards = "[...document.querySelectorAll('[class*=st-key-card-]')]"
        return list(self.run(f"return {cards}.map(c => [c.className, c.getBoundingClientRect().x, c.children.length])"))

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def read_at(self) -> str:
        found = re.search(r"Updated (\S+) UTC", self.text())
        return found[1] if found else ""

    def picture(self, name: str) -> None:
        """The whole page, among the test's results."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.save(SCREENSHOTS / f"{name}.png")

    def picture_of_window(self, name: str) -> None:
        """What is seen without scrolling, among the test's results; of any page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.chrome.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def save(self, path: Path) -> None:
        """The whole page, as tall as it is."""
        height = int(self.run("return document.querySelector('.stMain').scrollHeight"))
        self._resize(height + 8)
        # Two frames later it is drawn in its new size.
        self.chrome.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        self.chrome.save_screenshot(str(path))
        self._resize(self._height)


class Browse:
    """``browse(size, dark=…)``: the run's one browser, restarted when it has to look different."""

    def __init__(self, profile: Callable[[], Path]) -> None:
        self._profile = profile
        self._browser: Browser | None = None
        self._looks: tuple[tuple[int, int], bool] | None = None

    def __call__(self, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> Browser:
        if self._browser is None:
            self._browser = Browser(self._profile(), size, dark=dark)
        elif self._looks != (size, dark):
            self._browser.begin_anew(size, dark=dark)
        self._looks = (size, dark)
        return self._browser

    def forget(self) -> None:
        """The next one that asks gets a browser on no page."""
        self._looks = None

    def close(self) -> None:
        if self._browser is not None:
            self._browser.chrome.quit()
