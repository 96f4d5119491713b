"""The pages of a shop that began yesterday, or today."""

from collections.abc import Iterator
from typing import Any

import pytest

from dashboards.cards import LineCard
from dashboards.folder import Folder
from dashboards.model import load
from tests.web.browser import DESKTOP, PHONE, PROJECT, needs_browser, running_page
from tests.web.marts_shop import marts_shop

pytestmark = needs_browser
FOLDER = PROJECT / "dashboards"
NAMES = Folder(FOLDER / "sales_overview.yaml").names
ALL_TIME = "range=73000+days&period=73000+days"
# Its steps are shorter than a day; it has the later days of refunds; no shop is connected; ads have days of their own.
# No wiki is read.
ELSEWHERE = {
    ("sales_overview", "sales_over_time"),
    ("orders", "by_day"),
    ("agreement", "sales_by_day"),
    ("profit", "by_day"),
    ("public_streams", "edits_over_time"),
    ("public_streams", "positions_over_time"),
}
DRAWN = """
const marks = (card, kind) => [...document.querySelectorAll(`.st-key-card-${card} svg .mark-${kind} path`)]
const texts = card => [...document.querySelectorAll(`.st-key-card-${card} svg .mark-text.role-mark text`)]
return arguments[0].map(card => [card, marks(card, 'line').length + marks(card, 'area').length,
    marks(card, 'rect').length + marks(card, 'symbol').length, texts(card).filter(t => t.textContent.trim()).length])
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one day", "two days"])
def page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browse: Any
) -> Iterator[tuple[str, int]]:
    with (
        marts_shop(tmp_path_factory.mktemp("shop"), days=request.param) as shop,
        running_page(shop.dsn) as address,
    ):
        yield address, request.param
    browse.forget()  # what the page says that nobody serves any more is not of the next one


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("device", "size"),
    [
        pytest.param("desktop", DESKTOP, id="desktop"),
        pytest.param("phone", PHONE, id="phone", marks=pytest.mark.nightly),
    ],
)
def test_a_chart_of_one_day_or_two_shows_its_numbers_and_no_slope_and_the_console_is_silent(
    page: tuple[str, int], browse: Any, name: str, device: str, size: tuple[int, int]
) -> None:
    address, days = page
    browser = browse(size)
    browser.show(f"{address}?dashboard={name}&{ALL_TIME}")
    by_day = [card.id for card in load(FOLDER / f"{name}.yaml").cards if isinstance(card, LineCard)]
    by_day = [card for card in by_day if (name, card) not in ELSEWHERE]
    for card, lines, marks, numbers in browser.chrome.execute_script(DRAWN, by_day):
        assert lines == 0, card
        assert marks == numbers >= days, card
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    assert browser.axe() == []
    assert browser.console() == []
    browser.picture(f"{name.replace('_', '-')}-of-{days}-days-{device}")
