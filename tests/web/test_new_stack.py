"""The pages of a stack whose tables are there, and nothing in them, and no mart yet."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from dashboards.folder import Folder
from tests.web import made_runs
from tests.web.browser import DESKTOP, PHONE, PROJECT, needs_browser, running_page

pytestmark = needs_browser
NAMES = Folder(PROJECT / "dashboards" / "sales_overview.yaml").names
WITH_MARTS = [name for name in NAMES if "from marts." in (PROJECT / "dashboards" / f"{name}.yaml").read_text()]
CARDS = "[...document.querySelectorAll('[class*=st-key-card-]')]"
EMPTY = f"{CARDS}.filter(c => c.querySelector('.ih-empty, .ih-number.ih-none'))"


@pytest.fixture(scope="module")
def page(new_database: Callable[[], str]) -> Iterator[str]:
    dsn = new_database()
    with psycopg.connect(dsn) as postgres:
        made_runs.make_tables(postgres)
    with running_page(dsn) as address:
        yield address


@pytest.mark.parametrize(("device", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
@pytest.mark.parametrize("name", WITH_MARTS)
def test_cards_without_a_mart_are_small_and_the_page_shows_when_it_comes(
    page: str, browse: Any, name: str, device: str, size: tuple[int, int]
) -> None:
    browser = browse(size)
    browser.show(f"{page}?dashboard={name}")
    assert "The first build runs a few minutes after the stack starts" in browser.text()
    assert browser.axe() == []
    assert browser.console() == []
    heights = browser.run(f"return {EMPTY}.map(c => [...c.children].reduce((sum, e) => sum + e.scrollHeight, 0))")
    assert heights
    assert max(heights) < 170
    assert browser.run("return document.querySelectorAll('.ih-key').length") == 0
    browser.picture(f"{name.replace('_', '-')}-new-{device}")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["orders", "replays"])
def test_a_page_that_reads_no_mart_does_not_mention_them(
    page: str, browse: Any, name: str, size: tuple[int, int]
) -> None:
    browser = browse(size)
    browser.show(f"{page}?dashboard={name}")
    assert "marts" not in browser.text()
    assert browser.console() == []
