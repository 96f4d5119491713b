"""The command that reads a shop: what it shows with --check, and how it runs and stops."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from producers import catalog
from producers.main import app
from producers.runner import Options, Stop
from producers.scraping.memory import Memory
from producers.scraping.rounds import BLOCK_PAGES
from producers.sources import source
from producers.state import alone
from schemas.codec import Encoder
from schemas.errors import Misconfigured, Retryable
from tests.web.test_catalog_source import scrape, small_site
from tests.web.test_rounds import linked


def checked(url: str, *more: str) -> Any:
    return CliRunner().invoke(app, ["catalog", "--check", "--url", url, "--private", *more])


def test_check_shows_what_would_be_read_of_a_page_and_of_a_shop(site_of: Any) -> None:
    pages = small_site({"a": "10", "b": "20"})
    row = '<table class="woocommerce-product-attributes"><tr><th>Colour</th><td>Red</td></tr></table>'
    pages["/product/a/"] = f"{pages['/product/a/']}{row}"
    site = site_of(pages)
    page = checked(f"{site.base}/product/a/")
    assert page.exit_code == 0, page.output
    assert "price           10.00" in page.output
    assert "specs           Colour: Red" in page.output
    assert "woocommerce (by its marks)" in page.output
    assert "no marks were found; this is the default" in checked(f"{site.base}/product/b/").output
    shop = checked(site.base, "--profile", "woocommerce")
    assert shop.exit_code == Retryable.exit_code, shop.output  # no front page
    assert "returned 404" in shop.output


def test_check_says_why_a_page_would_be_refused(site_of: Any) -> None:
    site = site_of(small_site({"a": "10"}) | {"/": linked(), "/product/a/": "<h1>Sorry</h1>"})
    shop = checked(site.base)
    assert (shop.exit_code, "would be a dead letter" in shop.output) == (1, True), shop.output
    assert "the page has no price" in shop.output
    assert "forbids" in checked(f"{site.base}/product/secret/").output
    for url in ("shop.example", "http://[bad", "http://shop.example:99999/", "ftp://shop.example"):
        assert "is no address" in checked(url).output


def test_check_reads_no_private_address_unless_told_to(site_of: Any) -> None:
    site = site_of(small_site({"a": "10"}))
    refused = CliRunner().invoke(app, ["catalog", "--check", "--url", f"{site.base}/product/a/"])
    assert (refused.exit_code != 0, site.asked) == (True, [])
    assert "127.0.0.1 is inside a network, not on the public internet; --private allows it" in refused.output


def test_a_shop_is_given_by_its_address_and_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="write it as https://"):
        catalog.run(Kafkaless(tmp_path, 1, url="shop.example"))  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="leave them out") as refused:
        catalog.run(Kafkaless(tmp_path, 1, url="https://me:secret@shop.example"))  # type: ignore[arg-type]
    assert "secret" not in str(refused.value)


class Kafkaless:
    """What a source runs with, but for Kafka: it encodes each event, keeps it, and stops after so many."""

    def __init__(self, state: Path, stop_after: int, **options: Any) -> None:
        self.options = Options(state=state, **options)
        self.source = source("catalog")
        self.stop = Stop()
        self.log = structlog.get_logger()
        self.publisher = self
        self.published: list[dict[str, Any]] = []
        self.verdict: Exception | None = None
        self._stop_after = stop_after

    def publish(self, event: Any, record: dict[str, Any]) -> None:
        Encoder(event, 1).encode(record)
        self.published.append(record)
        if len(self.published) >= self._stop_after:
            self.stop.request()

    def flush(self) -> None:
        return None

    def poll(self) -> None:
        return None


def test_the_source_reads_round_after_round_until_it_is_stopped(site_of: Any, tmp_path: Path) -> None:
    pages = small_site({"a": "10", "b": "20"})
    site = site_of(pages)
    options = {"url": site.base, "private": True, "rate": 1000.0, "every": timedelta(milliseconds=50)}
    first = Kafkaless(tmp_path, 2, **options)
    catalog.run(first)  # type: ignore[arg-type]
    assert [r["product_id"] for r in first.published] == ["a", "b"]
    del pages["/product/b/"]
    after_restart = Kafkaless(tmp_path, 1, **options)
    catalog.run(after_restart)  # type: ignore[arg-type]
    assert [(r["product_id"], r["availability"]) for r in after_restart.published] == [("b", "discontinued")]


def test_once_reads_one_round_and_says_what_it_was_given_up_for(site_of: Any, tmp_path: Path) -> None:
    site = site_of(small_site({"a": "10", "b": "20"}))
    options = {"private": True, "rate": 1000.0, "every": timedelta(hours=1), "once": True}
    whole = Kafkaless(tmp_path, 100, url=site.base, **options)
    catalog.run(whole)  # type: ignore[arg-type]
    assert ([r["product_id"] for r in whole.published], whole.verdict) == (["a", "b"], None)
    closed = site_of({"/robots.txt": None})
    given_up = Kafkaless(tmp_path, 100, url=closed.base, **options)
    catalog.run(given_up)  # type: ignore[arg-type]
    assert given_up.published == []
    assert isinstance(given_up.verdict, Retryable), given_up.verdict


def test_the_only_round_that_is_stopped_before_its_end_is_no_success(site_of: Any, tmp_path: Path) -> None:
    pages = 2 * BLOCK_PAGES
    site = site_of(small_site({f"p{number}": "10" for number in range(pages)}))
    cut = Kafkaless(tmp_path, 1, url=site.base, private=True, rate=1000.0, once=True)
    catalog.run(cut)  # type: ignore[arg-type]
    assert isinstance(cut.verdict, catalog.RoundCut)
    assert 0 < len(cut.published) < pages


def test_a_shop_that_another_process_reads_with_the_same_memory_is_not_read(site_of: Any, tmp_path: Path) -> None:
    site = site_of(small_site({"a": "10"}))
    this = Kafkaless(tmp_path, 1, url=site.base, private=True, rate=1000.0)
    shop = site.base.removeprefix("http://")
    with (
        alone(tmp_path / f"catalog-{shop}.lock"),
        pytest.raises(catalog.ShopBusy, match=f"another process reads {shop} with the memory in "),
    ):
        catalog.run(this)  # type: ignore[arg-type]
    assert (site.asked, this.published) == ([], [])
    catalog.run(this)  # type: ignore[arg-type]
    assert [r["product_id"] for r in this.published] == ["a"]


class Slow(Kafkaless):
    """While Kafka has not acknowledged, another process wants to publish."""

    def flush(self) -> None:
        with pytest.raises(catalog.ShopBusy), alone(self.options.state / "catalog.sqlite.lock", catalog.ShopBusy()):
            pass


def test_what_processes_with_one_memory_have_to_publish_is_published_by_one_of_them(
    site_of: Any, moment: Any, memory: Memory, tmp_path: Path
) -> None:
    scrape(site_of(small_site({"a": "10"})).base, memory, moment)
    first, second = Slow(tmp_path, 9), Kafkaless(tmp_path, 9)
    catalog.send(first, memory)  # type: ignore[arg-type]
    catalog.send(second, memory)  # type: ignore[arg-type]
    assert (len(first.published), len(second.published)) == (1, 0)


def test_a_stop_ends_a_long_wait_between_two_pages(site_of: Any, tmp_path: Path) -> None:
    pages = small_site({"a": "10", "b": "20"})
    pages["/robots.txt"] = "User-agent: *\nCrawl-delay: 3600\nSitemap: BASE/products.xml\n"
    site = site_of(pages)
    this = Kafkaless(tmp_path, 1, url=site.base, private=True)
    asking = threading.Thread(target=catalog.run, args=(this,))
    asking.start()
    deadline = time.monotonic() + 20
    while "/robots.txt" not in site.asked and time.monotonic() < deadline:
        asking.join(0.01)
    this.stop.request()
    asking.join(20)
    assert not asking.is_alive()
